"""Broken and malicious model files before llama.cpp: each comes back as a value, and the next question is answered.

llama.cpp reads these files in the engine's child process. What must hold is not that it refuses them (some of them it
may well load), but that the process asking survives, soon, whatever the child does.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any

import pytest

from catalog.gguf_header import parse_header
from evals.dry_run import DryRunFailure, EngineChild, FailureReason, list_context_params
from sizing.errors import GgufError
from sizing.workload import Workload
from tools.fuzz_gguf import (
    MUTATIONS,
    STRING,
    Draft,
    DraftKey,
    Hostile,
    array,
    draft_llama,
    make_hostile,
    text,
)

pytestmark = pytest.mark.engine

SEED = 3
PATIENCE_S = 20.0
LONGEST_HOLE_BYTES = 1 << 40  # files are extended as holes, which cost no disk


def ask(engine: EngineChild, header: bytes, file_bytes: int) -> dict[str, Any] | DryRunFailure:
    """The engine's answer to a file with this header, extended to `file_bytes`."""
    path = engine.path("hostile.gguf")
    path.write_bytes(header)
    if len(header) < file_bytes < LONGEST_HOLE_BYTES:
        os.truncate(path, file_bytes)
    contexts = [list_context_params(Workload(context_tokens=256))]
    return engine.ask({"kind": "load", "path": str(path), "contexts": contexts}, PATIENCE_S)


def refuse(draft: Draft, engine: EngineChild) -> DryRunFailure:
    """The failure of a file that llama.cpp cannot load."""
    answer = ask(engine, *draft.write())
    assert isinstance(answer, DryRunFailure)
    return answer


def find_refusal(hostile: Hostile) -> GgufError | None:
    """Why this project's own reader refuses a file; where llama.cpp loads it, only an odd name is a reason."""
    try:
        parse_header(hostile.header, hostile.file_bytes)
    except GgufError as error:
        return error
    return None


def find_key(draft: Draft, name: bytes) -> DraftKey:
    return next(key for key in draft.keys if key.name == name)


def test_the_file_all_mutations_start_from_is_sound(engine: EngineChild) -> None:
    answer = ask(engine, *draft_llama().write())
    assert isinstance(answer, dict)
    assert answer["contexts"][0]["log"]
    # 2 layers of 2 norms of 64 f32, 64x64 q and output, 64x32 k and v, 3 of 64x128; 2 of 64x96; one norm (f16: 2 bytes)
    layer = 2 * 64 * 4 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    assert answer["model_bytes"] == 2 * layer + 2 * (2 * 64 * 96) + 64 * 4


@pytest.mark.parametrize("number", range(2 * len(MUTATIONS)))
def test_a_mutated_file_is_answered_with_a_value(number: int, engine: EngineChild) -> None:
    hostile = make_hostile(SEED, number)
    started = time.monotonic()
    answer = ask(engine, hostile.header, hostile.file_bytes)
    assert time.monotonic() - started < PATIENCE_S
    if isinstance(answer, DryRunFailure):
        assert answer.reason in (FailureReason.REFUSED, FailureReason.ABORTED, FailureReason.UNKNOWN_ARCHITECTURE)
        assert answer.message.isprintable() and len(answer.message) < 5000
    else:
        assert answer["contexts"]
        assert find_refusal(hostile) is None or "the name of" in str(find_refusal(hostile))
    sound = ask(engine, *draft_llama().write())
    assert isinstance(sound, dict), "the engine does not answer after a hostile file"


def test_four_billion_layers_abort_the_child_and_nothing_else(engine: EngineChild) -> None:
    draft = draft_llama()
    find_key(draft, b"llama.block_count").payload = struct.pack("<I", 0xFFFFFFFF)
    failure = refuse(draft, engine)
    assert failure.reason is FailureReason.ABORTED
    assert "ASSERT" in failure.message


def test_a_truncated_file_is_refused(engine: EngineChild) -> None:
    header, _ = draft_llama().write()
    answer = ask(engine, header[: len(header) // 2], 0)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.REFUSED


def test_a_name_of_megabytes_does_not_come_back(engine: EngineChild) -> None:
    draft = draft_llama()
    draft.keys.append(DraftKey(b"x" * (8 << 20), 77, b""))
    failure = refuse(draft, engine)
    assert failure.reason is FailureReason.REFUSED
    assert len(failure.message) < 5000 and sum(map(len, failure.log)) < 100_000


def test_what_steers_a_terminal_does_not_come_through(engine: EngineChild) -> None:
    draft = draft_llama()
    draft.keys[0].payload = text(b"\x1b[2J\x07evil\r")
    failure = refuse(draft, engine)
    assert "evil" in failure.message
    assert failure.message.isprintable() and "\x1b" not in "".join(failure.log)


def test_a_vocabulary_of_four_billion_stays_within_the_childs_memory(engine: EngineChild) -> None:
    draft = draft_llama()
    find_key(draft, b"llama.vocab_size").payload = struct.pack("<I", 0xFFFFFFFF)
    assert refuse(draft, engine).reason in (FailureReason.REFUSED, FailureReason.ABORTED)


def test_a_billion_texts_in_a_hole_stays_within_the_childs_memory(engine: EngineChild) -> None:
    draft = draft_llama()
    draft.keys.append(DraftKey(b"demo.hole", 9, array(STRING, 1 << 30, b"")))
    header, _ = draft.write()
    answer = ask(engine, header, 1 << 36)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason in (FailureReason.REFUSED, FailureReason.ABORTED)
