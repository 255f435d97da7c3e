"""Placement by llama.cpp's rule: golden splits from the engine over imagined devices, and properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.buffers import ComputeBuffers
from sizing.errors import BadInputError, UnsupportedError
from sizing.fit import Verdict, explain_fit, judge
from sizing.hardware import Calibration, Device, DeviceKind, Machine
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import ModelBytes, Offload, Placement, place, split_bounds
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec
from sizing.throughput import estimate_speed
from sizing.units import GIB, MIB
from sizing.weights import Spans, WeightTable
from sizing.workload import Workload


def host(gib: float = 64) -> Device:
    return Device("host", DeviceKind.CPU, int(gib * GIB), int(gib * GIB), 60e9, 1e12)


def card(gib: float, name: str = "card", backend: str = "cuda") -> Device:
    return Device(name, DeviceKind.GPU, int(gib * GIB), int(gib * GIB), 1000e9, 100e12, backend)


def model(n_layers: int = 32, *, moe: bool = False, tied: bool = False) -> ModelSpec:
    attention = Attention(AttentionKind.FULL, 32, 8, 128)
    ffn = FeedForward(n_experts=8, n_active_experts=2, expert_ffn_dim=100) if moe else FeedForward(14336)
    group = LayerGroup(tuple(range(n_layers)), attention, ffn=ffn)
    return ModelSpec("a/b", "B", "llama", (group,), 4096, 128256, 131072, tied, 8_000_000_000, 8_000_000_000)


def weights(n_layers: int = 32, layer_mib: int = 130, *, expert_mib: int = 0) -> WeightBytes:
    return WeightBytes(
        "Q4_K_M",
        input_bytes=280 * MIB,
        output_bytes=410 * MIB,
        layer_bytes=(layer_mib * MIB,) * n_layers,
        layer_expert_bytes=(expert_mib * MIB,) * n_layers,
        token_embedding_bytes=280 * MIB,
    )


def costs(n_layers: int = 32, kv_layer_mib: float = 32.0, context_tokens: int = 8192) -> ModelBytes:
    layers = LayerTable.from_specs([model(n_layers)])
    return ModelBytes(
        kv=Spans.from_rows([[int(kv_layer_mib * MIB)] * n_layers]),
        recurrent=Spans.from_rows([[0] * n_layers]),
        buffers=ComputeBuffers(layers, Workload(context_tokens)),
        output=np.array([int(0.49 * MIB)], dtype=np.int64),
        extra=np.zeros(1, dtype=np.int64),
    )


def table(spec: ModelSpec | None = None, bytes_: WeightBytes | None = None) -> WeightTable:
    return WeightTable.from_models([(spec or model(), [bytes_ or weights()])])


# llama.cpp's own log, llama-cpp-python 0.3.36 built with RPC, Llama-3.1-8B, 8,192 and 32,768 tokens, n_ubatch 512,
# flash attention on: MiB of compute on host, first and second imagined device.
ENGINE_SPLITS = [
    (1, 99, 8192, (24.01, 258.50)),
    (1, 99, 32768, (48.01, 258.50)),
    (1, 20, 8192, (124.01, 258.50)),
    (1, 20, 32768, (148.01, 258.50)),
    (2, 99, 8192, (72.05, 172.04, 354.55)),
    (2, 99, 32768, (168.05, 268.04, 450.55)),
    (2, 20, 8192, (124.01, 108.01, 258.50)),
    (2, 20, 32768, (148.01, 132.01, 258.50)),
]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("n_cards", "gpu_layers", "context", "expected"), ENGINE_SPLITS)
def test_compute_buffers_per_device_are_the_engines(
    n_cards: int, gpu_layers: int, context: int, expected: tuple[float, ...], exact: bool
) -> None:
    machine = Machine("m", host(), (card(24),) * n_cards)
    placed = place(table(), costs(context_tokens=context), machine, Offload(gpu_layers), exact=exact)
    found = placed.compute[0] / MIB
    if exact or gpu_layers == 99 or n_cards > 1:
        assert found == pytest.approx(expected, abs=0.01)
    else:  # a quick answer about a model in parts takes the whole model's buffers on host and card
        assert found[1] == pytest.approx(expected[1], abs=0.01) and expected[0] <= found[0] <= 310


@pytest.mark.parametrize(
    ("shares", "gpu_layers", "counts"),
    [
        # j/33 >= 0.5 first at j = 17: 17 layers on the first device, 15 layers and the output on the second
        ((1.0, 1.0), 33, (17, 16)),
        ((3.0, 1.0), 33, (25, 8)),
        ((1.0, 1.0), 20, (10, 10)),
        ((1.0, 0.0), 33, (33, 0)),
        ((1.0, 1.0, 1.0), 33, (11, 11, 11)),
    ],
)
def test_layers_split_by_cumulative_share(shares: tuple[float, ...], gpu_layers: int, counts: tuple[int, ...]) -> None:
    bounds = split_bounds(np.array(shares), np.array([gpu_layers], dtype=np.int64))
    assert tuple(np.diff(bounds[0])) == counts


def test_everything_fits_one_large_card() -> None:
    placed = place(table(), costs(), Machine("m", host(), (card(24),)))
    assert placed.n_gpu_layers[0] == 33
    assert placed.weights[0].tolist() == [280 * MIB, (32 * 130 + 410) * MIB]
    assert placed.kv[0].tolist() == [0, 1024 * MIB]
    assert explain_fit(placed, 0).verdict is Verdict.FITS


def test_a_tied_head_costs_its_embedding_again_on_the_card() -> None:
    tied = WeightBytes("Q4_K_M", 280 * MIB, 0, (130 * MIB,) * 32, (0,) * 32, 280 * MIB)
    placed = place(table(model(tied=True), tied), costs(), Machine("m", host(), (card(24),)))
    assert placed.weights[0].tolist() == [280 * MIB, (32 * 130 + 280) * MIB]
    alone = place(table(model(tied=True), tied), costs(), Machine("m", host()))
    assert alone.weights[0].tolist() == [(280 + 32 * 130) * MIB]
    assert alone.active_weights[0].tolist() == [(32 * 130 + 280) * MIB], "a token reads the head, wherever it is stored"


def test_what_does_not_fit_the_card_is_offloaded_and_one_layer_more_would_overrun() -> None:
    machine = Machine("m", host(), (card(4),))
    placed = place(table(), costs(), machine, exact=True)
    fitting = int(placed.n_gpu_layers[0])
    assert 0 < fitting < 33
    assert explain_fit(placed, 0).verdict is Verdict.OFFLOAD
    assert (placed.headroom[0] >= 0).all()
    more = place(table(), costs(), machine, Offload(fitting + 1), exact=True)
    assert more.headroom[0, 1] < 0
    assert explain_fit(more, 0).verdict is Verdict.DOES_NOT_FIT


def test_a_mixture_of_experts_moves_experts_before_layers() -> None:
    moe = weights(layer_mib=500, expert_mib=450)
    placed = place(table(model(moe=True), moe), costs(), Machine("m", host(), (card(12),)))
    assert placed.n_gpu_layers[0] == 33 and 0 < placed.n_cpu_moe[0] < 32
    on_host = int(placed.n_cpu_moe[0])
    assert placed.weights[0, 0] == (280 + 450 * on_host) * MIB
    assert placed.weights[0].sum() == moe.tensor_bytes
    assert any("routed experts" in reason for reason in explain_fit(placed, 0).reasons)


def test_nothing_fits_a_small_machine_and_the_missing_bytes_are_said() -> None:
    fit = explain_fit(place(table(), costs(), Machine("m", host(2))), 0)
    assert fit.verdict is Verdict.DOES_NOT_FIT and fit.headroom_bytes < 0 and not fit.runs
    assert "too much" in fit.reasons[0]


def test_close_to_the_limit_is_tight() -> None:
    need = int(place(table(), costs(), Machine("m", host())).total[0, 0])
    fit = explain_fit(place(table(), costs(), Machine("m", host(need / GIB * 1.02))), 0)
    assert fit.verdict is Verdict.TIGHT and fit.headroom_bytes >= 0


def test_unified_memory_is_one_pool() -> None:
    pool = Device("M", DeviceKind.UNIFIED, 32 * GIB, 24 * GIB, 273e9, None, "metal")
    placed = place(table(), costs(), Machine("mac", host(32), (pool,)))
    assert placed.devices == (pool,) and placed.n_gpu_layers[0] == 33
    assert placed.weights[0, 0] == weights().tensor_bytes


def test_contradictory_offload_is_refused() -> None:
    with pytest.raises(BadInputError, match="gpu_layers"):
        Offload(-1)
    with pytest.raises(BadInputError, match="tensor_split"):
        Offload(tensor_split=(0.0, 0.0))
    with pytest.raises(BadInputError, match="2 shares"):
        place(table(), costs(), Machine("m", host(), (card(8), card(8))), Offload(tensor_split=(1.0,)))


def fitting(placed: Placement) -> int:
    return int(judge(placed)[0][0])


@settings(max_examples=60, deadline=None)
@given(
    gib=st.floats(1, 48),
    more=st.floats(0, 32),
    layer_mib=st.integers(10, 900),
    kv_mib=st.floats(0, 400),
    n_cards=st.integers(1, 3),
    moe=st.booleans(),
)
def test_more_memory_never_makes_a_fit_worse_and_nothing_is_lost(
    gib: float, more: float, layer_mib: int, kv_mib: float, n_cards: int, moe: bool
) -> None:
    w = weights(layer_mib=layer_mib, expert_mib=layer_mib // 2 if moe else 0)
    rows, cost = table(model(moe=moe), w), costs(kv_layer_mib=kv_mib)
    small = place(rows, cost, Machine("m", host(32), (card(gib),) * n_cards))
    large = place(rows, cost, Machine("m", host(32), (card(gib + more),) * n_cards))
    assert fitting(large) <= fitting(small)
    assert small.weights[0].sum() == w.tensor_bytes
    assert small.kv[0].sum() == 32 * int(kv_mib * MIB)
    assert small.n_layers[0].sum() == 32
    if fitting(small) != 3:
        assert (small.headroom[0] >= 0).all()


@settings(max_examples=30, deadline=None)
@given(gpu_layers=st.integers(0, 33))
def test_a_layer_more_on_the_card_never_slows_decoding(gpu_layers: int) -> None:
    machine, rows = Machine("m", host(), (card(24),)), table()
    speeds = []
    for n in (gpu_layers, min(gpu_layers + 1, 33)):
        placed = place(rows, costs(), machine, Offload(n))
        speeds.append(estimate_speed(rows, placed, np.array([8e9])).decode_tokens_per_s[0, 1])
    assert speeds[1] >= speeds[0]


def test_many_rows_at_once_are_the_same_as_each_alone() -> None:
    sizes = (60, 130, 400, 900)
    machine = Machine("m", host(48), (card(12), card(8)))
    together = place(WeightTable.from_models([(model(), [weights(layer_mib=s) for s in sizes])]), costs(), machine)
    for row, size in enumerate(sizes):
        alone = place(table(bytes_=weights(layer_mib=size)), costs(), machine)
        assert together.total[row].tolist() == alone.total[0].tolist()
        assert together.n_gpu_layers[row] == alone.n_gpu_layers[0]


def test_speed_is_the_memory_traffic_over_the_bandwidth() -> None:
    rows = table()
    placed = place(rows, costs(kv_layer_mib=0), Machine("m", host(), (card(24),)))
    speed = estimate_speed(rows, placed, np.array([8e9])).at(0, placed, 8192)
    assert speed is not None
    # 1000 GB/s over the layers and head, never above the bound and not below a quarter of it
    bound = 1000e9 / ((32 * 130 + 410) * MIB)
    assert (
        bound / 4
        < speed.decode_tokens_per_s.low
        < speed.decode_tokens_per_s.mid
        < speed.decode_tokens_per_s.high
        < bound
    )
    assert speed.bound == "memory bandwidth of card"
    assert speed.prefill_tokens_per_s is not None and speed.prefill_tokens_per_s.high <= 100e12 / 2 / 8e9
    assert speed.time_to_first_token_s is not None
    assert speed.time_to_first_token_s.low < speed.time_to_first_token_s.high


def test_unknown_bandwidth_is_unknown_speed() -> None:
    blind = Device("host", DeviceKind.CPU, 64 * GIB, 64 * GIB)
    rows = table()
    placed = place(rows, costs(), Machine("m", blind))
    assert estimate_speed(rows, placed, np.array([8e9])).at(0, placed, 8192) is None


def test_published_single_stream_speeds_are_inside_or_near_the_interval() -> None:
    # RTX 4090, Llama 3 8B Q4_K_M 4.58 GiB: 127.74 tokens/s; F16 14.96 GiB: 54.34 (XiongjieDai/GPU-Benchmarks-on-LLM)
    for layer_mib, quant, measured in ((130, "Q4_K_M", 127.74), (416, "F16", 54.34)):
        w = WeightBytes(quant, 500 * MIB, 500 * MIB, (layer_mib * MIB,) * 32, (0,) * 32, 500 * MIB)
        gpu = Device("NVIDIA GeForce RTX 4090", DeviceKind.GPU, 24 * GIB, 24 * GIB, 1008e9, 165e12, "cuda")
        rows = table(bytes_=w)
        placed = place(rows, costs(kv_layer_mib=1), Machine("m", host(), (gpu,)))
        speed = estimate_speed(rows, placed, np.array([8e9])).at(0, placed, 512)
        assert speed is not None
        assert speed.decode_tokens_per_s.low <= measured <= speed.decode_tokens_per_s.high


def test_a_measured_host_replaces_the_guess_for_its_class_only() -> None:
    def speed(quant: str, *known: Calibration, cards: tuple[Device, ...] = ()) -> tuple[float, float, float]:
        rows = table(bytes_=WeightBytes(quant, 0, 410 * MIB, (130 * MIB,) * 32, (0,) * 32, 0))
        machine = Machine("m", host(), cards, known)
        placed = place(rows, costs(kv_layer_mib=0), machine)
        told = estimate_speed(rows, placed, np.array([8e9]), machine.calibrations).at(0, placed, 512)
        assert told is not None
        return told.decode_tokens_per_s.low, told.decode_tokens_per_s.mid, told.decode_tokens_per_s.high

    half = Calibration("host", "fine", False, 0.5, None, 3, "2026-11-23")
    guess, measured = speed("Q4_K_M"), speed("Q4_K_M", half)
    assert measured[1] == pytest.approx(guess[1] / 2, rel=0.01)
    assert measured[2] / measured[0] < guess[2] / guess[0], "what was measured is known better"
    assert measured[0] < measured[1] < measured[2]
    assert speed("Q8_0", half) == speed("Q8_0") and speed("IQ4_XS", half) == speed("IQ4_XS")
    other = Calibration("another host", "fine", False, 0.5, None, 3, "2026-11-23")
    assert speed("Q4_K_M", other) == guess
    assert speed("Q4_K_M", half, cards=(card(24),)) == speed("Q4_K_M", cards=(card(24),))
    with pytest.raises(BadInputError, match="ratio"):
        Calibration("host", "fine", False, 0.0, None, 1, "2026-11-23")


def test_a_device_llama_cpp_cannot_use_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="no backend for Gaudi 3"):
        place(table(), costs(), Machine("m", host(), (card(96, "Gaudi 3", "hpu"),)))


def test_experts_of_chosen_layers_stay_on_the_host() -> None:
    moe = weights(layer_mib=500, expert_mib=450)
    machine = Machine("m", host(), (card(24), card(24)))
    first = place(table(model(moe=True), moe), costs(), machine, Offload(33, (1.0, 1.0), 3), exact=True)
    named = place(
        table(model(moe=True), moe), costs(), machine, Offload(33, (1.0, 1.0), expert_layers=(2, 0, 1)), exact=True
    )
    assert named.total.tolist() == first.total.tolist()
    last = place(table(model(moe=True), moe), costs(), machine, Offload(33, (1.0, 1.0), expert_layers=(31,)))
    assert last.weights[0, 0] == (280 + 450) * MIB and last.weights[0, 1] == 17 * 500 * MIB
    assert "of chosen layers" in " ".join(explain_fit(last, 0).reasons)


def test_prompts_with_weights_of_the_host_take_their_place_on_the_first_card() -> None:
    def overhead(backend: str, gpu_layers: int, n_ubatch: int = 512) -> int:
        machine = Machine("m", host(), (card(24, backend=backend),))
        bytes_ = replace(costs(), buffers=ComputeBuffers(costs().buffers.layers, Workload(8192, n_ubatch=n_ubatch)))
        return int(place(table(), bytes_, machine, Offload(gpu_layers)).overhead[0, 1])

    driver = overhead("cuda", 33)
    assert overhead("cuda", 20) - driver == round(0.45 * 130 * MIB), "45% of the heaviest layer"
    assert overhead("cuda", 20, 16) == driver, "batches under 32 tokens stay with the host"
    assert overhead("rpc", 20) == overhead("rpc", 33) == 0, "devices over RPC never copy"
