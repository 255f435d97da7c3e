"""The child that runs `evals.lm` and, beside it, a slow path of its own, for tests/evals/test_lm.py: JSON lines.

The slow path knows nothing of `evals`: for each request it opens a context of one sequence, computes every token with
all logits, and reads them one by one.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from evals.lm import LlamaLM


class Stop(Exception):
    """Raised by a listener."""


class Request:
    """What lm-eval hands to a model, as far as it reads it."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args


class Slow:
    """One request at a time in a fresh context."""

    def __init__(self, path: str, n_tokens: int, n_ubatch: int, half: bool) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_tokens, self.n_ubatch, self.half = n_tokens, n_ubatch, half

    def open_context(self) -> Any:
        params = self.api.llama_context_default_params()
        params.n_ctx = params.n_batch = self.n_tokens
        params.n_ubatch = self.n_ubatch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = 1
        on, off = self.api.LLAMA_FLASH_ATTN_TYPE_ENABLED, self.api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = on if self.half else off
        params.swa_full = True
        params.type_k = params.type_v = self.api.GGML_TYPE_F16 if self.half else self.api.GGML_TYPE_F32
        return self.api.llama_init_from_model(self.model, params)

    def compute(self, context: Any, tokens: list[int], first: int) -> list[np.ndarray]:
        batch = self.api.llama_batch_init(len(tokens), 0, 1)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = (
                token,
                first + i,
                1,
                0,
                1,
            )
        batch.n_tokens = len(tokens)
        assert self.api.llama_decode(context, batch) == 0
        rows = [
            np.array(self.api.llama_get_logits_ith(context, i)[: self.n_vocab], dtype=np.float64)
            for i in range(len(tokens))
        ]
        self.api.llama_batch_free(batch)
        return rows

    def score(self, before: list[int], after: list[int]) -> tuple[float, bool, float]:
        """Log-likelihood, greediness, and the smallest gap between the best two tokens."""
        context = self.open_context()
        rows = self.compute(context, [*before, *after][:-1], 0) if after else []
        self.api.llama_free(context)
        total, greedy, gap = 0.0, True, np.inf
        for row, token in zip(rows[len(before) - 1 :], after, strict=True) if after else ():
            top = np.sort(row)[-2:]
            total += row[token] - top[1] - np.log(np.exp(row - top[1]).sum())
            greedy, gap = greedy and int(row.argmax()) == token, min(gap, top[1] - top[0])
        return float(total), greedy, float(gap)

    def write(self, prompt: list[int], n_tokens: int) -> tuple[list[int], float]:
        """Greedy tokens up to an end of generation, and the smallest gap between the best two."""
        context = self.open_context()
        row = self.compute(context, prompt, 0)[-1]
        tokens: list[int] = []
        gap = np.inf
        while len(tokens) < n_tokens:
            top = np.sort(row)[-2:]
            gap = min(gap, top[1] - top[0])
            token = int(row.argmax())
            if self.api.llama_vocab_is_eog(self.vocab, token):
                break
            tokens.append(token)
            row = self.compute(context, [token], len(prompt) + len(tokens) - 1)[-1]
        self.api.llama_free(context)
        return tokens, float(gap)

    def spell(self, tokens: list[int]) -> bytes:
        raw = b""
        for token in tokens:
            room = ctypes.create_string_buffer(128)
            n = self.api.llama_token_to_piece(self.vocab, token, room, 128, 0, False)
            raw += room.raw[:n]
        return raw


class Child:
    """The open models, by name."""

    def __init__(self) -> None:
        self.lms: dict[str, LlamaLM] = {}
        self.slow: dict[tuple[str, int, bool], Slow] = {}

    def open(self, name: str, **settings: Any) -> dict[str, Any]:
        self.lms[name] = lm = LlamaLM(**settings)
        return self.facts(name) | {"window": lm.loaded.n_window_cells, "n_cells": lm.loaded.n_cells}

    def close(self, name: str) -> None:
        self.lms.pop(name).close()

    def facts(self, name: str) -> dict[str, Any]:
        facts = self.lms[name].facts()
        return {key: getattr(facts, key) for key in facts.__slots__}

    def ask(self, name: str, what: str, requests: list[list[Any]], fail_after: int = 0) -> Any:
        """One of lm-eval's three calls: answers, and what the listener heard."""
        heard: list[Any] = []

        def listen(i: int, answer: Any, usage: Any) -> None:
            heard.append([i, answer, usage.n_prompt_tokens, usage.n_output_tokens, usage.seconds, usage.finish])
            if fail_after and len(heard) == fail_after:
                raise Stop(f"heard {fail_after}")

        lm = self.lms[name]
        lm.listener = listen
        try:
            answers = getattr(lm, what)([Request(tuple(r)) for r in requests])
        finally:
            lm.listener = None
        return {"answers": answers, "heard": heard}

    def pairs(self, name: str, requests: list[list[str]]) -> Any:
        """The tokens of each context and continuation."""
        lm = self.lms[name]
        return [lm._encode_pair(*r) if r[0] else ([lm.prefix_token_id], lm.tok_encode(r[1], False)) for r in requests]

    def score_tokens(self, name: str, pairs: list[list[list[int]]]) -> Any:
        return self.lms[name]._loglikelihood_tokens([(None, *pair) for pair in pairs])

    def encode(self, name: str, texts: list[str], special: bool | None = None) -> Any:
        return [self.lms[name].tok_encode(text, special) for text in texts]

    def chat(self, name: str, messages: list[dict[str, str]], generate: bool = True) -> Any:
        return self.lms[name].apply_chat_template(messages, generate)

    def read(self, name: str, attribute: str) -> Any:
        return getattr(self.lms[name], attribute)

    def slow_score(self, path: str, pairs: list[list[list[int]]], n_ubatch: int = 512, half: bool = False) -> Any:
        return [self._slow(path, n_ubatch, half).score(*pair) for pair in pairs]

    def write_f32(self, source: str, target: str) -> None:
        """The same model with every tensor in f32."""
        import llama_cpp

        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = 0
        assert llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) == 0

    def slow_write(self, path: str, prompts: list[list[int]], n_tokens: int) -> Any:
        slow = self._slow(path)
        found = [slow.write(prompt, n_tokens) for prompt in prompts]
        return [(tokens, gap, slow.spell(tokens).decode("utf-8", "replace")) for tokens, gap in found]

    def _slow(self, path: str, n_ubatch: int = 512, half: bool = False) -> Slow:
        key = (path, n_ubatch, half)
        if key not in self.slow:
            self.slow[key] = Slow(path, 512, n_ubatch, half)
        return self.slow[key]

    def evaluate(self, name: str, folder: str, tasks: list[str], **settings: Any) -> Any:
        """Stock lm-eval over tasks in a folder."""
        from lm_eval import evaluator
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=folder, include_defaults=False)
        found = evaluator.simple_evaluate(
            model=self.lms[name], tasks=tasks, task_manager=manager, bootstrap_iters=0, **settings
        )
        samples = {task: [s["filtered_resps"] for s in found["samples"][task]] for task in tasks}
        return {"results": found["results"], "samples": samples}


def main() -> None:
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    child = Child()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            reply = {"ok": getattr(child, question.pop("do"))(**question)}
        except Exception as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        out.write(json.dumps(reply, default=lambda value: value.item()) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
