"""Perplexity and divergence of two models worked out the plain way, to hold `evals.divergence` against.

One batch of a whole window with all its logits, the text made into tokens at once, probabilities by their definition.
Run in a process of its own: `brute_divergence_child.py REFERENCE CANDIDATE TEXT CONTEXT_TOKENS N_WINDOWS`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from pathlib import Path

import llama_cpp as api
import numpy as np


def read_all_logits(path: str, windows: list[list[int]]) -> list[np.ndarray]:
    """Logits of every position of each window."""
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(path.encode(), params)
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    size = len(windows[0])
    options = api.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = size
    options.n_threads = options.n_threads_batch = 1
    context = api.llama_init_from_model(model, options)
    batch = api.llama_batch_init(size, 0, 1)
    found = []
    for window in windows:
        api.llama_memory_clear(api.llama_get_memory(context), True)
        batch.n_tokens = size
        for i, token in enumerate(window):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
        assert api.llama_decode(context, batch) == 0
        rows = [api.llama_get_logits_ith(context, i)[:n_vocab] for i in range(size)]
        found.append(np.array(rows, dtype=np.float64))
    return found


def tokenize_all(path: str, text: bytes) -> tuple[list[int], int | None]:
    """The text's tokens with what llama.cpp adds at its beginning, special ones read; and that token, if it does."""
    params = api.llama_model_default_params()
    params.vocab_only = True
    vocab = api.llama_model_get_vocab(api.llama_model_load_from_file(path.encode(), params))
    room = (api.llama_token * (len(text) + 8))()
    tokens = list(room[: api.llama_tokenize(vocab, text, len(text), room, len(room), True, True)])
    return tokens, api.llama_vocab_bos(vocab) if api.llama_vocab_get_add_bos(vocab) else None


def main() -> None:
    """Print the figures as one JSON object."""
    quiet = api.llama_log_callback(lambda level, said, data: None)
    api.llama_log_set(quiet, ctypes.c_void_p(0))
    reference, candidate, text, size, n_windows = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    tokens, begin = tokenize_all(reference, Path(text).read_bytes())
    windows = [tokens[i : i + size] for i in range(0, len(tokens) - size + 1, size)]
    for window in windows:  # each is read as if it began the text
        window[0] = window[0] if begin is None else begin
    scored = windows[:n_windows]
    nll: list[list[float]] = [[], []]
    kl, agree, shift = [], [], []
    for window, a, b in zip(
        scored, read_all_logits(reference, scored), read_all_logits(candidate, scored), strict=True
    ):
        for i in range(size // 2, size - 1):
            p, q = (np.exp(x[i] - x[i].max()) for x in (a, b))
            p, q = p / p.sum(), q / q.sum()
            came = window[i + 1]
            nll[0].append(-np.log(p[came]))
            nll[1].append(-np.log(q[came]))
            kl.append(float(sum(p[k] * np.log(p[k] / q[k]) for k in range(len(p)) if p[k] > 0)))
            agree.append(int(np.argmax(a[i]) == np.argmax(b[i])))
            shift.append(q[came] - p[came])
    print(
        json.dumps(
            {
                "hashes": [hashlib.sha256(",".join(map(str, w)).encode()).hexdigest()[:16] for w in windows],
                "n_tokens": len(kl),
                "perplexities": [float(np.exp(np.mean(x))) for x in nll],
                "kl_mean": float(np.mean(kl)),
                "kl_max": max(kl),
                "kl_quantiles": [float(np.quantile(kl, s, method="inverted_cdf")) for s in (0.5, 0.9, 0.99)],
                "agreement": float(np.mean(agree)),
                "shift_mean": float(np.mean(shift)),
                "shift_rms": float(np.sqrt(np.mean(np.square(shift)))),
            }
        )
    )


if __name__ == "__main__":
    main()
