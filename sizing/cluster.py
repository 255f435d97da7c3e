"""One model over several equal machines, as engines that exist do it: vLLM on Ray, llama.cpp over RPC.

Memory is what the engine itself needs with all the machines' cards in one list; speed is what they reach, slowed by
what crosses the network (`sizing.cluster_network`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from sizing.cluster_network import NetworkCost, Traffic, add_network, count_pipeline, count_rpc, count_tensor
from sizing.engines import EngineEstimate, EngineOptions, EngineSetup, find_engine
from sizing.engines.llama_cpp import build_workload, find_gguf_weights
from sizing.engines.serving import list_cards
from sizing.engines.vllm import BACKENDS as VLLM_BACKENDS
from sizing.errors import BadInputError, UnsupportedError
from sizing.estimate import (
    Estimate,
    check_workload,
    describe,
    estimate,
    estimate_model_bytes,
    estimate_table,
    search_context,
)
from sizing.fit import Fit, Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.interconnect import Interconnect
from sizing.layers import LayerTable
from sizing.memory import DeviceUse, WeightBytes
from sizing.placement import HOST_OVERHEAD_BYTES
from sizing.specs import ModelSpec
from sizing.throughput import SpeedEstimate, estimate_speed
from sizing.weights import WeightTable
from sizing.workload import Workload

MAX_NODES = 16
VLLM, LLAMA_CPP = "vLLM", "llama.cpp"
ENGINES = (VLLM, LLAMA_CPP)
"""Engines that can share one model over machines."""

MACHINE_MARK = ", machine "
"""Between a card's name and its machine's number."""

NODE_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of machines a table shows."""


class Across(StrEnum):
    """What machines share: layers, one group each, or every layer's matrices."""

    LAYERS = "layers"
    MATRICES = "matrices"


@dataclass(frozen=True, slots=True)
class Cluster:
    """`n_nodes` equal machines, each linked to all others alike. Raises BadInputError outside 1 to MAX_NODES."""

    node: Machine
    n_nodes: int
    interconnect: Interconnect

    def __post_init__(self) -> None:
        if isinstance(self.n_nodes, bool) or not isinstance(self.n_nodes, int) or not 1 <= self.n_nodes <= MAX_NODES:
            raise BadInputError(f"machines: wanted a whole number from 1 to {MAX_NODES}, got {self.n_nodes!r}")

    @property
    def machine(self) -> Machine:
        """All cards in one list, as an engine on the first machine sees them; one node is that machine itself."""
        if self.n_nodes == 1:
            return self.node
        cards = tuple(
            replace(card, name=f"{card.name}{MACHINE_MARK}{i + 1}")
            for i in range(self.n_nodes)
            for card in self.node.accelerators
        )
        return replace(self.node, name=f"{self.n_nodes} x {self.node.name}", accelerators=cards, calibrations=())


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What one machine holds, its host first where it holds anything."""

    number: int
    devices: tuple[DeviceUse, ...]

    @property
    def total_bytes(self) -> int:
        """Everything on it."""
        return sum(d.parts.total_bytes for d in self.devices)


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """How a cluster runs a model. `estimate.speed` has the network in it, `speed_without_network` has not.

    `largest_context_tokens` is the longest context of each request that still fits, None for none. `weight_bytes_sent`
    cross the network when the model is loaded. `tensor_parallel` and `pipeline_parallel` are 1 for llama.cpp.
    """

    setup: EngineSetup
    cluster: Cluster
    engine: str
    across: Across
    estimate: Estimate
    speed_without_network: SpeedEstimate | None
    network: NetworkCost
    nodes: tuple[NodeUse, ...]
    largest_context_tokens: int | None
    answer: EngineEstimate | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1

    @property
    def network_share(self) -> float | None:
        """The network's part of a step of decoding, 0 to 1; None without a speed."""
        speed = self.estimate.speed
        return None if speed is None else self.network.step_s * speed.decode_tokens_per_s.mid


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One number of machines of a table: a plan, or why there is none."""

    n_nodes: int
    engine: str
    plan: ClusterPlan | None
    reason: str


def plan_cluster(
    setup: EngineSetup,
    cluster: Cluster,
    engine: str,
    across: Across = Across.LAYERS,
    *,
    with_context: bool = True,
) -> ClusterPlan:
    """How `engine` runs the setup's model on a cluster; the setup's own machine does not count.

    Without `with_context` llama.cpp's largest context, which takes many estimates, is left out.

    Raises UnknownNameError for an engine that does not exist, UnsupportedError for one that cannot, or for a model or
    machine it cannot run, BadInputError for a context above the model's maximum.
    """
    name = find_engine(engine).name
    if name == VLLM:
        return plan_vllm(setup, cluster, across)
    if name == LLAMA_CPP:
        return plan_llama_cpp(setup, cluster, with_context=with_context)
    raise UnsupportedError(f"{name} is not planned over several machines; choose one of {', '.join(ENGINES)}")


# ---------------------------------------------------------------- vLLM on Ray


def plan_vllm(setup: EngineSetup, cluster: Cluster, across: Across = Across.LAYERS) -> ClusterPlan:
    """vLLM on Ray: tensor parallel inside a machine, pipeline parallel between them, or tensor parallel over all."""
    options = choose_options(setup, cluster, across)
    asked = replace(setup, machine=cluster.machine, options=options)
    answer = find_engine(VLLM).estimate(asked)
    local = answer.estimate.speed
    count = count_pipeline if across is Across.LAYERS else count_tensor
    n_nodes = count_used_nodes(answer, cluster)
    step = count(setup.spec, n_nodes, setup.n_parallel)
    prompt = count(setup.spec, n_nodes, setup.context_tokens)
    cost = _price(cluster.interconnect, step, prompt, 0.0)
    slowed = None if local is None else add_network(local, cost, setup.context_tokens)
    capacity = answer.capacity
    return ClusterPlan(
        asked,
        cluster,
        VLLM,
        across,
        replace(answer.estimate, speed=slowed),
        local,
        cost,
        group_by_node(answer.estimate.memory.devices, cluster),
        (capacity.largest_context_tokens or None) if capacity else None,
        replace(answer, estimate=replace(answer.estimate, speed=slowed)),
        answer.tensor_parallel,
        answer.pipeline_parallel,
    )


def choose_options(setup: EngineSetup, cluster: Cluster, across: Across) -> EngineOptions:
    """How the cards are divided: as the setup says, else what the engine can on the most cards.

    One machine is left to the engine itself. Raises UnsupportedError with the engine's reason where nothing goes.
    """
    asked = setup.options
    if cluster.n_nodes == 1 or asked.tensor_parallel is not None:
        return asked
    n_cards = len(list_cards(cluster.node.accelerators, VLLM_BACKENDS))
    if not n_cards:
        raise UnsupportedError(find_engine(VLLM).find_gap(setup_on(setup, cluster.node)) or "vLLM wants cards")
    reason = None
    for ranks in range(n_cards, 0, -1):
        if n_cards % ranks:
            continue
        stages = cluster.n_nodes * n_cards // ranks
        options = replace(asked, tensor_parallel=ranks, pipeline_parallel=stages)
        if across is Across.MATRICES:
            options = replace(asked, tensor_parallel=ranks * cluster.n_nodes, pipeline_parallel=n_cards // ranks)
        gap = find_engine(VLLM).find_gap(replace(setup_on(setup, cluster.machine), options=options))
        if gap is None:
            return options
        reason = reason or gap
    raise UnsupportedError(reason or f"vLLM cannot divide {setup.spec.name} over {cluster.machine.name}")


def setup_on(setup: EngineSetup, machine: Machine) -> EngineSetup:
    """The same setup on another machine."""
    return replace(setup, machine=machine)


def count_used_nodes(answer: EngineEstimate, cluster: Cluster) -> int:
    """Machines whose cards are in use."""
    per_node = max(len(list_cards(cluster.node.accelerators, VLLM_BACKENDS)), 1)
    return min(-(-answer.tensor_parallel * answer.pipeline_parallel // per_node), cluster.n_nodes)


# ---------------------------------------------------------------- llama.cpp over RPC


def plan_llama_cpp(setup: EngineSetup, cluster: Cluster, *, with_context: bool = True) -> ClusterPlan:
    """llama.cpp: the first machine holds the file and asks an rpc-server on each other one for its cards."""
    weights, workload = find_gguf_weights(setup), build_workload(setup)
    told = estimate_over_rpc(setup.spec, weights, workload, cluster)
    nodes = group_by_node(told.memory.devices, cluster)
    used = sum(bool(n.total_bytes) for n in nodes[1:]) + 1
    is_head_remote = not cluster.node.accelerators
    step = count_rpc(setup.spec, used, setup.n_parallel, setup.n_parallel * is_head_remote)
    prompt = count_rpc(setup.spec, used, setup.context_tokens, int(is_head_remote))
    batches = -(-setup.context_tokens // workload.n_ubatch)
    prompt = replace(prompt, n_messages=prompt.n_messages * batches)
    sent = sum(d.parts.weight_bytes for node in nodes[1:] for d in node.devices)
    cost = _price(cluster.interconnect, step, prompt, sent / cluster.interconnect.bytes_per_s)
    slowed = None if told.speed is None else add_network(told.speed, cost, setup.context_tokens)
    return ClusterPlan(
        replace(setup, machine=list_rpc_machine(cluster, 0) if cluster.n_nodes > 1 else cluster.node),
        cluster,
        LLAMA_CPP,
        Across.LAYERS,
        replace(told, speed=slowed),
        told.speed,
        cost,
        nodes,
        find_largest_context(setup.spec, weights, workload, cluster) if with_context else None,
    )


def list_rpc_machine(cluster: Cluster, host_bytes: int) -> Machine:
    """The machine llama.cpp places on: the first machine's host, the others' cards, and then its own.

    Devices behind a server come first (https://github.com/ggml-org/llama.cpp/pull/9296). A machine without cards lends
    its processor. Where memory is shared, what the host takes (`host_bytes` on the first, the idle rpc-server on the
    others) is gone from the pool.
    """
    node = cluster.node
    lent = node.accelerators or (node.host,)
    devices: list[Device] = []
    for i in (*range(1, cluster.n_nodes), 0):
        for device in node.accelerators if i == 0 else lent:
            taken = 0 if device.kind is DeviceKind.GPU else host_bytes if i == 0 else HOST_OVERHEAD_BYTES
            usable = max(device.usable_bytes - taken, 0)
            kind = DeviceKind.GPU if device.kind is DeviceKind.UNIFIED else device.kind
            devices.append(replace(device, name=f"{device.name}{MACHINE_MARK}{i + 1}", kind=kind, usable_bytes=usable))
    return Machine(f"{cluster.n_nodes} x {node.name}", node.host, tuple(devices))


def estimate_over_rpc(spec: ModelSpec, weights: WeightBytes, workload: Workload, cluster: Cluster) -> Estimate:
    """llama.cpp's own placement over the devices of all machines; its speed has no network in it yet."""
    if cluster.n_nodes == 1:
        return estimate(spec, weights, workload, cluster.node)
    check_workload(spec, workload)
    first = _estimate_flat(spec, weights, workload, cluster, 0)
    if not cluster.node.is_unified:
        return first
    return _estimate_flat(spec, weights, workload, cluster, first.memory.devices[0].parts.total_bytes)


def _estimate_flat(
    spec: ModelSpec, weights: WeightBytes, workload: Workload, cluster: Cluster, host_bytes: int
) -> Estimate:
    machine = list_rpc_machine(cluster, host_bytes)
    table = WeightTable.from_models([(spec, [weights])])
    models = estimate_model_bytes(LayerTable.from_specs([spec]), workload)
    n_active = np.array([spec.n_active_params], dtype=np.int64)
    result = estimate_table(table, models, n_active, workload, machine, exact=True)
    if cluster.node.is_unified:  # speed knows these devices by the kind they really are
        real = (machine.host, *(replace(d, kind=DeviceKind.UNIFIED) for d in machine.accelerators))
        share = 1.0 - (1.0 - table.active_expert_share) ** workload.n_parallel
        busy = replace(table, active_expert_share=share)
        placement = replace(result.placement, devices=real)
        speed = estimate_speed(busy, placement, n_active[table.model_row].astype(float), (), workload)
        result = replace(result, placement=placement, speed=speed)
    return describe(result, 0, spec, weights.quant, workload, machine)


def find_largest_context(spec: ModelSpec, weights: WeightBytes, workload: Workload, cluster: Cluster) -> int | None:
    """The largest context in tokens of each slot that runs on the cluster, in steps of 256; None where none does."""

    def runs(tokens: int) -> bool:
        return estimate_over_rpc(spec, weights, replace(workload, context_tokens=tokens), cluster).fit.runs

    return search_context(spec.context_tokens, runs)


# ---------------------------------------------------------------- both


def _price(link: Interconnect, step: Traffic, prompt: Traffic, load_s: float) -> NetworkCost:
    return NetworkCost(step.count_seconds(link), prompt.count_seconds(link), load_s, step.n_bytes)


def group_by_node(devices: Sequence[DeviceUse], cluster: Cluster) -> tuple[NodeUse, ...]:
    """An estimate's devices by machine: cards carry their machine's number, a host is the first machine's."""

    def number_of(device: DeviceUse) -> int:
        tail = device.name.rpartition(MACHINE_MARK)[2]
        return int(tail) if MACHINE_MARK in device.name and tail.isdigit() else 1

    return tuple(
        NodeUse(i, tuple(d for d in devices if cluster.n_nodes == 1 or number_of(d) == i))
        for i in range(1, cluster.n_nodes + 1)
    )


def list_rows(
    setup: EngineSetup,
    node: Machine,
    link: Interconnect,
    engine: str,
    counts: Sequence[int] = NODE_COUNTS,
    across: Across = Across.LAYERS,
) -> Iterator[ClusterRow]:
    """One row for each number of machines."""
    for n_nodes in counts:
        try:
            plan = plan_cluster(setup, Cluster(node, n_nodes, link), engine, across)
        except UnsupportedError as error:
            yield ClusterRow(n_nodes, engine, None, str(error))
        else:
            yield ClusterRow(n_nodes, engine, plan, describe_fit(plan.estimate.fit))


def describe_fit(fit: Fit) -> str:
    """What limits a plan: the reason an estimate puts first."""
    return fit.reasons[0] if fit.reasons else ""


def find_smallest(setup: EngineSetup, node: Machine, link: Interconnect, engine: str) -> ClusterPlan | None:
    """The plan with the fewest machines on which the model runs, None where MAX_NODES do not do.

    Nothing may be left to a host beside cards. Raises UnsupportedError where the engine can run the model on no number
    of these machines.
    """
    wanted = {Verdict.FITS, Verdict.TIGHT} if node.accelerators else set(Verdict) - {Verdict.DOES_NOT_FIT}
    reasons: list[str] = []
    for n_nodes in range(1, MAX_NODES + 1):
        try:
            plan = plan_cluster(setup, Cluster(node, n_nodes, link), engine, with_context=False)
        except UnsupportedError as error:
            reasons.append(str(error))
            continue
        if plan.estimate.fit.verdict in wanted:
            return plan_cluster(setup, plan.cluster, engine)
    if len(reasons) == MAX_NODES:
        raise UnsupportedError(reasons[0])
    return None
