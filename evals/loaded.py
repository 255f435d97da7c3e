"""One model file open in llama.cpp with one context, through the low-level bindings. Worker processes only.

What is here knows tokens, sequence numbers and rows of logits; who computes what and when is `evals.sequences`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.engine_child import Engine
from evals.prefixes import Tokens
from sizing.errors import BadInputError, EngineError, UnsupportedError

N_SPARE_SEQUENCES = 4
"""Sequence numbers above those asked for, which hold common beginnings while others go on from them."""

N_SEQUENCES_PLAIN = 64
"""Sequence numbers where one costs nothing but a bit per cell: all layers attend and none has a window."""

LOGITS_BYTES = 256 * 1024**2
"""Most logits one step may give: all rows of 2,048 tokens at a vocabulary of 151,936 would take 1.2 GB."""

WINDOW_PAD_CELLS = 256
"""llama-kv-cache-iswa.cpp pads the cells of sliding-window layers to a multiple of this."""

LAST_WORDS = 3
"""Lines of the engine's log that an error quotes."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a file is opened. `context_tokens` is per sequence, None for as trained but 8,192 at most.

    `n_cells` is the size of the whole cache in tokens, None for `n_seq` times `context_tokens`; a
    smaller one makes requests wait. The rest as in llama.cpp.
    """

    path: str
    context_tokens: int | None = None
    n_seq: int = 8
    n_batch: int = 2048
    n_ubatch: int = 512
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    n_threads: int | None = None
    n_gpu_layers: int = 0
    swa_full: bool = False
    n_cells: int | None = None

    def __post_init__(self) -> None:
        for name, least, most in (
            ("context_tokens", 2, 2**24),
            ("n_seq", 1, 256 - N_SPARE_SEQUENCES),
            ("n_batch", 1, 2**16),
            ("n_ubatch", 1, 2**16),
            ("n_threads", 1, 1024),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise BadInputError(f"{name} wants a number from {least} to {most}, got {value!r}")
        if not Path(self.path).is_file():
            raise BadInputError(f"path wants a GGUF file, got {self.path!r}")


@functools.cache
def open_engine() -> Engine:
    """llama.cpp, once per process: its log callback must outlive every model. Raises EngineError without it."""
    try:
        return Engine()
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"llama.cpp cannot be loaded ({type(error).__name__}: {error}); try: make engine") from error


def count_physical_cores() -> int:
    """Physical cores this process may run on; its logical ones where the system does not say which share a core."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        try:
            text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
        except OSError:
            return len(allowed)
        siblings.add(text.strip())
    return max(len(siblings), 1)


class Batch:
    """The tokens of one step, written as whole slices; every token belongs to one sequence."""

    def __init__(self, api: Any, n_tokens: int) -> None:
        self.n_room = n_tokens
        self.n = 0
        self._token = np.zeros(n_tokens, dtype=np.int32)
        self._pos = np.zeros(n_tokens, dtype=np.int32)
        self._n_seq_id = np.ones(n_tokens, dtype=np.int32)
        self._seq = np.zeros(n_tokens, dtype=np.int32)
        self._wanted = np.zeros(n_tokens, dtype=np.int8)
        # a pointer per token to its list of sequences, each a list of one
        self._seq_at = self._seq.ctypes.data + 4 * np.arange(n_tokens, dtype=np.uint64)
        self.native = api.llama_batch()
        for name, values in (
            ("token", self._token),
            ("pos", self._pos),
            ("n_seq_id", self._n_seq_id),
            ("seq_id", self._seq_at),
            ("logits", self._wanted),
        ):
            kind = dict(api.llama_batch._fields_)[name]
            setattr(self.native, name, ctypes.cast(values.ctypes.data, kind))

    def clear(self) -> None:
        """Start a new step."""
        self.n = 0

    def add(self, tokens: Tokens, position: int, sequence: int, wanted: NDArray[np.int64]) -> None:
        """Append a run of one sequence; `wanted` are the places in it whose logits are to be given."""
        here = slice(self.n, self.n + len(tokens))
        self._token[here] = tokens
        self._pos[here] = np.arange(position, position + len(tokens), dtype=np.int32)
        self._seq[here] = sequence
        self._wanted[here] = 0
        self._wanted[self.n + wanted] = 1
        self.n += len(tokens)


class LoadedModel:
    """A model and its context. `close` frees both; nothing works after it.

    Raises EngineError where llama.cpp refuses the file or the context, UnsupportedError for a model that does not
    write on from a text (an encoder).
    """

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.engine = open_engine()
        self.api: Any = self.engine.api
        self.model: Any = self._load_model()
        self.context: Any = None
        try:
            self.vocab: Any = self.api.llama_model_get_vocab(self.model)
            self.n_vocab = int(self.api.llama_vocab_n_tokens(self.vocab))
            self.has_vocabulary = self.api.llama_vocab_type(self.vocab) != self.api.LLAMA_VOCAB_TYPE_NONE
            self.n_ctx_train = int(self.api.llama_model_n_ctx_train(self.model))
            self.has_state = bool(
                self.api.llama_model_is_recurrent(self.model) or self.api.llama_model_is_hybrid(self.model)
            )
            self.window_tokens = int(self.api.llama_model_n_swa(self.model))
            if self.api.llama_model_has_encoder(self.model) or not self.api.llama_model_has_decoder(self.model):
                raise UnsupportedError(
                    f"{plan.path}: wanted a model that writes on from a text, this one has an encoder"
                )
            self.context_tokens = plan.context_tokens or min(self.n_ctx_train or 8192, 8192)
            self.n_threads = plan.n_threads or count_physical_cores()
            self.n_sequences = self._choose_sequences()
            self._open_context()
        except BaseException:
            self.close()
            raise
        self.prefill_s = self.decode_s = 0.0
        self.n_prefilled = self.n_decoded = 0

    def _load_model(self) -> Any:
        api = self.api
        params = api.llama_model_default_params()
        params.n_gpu_layers = self.plan.n_gpu_layers
        self.engine.take_log()
        model = api.llama_model_load_from_file(self.plan.path.encode(), params)
        if not model:
            raise EngineError(f"llama.cpp cannot load {self.plan.path!r}: {self.last_words()}")
        return model

    def _choose_sequences(self) -> int:
        """Sequence numbers: many where they are free, few where each has a state or a window's cells of its own."""
        wanted = self.plan.n_seq + N_SPARE_SEQUENCES
        has_window = self.window_tokens > 0 and not self.plan.swa_full
        if not self.has_state and not has_window:
            wanted = max(wanted, N_SEQUENCES_PLAIN)
        # llama.cpp aborts on more sequences than a physical batch has tokens
        n_ubatch = min(self.plan.n_ubatch, self.plan.n_batch)
        return min(wanted, n_ubatch, int(self.api.llama_max_parallel_sequences()))

    def _open_context(self) -> None:
        api, plan = self.api, self.plan
        params = api.llama_context_default_params()
        params.n_ctx = plan.n_cells or plan.n_seq * self.context_tokens
        params.n_batch, params.n_ubatch = plan.n_batch, min(plan.n_ubatch, plan.n_batch)
        params.n_seq_max = self.n_sequences
        params.n_threads = params.n_threads_batch = self.n_threads
        params.type_k, params.type_v = self._find_type("kv_type_k"), self._find_type("kv_type_v")
        on, off = api.LLAMA_FLASH_ATTN_TYPE_ENABLED, api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = on if plan.flash_attention else off
        params.swa_full = plan.swa_full
        params.kv_unified = True  # sequences share cells, so a common beginning is kept once
        params.no_perf = True
        self.context = api.llama_init_from_model(self.model, params)
        if not self.context:
            raise EngineError(f"llama.cpp refuses a context of {params.n_ctx} tokens: {self.last_words()}")
        self.memory: Any = api.llama_get_memory(self.context)
        self.n_cells = int(api.llama_n_ctx(self.context))
        self.context_tokens = min(self.context_tokens, self.n_cells)
        self.n_batch, self.n_ubatch = int(api.llama_n_batch(self.context)), int(api.llama_n_ubatch(self.context))
        self.n_rows = max(1, min(self.n_batch, LOGITS_BYTES // (4 * self.n_vocab)))
        self.batch = Batch(api, self.n_batch)

    def _find_type(self, name: str) -> int:
        value = getattr(self.plan, name)
        found = getattr(self.api, f"GGML_TYPE_{str(value).upper()}", None)
        if found is None:
            raise BadInputError(f"{name} wants a GGML type such as f16 or q8_0, got {value!r}")
        return int(found)

    @property
    def n_computed(self) -> int:
        """Tokens computed so far."""
        return self.n_prefilled + self.n_decoded

    @property
    def n_window_cells(self) -> int:
        """Cells that sliding-window layers have for all sequences; those of the whole cache where none has fewer."""
        if self.window_tokens == 0 or self.plan.swa_full:
            return self.n_cells
        # llama-kv-cache-iswa.cpp, `size_swa` of a unified cache
        wanted = min(self.n_cells, self.window_tokens * self.n_sequences + self.n_ubatch)
        return -(-wanted // WINDOW_PAD_CELLS) * WINDOW_PAD_CELLS

    def decode(self, n_wanted: int, *, is_prefill: bool) -> NDArray[np.float32] | None:
        """Compute the batch; the wanted rows of logits in its order, valid until the next step. None: no free cells.

        Raises EngineError where llama.cpp fails otherwise.
        """
        batch, api = self.batch, self.api
        started = time.perf_counter()
        batch.native.n_tokens = batch.n
        status = api.llama_decode(self.context, batch.native)
        if status == 1:
            return None
        if status != 0:
            raise EngineError(f"llama.cpp failed with {status} on {batch.n} tokens: {self.last_words()}")
        if n_wanted == 0:
            rows = np.zeros((0, self.n_vocab), dtype=np.float32)
            api.llama_synchronize(self.context)
        else:
            values = api.llama_get_logits(self.context)
            rows = np.ctypeslib.as_array(values, shape=(n_wanted, self.n_vocab))
        took = time.perf_counter() - started
        if is_prefill:
            self.n_prefilled += batch.n
            self.prefill_s += took
        else:
            self.n_decoded += batch.n
            self.decode_s += took
        return rows

    def copy_sequence(self, source: int, target: int) -> None:
        """Let sequence `target`, which must be empty, go on from where `source` stands."""
        self.api.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def drop_sequence(self, sequence: int) -> None:
        """Empty one sequence."""
        self.api.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def drop_all(self) -> None:
        """Empty every sequence."""
        self.api.llama_memory_clear(self.memory, False)

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Tokens of a text, none added; `parse_special` reads the names of special tokens in it as those tokens.

        Raises EngineError where llama.cpp refuses the text.
        """
        raw = text.encode("utf-8", "surrogatepass")
        room = (self.api.llama_token * (len(raw) + 8))()
        n = self.api.llama_tokenize(self.vocab, raw, len(raw), room, len(room), False, parse_special)
        if n < 0:
            raise EngineError(f"llama.cpp cannot tokenize a text of {len(raw)} bytes, answered {n}")
        return list(room[:n])

    def spell(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token stands for; none for a special token unless `special`, nor in a file without vocabulary."""
        if not self.has_vocabulary:
            return b""
        room = ctypes.create_string_buffer(64)
        n = self.api.llama_token_to_piece(self.vocab, token, room, len(room), 0, special)
        if n < 0:
            room = ctypes.create_string_buffer(-n)
            n = self.api.llama_token_to_piece(self.vocab, token, room, len(room), 0, special)
        return room.raw[: max(n, 0)]

    def ends(self, token: int) -> bool:
        """Whether the vocabulary says that a text or a turn ends with this token."""
        return bool(self.api.llama_vocab_is_eog(self.vocab, token))

    def read_metadata(self, key: str) -> str | None:
        """One value of the file's metadata as text; None where it has no such key."""
        room = ctypes.create_string_buffer(1024)
        n = self.api.llama_model_meta_val_str(self.model, key.encode(), room, len(room))
        if n >= len(room):
            room = ctypes.create_string_buffer(n + 1)
            n = self.api.llama_model_meta_val_str(self.model, key.encode(), room, len(room))
        return None if n < 0 else room.value.decode("utf-8", "replace")

    def last_words(self) -> str:
        """What the engine said last, on one line."""
        lines = [line.strip() for line in self.engine.take_log().splitlines() if line.strip()]
        return " | ".join(lines[-LAST_WORDS:]) or "it did not say why"

    def close(self) -> None:
        """Free context and model; more than once does no harm."""
        if self.context:
            self.api.llama_free(self.context)
        if self.model:
            self.api.llama_model_free(self.model)
        self.context = self.model = None
