"""The Size page: the best way to run a model, placement by hand, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.best_way import THIS_ONE, format_split, given_up_item
from pages.ui.by_hand import say_cache
from pages.ui.figures import list_sum_lines
from pages.ui.questions import HandPlacement, read_layer_list, read_split, write_layer_list
from sizing.errors import BadInputError
from sizing.solver import GivenUp
from tests.pages.test_pages import html_of, warnings_of
from tests.sizing.test_placement import card, host, model

OpenPage = Callable[..., AppTest]
LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
QWEN_MOE = "Qwen/Qwen3-30B-A3B"
TWO = {"model": LLAMA, "machine": "RTX 3090*2"}


def take(app: AppTest) -> AppTest:
    """Press 'Take it'."""
    (button,) = [b for b in app.button if b.label == "Take it"]
    return button.click().run()


def commands_of(app: AppTest) -> list[str]:
    return [c.value for c in app.code if "catalog=" not in c.value]


@pytest.mark.parametrize(
    "address",
    [
        TWO,
        {"model": QWEN_MOE, "machine": "RTX 4070", "kv_v": "q8_0"},
        {"model": LLAMA, "machine": "RTX 3090 + RTX 4090 + RTX 3060 12GB", "context": "32768", "users": "4"},
        {"model": LLAMA, "machine": "64 GB DDR5-5600", "flash": "off"},
        {"model": "deepseek-ai/DeepSeek-V3", "machine": "RTX 3090*8 + 512 GB DDR5-4800 x8ch"},
        {"model": LLAMA, "machine": "RTX 4090", "context": "131072", "users": "4", "ubatch": "4096"},
    ],
)
def test_taking_the_best_way_puts_all_of_it_on_the_page(open_size: OpenPage, address: dict[str, str]) -> None:
    app = open_size(quant="Q6_K", **address)
    assert not app.exception
    best = commands_of(app)[0]
    assert best.startswith("llama-server ") and THIS_ONE not in html_of(app)
    app = take(app)
    assert not app.exception and not app.warning
    assert THIS_ONE in html_of(app)
    (command,) = commands_of(app)  # said once
    assert command == best.replace("-b 2048", "-b 4096" if address.get("ubatch") else "-b 2048")
    assert not [b for b in app.button if b.label == "Take it"]


def test_what_is_given_up_comes_with_its_reason(open_size: OpenPage) -> None:
    app = open_size(quant="Q4_K_M", model=QWEN_MOE, machine="RTX 4070")
    said = html_of(app).replace("\xa0", " ")
    assert "What it gives up" in said and "Experts on the cards: experts of " in said
    assert "With all there, RTX 4070 would need" in said


def test_what_llama_cpps_own_division_cannot_hold_may_still_run(open_size: OpenPage) -> None:
    # 37 GiB of experts would go to 32 GB of RAM; with more light layers on the first card 17 GiB do
    app = open_size(model="openai/gpt-oss-120b", quant="MXFP4", machine="RTX 3090*2", context="32768")
    said = html_of(app).replace("\xa0", " ")
    assert "Does not fit" in said and "another division may fit, see the best way below" in said
    assert any("--n-cpu-moe 10 -ts 23,14" in command for command in commands_of(app))


def test_given_up_reads_as_a_sentence() -> None:
    fits = GivenUp("quantization", "Q6_K", "Q5_K_M", "tight: card has only 3 MiB of 8 GiB left; about 12 tokens/s")
    assert given_up_item(fits).startswith(
        'Quantization: Q5_K_M, not Q6_K. <span class="wb-quiet">With Q6_K it is tight: '
    )
    slow = GivenUp("cache type", "f16", "q8_0", "about 12 tokens/s, 20 wanted")
    assert "With f16, about 12 tokens/s, 20 wanted." in given_up_item(slow)
    assert "&lt;b&gt;" in given_up_item(GivenUp("users at once", "4", "1", "<b> is too small"))


def test_no_way_is_said_with_what_would_help(open_size: OpenPage) -> None:
    app = open_size(model="meta-llama/Llama-3.1-405B-Instruct", machine="RTX 4090")
    said = html_of(app).replace("\xa0", " ")
    assert "does not run on RTX 4090" in said and "even iq1_s with 2,048 tokens" in said.lower()
    assert "More memory would help" in said
    both = open_size(model="meta-llama/Llama-3.1-405B-Instruct", machine="RTX 4090", speed="20")
    assert "More memory would help" in html_of(both)  # it is not the speed that stands in the way
    slow = open_size(speed="5000", **TWO)
    assert "A least speed below 5,000 tokens/s would help" in html_of(slow).replace("\xa0", " ")
    assert not slow.exception


def test_the_best_way_is_shown_where_the_knobs_contradict_each_other(open_size: OpenPage) -> None:
    app = open_size(kv_v="q8_0", flash="off", **TWO)
    assert "flash attention" in warnings_of(app)
    app = take(app)
    assert not app.warning and THIS_ONE in html_of(app)


def test_a_context_above_the_maximum_has_no_best_way(open_size: OpenPage) -> None:
    app = open_size(context="1000000", **TWO)
    assert not app.exception and not [b for b in app.button if b.label == "Take it"]
    assert "The best way to run it here" not in [s.value for s in app.subheader]


def test_layers_by_hand_are_placed_so(open_size: OpenPage) -> None:
    app = open_size(quant="IQ4_XS", split="40,30", **TWO)
    assert not app.exception and not app.warning
    assert commands_of(app)[-1].endswith("-ngl 70 -ts 40,30")
    assert "11 of 80 layers run on the host" in html_of(app)
    (clear,) = [b for b in app.button if b.label == "Automatic again"]
    app = clear.click().run()
    assert "split" not in app.query_params
    assert "-ngl 81" in commands_of(app)[-1]


def test_experts_by_hand_stay_on_the_host(open_size: OpenPage) -> None:
    address = {"model": QWEN_MOE, "quant": "Q4_K_M", "machine": "RTX 4070"}
    app = open_size(cpu_moe="40", expert_layers="45-46", **address)
    assert not app.exception and not app.warning
    assert "--n-cpu-moe 40" in commands_of(app)[-1] and "45|46" in commands_of(app)[-1]
    app.number_input(key="field_cpu_moe").set_value(30).run()
    assert app.query_params["cpu_moe"] == "30"
    app.text_input(key="field_expert_layers").set_value("31-").run()
    assert "expert_layers wants" not in warnings_of(app)  # a range without an end is its beginning
    app.text_input(key="field_expert_layers").set_value("all of them").run()
    assert "expert_layers wants layers such as 0-3,7" in warnings_of(app)
    assert not app.exception


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            {"gpu_layers": "500", "draft": "Llama-3.2-1B-Instrct", "projector": "on"},
            ("gpu_layers wants 0 to 81, got 500: Llama 3.3 70B Instruct has 80 layers", "nknown model", "no projector"),
        ),
        (
            {"gpu_layers": "many", "split": "41,forty", "cpu_moe": "-1", "draft_quant": "Q4/K_XXL", "draft": LLAMA},
            ("gpu_layers wants auto or a whole", "plit wants a whole", "cpu_moe wants auto", "Q4/K_XXL", "be smaller"),
        ),
        (
            {"split": "41", "expert_layers": "0-99999999", "projector": "perhaps", "draft": "Qwen/Qwen3-0.6B"},
            (
                "plit wants 2 counts, one for each card, got 1",
                "expert_layers wants",
                "rojector wants one",
                "vocabulary",
            ),
        ),
        ({"cpu_moe": "3", "expert_layers": "3-1"}, ("has no routed experts", "ranges upwards")),
    ],
)
def test_what_is_wrong_in_the_address_is_said_and_left_out(
    open_size: OpenPage, bad: dict[str, str], said: tuple[str, ...]
) -> None:
    app = open_size(quant="IQ4_XS", **TWO, **bad)
    assert not app.exception
    assert all(text in warnings_of(app) for text in said), warnings_of(app)
    assert commands_of(app)[-1].endswith("-ngl 81 -ts 41,40")
    assert [m.label for m in app.metric] == ["Total", "Weights", "KV cache", "Compute"]


@pytest.mark.parametrize("text", ["41,forty", "0,0", "1," * 200, "-3,4", "1.5,2", "99999,1"])
def test_a_split_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="split wants"):
        read_split(text)


@pytest.mark.parametrize("text", ["all", "3-1", "0-99999999", "1;2", "-", "--", "5-1000"])
def test_a_list_of_layers_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="expert_layers wants"):
        read_layer_list(text)


def test_placement_by_hand_wants_cards(open_size: OpenPage) -> None:
    app = open_size(model=QWEN_MOE, machine="64 GB DDR5-5600", gpu_layers="10")
    assert "placement by hand wants cards" in warnings_of(app).lower()
    assert not app.exception


def test_another_model_or_machine_leaves_the_placement_behind(open_size: OpenPage) -> None:
    app = open_size(quant="IQ4_XS", split="40,30", gpu_layers="70", **TWO)
    app.selectbox(key="field_model").set_value("meta-llama/Llama-3.1-8B-Instruct").run()
    assert not {"split", "gpu_layers"} & set(app.query_params)
    assert not app.warning and not app.exception


def test_hand_placement_knows_what_cannot_be() -> None:
    from sizing.hardware import Machine

    cards = Machine("two", host(), (card(8), card(8)))
    assert HandPlacement().to_offload(model(), cards) is None
    offload = HandPlacement(split=(20, 13)).to_offload(model(), cards)
    assert offload is not None and offload.gpu_layers == 33 and offload.tensor_split == (20.0, 13.0)
    with pytest.raises(BadInputError, match="adds up to 34 layers where at most 33"):
        HandPlacement(split=(17, 17)).to_offload(model(), cards)
    with pytest.raises(BadInputError, match="20 layers where 30"):
        HandPlacement(gpu_layers=30, split=(10, 10)).to_offload(model(), cards)
    with pytest.raises(BadInputError, match="layers 0 to 31"):
        HandPlacement(expert_layers=(32,)).to_offload(model(moe=True), cards)
    with pytest.raises(BadInputError, match="0 to 32 layers"):
        HandPlacement(cpu_moe=33).to_offload(model(moe=True), cards)


def test_layer_lists_read_what_they_write() -> None:
    assert write_layer_list((7, 0, 1, 2)) == "0-2,7"
    assert read_layer_list(write_layer_list((0, 1, 2, 7, 9, 10))) == (0, 1, 2, 7, 9, 10)
    assert read_split("") == () and read_split(" 3, 4 ") == (3, 4)


def test_a_draft_is_counted_in_the_right_devices(open_size: OpenPage) -> None:
    address = {**TWO, "quant": "IQ4_XS"}
    alone = open_size(**address)
    app = open_size(draft="meta-llama/Llama-3.2-1B-Instruct", **address)
    assert not app.exception and not app.warning
    assert [m.label for m in app.metric] == ["Total", "Weights", "KV cache", "Compute", "Draft"]
    assert app.metric[1].value == alone.metric[1].value
    command = commands_of(app)[-1]
    assert command.endswith("-md Llama-3.2-1B-Instruct-Q8_0.gguf -ctkd f16 -ctvd f16 -ngld 17")
    offered = app.selectbox(key="field_draft").options
    assert "Llama 3.2 1B Instruct" in offered and not [o for o in offered if o.startswith("Qwen")]
    assert "without a draft beside it" in html_of(app)


def test_a_projector_is_counted_where_the_catalog_knows_one(open_size: OpenPage) -> None:
    address = {"model": "google/gemma-3-12b-it", "quant": "Q4_K_M", "machine": "RTX 3090"}
    app = open_size(projector="on", **address)
    assert not app.exception and not app.warning
    assert "--mmproj mmproj-" in commands_of(app)[-1]
    assert any("projector's" in m.value for m in app.markdown)


@pytest.mark.parametrize("page", ["choose", "size"])
def test_speed_is_each_users_and_all_of_theirs_and_says_what_it_rests_on(open_page: OpenPage, page: str) -> None:
    app = open_page(page, users="4", machine="RTX 4090")
    answer = html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]
    assert "tokens/s each" in answer and "together" in answer
    assert any("- Speed: " in m.value and "8 of 10 should lie inside" in m.value for m in app.markdown)


def test_a_split_is_told_shortly() -> None:
    assert format_split((41, 40)) == "41 + 40"
    assert format_split((8, 8, 8, 7)) == "7 or 8 on each"
    assert format_split((8, 8, 8, 20)) == "8 to 20 on each"


def test_what_is_set_of_the_cache_is_told_where_it_is_folded(open_size: OpenPage) -> None:
    address = {"model": "Qwen/Qwen3-14B", "quant": "Q4_K_M", "machine": "RTX 4090"}
    assert "Cache f16, batch 512" in {b.proto.popover.label for b in open_size(**address).get("popover")}
    app = open_size(kv_v="q8_0", ubatch="1000", **address)
    assert "K cache f16, V cache q8_0, batch 1000" in {b.proto.popover.label for b in app.get("popover")}
    assert "1000" in app.selectbox(key="field_ubatch").options
    (again,) = [b for b in app.button if b.label == "Defaults again"]
    app = again.click().run()
    assert not {"kv_v", "ubatch"} & set(app.query_params)
    assert "Cache f16, batch 512" in {b.proto.popover.label for b in app.get("popover")}
    assert say_cache({"kv_k": "f16", "kv_v": "f16", "ubatch": "512", "flash": "off"}).endswith(", no flash attention")


def test_a_total_is_told_as_the_sum_of_its_parts() -> None:
    lines = list_sum_lines([("weights", 2**30), ("nothing", 0), ("compute", 2**29)])
    assert lines[-1] == "| **total** | **1.50\u2009GiB** | **1,610,612,736** |"
    assert len(lines) == 5 and not [line for line in lines if "nothing" in line]
