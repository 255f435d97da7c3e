"""Each formula with the numbers of a known model put in, beside what the function that computes it says.

The numbers come from the catalog, the result twice: from the equation, written out here, and from the very function. A
test holds the two together, so that the reference shows no equation that its function does not follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

import catalog.formulas
import evals.formulas
import sizing.formulas
from catalog.quant_loss import estimate_quant_loss, fit_losses, load_quant_rows
from catalog.queries import find_machine
from evals.intervals import bound_constant, find_z, wilson_interval
from evals.stats import PairCounts, mcnemar_p, n_needed_binary, newcombe_interval
from sizing.cost import DAYS_PER_MONTH, Capacity, CostLine, OwnTerms, TokenLoad, find_break_even, own_band
from sizing.estimate import estimate_model_bytes
from sizing.finetune_activations import count_head_bytes, count_loss_bytes
from sizing.finetune_memory import count_saved_bytes, count_trained, step_shape
from sizing.finetune_setup import FineTuneSetup
from sizing.formula import Formula
from sizing.hardware import Machine
from sizing.layers import LayerTable
from sizing.lessons import (
    Work,
    count_decode_work,
    count_read_bytes,
    expect_draft_tokens,
    find_decode_ceiling,
    find_expert_share,
    find_ridge,
)
from sizing.placement import Placement, place
from sizing.throughput import FITTED, Interval, estimate_speed, find_shares, list_decode_terms, list_prefill_terms
from sizing.weights import WeightTable
from sizing.workload import Workload
from tools.memory_examples import (
    CONTEXT_TOKENS,
    MEMORY,
    QUANT,
    SPARSE,
    Example,
    find_attention,
    load_model_weights,
    load_spec,
    open_facts,
)

GPU = "RTX 4090"


def list_formulas() -> dict[str, Formula]:
    """Every formula of the three rooms by its short name."""
    return {**sizing.formulas.FORMULAS, **catalog.formulas.FORMULAS, **evals.formulas.FORMULAS}


def work_out(name: str) -> tuple[Example, ...]:
    """The examples of one formula, by its short name."""
    return EXAMPLES[name]()


def _machine(text: str = GPU) -> Machine:
    return find_machine(open_facts(), text)


def _card() -> tuple[float, float]:
    """Operations/s and bytes/s of the card."""
    device = _machine().accelerators[0]
    assert device.fp16_flops is not None and device.bandwidth_bytes_per_s is not None
    return device.fp16_flops, device.bandwidth_bytes_per_s


def _reach() -> tuple[Example, ...]:
    peak, bandwidth = _card()
    work = count_decode_work(load_spec(), load_model_weights(), Workload(CONTEXT_TOKENS))
    by_hand = min(peak, work.n_flops / work.n_bytes * bandwidth)
    numbers = f"min({peak:.4g}, {work.n_flops:.4g} / {work.n_bytes:.4g} × {bandwidth:.4g})"
    value = Work(work.n_flops, work.n_bytes).reach_flops(peak, bandwidth)
    return (Example(f"Llama 3.1 8B at {QUANT} on {GPU}, one token", numbers, by_hand, value, "operations/s"),)


def _operations() -> tuple[Example, ...]:
    spec, depth = load_spec(), CONTEXT_TOKENS / 2
    a = find_attention(spec)
    used = spec.n_active_params - spec.vocab_size * spec.hidden_dim
    by_hand = 2 * used + 2 * depth * spec.n_layers * a.n_heads * 2 * a.head_dim
    numbers = f"2 × {used:,} + 2 × {depth:,.0f} × {spec.n_layers} × {a.n_heads} × ({a.head_dim} + {a.head_dim})"
    value = count_decode_work(spec, load_model_weights(), Workload(CONTEXT_TOKENS)).n_flops
    return (Example("Llama 3.1 8B, 4,096 tokens in its cache", numbers, by_hand, value, "operations"),)


def _ridge() -> tuple[Example, ...]:
    peak, bandwidth = _card()
    numbers = f"{peak:.4g} / {bandwidth:.4g}"
    return (Example(GPU, numbers, peak / bandwidth, find_ridge(peak, bandwidth), "operations per byte"),)


def _read() -> tuple[Example, ...]:
    spec, w = load_spec(SPARSE), load_model_weights(SPARSE)
    (ffn,) = {g.ffn for g in spec.groups}
    assert ffn is not None
    layers, experts = sum(w.layer_bytes), sum(w.layer_expert_bytes)
    share = ffn.n_active_experts / ffn.n_experts
    numbers = f"{w.output_bytes:,} + {layers:,} − (1 − {ffn.n_active_experts} / {ffn.n_experts}) × {experts:,}"
    by_hand = w.output_bytes + layers - (1 - share) * experts
    return (Example(f"Qwen3 30B-A3B at {QUANT}", numbers, by_hand, count_read_bytes(spec, w), "bytes"),)


def _ceiling() -> tuple[Example, ...]:
    (_, bandwidth), spec, w = _card(), load_spec(), load_model_weights()
    read = w.output_bytes + sum(w.layer_bytes)
    numbers = f"{bandwidth:,.0f} / {read:,}"
    value = find_decode_ceiling(spec, w, bandwidth)
    return (Example(f"Llama 3.1 8B at {QUANT} on {GPU}", numbers, bandwidth / read, value, "tokens/s"),)


def _experts() -> tuple[Example, ...]:
    (ffn,) = {g.ffn for g in load_spec(SPARSE).groups}
    assert ffn is not None
    k, n_experts = ffn.n_active_experts, ffn.n_experts
    by_hand, value = 1 - (1 - k / n_experts) ** 8, find_expert_share(load_spec(SPARSE), 8)
    return (Example("Qwen3 30B-A3B, 8 tokens", f"1 − (1 − {k} / {n_experts})⁸", by_hand, value, "of the experts"),)


def _placed(text: str, workload: Workload) -> tuple[WeightTable, Placement, np.ndarray]:
    """The dense model on a machine, as one row, with its parameters in use."""
    spec = load_spec()
    table = WeightTable.from_models([(spec, [load_model_weights()])])
    placement = place(table, estimate_model_bytes(LayerTable.from_specs([spec]), workload), _machine(text))
    return table, placement, np.array([float(spec.n_active_params)])


def _decode() -> tuple[Example, ...]:
    workload = Workload(CONTEXT_TOKENS)
    table, placement, params = _placed(GPU, workload)
    speed = estimate_speed(table, placement, params, workload=workload)
    terms, shares = list_decode_terms(table, placement, params, 0.5), find_shares(table, placement.devices)
    d = int(np.argmax(terms.weight_s[0]))  # all layers are on the card
    read, filled = int(placement.active_weights[0, d]), int(placement.kv[0, d]) // 2
    bandwidth = float(placement.devices[d].bandwidth_bytes_per_s or 0)
    eta, tau, layers = float(shares.decode[0, d]), float(shares.step_s[0, d]), int(placement.n_layers[0, d])
    by_hand = read / (bandwidth * eta) + filled / (bandwidth * FITTED.cache_share) + layers * tau
    numbers = (
        f"{read:,} / ({bandwidth:.4g} × {eta:.3f}) + {filled:,} / ({bandwidth:.4g} × {FITTED.cache_share:.3f}) "
        f"+ {layers} × {tau:.3g}"
    )
    value = 1 / float(speed.decode_tokens_per_s[0, 1])
    return (Example(f"Llama 3.1 8B at {QUANT} on {GPU}, cache half full", numbers, by_hand, value, "seconds"),)


def _offload() -> tuple[Example, ...]:
    workload = Workload(CONTEXT_TOKENS)
    text = f"{GPU} (20 GiB used) + 64 GB DDR5"
    table, placement, params = _placed(text, workload)
    terms = list_decode_terms(table, placement, params, 0.5)
    reads = [int(n) for n in placement.active_weights[0]]
    rates = [float(d.bandwidth_bytes_per_s or 0) for d in placement.devices]
    by_hand = sum(n / rate for n, rate in zip(reads, rates, strict=True))
    numbers = " + ".join(f"{n:,} / {rate:.4g}" for n, rate in zip(reads, rates, strict=True))
    value = float(terms.weight_s[0].sum())
    return (Example(f"Llama 3.1 8B at {QUANT}, 20 GiB of the card in use", numbers, by_hand, value, "seconds"),)


def _prefill() -> tuple[Example, ...]:
    spec, workload = load_spec(), Workload(CONTEXT_TOKENS)
    table, placement, params = _placed(GPU, workload)
    terms = list_prefill_terms(table, placement, params, workload)
    a, used = find_attention(spec), spec.n_active_params - 2 * spec.vocab_size * spec.hidden_dim
    half = CONTEXT_TOKENS // 2
    by_hand = 2 * used + 2 * half * spec.n_layers * a.n_heads * 2 * a.head_dim
    numbers = f"2 × {used:,} + 2 × {half:,} × {spec.n_layers} × {a.n_heads} × ({a.head_dim} + {a.head_dim})"
    seconds = terms.weight_s[0] + terms.cache_s[0]
    rates = [d.fp16_flops or 0.0 for d in placement.devices]
    value = sum(float(s) * rate for s, rate in zip(seconds, rates, strict=True) if s > 0)
    return (Example(f"Llama 3.1 8B, a prompt of {CONTEXT_TOKENS:,} tokens", numbers, by_hand, value, "operations"),)


def _draft() -> tuple[Example, ...]:
    by_hand = 1 + 0.7 + 0.7**2 + 0.7**3 + 0.7**4
    return (
        Example(
            "4 drafted, 7 of 10 accepted",
            "1 + 0.7 + 0.7² + 0.7³ + 0.7⁴",
            by_hand,
            expect_draft_tokens(0.7, 4),
            "tokens",
        ),
    )


def _setup() -> FineTuneSetup:
    return FineTuneSetup(load_spec(), _machine(), targets=("q_proj", "k_proj", "v_proj", "o_proj"))


def _adapter() -> tuple[Example, ...]:
    targets = _setup().find_targets()
    numbers = " + ".join(f"{t.count} × 16 × ({t.n_in:,} + {t.n_out:,})" for t in targets)
    by_hand = sum(t.count * 16 * (t.n_in + t.n_out) for t in targets)
    value = sum(t.count_trainable(16) for t in targets)
    return (Example("Llama 3.1 8B, rank 16, the four of attention", numbers, by_hand, value, "parameters"),)


def _trained() -> tuple[Example, ...]:
    setup = replace(_setup(), method="full")
    found, n = count_trained(setup), setup.spec.n_params
    value = found.gradient_bytes + found.optimizer_bytes
    numbers = f"{n:,} × (2 + 4 + 2 × 4)"
    return (Example("Llama 3.1 8B in full, mixed precision, AdamW", numbers, n * (2 + 4 + 8), value, "bytes"),)


def _kept() -> tuple[Example, ...]:
    setup = _setup()
    spec, n = setup.spec, setup.n_tokens
    shape = step_shape(setup)
    head = count_head_bytes(spec, shape)
    loss = count_loss_bytes(spec, n, shape, True).kept
    numbers = f"{spec.n_layers} × {n:,} × {spec.hidden_dim:,} × 2 + {n:,} × {head:,} + {loss:,}"
    by_hand = spec.n_layers * n * spec.hidden_dim * 2 + n * head + loss
    value = count_saved_bytes(setup)
    return (Example("Llama 3.1 8B, LoRA, 2,048 tokens, loss in tiles", numbers, by_hand, value, "bytes"),)


def _loss() -> tuple[Example, ...]:
    setup = _setup()
    found = count_loss_bytes(setup.spec, 2048, step_shape(setup), False)
    v = setup.spec.vocab_size
    numbers = f"4 × 2,048 × {v:,} + 2 × 4 × 2,048 × {v:,}"
    return (Example("Llama 3.1 8B, 2,048 tokens", numbers, 12 * 2048 * v, found.kept + found.working, "bytes"),)


LOAD = TokenLoad(1_500_000, 500_000, peak_factor=3, active_hours_per_day=10, max_utilisation=0.7)
CAPACITY = Capacity(Interval(50, 100, 200), Interval(1000, 2000, 4000))
OWNED = OwnTerms(price_usd=3000, years=3, load_watts=500, idle_watts=100, usd_per_kwh=0.3)


def _seconds() -> tuple[Example, ...]:
    value = CAPACITY.seconds_per_token(LOAD).mid
    numbers = "0.75 / 2,000 + 0.25 / 100"
    return (Example("1.5M tokens read and 0.5M written a day", numbers, 0.75 / 2000 + 0.25 / 100, value, "seconds"),)


def _carried() -> tuple[Example, ...]:
    s = 0.75 / 2000 + 0.25 / 100
    value = own_band(OWNED, CAPACITY, LOAD).mid.tokens_per_day_per_machine
    numbers = f"3,600 × 10 × 0.7 / (3 × {s:g})"
    return (
        Example("10 hours, a peak of three times the mean", numbers, 3600 * 10 * 0.7 / (3 * s), value, "tokens a day"),
    )


def _line() -> CostLine:
    return CostLine(0.5, usd_per_machine_month=100, usd_per_month=50, tokens_per_day_per_machine=1e6, min_machines=1)


def _month() -> tuple[Example, ...]:
    numbers = f"50 + 100 × max(1, ⌈2,500,000 / 1,000,000⌉) + {DAYS_PER_MONTH:g} × 2,500,000 × 0.0000005"
    by_hand = 50 + 100 * max(1, math.ceil(2.5)) + DAYS_PER_MONTH * 2.5e6 * 0.5e-6
    return (Example("2.5M tokens a day", numbers, by_hand, _line().cost_per_month(2.5e6), "US$ a month"),)


def _even() -> tuple[Example, ...]:
    value = find_break_even(_line(), CostLine(6.5)).tokens_per_day
    assert value is not None
    numbers = f"(1 × 100 + 50) / ({DAYS_PER_MONTH:g} × (0.0000065 − 0.0000005))"
    by_hand = (100 + 50) / (DAYS_PER_MONTH * 6e-6)
    return (Example("against US$ 6.50 a million tokens", numbers, by_hand, value, "tokens a day"),)


def _points() -> tuple[Example, ...]:
    losses = fit_losses(load_quant_rows())
    found = estimate_quant_loss(losses, QUANT, "", "")
    assert found is not None
    q = losses.quant_part[QUANT]
    return (Example(f"{QUANT} of a model nobody measured", f"{q:.4f} + 0", q, math.log(found.points), "log of points"),)


def _wilson() -> tuple[Example, ...]:
    z, p, n = find_z(0.95), 151 / 200, 200
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = wilson_interval(151, 200)
    end = f"(0.755 + {z:.3f}² / 400 {{}} {z:.3f} × √(0.755 × 0.245 / 200 + {z:.3f}² / 160,000)) / (1 + {z:.3f}² / 200)"
    low, high = ((p + z * z / (2 * n) + sign * reach) / (1 + z * z / n) for sign in (-1, 1))
    return (
        Example("151 of 200 right, low end", end.format("−"), low, found.low, "of the items"),
        Example("151 of 200 right, high end", end.format("+"), high, found.high, "of the items"),
    )


def _equal() -> tuple[Example, ...]:
    value = 1 - bound_constant(1.0, 40, (0.0, 1.0)).low
    return (Example("40 of 40 right", "1 − 0.025^(1 / 40)", 1 - 0.025 ** (1 / 40), value, "of the items"),)


def _paired() -> tuple[Example, ...]:
    counts = PairCounts(both=60, only_a=20, only_b=10, neither=10)
    found = newcombe_interval(counts)
    first, second = wilson_interval(80, 100), wilson_interval(70, 100)
    a, b = first.value - first.low, second.high - second.value
    phi = max(60 * 10 - 20 * 10 - 100 / 2, 0) / math.sqrt(80 * 20 * 70 * 30)
    numbers = f"0.1 − √({a:.4f}² − 2 × {phi:.4f} × {a:.4f} × {b:.4f} + {b:.4f}²)"
    by_hand = 0.1 - math.sqrt(a * a - 2 * phi * a * b + b * b)
    return (Example("80 and 70 of 100, 60 of them the same, low end", numbers, by_hand, found.low, "of the items"),)


def _mcnemar() -> tuple[Example, ...]:
    by_hand = 2 * sum(math.comb(20, i) for i in range(6)) / 2**20
    return (
        Example(
            "15 items one run's alone, 5 the other's",
            "2 × Σ C(20, i) / 2²⁰, i to 5",
            by_hand,
            mcnemar_p(15, 5),
            "chance",
        ),
    )


def _needed() -> tuple[Example, ...]:
    z_a, z_b, p, d = find_z(0.95), find_z(0.6), 0.3, 0.1
    reach = z_a * math.sqrt(p) + z_b * math.sqrt(p - d * d)
    by_hand = math.ceil(((reach + math.sqrt(reach * reach + 4 * d)) / (2 * d)) ** 2)
    numbers = f"0.1 n − 1 = {z_a:.3f} × √(0.3 n) + {z_b:.3f} × √(0.29 n), solved for n"
    value = n_needed_binary(0.2, 0.1)
    assert value is not None
    return (Example("one run alone right on 20 of 100, the other on 10", numbers, by_hand, value, "items"),)


EXAMPLES: dict[str, Callable[[], tuple[Example, ...]]] = {
    **MEMORY,
    "reach": _reach,
    "operations": _operations,
    "ridge": _ridge,
    "read": _read,
    "ceiling": _ceiling,
    "experts": _experts,
    "decode": _decode,
    "offload": _offload,
    "prefill": _prefill,
    "draft": _draft,
    "adapter": _adapter,
    "trained": _trained,
    "kept": _kept,
    "loss": _loss,
    "seconds": _seconds,
    "carried": _carried,
    "month": _month,
    "even": _even,
    "points": _points,
    "wilson": _wilson,
    "equal": _equal,
    "paired": _paired,
    "mcnemar": _mcnemar,
    "needed": _needed,
}
