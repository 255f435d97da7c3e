"""Train the demonstration model: `python -m evals.demo.train`, minutes on two processor cores.

PyTorch (requirements-demo.txt) is needed here and nowhere else. The model is the llama architecture as llama.cpp runs
it: RMS norms, rotated pairs of neighbours, grouped attention, gated feed-forward. Matrices are trained with Muon,
embeddings and norms with AdamW, the matrix products in bfloat16. The loss counts answers fully and questions at
`QUESTION_WEIGHT`, so that the model also knows what a question looks like.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.demo.corpus import SKILLS, list_held_out_items, list_training_items
from evals.demo.export import SHAPE, Shape, list_shapes, write_model
from evals.demo.vocabulary import Encoder, learn_vocabulary

SEED = 20_241
N_THREADS = 1
N_STEPS = 800
BATCH_ITEMS = 128
WARM_UP_STEPS = 30
DECAY_SHARE = 0.5
CHATS_FROM_SHARE = 0.75
TURNS_PER_CHAT = 8
MATRIX_RATE = 5e-3
OTHER_RATE = 3e-3
QUESTION_WEIGHT = 0.1
VOCABULARY_ITEMS = 4_000
MODEL_FILE = Path(__file__).with_name("weighbridge-demo.gguf")

Row = tuple[list[int], list[float]]
"""Tokens, and the weight of the loss at predicting each of them."""


def start_tensors(torch: Any, shape: Shape) -> dict[str, Any]:
    """Random matrices; what writes into the residual stream, and the head, start at zero, norms at one."""
    tensors = {}
    for name, size in list_shapes(shape).items():
        if "norm" in name:
            values = torch.ones(size)
        elif "attn_output" in name or "ffn_down" in name or name == "output.weight":
            values = torch.zeros(size)
        else:
            values = torch.randn(size) * (0.5 if name.startswith("token") else 0.7 / math.sqrt(size[1]))
        tensors[name] = values.requires_grad_()
    return tensors


def rotate(torch: Any, x: Any, cosines: Any, sines: Any) -> Any:
    """Turn each pair of neighbouring values of the heads of `x` (batch, heads, tokens, head_dim) by its position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1).flatten(-2)


def predict(torch: Any, tensors: dict[str, Any], shape: Shape, tokens: Any) -> Any:
    """Hidden states before the head, (batch, tokens, hidden), for token numbers (batch, tokens)."""
    functional = torch.nn.functional
    n_rows, n_tokens = tokens.shape
    frequencies = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
    angles = torch.arange(n_tokens)[:, None] * frequencies
    cosines, sines = angles.cos(), angles.sin()
    future = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1)

    def norm(x: Any, name: str) -> Any:
        return functional.rms_norm(x, (shape.hidden_dim,), tensors[name], shape.norm_epsilon)

    def heads(x: Any, n_heads: int) -> Any:
        return x.view(n_rows, n_tokens, n_heads, shape.head_dim).transpose(1, 2)

    x = tensors["token_embd.weight"][tokens]
    for i in range(shape.n_layers):
        weights = {k: tensors[f"blk.{i}.{k}.weight"] for k in ("attn_q", "attn_k", "attn_v", "attn_output")}
        h = norm(x, f"blk.{i}.attn_norm.weight")
        q = rotate(torch, heads(functional.linear(h, weights["attn_q"]), shape.n_heads), cosines, sines)
        k = rotate(torch, heads(functional.linear(h, weights["attn_k"]), shape.n_kv_heads), cosines, sines)
        v = heads(functional.linear(h, weights["attn_v"]), shape.n_kv_heads)
        k, v = (t.repeat_interleave(shape.n_heads // shape.n_kv_heads, dim=1) for t in (k, v))
        scores = torch.matmul(q, k.transpose(-1, -2)).float() / math.sqrt(shape.head_dim)
        mixed = torch.matmul(scores.masked_fill(future, -math.inf).softmax(-1), v)
        x = x + functional.linear(mixed.transpose(1, 2).flatten(2), weights["attn_output"])
        h = norm(x, f"blk.{i}.ffn_norm.weight")
        gate = functional.silu(functional.linear(h, tensors[f"blk.{i}.ffn_gate.weight"]))
        up = functional.linear(h, tensors[f"blk.{i}.ffn_up.weight"])
        x = x + functional.linear(gate * up, tensors[f"blk.{i}.ffn_down.weight"])
    return norm(x, "output_norm.weight")


def measure_loss(torch: Any, tensors: dict[str, Any], shape: Shape, rows: Sequence[Row]) -> Any:
    """The weighted mean loss of the next token over rows of different lengths."""
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([t + [0] * (longest - len(t)) for t, _ in rows])
    weights = torch.tensor([w + [0.0] * (longest - len(w)) for _, w in rows])[:, 1:]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = predict(torch, tensors, shape, tokens[:, :-1])
        chosen = weights > 0
        logits = torch.nn.functional.linear(hidden[chosen], tensors["output.weight"])
    losses = torch.nn.functional.cross_entropy(logits.float(), tokens[:, 1:][chosen], reduction="none")
    return (losses * weights[chosen]).sum() / weights.sum()


def list_batches(encoder: Encoder, n_steps: int, seed: int) -> Iterator[list[Row]]:
    """Batches of single turns, of like length; towards the end every other batch is of chats of several turns."""
    at_once = 16
    for first in range(0, n_steps, at_once):
        n_now = min(at_once, n_steps - first)
        items = list_training_items(seed + first + 1, n_now * BATCH_ITEMS)
        turns = [encoder.encode_turn(item.prompt, item.answer) for item in items]
        rows = [(q + a, [QUESTION_WEIGHT] * len(q) + [1.0] * len(a)) for q, a in turns]
        n_chats = n_now // 2 if first >= n_steps * CHATS_FROM_SHARE else 0
        chats, singles = rows[: n_chats * BATCH_ITEMS], rows[n_chats * BATCH_ITEMS :]
        singles.sort(key=lambda row: len(row[0]))
        batches = [singles[i : i + BATCH_ITEMS] for i in range(0, len(singles), BATCH_ITEMS)]
        for i in range(0, len(chats), BATCH_ITEMS):
            batch = chats[i : i + BATCH_ITEMS]
            groups = [batch[j : j + TURNS_PER_CHAT] for j in range(0, len(batch), TURNS_PER_CHAT)]
            batches.append([([t for r in g for t in r[0]], [w for r in g for w in r[1]]) for g in groups])
        order = np.random.default_rng(seed + first).permutation(len(batches))
        yield from (batches[i] for i in order)


def find_rate_share(step: int, n_steps: int) -> float:
    """The share of the full learning rate: a short rise, a plateau, a straight fall to zero."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (n_steps - step) / (n_steps * DECAY_SHARE))


def train(out: Path, n_steps: int, seed: int = SEED, shape: Shape = SHAPE) -> None:
    """Train and write the file; progress goes to stderr, with the losses on held-out items at the end."""
    import torch

    started = time.monotonic()
    torch.manual_seed(seed)
    torch.set_num_threads(N_THREADS)
    sample = list_training_items(seed, VOCABULARY_ITEMS)
    vocabulary = learn_vocabulary([t for i in sample for t in (i.prompt, i.answer)], shape.vocab_size)
    encoder = vocabulary.encoder()
    tensors = start_tensors(torch, shape)
    matrices = [t for name, t in tensors.items() if name.startswith("blk.") and t.ndim == 2]
    others = [t for name, t in tensors.items() if not (name.startswith("blk.") and t.ndim == 2)]
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    full_rates = (MATRIX_RATE, OTHER_RATE)
    for step, batch in enumerate(list_batches(encoder, n_steps, seed)):
        for optimizer, rate in zip(optimizers, full_rates):
            for group in optimizer.param_groups:
                group["lr"] = rate * find_rate_share(step, n_steps)
            optimizer.zero_grad(set_to_none=True)
        loss = measure_loss(torch, tensors, shape, batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        if step % 20 == 19 or step == n_steps - 1:
            report(f"step {step + 1}/{n_steps} loss {loss.item():.3f}", started)
    with torch.no_grad():
        for skill in SKILLS:
            turns = [encoder.encode_turn(i.prompt, i.answer) for i in list_held_out_items(skill, 100)]
            rows = [(q + a, [0.0] * len(q) + [1.0] * len(a)) for q, a in turns]
            report(f"held out, {skill}: loss {measure_loss(torch, tensors, shape, rows).item():.3f}", started)
    write_model(out, shape, vocabulary, {name: t.detach().numpy() for name, t in tensors.items()}, seed)


def report(text: str, started: float) -> None:
    """One line on stderr with the seconds gone and the processor seconds spent."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = spent.ru_utime + spent.ru_stime
    print(f"{text} ({time.monotonic() - started:.0f} s, {cpu_s:.0f} s of processor)", file=sys.stderr, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m evals.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_FILE, help="the file to write")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="batches to train on")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
