"""The exact bytes of every tensor group of every model in every quantization, as llama.cpp itself assigns them.

For each model a weightless f16 file is written and `llama_model_quantize` is asked, with `dry_run`, which GGML type it
would give every tensor. Types and shapes are bytes. Nothing is quantized and nothing is downloaded.

What a recipe cannot be made without an importance matrix is sized as with one; every other recipe as without, which
is llama-quantize's default. MXFP4 is weighed for mixtures of experts only: for a dense model llama.cpp's recipe of
that name (`MXFP4_MOE`) is Q8_0 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.dry_run import DryRunFailure, EngineChild, FailureReason, ask_tensor_types
from sizing.architectures import TensorInfo
from sizing.errors import DataFileError, EngineError
from sizing.memory import WeightBytes
from sizing.quants import GGML_TYPES, QUANTS, Quant
from sizing.specs import ModelSpec
from sizing.tensor_groups import group_tensor_bytes
from sizing.tensors import digest_tensors, list_tensors

IMATRIX_CHANGES = ("Q5_0", "Q4_0", "IQ4_NL", "IQ4_XS")
"""Recipes that can be made either way and come out different with an importance matrix: other types for the first
eighth of the down projections (llama-quant.cpp, `has_imatrix`)."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """One model weighed: a WeightBytes per quantization, or the reason why llama.cpp gave none.

    `digest` identifies the tensor table that was weighed, so that a stale row shows. `imatrix_tensor_bytes` pairs the
    quantizations of `IMATRIX_CHANGES` with all tensors' bytes in a file made with an importance matrix.
    """

    model_id: str
    digest: str
    weights: tuple[WeightBytes, ...] = ()
    imatrix_tensor_bytes: tuple[tuple[str, int], ...] = ()
    gap: str | None = None


def count_tensor_bytes(tensor: TensorInfo, type_name: str) -> int:
    """Bytes of one tensor stored in a GGML type (ggml_row_size times rows, ggml.c).

    Raises BadInputError when a row is not whole blocks, KeyError for a type `sizing.quants` does not list.
    """
    row, rows = tensor.shape[0], tensor.n_elements // tensor.shape[0]
    return GGML_TYPES[type_name].row_bytes(row) * rows


def group_weight_bytes(
    quant: str, tensors: Sequence[TensorInfo], types: Mapping[str, str], n_layers: int, architecture: str
) -> WeightBytes:
    """A model's tensors in the given GGML types, added up by where llama.cpp places them (`group_tensor_bytes`)."""
    sized = ((tensor.name, count_tensor_bytes(tensor, types[tensor.name])) for tensor in tensors)
    return group_tensor_bytes(quant, sized, n_layers, architecture)


def list_recipes(spec: ModelSpec) -> tuple[Quant, ...]:
    """The quantizations a model comes in: all, less MXFP4 where there are no experts."""
    return tuple(q for q in QUANTS.values() if q.family != "mxfp" or spec.is_moe)


def weigh_model(spec: ModelSpec, engine: EngineChild, quants: Sequence[Quant] | None = None) -> Weighing:
    """One model in every quantization (or in `quants`), or why it could not be weighed.

    Raises EngineError when llama.cpp itself is missing, for then no model can be weighed.
    """
    asked = list_recipes(spec) if quants is None else tuple(quants)
    types = ask_tensor_types(spec, asked, engine)
    changed = tuple(q for q in asked if q.name in IMATRIX_CHANGES)
    with_imatrix = ask_tensor_types(spec, changed, engine, with_imatrix=True) if changed else {}
    if isinstance(types, DryRunFailure):
        return describe_gap(spec, types)
    if isinstance(with_imatrix, DryRunFailure):
        return describe_gap(spec, with_imatrix)
    tensors = list_tensors(spec)

    def group(types_by_quant: dict[str, dict[str, str]]) -> tuple[WeightBytes, ...]:
        return tuple(
            group_weight_bytes(quant, tensors, by_name, spec.n_layers, spec.architecture)
            for quant, by_name in types_by_quant.items()
        )

    sums = tuple((w.quant, w.tensor_bytes) for w in group(with_imatrix))
    return Weighing(spec.model_id, digest_tensors(spec), group(types), sums)


def ask_weights(spec: ModelSpec) -> tuple[WeightBytes, ...] | str:
    """What llama.cpp's recipes weigh for one model, asked in a child of its own; a text where it gives no answer."""
    try:
        with EngineChild() as engine:
            told = weigh_model(spec, engine)
    except (EngineError, OSError) as error:
        return str(error)
    return told.weights or told.gap or "llama.cpp gave no sizes"


def describe_gap(spec: ModelSpec, failure: DryRunFailure) -> Weighing:
    """A model llama.cpp gave no sizes for. Raises EngineError when llama.cpp itself is missing."""
    if failure.reason is FailureReason.MISSING_ENGINE:
        raise EngineError(failure.message)
    return Weighing(spec.model_id, "", gap=failure.message.removeprefix(f"{spec.model_id}: "))


def weigh_models(
    specs: Sequence[ModelSpec], report: Callable[[int, Weighing], None] = lambda done, weighing: None
) -> tuple[Weighing, ...]:
    """All models in all quantizations, in order; `report` hears of each as it is done.

    Raises EngineError when llama.cpp is missing.
    """
    done = []
    with EngineChild() as engine:
        for spec in specs:
            done.append(weigh_model(spec, engine))
            report(len(done), done[-1])
    return tuple(done)


SOURCE_URL = "https://github.com/abetlen/llama-cpp-python/tree/v{version}"

_COLUMNS = """
    model_id VARCHAR, quant VARCHAR, input_bytes BIGINT, output_bytes BIGINT, token_embedding_bytes BIGINT,
    layer_bytes BIGINT[], layer_expert_bytes BIGINT[], tensor_bytes BIGINT, imatrix_tensor_bytes BIGINT,
    tensor_digest VARCHAR, llama_cpp_version VARCHAR, source_url VARCHAR, as_of VARCHAR, gap VARCHAR
"""


def write_weights(path: Path, weighings: Sequence[Weighing], version: str, as_of: str) -> int:
    """Write weighings to a parquet file; returns its number of rows.

    Models that are in the file already and were not weighed now keep their rows. A model that could not be weighed
    has one row, with `gap` and no bytes. `imatrix_tensor_bytes` is the sum of a file made with an importance matrix,
    as most publishers make them; it differs from `tensor_bytes` for `IMATRIX_CHANGES` only. The file is replaced at
    once when it is complete. Raises DataFileError when the file there is not one of ours.
    """
    import duckdb

    url = SOURCE_URL.format(version=version)
    rows: list[tuple[object, ...]] = []
    for weighing in weighings:
        if weighing.gap is not None:
            rows.append((weighing.model_id, *[None] * 9, version, url, as_of, weighing.gap))
        for w in weighing.weights:
            sizes = (w.input_bytes, w.output_bytes, w.token_embedding_bytes, list(w.layer_bytes))
            with_imatrix = dict(weighing.imatrix_tensor_bytes).get(w.quant, w.tensor_bytes)
            experts = (list(w.layer_expert_bytes), w.tensor_bytes, with_imatrix, weighing.digest)
            rows.append((weighing.model_id, w.quant, *sizes, *experts, version, url, as_of, None))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE weights ({_COLUMNS})")
        if path.exists():
            weighed = [w.model_id for w in weighings]
            try:
                connection.execute(
                    "INSERT INTO weights BY NAME SELECT * FROM read_parquet(?) WHERE NOT list_contains(?, model_id)",
                    [str(path), weighed],
                )
            except duckdb.Error as error:
                problem = f"not a weights file ({str(error).splitlines()[0]}); remove it and weigh all models again"
                raise DataFileError(str(path), 1, problem) from error
        connection.executemany(f"INSERT INTO weights VALUES ({', '.join('?' * 14)})", rows)
        order = ", ".join(f"'{name}'" for name in QUANTS)
        partial = path.with_name(f"{path.name}.partial")
        name = str(partial).replace("'", "''")
        connection.execute(
            "COPY (SELECT * FROM weights "
            f"ORDER BY model_id, list_position([{order}], quant)) TO '{name}' (FORMAT parquet, COMPRESSION zstd)"
        )
        counted = connection.execute("SELECT count(*) FROM weights").fetchall()
    partial.replace(path)
    return int(counted[0][0])
