"""`python -m catalog gguf FILE...`: what model files say about themselves, read from their headers alone."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.gguf_header import GgufHeader, GgufKey, Scalar, load_header
from catalog.gguf_weights import count_type_bytes, count_weight_bytes, find_quant_label
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import GgufError, UnsupportedError
from sizing.memory import WeightBytes
from sizing.units import THIN, format_bytes, format_params

SHOWN_CHARACTERS = 60


def add_gguf_command(commands: Any) -> argparse.ArgumentParser:
    """Register the command with its options."""
    parser: argparse.ArgumentParser = commands.add_parser("gguf", help="what GGUF files hold, from their headers")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="a model, or all parts of a split one")
    parser.set_defaults(run=run_gguf)
    return parser


def run_gguf(args: argparse.Namespace) -> int:
    """Print the headers. An incomplete file is described and fails. Raises GgufError for a broken one."""
    headers = [load_named(path) for path in args.files]
    try:
        weights, gap = count_weight_bytes(headers), None
    except UnsupportedError as error:
        weights, gap = None, str(error)
    lacking = [(path, h.missing_bytes) for path, h in zip(args.files, headers, strict=True) if h.missing_bytes]
    if args.json:
        print_json(model_record(args.files, headers, weights, gap))
    else:
        print_model(args.files, headers, weights, gap)
    for path, n_bytes in lacking:
        print(f"{ascii(path.name)[1:-1]} is incomplete: {n_bytes:,} bytes are missing; fetch it again", file=sys.stderr)
    return EXIT_FAILED if lacking else EXIT_DONE


def load_named(path: Path) -> GgufHeader:
    """A file's header; a refusal names the file. Raises GgufError."""
    try:
        return load_header(path)
    except GgufError as error:
        raise GgufError(f"{ascii(path.name)[1:-1]}: {error}") from None


def model_record(
    paths: Sequence[Path], headers: Sequence[GgufHeader], weights: WeightBytes | None, gap: str | None
) -> dict[str, Any]:
    """A model in one or more files, as JSON."""
    return {
        "architecture": headers[0].architecture,
        "quant": find_quant_label(headers),
        "n_params": sum(h.n_params for h in headers),
        "n_tensors": sum(len(h.tensors) for h in headers),
        "tensor_bytes": sum(h.tensor_bytes for h in headers),
        "weights": None
        if weights is None
        else {
            "input_bytes": weights.input_bytes,
            "output_bytes": weights.output_bytes,
            "layer_bytes": list(weights.layer_bytes),
            "layer_expert_bytes": list(weights.layer_expert_bytes),
            "token_embedding_bytes": weights.token_embedding_bytes,
        },
        "weights_gap": gap,
        "types": [{"type": name, "n_tensors": n, "n_bytes": size} for name, n, size in count_type_bytes(headers)],
        "files": [file_record(path, header) for path, header in zip(paths, headers, strict=True)],
    }


def file_record(path: Path, header: GgufHeader) -> dict[str, Any]:
    """One file as JSON; a value too large to keep is null."""
    return {
        "file": os.fsencode(path.name).decode("utf-8", "replace"),
        "version": header.version,
        "alignment": header.alignment,
        "data_offset": header.data_offset,
        "file_bytes": header.file_bytes,
        "expected_file_bytes": header.expected_file_bytes,
        "missing_bytes": header.missing_bytes,
        "keys": [
            {
                "name": key.name,
                "type": key.type_name,
                "is_array": key.is_array,
                "n_items": key.n_items,
                "n_bytes": key.n_bytes,
                "value": plain(key.value),
            }
            for key in header.keys
        ],
        "tensors": [
            {"name": t.name, "type": t.type_name, "shape": list(t.shape), "offset": t.offset, "n_bytes": t.n_bytes}
            for t in header.tensors
        ],
    }


def plain(value: Scalar | tuple[Scalar, ...] | None) -> Any:
    """A value as JSON knows it: an infinite float or one that is no number becomes text."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def print_model(
    paths: Sequence[Path], headers: Sequence[GgufHeader], weights: WeightBytes | None, gap: str | None
) -> None:
    """The same for reading. What comes from the file is escaped, so that it cannot steer a terminal."""
    first = headers[0]
    rows = [
        ("architecture", shorten(first.architecture)),
        ("quant", find_quant_label(headers)),
        ("parameters", format_params(sum(h.n_params for h in headers))),
        ("tensors", f"{sum(len(h.tensors) for h in headers):,}, {format_bytes(sum(h.tensor_bytes for h in headers))}"),
    ]
    for name, n, size in count_type_bytes(headers):
        rows.append((f"  {name}", f"{n:,} tensors, {format_bytes(size)}"))
    if weights is not None:
        rows.append(("input", format_bytes(weights.input_bytes)))
        rows.append(("layers", f"{len(weights.layer_bytes)}{THIN}×, {format_bytes(sum(weights.layer_bytes))}"))
        if any(weights.layer_expert_bytes):
            rows.append(("  experts", format_bytes(sum(weights.layer_expert_bytes))))
        rows.append(("output", format_bytes(weights.output_bytes)))
    else:
        rows.append(("weights", f"not grouped: {gap}"))
    for label, text in rows:
        print(f"{label:<14}{text}")
    for path, header in zip(paths, headers, strict=True):
        length = "of unknown length" if header.file_bytes is None else f"{header.file_bytes:,} bytes"
        print(f"{ascii(path.name)[1:-1]}: GGUF {header.version}, {length}, data from byte {header.data_offset:,}")
        for key in header.keys:
            print(f"  {ascii(key.name)[1:-1]} = {describe_value(key)}")


def describe_value(key: GgufKey) -> str:
    """A key's value in a few words."""
    if key.is_array:
        items = f": {shorten(key.value)}" if key.value is not None else ""
        return f"[{key.n_items:,} {key.type_name}]{items}"
    return f"text of {key.n_bytes - 8:,} bytes" if key.value is None else shorten(key.value)


def shorten(value: Scalar | tuple[Scalar, ...] | None) -> str:
    """A value escaped and cut to what fits on a line."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
