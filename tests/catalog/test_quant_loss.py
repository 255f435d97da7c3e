"""Quantization loss from published measurements: labels, order, and the figures of the sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.candidates import find_loss_model, list_quant_losses
from catalog.quant_loss import LossModel, estimate_quant_loss, fit_losses, load_quant_rows
from catalog.quant_tasks import fit_task_factors, scale_loss
from catalog.store import Catalog
from sizing.errors import DataFileError
from sizing.quants import QUANTS
from sizing.recommend import TASKS

LLAMA = ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1")
OTHER = ("org/never-measured", "Never measured")


@pytest.fixture(scope="module")
def losses() -> LossModel:
    return fit_losses(load_quant_rows())


def points(losses: LossModel, quant: str, who: tuple[str, str] = OTHER) -> float:
    found = estimate_quant_loss(losses, quant, *who)
    assert found is not None
    return found.points


def test_points_per_nat_matches_the_source_tables(losses: LossModel) -> None:
    # llama.cpp's Llama 3 8B table: Q3_K_M with an importance matrix diverges by 0.084 nat; the MMLU table of the same
    # model in the same quantization falls from 65.20 to 62.89. IQ2_M: 0.326 nat, 65.20 to 57.56. 23 to 28 per nat.
    assert (65.20 - 57.56) / 0.326 < losses.points_per_nat < (65.20 - 62.89) / 0.084


def test_unknown_quantization_is_unknown(losses: LossModel) -> None:
    assert estimate_quant_loss(losses, "Q3_K_XXXL", *OTHER) is None


def test_native_format_costs_nothing(losses: LossModel) -> None:
    found = estimate_quant_loss(losses, "MXFP4", "openai/gpt-oss-20b", "gpt-oss", quant_native="MXFP4")
    assert found is not None
    assert found.points == 0


@pytest.mark.parametrize("who", [OTHER, LLAMA, ("Qwen/Qwen3.6-27B", "Qwen3.6")])
def test_fewer_bits_cost_more(losses: LossModel, who: tuple[str, str]) -> None:
    ladder = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S"]
    costs = [points(losses, q, who) for q in ladder]
    assert costs == sorted(costs)
    ladder = ["IQ4_XS", "IQ3_M", "IQ3_XXS", "IQ2_M", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]
    costs = [points(losses, q, who) for q in ladder]
    assert costs == sorted(costs)


def test_figures_stay_near_the_measurements(losses: LossModel) -> None:
    # github.com/matt-c1/llama-3-quant-comparison: 8B loses 0.56 points at Q4_K_M and 9.3 at Q2_K, 70B less.
    assert 0.2 < points(losses, "Q4_K_M", LLAMA) < 0.9
    assert 3 < points(losses, "Q2_K", LLAMA) < 9.5
    assert points(losses, "Q8_0", LLAMA) < 0.1


@pytest.mark.parametrize(
    ("quant", "who", "label"),
    [
        ("Q4_K_M", ("Qwen/Qwen3-30B-A3B", "Qwen3"), "same model"),
        ("Q4_K_M", ("Qwen/Qwen3-14B", "Qwen3"), "same family"),
        ("Q4_K_M", LLAMA, "same family"),
        ("Q2_K", ("Qwen/Qwen3-30B-A3B", "Qwen3"), "generic"),
        ("Q4_K_M", OTHER, "generic"),
    ],
)
def test_label_tells_whose_measurements(losses: LossModel, quant: str, who: tuple[str, str], label: str) -> None:
    found = estimate_quant_loss(losses, quant, *who)
    assert found is not None
    assert found.label == label
    assert found.rows
    assert all(row.quant == quant and row.source_url.startswith("https://") for row in found.rows)
    assert 0 < found.low < found.points < found.high
    if label == "same model":
        assert {row.model_id for row in found.rows} == {who[0]}


def test_generic_is_wider_than_same_model(losses: LossModel) -> None:
    same = estimate_quant_loss(losses, "Q4_K_M", "Qwen/Qwen3.6-27B", "Qwen3.6")
    generic = estimate_quant_loss(losses, "Q4_K_M", *OTHER)
    assert same is not None
    assert generic is not None
    assert generic.high / generic.low > same.high / same.low


def test_every_quantization_of_the_ladder_but_mxfp4_is_measured(losses: LossModel) -> None:
    missing = {name for name in QUANTS if estimate_quant_loss(losses, name, *OTHER) is None}
    assert missing <= {"MXFP4"}


def test_the_row_that_contradicts_itself_is_gone() -> None:
    # llama.cpp's table gives Llama 2 7B q2_K a perplexity of 5.7946, below q4_K_M, with a ratio of 1.108.
    rows = load_quant_rows()
    assert not [r for r in rows if r.model == "Llama 2 7B" and r.quant == "Q2_K"]
    assert [r for r in rows if r.model == "Llama 2 7B" and r.quant == "Q4_K_M"]


def test_cache_measurements_do_not_count_as_weights(losses: LossModel) -> None:
    assert all(row.kv_type_k == row.kv_type_v == "f16" for row in losses.rows)
    assert any(row.kv_type_k == "q8_0" for row in load_quant_rows())


def test_bad_rows_are_named_with_their_line(tmp_path: Path) -> None:
    header, good = (Path(__file__).parents[2] / "catalog/data/quant_quality.csv").read_text().splitlines()[:2]
    place = header.split(",").index("kl_divergence")
    cells = good.split(",")
    assert len(cells) == len(header.split(","))
    cells[place] = "low"
    file = tmp_path / "quant_quality.csv"
    file.write_text("\n".join([header, good, ",".join(cells)]) + "\n")
    with pytest.raises(DataFileError, match="wants a number") as caught:
        load_quant_rows(file)
    assert caught.value.line == 3


def test_a_model_nobody_measured_is_never_taken_for_a_measured_one(losses: LossModel) -> None:
    """Measurements of models outside the catalog carry no id; neither does a model asked about without one."""
    found = estimate_quant_loss(losses, "Q4_K_M", "", "")
    assert found is not None and found.label == "generic"


def test_every_card_has_the_losses_of_its_own_id_and_family(catalog: Catalog) -> None:
    losses = find_loss_model(catalog.data_dir)
    for card in catalog.cards:
        own = [estimate_quant_loss(losses, q, card.model_id, card.family, card.quant_native) for q in QUANTS]
        wanted = [(e.quant, e.points, e.label, e.high) for e in own if e is not None]
        told = [(x.quant, x.points, x.label, x.high) for x in list_quant_losses(catalog, card) if x.quant in QUANTS]
        assert told == wanted


def test_written_answers_lose_more_than_one_letter(losses: LossModel) -> None:
    # github.com/UnicomAI/DeepSeek-Eval, table 3: V3 at Q2_K_L loses 3.81 points of MMLU, 12.55 of MATH-500, 22.93 of
    # AIME 2024, 8.58 of GPQA, and 6.65, 5.52 and 7.07 of three code benchmarks
    factors = fit_task_factors(load_quant_rows())
    assert set(factors) == set(TASKS)
    assert factors["math"].factor == pytest.approx((22.93 + 12.55) / 2 / 3.81, rel=0.25)
    assert factors["reasoning"].factor == pytest.approx(8.58 / 3.81, rel=0.25)
    assert factors["code"].factor == pytest.approx((6.65 + 5.52 + 7.07) / 3 / 3.81, rel=0.25)
    assert factors["math"].factor > factors["chat"].factor > factors["code"].factor > 1
    assert all(f.n_files >= 8 and 0 < f.error < f.factor / 3 for f in factors.values())


def test_a_loss_in_a_task_carries_both_uncertainties(losses: LossModel) -> None:
    found = estimate_quant_loss(losses, "Q3_K_M", *OTHER)
    factor = fit_task_factors(load_quant_rows())["math"]
    assert found is not None
    told = scale_loss(found, factor)
    assert told.points == pytest.approx(found.points * factor.factor)
    assert told.high - told.points > factor.factor * (found.high - found.points)
    assert 0 <= told.low < told.points
    native = estimate_quant_loss(losses, "MXFP4", "openai/gpt-oss-20b", "gpt-oss", quant_native="MXFP4")
    assert native is not None and scale_loss(native, factor).high == 0


def test_what_one_relative_lost_is_not_taken_for_sure(losses: LossModel) -> None:
    """Qwen3.5 27B lost little; its small sister takes a share of that, and stays as uncertain as any unmeasured."""
    sister = estimate_quant_loss(losses, "Q2_K", "Qwen/Qwen3.5-4B", "Qwen3.5")
    measured = estimate_quant_loss(losses, "Q2_K", "Qwen/Qwen3.5-27B", "Qwen3.5")
    stranger = estimate_quant_loss(losses, "Q2_K", *OTHER)
    assert sister is not None and measured is not None and stranger is not None
    assert measured.points < sister.points < stranger.points
    assert sister.high / sister.points == pytest.approx(stranger.high / stranger.points)
    assert measured.high / measured.points < sister.high / sister.points


def test_the_candidates_lose_what_the_task_loses(catalog: Catalog) -> None:
    card = next(c for c in catalog.cards if c.model_id == "Qwen/Qwen3-8B")
    losses = {task: {x.quant: x for x in list_quant_losses(catalog, card, task)} for task in ("", "math", "code")}
    assert losses["math"]["Q2_K"].points > losses["code"]["Q2_K"].points > losses[""]["Q2_K"].points
    assert losses["math"]["Q2_K"].low is not None and losses["math"]["Q2_K"].high is not None
