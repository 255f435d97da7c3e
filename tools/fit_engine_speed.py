"""Fit what engines other than llama.cpp reach of a device's peak to published speeds, and say how well that holds.

`python -m tools.fit_engine_speed` fits on all rows and writes sizing/engines/fitted_rates.py; `--check` writes nothing.
Both print, for each engine, how far estimates are off on devices the fit has not seen (models, where only one device
was measured).

The fit is least squares on log(seconds) with Student's t as the law of errors and normal priors on logarithms. Each
pair of device and model weighs the same however many rows it has.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sizing.efficiencies import SPREAD
from sizing.engines.rates import EngineRates
from sizing.engines.speed import add_up_step
from sizing.weights import Floats
from tools.engine_samples import EngineReader, Sample
from tools.fit_speed import quantile
from tools.speed_samples import name_chip

OUT = Path(__file__).resolve().parent.parent / "sizing" / "engines" / "fitted_rates.py"
TITLE = "What engines reach of a device's peak. Written by `python -m tools.fit_engine_speed`: change that instead."
STUDENT_NU = 4.0
PRIOR = {"decode_share": (0.8, 0.15), "step_s": (8e-5, 1.0), "sparse_step": (1.5, 0.4), "reduce_s": (2e-5, 0.7)}
"""Middle and deviation of the logarithm: shares and steps of llama.cpp on cards (sizing/efficiencies.py), an
all-reduce of a few microseconds to tens of them."""
SPREAD_PRIOR, SPREAD_DEVICES = (-0.25, 0.45), 4
"""What an interval of log(seconds) is drawn to (llama.cpp's of mixtures), and how many devices that counts for."""
ONE_DEVICE_PREFILL = 0.15
"""Deviation of the logarithm of a prompt's share, at least."""


def make_rates(theta: Floats) -> EngineRates:
    """Rates with the given logarithms, in the order of PRIOR."""
    share, step, sparse, reduce = (float(x) for x in np.exp(theta))
    return EngineRates(min(share, 0.98), step, sparse, reduce, None, (0.0, 0.0), (0.0, 0.0), 0, {}, 0)


def weigh(samples: Sequence[Sample]) -> Floats:
    """One for each pair of chip and model, shared by its rows."""
    pairs = [(name_chip(str(s.measured.device)), s.spec.model_id) for s in samples]
    counts = Counter(pairs)
    return np.array([1.0 / counts[p] for p in pairs])


def estimate_logs(samples: Sequence[Sample], theta: Floats) -> Floats:
    """Logarithm of the estimated seconds of each sample."""
    rates = make_rates(theta)
    return np.array([np.log(add_up_step(s.terms, rates)) for s in samples])


def solve(samples: Sequence[Sample]) -> Floats:
    """The most likely parameters: Gauss-Newton steps, rows weighed anew by Student's law after each."""
    prior = np.log([middle for middle, _ in PRIOR.values()])
    precision = np.array([1.0 / sd**2 for _, sd in PRIOR.values()])
    theta, weight = prior.copy(), weigh(samples)
    target = np.log([s.time_s for s in samples])
    for _ in range(60):
        guess = estimate_logs(samples, theta)
        slope = np.stack(
            [(estimate_logs(samples, theta + 1e-4 * unit) - guess) / 1e-4 for unit in np.eye(len(theta))], axis=1
        )
        rest = target - guess
        scale = max(1.4826 * float(np.median(np.abs(rest))), 0.05)
        robust = weight * (STUDENT_NU + 1) / (STUDENT_NU + (rest / scale) ** 2) / scale**2
        left = slope.T @ (slope * robust[:, None]) + np.diag(precision)
        move = np.linalg.solve(left, slope.T @ (robust * rest) - precision * (theta - prior))
        theta = theta + np.clip(move, -0.3, 0.3)
        if float(np.abs(move).max()) < 1e-6:
            break
    return theta


def hold_out(samples: Sequence[Sample]) -> tuple[Floats, str]:
    """log(measured / estimated seconds) of each sample by a fit without its device, or model where there is one device.

    The second value says which was left out.
    """
    chips = [name_chip(str(s.measured.device)) for s in samples]
    several = len(set(chips)) > 1
    key: Callable[[int], str] = (lambda i: chips[i]) if several else (lambda i: samples[i].spec.model_id)
    rest = np.zeros(len(samples))
    for name in {key(i) for i in range(len(samples))}:
        test = [i for i in range(len(samples)) if key(i) == name]
        train = [s for i, s in enumerate(samples) if key(i) != name]
        theta = solve(train)
        unseen = [samples[i] for i in test]
        rest[test] = np.log([s.time_s for s in unseen]) - estimate_logs(unseen, theta)
    return rest, "devices" if several else "models"


def draw(rest: Floats, weight: Floats, n_devices: int, prior: tuple[float, float]) -> tuple[float, float]:
    """10th and 90th percentile of residuals, drawn to the prior where devices are few."""
    found = quantile(rest, weight, 0.1), quantile(rest, weight, 0.9)
    low, high = (
        (n_devices * f + SPREAD_DEVICES * p) / (n_devices + SPREAD_DEVICES) for f, p in zip(found, prior, strict=True)
    )
    return round(min(low, -0.05), 3), round(max(high, 0.05), 3)


def fit_prefill(samples: Sequence[Sample]) -> tuple[float | None, tuple[float, float]]:
    """The share of the arithmetic rate that prompts reach, and its spread; llama.cpp's spread without rows."""
    if not samples:
        return None, SPREAD["prefill"]
    logs, weight = np.array([np.log(s.prompt_s / s.time_s) for s in samples]), weigh(samples)
    middle = quantile(logs, weight, 0.5)
    n = len({name_chip(str(s.measured.device)) for s in samples})
    low, high = draw(middle - logs, weight, n, SPREAD["prefill"])
    return round(float(np.exp(middle)), 3), (min(low, -ONE_DEVICE_PREFILL), max(high, ONE_DEVICE_PREFILL))


def fit_engine(decode: Sequence[Sample], prefill: Sequence[Sample]) -> tuple[EngineRates, str]:
    """The rates of one engine, and a sentence on how they do on what was left out."""
    share, step, sparse, reduce = (float(x) for x in np.exp(solve(decode)))
    rest, left_out = hold_out(decode)
    by_class = {(s.device_class, name_chip(str(s.measured.device))) for s in decode}
    n_devices = dict(sorted(Counter(c for c, _ in by_class).items()))
    spread = draw(rest, weigh(decode), sum(n_devices.values()), SPREAD_PRIOR)
    prompt, prompt_spread = fit_prefill(prefill)
    rates = EngineRates(
        round(min(share, 0.98), 3),
        float(f"{step:.3g}"),
        round(sparse, 2),
        float(f"{reduce:.3g}"),
        prompt,
        spread,
        prompt_spread,
        len(decode),
        n_devices,
        len(prefill),
    )
    weight = weigh(decode)
    wide = np.sqrt(1.0 + 1.0 / max(sum(n_devices.values()), 1))
    inside = (rest >= spread[0] * wide) & (rest <= spread[1] * wide)
    said = (
        f"{len(decode)} rows of {sum(n_devices.values())} devices; left out {left_out}: median error "
        f"{quantile(np.abs(np.expm1(rest)), weight, 0.5):.1%}, "
        f"{float((inside * weight).sum() / weight.sum()):.0%} inside the interval"
    )
    return rates, said


def format_module(found: dict[str, EngineRates]) -> str:
    """The text of sizing/engines/fitted_rates.py."""
    lines = [
        f'"""{TITLE}"""',
        "",
        "from __future__ import annotations",
        "",
        "from sizing.engines.rates import EngineRates",
        "",
        "RATES: dict[str, EngineRates] = {",
    ]
    for name, r in found.items():
        lines.append(f'    "{name}": EngineRates(')
        for field in EngineRates.__dataclass_fields__:
            value = getattr(r, field)
            said = "{" + ", ".join(f'"{k}": {v}' for k, v in value.items()) + "}" if isinstance(value, dict) else value
            lines.append(f"        {field}={said},")
        lines.append("    ),")
    return "\n".join([*lines, "}", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fit_engine_speed", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="print only, write nothing")
    args = parser.parse_args(argv)
    reader = EngineReader()
    decode, prefill = reader.read()
    found = {}
    for name in dict.fromkeys(s.engine for s in decode):
        of_engine = [s for s in decode if s.engine == name]
        found[name], said = fit_engine(of_engine, [s for s in prefill if s.engine == name])
        print(f"{name}: {said}")
    for reason, count in reader.left_out.most_common():
        print(f"  {count:4} left out: {reason}")
    if not args.check:
        OUT.write_text(format_module(found), encoding="utf-8")
        print(f"wrote {OUT.relative_to(OUT.parent.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
