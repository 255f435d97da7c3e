"""How long fine-tuning takes: operations of a token over what the cards can do.

A matrix of n values takes 2n operations forward and 4n backward, half of that where it is frozen and only the gradient
of its input is wanted; checkpointing computes forward once more (arXiv:2001.08361, section 2.1; arXiv:2205.05198,
appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

from sizing.finetune_setup import FineTuneSetup
from sizing.modules import Role, list_modules
from sizing.specs import ModelSpec
from sizing.throughput import Interval

MFU_LOW, MFU_MID, MFU_HIGH = 0.213, 0.325, 0.462
"""Share of the cards' arithmetic that training used: GPT-3, Gopher and PaLM, the lowest, a middle and the highest of
PaLM's table 3 (arXiv:2204.02311). All are pretraining runs on many cards; one card with short sequences may do less."""

QLORA_SHARE = 2413 / 3083
"""QLoRA's tokens/s over LoRA's on one card with the same batch: widening NF4 costs time (torchtune 0.3,
https://github.com/pytorch/torchtune/blob/v0.3.0/README.md, Llama 3.1 8B on an RTX 4090)."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """`flops_per_token` counts recomputation; tokens/s are of all cards together."""

    flops_per_token: float
    peak_flops: float
    tokens_per_s: Interval

    def count_hours(self, n_tokens: float) -> Interval:
        """Hours for a number of tokens, the fastest first."""
        speed = self.tokens_per_s
        return Interval(n_tokens / speed.high / 3600, n_tokens / speed.mid / 3600, n_tokens / speed.low / 3600)


def count_multiplied(spec: ModelSpec) -> int:
    """Values of the matrices one token is multiplied with: all but looked-up embeddings, of experts the chosen ones."""
    total = 0
    for m in list_modules(spec):
        if not m.is_matrix:
            continue
        if m.role is not Role.EXPERT:
            total += m.n_params
            continue
        for i in m.layers:
            ffn = spec.by_layer[i].ffn
            total += m.layer_params * (ffn.n_active_experts if ffn else 0) // max(m.n_stacked, 1)
    return total + (spec.hidden_dim * spec.vocab_size if spec.tied_embeddings else 0)


def count_attention_flops(spec: ModelSpec, sequence_tokens: int) -> float:
    """Operations of a token's scores and sums forward, the mean of a causal sequence (arXiv:2204.02311, appendix B)."""
    total = 0.0
    for group in spec.groups:
        a = group.attention
        if a is None:
            continue
        seen = min(sequence_tokens, a.window_tokens or sequence_tokens)
        total += group.count * seen * a.n_heads * (a.head_dim + a.head_dim_v)
    return total


def count_flops_per_token(setup: FineTuneSetup) -> float:
    """Operations for one token, forward, backward and what is computed again."""
    n = count_multiplied(setup.spec)
    attention = count_attention_flops(setup.spec, setup.sequence_tokens)
    forward = 2.0 * n + attention
    backward = (2.0 if setup.is_lora else 4.0) * n + 2 * attention
    again = forward if setup.checkpointing else 0.0
    active = 0.0
    for target in setup.find_targets():
        share = _active_share(setup.spec) if target.is_expert else 1.0
        active += share * target.count_trainable(setup.rank)
    return forward + backward + again + 6.0 * active


def _active_share(spec: ModelSpec) -> float:
    """Share of the experts a token passes."""
    ffn = next(g.ffn for g in spec.groups if g.ffn is not None and g.ffn.is_moe)
    return ffn.n_active_experts / ffn.n_experts


def estimate_speed(setup: FineTuneSetup) -> TrainingSpeed | None:
    """Tokens per second of all cards, without exchange between them; None where a card's arithmetic is not known."""
    rates = [d.bf16_flops or d.fp16_flops for d in setup.devices]
    if any(r is None for r in rates):
        return None
    slowest = min(r for r in rates if r is not None)
    peak = slowest * len(rates)
    flops = count_flops_per_token(setup)
    share = QLORA_SHARE if setup.method == "qlora" else 1.0
    used = flops - (count_forward(setup) if setup.checkpointing else 0.0)
    low, mid, high = (peak * mfu * share / used for mfu in (MFU_LOW, MFU_MID, MFU_HIGH))
    return TrainingSpeed(flops, peak, Interval(low, mid, high))


def count_forward(setup: FineTuneSetup) -> float:
    """Operations of a token forward."""
    return 2.0 * count_multiplied(setup.spec) + count_attention_flops(setup.spec, setup.sequence_tokens)
