"""How fast answers come: the in-process model against what people use today, and against the engine itself.

    python -m benchmarks.evals [--repeat 3] [--threads N] [--model SmolLM2-135M-Instruct] [--json]

Four comparisons, each in one run with both sides taking turns; medians count, for a busy machine slows both.

a. Few-shot multiple choice on the demonstration model, against lm-eval's `gguf` client and llama-cpp-python's own
   server (`python -m llama_cpp.server`) on a loopback address. The server's packages are fetched into a folder that is
   thrown away, where they are missing; a folder that holds them can be named with `--server-packages`.
   The two do not choose alike: that client leaves out a continuation's last token where the model ends after it, and
   its other figures differ from one request at a time too, to which tests/evals/test_lm.py holds ours.
b. Prompt tokens per second on long prompts with nothing in common, against plain `llama_decode` of the same tokens.
c. Texts written eight at a time against one at a time, both in process. How much that gains is the engine's: from 1.4
   times in Q4_K to 2.1 in F16 on the processor this was made on, where a single sequence is bound by arithmetic too.
d. Texts written on from few-shot prompts on the demonstration model, against the client and server of a.

b and c run on a ghost of the named model: its exact shape in Q8_0 without its weights, which computes as fast.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from catalog.models import load_families
from evals.demo.corpus import list_held_out_items
from evals.demo.measure import MODEL_FILE
from evals.ghost import NoRoom, open_ghost
from evals.lm import LlamaLM
from evals.sequences import Writing
from sizing.errors import UnknownNameError
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors

SERVER_PACKAGES = ("fastapi", "sse-starlette", "pydantic-settings", "starlette-context<0.4", "uvicorn")
"""What llama-cpp-python's `server` extra asks for beside what lm-eval brings."""

N_SHOTS, N_QUESTIONS, N_CHOICES = 12, 24, 4
PROMPT_TOKENS, N_PROMPTS = 1024, 3
N_TEXTS, START_TOKENS, NEW_TOKENS = 8, 48, 96

SERVER_NEW_TOKENS = 16
"""What llama-cpp-python's server writes where a request does not say; lm-eval's client does not pass a limit on."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: seconds of each turn, ours and theirs, over the same work of `n_units`."""

    name: str
    ours: str
    theirs: str
    unit: str
    n_units: int
    ours_s: tuple[float, ...]
    theirs_s: tuple[float, ...]
    goal: float
    note: str

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by medians."""
        return statistics.median(self.theirs_s) / statistics.median(self.ours_s)


@dataclass(frozen=True, slots=True)
class Request:
    """What lm-eval hands to a model, as far as models read it."""

    args: tuple[Any, ...]


def take_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeat: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds of each, in turns, after one turn of each that is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat + 1):
        for side, call in zip(seconds, (ours, theirs), strict=True):
            started = time.perf_counter()
            call()
            if turn:
                side.append(time.perf_counter() - started)
    return tuple(seconds[0]), tuple(seconds[1])


def make_choices() -> list[Request]:
    """Sums with worked examples before them: one request per choice."""
    items = list_held_out_items("arithmetic", N_SHOTS + N_QUESTIONS)
    shots = "".join(f"Q: {item.prompt}\nA: {item.answer}\n" for item in items[:N_SHOTS])
    return [
        Request((f"{shots}Q: {item.prompt}\nA:", f" {int(item.answer) + wrong}"))
        for item in items[N_SHOTS:]
        for wrong in range(N_CHOICES)
    ]


@contextmanager
def start_server(folder: str, n_threads: int) -> Iterator[str]:
    """llama-cpp-python's server with the demonstration model; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"model": MODEL_FILE, "host": "127.0.0.1", "port": port, "n_ctx": 512, "n_batch": 512}
    settings |= {"logits_all": "true", "flash_attn": "true", "n_threads": n_threads, "n_threads_batch": n_threads}
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    paths = os.pathsep.join(p for p in (folder, os.environ.get("PYTHONPATH", "")) if p)
    command = [sys.executable, "-m", "llama_cpp.server", *options]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            await_server(server, address, log)
            yield address
        finally:
            server.terminate()
            server.wait(20)


def await_server(server: subprocess.Popen[bytes], address: str, log: Any) -> None:
    """Return once the server answers. Raises RuntimeError with its last words where it ends or takes a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/v1/models", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    raise RuntimeError(f"llama-cpp-python's server did not start: {log.read()[-800:]}")


@contextmanager
def find_server_packages(folder: str | None) -> Iterator[str]:
    """A folder with the server's packages, '' where they are installed; fetched for now where they are missing."""
    if folder is not None or find_spec("fastapi") is not None:
        yield folder or ""
        return
    with tempfile.TemporaryDirectory() as fetched:
        print(f"fetching into a folder thrown away at the end: {', '.join(SERVER_PACKAGES)}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", fetched, *SERVER_PACKAGES]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield fetched


def compare_with_stock(repeat: int, n_threads: int, packages: str | None) -> list[Comparison]:
    """a and d: ours against lm-eval's client and llama-cpp-python's server."""
    from lm_eval.models.gguf import GGUFLM

    lm = LlamaLM(path=str(MODEL_FILE), context_tokens=512, n_threads=n_threads)
    try:
        with find_server_packages(packages) as folder, start_server(folder, n_threads) as address:
            client = GGUFLM(base_url=address, max_length=512)
            return [compare_choices(lm, client, repeat), compare_texts(lm, client, repeat)]
    finally:
        lm.close()


def compare_choices(lm: LlamaLM, client: Any, repeat: int) -> Comparison:
    """a: multiple choice."""
    requests = make_choices()
    ours = lm.loglikelihood(requests)
    theirs = client.loglikelihood(requests, disable_tqdm=True)
    seconds = take_turns(
        lambda: lm.loglikelihood(requests), lambda: client.loglikelihood(requests, disable_tqdm=True), repeat
    )
    n_same = sum(find_best(ours, i) == find_best(theirs, i) for i in range(0, len(requests), N_CHOICES))
    n_tokens = lm.count_tokens(requests[0].args[0])
    note = f"prompts of {n_tokens} tokens; same choice in {n_same} of {N_QUESTIONS}"
    return Comparison("few-shot choices", "in process", "gguf client", "requests", len(requests), *seconds, 3.0, note)


def compare_texts(lm: LlamaLM, client: Any, repeat: int) -> Comparison:
    """d: texts written on from the same prompts, to the limit of tokens the client leaves its server."""
    prompts = list(dict.fromkeys(request.args[0] for request in make_choices()))
    requests: list[Any] = [
        Request((prompt, {"until": ["###"], "max_gen_toks": SERVER_NEW_TOKENS})) for prompt in prompts
    ]
    ours = [text.strip() for text in lm.generate_until(requests)]
    theirs = client.generate_until(requests, disable_tqdm=True)
    seconds = take_turns(
        lambda: lm.generate_until(requests), lambda: client.generate_until(requests, disable_tqdm=True), repeat
    )
    n_same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    note = f"{SERVER_NEW_TOKENS} tokens after the same examples; same text in {n_same} of {len(requests)}"
    return Comparison("few-shot texts", "in process", "gguf client", "texts", len(requests), *seconds, 2.0, note)


def find_best(answers: Sequence[tuple[float, bool]], first: int) -> int:
    """Which of a question's choices is the likeliest."""
    values = [value for value, _ in answers[first : first + N_CHOICES]]
    return values.index(max(values))


def find_spec_by_name(name: str) -> ModelSpec:
    """A model of the catalog by its name or the end of its id. Raises UnknownNameError."""
    cards = {card.model_id: card.spec for card in load_families()}
    for model_id, spec in cards.items():
        if name.casefold() in (model_id.casefold(), model_id.rsplit("/", 1)[-1].casefold()):
            return spec
    raise UnknownNameError("model", name, cards)


@contextmanager
def open_shape(spec: ModelSpec, n_threads: int) -> Iterator[LlamaLM]:
    """A ghost of the model's shape in Q8_0, open. Raises RuntimeError where there is no room for it."""
    types = {t.name: "q8_0" for t in list_tensors(spec) if len(t.shape) == 2 and t.shape[0] % 32 == 0}
    with tempfile.TemporaryDirectory() as folder, open_ghost(spec, types, Path(folder)) as ghost:
        if isinstance(ghost, NoRoom):
            raise RuntimeError(ghost.message)
        lm = LlamaLM(path=ghost.path, context_tokens=2048, n_seq=N_TEXTS, n_threads=n_threads)
        try:
            yield lm
        finally:
            lm.close()


def compare_prefill(lm: LlamaLM, repeat: int) -> Comparison:
    """b: long prompts, ours against plain calls of `llama_decode` in a context of one sequence."""
    chance = np.random.default_rng(1)
    prompts = chance.integers(0, 512, (N_PROMPTS, PROMPT_TOKENS), dtype=np.int32)
    pairs: list[tuple[tuple[str, str] | None, list[int], list[int]]] = [(None, p.tolist(), [7]) for p in prompts]
    raw = open_raw(lm)
    try:
        seconds = take_turns(lambda: lm._loglikelihood_tokens(pairs), lambda: decode_raw(lm, raw, prompts), repeat)
    finally:
        lm.loaded.api.llama_free(raw)
    note = f"{N_PROMPTS} prompts of {PROMPT_TOKENS} tokens"
    return Comparison("long prompts", "in process", "llama_decode", "tokens", prompts.size, *seconds, 0.85, note)


def open_raw(lm: LlamaLM) -> Any:
    """A plain context of one sequence over the same model, with the same batches, cache types and threads."""
    api, plan = lm.loaded.api, lm.loaded.plan
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 2048, plan.n_batch, plan.n_ubatch, 1
    params.n_threads = params.n_threads_batch = lm.loaded.n_threads
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    return api.llama_init_from_model(lm.loaded.model, params)


def decode_raw(lm: LlamaLM, context: Any, prompts: np.ndarray[Any, np.dtype[np.int32]]) -> None:
    """Each prompt in pieces of a batch, and the logits after it read."""
    api, n_batch = lm.loaded.api, lm.loaded.n_batch
    for prompt in prompts:
        api.llama_memory_clear(api.llama_get_memory(context), False)
        for first in range(0, len(prompt), n_batch):
            piece = np.ascontiguousarray(prompt[first : first + n_batch])
            tokens = piece.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            if api.llama_decode(context, api.llama_batch_get_one(tokens, len(piece))) != 0:
                raise RuntimeError("llama_decode failed")
        api.llama_get_logits_ith(context, -1)[0]


def compare_writing(lm: LlamaLM, repeat: int) -> Comparison:
    """c: texts written side by side against one after the other."""
    chance = np.random.default_rng(2)
    starts = chance.integers(0, 512, (N_TEXTS, START_TOKENS), dtype=np.int32)
    writings = [Writing(tuple(start.tolist()), NEW_TOKENS) for start in starts]

    def write_each() -> None:
        for writing in writings:
            lm.sequences.write([writing])

    seconds = take_turns(lambda: lm.sequences.write(writings), write_each, repeat)
    note = f"{N_TEXTS} texts of {NEW_TOKENS} tokens after {START_TOKENS}"
    return Comparison("writing", "8 at a time", "1 at a time", "tokens", N_TEXTS * NEW_TOKENS, *seconds, 2.0, note)


def format_row(found: Comparison) -> str:
    """One comparison as one line."""
    rates = [found.n_units / statistics.median(side) for side in (found.ours_s, found.theirs_s)]
    return (
        f"{found.name:<17}{found.ours:>12} {rates[0]:9,.1f} {found.unit}/s {found.theirs:>13} {rates[1]:9,.1f} "
        f"{found.unit}/s   ratio {found.ratio:6.2f} (goal {found.goal:g})   {found.note}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparisons and print them."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evals", description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side; the median counts")
    parser.add_argument("--threads", type=int, help="default: the physical cores this process may use")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct", help="whose shape b and c run on")
    parser.add_argument("--server-packages", help="a folder with the server's packages, so that none are fetched")
    parser.add_argument("--only", choices=("choices", "shape"), help="a and d alone, or b and c alone")
    parser.add_argument("--json", action="store_true", help="every turn's seconds as JSON")
    options = parser.parse_args(arguments)
    if not 1 <= options.repeat <= 20:
        parser.error("--repeat wants a number from 1 to 20")
    from evals.loaded import count_physical_cores

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with this process
    n_threads = options.threads or count_physical_cores()
    found: list[Comparison] = []
    if options.only != "shape":
        found += compare_with_stock(options.repeat, n_threads, options.server_packages)
    if options.only != "choices":
        with open_shape(find_spec_by_name(options.model), n_threads) as lm:
            found += [compare_prefill(lm, options.repeat), compare_writing(lm, options.repeat)]
    if options.json:
        print(json.dumps([{**asdict(one), "ratio": one.ratio} for one in found], indent=2))
    else:
        print(f"{n_threads} threads; b and c on the shape of {options.model} in Q8_0")
        for one in found:
            print(format_row(one))
    return 0


if __name__ == "__main__":
    sys.exit(main())
