"""The ranking: hard limits, evidence, speed; unknown quality stays unknown."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.buffers import find_equal_rows
from sizing.errors import BadInputError, UnknownNameError
from sizing.fit import Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.recommend import (
    MAX_RULED_OUT_TEXTS,
    MAX_UNRANKED,
    N_EXACT,
    Candidate,
    Needs,
    Quality,
    QuantLoss,
    Ranker,
    Recommendation,
)
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec
from sizing.units import GIB, MIB
from sizing.workload import Workload

BITS = {"F16": 16.0, "Q8_0": 8.5, "Q4_K_M": 4.85, "Q2_K": 2.96}
LOSSES = (QuantLoss("Q8_0", 0.1, "generic"), QuantLoss("Q4_K_M", 0.8, "generic"), QuantLoss("Q2_K", 7.0, "generic"))


def machine(ram_gib: float = 32, card_gib: float | None = None, bandwidth: float | None = 60e9) -> Machine:
    host = Device("host", DeviceKind.CPU, int(ram_gib * GIB), int(ram_gib * GIB), bandwidth, 1e12)
    if card_gib is None:
        return Machine("test box", host)
    card = Device("card", DeviceKind.GPU, int(card_gib * GIB), int(card_gib * GIB), 900e9, 70e12, "cuda")
    return Machine("test box", host, (card,))


def candidate(
    name: str, billions: float, score: float | None, *, context: int = 131072, family: str = "", **changes: object
) -> Candidate:
    n_params = int(billions * 1e9)
    group = LayerGroup(tuple(range(32)), Attention(AttentionKind.FULL, 32, 8, 128), ffn=FeedForward(14336))
    spec = ModelSpec(f"org/{name}", name, "llama", (group,), 4096, 128256, context, False, n_params, n_params)
    weights = tuple(
        WeightBytes(q, 200 * MIB, 200 * MIB, (int(n_params * bits / 8 / 32),) * 32, (0,) * 32, 200 * MIB)
        for q, bits in BITS.items()
    )
    quality = None if score is None else Quality(score, score - 3, score + 3, 9)
    base = Candidate(spec, weights, family or name, "Apache-2.0", True, "", ("chat",), ("text",), quality, LOSSES)
    return replace(base, **changes)


def ask(candidates: list[Candidate], where: Machine, **needs: object) -> Recommendation:
    wanted = Needs(**{"task": "chat", "workload": Workload(8192), **needs})
    return Ranker(candidates).recommend(where, wanted)


SMALL, MIDDLE, LARGE = candidate("small", 3, 40), candidate("middle", 14, 60), candidate("large", 70, 70)


def test_the_best_evidence_that_runs_comfortably_wins() -> None:
    best = ask([SMALL, MIDDLE, LARGE], machine(64, 24)).best
    assert best is not None and best.name == "middle"
    assert best.verdict in (Verdict.FITS, Verdict.TIGHT)
    assert best.quant in ("Q8_0", "Q4_K_M"), "not the worst quantization, and not one that needs the host"


def test_a_small_machine_gets_a_small_model_and_the_rest_is_ruled_out_with_its_bytes() -> None:
    answer = ask([SMALL, MIDDLE, LARGE], machine(6))
    assert answer.best is not None and answer.best.name == "small"
    text = {r.name: (r.kind, r.text) for r in answer.ruled_out}
    assert text["large"][0] == "memory" and "GiB" in text["large"][1]


def test_a_heavy_loss_is_not_taken_where_a_lighter_quantization_fits() -> None:
    answer = ask([MIDDLE], machine(64, 12))
    assert answer.best is not None and answer.best.quant == "Q4_K_M"


def test_unknown_quality_is_unknown_and_ranks_below_evidence() -> None:
    answer = ask([candidate("mystery", 8, None), SMALL], machine(64, 24))
    assert [o.name for o in answer.options] == ["small", "mystery"]
    assert answer.options[1].utility is None
    assert "unknown" in answer.options[1].reasons[0]
    alone = ask([candidate("mystery", 8, None)], machine(64, 24))
    assert alone.best is None and len(alone.options) == 1 and alone.runners_up == ()


def test_hard_limits_rule_out_with_their_reason() -> None:
    answer = ask(
        [
            candidate("closed", 3, 50, license_allowed=False, license_note="no commercial use"),
            candidate("short", 3, 50, context=4096),
            candidate("embedder", 1, None, tasks=("embedding",)),
            candidate("alien", 3, 50, weights=(), gap="llama.cpp does not know the architecture 'alien'"),
            candidate("slow", 30, 90),
        ],
        machine(64),
        min_decode_tokens_per_s=20.0,
    )
    reasons = {r.name: r.kind for r in answer.ruled_out}
    assert reasons == {"closed": "licence", "short": "context", "embedder": "task", "alien": "engine", "slow": "speed"}
    assert answer.best is None and answer.options == ()
    assert "4,096" in next(r.text for r in answer.ruled_out if r.name == "short")


def test_pictures_want_a_model_that_reads_them() -> None:
    seeing = candidate("seeing", 7, 40, modalities=("text", "image"), projector_bytes=GIB)
    answer = ask([MIDDLE, seeing], machine(64, 24), task="vision")
    assert [o.name for o in answer.options] == ["seeing"]
    assert answer.options[0].estimate.memory.parts.overhead_bytes > GIB, "the projector is counted"


def test_speed_is_unknown_where_bandwidth_is_and_a_minimum_then_rules_out() -> None:
    free = ask([SMALL], machine(32, bandwidth=None))
    assert free.best is not None and free.best.estimate.speed is None
    assert any("speed unknown" in reason for reason in free.best.reasons)
    strict = ask([SMALL], machine(32, bandwidth=None), min_decode_tokens_per_s=1.0)
    assert strict.best is None and strict.ruled_out[0].kind == "speed"


def test_runners_up_come_from_other_families_where_there_are_any() -> None:
    many = [candidate(f"q{i}", 8, 60 - i, family="same") for i in range(4)] + [candidate("other", 8, 50)]
    answer = ask(many, machine(64, 24))
    assert answer.best is not None and answer.best.name == "q0"
    assert [o.name for o in answer.runners_up] == ["other", "q1"]


def test_it_says_what_would_change_the_answer() -> None:
    answer = ask([SMALL, MIDDLE, LARGE], machine(64, 24))
    assert any("GiB more" in line for line in answer.what_would_change)


@pytest.mark.parametrize("where", [machine(64, 24), machine(16)])
def test_models_without_evidence_do_not_change_what_would_change(where: Machine) -> None:
    """Only models with evidence are recommended, so only they are asked; costs are those already worked out."""
    needs = Needs("chat", Workload(8192))
    unknown = [candidate(f"unknown {i}", 2 + i, None) for i in range(5)]
    mixed = Ranker([unknown[0], SMALL, *unknown[1:], MIDDLE, LARGE])
    assert mixed.find_changes(where, needs) == Ranker([SMALL, MIDDLE, LARGE]).find_changes(where, needs)
    assert mixed.evident.columns.kept is mixed.columns.kept
    assert Ranker(unknown).find_changes(where, needs) == ()


def test_more_users_need_more_memory_and_see_less_speed() -> None:
    one, many = ask([SMALL], machine(64, 24)), ask([SMALL], machine(64, 24), workload=Workload(8192, n_parallel=8))
    assert one.best is not None and many.best is not None
    fixed = {o.quant: o for o in (one.best, many.best)}
    assert many.best.estimate.memory.parts.kv_cache_bytes == 8 * one.best.estimate.memory.parts.kv_cache_bytes
    assert one.best.estimate.speed is not None and many.best.estimate.speed is not None
    if len(fixed) == 1:
        assert many.best.estimate.speed.decode_tokens_per_s.low < one.best.estimate.speed.decode_tokens_per_s.low


def test_ranking_many_at_once_sizes_each_as_if_alone() -> None:
    where = machine(64, 24)
    together = {o.name: o for o in ask([SMALL, MIDDLE, LARGE], where).options}
    for one in (SMALL, MIDDLE, LARGE):
        alone = ask([one], where).options
        assert [o.estimate.memory for o in alone] == [together[o.name].estimate.memory for o in alone]


def tell(answer: Recommendation) -> dict[str, object]:
    """What was answered of each model, by its name."""
    told: dict[str, object] = {o.name: (o.quant, o.utility, o.estimate, o.reasons) for o in answer.options}
    return told | {r.name: (r.kind, r.text) for r in answer.ruled_out}


MACHINES = [machine(64, 24), machine(12), replace(machine(24, 8), host=machine(24, bandwidth=None).host)]


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_models_that_share_shapes_and_bytes_are_sized_as_if_each_stood_alone(data: st.DataObject) -> None:
    where, task = data.draw(st.sampled_from(MACHINES)), data.draw(st.sampled_from(("chat", "vision")))
    parents = [SMALL, MIDDLE, candidate("wide", 14, 55, modalities=("text", "image"), projector_bytes=GIB)]
    many = []
    for i in range(data.draw(st.integers(2, 12))):
        parent = data.draw(st.sampled_from(parents))
        mixes = [
            replace(w, quant=data.draw(st.sampled_from((w.quant, f"UD-{w.quant}"))))
            for w in data.draw(st.lists(st.sampled_from(parent.weights), min_size=1, max_size=3, unique=True))
        ]
        spec = replace(parent.spec, model_id=f"tuner/{i}", name=f"model {i}", context_tokens=parent.spec.context_tokens)
        score = data.draw(st.none() | st.integers(20, 90))
        quality = None if score is None else Quality(score, score - 4, score + 4, 2)
        many.append(replace(parent, spec=spec, weights=tuple(mixes), quality=quality))
    needs = Needs(task, Workload(data.draw(st.sampled_from((2048, 65536)))), data.draw(st.sampled_from((None, 12.0))))
    together = Ranker(many).recommend(where, needs, sensitivity=False)
    alone: dict[str, object] = {}
    for one in many:
        alone |= tell(Ranker([one]).recommend(where, needs, sensitivity=False))
    exact = {o.name for o in together.options[N_EXACT:]}  # alone, each of these is worked out exactly
    told = tell(together)
    assert told.keys() == alone.keys()
    assert {k: v for k, v in told.items() if k not in exact} == {k: v for k, v in alone.items() if k not in exact}


def test_equal_shapes_and_bytes_are_one_row() -> None:
    copies = [replace(SMALL, spec=replace(SMALL.spec, model_id=f"t/{i}", name=f"t{i}")) for i in range(50)]
    ranker = Ranker([*copies, MIDDLE])
    assert ranker.columns.layers.n_models == 2
    assert len(ranker.table.quant) == len(SMALL.weights) + len(MIDDLE.weights)
    assert len(ranker.columns.rows) == 50 * len(SMALL.weights) + len(MIDDLE.weights)


def test_a_ranker_of_the_same_models_under_other_terms_shares_the_columns() -> None:
    first = Ranker([SMALL, MIDDLE])
    freer = Ranker([replace(SMALL, quality=None), MIDDLE], first.columns)
    other = Ranker([SMALL, LARGE], first.columns)
    assert freer.columns is first.columns and other.columns is not first.columns
    where = machine(64, 24)
    needs = Needs("chat", Workload(8192))
    assert tell(freer.recommend(where, needs)) == tell(
        Ranker([replace(SMALL, quality=None), MIDDLE]).recommend(where, needs)
    )


def test_of_many_without_evidence_the_best_are_told_and_the_rest_counted() -> None:
    many = [
        replace(
            SMALL,
            spec=replace(SMALL.spec, model_id=f"t/{i}", name=f"t{i}"),
            quality=None,
            n_downloads=i if i % 2 else None,
        )
        for i in range(MAX_UNRANKED + 50)
    ]
    answer = ask([*many, MIDDLE], machine(64, 24))
    assert answer.options[0].name == "middle" and answer.best is not None
    assert len(answer.options) == MAX_UNRANKED + 1 and answer.n_more == 50 and answer.n_running == MAX_UNRANKED + 51
    downloads = [o.candidate.n_downloads or 0 for o in answer.options[1:]]
    assert downloads == sorted(downloads, reverse=True), "of equals the most downloaded come first"


def test_of_many_ruled_out_some_are_told_and_all_counted() -> None:
    def copies(parent: Candidate, n: int, **changes: object) -> list[Candidate]:
        return [
            replace(parent, spec=replace(parent.spec, model_id=f"{parent.spec.name}/{i}"), **changes) for i in range(n)
        ]

    many = [*copies(LARGE, MAX_RULED_OUT_TEXTS + 7), *copies(SMALL, 3, license_allowed=False)]
    answer = ask(many, machine(6))
    assert answer.ruled_out_counts == (("memory", MAX_RULED_OUT_TEXTS + 7), ("licence", 3))
    assert answer.n_ruled_out == MAX_RULED_OUT_TEXTS + 10
    assert Counter(r.kind for r in answer.ruled_out) == {"memory": MAX_RULED_OUT_TEXTS, "licence": 3}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2**40), st.integers(0, 2)), min_size=1, max_size=60))
def test_equal_rows_are_found_whatever_their_numbers(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, dtype=np.int64)
    first, which = find_equal_rows(tuple(table.T))
    assert np.array_equal(table[first][which], table)
    assert len(first) == len(set(rows))


@pytest.mark.parametrize(
    ("needs", "error"),
    [
        ({"task": "poetry"}, UnknownNameError),
        ({"license_use": "piracy"}, UnknownNameError),
        ({"min_decode_tokens_per_s": -1.0}, BadInputError),
        ({"min_decode_tokens_per_s": float("nan")}, BadInputError),
    ],
)
def test_bad_needs_are_refused(needs: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Needs(**{"task": "chat", "workload": Workload(8192), **needs})


def test_an_empty_catalog_is_an_answer_not_a_crash() -> None:
    answer = ask([], machine())
    assert answer.best is None and answer.options == () and answer.ruled_out == ()
