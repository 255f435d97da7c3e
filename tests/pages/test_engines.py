"""The engine is part of the question: Size, Choose and Hardware answer for it, and the address names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import charts_engines
from pages.ui.charts import list_keys
from pages.ui.engine_alike import to_bar
from sizing.engines.alike import Alike
from sizing.engines.registry import find_engine
from sizing.errors import UnsupportedError
from sizing.memory import Parts
from sizing.units import GIB

OpenPage = Callable[..., AppTest]
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


def html_of(app: AppTest) -> str:
    return "\n".join(str(h.proto.body) for h in app.get("html"))


def metrics_of(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


def frame_with(app: AppTest, column: str) -> Any:
    return next(d.value for d in app.dataframe if column in d.value.columns)


@pytest.fixture
def size_in_vllm(open_size: OpenPage) -> Callable[..., AppTest]:
    def run(**address: str) -> AppTest:
        return open_size(**{"model": LLAMA_8B, "machine": "RTX 4090", "engine": "vLLM", **address})

    return run


def test_size_shows_what_the_engine_holds_at_once(size_in_vllm: OpenPage) -> None:
    app = size_in_vllm(format="AWQ")
    assert not app.exception
    figures = metrics_of(app)
    assert {"Total", "Weights", "KV cache", "Compute", "Tokens of cache", "Requests at once"} <= set(figures)
    tokens = int(figures["Tokens of cache"].replace(",", ""))
    # 32 layers x 8 heads x 128 x K and V x 2 bytes: a token of this model takes 128 KiB of cache
    assert 60_000 < tokens < 24 * 2**30 / (128 * 2**10)
    assert float(figures["Requests at once"]) == pytest.approx(tokens / 8192, rel=0.01)
    assert "AWQ in vLLM" in html_of(app)
    folded = {b.proto.popover.label for b in app.get("popover")}
    assert "What vLLM does differently here" in folded and "Takes its share of each card" in html_of(app)


def test_what_is_llama_cpps_alone_is_not_there(size_in_vllm: OpenPage) -> None:
    app = size_in_vllm()
    labels = [b.label for b in app.button] + [s.value for s in app.subheader]
    assert not [text for text in labels if "engine itself" in text.lower() or "best way" in text.lower()]
    assert "Micro-batch" not in [s.label for s in app.selectbox]


def test_the_engines_own_settings_reach_it_and_an_eight_bit_cache_holds_twice_as_much(size_in_vllm: OpenPage) -> None:
    plain = metrics_of(size_in_vllm(format="AWQ"))
    half = metrics_of(size_in_vllm(format="AWQ", kv_type="fp8"))
    less = metrics_of(size_in_vllm(format="AWQ", gpu_share="0.7"))

    def count(figures: dict[str, str]) -> int:
        return int(figures["Tokens of cache"].replace(",", ""))

    assert count(half) == pytest.approx(2 * count(plain), rel=0.01)
    assert count(less) < count(plain)


def test_an_engine_nobody_knows_is_said_with_near_names_and_llama_cpp_answers(open_size: OpenPage) -> None:
    app = open_size(model=LLAMA_8B, machine="RTX 4090", engine="vllmm", quant="Q4_K_M")
    assert not app.exception
    said = " ".join(w.value for w in app.warning)
    assert "vLLM" in said and "llama.cpp instead" in said
    assert "Q4_K_M:" in html_of(app)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ({"format": "FP9"}, "is no format of vLLM"),
        ({"kv_type": "q8_0"}, "unknown cache type of vLLM"),
        ({"gpu_share": "7"}, "gpu_share"),
        ({"tp": "0"}, "tp (tensor parallel)"),
        ({"context": "999999"}, "131,072"),
    ],
)
def test_nonsense_in_the_address_is_a_sentence(size_in_vllm: OpenPage, address: dict[str, str], wanted: str) -> None:
    app = size_in_vllm(**address)
    assert not app.exception
    assert wanted.casefold() in " ".join(w.value for w in app.warning).casefold()


def test_what_the_engine_cannot_run_is_said_without_a_figure(open_size: OpenPage) -> None:
    app = open_size(model=LLAMA_8B, machine="PC DDR5-5600 32GB", engine="vLLM")
    assert not app.exception and not app.metric
    assert "vLLM cannot run Llama 3.1 8B Instruct here" in html_of(app)


@pytest.mark.parametrize("engine", ["llama.cpp", "vLLM"])
def test_the_same_model_stands_side_by_side_in_every_engine(open_size: OpenPage, engine: str) -> None:
    app = open_size(model=LLAMA_8B, machine="RTX 4090", quant="Q4_K_M", format="AWQ", engine=engine)
    assert not app.exception
    table = frame_with(app, "Engine")
    assert {"llama.cpp", "vLLM"} <= set(table["Engine"])
    bits = dict(zip(table["Engine"], table["Bits per weight"], strict=True))
    assert 4 < bits["vLLM"] < 6 and 4 < bits["llama.cpp"] < 6, "the formats are of one size"
    largest = open_size(model=LLAMA_8B, machine="RTX 4090", quant="Q4_K_M", engine=engine, alike="best")
    rows = frame_with(largest, "Engine")
    assert dict(zip(rows["Engine"], rows["Format"], strict=True))["vLLM"] == "BF16"


def test_choose_ranks_for_the_engine_and_says_what_it_cannot_run(open_page: OpenPage) -> None:
    app = open_page("choose", machine="RTX 4090*2", engine="vllm")
    assert not app.exception
    assert " in vLLM:" in html_of(app)
    assert any(e.label.startswith("vLLM cannot run it") for e in app.expander)
    assert "Weights, GiB" in frame_with(app, "Licence").columns
    assert "What would change this" not in html_of(app)


def test_hardware_names_machines_for_the_engine(open_page: OpenPage) -> None:
    app = open_page("hardware", model=LLAMA_8B, engine="vLLM", format="BF16", machine="RTX 4090")
    assert not app.exception
    assert "runs Llama 3.1 8B Instruct" in html_of(app) and "cannot run it in this engine" in html_of(app)
    assert 'at <span class="wb-whole">BF16' in html_of(app)
    assert "Quantization" not in frame_with(app, "Machine"), "the same in every row"


def test_the_default_engine_stays_out_of_the_address(open_page: OpenPage) -> None:
    app = open_page("choose", machine="RTX 4090", engine="LLAMA.CPP")
    assert not app.exception and not app.warning


def test_the_chart_of_engines_keeps_colours_and_tells_who_does_not_fit() -> None:
    bars = [
        charts_engines.EngineBar("llama.cpp", "Q4_K_M", Parts(4 * GIB, GIB, 0, GIB, 0, GIB), "fits", ", 30 to 40"),
        charts_engines.EngineBar("vLLM", "BF16", Parts(30 * GIB), "does not fit", ""),
    ]
    figure = charts_engines.engines_chart(bars, 24 * GIB)
    keys = {k.name: k.colour for k in list_keys(figure)}
    assert keys["Weights"] == "#0072B2" and keys["KV cache"] == "#E69F00" and keys["Compute"] == "#009E73"
    assert any(name.startswith("Usable") for name in keys)
    assert "does not fit" in figure.data[0].y[1]


def test_requests_are_drawn_down_to_one_and_no_further() -> None:
    points = [charts_engines.RequestPoint(1024 * 2**n, 8 / 2**n) for n in range(6)]
    figure = charts_engines.requests_chart(points, 4096, 2, 8192)
    assert list(figure.data[0].y) == [8, 4, 2, 1]
    assert any("Longest that starts" in (trace.name or "") for trace in figure.data)


def test_a_bar_wants_an_answer() -> None:
    with pytest.raises(UnsupportedError, match="no card"):
        to_bar(Alike(find_engine("vLLM"), gap="no card"))
