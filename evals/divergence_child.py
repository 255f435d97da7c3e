"""The child process that compares two models on a text. Started by `evals.divergence`; never import it to call it.

Both files are open at once, mapped, each with a context of one window. The text is read in pieces, and a window's
scored positions in steps: the same tokens go to both models and their logits are compared where llama.cpp left them, so
that no more than a step's logits exist at any time, however long the text. It speaks JSON lines as `evals.engine_child`
does. Questions, in this order:

- `{"kind": "open", "reference": ..., "candidate": ..., ...}`: load both and compare their vocabularies
- `{"kind": "text", "path": ..., "parse_special": ...}`: the text to read
- `{"kind": "window", "compute": ...}`: the next window, its tokens' hash, and its sums unless it is only passed over
- `{"kind": "memory"}`: resident bytes, now and at the highest

An answer with `problem` (one of `evals.divergence.DivergenceReason`) and `message` is a refusal of ours.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PIECE_BYTES = 64 * 1024
"""Bytes of text turned into tokens at once."""

STEP_BYTES = 64 * 1024**2
"""Logits of one model held at once, at most; but at least `LEAST_STEP_TOKENS` positions."""

STEP_TOKENS = 512
LEAST_STEP_TOKENS = 8


class Problem(Exception):
    """A refusal of ours: a reason's name, and a line for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Side:
    """One model with its vocabulary and context. `name` is 'reference' or 'candidate'."""

    def __init__(self, engine: Any, refused: type[Exception], name: str, path: str, asked: dict[str, Any]) -> None:
        self.engine, self.api, self.refused, self.name = engine, engine.api, refused, name
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = asked["n_gpu_layers"]
        engine.take_log()
        self.model = self.api.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise refused(f"error: the {name} cannot be loaded\n{engine.take_log()}")
        self.vocab = self.api.llama_model_get_vocab(self.model)
        self.n_vocab = self.api.llama_vocab_n_tokens(self.vocab)
        self.context: Any = None

    def open_context(self, asked: dict[str, Any], step: int, kv_type_k: str, kv_type_v: str) -> None:
        """A context of one window that takes `step` tokens at once."""
        api = self.api
        trained = api.llama_model_n_ctx_train(self.model)
        if 0 < trained < asked["context_tokens"]:
            raise Problem("context", f"the {self.name} was trained for {trained} tokens; ask for no longer windows")
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = asked["context_tokens"], step, step
        params.n_seq_max = 1
        params.swa_full = False
        params.n_threads = params.n_threads_batch = asked["n_threads"]
        params.type_k = getattr(api, f"GGML_TYPE_{kv_type_k.upper()}")
        params.type_v = getattr(api, f"GGML_TYPE_{kv_type_v.upper()}")
        if {asked["kv_type_k"], asked["kv_type_v"]} != {"f16"}:  # both alike, or the kernel would be measured too
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = api.llama_init_from_model(self.model, params)
        if not self.context:
            raise self.refused(f"error: the {self.name} got no context\n{self.engine.take_log()}")
        if not api.llama_get_memory(self.context) or api.llama_model_has_encoder(self.model):
            raise Problem("context", f"the {self.name} is no model that predicts the next token of a text")

    def hash_vocabulary(self) -> str:
        """A hash of all pieces in order, their kinds, and the kind of tokenizer."""
        api, seen = self.api, hashlib.sha256()
        seen.update(f"{api.llama_vocab_type(self.vocab)} {api.llama_vocab_get_add_bos(self.vocab)}".encode())
        for token in range(self.n_vocab):
            piece = api.llama_vocab_get_text(self.vocab, token) or b""
            seen.update(len(piece).to_bytes(4, "little") + piece)
        return seen.hexdigest()

    def tokenize(self, raw: bytes, parse_special: bool) -> list[int]:
        """The tokens of one piece of text, none added."""
        room = (self.api.llama_token * (len(raw) + 8))()
        n = self.api.llama_tokenize(self.vocab, raw, len(raw), room, len(room), False, parse_special)
        if n < 0:
            raise self.refused(f"error: a piece of text has more tokens than bytes for the {self.name}")
        return list(room[:n])

    def clear(self) -> None:
        """Forget the last window."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def read_logits(self, batch: Any, n_rows: int) -> Any:
        """Run one step; its logits (rows x vocabulary) where llama.cpp holds them, good until the next step."""
        import numpy as np

        status = self.api.llama_decode(self.context, batch)
        if status != 0:
            raise self.refused(f"error: llama_decode answered {status}\n{self.engine.take_log()}")
        if not n_rows:
            return None
        pointer = self.api.llama_get_logits(self.context)
        if not pointer:
            raise self.refused("error: no logits after llama_decode")
        logits = np.ctypeslib.as_array(pointer, shape=(n_rows * self.n_vocab,)).reshape(n_rows, self.n_vocab)
        if not np.isfinite(logits).all():
            raise Problem("not finite", f"the {self.name} gave logits that are no finite numbers; its file is damaged")
        return logits

    def describe(self) -> str:
        """The model in llama.cpp's own words."""
        text = ctypes.create_string_buffer(128)
        self.api.llama_model_desc(self.model, text, len(text))
        return text.value.decode("utf-8", "replace")


class Comparer:
    """Both models and the text, window by window."""

    def __init__(self, engine: Any, native: Any) -> None:
        self.engine, self.native = engine, native
        self.sides: tuple[Side, Side] | None = None
        self.windows: Iterator[list[int]] = iter(())
        self.context_tokens = self.step = 0
        self.batch: Any = None

    def open(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Load both models; their vocabularies must be the same."""
        sides = [
            Side(self.engine, self.native.Refused, name, asked[name], asked) for name in ("reference", "candidate")
        ]
        sizes = [side.n_vocab for side in sides]
        if sizes[0] < 1 or sizes[0] != sizes[1]:
            raise Problem("vocabulary", f"the reference has {sizes[0]} tokens, the candidate {sizes[1]}: not the same")
        if sides[0].hash_vocabulary() != sides[1].hash_vocabulary():
            raise Problem(
                "vocabulary", f"both have {sizes[0]} tokens, but not the same ones: compare one model's files"
            )
        self.context_tokens = asked["context_tokens"]
        self.step = min(self.context_tokens, STEP_TOKENS, max(LEAST_STEP_TOKENS, STEP_BYTES // (4 * sizes[0])))
        sides[0].open_context(asked, self.step, "f16", "f16")
        sides[1].open_context(asked, self.step, asked["kv_type_k"], asked["kv_type_v"])
        self.batch = self.engine.api.llama_batch_init(self.step, 0, 1)
        self.sides = (sides[0], sides[1])
        return {
            "n_vocab": sizes[0],
            "reference": sides[0].describe(),
            "candidate": sides[1].describe(),
            "llama_cpp_python": self.engine.api.__version__,
        }

    def read_text(self, path: str, parse_special: bool) -> dict[str, Any]:
        """Begin a text."""
        self.windows = self._list_windows(path, parse_special)
        return {}

    def _list_windows(self, path: str, parse_special: bool) -> Iterator[list[int]]:
        """Whole windows of tokens; where the vocabulary wants it, each begins with the token that begins a text."""
        assert self.sides is not None
        first, second = self.sides
        api = self.engine.api
        begin = api.llama_vocab_bos(first.vocab) if api.llama_vocab_get_add_bos(first.vocab) else None
        tokens: list[int] = [] if begin is None else [begin]
        for raw in read_pieces(path):
            found = first.tokenize(raw, parse_special)
            if found != second.tokenize(raw, parse_special):
                raise Problem("vocabulary", "the two files split the same text into different tokens")
            tokens += found
            while len(tokens) >= self.context_tokens:
                window, tokens = tokens[: self.context_tokens], tokens[self.context_tokens :]
                yield window if begin is None else [begin, *window[1:]]

    def take_window(self, compute: bool) -> dict[str, Any]:
        """The next window, or that the text is at its end."""
        window = next(self.windows, None)
        if window is None:
            return {"end": True}
        marked = hashlib.sha256(",".join(map(str, window)).encode()).hexdigest()[:16]
        if not compute:
            return {"tokens_hash": marked}
        started = time.perf_counter()
        sums = self._compare(window)
        return {"tokens_hash": marked, "seconds": time.perf_counter() - started, **sums}

    def _compare(self, window: list[int]) -> dict[str, Any]:
        """Both models on one window; the second half of its positions is scored."""
        import numpy as np

        from evals.divergence_rows import RowSums, add_rows

        assert self.sides is not None
        sums, first_scored = RowSums(), len(window) // 2
        for side in self.sides:
            side.clear()
        for start in range(0, len(window) - 1, self.step):  # the last token has nothing after it
            end = min(start + self.step, len(window) - 1)
            rows = range(max(start, first_scored), end)
            self._fill_batch(window, start, end, first_scored)
            logits = [side.read_logits(self.batch, len(rows)) for side in self.sides]
            if rows:
                targets = np.array([window[i + 1] for i in rows], dtype=np.int64)
                add_rows(sums, logits[0], logits[1], targets)
        return sums.to_record()

    def _fill_batch(self, window: list[int], start: int, end: int, first_scored: int) -> None:
        batch = self.batch
        batch.n_tokens = end - start
        for i in range(end - start):
            at = start + i
            batch.token[i], batch.pos[i] = window[at], at
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, int(at >= first_scored)


def read_pieces(path: str) -> Iterator[bytes]:
    """The text in pieces of about `PIECE_BYTES`, cut where no tokenizer joins; a byte order mark is passed over."""
    left = b""
    with Path(path).open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while chunk := file.read(PIECE_BYTES):
            left += chunk
            cut = find_cut(left)
            if cut:
                yield left[:cut]
                left = left[cut:]
    if left:
        yield left


_LINE_END = re.compile(rb"\n(?=[^\s])")
_SPACE = re.compile(rb"(?<=[^\s])(?= [^\s])")


def find_cut(text: bytes) -> int:
    """Where `text` may end: after its last line end before a letter, else before its last space, else between letters.

    0 while it is shorter than a piece and has no such place.
    """
    for pattern in (_LINE_END, _SPACE):
        ends = [match.end() for match in pattern.finditer(text)]
        if ends:
            return ends[-1]
    if len(text) < 4 * PIECE_BYTES:
        return 0
    cut = len(text) - 1
    while cut > len(text) - 4 and text[cut] & 0xC0 == 0x80:  # within a letter of UTF-8
        cut -= 1
    return cut


def answer(comparer: Comparer, question: dict[str, Any]) -> dict[str, Any]:
    """One answer to one question."""
    kind = question.pop("kind")
    try:
        if kind == "open":
            return comparer.open(question)
        if kind == "text":
            return comparer.read_text(question["path"], question["parse_special"])
        if kind == "window":
            return comparer.take_window(question["compute"])
        if kind == "memory":
            from evals.bench_child import read_memory

            memory: dict[str, Any] = read_memory()
            return memory
    except Problem as problem:
        return {"problem": problem.reason, "message": str(problem)}
    raise comparer.native.Refused(f"error: unknown kind of question {kind!r}")


def main() -> None:
    """Answer questions until stdin ends."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    sys.path.append(str(Path(__file__).parents[1]))
    from evals import bench_child, engine_child

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever native code prints must not mix with the answers
    bench_child.set_limit(resource.RLIMIT_CORE, 0)
    bench_child.set_limit(resource.RLIMIT_FSIZE, bench_child.DRIVER_FILE_BYTES if "--drivers" in sys.argv[1:] else 0)
    engine_child.go_first()
    lines = iter(bench_child.read_questions().get, None)
    engine_child.answer_lines(lines, lambda engine: Comparer(engine, engine_child), answer, out)


if __name__ == "__main__":
    main()
