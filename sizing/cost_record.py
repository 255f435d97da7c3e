"""What a load costs, as an answer, a JSON record and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sizing.cost import BreakEven, TokenLoad, find_break_even_band, find_break_even_utilisation
from sizing.cost_options import KIND_WORDS, JudgedOption, Limits, Option, judge_options
from sizing.throughput import Interval
from sizing.units import format_figures, format_range

QUALITY_NOTE = "cost alone: whether a model answers well enough is not in these figures"
BreakEvens = tuple[BreakEven, BreakEven, BreakEven]


@dataclass(frozen=True, slots=True)
class CostAnswer:
    """Every option judged, the three that are spoken of, and where the machines meet the API's price.

    Break-evens are at the cheapest, middle and dearest end of a machine's cost; None without a known cost or an API.
    `own_utilisation` is the mean share of a machine's active time at which it costs what the API does.
    """

    load: TokenLoad
    options: tuple[JudgedOption, ...]
    own: JudgedOption | None
    rent: JudgedOption | None
    api: JudgedOption | None
    own_break_even: BreakEvens | None
    rent_break_even: BreakEvens | None
    own_utilisation: float | None


def answer_cost(
    options: Sequence[Option], limits: Limits, load: TokenLoad, rent_name: str = "", api_name: str = ""
) -> CostAnswer:
    """Judge all options; of rents and APIs the named one is spoken of, or the first of its kind."""
    judged = judge_options(options, limits, load.tokens_per_day)
    own = _find(judged, options, "own", "")
    rent, api = _find(judged, options, "rent", rent_name), _find(judged, options, "api", api_name)
    band = own.option.band if own else None
    rival = api.option.band if api else None
    return CostAnswer(
        load,
        judged,
        own,
        rent,
        api,
        find_break_even_band(band, rival) if band and rival else None,
        find_break_even_band(rent.option.band, rival) if rent and rent.option.band and rival else None,
        find_break_even_utilisation(band.mid, rival.mid, load) if band and rival else None,
    )


def _find(judged: Sequence[JudgedOption], options: Sequence[Option], kind: str, name: str) -> JudgedOption | None:
    of_kind = [o for o in options if o.kind == kind]
    wanted = next((o for o in of_kind if o.name == name), of_kind[0] if of_kind else None)
    return next((j for j in judged if j.option == wanted), None)


def format_count(n_tokens: float) -> str:
    """Tokens as people say them.

    >>> [format_count(n) for n in (0, 1234, 400_000, 2_000_000, 3.2e9)]
    ['0', '1,230', '0.4 million', '2 million', '3.2 billion']
    """
    for name, step in (("billion", 1e9), ("million", 1e6)):
        if n_tokens >= 0.1 * step:
            figures = format_figures(n_tokens / step)
            return f"{figures.rstrip('0').rstrip('.') if '.' in figures else figures} {name}"
    return format_figures(n_tokens)


def format_usd(cost: Interval | None) -> str:
    """Dollars as an interval, or that they are unknown; never 0 for what is not known.

    >>> format_usd(Interval(61.2, 66, 74.4)), format_usd(None), format_usd(Interval(9.13, 9.13, 9.13))
    ('61 to 74', 'unknown', '9.13')
    """
    return "unknown" if cost is None else format_range(cost.low, cost.high)


def say_break_even(found: BreakEvens | None) -> str:
    """From which load on a machine costs no more than the API, in words."""
    if found is None:
        return "where it would meet the API's price is unknown"
    ats = [b.tokens_per_day for b in found if b.tokens_per_day is not None]
    mid = found[1]
    if not ats:
        return f"it never costs less than the API: {mid.reason}"
    if not any(ats):
        return "it costs no more than the API at any load"
    low, high = format_count(min(ats)), format_count(max(ats))
    said = f"it costs less than the API from {low if low == high else f'{low} to {high}'} tokens a day"
    if len(ats) < len(found):
        return f"{said}, or never at the slow end of its speed"
    steady = max(b.steady_tokens_per_day or 0.0 for b in found)
    if steady > max(ats) * 1.05:
        said += f", for good from {format_count(steady)}"
    return said


def interval_record(cost: Interval | None) -> dict[str, float] | None:
    """An interval as JSON, None for unknown."""
    return None if cost is None else {"low": cost.low, "mid": cost.mid, "high": cost.high}


def option_record(judged: JudgedOption, tokens_per_day: float) -> dict[str, Any]:
    """One option."""
    option = judged.option
    return {
        "kind": option.kind,
        "name": option.name,
        "usd_per_month": interval_record(judged.usd_per_month),
        "usd_per_million_tokens": interval_record(judged.usd_per_million),
        "machines": list(option.band.count_machines(tokens_per_day)) if option.band and option.kind != "api" else None,
        "unknown": option.unknown,
        "ruled_out": list(judged.ruled_out),
        "unchecked": list(judged.unchecked),
        "region": option.region or None,
        "source_url": option.source_url or None,
        "as_of": option.as_of or None,
    }


def break_even_record(found: BreakEvens | None) -> dict[str, Any] | None:
    """A break-even as JSON: loads at the cheapest, middle and dearest end, and why there is none."""
    if found is None:
        return None
    return {
        "tokens_per_day": [b.tokens_per_day for b in found],
        "steady_tokens_per_day": [b.steady_tokens_per_day for b in found],
        "reason": found[1].reason,
    }


def cost_record(answer: CostAnswer, assumptions: Sequence[str]) -> dict[str, Any]:
    """The answer as `python -m sizing cost --json` prints it."""
    tokens = answer.load.tokens_per_day
    spoken = {"own": answer.own, "rent": answer.rent, "api": answer.api}
    return {
        "input_tokens_per_day": answer.load.input_tokens_per_day,
        "output_tokens_per_day": answer.load.output_tokens_per_day,
        "n_users": answer.load.n_users,
        "peak_factor": answer.load.peak_factor,
        "active_hours_per_day": answer.load.active_hours_per_day,
        "max_utilisation": answer.load.max_utilisation,
        **{kind: option_record(j, tokens) if j else None for kind, j in spoken.items()},
        "own_break_even": break_even_record(answer.own_break_even),
        "rent_break_even": break_even_record(answer.rent_break_even),
        "own_break_even_utilisation": answer.own_utilisation,
        "options": [option_record(j, tokens) for j in answer.options],
        "assumptions": [*assumptions, QUALITY_NOTE],
    }


def format_cost(answer: CostAnswer, assumptions: Sequence[str], limit: int = 12) -> str:
    """The answer as text, the cheapest first."""
    load = answer.load
    lines = [f"{format_count(load.tokens_per_day)} tokens a day, US$ a month"]
    shown = answer.options[:limit]
    for rank, judged in enumerate(shown, 1):
        lines += [f"{rank}. {_say_option(judged, load)}", *_say_why(judged)]
    for spoken in (answer.own, answer.rent, answer.api):
        if spoken is not None and spoken not in shown:
            lines += [f"   {_say_option(spoken, load)}", *_say_why(spoken)]
    if len(answer.options) > limit:
        lines.append(f"   {len(answer.options)} options in all; --limit shows more")
    for judged_, found in ((answer.own, answer.own_break_even), (answer.rent, answer.rent_break_even)):
        if judged_ is not None and answer.api is not None:
            lines.append(f"{judged_.option.name} against {answer.api.option.name}: {say_break_even(found)}")
    return "\n".join([*lines, *(f"- {line}" for line in (*assumptions, QUALITY_NOTE))])


def _say_option(judged: JudgedOption, load: TokenLoad) -> str:
    option = judged.option
    cost = format_usd(judged.usd_per_month)
    return f"{option.name} ({KIND_WORDS[option.kind]}): {cost}{_say_machines(judged, load)}"


def _say_why(judged: JudgedOption) -> list[str]:
    """What rules an option out, what is unknown of it, and where its price stands."""
    option, lines = judged.option, []
    if judged.ruled_out:
        lines.append(f"     ruled out: {'; '.join(judged.ruled_out)}")
    if option.unknown:
        lines.append(f"     {option.unknown}")
    if option.source_url:
        lines.append(f"     as of {option.as_of}, {option.source_url}")
    return lines


def _say_machines(judged: JudgedOption, load: TokenLoad) -> str:
    band = judged.option.band
    if band is None or judged.option.kind == "api" or band.low.is_linear:
        return ""
    fast, _, slow = band.count_machines(load.tokens_per_day)
    return f", {fast} machine{'s' if slow > 1 else ''}" if fast == slow else f", {fast} to {slow} machines"
