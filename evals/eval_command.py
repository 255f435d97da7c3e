"""`python -m evals run|compare|divergence|list|runs|resume`: evaluations from a shell, in the page's own queue."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.damage import METRICS, DamageRow, Published, line_up_damage, list_measured
from evals.divergence_result import DivergenceResult, Estimate
from evals.divergence_run import find_result
from evals.endpoint_address import KEY_VARIABLE, check_endpoint_url
from evals.home import find_home
from evals.jobs import count_usable_bytes, resume_run, work_off
from evals.own_suites import list_own_suites, load_own_suite
from evals.plans import (
    OWN_PREFIX,
    EvalPlan,
    EvalSettings,
    ModelKind,
    TestedModel,
    plan_divergence,
    plan_suites,
)
from evals.results import (
    SuiteComparison,
    SuiteScore,
    compare_runs,
    describe_run,
    sum_up,
    write_csv,
    write_json,
)
from evals.run_files import EvalRun, RunState, ask_to_stop, create_run, find_run, list_runs, load_run
from evals.suites import Suite, find_suite, list_suites
from evals.tested_models import DEMO_QUANTS, list_parts, make_demo
from evals.texts import TEXTS
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import BadInputError, GgufError
from sizing.hardware import Machine
from sizing.units import format_bytes, format_figures

COMMANDS = ("run", "compare", "divergence", "list", "runs", "resume")

SAY_EVERY_S = 1.0

Detect = Callable[[], Machine]


@dataclass(frozen=True, slots=True)
class EvalWorld:
    """What the commands ask of other rooms.

    `detect` describes this machine, `find_model_id` turns a name of the catalog's into its id, `recognise_file` tells a
    file's model id ("" where unknown) and quantization from its header, `list_published` what others measured of a
    model's quantization.
    """

    detect: Detect
    find_model_id: Callable[[str], str]
    recognise_file: Callable[[Path], tuple[str, str]]
    list_published: Callable[[str, str], Sequence[Published]]


def add_eval_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the commands and their options."""
    run = commands.add_parser("run", help="ask a model the items of suites, score them, and keep every one")
    run.add_argument("--model", required=True, help="a GGUF file, demo or demo:Q2_K, or the address of a server")
    run.add_argument("--suite", required=True, help="names with commas between; needle@8192, own:NAME, gsm8k, ...")
    run.add_argument("--limit", type=int, help="at most this many items of each suite")
    run.add_argument("--minutes", type=float, help="choose how many items from the speed measured here")
    run.add_argument("--as", dest="model_id", default="", help="the catalog's model this is, so that Choose shows it")
    run.add_argument("--quant", default="", help="its quantization, for the same purpose")
    run.add_argument("--api", choices=("chat", "completion"), default="chat", help="how a server is asked")
    run.add_argument("--name", default="", help="the model's name at the server; default: the only one it has")
    run.add_argument("--judge", default="", help="the address of a server whose model scores items that want a judge")
    run.add_argument("--judge-name", default="", help="the judge's name there")
    run.add_argument("--allow-code", action="store_true", help="let the suite 'code' run what a model wrote, confined")
    run.add_argument("--csv", type=Path, help="also write the items to this CSV file")
    add_setting_options(run)
    divergence = commands.add_parser("divergence", help="what a quantization changes, token by token")
    divergence.add_argument("--reference", required=True, help="the better file, for instance F16 or Q8_0")
    divergence.add_argument("--candidate", required=True, help="the file held against it")
    divergence.add_argument("--text", default="", help=f"a text file, or one of {', '.join(TEXTS)}; default: own")
    divergence.add_argument("--limit", type=int, help="at most this many windows of text")
    divergence.add_argument("--minutes", type=float, help="read for at most so long")
    add_setting_options(divergence)
    compare = commands.add_parser("compare", help="two runs on the same items: which is better, or not distinguishable")
    compare.add_argument("a", metavar="RUN_A", help="a run's id, a beginning of it, or 'last'")
    compare.add_argument("b", metavar="RUN_B")
    listing = commands.add_parser("list", help="the suites, what each measures and what it does not")
    runs = commands.add_parser("runs", help="the runs kept here, newest first")
    resume = commands.add_parser("resume", help="let a run that ended early go on")
    resume.add_argument("run", metavar="RUN")
    for parser in (run, divergence, compare, listing, runs, resume):
        parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_setting_options(parser: argparse.ArgumentParser, has_seed: bool = True) -> None:
    """Options of EvalSettings, without the seed where a command has its own option for it."""
    parser.add_argument("--context", type=int, help="tokens of one sequence; default: what the suites want")
    parser.add_argument("--parallel", type=int, default=8, help="sequences, or requests to a server, side by side")
    parser.add_argument("--threads", type=int, help="default: all physical cores")
    parser.add_argument("--gpu-layers", type=int, help="layers on the GPU; default: all, for a divergence none")
    parser.add_argument("--kv-type", default="f16", help="type of the KV cache; default f16")
    if has_seed:
        parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy, the default")
    parser.add_argument("--max-output", type=int, help="tokens of an answer at most; default: what each item says")
    parser.add_argument("--no-template", action="store_true", help="give plain text instead of the chat template")


def read_settings(arguments: argparse.Namespace, seed: int | None = None) -> EvalSettings:
    """The settings that the options name, `seed` before theirs. Raises BadInputError for one out of range."""
    return EvalSettings(
        context_tokens=arguments.context,
        n_parallel=arguments.parallel,
        kv_type_k=arguments.kv_type,
        kv_type_v=arguments.kv_type,
        n_threads=arguments.threads,
        n_gpu_layers=arguments.gpu_layers,
        seed=arguments.seed if seed is None else seed,
        temperature=arguments.temperature,
        template="none" if arguments.no_template else "auto",
        max_output_tokens=arguments.max_output,
    )


def read_model(text: str, api: str = "chat", remote_name: str = "", model_id: str = "", quant: str = "") -> TestedModel:
    """The model a text names: 'demo', 'demo:Q2_K', an address, or a file. Raises BadInputError for anything else."""
    if text == "demo" or text.startswith("demo:"):
        return make_demo(text.partition(":")[2] or "F16")
    if "://" in text:
        url = check_endpoint_url(text)
        name = remote_name or url.split("://", 1)[1].removesuffix("/v1")
        return TestedModel(ModelKind.ENDPOINT, name, "", url, api, remote_name, model_id, quant)
    path = Path(text).expanduser()
    if not path.is_file():
        raise BadInputError(
            f"--model wants a GGUF file, the address of a server, or demo:{'|'.join(DEMO_QUANTS)}; got {text!r}"
        )
    parts = list_parts(path.resolve())
    return TestedModel(ModelKind.FILE, path.stem, str(parts[0]), model_id=model_id, quant=quant)


def read_suites(text: str, home: Path) -> tuple[str, ...]:
    """Suite names from a list with commas. Raises UnknownNameError for an own suite or a length that is none.

    A name that is none of ours is left for lm-eval, which alone knows its tasks.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = {suite.name for suite in list_suites()}
    for name in names:
        if name.startswith(OWN_PREFIX):
            load_own_suite(home, name.removeprefix(OWN_PREFIX))
        elif name.partition("@")[0] in known:
            find_suite(name)
    return names


def name_file(model: TestedModel, world: EvalWorld) -> TestedModel:
    """A file with what its header says it is, where nothing was said. Raises GgufError for what is no model file."""
    if model.kind is not ModelKind.FILE:
        return model
    path = Path(model.path)
    try:
        model_id, quant = world.recognise_file(path)
    except GgufError as error:
        raise GgufError(f"{path.name}: {error}") from error
    return replace(model, model_id=model.model_id or model_id, quant=model.quant or quant)


def run_run(arguments: argparse.Namespace, world: EvalWorld) -> int:
    """`run`: ask, watch, print. Progress goes to stderr; Ctrl-C cancels and keeps what is done."""
    home = find_home()
    model_id = world.find_model_id(arguments.model_id) if arguments.model_id else ""
    model = read_model(arguments.model, arguments.api, arguments.name, model_id, arguments.quant)
    judge = read_model(arguments.judge, remote_name=arguments.judge_name) if arguments.judge else None
    if judge is not None and judge.kind is not ModelKind.ENDPOINT:
        raise BadInputError(f"--judge wants the address of a server, got {arguments.judge!r}")
    if arguments.limit is not None and arguments.minutes is not None:
        raise BadInputError("--limit and --minutes both say how many items; give one of them")
    plan = plan_suites(
        name_file(model, world),
        read_suites(arguments.suite, home),
        limit=arguments.limit,
        minutes=arguments.minutes,
        settings=read_settings(arguments),
        allow_code=arguments.allow_code,
        judge=judge,
    )
    run = follow(home, plan, world.detect)
    if arguments.csv is not None:
        arguments.csv.write_text(write_csv(run), encoding="utf-8")
    if arguments.json:
        print(write_json(run))
    else:
        print(format_run(run))
    return EXIT_DONE if run.state is RunState.DONE else EXIT_FAILED


def run_divergence(arguments: argparse.Namespace, world: EvalWorld) -> int:
    """`divergence`: read a text with both files, print what differs beside what others measured."""
    reference, candidate = (name_file(read_model(m), world) for m in (arguments.reference, arguments.candidate))
    is_demo = {reference.kind, candidate.kind} == {ModelKind.DEMO}
    text = arguments.text or ("demo" if is_demo else "own")
    if text not in TEXTS:
        if not Path(text).is_file():
            raise BadInputError(f"--text wants a text file, or one of {', '.join(TEXTS)}; got {text!r}")
        text = str(Path(text).resolve())
    settings = read_settings(arguments)
    plan = plan_divergence(
        reference, candidate, text=text, limit=arguments.limit, minutes=arguments.minutes, settings=settings
    )
    run = follow(find_home(), plan, world.detect)
    result = find_result(run)
    published = world.list_published(candidate.model_id, candidate.quant)
    rows = line_up_damage([] if result is None else list_measured(result, Path(text).name), published)
    if arguments.json:
        told = {"divergence": None if result is None else asdict(result), "damage": [asdict(row) for row in rows]}
        print_json(describe_run(run) | told)
    else:
        print(format_run(run))
        if result is not None:
            print(format_divergence(result))
            print("\n".join(format_damage(row) for row in rows))
    return EXIT_DONE if run.state is RunState.DONE else EXIT_FAILED


def run_resume(arguments: argparse.Namespace, world: EvalWorld) -> int:
    """`resume`: let a run go on, watch it, print it."""
    path = find_run(find_home(), arguments.run)
    resume_run(path)
    run = watch_run(path, world.detect)
    if arguments.json:
        print(write_json(run))
    else:
        print(format_run(run))
    return EXIT_DONE if run.state is RunState.DONE else EXIT_FAILED


def follow(home: Path, plan: EvalPlan, detect: Detect) -> EvalRun:
    """Ask for a run and stay with it to its end."""
    return watch_run(create_run(home, replace(plan, machine=detect().name)), detect)


def watch_run(path: Path, detect: Detect) -> EvalRun:
    """Work on a run and say on stderr how it goes; Ctrl-C cancels it."""
    watcher = Watcher(path)
    key = os.environ.get(KEY_VARIABLE)
    try:
        return work_off(path, usable_bytes=lambda plan: count_usable_bytes(detect(), plan), key=key, watch=watcher.look)
    except KeyboardInterrupt:
        ask_to_stop(path)
        run = work_off(path)
        print(f"stopped; it goes on with: python -m evals resume {run.run_id}", file=sys.stderr)
        return run


class Watcher:
    """Says on stderr what a run says, each thing once, and the count every few seconds; `label` before each line."""

    def __init__(self, path: Path, label: str = "") -> None:
        self.path = path
        self._label = label
        self._size = -1
        self._said = ""
        self._next_s = 0.0

    def look(self) -> None:
        """Print what is new."""
        size = self.path.stat().st_size
        if size == self._size or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + SAY_EVERY_S
        self._size = size
        run = load_run(self.path)
        summary = sum_up(run)
        told = run.said
        if summary.n_done:
            running = ", ".join(f"{s.title} {format_score(s)}" for s in summary.scores if s.n_items)
            told = f"{summary.n_done} of {summary.n_planned}: {running}" if running else f"{summary.n_done} windows"
        if told and told != self._said:
            self._said = told
            print(f"{self._label}{told}", file=sys.stderr, flush=True)


def format_score(score: SuiteScore) -> str:
    """'78.0% (71.2 to 83.5) of 150', or bits per byte where that is the score."""
    if score.value is None or score.low is None or score.high is None:
        return "no score yet"
    if not score.is_higher_better:
        return f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f}) {score.metric}"
    return f"{100 * score.value:.1f}% ({100 * score.low:.1f} to {100 * score.high:.1f}) of {score.n_items}"


def format_run(run: EvalRun) -> str:
    """A run as lines of text."""
    summary = sum_up(run)
    facts = run.facts
    lines = [f"run {run.run_id}: {run.plan.model.title}, {run.state}{f': {run.reason}' if run.reason else ''}"]
    for score in summary.scores:
        if not score.n_items:
            continue
        cut = f"; {score.n_cut} answers cut at their limit" if score.n_cut else ""
        guess = f"; a guess scores {100 * score.chance:.0f}%" if score.chance else ""
        lines.append(f"  {score.title}: {format_score(score)}, {score.method}{guess}{cut}")
        if len(score.categories) > 1:
            told = ", ".join(f"{c.category} {100 * c.value:.0f}% of {c.n_items}" for c in score.categories)
            lines.append(f"    {told}")
        lines.append(f"    n: {score.why_n}")
    speeds = [
        f"{format_figures(rate)} tokens/s {what}"
        for rate, what in ((summary.prefill_tokens_per_s, "reading"), (summary.decode_tokens_per_s, "writing"))
        if rate is not None
    ]
    peak = [f"{format_bytes(summary.peak_bytes)} at most"] if summary.peak_bytes else []
    lines.append(f"  {', '.join([f'{summary.elapsed_s:.0f} s', *speeds, *peak])}")
    if facts is not None:
        sha = f"sha256 {facts.file_sha256[:12]}, " if facts.file_sha256 else ""
        template = "chat template" if facts.used_template else "no chat template"
        where = f", on {facts.machine}" if facts.machine else ""
        lines.append(f"  {sha}{facts.engine}, {template}, seed {run.plan.settings.seed}{where}")
    return "\n".join(lines)


def format_estimate(estimate: Estimate, n_digits: int = 4) -> str:
    """A figure with its standard error."""
    error = "" if estimate.stderr is None else f" +- {estimate.stderr:.{n_digits}f}"
    return f"{estimate.value:.{n_digits}f}{error}"


def format_divergence(result: DivergenceResult) -> str:
    """What two files differ by, as lines of text."""
    return "\n".join(
        (
            f"  {result.n_tokens:,} tokens scored in {result.n_windows} windows",
            f"  perplexity {format_estimate(result.perplexity_candidate)} against "
            f"{format_estimate(result.perplexity_reference)}, ratio {format_estimate(result.perplexity_ratio)}",
            f"  KL divergence {format_estimate(result.kl_mean, 5)} nats in the mean, "
            f"{format_estimate(result.kl_median, 5)} in the median, {result.kl_max:.3f} at most",
            f"  same top token {100 * result.top_agreement.value:.2f}%",
        )
    )


def format_damage(row: DamageRow) -> str:
    """One figure with its label: 'same family: KL divergence 0.02 (0.01 to 0.03), median of 7 published'."""
    spread = "" if row.low is None or row.high is None else f" ({row.low:.4g} to {row.high:.4g})"
    what = "tokens" if row.spread.startswith("95%") or row.stderr is not None else "published, their median"
    return f"  {row.label}: {METRICS[row.metric].partition(',')[0]} {row.value:.4g}{spread}, {row.n:,} {what}"


def run_compare(arguments: argparse.Namespace) -> int:
    """`compare`: suite by suite."""
    home = find_home()
    a, b = (load_run(find_run(home, name)) for name in (arguments.a, arguments.b))
    if a.run_id == b.run_id:
        raise BadInputError(f"two different runs are compared, both are {a.run_id}")
    found = compare_runs(a, b)
    if arguments.json:
        print_json({"a": a.run_id, "b": b.run_id, "suites": [describe_comparison(c) for c in found]})
        return EXIT_DONE
    print(f"a: {a.plan.model.title} ({a.run_id})\nb: {b.plan.model.title} ({b.run_id})")
    for one in found:
        print(f"{one.title}: {one.comparison.sentence if one.comparison is not None else one.why_not}")
    return EXIT_DONE


def describe_comparison(found: SuiteComparison) -> dict[str, Any]:
    """One suite of a comparison for JSON."""
    comparison = None if found.comparison is None else asdict(found.comparison)
    if comparison is not None and found.comparison is not None:
        comparison["sentence"] = found.comparison.sentence
    return {
        "suite": found.suite,
        "title": found.title,
        "why_not": found.why_not,
        "comparison": comparison,
        "disagreements": list(found.disagreements),
    }


def run_list(arguments: argparse.Namespace) -> int:
    """`list`: the suites."""
    suites, own = list_suites(), list_own_suites(find_home())
    if arguments.json:
        mine = [{"name": OWN_PREFIX + h.name, "n_items": h.n_items, "problem": h.problem} for h in own]
        print_json({"suites": [asdict(suite) for suite in suites], "own": mine})
        return EXIT_DONE
    for suite in suites:
        print(format_suite(suite))
    for head in own:
        print(f"{OWN_PREFIX}{head.name}: {head.problem or f'{head.n_items} items of your own'}")
    print("gsm8k, mmlu, ifeval, hellaswag, arc_challenge and every other task of lm-eval, where the Hub is reachable")
    return EXIT_DONE


def format_suite(suite: Suite) -> str:
    """A suite as lines of text."""
    name = f"{suite.name}@TOKENS" if suite.takes_context else suite.name
    opt_in = ", only with --allow-code" if suite.opt_in else ""
    return (
        f"{name}: {suite.title}, {suite.n_items} items, version {suite.version}{opt_in}\n"
        f"  measures {suite.measures}\n  does not measure {suite.does_not_measure}"
    )


def run_runs(arguments: argparse.Namespace) -> int:
    """`runs`: what is kept."""
    runs = list_runs(find_home())
    if arguments.json:
        print_json([describe_run(run) for run in runs])
        return EXIT_DONE
    for run in runs:
        scores = ", ".join(f"{s.title} {format_score(s)}" for s in sum_up(run).scores if s.n_items)
        print(f"{run.run_id}  {run.state:11}  {run.plan.model.title}: {scores or run.reason or run.plan.kind}")
    if not runs:
        print("no runs yet; begin with: python -m evals run --model demo --suite demo --limit 100")
    return EXIT_DONE


def run_eval_command(arguments: argparse.Namespace, world: EvalWorld) -> int:
    """One of COMMANDS."""
    commands: dict[str, Callable[[], int]] = {
        "run": lambda: run_run(arguments, world),
        "divergence": lambda: run_divergence(arguments, world),
        "resume": lambda: run_resume(arguments, world),
        "compare": lambda: run_compare(arguments),
        "list": lambda: run_list(arguments),
        "runs": lambda: run_runs(arguments),
    }
    return commands[arguments.command]()
