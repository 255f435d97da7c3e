"""Several machines: what crosses the network by hand, and what must hold whatever the machines and links."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.queries import find_asked_weights, find_machine, find_model
from catalog.store import Catalog, open_catalog
from sizing.cluster import (
    MAX_NODES,
    Across,
    Cluster,
    find_smallest,
    list_rows,
    plan_cluster,
)
from sizing.cluster_network import (
    NETWORK_BOUND,
    NetworkCost,
    Traffic,
    add_network,
    count_pipeline,
    count_rpc,
    count_tensor,
)
from sizing.engines import EngineOptions, EngineSetup, find_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import estimate
from sizing.fit import VERDICTS, Verdict
from sizing.interconnect import INTERCONNECTS, Interconnect, find_interconnect
from sizing.specs import ModelSpec
from sizing.throughput import Interval, SpeedEstimate
from sizing.workload import Workload

LARGE, MIDDLE, SMALL = (f"meta-llama/Llama-3.1-{size}-Instruct" for size in ("405B", "70B", "8B"))
LINKS = tuple(INTERCONNECTS.values())


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def make_setup(
    catalog: Catalog, model: str, fmt: str, hardware: str, context: int = 8192, users: int = 1
) -> EngineSetup:
    card = find_model(catalog, model)
    weights = find_asked_weights(catalog, card, fmt) if fmt.startswith("Q") else None
    return EngineSetup(card.spec, fmt, 8192, users, find_machine(catalog, hardware), weights=weights)


def spec_of(catalog: Catalog, model: str) -> ModelSpec:
    return find_model(catalog, model).spec


# ---------------------------------------------------------------- links and what crosses them


def test_every_link_has_a_source_and_the_payload_its_name_says() -> None:
    assert all(link.source_url.startswith("https://") for link in LINKS)
    assert find_interconnect("infiniband ndr").bytes_per_s == 400e9 / 8
    # 10^10 bits, of each 1,538 bytes on the wire 1,460 are TCP's payload
    assert find_interconnect("10GbE").bytes_per_s == pytest.approx(1.1866e9, rel=1e-4)
    assert find_interconnect("100 GbE").is_rdma and not find_interconnect("25 GbE").is_rdma
    with pytest.raises(UnknownNameError, match="10 GbE"):
        find_interconnect("10 Gbe TCP")
    with pytest.raises(BadInputError):
        Interconnect("x", "x", 0.0, 0.0, "https://example.org")


def test_stages_hand_on_state_and_residual_by_hand(catalog: Catalog) -> None:
    # 405B: 16,384 wide, two tensors of 2 bytes: 65,536 bytes a token and hop, one message back with the token
    traffic = count_pipeline(spec_of(catalog, LARGE), 2, 1)
    assert (traffic.n_bytes, traffic.n_messages) == (65_536, 2)
    # 65,536 / 1.1866e9 = 55.2 us, two messages of 250 us, two starts of 3.6 us
    assert traffic.count_seconds(find_interconnect("10 GbE")) == pytest.approx(562.4e-6, rel=1e-3)
    assert count_pipeline(spec_of(catalog, LARGE), 3, 8).n_bytes == 2 * 8 * 65_536


def test_a_ring_of_two_nodes_by_hand(catalog: Catalog) -> None:
    # 126 layers x 2 reduces, each 2 x (1/2) x 16,384 x 2 bytes in 2 steps
    traffic = count_tensor(spec_of(catalog, LARGE), 2, 1)
    assert (traffic.n_bytes, traffic.n_messages) == (252 * 32_768, 504)
    # 8.26 MB at 50 GB/s = 165 us, 504 x 2.7 us = 1,361 us, 252 x 3.6 us = 907 us
    assert traffic.count_seconds(find_interconnect("InfiniBand NDR")) == pytest.approx(2433e-6, rel=1e-3)
    # Megatron's ring: 2 (n - 1) / n tends to 2
    assert count_tensor(spec_of(catalog, LARGE), 16, 1).n_bytes == pytest.approx(252 * 32_768 * 15 / 8)


def test_rpc_sends_states_through_the_main_host_by_hand(catalog: Catalog) -> None:
    spec = spec_of(catalog, MIDDLE)  # 8,192 wide, 128,256 words, values of 4 bytes
    two, four = count_rpc(spec, 2, 1), count_rpc(spec, 4, 1)
    assert (two.n_bytes, two.n_messages) == (2 * 4 * 8192, 3)  # there, and asked back
    assert (four.n_bytes, four.n_messages) == (6 * 4 * 8192, 9)
    # a main host without cards gets logits back, not a state
    assert count_rpc(spec, 2, 1, 1).n_bytes == 4 * 8192 + 4 * 128_256


@pytest.mark.parametrize("count", [count_pipeline, count_tensor, count_rpc])
def test_one_machine_sends_nothing_and_more_send_more(catalog: Catalog, count: object) -> None:
    assert callable(count)
    spec = spec_of(catalog, SMALL)
    link = find_interconnect("1 GbE")
    assert count(spec, 1, 100) == Traffic() and Traffic().count_seconds(link) == 0.0
    seconds = [count(spec, n, 1).count_seconds(link) for n in range(1, MAX_NODES + 1)]
    assert seconds == sorted(seconds) and count(spec, 2, 8).n_bytes == 8 * count(spec, 2, 1).n_bytes


@given(st.floats(1.0, 500.0), st.floats(0.0, 1.0), st.floats(0.0, 100.0))
def test_the_network_only_ever_slows(decode: float, step_s: float, prompt_s: float) -> None:
    speed = SpeedEstimate(
        Interval(decode / 2, decode, decode * 2), Interval(10.0, 20.0, 30.0), Interval(1.0, 2.0, 3.0), "x"
    )
    slowed = add_network(speed, NetworkCost(step_s, prompt_s, 0.0, 1.0), 1000)
    assert slowed.decode_tokens_per_s.mid == pytest.approx(1 / (1 / decode + step_s))
    assert slowed.decode_tokens_per_s.mid <= decode * (1 + 1e-12)
    assert slowed.time_to_first_token_s is not None and slowed.prefill_tokens_per_s is not None
    assert slowed.time_to_first_token_s.mid == pytest.approx(2.0 + prompt_s + step_s)
    assert 1000 / slowed.prefill_tokens_per_s.mid == pytest.approx(50.0 + prompt_s)
    assert (slowed.bound == NETWORK_BOUND) == (step_s > 1 / decode)


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("model", "fmt", "hardware", "engine"),
    [
        (SMALL, "BF16", "H100*2", "vLLM"),
        (SMALL, "Q4_K_M", "RTX 4090", "llama.cpp"),
        (SMALL, "Q4_K_M", "M4 Max", "llama.cpp"),
        (SMALL, "Q4_K_M", "64 GB DDR5-5600", "llama.cpp"),
    ],
)
def test_one_machine_is_the_single_machine_answer(
    catalog: Catalog, model: str, fmt: str, hardware: str, engine: str
) -> None:
    setup = make_setup(catalog, model, fmt, hardware)
    plan = plan_cluster(setup, Cluster(setup.machine, 1, find_interconnect("1 GbE")), engine)
    if engine == "vLLM":
        alone = find_engine(engine).estimate(setup).estimate
    else:
        assert setup.weights is not None
        alone = estimate(setup.spec, setup.weights, Workload(8192), setup.machine)
    assert plan.estimate == alone and alone.speed is not None
    assert plan.network == NetworkCost(0.0, 0.0, 0.0, 0.0) and plan.network_share == 0.0


def test_the_405b_in_16_bits_runs_on_two_nodes_of_eight_h100(catalog: Catalog) -> None:
    """vLLM's own example of serving on several nodes: --tensor-parallel-size 8 --pipeline_parallel_size 2.

    https://github.com/vllm-project/vllm/blob/main/examples/online_serving/multi-node-serving.sh
    """
    setup = make_setup(catalog, LARGE, "BF16", "H100*8")
    plan = find_smallest(setup, setup.machine, find_interconnect("InfiniBand NDR"), "vLLM")
    assert plan is not None
    assert (plan.cluster.n_nodes, plan.tensor_parallel, plan.pipeline_parallel) == (2, 8, 2)
    # 405.9 billion parameters of 2 bytes, shared by 16 cards: 47.2 GiB each, the ends come on top
    weights = [d.parts.weight_bytes / 2**30 for node in plan.nodes for d in node.devices if d.parts.total_bytes]
    assert len(weights) == 16 and 46 < min(weights) <= max(weights) < 52


@pytest.mark.parametrize(
    ("model", "fmt", "hardware", "engine"),
    [
        (LARGE, "BF16", "H100*8", "vLLM"),
        (MIDDLE, "BF16", "RTX 4090*4", "vLLM"),
        (MIDDLE, "Q4_K_M", "RTX 4090", "llama.cpp"),
        (MIDDLE, "Q4_K_M", "M4 Max", "llama.cpp"),
        (SMALL, "Q8_0", "8 GB DDR4-3200", "llama.cpp"),
    ],
)
def test_more_machines_never_fit_worse(catalog: Catalog, model: str, fmt: str, hardware: str, engine: str) -> None:
    setup = make_setup(catalog, model, fmt, hardware)
    ranks = []
    for n_nodes in (1, 2, 3, 4, 6, 8):
        cluster = Cluster(setup.machine, n_nodes, find_interconnect("100 GbE"))
        plan = plan_cluster(setup, cluster, engine, with_context=False)
        ranks.append(plan.estimate.fit.verdict is Verdict.DOES_NOT_FIT)
        assert len(plan.nodes) == n_nodes
        assert sum(node.total_bytes for node in plan.nodes) == plan.estimate.memory.total_bytes
    assert ranks == sorted(ranks, reverse=True) and not ranks[-1]


@pytest.mark.parametrize(("engine", "fmt"), [("vLLM", "BF16"), ("llama.cpp", "Q4_K_M")])
def test_a_slower_link_is_never_faster(catalog: Catalog, engine: str, fmt: str) -> None:
    setup = make_setup(catalog, MIDDLE, fmt, "H100*2", users=4)
    for across in Across if engine == "vLLM" else (Across.LAYERS,):
        plans = [
            plan_cluster(setup, Cluster(setup.machine, 2, link), engine, across, with_context=False) for link in LINKS
        ]
        by_cost = sorted(plans, key=lambda p: p.network.step_s)
        speeds = [p.estimate.speed.decode_tokens_per_s.mid for p in by_cost if p.estimate.speed]
        assert len(speeds) == len(LINKS) and speeds == sorted(speeds, reverse=True)
        for a in plans:
            for b in plans:
                la, lb = a.cluster.interconnect, b.cluster.interconnect
                if la.bytes_per_s <= lb.bytes_per_s and la.latency_s >= lb.latency_s:
                    assert a.network.step_s >= b.network.step_s and a.network.prompt_s >= b.network.prompt_s


def test_sharing_matrices_over_slow_links_costs_more_than_sharing_layers(catalog: Catalog) -> None:
    setup = make_setup(catalog, MIDDLE, "BF16", "H100*2")
    cluster = Cluster(setup.machine, 2, find_interconnect("10 GbE"))
    layers, matrices = (plan_cluster(setup, cluster, "vLLM", across) for across in Across)
    assert (layers.tensor_parallel, layers.pipeline_parallel) == (2, 2)
    assert (matrices.tensor_parallel, matrices.pipeline_parallel) == (4, 1)
    # 80 layers x 2 reduces x 2 steps of 250 us: 80 ms a token at least
    assert matrices.network.step_s > 0.08 > 50 * layers.network.step_s
    assert matrices.estimate.speed is not None and matrices.estimate.speed.bound == NETWORK_BOUND


def test_shared_memory_counts_the_first_machines_host_once(catalog: Catalog) -> None:
    setup = make_setup(catalog, MIDDLE, "Q4_K_M", "M4 Max")
    plan = plan_cluster(setup, Cluster(setup.machine, 2, find_interconnect("Thunderbolt 5")), "llama.cpp")
    assert plan.estimate.fit.runs and plan.largest_context_tokens is not None
    pool = setup.machine.accelerators[0].usable_bytes
    assert all(node.total_bytes <= pool for node in plan.nodes)
    assert len(plan.nodes[0].devices) == 2 and len(plan.nodes[1].devices) == 1
    assert plan.estimate.speed is not None and "Apple" in plan.estimate.speed.basis
    # what the second machine holds goes over the link once
    sent = plan.nodes[1].devices[0].parts.weight_bytes
    assert plan.network.load_s == pytest.approx(sent / 10e9)


def test_the_smallest_number_is_the_first_that_fits(catalog: Catalog) -> None:
    setup = make_setup(catalog, MIDDLE, "Q4_K_M", "RTX 4090")
    link = find_interconnect("10 GbE")
    plan = find_smallest(setup, setup.machine, link, "llama.cpp")
    assert plan is not None and plan.cluster.n_nodes == 2  # 39.6 GiB of weights on cards of 24
    before = plan_cluster(setup, Cluster(setup.machine, 1, link), "llama.cpp")
    assert VERDICTS.index(before.estimate.fit.verdict) >= VERDICTS.index(Verdict.OFFLOAD)
    assert find_smallest(make_setup(catalog, LARGE, "BF16", "RTX 4090"), setup.machine, link, "vLLM") is None


def test_what_cannot_be_planned_says_why(catalog: Catalog) -> None:
    setup = make_setup(catalog, SMALL, "BF16", "H100")
    link = find_interconnect("1 GbE")
    for n_nodes in (0, 17, True):
        with pytest.raises(BadInputError, match="1 to 16"):
            Cluster(setup.machine, n_nodes, link)
    with pytest.raises(UnsupportedError, match="vLLM, llama.cpp"):
        plan_cluster(setup, Cluster(setup.machine, 2, link), "TGI")
    with pytest.raises(UnknownNameError):
        plan_cluster(setup, Cluster(setup.machine, 2, link), "nonsense")
    host = find_machine(catalog, "64 GB DDR5-5600")
    rows = list(list_rows(replace(setup, machine=host), host, link, "vLLM", (1, 2)))
    assert [row.plan for row in rows] == [None, None] and all("vLLM wants" in row.reason for row in rows)
    with pytest.raises(UnsupportedError, match="vLLM wants"):
        find_smallest(setup, host, link, "vLLM")


def test_a_division_that_is_asked_for_is_kept(catalog: Catalog) -> None:
    setup = replace(
        make_setup(catalog, SMALL, "BF16", "H100*4"), options=EngineOptions(tensor_parallel=2, pipeline_parallel=2)
    )
    plan = plan_cluster(setup, Cluster(setup.machine, 2, find_interconnect("10 GbE")), "vLLM")
    assert (plan.tensor_parallel, plan.pipeline_parallel) == (2, 2)
    assert plan.network.step_s == 0.0  # four cards: the first machine has them all
