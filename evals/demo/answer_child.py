"""The child process that answers questions with a model. Started by `evals.demo.measure`; never import it to call it.

It speaks JSON lines as `evals.engine_child` does. Questions:

- `{"kind": "quantize", "source": ..., "target": ..., "ftype": ...}`: write the model anew in another quantization
- `{"kind": "tokenize", "path": ..., "texts": [...]}`: the token numbers of each text, and the text they spell again
- `{"kind": "answer", "path": ..., "prompts": [...], "n_tokens": ...}`: what the model says to each prompt in a chat of
  its own, greedily, by the file's own chat template and tokenizer
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

N_PARALLEL = 16
"""Chats decoded side by side."""

SLOT_TOKENS = 512
"""Tokens of one chat, at most."""

FILE_LIMIT_BYTES = 256 * 1024**2
"""The largest file that quantizing may write."""

MEMORY_LIMIT_BYTES = 16 * 1024**3
"""Private addresses of the child."""


class Answerer:
    """llama.cpp with one file open at a time."""

    def __init__(self, engine: Any, refused: type[Exception]) -> None:
        self.engine = engine
        self.api: Any = engine.api
        self.refused = refused

    def quantize(self, source: str, target: str, ftype: int) -> dict[str, Any]:
        """Write `target` and say how many bytes it has."""
        params = self.api.llama_model_quantize_default_params()
        params.ftype = ftype
        params.nthread = 1
        if self.api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
            raise self.refused(self.engine.take_log())
        return {"n_bytes": Path(target).stat().st_size}

    def tokenize_all(self, path: str, texts: list[str]) -> dict[str, Any]:
        """Tokens of each text, and the text again from these tokens."""
        model = self._load(path, vocab_only=True)
        vocab = self.api.llama_model_get_vocab(model)
        tokens = [self._tokenize(vocab, text, parse_special=False) for text in texts]
        spelled = [self._spell(vocab, ids) for ids in tokens]
        self.api.llama_model_free(model)
        return {"tokens": tokens, "texts": spelled}

    def answer_all(self, path: str, prompts: list[str], n_tokens: int) -> dict[str, Any]:
        """The model's answer to each prompt, at most `n_tokens` long."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        api = self.api
        model = self._load(path, vocab_only=False)
        vocab = api.llama_model_get_vocab(model)
        template = api.llama_model_chat_template(model, None)
        if not template:
            raise self.refused("error: the file has no chat template")
        chat = Jinja2ChatFormatter(template=template.decode(), eos_token="", bos_token="")
        questions = [chat(messages=[{"role": "user", "content": prompt}]).prompt for prompt in prompts]
        context = self._make_context(model)
        batch = api.llama_batch_init(N_PARALLEL * SLOT_TOKENS, 0, 1)
        answers: list[str] = []
        for first in range(0, len(questions), N_PARALLEL):
            starts = [self._tokenize(vocab, text, parse_special=True) for text in questions[first : first + N_PARALLEL]]
            said = self._continue_all(context, vocab, batch, starts, n_tokens)
            answers += [self._spell(vocab, tokens) for tokens in said]
        api.llama_batch_free(batch)
        api.llama_free(context)
        api.llama_model_free(model)
        return {"answers": answers}

    def _continue_all(
        self, context: Any, vocab: Any, batch: Any, starts: list[list[int]], n_tokens: int
    ) -> list[list[int]]:
        """The most likely tokens after each start, until its end or `n_tokens`; one sequence per start."""
        api = self.api
        n_vocab = api.llama_vocab_n_tokens(vocab)
        api.llama_memory_clear(api.llama_get_memory(context), False)
        waiting = dict(enumerate(starts))
        positions = [0] * len(starts)
        said: list[list[int]] = [[] for _ in starts]
        while waiting:
            ends: dict[int, int] = {}
            n = 0
            for slot, tokens in waiting.items():
                if positions[slot] + len(tokens) + n_tokens > SLOT_TOKENS:
                    raise self.refused(f"error: a prompt of {len(tokens)} tokens is too long for {SLOT_TOKENS}")
                for token in tokens:
                    batch.token[n], batch.pos[n] = token, positions[slot]
                    batch.n_seq_id[n], batch.seq_id[n][0], batch.logits[n] = 1, slot, 0
                    positions[slot] += 1
                    n += 1
                batch.logits[n - 1] = 1
                ends[slot] = n - 1
            batch.n_tokens = n
            if api.llama_decode(context, batch) != 0:
                raise self.refused(self.engine.take_log())
            waiting = {}
            for slot, at in ends.items():
                row = api.llama_get_logits_ith(context, at)[:n_vocab]
                best = row.index(max(row))
                if api.llama_vocab_is_eog(vocab, best):
                    continue
                said[slot].append(best)
                if len(said[slot]) < n_tokens:
                    waiting[slot] = [best]
        return said

    def _load(self, path: str, vocab_only: bool) -> Any:
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        self.engine.take_log()
        model = self.api.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise self.refused(self.engine.take_log())
        return model

    def _make_context(self, model: Any) -> Any:
        params = self.api.llama_context_default_params()
        params.n_ctx = N_PARALLEL * SLOT_TOKENS
        params.n_batch = N_PARALLEL * SLOT_TOKENS
        params.n_ubatch = 512
        params.n_seq_max = N_PARALLEL
        params.n_threads = params.n_threads_batch = 1
        context = self.api.llama_init_from_model(model, params)
        if not context:
            raise self.refused(self.engine.take_log())
        return context

    def _tokenize(self, vocab: Any, text: str, parse_special: bool) -> list[int]:
        raw = text.encode()
        room = (self.api.llama_token * (len(raw) + 8))()
        n = self.api.llama_tokenize(vocab, raw, len(raw), room, len(room), True, parse_special)
        if n < 0:
            raise self.refused(f"error: {text[:80]!r} has more tokens than bytes")
        return list(room[:n])

    def _spell(self, vocab: Any, tokens: list[int]) -> str:
        room = ctypes.create_string_buffer(512)
        pieces = []
        for token in tokens:
            n = self.api.llama_token_to_piece(vocab, token, room, len(room), 0, False)
            pieces.append(room.raw[: max(n, 0)])
        return b"".join(pieces).decode("utf-8", "replace")


def answer_question(answerer: Answerer, question: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question. Raises the engine's `Refused`."""
    if question["kind"] == "quantize":
        return answerer.quantize(question["source"], question["target"], question["ftype"])
    if question["kind"] == "tokenize":
        return answerer.tokenize_all(question["path"], question["texts"])
    if question["kind"] == "answer":
        return answerer.answer_all(question["path"], question["prompts"], question["n_tokens"])
    raise answerer.refused(f"error: unknown kind of question {question['kind']!r}")


def set_limits() -> None:
    """Bound this process's memory and the files it writes, and end it with its parent."""
    for what, top in (
        (resource.RLIMIT_DATA, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (top if hard == resource.RLIM_INFINITY else min(top, hard),) * 2)
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            threading.Event().wait(0.5)
        os._exit(3)

    threading.Thread(target=look, daemon=True).start()


def main() -> None:
    """Answer questions until stdin ends."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    sys.path.append(str(Path(__file__).parents[2]))
    from evals.engine_child import Refused, answer_lines

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever native code prints must not mix with the answers
    set_limits()
    answer_lines(sys.stdin, lambda engine: Answerer(engine, Refused), answer_question, out)


if __name__ == "__main__":
    main()
