"""The child process that talks to llama.cpp. Run as `python -m evals.engine_child`; never import it to call it.

Parent and child speak JSON lines: one question per line on stdin, one answer per line on stdout. A native call may
abort at any time; the parent reads the child's death as an answer. Questions:

- `{"kind": "version"}`
- `{"kind": "types", "path": ..., "ftypes": [...]}`: the type llama.cpp gives every tensor, per file type
- `{"kind": "load", "path": ..., "contexts": [{...}, ...]}`: sizes of the model and of one context after another, with
  optional `n_gpu_layers`, `tensor_split` and `expert_layers` (layers whose routed experts stay on the host)
- `{"kind": "devices", "endpoints": [...]}`: take devices served elsewhere (`--serve HOST:PORT`) as this machine's own

Answers are `{"ok": {...}}`, `{"refused": "..."}` or `{"missing": "..."}`, with `engine_s`, the seconds they took. Each
question's answer is preceded by `{"started": true}` so that the parent knows which question an abort lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

ADDRESS_LIMIT_BYTES = 64 * 1024**3
"""Private addresses of the child. llama.cpp reserves about 20 KB for every node a graph may have and touches little of
it: Kimi K3 at a physical batch of 2,048 tokens reserves 6.6 GB. Files mapped read-only do not count."""

RESIDENT_LIMIT_BYTES = 4 * 1024**3
"""Private memory the child may really hold, watched; a recurrent state is allocated in full even without weights."""

WATCH_EVERY_S = 0.1

CPU_LIMIT_S = 1800
"""Processor time of one child, far above a batch of honest questions."""

LOG_LEVEL_DEBUG = 1
LOG_LEVEL_CONTINUED = 5

LINE_LIMIT_BYTES = 4096
LOG_LIMIT_CHARACTERS = 16 * 1024**2
"""How much of what llama.cpp says is kept: a file's names stand in its log, and a hostile file's have no end."""

UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that would steer a terminal or hide in a line: controls but newline, and those of direction."""

_LINE = re.compile(r"^\[ *\d+/ *\d+\] +(\S+) +- \[[^\]]*\], type = +(\S+), size = [^(\n]*(?:\((\w+)\))?$", re.M)


def set_limits() -> None:
    """Bound this process: private memory, processor time, no files written, no core dumps."""
    for what, top in (
        (resource.RLIMIT_DATA, ADDRESS_LIMIT_BYTES),
        (resource.RLIMIT_CPU, CPU_LIMIT_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (top if hard == resource.RLIM_INFINITY else min(top, hard),) * 2)


def find_resident_bytes() -> int:
    """Private memory this process holds; 0 where the system does not say (only Linux does so here)."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize()


def watch(limit_bytes: int = RESIDENT_LIMIT_BYTES, what: str = "a dry run") -> None:
    """End this process, whatever native code it is in, once its parent is gone or it holds too much memory.

    `what` is what the memory was allowed for, in words.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            held = find_resident_bytes()
            if held > limit_bytes:
                said = f"error: {held / 1024**3:.1f} GiB held, {limit_bytes / 1024**3:.1f} GiB allowed for {what}\n"
                os.write(2, said.encode())
                break
            time.sleep(WATCH_EVERY_S)
        os._exit(3)

    threading.Thread(target=look, daemon=True).start()


class Refused(Exception):
    """llama.cpp said no. The log holds its reason."""


class Engine:
    """llama.cpp through its low-level bindings, its log kept line by line."""

    def __init__(self) -> None:
        import llama_cpp  # the native library loads here

        self.api: Any = llama_cpp
        self.log: list[str] = []
        self._drop = False
        self._n_logged = 0
        self._callback = llama_cpp.llama_log_callback(self._keep)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def _keep(self, level: int, text: bytes, user_data: Any) -> None:
        # a continuation belongs to whatever came before it (ggml.h, `enum ggml_log_level`)
        if level != LOG_LEVEL_CONTINUED:
            self._drop = level == LOG_LEVEL_DEBUG
        if not self._drop and self._n_logged < LOG_LIMIT_CHARACTERS:
            line = UNPRINTABLE.sub("\ufffd", text[:LINE_LIMIT_BYTES].decode("utf-8", "replace"))
            line += "\n" if len(text) > LINE_LIMIT_BYTES else ""
            self._n_logged += len(line)
            self.log.append(line)

    def take_log(self) -> str:
        """Everything logged since the last call."""
        text = "".join(self.log)
        self.log.clear()
        self._n_logged = 0
        return text

    def list_types(self, path: str, ftypes: list[list[Any]]) -> dict[str, Any]:
        """The GGML type of every tensor per file type; `ftypes` holds pairs of number and 'has an imatrix'."""
        tables: dict[str, Any] = {}
        for ftype, has_imatrix in ftypes:
            params = self.api.llama_model_quantize_default_params()
            params.ftype = ftype
            params.dry_run = True
            params.nthread = 1
            if has_imatrix:
                params.imatrix = self._fake_imatrix()
            self.take_log()
            status = self.api.llama_model_quantize(path.encode(), b"", ctypes.byref(params))
            text = self.take_log()
            if status != 0:
                raise Refused(text)
            tables[str(ftype)] = {name: new or old for name, old, new in _LINE.findall(text)}
        return {"types": tables}

    def _fake_imatrix(self) -> Any:
        """One entry for a tensor no model has: a dry run only asks whether there is an importance matrix at all."""
        self._ones = (ctypes.c_float * 1)(1.0)
        data = self.api.llama_model_imatrix_data
        entries = (data * 2)()
        entries[0].name = b"none"
        entries[0].data = ctypes.cast(self._ones, ctypes.POINTER(ctypes.c_float))
        entries[0].size = 1
        self._imatrix = entries
        return ctypes.cast(entries, ctypes.POINTER(data))

    def add_devices(self, endpoints: list[str]) -> dict[str, Any]:
        """Register the devices that RPC servers offer; every later load may use them."""
        libraries = load_ggml()
        if libraries is None:
            raise Refused("llama.cpp is missing or was built without RPC; compile it with: make engine")
        base, rpc = libraries
        rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
        rpc.ggml_backend_rpc_add_server.argtypes = [ctypes.c_char_p]
        base.ggml_backend_register.argtypes = [ctypes.c_void_p]
        for endpoint in endpoints:
            registry = rpc.ggml_backend_rpc_add_server(endpoint.encode())
            if not registry:
                raise Refused(f"no device answers at {endpoint}")
            base.ggml_backend_register(registry)
        return {"n_devices": len(endpoints)}

    def load(self, question: dict[str, Any]) -> dict[str, Any]:
        """Load metadata only, then simulate every allocation of each context in turn."""
        api, path, contexts = self.api, question["path"], question["contexts"]
        params = api.llama_model_default_params()
        params.no_alloc = True
        params.load_mode = api.LLAMA_LOAD_MODE_NONE  # memory mapping contradicts no_alloc and aborts
        params.lazy_mode = api.LLAMA_LAZY_MODE_OFF  # else embeddings above 4 GiB would not be counted
        params.n_gpu_layers = question.get("n_gpu_layers", 0)
        shares = question.get("tensor_split", [])
        split = (ctypes.c_float * api.llama_max_devices())(*shares)
        if shares:
            params.tensor_split = split
        kept = self.keep_experts(question.get("expert_layers", []))
        if kept is not None:
            params.tensor_buft_overrides = ctypes.cast(kept, ctypes.c_void_p)
        self.take_log()
        model = api.llama_model_load_from_file(path.encode(), params)
        load_log = self.take_log()
        if not model:
            raise Refused(load_log)
        try:
            return {
                "model_bytes": api.llama_model_size(model),
                "n_params": api.llama_model_n_params(model),
                "load_log": load_log,
                "contexts": [self._reserve(model, c) for c in contexts],
            }
        finally:
            api.llama_model_free(model)

    def keep_experts(self, layers: list[int]) -> Any:
        """The rule that keeps the routed experts of these layers on the host; None for no layers.

        The tensors are those of llama.cpp's `--n-cpu-moe` (common/common.h, LLM_FFN_EXPS_REGEX).
        """
        if not layers:
            return None
        library = load_ggml_base(self.api)
        if library is None:
            raise Refused("experts cannot be kept on the host: ggml's own library was not found beside llama_cpp")
        host = library.ggml_backend_cpu_buffer_type
        host.restype = ctypes.c_void_p

        class Override(ctypes.Structure):
            _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))

        rules = (Override * (len(layers) + 1))()
        for i, layer in enumerate(layers):
            rules[i].pattern = rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps".encode()
            rules[i].buft = host()
        return rules

    def _reserve(self, model: Any, asked: dict[str, Any]) -> dict[str, Any]:
        api = self.api
        params = api.llama_context_default_params()
        for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "swa_full", "kv_unified"):
            setattr(params, name, asked[name])
        params.type_k = getattr(api, f"GGML_TYPE_{asked['type_k'].upper()}")
        params.type_v = getattr(api, f"GGML_TYPE_{asked['type_v'].upper()}")
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if asked["flash_attention"] else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        context = api.llama_init_from_model(model, params)
        log = self.take_log()
        if not context:
            return {"refused": log}
        try:
            return {"log": log, "breakdown": read_breakdown(self.api, context)}
        finally:
            api.llama_free(context)
            self.take_log()


def read_breakdown(api: Any, context: Any) -> dict[str, list[int]] | None:
    """Exact bytes per buffer type as [model, context, compute]; None where the ABI is not the one read here.

    `llama_get_memory_breakdown` returns a std::map by hidden pointer, walked here as libstdc++ lays it out on x86-64
    Linux: a red-black tree of nodes {colour, parent, left, right, key, three sizes}. The log states the same numbers
    rounded to 0.01 MiB, and the parent holds the two against each other.
    """
    if os.uname().machine != "x86_64" or sys.platform != "linux":
        return None
    try:
        call = api.llama_cpp._lib["_Z26llama_get_memory_breakdownPK13llama_context"]
    except AttributeError:
        return None
    words = ctypes.c_uint64
    tree = (words * 6)()
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    call.restype = ctypes.c_void_p
    call(ctypes.byref(tree), context)
    name_of = _find_buft_name(api)
    out: dict[str, list[int]] = {}
    waiting = [tree[2]]
    while waiting and len(out) < 64:
        address = waiting.pop()
        if not address:
            continue
        node = (words * 8).from_address(address)
        waiting += [node[2], node[3]]
        name = name_of(node[4])
        sums = out.setdefault(name, [0, 0, 0])
        for i in range(3):
            sums[i] += node[5 + i]
    return out


def _find_buft_name(api: Any) -> Any:
    import llama_cpp._ggml as ggml  # the same loaded library that libllama uses

    for library in (getattr(ggml, "libggml_base", None), getattr(ggml, "libggml", None), api.llama_cpp._lib):
        call = getattr(library, "ggml_backend_buft_name", None)
        if call is not None:
            call.argtypes = [ctypes.c_void_p]
            call.restype = ctypes.c_char_p
            return lambda address: call(address).decode()
    return lambda address: hex(address)


def load_ggml(package: Any = None) -> tuple[Any, Any] | None:
    """ggml and its RPC part, as libllama itself links them; None where it was built without RPC.

    `package` is llama_cpp where it is imported already; it need not be.
    """
    base, rpc = load_ggml_base(package), _load_ggml_library("ggml-rpc", package)
    return None if base is None or rpc is None else (base, rpc)


def load_ggml_base(package: Any = None) -> Any:
    """ggml, with the registry of devices that libllama uses; None where it is not found."""
    return _load_ggml_library("ggml", package)


def _load_ggml_library(name: str, package: Any) -> Any:
    """One of ggml's libraries, by the name libllama links.

    The wheel holds the libraries under several names, and every name is a copy with a registry of its own, so it must
    be the versioned one.
    """
    found = find_spec("llama_cpp") if package is None else None
    origin = found.origin if found is not None else getattr(package, "__file__", None)
    if origin is None:
        return None
    ending = ".0.dylib" if sys.platform == "darwin" else ".so.0"
    try:
        return ctypes.CDLL(str(Path(origin).parent / "lib" / f"lib{name}{ending}"))
    except OSError:
        return None


DEVICE_TYPES = ("cpu", "gpu", "igpu", "accel", "meta")
"""What ggml's numbers of a device's type mean (ggml-backend.h, `enum ggml_backend_dev_type`)."""


class DeviceProperties(ctypes.Structure):
    """ggml-backend.h, `struct ggml_backend_dev_props`; the flags at its end with room for further ones."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free_bytes", ctypes.c_size_t),
        ("total_bytes", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("id", ctypes.c_char_p),
        ("flags", ctypes.c_ubyte * 64),
    )


def list_devices(base: Any) -> list[dict[str, Any]]:
    """Every device ggml has registered, in the order in which llama.cpp takes them; asking wakes their drivers.

    Each with name, description, type, backend, free and total bytes, and its PCI address ('' where unknown).
    """
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("ggml_backend_dev_count", ctypes.c_size_t, []),
        ("ggml_backend_dev_get", pointer, [ctypes.c_size_t]),
        ("ggml_backend_dev_get_props", None, [pointer, ctypes.POINTER(DeviceProperties)]),
        ("ggml_backend_dev_backend_reg", pointer, [pointer]),
        ("ggml_backend_reg_name", text, [pointer]),
    ):
        call = getattr(base, name)
        call.restype, call.argtypes = result, arguments
    found = []
    for i in range(base.ggml_backend_dev_count()):
        device = base.ggml_backend_dev_get(i)
        told = DeviceProperties()
        base.ggml_backend_dev_get_props(device, ctypes.byref(told))
        backend = base.ggml_backend_reg_name(base.ggml_backend_dev_backend_reg(device))
        found.append(
            {
                "name": _to_text(told.name),
                "description": _to_text(told.description),
                "type": DEVICE_TYPES[told.type] if 0 <= told.type < len(DEVICE_TYPES) else "unknown",
                "backend": _to_text(backend),
                "free_bytes": told.free_bytes,
                "total_bytes": told.total_bytes,
                "id": _to_text(told.id),
            }
        )
    return found


def _to_text(text: bytes | None) -> str:
    return UNPRINTABLE.sub("\ufffd", (text or b"").decode("utf-8", "replace"))


def serve(endpoint: str) -> None:
    """Offer this machine's CPU as a device on a loopback address until stdin ends, which it does with the parent."""
    libraries = load_ggml()
    if libraries is None:
        raise SystemExit("llama.cpp is missing or was built without RPC; compile it with: make engine")

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    base, rpc = libraries
    base.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    devices = (ctypes.c_void_p * 1)(base.ggml_backend_dev_by_type(0))
    rpc.ggml_backend_rpc_start_server.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    rpc.ggml_backend_rpc_start_server(endpoint.encode(), None, 1, 1, devices)
    raise SystemExit(f"no server could be started at {endpoint}")


def go_first() -> None:
    """Let this process be the one that is ended where memory runs out (Linux), rather than the app."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def answer_lines(
    lines: Iterable[str],
    make: Callable[[Engine], T],
    answer: Callable[[T, dict[str, Any]], dict[str, Any]],
    out: TextIO,
) -> None:
    """Answer one question a line with what `make` builds around llama.cpp, where that is here; refusals are answers."""
    made: T | None = None
    missing = ""
    try:
        made = make(Engine())
    except (ImportError, OSError, RuntimeError) as error:
        missing = f"{type(error).__name__}: {error}"
    for line in lines:
        reply: dict[str, Any]
        try:
            reply = {"missing": missing} if made is None else {"ok": answer(made, json.loads(line))}
        except Refused as said:
            reply = {"refused": str(said)}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def answer(engine: Engine, question: dict[str, Any]) -> dict[str, Any]:
    """One answer to one question, with the seconds it took."""
    started = time.monotonic()
    reply = answer_kind(engine, question)
    return {**reply, "engine_s": time.monotonic() - started}


def answer_kind(engine: Engine, question: dict[str, Any]) -> dict[str, Any]:
    """The answer to one kind of question, or the refusal."""
    try:
        if question["kind"] == "version":
            return {"ok": {"llama_cpp_python": engine.api.__version__}}
        if question["kind"] == "types":
            return {"ok": engine.list_types(question["path"], question["ftypes"])}
        if question["kind"] == "load":
            return {"ok": engine.load(question)}
        if question["kind"] == "devices":
            return {"ok": engine.add_devices(question["endpoints"])}
        return {"refused": f"unknown kind of question {question['kind']!r}"}
    except Refused as said:
        return {"refused": str(said)}


def main() -> None:
    """Answer questions until stdin ends."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    if sys.argv[1:2] == ["--serve"]:
        set_limits()
        watch()
        serve(sys.argv[2])
        return
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever native code prints must not mix with the answers
    set_limits()
    watch()
    engine: Engine | None = None
    missing = ""
    try:
        engine = Engine()
    except (ImportError, OSError, RuntimeError) as error:
        missing = f"{type(error).__name__}: {error}"
    for line in sys.stdin:
        out.write(json.dumps({"started": True}) + "\n")
        reply = {"missing": missing} if engine is None else answer(engine, json.loads(line))
        out.write(json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
