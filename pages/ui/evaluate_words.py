"""Sentences, small pictures and tables of evaluations: values in, text and frames out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from evals.plans import RunKind
from evals.results import RunSummary, SuiteScore
from evals.run_files import ItemResult, RunState
from evals.stats import Comparison, Verdict
from pages.ui.charts import roomy
from pages.ui.evaluation import name_model, rename_quant
from sizing.units import GIB, THIN, format_bytes, format_figures, format_range

STYLE = """<style>
.st-key-eval_sentence [data-testid="stWidgetLabel"] p { font-size: 1rem; font-weight: 600; }
.st-key-eval_sentence { border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.st-key-eval_sentence { padding-bottom: 0.9rem; }
.wb-scores { border-collapse: collapse; width: 100%; font-size: 1rem; }
.wb-scores td, .wb-scores th { border: none; padding: 0.18rem 1rem 0.18rem 0; text-align: left; }
.wb-scores th { font-weight: 400; opacity: 0.75; font-size: 0.87rem; }
.wb-scores .wb-n { text-align: right; } .wb-scores td.wb-n { white-space: nowrap; }
.wb-scroll { overflow-x: auto; }
.st-key-eval_live p { margin: 0; }
.st-key-eval_live [data-testid="stHtml"] { margin: 0; }
.wb-scores td.wb-track-cell { width: 38%; min-width: 6.5rem; }
.wb-track { position: relative; height: 1.1rem; min-width: 6rem;
  background: linear-gradient(currentColor, currentColor) 0 50% / 100% 1px no-repeat; }
.wb-track { background-size: 100% 1px; --faint: color-mix(in srgb, currentColor 22%, transparent); }
.wb-track { background-image: linear-gradient(var(--faint), var(--faint)); }
.wb-track i { position: absolute; top: 0.46rem; height: 0.18rem; background: #0072B2; border-radius: 0.1rem; }
.wb-track b { position: absolute; top: 0.22rem; width: 0.66rem; height: 0.66rem; margin-left: -0.33rem;
  border-radius: 50%; background: #0072B2; }
.wb-track u { position: absolute; top: 0.1rem; width: 1px; height: 0.9rem; background: #8C8C8C; }
.wb-track.wb-difference i, .wb-track.wb-difference b { background: var(--mark); }
@media (max-width: 640px) {
  .wb-scores td, .wb-scores th { padding-right: 0.5rem; }
  .wb-scores .wb-wide { display: none; }
}
</style>"""

STATE_WORDS = {
    RunState.QUEUED: "Waiting",
    RunState.RUNNING: "Running",
    RunState.INTERRUPTED: "Interrupted",
    RunState.DONE: "Done",
    RunState.CANCELLED: "Cancelled",
    RunState.FAILED: "Failed",
}
RIGHT, PARTLY, WRONG, UNSCORED = "right", "partly right", "wrong", "not scored"


def is_share(score: SuiteScore) -> bool:
    """Whether a score is a share of right answers, which is shown in percent, and not a figure such as perplexity."""
    ends = [v for v in (score.value, score.low, score.high) if v is not None]
    return score.is_higher_better and all(0 <= v <= 1 for v in ends)


def format_score(score: SuiteScore, value: float | None) -> str:
    """'78%' of a share, three figures of anything else, 'unknown' before the first item."""
    if value is None:
        return "unknown"
    return format_percent(value) if is_share(score) else format_figures(value)


def format_percent(value: float) -> str:
    """A share in whole percent; never 0% or 100% for what is not quite that."""
    text = f"{100 * value:.0f}"
    if (text == "100" and value < 1) or (text == "0" and value > 0):
        text = f"{100 * value:.1f}"
    return f"{text}%"


def format_interval(score: SuiteScore) -> str:
    """'71 to 84' in the score's own unit; empty without an interval."""
    if score.low is None or score.high is None:
        return ""
    if is_share(score):
        low, high = format_percent(score.low)[:-1], format_percent(score.high)[:-1]
        return low if low == high else f"{low} to {high}"
    return format_range(score.low, score.high)


def format_with_interval(score: SuiteScore) -> str:
    """'78% (71 to 84)'."""
    interval = format_interval(score)
    return f"{format_score(score, score.value)} ({interval})" if interval else format_score(score, score.value)


def format_points(value: float) -> str:
    """A difference of shares in points, with its sign: '+7.5'."""
    return f"{100 * value:+.1f}"


def format_time_left(seconds: float) -> str:
    """'about 40 s left', 'about 3 min left'."""
    if seconds < 90:
        return f"about {max(1, round(seconds))}{THIN}s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)}{THIN}min left"
    return f"about {format_figures(seconds / 3600)}{THIN}h left"


def format_moment(text: str) -> str:
    """A time of a run file as people read it, UTC: '2026-11-25 18:55'."""
    return text[:16].replace("T", " ")


def name_run(summary: RunSummary) -> str:
    """A run's headline: its model, and with which one it is compared if it is a divergence."""
    reference = summary.run.plan.reference
    name = name_model(rename_quant(summary))
    return name if reference is None else f"{name} against {name_model(reference)}"


def part_names(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The model that several names share and what tells them apart; "" and the names where they share none.

    >>> part_names(("Qwen3 8B at Q8_0", "Qwen3 8B at Q2_K")), part_names(("A at Q8_0", "B at Q8_0"))
    (('Qwen3 8B', ('Q8_0', 'Q2_K')), ('', ('A at Q8_0', 'B at Q8_0')))
    """
    parted = [name.rpartition(" at ") for name in names]
    stems = {stem for stem, _, _ in parted}
    if len(set(names)) < 2 or len(stems) > 1 or not parted[0][0]:
        return "", tuple(names)
    return parted[0][0], tuple(rest for _, _, rest in parted)


def describe_suites(summary: RunSummary, titles: Mapping[str, str], most: int = 3) -> str:
    """The suites of a run in words: the first few, then how many more."""
    names = [title_of(name, titles) for name in summary.run.plan.suites]
    names = names or ["quantization damage"]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def title_of(name: str, titles: Mapping[str, str]) -> str:
    """What a suite is called; a context it was asked with stands behind it."""
    base, _, context = name.partition("@")
    title = titles.get(name) or titles.get(base) or base
    return f"{title} at {int(context):,} tokens" if context.isdigit() else title


def label_runs(summaries: Sequence[RunSummary], titles: Mapping[str, str]) -> dict[str, str]:
    """A line for each run to pick it by, by its id."""
    return {
        s.run.run_id: f"{name_run(s)}, {format_moment(s.run.plan.created_at)}, {describe_suites(s, titles, 1)}"
        for s in summaries
    }


def describe_pace(summary: RunSummary) -> str:
    """'34 of 120 items, 12.3 tokens/s, 45 items/min, about 3 min left': what is known of a run's progress."""
    planned = f" of {summary.n_planned:,}" if summary.n_planned else ""
    what = "windows of text" if summary.run.plan.kind is RunKind.DIVERGENCE else "items"
    n_suites = len(summary.run.plan.suites)
    so_far = f"suite {len(summary.scores)} of {n_suites}, " if 0 < len(summary.scores) < n_suites else ""
    parts = [f"{so_far}{summary.n_done:,}{planned} {what}"]
    if summary.decode_tokens_per_s:
        parts.append(f"{format_figures(summary.decode_tokens_per_s)}{THIN}tokens/s")
    if summary.items_per_s:
        parts.append(f"{format_figures(60 * summary.items_per_s)}{THIN}{what.split()[0]}/min")
    if summary.seconds_left is not None and summary.state is RunState.RUNNING:
        parts.append(format_time_left(summary.seconds_left))
    return ", ".join(parts)


def whisker_html(score: SuiteScore) -> str:
    """A score as a dot on a line from 0 to 100%, its interval as a bar, and a tick where guessing would stand."""
    if score.value is None or score.low is None or score.high is None or not is_share(score):
        return '<div class="wb-track"></div>'
    said = f"{format_with_interval(score)}, guessing gives {format_percent(score.chance)}"
    return (
        f'<div class="wb-track" role="img" aria-label="{escape(said)}" title="{escape(said)}">'
        f'<u style="left: {100 * score.chance:.1f}%"></u>'
        f'<i style="left: {100 * score.low:.1f}%; width: {100 * (score.high - score.low):.1f}%"></i>'
        f'<b style="left: {100 * score.value:.1f}%"></b></div>'
    )


def difference_html(comparison: Comparison, reach: float) -> str:
    """A difference as a dot on a line from -`reach` to +`reach` (0 to 1) with its interval and a tick at zero."""
    d = comparison.difference
    colour = "#8C8C8C" if comparison.verdict is Verdict.NOT_DISTINGUISHABLE else "#D55E00"

    def place(value: float) -> float:
        return 50 + 50 * max(-1.0, min(1.0, value / reach))

    said = f"{format_points(d.value)} points ({format_points(d.low)} to {format_points(d.high)})"
    low, width = place(d.low), place(d.high) - place(d.low)
    return (
        f'<div class="wb-track wb-difference" style="--mark: {colour}" role="img" aria-label="{escape(said)}">'
        f'<u style="left: 50%"></u><i style="left: {low:.1f}%; width: {width:.1f}%"></i>'
        f'<b style="left: {place(d.value):.1f}%"></b></div>'
    )


def scores_html(summary: RunSummary) -> str:
    """The suites of a run with items done, the running score and its dot and whisker."""
    rows = "".join(
        f"<tr><td>{escape(s.title)}</td>"
        f'<td class="wb-n">{s.n_items:,} of {s.n_planned:,}</td>'
        f'<td class="wb-track-cell">{whisker_html(s)}</td>'
        f'<td class="wb-n">{escape(format_with_interval(s)) if s.value is not None else "no score yet"}</td></tr>'
        for s in summary.scores
    )
    return f'<table class="wb-scores">{rows}</table>' if rows else ""


def describe_verdict(comparison: Comparison, name_a: str, name_b: str) -> str:
    """What two runs on the same items say, in one sentence."""
    if comparison.verdict is Verdict.NOT_DISTINGUISHABLE:
        said = f"Not distinguishable at n = {comparison.n:,}"
        if comparison.n_needed is not None:
            return f"{said}; about {round_up(comparison.n_needed):,} items would tell a difference like the one seen"
        if comparison.least_difference is not None:
            return f"{said}; these items could have told {100 * comparison.least_difference:.0f} points"
        return f"{said}; these are too few to tell any difference"
    a_wins = comparison.verdict is Verdict.A_BETTER
    better, worse = (name_a, name_b) if a_wins else (name_b, name_a)
    high, low = (comparison.mean_a, comparison.mean_b) if a_wins else (comparison.mean_b, comparison.mean_a)
    return (
        f"{better} is better than {worse}: {format_percent(high)} against {format_percent(low)}, n = {comparison.n:,}"
    )


def round_up(n: int) -> int:
    """A whole number to two figures, upwards: a planned number of items is no more exact than that."""
    step = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step


def format_p(value: float) -> str:
    """A p value: two figures, never 0."""
    return "below 0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def judge_item(item: ItemResult) -> str:
    """'right', 'partly right', 'wrong' or 'not scored'."""
    if item.score is None:
        return UNSCORED
    return RIGHT if item.score >= 1 else WRONG if item.score <= 0 else PARTLY


def lower_first(title: str) -> str:
    """A title inside a sentence: 'arithmetic and word problems', but 'JSON to a schema'."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def shorten(text: str, most: int = 160) -> str:
    """Text in one line, cut with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def tabulate_scores(summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """A row for each run and suite with a score, newest first."""
    rows = [(s, score) for s in summaries for score in s.scores if score.value is not None]
    return pd.DataFrame(
        {
            "Model": [rename_quant(s).name for s, _ in rows],
            "Quantization": [rename_quant(s).quant or "unknown" for s, _ in rows],
            "Suite": [score.title for _, score in rows],
            "Score": [format_score(score, score.value) for _, score in rows],
            "95% interval": [format_interval(score) for _, score in rows],
            "Items": [score.n_items for _, score in rows],
            "Writes, tokens/s": [format_optional(s.decode_tokens_per_s) for s, _ in rows],
            "Peak, GiB": [format_figures(s.peak_bytes / GIB) if s.peak_bytes else "unknown" for s, _ in rows],
            "When": [format_moment(s.run.plan.created_at) for s, _ in rows],
            "Engine": [(s.run.facts.engine if s.run.facts else "") or "unknown" for s, _ in rows],
        }
    )


def format_optional(value: float | None) -> str:
    """Three figures, or 'unknown'."""
    return format_figures(value) if value else "unknown"


def list_facts(summary: RunSummary) -> tuple[tuple[str, str], ...]:
    """What a run was made with, as names and texts."""
    run, plan = summary.run, summary.run.plan
    facts, settings = run.facts, plan.settings
    out = [("State", STATE_WORDS[run.state] + (f": {run.reason}" if run.reason else ""))]
    if facts is not None:
        if facts.file_sha256:
            out.append(("File", f"{format_bytes(facts.file_bytes)}, SHA-256 {facts.file_sha256[:12]}…"))
        if plan.model.url:
            out.append(("Server", f"{plan.model.url}, {plan.model.remote_name or 'its only model'}, {plan.model.api}"))
        out.append(("Engine", facts.engine or "unknown"))
        out.append(("Chat template", describe_template(facts.used_template, facts.template_sha256)))
        if facts.context_tokens:
            threads = f", {facts.n_threads} threads" if facts.n_threads else ""
            side = f"{facts.n_parallel} side by side" if facts.n_parallel > 1 else "one at a time"
            out.append(("Context", f"{facts.context_tokens:,} tokens, {side}{threads}"))
        out.append(("Machine", facts.machine or "unknown"))
        versions = ", ".join(f"{name} {version}" for name, version in facts.suite_versions.items())
        if versions:
            out.append(("Suite versions", versions))
    cache = f"K {settings.kv_type_k}, V {settings.kv_type_v}"
    flash = "flash attention" if settings.flash_attention else "no flash attention"
    out.append(("Settings", f"seed {settings.seed}, temperature {settings.temperature:g}, cache {cache}, {flash}"))
    out.append(("Speed", describe_speed(summary)))
    out.append(("Peak memory", format_bytes(summary.peak_bytes) if summary.peak_bytes else "unknown"))
    attempts = f", {run.n_attempts} attempts" if run.n_attempts > 1 else ""
    out.append(("Started", f"{format_moment(run.started_at or plan.created_at)} UTC{attempts}"))
    return tuple(out)


def describe_template(used: bool, sha256: str) -> str:
    """Whether the model's chat template was used, and which."""
    if not used:
        return "not used: plain text"
    return f"the model's own, SHA-256 {sha256[:12]}…" if sha256 else "the model's own"


def describe_speed(summary: RunSummary) -> str:
    """How fast the model read and wrote in this run."""
    parts = []
    if summary.prefill_tokens_per_s:
        parts.append(f"reads {format_figures(summary.prefill_tokens_per_s)}{THIN}tokens/s")
    if summary.decode_tokens_per_s:
        parts.append(f"writes {format_figures(summary.decode_tokens_per_s)}{THIN}tokens/s in all")
    return ", ".join(parts) or "unknown"


def tabulate_categories(score: SuiteScore) -> pd.DataFrame:
    """A suite's categories: items and score of each, the worst first."""
    found = sorted(score.categories, key=lambda c: c.value)
    return pd.DataFrame(
        {
            "Category": [c.category or "all" for c in found],
            "Items": [c.n_items for c in found],
            "Score": [format_score(score, c.value) for c in found],
        }
    )


def tabulate_items(items: Sequence[ItemResult], titles: Mapping[str, str]) -> pd.DataFrame:
    """A row for each item, as plain text."""
    several = len({i.suite for i in items}) > 1
    columns: dict[str, list[object]] = {"Item": [i.item_id for i in items]}
    if several:
        columns["Suite"] = [title_of(i.suite, titles) for i in items]
    columns |= {
        "Result": [judge_item(i) for i in items],
        "Category": [i.category for i in items],
        "Prompt": [shorten(i.prompt[-400:]) for i in items],
        "Output": [shorten(i.output) for i in items],
        "Expected": [shorten(i.expected) for i in items],
        "Seconds": [format_figures(i.seconds) for i in items],
    }
    return pd.DataFrame(columns)


def verdict_html(rows: Sequence[tuple[str, Comparison | None, str]], name_a: str, name_b: str) -> str:
    """Suite by suite: both scores, the difference in points with its interval, p, and the verdict as a sentence."""
    reach = max((max(abs(c.difference.low), abs(c.difference.high)) for _, c, _ in rows if c is not None), default=0.1)
    head = (
        f"<tr><th></th><th class='wb-n'>{escape(name_a)}</th><th class='wb-n'>{escape(name_b)}</th>"
        "<th class='wb-wide'></th><th class='wb-n'>Difference, points</th><th class='wb-n wb-wide'>p</th></tr>"
    )
    body = ""
    for title, c, why_not in rows:
        if c is None:
            body += f'<tr><td>{escape(title)}</td><td colspan="5">{escape(why_not)}</td></tr>'
            continue
        d = c.difference
        body += (
            f'<tr><td>{escape(title)}</td><td class="wb-n">{format_percent(c.mean_a)}</td>'
            f'<td class="wb-n">{format_percent(c.mean_b)}</td>'
            f'<td class="wb-track-cell wb-wide">{difference_html(c, max(reach, 0.01))}</td>'
            f'<td class="wb-n">{format_points(d.value)} ({format_points(d.low)} to {format_points(d.high)})</td>'
            f'<td class="wb-n wb-wide">{format_p(c.p_adjusted)}</td></tr>'
            f'<tr><td colspan="6" class="wb-verdict">{escape(roomy(describe_verdict(c, name_a, name_b)))}.</td></tr>'
        )
    return f'<div class="wb-scroll"><table class="wb-scores">{head}{body}</table></div>'
