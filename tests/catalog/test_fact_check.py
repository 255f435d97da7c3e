"""What a person who added a fact hears: nothing where all agrees, else the name and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.__main__ import main
from catalog.fact_check import count_facts, list_fact_problems
from catalog.licenses import load_licenses
from catalog.store import Catalog, open_catalog

FAMILY = """family = "Nobody"
org = "Nobody"

[[model]]
id = "nobody/nothing-1b"
name = "Nothing 1B"
release = "2026-01"
license = "apache-2.0"
openness = "open weight"
gated = false
modalities = ["text"]
tasks = ["chat"]
architecture = "llama"
n_layers = 2
hidden_dim = 64
n_heads = 2
n_kv_heads = 2
head_dim = 32
ffn_dim = 128
vocab_size = 1000
context_tokens = 2048
tied_embeddings = false
n_params = {n_params}
n_active_params = {n_params}
n_params_reported = {n_params}
confidence = "read"
basis = "made up for a test"
source_url = "https://example.org/config.json"
as_of = "2026-11"
"""

# by hand: embedding and head 2 x 64,000; a layer 4 x 64 x 64 + 3 x 64 x 128 + 2 norms of 64; a last norm of 64
COUNTED = 2 * 64_000 + 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64


def test_the_facts_agree_with_themselves(catalog: Catalog) -> None:
    assert list_fact_problems(catalog) == ()


def test_a_new_model_is_told_to_be_weighed(data_copy: Path) -> None:
    (data_copy / "families" / "nobody.toml").write_text(FAMILY.format(n_params=COUNTED), encoding="utf-8")
    (problem,) = [p for p in list_fact_problems(open_catalog(data_copy)) if p.name == "nobody/nothing-1b"]
    assert "python -m evals weigh --model nobody/nothing-1b" in problem.text


def test_a_count_that_is_not_the_shapes_is_named(data_copy: Path) -> None:
    (data_copy / "families" / "nobody.toml").write_text(FAMILY.format(n_params=COUNTED + 500), encoding="utf-8")
    texts = [p.text for p in list_fact_problems(open_catalog(data_copy))]
    assert f"n_params is {COUNTED + 500:,}, its shapes hold {COUNTED:,} (-500)" in texts


def test_an_openness_that_the_licence_denies_is_named(data_copy: Path) -> None:
    text = FAMILY.format(n_params=COUNTED)
    forbidding = next(x.license_id for x in load_licenses(data_copy) if x.commercial == "no")
    (data_copy / "families" / "nobody.toml").write_text(text.replace("apache-2.0", forbidding), encoding="utf-8")
    told = [p.text for p in list_fact_problems(open_catalog(data_copy)) if p.name == "nobody/nothing-1b"]
    assert f"openness is 'open weight', {forbidding} forbids commercial use" in told


def test_a_card_that_lacks_what_its_generation_has_is_named(data_copy: Path) -> None:
    path = data_copy / "hardware.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("RTX 4090,"))
    cells, columns = lines[at].split(","), lines[0].split(",")
    cells[columns.index("bf16_flops")] = ""
    path.write_text("\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :], ""]), encoding="utf-8")
    told = {p.name: p.text for p in list_fact_problems(open_catalog(data_copy)) if "_flops" in p.text}
    assert told == {"RTX 4090": "bf16_flops is empty, unlike for every other device of 'ada'"}


def test_the_command_counts_what_the_catalog_holds(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert told["version"] == catalog.version.text
    assert told["facts"]["models"] == catalog.fetch("SELECT count(*) FROM models")[0][0]
    assert told["facts"] == {c.kind: c.n_facts for c in count_facts(catalog)}
