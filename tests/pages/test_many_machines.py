"""Several machines on the Size page: folded until asked for, for engines that can, with the network's share named."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from pages.ui import many_machines
from tests.pages.test_pages import html_of

OpenPage = Callable[..., AppTest]
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"


def headings(app: AppTest) -> list[str]:
    return [h.value for h in app.subheader]


def test_the_section_is_folded_and_costs_nothing_until_it_is_asked_for(open_size: OpenPage) -> None:
    app = open_size(model=LLAMA, machine="RTX 4090", quant="Q4_K_M")
    assert not app.exception and many_machines.HEADING in headings(app)
    assert "machines over" not in html_of(app) and not [t for t in app.tabs if t.label == "llama-server"]
    (toggle,) = [t for t in app.toggle if t.label.startswith("Plan Llama 3.1 70B")]
    app = toggle.set_value(True).run()
    assert not app.exception
    html = html_of(app).replace("\u2009", " ")
    assert "runs on 2 machines over 10 GbE" in html and "adds" in html and "to every token" in html
    codes = [c.value for c in app.code if "catalog=" not in c.value]
    assert any("rpc-server -H" in c for c in codes) and any("--rpc 10.0.0.2:50052" in c for c in codes)
    assert any("never expose it to an open network" in c.value for c in app.caption)
    assert any("The fewest that hold Llama 3.1 70B Instruct: 2." in c.value for c in app.caption)
    table = next(d.value for d in app.dataframe if "Machines" in d.value.columns)
    assert list(table["Machines"]) == ["1", "2", "3", "4", "6", "8", "12", "16"]
    assert table["Largest context, tokens"].is_monotonic_increasing


def test_vllm_shares_layers_or_matrices_and_other_engines_have_no_such_section(open_size: OpenPage) -> None:
    address = {"model": LLAMA, "machine": "H100 SXM*2", "format": "BF16", "engine": "vLLM", "many": "on"}
    app = open_size(**address, nodes="2", link="1gbe", share="matrices")
    assert not app.exception
    codes = [c.value for c in app.code if "catalog=" not in c.value]
    assert any("--tensor-parallel-size 4" in c and "--distributed-executor-backend ray" in c for c in codes)
    assert any("ray start --head" in c for c in codes)
    assert many_machines.HEADING not in headings(open_size(**{**address, "engine": "SGLang"}))


def test_what_cannot_be_planned_is_a_sentence(open_size: OpenPage) -> None:
    app = open_size(model=LLAMA, machine="64 GB DDR5-5600", engine="vLLM", format="BF16", many="on", nodes="99")
    assert not app.exception
    said = " ".join(m.value for m in app.markdown)
    assert "vLLM wants a card" in said
    assert any("Nodes (machines) wants" in w.value for w in app.warning)
