"""The formulas, each written once: in words as the pages say it, in TeX as the reference typesets it.

A formula names the function that computes it, so whoever renames that function or drops it is told. The Guide and the
Size page read `name` and `words`; `make reference` typesets `tex` beside the function's docstring, with a figure that
`tools/formula_examples.py` gets from that very function. Those of memory are in `sizing/memory_formulas.py`, of runs in
`evals/formulas.py`, of what a quantization costs in `catalog/formulas.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sizing.cost import Capacity, CostLine, find_break_even, own_band
from sizing.finetune_activations import count_loss_bytes
from sizing.finetune_lora import LoraTarget
from sizing.finetune_memory import count_saved_bytes, count_trained
from sizing.formula import Formula
from sizing.lessons import (
    Work,
    count_decode_work,
    count_read_bytes,
    expect_draft_tokens,
    find_decode_ceiling,
    find_expert_share,
    find_ridge,
)
from sizing.memory_formulas import BUFFERS, CACHES, WEIGHTS
from sizing.throughput import estimate_speed, list_decode_terms, list_prefill_terms

SPEEDS = {
    "reach": Formula(
        "operations/s at most",
        "the lower of peak and (operations per byte x bandwidth)",
        r"F = \min\left( F_\text{peak},\; \frac{W}{Q}\, \beta \right)",
        (
            (r"F_\text{peak}", "operations/s of the device"),
            ("W", "operations of a step"),
            ("Q", "bytes moved for it"),
            (r"\beta", "bytes/s of its memory"),
        ),
        Work.reach_flops,
        "Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.",
    ),
    "operations": Formula(
        "operations for a token",
        "2 x parameters in use + those of attention",
        r"W_\text{token} = 2\, N_\text{active} + 2\, t \sum_{l} h_l \left( d_{K,l} + d_{V,l} \right)",
        (
            (r"N_\text{active}", "parameters multiplied with: all but the embedding and the experts not chosen"),
            ("t", "tokens before this one that the layer sees"),
            ("h_l", "heads of layer l"),
            ("d_{K,l}, d_{V,l}", "width of a head's key and value"),
        ),
        count_decode_work,
    ),
    "ridge": Formula(
        "balanced",
        "peak / bandwidth",
        r"I = \frac{F_\text{peak}}{\beta}",
        (("I", "operations per byte from which arithmetic is the limit"), (r"\beta", "bytes/s of the memory")),
        find_ridge,
        "Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.",
    ),
    "read": Formula(
        "read for a token",
        "everything but the embedding rows and the experts not chosen",
        r"Q_\text{token} = B_\text{head} + \sum_{l} \left( B_l - (1 - a)\, B_{\text{experts},l} \right)",
        (
            (r"B_\text{head}", "bytes of the output head, tied or not"),
            ("B_l", "bytes of layer l"),
            (r"B_{\text{experts},l}", "bytes of its routed experts"),
            ("a", "share of the experts a token is sent to"),
        ),
        count_read_bytes,
    ),
    "ceiling": Formula(
        "tokens/s at most",
        "bandwidth / bytes read; caches and arithmetic come on top",
        r"v_\text{max} = \frac{\beta}{Q_\text{token}}",
        ((r"\beta", "bytes/s of the memory"), (r"Q_\text{token}", "bytes of weights read for a token")),
        find_decode_ceiling,
    ),
    "experts": Formula(
        "share of experts met by n tokens",
        "1 - (1 - chosen / all)^n",
        r"a_n = 1 - \left( 1 - \frac{k}{E} \right)^{n}",
        (("k", "experts a token is sent to"), ("E", "experts of a layer"), ("n", "tokens of a step")),
        find_expert_share,
    ),
    "decode": Formula(
        "seconds for a step",
        "the sum over devices of weights and caches read, each over what the device reaches of its bandwidth, and a "
        "step for each layer",
        r"t_\text{step} = \sum_{d} \left( \frac{Q_d}{\beta_d\, \eta_d} + \frac{C_d}{\beta_d\, \eta_C} + L_d\, \tau_d "
        r"+ (U - 1)\, \kappa\, \frac{W_d}{F_d\, \eta_{F,d}} \right) + (D - 1)\, t_\text{hop}",
        (
            ("Q_d", "bytes of weights on device d that a token reads"),
            ("C_d", "bytes of filled cache read there, for all U users"),
            (r"\beta_d", "bytes/s of its memory"),
            (r"\eta_d, \eta_C, \eta_{F,d}", "fitted shares of the peak, of weights, caches and arithmetic"),
            ("L_d", "layers there"),
            (r"\tau_d", "fitted seconds for a layer"),
            (
                r"\kappa\, W_d / F_d",
                "operations of a further user's token over the device's rate, and a fitted factor",
            ),
            ("D", "devices in use, with a hop between neighbours"),
        ),
        estimate_speed,
        "shares fitted by tools/fit_speed.py to published measurements.",
    ),
    "offload": Formula(
        "time for a token",
        "bytes read on the card / its bandwidth + bytes read on the host / its bandwidth",
        r"t_\text{weights} = \frac{Q_\text{card}}{\beta_\text{card}} + \frac{Q_\text{host}}{\beta_\text{host}}",
        (
            (r"Q_\text{card}, Q_\text{host}", "bytes of weights a token reads there"),
            (r"\beta_\text{card}, \beta_\text{host}", "bytes/s of that memory"),
        ),
        list_decode_terms,
    ),
    "prefill": Formula(
        "operations for a token of a prompt",
        "2 x parameters in use, without the output head + those of attention over half the prompt",
        r"W_\text{prompt} = 2\, N_\text{active} + 2\, \frac{T}{2} \sum_{l} h_l \left( d_{K,l} + d_{V,l} \right)",
        (
            (r"N_\text{active}", "parameters multiplied with, neither embedding nor output head among them"),
            ("T", "tokens of the prompt"),
            ("h_l", "heads of layer l"),
            ("d_{K,l}, d_{V,l}", "width of a head's key and value"),
        ),
        list_prefill_terms,
    ),
    "draft": Formula(
        "tokens for a step with n drafted",
        "1 + a + a^2 + ... + a^n, a the share that holds",
        r"E[\text{tokens}] = \sum_{i=0}^{n} a^i",
        (("a", "share of drafted tokens the large model accepts"), ("n", "tokens drafted for a step")),
        expect_draft_tokens,
        "Speculative decoding: Leviathan et al. 2023, arXiv:2211.17192.",
    ),
}

TRAINING = {
    "adapter": Formula(
        "parameters of an adapter",
        "matrices x rank x (inputs + outputs)",
        r"N_\text{LoRA} = \sum_{m} n_m\, r \left( d_{\text{in},m} + d_{\text{out},m} \right)",
        (
            ("n_m", "matrices of kind m"),
            ("r", "rank"),
            (r"d_{\text{in},m}, d_{\text{out},m}", "inputs and outputs of such a matrix"),
        ),
        LoraTarget.count_trainable,
        "arXiv:2106.09685, section 4.1.",
    ),
    "trained": Formula(
        "gradients and optimizer",
        "trained values x (bytes of a gradient + 32-bit copy + two moments)",
        r"B_\text{trained} = N \left( \beta_g + \beta_c + 2\, \beta_m \right)",
        (
            ("N", "values that are trained"),
            (r"\beta_g", "bytes of a gradient: 2 in mixed precision"),
            (r"\beta_c", "bytes of the copy the optimizer works on: 4 in mixed precision, 0 where weights are 32 bits"),
            (r"\beta_m", "bytes of each of AdamW's two moments: 4; about 1 in 8 bits"),
        ),
        count_trained,
        "arXiv:1910.02054, section 3.1.",
    ),
    "kept": Formula(
        "activations kept with checkpointing",
        "layers x tokens x hidden width x 2 bytes, and what head and loss keep",
        r"B_\text{kept} = L\, n\, h\, \beta + n\, k_\text{head} + B_\text{loss}",
        (
            ("L", "layers, each of which keeps its input"),
            ("n", "tokens of a micro batch on a card"),
            ("h", "hidden width"),
            (r"\beta", "bytes of a value: 2"),
            (r"k_\text{head}", "bytes the final norm and the head's input keep for a token"),
            (r"B_\text{loss}", "bytes the loss keeps"),
        ),
        count_saved_bytes,
        "arXiv:1604.06174.",
    ),
    "loss": Formula(
        "the loss",
        "12 bytes x vocabulary x tokens",
        r"B_\text{loss} = 4\, n\, V + 2 \cdot 4\, n\, V",
        (
            ("n", "tokens of a micro batch"),
            ("V", "entries of the vocabulary: log-probabilities are kept, two gradients as large stand beside them"),
        ),
        count_loss_bytes,
    ),
}

COSTS = {
    "seconds": Formula(
        "seconds of a machine for a token",
        "input share / prefill rate + output share / decode rate of all users together",
        r"s = \frac{1 - \omega}{v_\text{prefill}} + \frac{\omega}{v_\text{decode}}",
        (
            (r"\omega", "output tokens as a share of all"),
            (r"v_\text{prefill}, v_\text{decode}", "tokens/s read and written by all users together"),
        ),
        Capacity.seconds_per_token,
    ),
    "carried": Formula(
        "tokens a day a machine carries",
        "active seconds x utilisation / (peak factor x seconds for a token)",
        r"c = \frac{3600\, h\, \rho}{\phi\, s}",
        (
            ("h", "hours of the day in which tokens come"),
            (r"\rho", "share of its time a machine may be busy at the peak"),
            (r"\phi", "the busiest hour over the mean"),
            ("s", "seconds of a machine for a token"),
        ),
        own_band,
    ),
    "month": Formula(
        "US$ a month",
        "fixed + machines x price of a machine + tokens x price of a token",
        r"K(x) = f + m \max\left( m_0, \left\lceil \frac{x}{c} \right\rceil \right) + D\, x\, p",
        (
            ("x", "tokens a day"),
            ("f", "US$ a month whatever the load"),
            ("m", "US$ a month of a machine"),
            ("m_0", "machines there are at least"),
            ("c", "tokens a day a machine carries"),
            ("D", "days of a month, 365.25 / 12"),
            ("p", "US$ of a token"),
        ),
        CostLine.cost_per_month,
    ),
    "even": Formula(
        "break-even, tokens a day",
        "(machines x price of a machine + fixed) / what a token a day saves a month",
        r"x^{*} = \frac{n\, m + f}{D\, (p_\text{API} - p)}",
        (
            ("n", "the fewest machines that carry so much and cost no more"),
            ("m", "US$ a month of a machine"),
            ("f", "US$ a month whatever the load"),
            ("D", "days of a month, 365.25 / 12"),
            (r"p_\text{API}, p", "US$ of a token there and here"),
        ),
        find_break_even,
    ),
}

FORMULAS: dict[str, Formula] = {**WEIGHTS, **CACHES, **BUFFERS, **SPEEDS, **TRAINING, **COSTS}
"""All of them by a short name, in the order of the guide."""


def find_formulas(*names: str) -> tuple[Formula, ...]:
    """The formulas of these short names, in the order given."""
    return tuple(FORMULAS[name] for name in names)


def join_sources(formulas: Iterable[Formula]) -> str:
    """Where the rules were read, each source once, as one line; "" where all is counting."""
    return " ".join(dict.fromkeys(f.source for f in formulas if f.source))
