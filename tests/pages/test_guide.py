"""The Guide: every topic opens for every kind of model, and its sentences say what the functions say."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from catalog.models import load_families
from pages.ui import cached, charts_guide, guide_cache, guide_weights, inputs
from pages.ui.charts_base import SERIES
from pages.ui.charts_guide import Bar, Line, LossPoint, RoofPoint, Segment
from sizing.lessons import find_ridge
from sizing.units import GIB, THIN

OpenGuide = Callable[..., AppTest]
APP = Path(__file__).resolve().parents[2] / "app.py"
LLAMA, DEEPSEEK, GEMMA = "meta-llama/Llama-3.1-8B-Instruct", "deepseek-ai/DeepSeek-V3", "google/gemma-3-12b-it"
HYBRID, MOE = "Qwen/Qwen3.5-9B", "Qwen/Qwen3-30B-A3B"
UNWEIGHED, ENCODER = "meta-llama/Llama-3.2-11B-Vision-Instruct", "nomic-ai/nomic-embed-text-v1.5"


@pytest.fixture
def open_guide() -> OpenGuide:
    """Open the Guide straight from a link: one run of the script, no other page before it."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.switch_page("pages/guide.py")
        for name, value in {"machine": "RTX 4090", **address}.items():
            app.query_params[name] = value
        return app.run()

    return run


def answer_of(app: AppTest) -> str:
    """The headline as plain text, with plain spaces."""
    (body,) = [e.proto.body for e in app.get("html") if "wb-answer" in e.proto.body and "<style" not in e.proto.body]
    return plain(html.unescape(re.sub(r"<[^>]+>", "", body)))


def prose_of(app: AppTest) -> str:
    """All markdown and captions, with plain spaces."""
    return plain(" ".join(e.value for e in [*app.markdown, *app.caption]))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace(THIN, " ")


@pytest.mark.parametrize("model", [LLAMA, UNWEIGHED, ENCODER])
@pytest.mark.parametrize("topic", inputs.TOPICS)
def test_every_topic_opens_for_every_kind_of_model(open_guide: OpenGuide, topic: str, model: str) -> None:
    app = open_guide(topic=topic, model=model)
    assert not app.exception and not app.error and not app.warning
    said = answer_of(app) + prose_of(app)
    assert "nan" not in said.lower().split() and "None" not in said and "inf" not in said.split()
    assert answer_of(app).endswith(".")


def test_an_unknown_topic_is_said_and_the_first_is_shown(open_guide: OpenGuide) -> None:
    app = open_guide(topic="astrology")
    assert not app.exception
    (said,) = [w.value for w in app.warning]
    assert "Topic wants one of" in said and "'astrology'" in said
    assert "open source" in answer_of(app)


def test_an_unknown_model_or_quantization_is_said(open_guide: OpenGuide) -> None:
    app = open_guide(topic="bits", model="no-such/model")
    assert "no-such/model" in app.warning[0].value and "Llama 3.1 8B" in answer_of(app)
    app = open_guide(topic="bits", quant="UD-Q4_K_XL")
    assert "UD-Q4_K_XL is not listed" in app.warning[0].value and "at Q4_K_M" in answer_of(app)


def test_openness_is_counted_from_the_catalog(open_guide: OpenGuide) -> None:
    cards = load_families()
    said = answer_of(open_guide(topic="openness"))
    for kind in guide_weights.OPENNESS_WORDS:
        assert str(sum(c.openness == kind for c in cards)) in said
    assert f"{len(cards)} models" in said


def test_a_token_of_llama_costs_128_kib(open_guide: OpenGuide) -> None:
    """32 layers x 8 heads x 128 elements x K and V x 2 bytes = 131,072 bytes; 32 heads would cost four times that."""
    said = answer_of(open_guide(topic="attention"))
    assert "GQA: 32 heads share 8 heads" in said
    assert "128 KiB" in said and "4 times less than with MHA" in said


def test_a_token_of_deepseek_v3_costs_68_6_kib(open_guide: OpenGuide) -> None:
    """61 layers x (512 + 64) elements x 2 bytes = 70,272 bytes."""
    said = answer_of(open_guide(topic="attention", model=DEEPSEEK))
    assert "MLA: 128 heads rebuild keys and values from one row of 576" in said and "68.6 KiB" in said


def test_weights_are_those_of_the_size_page(open_guide: OpenGuide) -> None:
    """llama.cpp's Q4_K_M of Llama 3.1 8B is 4.58 GiB of tensors for 8.03 billion parameters: 4.89 bits each."""
    said = answer_of(open_guide(topic="bits"))
    assert "8.03 B" in said and "4.58 GiB" in said and "4.89 bits" in said
    sized = open_guide(topic="bits", quant="Q8_0")
    assert "8.50 bits" in answer_of(sized)


def test_round_figures_that_are_too_small_are_called_so(open_guide: OpenGuide) -> None:
    """Gemma 2 2B in F16 is 2 bytes x 2.61 billion; 405B at Q4_K_M is 243,061,788,064 bytes by the engine."""
    (table,) = [d.value for d in open_guide(topic="bits").dataframe]
    told = {(r["Model"], r["Quantization"]): r for _, r in table.iterrows()}
    small = told["Gemma 2 2B IT", "F16"]
    assert small["llama.cpp, GB"] == pytest.approx(5.23, abs=0.01) and small["The quoted figure is"] == "too small"
    large = told["Llama 3.1 405B Instruct", "Q4_K_M"]
    assert large["llama.cpp, GB"] == pytest.approx(243.06, abs=0.01) and large["The quoted figure is"] == "too small"


def test_a_loss_is_told_with_its_interval_and_whose_it_is(open_guide: OpenGuide) -> None:
    loss = next(e for e in cached.list_loss_estimates(LLAMA) if e.quant == "Q2_K")
    said = answer_of(open_guide(topic="quants", quant="Q2_K"))
    assert f"measured on the {loss.label}" in said
    low, high = re.search(r"\(([\d.]+) to ([\d.]+)\)", said).groups()
    told = (float(f"{loss.low:.2g}"), float(f"{loss.high:.2g}"))  # ends as far apart as these are told in two figures
    assert loss.high > 1.5 * loss.low and (float(low), float(high)) == told
    native = answer_of(open_guide(topic="quants", model="openai/gpt-oss-20b", quant="MXFP4"))
    assert "costs nothing" in native


def test_windows_of_gemma_by_hand(open_guide: OpenGuide) -> None:
    """8 layers of 131,072 cells and 40 of 1,024 + 512, each cell 2 x 8 x 256 x 2 bytes: 8.47 GiB, not 48."""
    by_hand = 8192 * (8 * 131_072 + 40 * 1536)
    said = answer_of(open_guide(topic="windows", model=GEMMA))
    assert f"{by_hand / GIB:.2f} GiB instead of 48.0 GiB" in said and "40 of Gemma 3 12B IT's 48 layers" in said


def test_a_state_does_not_grow(open_guide: OpenGuide) -> None:
    said = {answer_of(open_guide(topic="recurrent", model=HYBRID, context=c)) for c in ("4096", "131072")}
    assert len(said) == 1 and "24 of Qwen3.5 9B's 32 layers keep a state of" in said.pop()


def test_stretching_of_llama(open_guide: OpenGuide) -> None:
    app = open_guide(topic="rope")
    assert "learned on 8,192 tokens and was stretched to 131,072, 16 times as far" in answer_of(app)
    assert "the slowest of 64 pairs" in prose_of(app)


def test_a_mixture_is_held_whole_and_read_in_part(open_guide: OpenGuide) -> None:
    """8 of 128 experts: a step for one token meets 6%, for eight 1 - (15/16)^8 = 40%."""
    app = open_guide(topic="experts", model=MOE)
    assert "holds 30.5 B parameters and uses 3.35 B" in answer_of(app)
    assert "8 of them meets 40%" in prose_of(app) and "for one 6%" in prose_of(app)
    table = app.dataframe[0].value.set_index("Model")
    mixture, dense = table.loc["Qwen3 30B-A3B"], table.loc["Qwen3 32B"]
    assert mixture["At most, tokens/s"] > 8 * dense["At most, tokens/s"]
    assert mixture["Held, GiB"] > 0.9 * dense["Held, GiB"]


def test_users_of_the_bar_are_the_users_of_the_lesson(open_guide: OpenGuide) -> None:
    """16 slots of 4,096 tokens at 128 KiB a token are 8 GiB."""
    app = open_guide(topic="pages", users="16", context="4096")
    assert "16 users of Llama 3.1 8B Instruct reserve 8.00 GiB" in answer_of(app)
    room = app.dataframe[0].value
    slots, pages = (int(n.replace(",", "")) for n in room["Users with room"])
    assert pages > 1.5 * slots > 0


def test_a_machine_too_small_for_one_user_says_so(open_guide: OpenGuide) -> None:
    app = open_guide(topic="pages", model="meta-llama/Llama-3.1-405B-Instruct")
    assert "even one user does not fit" in prose_of(app) and not app.dataframe


def test_logits_decide_the_buffer_of_llama(open_guide: OpenGuide) -> None:
    """512 tokens x 128,256 entries x 4 bytes = 250.5 MiB of the 267."""
    app = open_guide(topic="buffers")
    assert "267 MiB" in answer_of(app) and "128,256 entries" in prose_of(app)
    assert "250 MiB at 512" in prose_of(app) or "251 MiB at 512" in prose_of(app)


def test_the_balance_of_the_card_is_peak_over_bandwidth(open_guide: OpenGuide) -> None:
    """An RTX 4090: 165.2 TFLOPS in 16 bit with 32-bit sums, 1,008 GB/s (NVIDIA Ada white paper, appendix A)."""
    assert f"balanced at {find_ridge(165.2e12, 1008e9):.0f}" in answer_of(open_guide(topic="roofline"))


def test_an_unknown_rate_is_said(open_guide: OpenGuide) -> None:
    app = open_guide(topic="roofline", machine="24 GiB card at 936 GB/s")
    assert not app.exception and "arithmetic rate" in answer_of(app) and "unknown" in answer_of(app)


def test_all_layers_on_the_card_beat_none(open_guide: OpenGuide) -> None:
    slow, fast = re.search(
        r"([\d.]+) tokens/s from the host, ([\d.]+) with", answer_of(open_guide(topic="offload"))
    ).groups()
    assert float(fast) > 5 * float(slow)
    assert "RTX 3060" in answer_of(open_guide(topic="offload", machine="PC DDR5-5600 32GB"))


def test_a_context_above_the_models_own_is_cut_and_said(open_guide: OpenGuide) -> None:
    app = open_guide(topic="pages", model="Qwen/Qwen3-14B", context="131072")
    assert not app.exception and "trained for 40,960 tokens" in prose_of(app)
    assert "slots of 40,960 tokens" in answer_of(app)


def test_the_example_and_the_topic_are_in_the_address(open_guide: OpenGuide) -> None:
    app = open_guide(topic="attention")
    app.selectbox(key="field_model").set_value(DEEPSEEK).run()
    assert (app.query_params["model"], app.query_params["topic"]) == (DEEPSEEK, "attention")
    assert "68.6 KiB" in answer_of(app)


def test_kinds_of_attention_are_all_among_the_compared() -> None:
    kinds = set()
    for card in cached.find_cards(guide_cache.COMPARED):
        attention = guide_cache.find_attention(card.spec)
        assert attention is not None
        kinds.add(attention.name)
    assert kinds == {"MHA", "GQA", "MQA", "MLA"}


def test_bars_lie_end_to_end_and_the_example_stands_out() -> None:
    parts = (Segment("read", 2.0, "#000000", "two"), Segment("held", 3.0, "#FFFFFF", "three"))
    figure = charts_guide.bars_chart([Bar("a <b> c", parts, True), Bar("d", parts[:1])])
    first, second, third = figure.data
    assert (first.base[0], first.x[0], second.base[0], second.x[0]) == (0.0, 2.0, 2.0, 3.0)
    assert (first.showlegend, third.showlegend) == (True, False)
    assert [a.text for a in figure.layout.annotations] == ["<b>a &lt;b&gt; c</b>", "d"]
    assert figure.layout.xaxis.range[1] == 5.0


def test_a_binary_axis_has_ticks_a_person_reads() -> None:
    line = Line("x", (1024.0, 4096.0), (64.0 * 2**20, 2.0**30), ("a", "b"), SERIES[0])
    figure = charts_guide.lines_chart([line], "x", "y", y_unit="bytes", x_ticks=(1024, 4096))
    assert [plain(t) for t in figure.layout.yaxis.ticktext] == ["64 MiB", "256 MiB", "1 GiB"]
    assert list(figure.layout.xaxis.ticktext) == ["1K", "4K"]


def test_whiskers_and_roof_stand_where_the_figures_are() -> None:
    point = LossPoint("Q4_K_M", "K", 4 * GIB, 0.5, 0.2, 0.9, "this model", True)
    trace = charts_guide.loss_chart([point]).data[0]
    assert trace.error_y.array[0] == pytest.approx(0.4) and trace.error_y.arrayminus[0] == pytest.approx(0.3)
    roof = charts_guide.roofline_chart(100e12, 1e12, [RoofPoint("a", 10.0, 10e12, "memory")])
    assert roof.data[0].x[1] == 100.0 and roof.data[0].y[1] == 100.0 and roof.data[1].y[0] == 10.0
