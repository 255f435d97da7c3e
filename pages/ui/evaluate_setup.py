"""Three columns that read as a sentence: run these models on these suites for five minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel, plan_suites
from evals.results import RunSummary
from evals.tested_models import DEMO_NAME, make_demo
from pages.ui import cached, charts, evaluate_endpoint, evaluate_fields, evaluation, frame, inputs
from pages.ui.evaluate_words import shorten
from pages.ui.evaluation import DEMO_QUANTS, Endpoint, Expected, FileFacts, OwnSuite
from pages.ui.markdown_text import escape_markdown
from sizing.errors import BadInputError, UnknownNameError
from sizing.quants import KV_TYPES
from sizing.units import format_bytes

UNKNOWN_MODEL = ""
DEMO_SUITES = ("demo", "demo_choice")
START = "Start"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the sentence says: models with the key of each, suites as plans name them, and how long or how many."""

    models: tuple[TestedModel, ...]
    keys: tuple[str, ...]
    suites: tuple[str, ...]
    minutes: float | None
    limit: int | None
    settings: EvalSettings
    allow_code: bool
    problem: str
    judge: Endpoint | None = None

    def build_plans(self) -> tuple[EvalPlan, ...]:
        """One run for each model. Raises BadInputError."""
        return tuple(
            plan_suites(
                model,
                self.suites,
                minutes=self.minutes,
                limit=self.limit,
                settings=self.settings,
                allow_code=self.allow_code,
                judge=None if self.judge is None else self.judge.model,
            )
            for model in self.models
        )

    def list_keys(self) -> tuple[str, ...]:
        """The key each run's worker gets: the server's, else the judge's."""
        other = self.judge.key if self.judge is not None else ""
        return tuple(key or other for key in self.keys)


def show(summaries: Sequence[RunSummary], own: Sequence[OwnSuite]) -> None:
    """The sentence, its button, and what it will give."""
    titles = evaluation.title_suites(own)
    with st.container(key="eval_sentence"):
        left, middle, right = st.columns(3, gap="medium")
        with left:
            models, keys = choose_models(summaries)
        with middle:
            suites, allow_code, problem = choose_suites(titles)
            judge, no_judge = choose_judge(suites, own, summaries)
        with right:
            minutes, limit = choose_time()
            place = st.container(gap="small")
            settings = choose_settings()
        problem = problem or no_judge or find_key_conflict(models, keys, judge)
        chosen = Chosen(models, keys, suites, minutes, limit, settings, allow_code, problem, judge)
        with place:
            show_start(chosen, summaries, own, titles)


def show_start(
    chosen: Chosen, summaries: Sequence[RunSummary], own: Sequence[OwnSuite], titles: dict[str, str]
) -> None:
    """The one button, and beside it what stands in its way or what the time will give."""
    missing = find_missing(chosen)
    st.button(
        START,
        type="primary",
        icon=":material/play_arrow:",
        disabled=bool(missing),
        key="eval_start",
        on_click=inputs.remember,
        args=("start_wanted", True),
    )
    if inputs.take("start_wanted") and not missing:  # here, not in the callback: it would hold what was typed before
        problem = start(chosen)
        if problem is None:
            st.rerun()
        st.error(escape_markdown(frame.to_sentence(problem)), icon=":material/error:")
    told = missing or "; ".join(describe_expected(chosen, summaries, own, titles))
    strangers = any(m.kind is not ModelKind.DEMO for m in chosen.models)
    if not missing and strangers and any(name in DEMO_SUITES for name in chosen.suites):
        told += ". Only the demonstration model knows its world: of other models that suite says nothing"
    st.html(f'<p class="wb-quiet">{escape(frame.to_sentence(told))}</p>')


def start(chosen: Chosen) -> str | None:
    """Put the runs into the queue; why that failed, if it did."""
    try:
        return evaluation.start(chosen.build_plans(), chosen.list_keys())
    except BadInputError as error:
        return str(error)


def find_missing(chosen: Chosen) -> str:
    """What has to be chosen before anything can start; empty when all is."""
    if not chosen.models:
        return "choose at least one model: the demonstration model needs no download"
    if not chosen.suites:
        return chosen.problem or "choose at least one suite"
    return chosen.problem


def describe_expected(
    chosen: Chosen, summaries: Sequence[RunSummary], own: Sequence[OwnSuite], titles: dict[str, str]
) -> list[str]:
    """How many runs there will be, and what they will give where earlier runs tell."""
    n = len(chosen.models)
    runs = "one run" if n == 1 else f"{n} runs, one after the other"
    if chosen.limit is not None:
        return [runs, describe_limit(chosen, own)]
    if chosen.minutes is None:
        counts = [evaluation.count_items(name, own) for name in chosen.suites]
        if any(c is None for c in counts):
            return [runs, "every item there is"]
        total = sum(c for c in counts if c is not None)
        return [runs, f"all {total:,} items, however long they take"]
    each = " each" if n > 1 else ""
    told = [f"{runs} of {chosen.minutes:g} minutes{each}"]
    found = [evaluation.expect_items(m, chosen.suites, chosen.minutes, summaries, own) for m in chosen.models]
    known = [e for e in found if e is not None]
    if not known:
        return [*told, "the first items will tell how many fit and how wide the interval will be"]
    return [*told, describe_fewest(min(known, key=lambda e: e.n_items), len(chosen.suites))]


def describe_limit(chosen: Chosen, own: Sequence[OwnSuite]) -> str:
    """What a number of items gives."""
    most = [c for name in chosen.suites if (c := evaluation.count_items(name, own)) is not None]
    n = min([chosen.limit or 1, *most])
    half = evaluation.plan_interval(n)
    return f"{n:,} items of each suite, which tell a score to about ±{100 * half:.0f} points"


def describe_fewest(expected: Expected, n_suites: int) -> str:
    """How many items a time gives and how sure they make a score."""
    each = " of each suite" if n_suites > 1 else ""
    what = "all" if expected.is_capped else "about"
    return f"by earlier runs here {what} {expected.n_items:,} items{each}, so ±{100 * expected.half_width:.0f} points"


# ---- models ----


def choose_models(summaries: Sequence[RunSummary]) -> tuple[tuple[TestedModel, ...], tuple[str, ...]]:
    """The models chosen, and the key of each one's server, empty for none."""
    wanted: tuple[str, ...] = inputs.read("models")
    paths = evaluation.list_known_paths(summaries)
    paths = tuple(dict.fromkeys((*paths, *(w.removeprefix("file:") for w in wanted if w.startswith("file:")))))
    files = {f"file:{path}": evaluation.read_file_facts(path) for path in paths}
    servers: dict[str, Endpoint] = {f"endpoint:{e.name}": e for e in evaluate_endpoint.list_endpoints(summaries)}
    words = {f"demo:{q}": f"{DEMO_NAME} at {q}" for q in DEMO_QUANTS}
    words |= {key: describe_file(facts) for key, facts in files.items() if not facts.problem}
    words |= {key: f"{e.name} (server)" for key, e in servers.items()}
    inputs.several("models", "Run", tuple(words), "Choose models", words, wrap=True)
    with st.container(horizontal=True, gap="small"):
        with st.popover("A file", icon=":material/draft:", type="tertiary"):
            add_file()
        with st.popover("A server", icon=":material/dns:", type="tertiary"):
            evaluate_endpoint.show()
    for key in wanted:
        facts = files.get(key)
        if facts is not None and facts.problem:
            st.warning(frame.to_sentence(facts.problem), icon=":material/draft:")
        elif key not in words:
            what = (
                "server is not known in this session; add it again"
                if key.startswith("endpoint:")
                else "model is not known"
            )
            st.warning(f"The {what}: {escape_markdown(key.partition(':')[2] or key)}.", icon=":material/dns:")
    models = [build_model(key, files, servers) for key in wanted if key in words]
    keys = [servers[key].key if key in servers else "" for key in wanted if key in words]
    return tuple(models), tuple(keys)


def build_model(key: str, files: dict[str, FileFacts], servers: dict[str, Endpoint]) -> TestedModel:
    """A chosen model as a plan names it; for a file this draws which catalog model it is."""
    kind, _, rest = key.partition(":")
    if kind == ModelKind.DEMO.value:
        return make_demo(rest)
    if key in servers:
        return servers[key].model
    return evaluation.build_file_model(files[key], choose_identity(files[key]))


def choose_identity(facts: FileFacts) -> str:
    """Which catalog model a file is, by its own word unless the person says otherwise; empty for none."""
    cards = {UNKNOWN_MODEL: "not in the catalog", **cached.list_choices().names}
    mark = hashlib.sha256(facts.path.encode("utf-8", "replace")).hexdigest()[:12]
    wanted: str = inputs.read("file_is").get(mark, facts.model_id)
    for model_id in (facts.model_id, wanted):
        if model_id not in cards:
            try:
                card = cached.find_card(model_id)
            except UnknownNameError as error:
                st.warning(escape_markdown(inputs.say_refusal(error, cards[facts.model_id])), icon=":material/draft:")
            else:
                cards[card.model_id] = card.spec.name
    said = "its name in the file" if facts.model_id else "the file names no model of the catalog"
    return inputs.identity(
        mark,
        f"{file_name(facts)} is",
        tuple(cards),
        facts.model_id,
        cards,
        f"So that results show on Choose and Size. Preset by {said}.",
    )


def file_name(facts: FileFacts) -> str:
    """The file's name as a label takes it."""
    name = facts.path.rsplit("/", 1)[-1]
    return escape_markdown(name if len(name) <= 48 else f"{name[:30]}…{name[-16:]}")


def describe_file(facts: FileFacts) -> str:
    """'Qwen3 14B at Q5_K_M, 9.79 GiB (qwen3-14b.gguf)'."""
    name = facts.path.rsplit("/", 1)[-1]
    return charts.roomy(f"{facts.name} at {facts.quant}, {format_bytes(facts.n_bytes)} ({name})")


def add_file() -> None:
    """A box for a path; what is wrong with it is said at once."""

    def add() -> None:
        facts = evaluation.read_file_facts(inputs.typed("eval_path"))
        inputs.remember("path_problem", facts.problem)
        if not facts.problem:
            inputs.add_value("models", f"file:{facts.path}")
            inputs.empty_box("eval_path")

    st.text_input(
        "Path of a GGUF file on this machine",
        key="eval_path",
        placeholder="/models/qwen3-14b-q5_k_m.gguf",
        on_change=add,
        max_chars=1000,
    )
    problem = inputs.recall("path_problem", "")
    if problem:
        st.warning(escape_markdown(frame.to_sentence(problem)), icon=":material/draft:")
    folder = evaluation.find_home() / evaluation.MODELS_FOLDER
    st.caption(f"Files in {escape_markdown(str(folder))} and files of earlier runs are listed by themselves.")


# ---- suites ----


def choose_suites(titles: dict[str, str]) -> tuple[tuple[str, ...], bool, str]:
    """The suites as a plan names them, whether code may be run, and what still stands in the way."""
    inputs.several("suites", "on", tuple(titles), "Choose suites", titles, wrap=True)
    with st.container(horizontal=True, gap="small"):
        with st.popover("What they measure", icon=":material/help:", type="tertiary"):
            show_measures()
        with st.popover("Standard tasks", icon=":material/public:", type="tertiary"):
            inputs.as_typed("tasks", "Tasks of lm-eval by name", "gsm8k, mmlu, ifeval, hellaswag, arc_challenge")
            st.caption("Their items are fetched from the Hugging Face Hub when the run starts; without it they fail.")
    asked = inputs.read("suites")
    unknown = [escape_markdown(shorten(name)) for name in asked if name not in titles]
    if unknown:
        st.warning(f"No suite of ours or yours is called {', '.join(unknown)}.", icon=":material/checklist:")
    chosen = tuple(name for name in asked if name in titles)
    shipped = evaluation.find_suites()
    contexts: tuple[int, ...] = inputs.read("needle")
    problem = ""
    if any(name in shipped and shipped[name].takes_context for name in chosen):
        inputs.needle_contexts()
        problem = "" if contexts else "choose a context to search"
    allow_code = False
    if any(name in shipped and shipped[name].opt_in for name in chosen):
        allow_code = inputs.agreement("allow_code", "Run the code that the model writes")
        st.caption(
            "It runs on this machine in a process of its own, without network and files, with little memory and a time "
            "limit. That keeps mistakes in; do not take it for a wall against a model that attacks."
        )
        problem = problem or (
            "" if allow_code else "the code suite runs what the model writes: agree to it, or leave it out"
        )
    tasks: tuple[str, ...] = inputs.read("tasks")
    if tasks:
        st.html(f'<p class="wb-quiet">And from the Hub: {escape(", ".join(tasks))}.</p>')
    return evaluation.name_suites(chosen, contexts, tasks), allow_code, problem


def choose_judge(
    suites: Sequence[str], own: Sequence[OwnSuite], summaries: Sequence[RunSummary]
) -> tuple[Endpoint | None, str]:
    """The server that judges answers, where a suite asks for one, or what stands in the way."""
    if not any(o.needs_judge and o.suite in suites for o in own):
        return None, ""
    servers = {e.name: e for e in evaluate_endpoint.list_endpoints(summaries)}
    if not servers:
        return None, "a chosen suite is judged by a model: add its server under A server"
    wanted = inputs.read("judge")
    name = wanted if wanted in servers else next(iter(servers))
    if wanted and wanted != name:
        told = f"The judge {escape_markdown(wanted)} is not known in this session; add its server again."
        st.warning(f"{told} Using {escape_markdown(name)} instead.", icon=":material/dns:")
    inputs.choice("judge", "Answers are judged by", tuple(servers), shown=name)
    return servers[name], ""


def find_key_conflict(models: Sequence[TestedModel], keys: Sequence[str], judge: Endpoint | None) -> str:
    """Why a judge cannot stand beside these models: a run holds one key, which goes to no server but its own."""
    for model, key in zip(models, keys, strict=True):
        if judge is not None and model.url and model.url != judge.url and (key or judge.key):
            return f"a run holds one key: {model.name} and its judge {judge.name} are different servers with a key"
    return ""


def show_measures() -> None:
    """Every suite with what it measures and what it does not."""
    rows = "".join(
        f"<tr><td><b>{escape(s.title)}</b><br>{s.n_items:,} items</td>"
        f"<td>{escape(frame.to_sentence(s.measures))}<br>"
        f'<span class="wb-quiet">Not: {escape(frame.to_sentence(s.does_not_measure))}</span></td></tr>'
        for s in evaluation.find_suites().values()
    )
    st.html(f'<div style="min-width: min(34rem, 80vw)"><table class="wb-facts">{rows}</table></div>')


# ---- time and settings ----


def choose_time() -> tuple[float | None, int | None]:
    """Minutes for each run, or items of each suite; neither means everything."""
    inputs.segments("take", "for", inputs.TAKES, inputs.TAKE_WORDS, wrap=True)
    take = inputs.read("take")
    if take == "items":
        inputs.whole("items", "Items of each suite", 1, 1_000_000, step=10)
        return None, inputs.read("items")
    return (None, None) if take == "all" else (float(take), None)


def choose_settings() -> EvalSettings:
    """How models are asked; the defaults suit nearly everyone."""
    with st.popover("How they are asked", icon=":material/tune:", type="tertiary"):
        inputs.auto_or_whole(
            "eval_context",
            "Context, tokens for each question",
            evaluate_fields.MAX_SEQUENCE_TOKENS,
            low=64,
            left="By the suites",
            step=64,
        )
        inputs.whole("eval_parallel", "Questions side by side", 1, evaluate_fields.MAX_SIDE_BY_SIDE)
        inputs.choice("eval_kv_k", "K cache", tuple(KV_TYPES))
        inputs.choice("eval_kv_v", "V cache", tuple(KV_TYPES))
        inputs.auto_or_whole(
            "eval_layers", "Layers on the accelerator", evaluate_fields.MAX_LAYERS, left="All, where there is one"
        )
        inputs.whole("eval_seed", "Seed", 0, evaluate_fields.MAX_SEED)
        inputs.switch("eval_plain", "Plain text, without the chat template")
        st.caption("Greedy answers: temperature 0. A score counts only for the settings it was made with.")
    settings = read_settings()
    if changed := describe_changes(settings):
        st.html(f'<p class="wb-quiet">Asked with {escape(", ".join(changed))}.</p>')
    return settings


def read_settings() -> EvalSettings:
    """How models are asked, as the address has it."""
    return EvalSettings(
        context_tokens=inputs.read("eval_context"),
        n_parallel=inputs.read("eval_parallel"),
        kv_type_k=inputs.read("eval_kv_k"),
        kv_type_v=inputs.read("eval_kv_v"),
        n_gpu_layers=inputs.read("eval_layers"),
        seed=inputs.read("eval_seed"),
        template="none" if inputs.read("eval_plain") == "on" else "auto",
    )


def describe_changes(settings: EvalSettings) -> list[str]:
    """Where the settings are not the usual ones: a link may bring them, and they stand folded."""
    usual = EvalSettings()
    told = {
        "context_tokens": f"{settings.context_tokens or 0:,} tokens of context",
        "n_parallel": f"{settings.n_parallel} side by side",
        "kv_type_k": f"K cache {settings.kv_type_k}",
        "kv_type_v": f"V cache {settings.kv_type_v}",
        "n_gpu_layers": f"{settings.n_gpu_layers} layers on the accelerator",
        "seed": f"seed {settings.seed}",
        "template": "plain text",
    }
    return [words for name, words in told.items() if getattr(settings, name) != getattr(usual, name)]
