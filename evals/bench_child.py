"""The child process that runs a model to time it. Started by `evals.bench`; never import it to call it.

It speaks JSON lines as `evals.engine_child` does, and keeps one model open between questions, so that whatever was
measured before a death or a time-out is already told. Questions, in this order:

- `{"kind": "devices", "endpoints": [...]}`: take devices served elsewhere as this machine's own
- `{"kind": "about"}`: version, features and whether layers can be offloaded
- `{"kind": "list_devices"}`: the devices llama.cpp has here; this wakes their drivers
- `{"kind": "open", "path": ..., ...}`: load the model and make a context, with optional `tensor_split` and
  `expert_layers` (layers whose routed experts stay on the host)
- `{"kind": "warm_up", "n_tokens": ...}`: run everything once, untimed results
- `{"kind": "fill", "depth": ..., "copy": ...}`: put that many tokens into an empty cache
- `{"kind": "decode", "n_tokens": ..., "repetitions": ..., "max_seconds": ...}`: one token after another
- `{"kind": "prefill", "n_tokens": ..., ...}`: one batch into an empty cache
- `{"kind": "memory"}`: resident bytes, now and at the highest
- `{"kind": "buffers"}`: what llama.cpp logged since it was last asked, and its bytes by buffer type

With `--drivers` it may write files as an accelerator's driver does, which keeps compiled kernels on disk. It ends when
its stdin does: a parent that is killed takes it along.
"""

from __future__ import annotations

import ctypes
import math
import os
import queue
import random
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRIVER_FILE_BYTES = 4 * 1024**3
"""Longest file a driver may write: caches of compiled kernels, and memory it shares through files without a name."""

N_TOKEN_IDS = 512
"""Tokens are drawn from the first of the vocabulary; `evals.ghost` gives these an embedding."""

COPY_TOKENS = 512
"""Tokens of the piece of cache that is copied to fill it."""


class Bench:
    """One model and one context, opened once and measured piece by piece."""

    def __init__(self, engine: Any, native: Any) -> None:
        self.engine = engine
        self.native = native  # the module evals.engine_child
        self.api: Any = engine.api
        self.refused: type[Exception] = native.Refused
        self.chance = random.Random(0)  # the same tokens in every run
        self.model: Any = None
        self.context: Any = None
        self.n_vocab = 0
        self.n_threads = 1

    def tell_about(self) -> dict[str, Any]:
        """What was compiled here, and the memory this process takes before any model."""
        return {
            "llama_cpp_python": self.api.__version__,
            "features": self.api.llama_print_system_info().decode("utf-8", "replace"),
            "can_offload": has_accelerator(self.api, self.native.load_ggml(self.api)),
            "memory": read_memory(),
        }

    def open(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Load the model as llama-server would, and make one context. `map` False reads the file instead."""
        api = self.api
        if "data_limit_bytes" in asked:
            set_limit(resource.RLIMIT_DATA, asked["data_limit_bytes"])
        if "resident_limit_bytes" in asked:  # drivers reserve far more addresses than they use
            self.native.watch(asked["resident_limit_bytes"], "this bench")
        params = api.llama_model_default_params()
        params.n_gpu_layers = asked["n_gpu_layers"]
        shares = asked.get("tensor_split") or []
        split = (ctypes.c_float * api.llama_max_devices())(*shares)
        if shares:
            params.tensor_split = split
        kept = self.engine.keep_experts(asked.get("expert_layers") or [])
        if kept is not None:
            params.tensor_buft_overrides = ctypes.cast(kept, ctypes.c_void_p)
        if not asked.get("map", True):
            params.load_mode = api.LLAMA_LOAD_MODE_NONE
        self.engine.take_log()
        started = time.perf_counter()
        self.model = api.llama_model_load_from_file(asked["path"].encode(), params)
        if asked.get("unlink"):
            Path(asked["unlink"]).unlink(missing_ok=True)  # the mapping holds it until this process ends
        load_log = self.engine.take_log()
        if not self.model:
            raise self.refused(load_log)
        api_plain = not (
            api.llama_model_is_recurrent(self.model)
            or api.llama_model_is_hybrid(self.model)
            or api.llama_model_n_swa(self.model)
        )
        context = self._make_context(asked, n_seq_max=2 if api_plain and asked["copy"] else 1)
        if not context:
            raise self.refused(self.engine.take_log())
        if not api.llama_get_memory(context):
            raise self.refused("error: the model keeps no cache: it embeds text and generates none")
        self.context, self.n_threads = context, asked["n_threads"]
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        if self.n_vocab < 1:
            raise self.refused("error: the file has no vocabulary, so there is no token to decode")
        log = load_log + self.engine.take_log()
        return {
            "seconds": time.perf_counter() - started,
            "can_copy": api_plain and asked["copy"],
            "n_ctx": api.llama_n_ctx(context),
            "n_ctx_train": api.llama_model_n_ctx_train(self.model),
            "model_bytes": api.llama_model_size(self.model),
            "n_params": api.llama_model_n_params(self.model),
            "description": self._describe(),
            "repacked": "CPU_REPACK" in log,
            "log": log,
            "breakdown": self.native.read_breakdown(api, context),
        }

    def list_devices(self) -> dict[str, Any]:
        """The devices llama.cpp has here."""
        base = self.native.load_ggml_base(self.api)
        if base is None:
            raise self.refused("error: ggml's own library was not found beside llama_cpp")
        return {"devices": self.native.list_devices(base)}

    def tell_buffers(self) -> dict[str, Any]:
        """Log and bytes by buffer type as they are now: buffers may have grown with the work."""
        return {"log": self.engine.take_log(), "breakdown": self.native.read_breakdown(self.api, self.context)}

    def _make_context(self, asked: dict[str, Any], n_seq_max: int) -> Any:
        api = self.api
        params = api.llama_context_default_params()
        for name in ("n_ctx", "n_batch", "n_ubatch"):
            setattr(params, name, asked[name])
        params.n_seq_max = n_seq_max
        params.kv_unified = n_seq_max > 1  # a second sequence shares the cells of the first
        params.swa_full = False
        params.n_threads = params.n_threads_batch = asked["n_threads"]
        params.type_k = getattr(api, f"GGML_TYPE_{asked['type_k'].upper()}")
        params.type_v = getattr(api, f"GGML_TYPE_{asked['type_v'].upper()}")
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if asked["flash_attention"] else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        return api.llama_init_from_model(self.model, params)

    def _describe(self) -> str:
        text = ctypes.create_string_buffer(128)
        self.api.llama_model_desc(self.model, text, len(text))
        return text.value.decode("utf-8", "replace")

    def warm_up(self, n_tokens: int) -> dict[str, Any]:
        """Touch weights, cache and buffers; says how long one token and one short batch took."""
        self._clear()
        self._decode(1)
        one = self._decode(1)
        self._clear()
        return {"decode_seconds": one, "prefill_seconds": self._decode(n_tokens), "n_tokens": n_tokens}

    def fill(self, depth: int, copy: bool) -> dict[str, Any]:
        """An empty cache, then `depth` tokens: computed, or one computed piece copied over and over.

        A copy has the piece's own positions. The next token attends to every cell all the same, for none of them lies
        in its future, and attends to as many as it would after a prompt of that length.
        """
        started = time.perf_counter()
        self._clear()
        if copy and depth > COPY_TOKENS:
            self._decode(COPY_TOKENS)
            if self._copy_first(COPY_TOKENS, depth // COPY_TOKENS - 1):
                if depth % COPY_TOKENS:
                    self._decode(depth % COPY_TOKENS)
                return self._tell_fill("copied", started)
            self._clear()
        for first in range(0, depth, COPY_TOKENS):
            self._decode(min(COPY_TOKENS, depth - first))
        return self._tell_fill("computed", started)

    def _tell_fill(self, how: str, started: float) -> dict[str, Any]:
        """How the cache was filled, and the bytes of its cells in use: the same whichever way."""
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "how": how, "state_bytes": self.api.llama_state_seq_get_size(self.context, 0)}

    def _copy_first(self, piece: int, times: int) -> bool:
        """Append the cache's content to itself `times` times through a second sequence; False where it cannot."""
        api, memory = self.api, self.api.llama_get_memory(self.context)
        size = api.llama_state_seq_get_size(self.context, 0)
        state = (ctypes.c_uint8 * size)()
        if api.llama_state_seq_get_data(self.context, state, size, 0) != size:
            return False
        for _ in range(times):
            if api.llama_state_seq_set_data(self.context, state, size, 1) == 0:
                return False
            api.llama_memory_seq_cp(memory, 1, 0, -1, -1)
            api.llama_memory_seq_rm(memory, 1, -1, -1)
        return bool(api.llama_memory_seq_pos_max(memory, 0) == piece - 1)

    def measure_decode(self, n_tokens: int, repetitions: int, max_seconds: float) -> dict[str, Any]:
        """Seconds of each repetition of `n_tokens` single tokens, going on from wherever the cache is."""

        def run() -> float:
            return sum(self._decode(1) for _ in range(n_tokens))

        self._decode(1)
        return self._repeat(run, repetitions, max_seconds)

    def measure_prefill(self, n_tokens: int, repetitions: int, max_seconds: float) -> dict[str, Any]:
        """Seconds of each repetition of one batch of `n_tokens` into an empty cache."""

        def run() -> float:
            self._clear()
            return self._decode(n_tokens)

        return self._repeat(run, repetitions, max_seconds)

    def _repeat(self, run: Callable[[], float], repetitions: int, max_seconds: float) -> dict[str, Any]:
        seconds: list[float] = []
        wall, worked = time.perf_counter(), time.process_time()
        while len(seconds) < repetitions and (not seconds or sum(seconds) + max(seconds) <= max_seconds):
            seconds.append(run())
        wall, worked = time.perf_counter() - wall, time.process_time() - worked
        logits = self.api.llama_get_logits_ith(self.context, -1)
        finite = all(math.isfinite(logits[i]) for i in range(min(self.n_vocab, 64)))
        return {"seconds": seconds, "finite": finite, "cpu_share": worked / (wall * self.n_threads)}

    def _clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), False)

    def _decode(self, n_tokens: int) -> float:
        """Seconds for one batch, its last logits read: decoding may return before the work is done."""
        api, top = self.api, min(self.n_vocab, N_TOKEN_IDS)
        tokens = (api.llama_token * n_tokens)(*(self.chance.randrange(top) for _ in range(n_tokens)))
        batch = api.llama_batch_get_one(tokens, n_tokens)
        started = time.perf_counter()
        status = api.llama_decode(self.context, batch)
        logits = api.llama_get_logits_ith(self.context, -1) if status == 0 else None
        if logits:
            float(logits[0])
        seconds = time.perf_counter() - started
        if not logits:
            raise self.refused(f"error: no logits after llama_decode answered {status}\n{self.engine.take_log()}")
        return seconds


def has_accelerator(api: Any, libraries: Any) -> bool:
    """Whether layers can go to a device that is not the CPU; a build with RPC claims so without one."""
    if libraries is None:
        return bool(api.llama_supports_gpu_offload())
    base = libraries[0]
    base.ggml_backend_dev_count.restype = ctypes.c_size_t
    base.ggml_backend_dev_get.restype = ctypes.c_void_p
    base.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    # GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU (ggml-backend.h)
    return any(
        base.ggml_backend_dev_type(base.ggml_backend_dev_get(i)) in (1, 2) for i in range(base.ggml_backend_dev_count())
    )


def read_memory() -> dict[str, int]:
    """Resident bytes of this process: the highest ever, and now in private pages and in mapped files.

    From /proc/self/status; elsewhere only the highest, as getrusage tells it.
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    found = {
        name: int(kib) * 1024 for name, kib in re.findall(r"^(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB", text, re.M)
    }
    return {
        "peak": found.get("VmHWM", 0),
        "private": found.get("RssAnon", 0),
        "mapped": found.get("RssFile", 0) + found.get("RssShmem", 0),
    }


def set_limit(what: int, top: int) -> None:
    """Lower one limit of this process, within what the system allows."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (top if hard == resource.RLIM_INFINITY else min(top, hard), hard))


def answer(bench: Bench, question: dict[str, Any]) -> dict[str, Any]:
    """One answer to one question."""
    kind = question.pop("kind")
    if kind == "about":
        return bench.tell_about()
    if kind == "open":
        return bench.open(question)
    if kind == "devices":
        added: dict[str, Any] = bench.engine.add_devices(question["endpoints"])
        return added
    if kind == "list_devices":
        return bench.list_devices()
    if kind == "buffers":
        return bench.tell_buffers()
    if kind == "warm_up":
        return bench.warm_up(question["n_tokens"])
    if kind == "fill":
        return bench.fill(question["depth"], question["copy"])
    if kind == "memory":
        return read_memory()
    measure = {"decode": bench.measure_decode, "prefill": bench.measure_prefill}[kind]
    return measure(question["n_tokens"], question["repetitions"], question["max_seconds"])


def read_questions() -> queue.SimpleQueue[str]:
    """Questions as they come. When stdin ends, so does this process, whatever native code it is in."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def main() -> None:
    """Answer questions until stdin ends."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    sys.path.append(str(Path(__file__).parents[1]))
    from evals import engine_child

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever native code prints must not mix with the answers
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_FSIZE, DRIVER_FILE_BYTES if "--drivers" in sys.argv[1:] else 0)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which the driver counts cards
    engine_child.go_first()
    lines = iter(read_questions().get, None)
    engine_child.answer_lines(lines, lambda engine: Bench(engine, engine_child), answer, out)


if __name__ == "__main__":
    main()
