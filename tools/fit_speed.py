"""Fit what classes of devices reach of their peak to published speeds, and say how well that holds.

`python -m tools.fit_speed` fits on all devices and writes sizing/efficiencies.py. `--check` writes nothing. Both print
how far the estimates are off on devices the fit has not seen, halving the devices once and again, and end with status
1 where the goals are missed.

The fit is least squares on log(seconds) with Student's t as the law of errors, so that a single odd row cannot pull
it, and with normal priors that draw a class with few rows towards the mean of all (ridge). Each pair of device and
model weighs the same however many rows it has, and a device counts for at most DEVICE_MODELS models.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sizing.throughput import CLASSES, FAMILIES, SpeedFit, estimate_speed, widen
from sizing.weights import Floats, Ints
from tools.speed_samples import EMPTY_TOKENS, Bools, Group, Reader, Samples

OUT = Path(__file__).resolve().parent.parent / "sizing" / "efficiencies.py"
SEED, N_SEEDS, N_FOLDS = 4, 10, 5
GOAL_ERROR = 0.20
GOAL_COVER = (0.75, 0.90)
STUDENT_NU = 4.0
DEVICE_SD, DEVICE_NU = 0.1, 3.0
"""How far apart, in log(seconds), devices of one class are, again by Student's law: a few are held back by something
that is not theirs (heat, an old build, a slow host)."""
SPREAD_PRIOR = {"decode": (-0.14, 0.22), "sparse": (-0.22, 0.45), "prefill": (-0.6, 0.8)}
SPREAD_DEVICES = 10
"""What an interval of log(seconds) is drawn to, and the number of devices that this counts for."""
HOP_ASSUMED_S, STREAM_ASSUMED, NO_FLASH_ASSUMED = 1e-4, 1.0, 0.2
"""Taken for a half of the devices that has no row to tell them."""

BLOCKS = {
    "share": (1, 0.75, 1.0),
    "by_class": (-1, 1.0, 0.25),
    "by_family": (len(FAMILIES), 1.0, 0.1),
    "by_both": (-len(FAMILIES), 1.0, 0.08),
    "step": (1, 5e-5, 1.0),
    "step_by_class": (-1, 1.0, 0.4),
    "cache": (1, 0.7, 0.3),
    "sparse": (1, 0.7, 0.4),
    "sparse_step": (1, 1.5, 0.5),
}
"""Parameters of a fit, all logarithms: how many (negative: for each class), the prior's middle, its deviation."""
STEP_PRIOR = {"cpu": 0.4}
"""Steps a class is drawn to, over the mean of all: an accelerator starts some fifteen kernels a layer at about three
microseconds each, a processor's threads meet as often but without a driver between."""
FAMILY_PRIOR = (1.0, 1.0, 0.89, 0.66, 0.47)
"""Shares the families are drawn to, over that of 16 bit: llama.cpp's own table of one model in all recipes on one card
(https://github.com/ggml-org/llama.cpp/blob/b6500/tools/quantize/README.md), bytes over seconds less three milliseconds
that do not depend on the recipe; medians of Q4 to Q6 and IQ4, of Q2_K, Q3 and IQ3, of IQ2 and IQ1."""
CPU_FAMILY_PRIOR = (1.0, 1.0, 0.95, 0.9, 0.9)
"""The same on a processor, whose memory is so slow that unpacking nearly hides behind it. Assumed."""
PREFILL_BLOCKS = BLOCKS | {
    "share": (1, 0.4, 1.0),
    "by_class": (-1, 1.0, 0.6),
    "step": (1, 1e-4, 1.0),
    "step_by_class": (-1, 1.0, 0.1),
    "cache": (1, 0.3, 0.7),
}


class Model:
    """The formula of one kind with its parameters as one vector of logarithms."""

    def __init__(self, kind: str, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.at: dict[str, slice] = {}
        middle: list[float] = []
        deviation: list[float] = []
        for name, (size, mid, sd) in (BLOCKS if kind == "decode" else PREFILL_BLOCKS).items():
            n = size if size > 0 else -size * len(self.classes)
            self.at[name] = slice(len(middle), len(middle) + n)
            middle += [float(np.log(mid))] * n
            deviation += [sd] * n
        self.prior, self.precision = np.array(middle), 1.0 / np.array(deviation) ** 2
        for i, name in enumerate(self.classes):
            self.prior[self.at["step_by_class"]][i] = np.log(STEP_PRIOR.get(name, 1.0))
        if kind == "decode":
            self.prior[self.at["by_family"]] = np.log(FAMILY_PRIOR)
            both = self.prior[self.at["by_both"]].reshape(-1, len(FAMILIES))
            for i, name in enumerate(self.classes):
                if name.startswith("cpu"):
                    both[i] = np.log(CPU_FAMILY_PRIOR) - np.log(FAMILY_PRIOR)

    def number(self, s: Samples) -> Ints:
        """The class of each row as an index."""
        return np.array([self.classes.index(str(x)) for x in s.speed_class], dtype=np.int64)

    def log_time(self, s: Samples, theta: Floats, c: Ints) -> Floats:
        """Logarithm of the estimated seconds of rows whose classes are numbered `c`."""

        def get(name: str, index: Ints | int = 0) -> Floats:
            return theta[self.at[name]][index]

        share = get("share") + get("by_class", c) + get("by_family", s.family)
        share = share + get("by_both", c * len(FAMILIES) + s.family) + np.where(s.sparse, get("sparse"), 0.0)
        step = get("step") + get("step_by_class", c) + np.where(s.sparse, get("sparse_step"), 0.0)
        if s.kind == "prefill":
            step = np.full(len(s), get("step"))
        seconds = s.weight_s * np.exp(-share) + s.cache_s * np.exp(-get("cache")) + s.layers * np.exp(step)
        return np.asarray(np.log(seconds))

    def solve(self, s: Samples) -> Floats:
        """The most likely parameters: Gauss-Newton steps, rows weighed anew by Student's law after each.

        Beside them each device has an offset of its own with deviation DEVICE_SD, which is then dropped: many rows of
        one device say much about the device and little about its class.
        """
        n, weight, target = len(self.prior), s.weigh(), np.log(s.time_s)
        own = (s.device[:, None] == np.arange(len(s.devices))[None, :]).astype(float)
        prior = np.concatenate([self.prior, np.zeros(len(s.devices))])
        precision = np.concatenate([self.precision, np.full(len(s.devices), 1.0 / DEVICE_SD**2)])
        theta, c = prior.copy(), self.number(s)
        for _ in range(80):
            guess = self.log_time(s, theta[:n], c)
            slopes = [(self.log_time(s, theta[:n] + 1e-4 * unit, c) - guess) / 1e-4 for unit in np.eye(n)]
            slope = np.concatenate([np.stack(slopes, axis=1), own], axis=1)
            rest = target - guess - own @ theta[n:]
            scale = max(1.4826 * float(np.median(np.abs(rest))), 0.05)
            robust = weight * (STUDENT_NU + 1) / (STUDENT_NU + (rest / scale) ** 2) / scale**2
            precision[n:] = (DEVICE_NU + 1) / (DEVICE_NU + (theta[n:] / DEVICE_SD) ** 2) / DEVICE_SD**2
            left = slope.T @ (slope * robust[:, None]) + np.diag(precision)
            right = slope.T @ (robust * rest) - precision * (theta - prior)
            move = np.clip(np.linalg.solve(left, right), -0.3, 0.3)
            theta = theta + move
            if float(np.abs(move).max()) < 1e-6:
                break
        return theta[:n]


def quantile(values: Floats, weights: Floats, q: float) -> float:
    """The weighted quantile of `values`."""
    order = np.argsort(values)
    mass = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(mass, q)), len(values) - 1)])


def draw_half(names: Iterable[str], seed: int) -> frozenset[str]:
    """Half of the devices, drawn by `seed`."""
    order = np.array(sorted(names))
    np.random.default_rng(seed).shuffle(order)
    return frozenset(str(n) for n in order[: len(order) // 2])


def with_devices(s: Samples, names: frozenset[str]) -> Bools:
    """Which rows are of the devices named."""
    known = np.array([n in names for n in s.devices], dtype=np.bool_)
    out: Bools = known[s.device]
    return out


def fold_residuals(s: Samples) -> Floats:
    """log(measured / estimated time) of every row by a fit without its device, over the widening of its class."""
    names = sorted({s.devices[int(d)] for d in s.device})
    np.random.default_rng(SEED).shuffle(names)
    out = np.zeros(len(s))
    for fold in range(min(N_FOLDS, len(names))):
        test = with_devices(s, frozenset(names[fold::N_FOLDS]))
        if not test.any() or test.all():
            continue
        train = s.take(~test)
        model = Model(s.kind, sorted(set(map(str, s.speed_class))))
        unseen = s.take(test)
        rest = np.log(unseen.time_s) - model.log_time(unseen, model.solve(train), model.number(unseen))
        seen = train.count_by_class()[1]
        out[test] = rest / np.array([widen(seen.get(str(c), 0)) for c in s.speed_class[test]])
    return out


def find_quantiles(s: Samples, rest: Floats, kind: str) -> tuple[float, float]:
    """10th and 90th percentile of residuals; half of the weight by row, half by device and model.

    Percentiles of few devices are drawn to SPREAD_PRIOR, which counts like SPREAD_DEVICES devices.
    """
    low, high = SPREAD_PRIOR[kind]
    if not len(s):
        return low, high
    by_model = s.weigh()
    weight = by_model / by_model.sum() + 1.0 / len(s)
    n = len(set(s.device.tolist()))
    found = quantile(rest, weight, 0.1), quantile(rest, weight, 0.9)
    low, high = ((n * f + SPREAD_DEVICES * p) / (n + SPREAD_DEVICES) for f, p in zip(found, (low, high), strict=True))
    return round(low, 3), round(high, 3)


def single(s: Samples) -> Bools:
    """Rows of one stream on one device."""
    out: Bools = (s.n_parallel == 1) & (s.n_used == 1)
    return out


def fit_all(decode: Samples, prefill: Samples) -> SpeedFit:
    """Every constant from the given samples. What only pairs of rows can tell keeps its shipped value without them."""
    d, p = decode.take(single(decode)), prefill.take(single(prefill))
    decode_model = Model("decode", sorted(set(map(str, d.speed_class))))
    theta = decode_model.solve(d)
    prompt_model = Model("prefill", sorted(set(map(str, p.speed_class))))
    phi = prompt_model.solve(p)
    rest, prompt_rest = fold_residuals(d), fold_residuals(p)
    rows, devices = zip(d.count_by_class(), p.count_by_class(), strict=True)
    dense = ~d.sparse
    spread = {
        "decode": find_quantiles(d.take(dense), rest[dense], "decode"),
        "sparse": find_quantiles(d.take(~dense), rest[~dense], "sparse"),
        "prefill": find_quantiles(p, prompt_rest, "prefill"),
    }

    def value(vector: Floats, model: Model, name: str) -> float:
        return figure(float(np.exp(vector[model.at[name]][0])))

    shares, unknown = list_shares(decode_model, theta)
    prompt_shares, prompt_unknown = list_shares(prompt_model, phi)
    step = theta[decode_model.at["step"]][0]
    fit = SpeedFit(
        decode_share=shares,
        decode_share_unknown=unknown,
        step_s={
            c: figure(float(np.exp(step + theta[decode_model.at["step_by_class"]][i])))
            for i, c in enumerate(decode_model.classes)
        },
        step_s_unknown=figure(float(np.exp(step))),
        cache_share=value(theta, decode_model, "cache"),
        no_flash=NO_FLASH_ASSUMED,
        sparse_share=value(theta, decode_model, "sparse"),
        sparse_step=value(theta, decode_model, "sparse_step"),
        prefill_share=prompt_shares,
        prefill_share_unknown=prompt_unknown,
        prefill_sparse=value(phi, prompt_model, "sparse"),
        prefill_step_s=value(phi, prompt_model, "step"),
        attention_share=value(phi, prompt_model, "cache"),
        stream_factor=1.0,
        hop_s=find_hop(decode),
        spread=spread,
        n_rows=dict(zip(("decode", "prefill"), rows, strict=True)),
        n_devices=dict(zip(("decode", "prefill"), devices, strict=True)),
    )
    return replace(fit, stream_factor=find_stream_factor(decode, fit))


def fit_shipped(reader: Reader, decode: Samples, prefill: Samples) -> SpeedFit:
    """What ships: the fit on all devices."""
    fit = fit_all(decode, prefill)
    return replace(fit, no_flash=find_no_flash(reader.without_flash, fit))


def figure(x: float) -> float:
    """Three significant figures: what a fit can say."""
    return float(f"{x:.3g}")


def list_shares(model: Model, theta: Floats) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Shares by (class, family), and by family for a class without a measurement."""
    base = theta[model.at["share"]][0] + theta[model.at["by_family"]]
    own, both = theta[model.at["by_class"]], theta[model.at["by_both"]].reshape(-1, len(FAMILIES))
    shares = {
        (c, f): figure(float(np.exp(base[j] + own[i] + both[i, j])))
        for i, c in enumerate(model.classes)
        for j, f in enumerate(FAMILIES)
    }
    return shares, {f: figure(float(np.exp(base[j]))) for j, f in enumerate(FAMILIES)}


def find_no_flash(rows: Sequence[tuple[Group, Floats, Floats]], fit: SpeedFit) -> float:
    """What is left of reading the cache without flash attention, over reading it with: the median over rows.

    The cache's time is what is measured less what the rest takes. All are of one device, so nothing can be held back.
    """
    shares: list[float] = []
    for group, cache_s, time_s in rows:
        fills = (group.fill,) * 3
        free = replace(fit, cache_share=1e9)
        told = estimate_speed(
            group.table, group.placement, group.n_active_params, (), group.workload, fills=fills, fit=free
        )
        taken_s = time_s - 1.0 / told.decode_tokens_per_s[:, 1]
        shares += [float(c / t) for c, t in zip(cache_s, taken_s, strict=True) if t > 0]
    return figure(float(np.median(shares)) / fit.cache_share) if shares else NO_FLASH_ASSUMED


def find_hop(s: Samples) -> float:
    """Seconds of one crossing: the median of what n devices take longer than one, over n - 1, within one source."""
    times: dict[tuple[object, ...], dict[int, float]] = {}
    for i in np.flatnonzero(s.n_parallel == 1):
        m = s.measured[int(i)]
        key = (m.device, m.model_id, m.quant, m.depth_tokens, m.source_url)
        times.setdefault(key, {})[int(s.n_used[i])] = float(s.time_s[i])
    found = [(seconds - of[1]) / (n - 1) for of in times.values() if 1 in of for n, seconds in of.items() if n > 1]
    return figure(max(float(np.median(found)), 1e-6)) if found else HOP_ASSUMED_S


def find_stream_factor(s: Samples, fit: SpeedFit) -> float:
    """How much dearer a token of a further stream is than one of a prompt: the median over rows of 4 and more."""
    batched = s.take((s.n_parallel >= 4) & (s.n_used == 1))
    if not len(batched):
        return STREAM_ASSUMED
    without = 1.0 / predict(batched, replace(fit, stream_factor=0.0))[:, 1]
    full = 1.0 / predict(batched, replace(fit, stream_factor=1.0))[:, 1]
    return figure(max(float(np.median((batched.time_s - without) / (full - without))), 0.1))


def predict(s: Samples, fit: SpeedFit) -> Floats:
    """What the product says of each row at its own depth, in steps or prompt tokens per second (rows x 3)."""
    out = np.zeros((len(s), 3))
    for g in s.groups:
        told = estimate_speed(
            g.table, g.placement, g.n_active_params, (), g.workload, fills=(g.fill, g.fill, g.fill), fit=fit
        )
        out[g.rows] = told.decode_tokens_per_s if s.kind == "decode" else told.prefill_tokens_per_s
    return out


@dataclass(frozen=True, slots=True)
class Score:
    """How estimates compare with measurements: medians of the absolute relative error and shares inside the interval.

    By row, and with each pair of device and model weighed once (`weigh`).
    """

    n_rows: int
    n_devices: int
    error: float
    error_weighed: float
    cover: float
    cover_weighed: float

    def __str__(self) -> str:
        return (
            f"{self.n_rows:>5,} rows {self.n_devices:>3} devices   error {self.error:6.1%} by row "
            f"{self.error_weighed:6.1%} by device   inside {self.cover:4.0%} by row {self.cover_weighed:4.0%} by device"
        )


def score(s: Samples, told: Floats, keep: Bools) -> Score | None:
    """The score of some rows, None without any."""
    if not keep.any():
        return None
    kept = s.take(keep)
    speed, told = 1.0 / kept.time_s, told[keep]
    off = np.abs(told[:, 1] / speed - 1.0)
    inside = (told[:, 0] <= speed) & (speed <= told[:, 2])
    weight = kept.weigh()
    return Score(
        len(kept),
        len(set(kept.device.tolist())),
        float(np.median(off)),
        quantile(off, weight, 0.5),
        float(inside.mean()),
        float((inside * weight).sum() / weight.sum()),
    )


def hold_out(s: tuple[Samples, Samples], seed: int) -> tuple[Floats, Floats]:
    """What is said of every decode and prefill row by a fit on the half of the devices that its device is not in.

    The devices are halved once by `seed`; each half is fitted and tested on the other.
    """
    half = draw_half({*s[0].devices, *s[1].devices}, seed)
    told = [np.zeros((len(x), 3)) for x in s]
    for swap in (False, True):
        seen = [with_devices(x, half) != swap for x in s]
        fit = fit_all(s[0].take(seen[0]), s[1].take(seen[1]))
        for x, keep, out in zip(s, seen, told, strict=True):
            out[~keep] = predict(x.take(~keep), fit)
    return told[0], told[1]


def list_groups(s: Samples) -> Iterator[tuple[str, Bools]]:
    """The groups figures are given for, by name."""
    one = single(s)
    yield f"{s.kind}, dense", one & ~s.sparse
    yield f"{s.kind}, mixture of experts", one & s.sparse
    for name in sorted(set(map(str, s.speed_class))):
        told = CLASSES.get(name, "NVIDIA workstation card")
        yield f"{s.kind}, dense: {told}", one & ~s.sparse & (s.speed_class == name)
    for j, family in enumerate(FAMILIES):
        yield f"{s.kind}, dense: {family}", one & ~s.sparse & (s.family == j)
    backends = np.array([m.backend or "not told" for m in s.measured])
    for backend in sorted(set(map(str, backends))):
        yield f"{s.kind}, dense: backend {backend}", one & ~s.sparse & (backends == backend)
    if s.kind == "decode":
        yield "decode, several cards", s.n_used > 1
        yield "decode, several streams", s.n_parallel > 1
        depth = np.array([(m.depth_tokens or 0) >= EMPTY_TOKENS for m in s.measured])
        yield f"decode at a depth of {EMPTY_TOKENS:,} tokens and more", one & depth


def report(decode: Samples, prefill: Samples, left_out: Counter[str]) -> bool:
    """Print everything; whether the goals are met."""
    print("left out:")
    for reason, n in left_out.most_common():
        if n:
            print(f"  {n:>5,}  {reason}")
    print(f"used: {len(decode):,} decode and {len(prefill):,} prefill rows")
    told = hold_out((decode, prefill), SEED)
    print(f"\non devices the fit has not seen (devices halved by seed {SEED}, each half told by the other's fit):")
    for samples, values in zip((decode, prefill), told, strict=True):
        for name, keep in list_groups(samples):
            found = score(samples, values, keep)
            if found is not None:
                print(f"  {name:<58} {found}")
    dense = single(decode) & ~decode.sparse
    scores = [score(decode, hold_out((decode, prefill), seed)[0], dense) for seed in range(N_SEEDS)]
    print(f"\ndecode, dense, over {N_SEEDS} ways of halving (median, lowest to highest):")
    for name in ("error", "error_weighed", "cover", "cover_weighed"):
        every = np.array([getattr(x, name) for x in scores])
        print(f"  {name:<15} {np.median(every):6.1%}   {every.min():6.1%} to {every.max():6.1%}")
    goal = score(decode, told[0], dense)
    error = float(np.median([x.error for x in scores if x]))
    cover = float(np.median([x.cover for x in scores if x]))
    met = goal is not None and meets_goals(goal.error, goal.cover) and meets_goals(error, cover)
    print(f"\ngoals (error at most {GOAL_ERROR:.0%}, {GOAL_COVER[0]:.0%} to {GOAL_COVER[1]:.0%} inside): ", end="")
    print("met" if met else "MISSED")
    return met


def meets_goals(error: float, cover: float) -> bool:
    """Whether a median error and a coverage are what was asked for."""
    return error <= GOAL_ERROR and GOAL_COVER[0] <= cover <= GOAL_COVER[1]


def format_module(fit: SpeedFit) -> str:
    """The text of sizing/efficiencies.py."""
    kinds = {
        "decode_share": "dict[tuple[str, str], float]",
        "decode_share_unknown": "dict[str, float]",
        "step_s": "dict[str, float]",
        "prefill_share": "dict[tuple[str, str], float]",
        "prefill_share_unknown": "dict[str, float]",
        "spread": "dict[str, tuple[float, float]]",
        "n_rows": "dict[str, dict[str, int]]",
        "n_devices": "dict[str, dict[str, int]]",
    }
    lines = [
        '"""What classes of devices reach of their peak. Written by `python -m tools.fit_speed`: change that instead.',
        "",
        "`sizing.throughput.SpeedFit` says what each is.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
    ]
    for name in SpeedFit.__dataclass_fields__:
        kind = f": {kinds[name]}" if name in kinds else ""
        lines.append(f"{name.upper()}{kind} = {format_value(getattr(fit, name))}")
    return "\n".join(lines) + "\n"


def format_value(value: object, indent: str = "") -> str:
    """A value as the formatter of this repository writes it: an entry of a table to a line."""
    if isinstance(value, dict):
        inner = indent + "    "
        entries = [f"{inner}{format_value(k)}: {format_value(v, inner)}," for k, v in value.items()]
        return "\n".join(["{", *entries, indent + "}"]) if entries else "{}"
    if isinstance(value, tuple):
        return f"({', '.join(format_value(v) for v in value)})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.fit_speed", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="print only, write nothing")
    args = parser.parse_args(argv)
    reader = Reader()
    decode, prefill = reader.read()
    met = report(decode, prefill, reader.left_out)
    if not args.check:
        OUT.write_text(format_module(fit_shipped(reader, decode, prefill)), encoding="utf-8")
        print(f"wrote {OUT.relative_to(OUT.parent.parent)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
