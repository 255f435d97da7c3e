"""Compute and output buffers of llama.cpp on one device, for one model or a whole catalog.

The compute buffer is what the graph of one physical batch needs for its intermediate results. The graphs are in
`sizing.graphs`, the allocator that decides the size in `sizing.replay`; here models that share an architecture and an
order of layers are put in one batch, and long runs of equal layers are cut short, since the buffer's size settles
after a few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sizing.errors import UnsupportedError
from sizing.graphs import PROGRAMS
from sizing.graphs.dense import SMOLLM3_ROPE_STEP
from sizing.graphs.frame import Frame, Layer, Program, Reserve, Straight
from sizing.graphs.gemma import N_SPARSE
from sizing.kv_cache import CELL_PAD, WINDOWED, Cells, count_stream_cells
from sizing.layers import FLAG_COLUMNS, KIND_COLUMNS, SHAPING_EXTRAS, Bools, Ints, LayerTable
from sizing.replay import FEW_MODELS, Graph, Schedule, plan, play
from sizing.scheduler import PIPELINE_COPIES, plan_split
from sizing.stretches import Recipe, list_recipes
from sizing.workload import Workload

FLOAT_BYTES = 4
LONGEST_PERIOD = 12
"""Longest pattern of layers looked for when runs are cut short."""

KEPT_REPEATS = 3
"""Repeats of a pattern that stay at least."""

ROLE_LAYERS = 12
"""Behind these, a layer's index decides nothing unless its role says so, and models of any depth share a batch."""

PLACE_PERIOD = 6
"""Tensors return to the same places after 1, 2 or 3 equal layers, so repeats are cut by a multiple of six."""

MULTI_AXIS = frozenset({"qwen2vl", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe"})
"""Architectures with four position values per token (llama-hparams.cpp, `n_pos_per_embd`)."""


@dataclass(frozen=True, slots=True)
class Division:
    """How the layers of each model lie on a host and its accelerators. Columns over models.

    `bounds[:, d]:bounds[:, d + 1]` are the layers of accelerator d, the output being layer `n_layers`; layers before
    `bounds[:, 0]` are the host's. The routed experts of the first `n_cpu_moe` layers and of `expert_layers` stay on the
    host.
    """

    bounds: Ints
    n_cpu_moe: Ints
    expert_layers: tuple[int, ...] = ()

    @property
    def n_accelerators(self) -> int:
        """How many accelerators there are, used or not."""
        return int(self.bounds.shape[1]) - 1

    def homes(self, model: int, n_layers: int) -> tuple[tuple[int, int], ...]:
        """Device of the weights and of the routed experts of each layer, the output last; the host is the last device.

        Experts of a layer that is the host's anyway are the host's.
        """
        bounds, host = self.bounds[model].tolist(), self.n_accelerators
        found = []
        for i in range(n_layers + 1):
            home = next((d for d in range(host) if bounds[d] <= i < bounds[d + 1]), host)
            stays = i < self.n_cpu_moe[model] or i in self.expert_layers
            found.append((home, host if stays and i < n_layers else home))
        return tuple(found)

    def is_full(self, model: int) -> bool:
        """Whether every layer and the output are on accelerators."""
        return int(self.bounds[model, 0]) == 0

    def n_copies(self, model: int) -> int:
        """Copies of inputs: several where llama.cpp pipelines batches over devices (llama-context.cpp,
        `pipeline_parallel`), which tensors kept on the host by name prevent."""
        is_whole = not self.n_cpu_moe[model] and not self.expert_layers
        piped = self.n_accelerators > 1 and self.is_full(model) and is_whole
        return PIPELINE_COPIES if piped else 1


def estimate_compute_bytes(table: LayerTable, workload: Workload, recipes: dict[int, Recipe] | None = None) -> Ints:
    """Compute buffer of every model of the table under one workload, in bytes, everything on the CPU.

    How other contexts are answered comes into `recipes`, by model: those models are left to them, and have no answer
    here. Raises UnsupportedError for an architecture whose graph is not described; see `can_estimate_compute`.
    """
    return _estimate_buffers(table, workload, None, recipes)[:, 0]


def estimate_divided_compute_bytes(
    table: LayerTable, workload: Workload, division: Division, recipes: dict[int, Recipe] | None = None
) -> Ints:
    """Compute buffers of every model, shape (models, 1 + accelerators), in bytes; the host's first.

    Accelerators lay tensors out as llama.cpp's CPU does. `recipes` is filled and UnsupportedError raised as
    `estimate_compute_bytes` does.
    """
    return _estimate_buffers(table, workload, division, recipes)


def find_setting(workload: Workload) -> tuple[Reserve | int | bool | str, ...]:
    """All that graphs are built from besides the models, their division and the cells of one stream."""
    n_ubatch = Cells.from_workload(workload).n_ubatch
    reserves = (find_reserve(workload, True), find_reserve(workload, False))
    kinds = (workload.kv_type_k, workload.kv_type_v, workload.swa_full, workload.kv_unified)
    return (*reserves, *kinds, n_ubatch)


def count_pads(workload: Workload) -> int:
    """Cells of one stream of the cache in pads."""
    return Cells.from_workload(workload).n_ctx_seq // CELL_PAD


def _estimate_buffers(
    table: LayerTable, workload: Workload, division: Division | None, recipes: dict[int, Recipe] | None
) -> Ints:
    """Buffers per model and device, the host's first."""
    n_devices = 1 if division is None else 1 + division.n_accelerators
    sizes = np.zeros((table.n_models, n_devices), dtype=np.int64)
    windowed = find_windowed(table)
    rotations = find_rotations(table, workload, windowed)
    alike = [table.models["graph"], *rotations.values()]
    if division is not None:
        alike += [*division.bounds.T, division.n_cpu_moe]
    batches: dict[BatchKey, list[Ints]] = defaultdict(list)
    for members in _group_equal(np.stack(alike, axis=1)):
        model = int(members[0])
        widths = {name: int(column[model]) for name, column in rotations.items()}
        batches[_batch_key(table, model, widths, division)].append(members)
    for key, parts in batches.items():
        batch = Batch(table, workload, windowed, np.concatenate(parts), key, n_devices)
        if recipes is None or len(batch.members) > FEW_MODELS:
            sizes[batch.members] = batch.play()
        else:
            recipes.update(zip(batch.members.tolist(), batch.write_recipes(), strict=True))
    return sizes


def find_windowed(table: LayerTable) -> Bools:
    """Per row, whether llama.cpp keeps a windowed cache for these layers."""
    return (table.rows["window_tokens"] > 0) & table.has_architecture(WINDOWED)[table.rows["model"]]


def _group_equal(keys: Ints) -> list[Ints]:
    """Indices of equal rows, group by group."""
    if not len(keys):
        return []
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    by_group = np.argsort(inverse.reshape(-1), kind="stable")
    return np.split(by_group, np.cumsum(counts)[:-1])


def can_estimate_compute(architecture: str) -> bool:
    """Whether the compute graph of an architecture is described."""
    return architecture in PROGRAMS


def estimate_output_bytes(table: LayerTable, workload: Workload) -> Ints:
    """Output buffer: one row of logits per slot (llama-context.cpp, `output_reserve`), in bytes."""
    return FLOAT_BYTES * workload.n_parallel * table.models["vocab_size"]


def cut_runs(rows: Sequence[Hashable]) -> list[int]:
    """Positions of the layers that stay when repeats of a pattern are cut to a few; the last one always stays."""
    kept: list[int] = []
    i = 0
    while i < len(rows):
        period, repeats = _find_run(rows, i)
        if repeats >= KEPT_REPEATS + PLACE_PERIOD:
            stay = KEPT_REPEATS + (repeats - KEPT_REPEATS) % PLACE_PERIOD
            # the run's first repeats but for the last, which keeps its true place
            kept += range(i, i + (stay - 1) * period)
            kept += range(i + (repeats - 1) * period, i + repeats * period)
            i += repeats * period
        else:
            kept.append(i)
            i += 1
    return kept


def _find_run(rows: Sequence[Hashable], start: int) -> tuple[int, int]:
    """The shortest pattern that repeats from `start` often enough to be cut, and how often."""
    for period in range(1, LONGEST_PERIOD + 1):
        pattern = rows[start : start + period]
        repeats = 1
        while rows[start + repeats * period : start + (repeats + 1) * period] == pattern:
            repeats += 1
        if repeats >= KEPT_REPEATS + PLACE_PERIOD:
            return period, repeats
    return 1, 1


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What models must share to be played together.

    `layers` holds, for each layer that is played, its index, its row and its homes; `output_home` is the output's.
    """

    architecture: str
    layers: tuple[tuple[int, int, tuple[int, int]], ...]
    rotations: tuple[tuple[str, int], ...]
    kinds: tuple[tuple[int | bool, ...], ...]
    shaping: tuple[int, ...]
    output_home: int = 0
    n_copies: int = 1


def _batch_key(table: LayerTable, model: int, rotation: dict[str, int], division: Division | None) -> BatchKey:
    """The key of one model: architecture, order, kinds and homes of layers, rotations."""
    architecture = table.architectures[model]
    if architecture not in PROGRAMS:
        raise UnsupportedError(
            f"{table.model_ids[model]}: the compute graph of architecture {architecture!r} is not described"
        )
    first = int(table.first_row[model])
    order = (table.layer_rows[table.first_layer[model] : table.first_layer[model + 1]] - first).tolist()
    program = PROGRAMS[architecture]
    marked = _mark_roles(architecture, order, table, model)
    homes = ((0, 0),) * (len(order) + 1) if division is None else division.homes(model, len(order))
    placed = list(zip(marked, homes[:-1], strict=True))
    kept = list(range(len(order))) if program.every_layer else cut_runs(placed)
    has_roles = program.every_layer or marked != order
    kinds = tuple(
        tuple(int(table.rows[c][first + r]) for c in KIND_COLUMNS)
        + tuple(bool(table.rows[c][first + r]) for c in FLAG_COLUMNS)
        for r in sorted(set(order))
    )
    return BatchKey(
        architecture=architecture,
        layers=tuple((i if has_roles else min(i, ROLE_LAYERS), order[i], homes[i]) for i in kept),
        rotations=tuple(rotation.items()),
        kinds=kinds,
        shaping=tuple(int(table.models[name][model]) for name in SHAPING_EXTRAS),
        output_home=homes[-1][0],
        n_copies=1 if division is None else division.n_copies(model),
    )


def _mark_roles(architecture: str, order: list[int], table: LayerTable, model: int) -> list[int]:
    """The rows of the layers, told apart further where a layer's place decides what it does."""
    n_rows = int(table.first_row[model + 1] - table.first_row[model])
    roles = [0] * len(order)
    if architecture == "smollm3":
        roles = [int((i + 1) % SMOLLM3_ROPE_STEP == 0) for i in range(len(order))]
    if architecture == "gemma3n":
        roles = [int(i < N_SPARSE) for i in range(len(order))]
    n_deepstack = int(table.models["n_deepstack"][model])
    roles = [1 if i < n_deepstack else role for i, role in enumerate(roles)]
    return [row + n_rows * role for row, role in zip(order, roles, strict=True)]


def find_rotations(table: LayerTable, workload: Workload, windowed: Bools) -> dict[str, Ints]:
    """Per model and cache, the width of the rotation before it is stored quantized, 0 where there is none.

    Only where all heads of a cache are equally wide, by a multiple of 64 in the first layer, and MLA never
    (llama-kv-cache.cpp, `attn_rot_k`, `build_input_k_rot`).
    """
    in_cache = (table.rows["has_slot"] > 0) & (table.rows["kind"] > 0)
    has_own_values = table.max_rows(table.rows["kv_lora_rank"]) == 0
    first_rows = table.layer_rows[table.first_layer[:-1]]
    out = {}
    for side, column, kind in (("k", "head_dim", workload.type_k), ("v", "head_dim_v", workload.type_v)):
        dims = table.rows[column]
        for name, chosen in (("", in_cache & ~windowed), ("_window", in_cache & windowed)):
            widest = table.max_rows(np.where(chosen, dims, 0))
            narrowest = -table.max_rows(np.where(chosen, -dims, -(2**40)))
            ok = has_own_values & (widest > 0) & (widest == narrowest) & (dims[first_rows] % 64 == 0)
            power_of_two = np.maximum(widest & -widest, 64) if side == "k" else 64
            out[side + name] = np.where(ok & (kind.block_elements > 1), power_of_two, 0)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Models of a table that share a graph: `members` by their place in it; `windowed` is by its rows."""

    table: LayerTable
    workload: Workload
    windowed: Bools
    members: Ints
    key: BatchKey
    n_devices: int

    @property
    def program(self) -> Program:
        """The architecture's graph."""
        return PROGRAMS[self.key.architecture]

    def play(self) -> Ints:
        """Compute buffers in bytes by model and device, the host's first."""
        schedules = self._plan((count_pads(self.workload),))
        return np.stack([play(schedule, len(self.members)) for schedule in schedules], axis=1)

    def write_recipes(self) -> list[Recipe]:
        """How each model is played at this context and at others, from the graphs of two contexts."""
        at = count_pads(self.workload)
        straight = self._find_straight(at)
        near = [n for n in (at + straight.step, at - straight.step) if straight.least <= n <= straight.most]
        if not near:
            straight = straight.within(at, at)
        schedules = self._plan((at, *near[:1]))
        per_step = 1 if not near or near[0] > at else -1
        return list_recipes(schedules, len(self.members), at, straight, per_step)

    def _find_straight(self, n_pads: int) -> Straight:
        """Contexts around one over which all sizes of the graph move in straight lines."""
        layers = self._list_layers((n_pads,))
        models = {name: column[self.members] for name, column in self.table.models.items()}
        reserve = find_reserve(self.workload, self.program.is_causal)
        straight = self.program.find_straight(layers, models, reserve, n_pads)
        far = straight.most * CELL_PAD
        limits = {int(cells) for layer in self._list_layers((straight.most,)) for cells in layer.n_kv_tokens}
        for cells in limits - {far}:  # a window is full from here on
            straight = straight.beside(n_pads, cells // CELL_PAD, cells // CELL_PAD)
        return straight

    def _list_layers(self, contexts: Sequence[int]) -> tuple[Layer, ...]:
        """The layers that are played, at each of some contexts in pads: columns over models, context by context."""
        firsts = self.table.first_row[np.tile(self.members, len(contexts))]
        n = len(self.members)
        cells = [count_stream_cells(self.table, self.workload, CELL_PAD * n_pads) for n_pads in contexts]
        of_row = {}
        for row in {row for _, row, _ in self.key.layers}:
            columns = {name: column[firsts + row] for name, column in self.table.rows.items()}
            of_row[row] = columns, np.concatenate([of_context[firsts[:n] + row] for of_context in cells])
        return tuple(
            Layer(
                columns=of_row[row][0],
                index=index,
                is_last=place == len(self.key.layers) - 1,
                n_kv_tokens=of_row[row][1],
                is_windowed=bool(self.windowed[firsts[0] + row]),
                home=homes[0],
            )
            for place, (index, row, homes) in enumerate(self.key.layers)
        )

    def _plan(self, contexts: Sequence[int]) -> tuple[Schedule, ...]:
        """What is placed and freed in the buffer of each device, the host's first."""
        graph = self._build(contexts)
        if self.n_devices == 1:
            return (plan(graph),)
        *cards, host = plan_split(graph, self.n_devices, self.key.n_copies)
        return (host, *cards)

    def _build(self, contexts: Sequence[int]) -> Graph:
        """The graph of all members at each of some contexts."""
        key, program = self.key, self.program
        members = np.tile(self.members, len(contexts))
        graph = Graph(len(members))
        layers = self._list_layers(contexts)
        frame = Frame(
            graph=graph,
            reserve=find_reserve(self.workload, program.is_causal),
            hidden=self.table.models["hidden_dim"][members],
            vocab=self.table.models["vocab_size"][members],
            widest_v=self.table.max_rows(self.table.rows["v_width"])[members],
            models={name: column[members] for name, column in self.table.models.items()},
            rotation=dict(key.rotations),
            separate_windows=any(layer.is_windowed for layer in layers),
            n_positions=4 if key.architecture in MULTI_AXIS else 1,
            layers=layers,
            n_kv_tokens=CELL_PAD * np.repeat(np.array(contexts, dtype=np.int64), len(self.members)),
            output_home=key.output_home,
            first_home=key.layers[0][2][0],
            is_parted=len({homes[0] == self.n_devices - 1 for _, _, homes in key.layers}) == 2,
        )
        graph.weight_home = graph.expert_home = self.n_devices - 1  # embeddings are the host's
        x = program.start(frame)
        for layer, (_, _, homes) in zip(layers, key.layers, strict=True):
            graph.weight_home, graph.expert_home = homes
            x = program.step(frame, layer, x)
        graph.weight_home = key.output_home
        program.head(frame, x)
        return graph


def find_reserve(workload: Workload, is_causal: bool = True) -> Reserve:
    """The batch llama.cpp reserves its graph for (llama-context.cpp, `sched_reserve`, `graph_reserve`)."""
    cells = Cells.from_workload(workload)
    n_batch = min(workload.n_ctx_tokens, workload.n_batch) if is_causal else workload.n_batch
    n_outputs = min(cells.n_ctx, n_batch, workload.n_ubatch)
    n_tokens = -(-n_outputs // cells.n_seqs) * cells.n_seqs
    return Reserve(
        n_tokens=n_tokens,
        n_outputs=n_outputs,
        n_seqs=cells.n_seqs,
        n_streams=cells.n_streams,
        flash_attention=workload.flash_attention,
        k_block=(workload.type_k.block_elements, workload.type_k.block_bytes),
        v_block=(workload.type_v.block_elements, workload.type_v.block_bytes),
        k_value_bytes=workload.type_k.block_bytes if workload.type_k.block_elements == 1 else 2,
    )
