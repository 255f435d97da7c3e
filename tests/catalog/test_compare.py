"""Comparisons of real models: rows whatever the order, known figures, licences, refusals, intervals of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.candidates import list_candidates
from catalog.compare import Compared, CompareQuestion, LicenseWord, compare_models, find_score_interval, say_verdict
from catalog.compare_rows import FILES, RUNS, SCORES, build_comparison, can_compare, name_apart
from catalog.license_chain import judge_model
from catalog.license_rules import make_profile
from catalog.quality import ScoreRow, load_scores
from catalog.queries import find_machine, find_model
from catalog.store import Catalog, open_catalog
from sizing.compare import Comparison, Row
from sizing.layer_strip import (
    LayerKind,
    count_kinds,
    estimate_kv_growth_bytes,
    list_runs,
    say_experts,
    say_heads,
    say_kinds,
    say_kv_heads,
)
from sizing.recommend import Needs, Ranker
from sizing.units import MIB
from sizing.workload import Workload
from tests.catalog.import_cases import make_import
from tests.sizing.test_compare import reorder_rows

LLAMA, GEMMA, SPARSE = "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-12b-it", "openai/gpt-oss-20b"


@pytest.fixture(scope="module")
def known() -> Catalog:
    return open_catalog()


def ask(known: Catalog, machine: str = "RTX 4090", quant: str | None = None, context: int = 8192) -> CompareQuestion:
    needs = Needs("chat", Workload(context), None, "commercial")
    return CompareQuestion(needs, find_machine(known, machine), quant)


def compare(known: Catalog, *models: str, question: CompareQuestion | None = None) -> Comparison:
    asked = question or ask(known)
    found = compare_models(known, [find_model(known, m) for m in models], asked)
    return build_comparison(found, asked, judge_for(known, "commercial"))


def judge_for(known: Catalog, use: str) -> Callable[[Compared], LicenseWord]:
    profile = make_profile(use)
    return lambda model: say_verdict(judge_model(known, model.card, profile), use)


def find_row(comparison: Comparison, label: str) -> Row:
    (found,) = [r for r in comparison.rows if r.label == label]
    return found


@pytest.fixture(scope="module")
def three(known: Catalog) -> tuple[Compared, ...]:
    return compare_models(known, [find_model(known, m) for m in (LLAMA, GEMMA, SPARSE)], ask(known))


@given(order=st.permutations(range(3)))
@settings(deadline=None)
def test_the_order_of_models_does_not_change_the_rows(
    known: Catalog, three: tuple[Compared, ...], order: list[int]
) -> None:
    asked = ask(known)

    def build(models: tuple[Compared, ...]) -> Comparison:
        return build_comparison(models, asked, judge_for(known, "commercial"))

    before, after = build(three), build(tuple(three[i] for i in order))
    assert after.rows == reorder_rows(before, order)
    assert set(after.assumptions) == set(before.assumptions) and set(after.sources) == set(before.sources)


def test_facts_are_the_publishers(known: Catalog) -> None:
    """The configs of https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct and huggingface.co/openai/gpt-oss-20b"""
    told = compare(known, LLAMA, SPARSE)
    assert [c.text for c in find_row(told, "Heads").cells] == ["32", "64"]
    assert [c.text for c in find_row(told, "KV heads").cells] == ["8", "8"]
    assert not find_row(told, "KV heads").differs
    assert [c.text for c in find_row(told, "Experts").cells] == ["dense, no experts", "4 of 32"]
    assert [c.value for c in find_row(told, "Layers").cells] == [32, 24]
    assert [c.value for c in find_row(told, "Trained context").cells] == [131072, 131072]


def test_the_cache_grows_as_the_engine_lays_it_out(known: Catalog) -> None:
    """llama.cpp logs 512 MiB of f16 cache for Llama 3.1 8B at 4,096 tokens: 128 MiB for 1,024.

    8 of Gemma 3's 48 layers see everything, each with 8 heads of 256 in K and in V, 2 bytes each; its windows are full.
    """
    assert estimate_kv_growth_bytes(find_model(known, LLAMA).spec, Workload(8192)) == 128 * MIB
    assert estimate_kv_growth_bytes(find_model(known, GEMMA).spec, Workload(8192)) == 8 * 8 * 256 * 2 * 2 * 1024
    quantized = Workload(8192, kv_type_k="q8_0", kv_type_v="q8_0")
    assert estimate_kv_growth_bytes(find_model(known, LLAMA).spec, quantized) == 128 * MIB * 34 // 64


def test_the_quantization_is_the_one_the_ranking_picks(known: Catalog) -> None:
    from catalog.candidates import list_candidates

    asked = ask(known)
    found = compare_models(known, [find_model(known, m) for m in (LLAMA, GEMMA)], asked)
    ranked = Ranker(list_candidates(known, "chat", "commercial")).recommend(asked.machine, asked.needs)
    picked = {o.candidate.spec.model_id: o.quant for o in ranked.options}
    assert [m.quant for m in found] == [picked[LLAMA], picked[GEMMA]]


def test_one_quantization_for_all_and_a_model_that_lacks_it(known: Catalog) -> None:
    told = compare(known, LLAMA, GEMMA, question=ask(known, quant="Q4_K_M"))
    assert [c.text for c in find_row(told, "Quantization").cells] == ["Q4_K_M", "Q4_K_M"]
    refused = compare(known, LLAMA, GEMMA, question=ask(known, quant="UD-Q4_K_XL"))
    assert all("has no UD-Q4_K_XL" in c.text for c in find_row(refused, "Fit").cells)


def test_too_long_a_context_is_said_and_never_shortened(known: Catalog) -> None:
    told = compare(known, "Qwen/Qwen3-14B", LLAMA, question=ask(known, context=65536))
    first, second = find_row(told, "Fit").cells
    assert "trained for at most 40,960 tokens" in first.text
    assert "65,536" not in second.text
    assert find_row(told, "Memory in all").cells[0].value is None


def test_what_does_not_fit_shows_the_smallest_and_no_speed(known: Catalog) -> None:
    told = compare(known, "deepseek-ai/DeepSeek-V3", LLAMA)
    assert find_row(told, "Fit").cells[0].text.startswith("does not fit")
    assert find_row(told, "Speed of each user").cells[0].text == "does not run"
    assert find_row(told, "Speed of each user").best == frozenset()


def test_every_model_llama_cpp_cannot_size_is_a_sentence(known: Catalog) -> None:
    gaps = [c.model_id for c in known.cards if not compare_weights(known, c.model_id)]
    assert gaps, "the catalog knows some models that llama.cpp does not"
    told = compare(known, gaps[0], LLAMA)
    assert find_row(told, "Fit").cells[0].text.startswith("cannot be sized for llama.cpp")
    assert find_row(told, "Quantization").cells[0].text == "none"
    assert find_row(told, "Speed of each user").cells[0].text == "not sized"


def compare_weights(known: Catalog, model_id: str) -> bool:
    from catalog.queries import list_weights

    return bool(list_weights(known, model_id))


def test_imported_files_are_rows_with_their_publisher(known: Catalog) -> None:
    imported = make_import(known, "someone/tuned-8b")
    cards = [imported.card, find_model(known, LLAMA)]
    found = compare_models(known, [cards[1]], ask(known), lambda _: imported)
    told = build_comparison(found, ask(known), judge_for(known, "any"))
    (row,) = [r for r in told.of_group(FILES) if r.label == "UD-Q4_K_XL"]
    assert row.cells[0].value == imported.files[0].size_bytes
    assert row.cells[0].text.endswith("by someone/tuned-8b")


def test_models_of_one_name_are_told_apart_by_their_repository(known: Catalog) -> None:
    card = find_model(known, LLAMA)
    other = make_import(known, f"someone/{card.name}").card
    assert name_apart([card, other, find_model(known, GEMMA)]) == (
        f"{card.name} ({LLAMA})",
        f"{card.name} (someone/{card.name})",
        "Gemma 3 12B IT",
    )


def test_pictures_count_the_projector(known: Catalog) -> None:
    """Gemma 3 12B's vision tower is a file of its own, in 16 bit: two bytes a parameter on the first device."""
    text, pictures = ask(known, quant="Q4_K_M"), ask(known, quant="Q4_K_M")
    pictures = replace(pictures, needs=replace(pictures.needs, task="vision"))
    without, with_it = (compare_models(known, [find_model(known, GEMMA)], q)[0].estimate for q in (text, pictures))
    assert without is not None and with_it is not None
    n_params = find_model(known, GEMMA).spec.n_params_projector
    assert n_params and with_it.memory.total_bytes - without.memory.total_bytes == 2 * n_params


def test_a_published_file_is_to_the_byte(known: Catalog) -> None:
    """https://huggingface.co/bartowski/DeepSeek-R1-Distill-Llama-8B-GGUF: 4,920,736,608 bytes in Q4_K_M."""
    told = compare(known, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", LLAMA)
    sizes = [r.cells[0] for r in told.of_group(FILES) if r.label == "Q4_K_M"]
    assert 4_920_736_608 in {c.value for c in sizes}


def test_a_licence_is_told_with_its_duties(known: Catalog) -> None:
    told = compare(known, LLAMA, "mistralai/Codestral-22B-v0.1", "Qwen/Qwen3-8B")
    words = [c.text for c in find_row(told, "For commercial use").cells]
    assert words[0] == "allowed with duties" and words[1] == "not allowed"
    assert "700 million" in find_row(told, "Its reason and duties").cells[0].text


def test_the_interval_of_an_arena_score_holds_it() -> None:
    """The rating's ends through Elo's expectation; 1110.8 within 1098 and 1124 against 1300."""
    row = next(r for r in load_scores() if r.model_id == "01-ai/Yi-34B-Chat" and r.benchmark == "LMArena Coding")
    found = find_score_interval(row)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(23.82, abs=0.01), pytest.approx(26.63, abs=0.01))
    intervals = [find_score_interval(r) for r in load_scores() if "CI " in r.setting]
    assert len(intervals) > 100 and all(i is not None and i.low <= i.mid <= i.high for i in intervals)
    assert find_score_interval(replace(row, setting="")) is None
    assert find_score_interval(replace(row, setting="CI 1..2-3")) is None


def score(model: str, by: str = "A", mode: str = "") -> ScoreRow:
    return ScoreRow(model, "MMLU", 70.0, by, True, "https://example.org", "2026-01", mode=mode)


def test_scores_compare_only_where_one_party_reported_all() -> None:
    assert can_compare([score("a"), score("b")], 2)
    assert not can_compare([score("a"), score("b", "B")], 2)
    assert not can_compare([score("a"), score("b", mode="thinking")], 2)
    assert not can_compare([score("a"), score("a"), score("b")], 2)


def test_scores_say_who_reported_them(known: Catalog) -> None:
    told = compare(known, LLAMA, GEMMA)
    rows = told.of_group(SCORES)
    assert rows and all(" by " in c.text or c.text == "none published" for r in rows for c in r.cells)
    arena = find_row(told, "LMArena Text")
    assert arena.better == "more" and all(c.low is not None for c in arena.cells)


def test_figures_are_the_estimates(known: Catalog, three: tuple[Compared, ...]) -> None:
    from sizing.estimate import estimate

    told = build_comparison(three, ask(known), judge_for(known, "commercial"))
    for place, model in enumerate(three):
        assert model.weights is not None
        answer = estimate(model.card.spec, model.weights, Workload(8192), ask(known).machine)
        assert find_row(told, "Memory in all").cells[place].value == answer.memory.total_bytes
        parts = [r.cells[place].value or 0 for r in told.of_group(RUNS) if r.label.startswith("of it")]
        assert 0 <= answer.memory.total_bytes - sum(parts) == answer.memory.parts.overhead_bytes


def test_strips_cover_every_layer_once(known: Catalog) -> None:
    for card in known.cards:
        runs = list_runs(card.spec)
        assert sum(r.count for r in runs) == card.spec.n_layers == sum(n for _, n in count_kinds(card.spec))
        assert [r.first for r in runs] == [sum(r.count for r in runs[:i]) for i in range(len(runs))]
        assert all((a.kind, a.is_moe, a.text) != (b.kind, b.is_moe, b.text) for a, b in pairwise(runs))
        for say in (say_heads, say_kv_heads, say_kinds, say_experts):
            assert say(card.spec)


def test_gemma_3_has_five_windows_to_one_full_layer(known: Catalog) -> None:
    """https://huggingface.co/google/gemma-3-12b-it/blob/main/config.json: sliding_window_pattern 6, 48 layers."""
    kinds = dict(count_kinds(find_model(known, GEMMA).spec))
    assert kinds == {LayerKind.FULL: 8, LayerKind.SLIDING: 40}
    assert [r.count for r in list_runs(find_model(known, GEMMA).spec)][:2] == [5, 1]


@pytest.mark.parametrize("machine", ["RTX 3060", "RTX 4090", "2 x RTX 3090", "64 GB DDR5"])
@pytest.mark.parametrize("task", ["chat", "code"])
def test_the_best_quantization_of_each_is_the_one_the_ranking_recommends(
    known: Catalog, task: str, machine: str
) -> None:
    needs, place = Needs(task=task, workload=Workload(8192)), find_machine(known, machine)
    answer = Ranker(list_candidates(known, task, needs.license_use)).recommend(place, needs, sensitivity=False)
    assert answer.best is not None
    options = (answer.best, *answer.runners_up)
    cards = tuple(find_model(known, option.candidate.spec.model_id) for option in options)
    compared = compare_models(known, cards, CompareQuestion(needs, place))
    assert [c.quant for c in compared] == [option.quant for option in options]
