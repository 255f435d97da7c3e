"""The Fine-tune page answers first, explains every figure, and turns nonsense into a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from pages.ui.charts_finetune import list_training_purposes, training_bar
from pages.ui.finetune_fields import FINETUNE_FIELDS, read_targets
from pages.ui.finetune_words import explain
from sizing.errors import BadInputError
from sizing.finetune import estimate_finetune
from sizing.finetune_setup import FineTuneSetup
from sizing.units import GIB

APP = Path(__file__).resolve().parents[2] / "app.py"
OpenPage = Callable[..., AppTest]
CATALOG = open_catalog()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(home))


@pytest.fixture
def open_finetune() -> OpenPage:
    """Open the page straight from a link."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.switch_page("pages/finetune.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run


def text_of(app: AppTest) -> str:
    html = " ".join(e.proto.body for e in app.get("html"))
    return f"{html} {' '.join(e.value for e in app.caption)}".replace("\u00a0", " ")


def said_by(app: AppTest) -> str:
    return " ".join(e.value for e in [*app.warning, *app.error])


def estimate_of(model: str, hardware: str, **more):
    return estimate_finetune(FineTuneSetup(find_model(CATALOG, model).spec, find_machine(CATALOG, hardware), **more))


def test_the_answer_comes_first_with_its_figures_and_the_methods(open_finetune):
    app = open_finetune(model="meta-llama/Llama-3.1-70B-Instruct", machine="A100 SXM 80GB")
    assert not app.exception and said_by(app) == ""
    told = text_of(app)
    assert "QLoRA of Llama 3.1 70B Instruct at rank 16:" in told and "of 78.4 GiB" in told
    assert "207,093,760 trainable parameters" in told
    formulas = [m.value.split(",")[0] for m in app.markdown if m.value.startswith("**") and "\n- " in m.value]
    assert formulas == ["**Weights", "**Gradients", "**Optimizer", "**Activations", "**Overhead"]
    table = app.dataframe[0].value
    assert list(table["Method"]) == ["Full", "LoRA", "QLoRA"]
    assert "Does not fit" in table["Fit"][0] and "Fits" in table["Fit"][2]


def test_what_does_not_fit_is_said_in_the_sentence_and_what_to_do_under_it(open_finetune):
    app = open_finetune(model="meta-llama/Llama-3.3-70B-Instruct", machine="RTX 4090")
    assert "Llama 3.3 70B Instruct at rank 16 does not fit:" in text_of(app)
    assert any("Take another method, a smaller model or more memory" in m.value for m in app.markdown)


def test_a_change_is_in_the_address_and_changes_the_answer(open_finetune):
    app = open_finetune(model="meta-llama/Llama-3.1-8B-Instruct", machine="RTX 4090", targets="q_proj,v_proj", rank="8")
    assert "3,407,872 trainable parameters" in text_of(app)
    app.number_input(key=next(w.key for w in app.number_input if w.label == "Rank")).set_value(32).run()
    assert app.query_params["rank"] in ("32", ["32"])
    assert "13,631,488 trainable parameters" in text_of(app)


def test_the_guide_s_count_is_set_right_where_its_model_is_shown(open_finetune):
    app = open_finetune(model="meta-llama/Llama-3.1-8B-Instruct", machine="RTX 4090")
    assert "83,886,080" in text_of(app) and "peft counts 41,943,040" in text_of(app)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"rank": "0"}, "rank wants a whole number"),
        ({"method": "dora"}, "method wants one of"),
        ({"targets": "q proj;"}, "targets wants module names"),
        ({"targets": "nothing_here"}, "unknown target module"),
        ({"sequence": "999999"}, "longer than"),
        ({"machine": "M4 Max 128GB"}, "bitsandbytes"),
        ({"train_tokens": "nan"}, "train_tokens"),
    ],
)
def test_bad_input_is_a_sentence(open_finetune, address, said):
    app = open_finetune(**{"model": "Qwen/Qwen3-8B", "machine": "RTX 4090", **address})
    assert not app.exception
    assert said.casefold() in said_by(app).casefold()


def test_time_and_cost_follow_the_tokens_and_the_price_given(open_finetune):
    app = open_finetune(model="Qwen/Qwen3-8B", machine="RTX 4090", train_tokens="100", train_usd="1")
    told = text_of(app)
    assert "tokens/s" in told and "your own figure" in told


def test_an_unknown_rate_is_said_to_be_unknown(open_finetune):
    app = open_finetune(model="Qwen/Qwen3-0.6B", machine="24 GiB card at 936 GB/s", method="lora")
    assert any("unknown" in m.value for m in app.markdown)


def test_the_bar_ends_where_the_card_does():
    answer = estimate_of("Llama-3.1-8B-Instruct", "RTX 4090", method="full")
    figure = training_bar(answer.devices)
    use = answer.devices[0]
    ends = {b.name.split(" ")[0]: b.base[0] + b.x[0] for b in figure.data if b.x[0]}
    over = ends.pop("Over")
    assert max(ends.values()) == pytest.approx(use.usable_bytes / GIB)
    assert over == pytest.approx(use.parts.total_bytes / GIB)
    colours = {p.name: p.colour for p in list_training_purposes(use.parts)}
    assert colours["Gradients"] == "#56B4E9" and colours["Optimizer"] == "#CC79A7" and colours["Weights"] == "#0072B2"


def test_equal_cards_are_one_bar_and_the_host_another():
    answer = estimate_of("Llama-3.1-8B-Instruct", "RTX 4090*4", method="full", offload_optimizer=True)
    figure = training_bar((*answer.devices, answer.host))
    assert len(figure.data[0].y) == 2 and figure.data[0].y[0] == "each of 4 RTX 4090"


def test_every_part_has_its_formula_with_figures():
    formulas = explain(estimate_of("Llama-3.1-8B-Instruct", "RTX 4090"))
    assert set(formulas) == {"Weights", "Gradients", "Optimizer", "Activations", "Overhead"}
    assert any("32 × rank 16 × (4,096 + 1,024)" in line for line in formulas["Weights"])


def test_every_field_takes_its_own_default():
    for name, default, parse in FINETUNE_FIELDS:
        parse(default)
        assert name.replace("_", "").isalpha()


@pytest.mark.parametrize("text", ["", ",", "a b", "q_proj;rm", "x" * 61])
def test_targets_that_are_no_names_are_refused(text):
    with pytest.raises(BadInputError, match="targets wants module names"):
        read_targets(text)


def test_the_program_that_does_the_run_is_shown_where_it_fits(open_finetune):
    app = open_finetune(model="Qwen/Qwen3-8B", machine="RTX 4090", rank="32", sequence="1024", micro_batch="2")
    assert not app.exception
    program = app.code[1].value
    assert "r=32" in program and "max_length=1024" in program and "per_device_train_batch_size=2" in program
    app = open_finetune(model="Qwen/Qwen3-8B", machine="RTX 4090", loss="full")
    assert len(app.code) == 1 and "No program is shown" in text_of(app)
