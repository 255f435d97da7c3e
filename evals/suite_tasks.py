"""A suite as a run asks it: an lm-eval task, its items in a seeded order, its requests, and its score of each item.

Ours and a person's own suites, and the standard tasks that lm-eval names, are asked alike. Only a worker imports
lm-eval, so everything here does so when it is called.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.plans import EvalSettings
from evals.run_files import SuiteChosen
from sizing.errors import BadInputError, UnsupportedError

PREFERRED_METRICS = (
    "score",
    "exact_match",
    "pass@1",
    "acc_norm",
    "acc",
    "prompt_level_strict_acc",
    "mcc",
    "f1",
    "bits_per_byte",
)
"""Which of a task's metrics is its score, the first it has; the others are kept beside it."""

PREFERRED_FILTERS = ("flexible-extract", "none")
LOWER_IS_BETTER = frozenset({"bits_per_byte"})
PROMPT_CHARACTERS = 6_000
OUTPUT_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Scored:
    """What one item came to: its score (None where it has none), all metrics, and why it is not full."""

    score: float | None
    metrics: Mapping[str, Any]
    why: str


Judge = Callable[[Mapping[str, Any], str], Scored]
"""Scores an item with a model-as-judge: the item, and what was answered."""


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task of a run. `order` lists its items' places in the order in which they are asked.

    `docs` are the task's own items, taken from it once: lm-eval makes them anew for everyone who asks, and a task may
    shuffle as it makes them. `is_ours` for suites whose items have our own flat shape; `metric` is what the score is.
    """

    name: str
    title: str
    version: str
    task: Any
    docs: Any
    order: tuple[int, ...]
    chance: float
    metric: str
    is_ours: bool
    fewshot_seed: int

    @property
    def is_higher_better(self) -> bool:
        """Which way the score counts."""
        return self.metric not in LOWER_IS_BETTER

    def choose(self, n_planned: int, why: str) -> SuiteChosen:
        """How many items a run takes, for its file."""
        return SuiteChosen(
            self.name,
            self.title,
            self.version,
            len(self.order),
            n_planned,
            self.chance,
            self.metric,
            self.is_higher_better,
            why,
        )

    def find_doc(self, place: int) -> Mapping[str, Any]:
        """The item at a place of the task's own list."""
        doc: Mapping[str, Any] = self.docs[place]
        return doc

    def find_id(self, place: int) -> str:
        """What an item is called: its own id in our suites, else its place in the task's list."""
        return str(self.find_doc(place)["id"]) if self.is_ours else str(place)

    def build_requests(self, place: int, model: Any, settings: EvalSettings) -> list[Any]:
        """The requests of one item, in lm-eval's `Instance`s.

        The examples before a question are the same for every item: they are drawn anew from one seed, so an item's
        prompt does not depend on the others asked, and the model computes them once.
        """
        task, doc = self.task, self.find_doc(place)
        templated = uses_template(task.OUTPUT_TYPE, self.is_ours, model, settings)
        template = model.apply_chat_template if templated else None
        task.set_fewshot_seed(self.fewshot_seed)
        prompt = task.fewshot_context(
            doc,
            num_fewshot=task.config.num_fewshot or 0,
            system_instruction=None,
            apply_chat_template=templated,
            fewshot_as_multiturn=templated,
            chat_template=template,
            gen_prefix=task.doc_to_prefix(doc),
        )
        built = task.construct_requests(
            doc=doc,
            ctx=prompt,
            metadata=(self.name, place, task.config.repeats),
            apply_chat_template=templated,
            chat_template=template,
        )
        requests = built if isinstance(built, list) else [built]
        for request in requests:
            if request.request_type == "generate_until":
                text, asked = request.args
                most = getattr(model, "max_length", None)
                limits = limit_generation(asked, doc if self.is_ours else {}, settings, most)
                request.arguments = (text, limits)
        return [request for request in requests for _ in range(request.repeats or 1)]

    def score(self, place: int, requests: Sequence[Any], judge: Judge | None = None) -> Scored:
        """The score of an item whose requests have all been answered (`resps` filled)."""
        doc = self.find_doc(place)
        distinct = sorted({id(r): r for r in requests}.values(), key=lambda r: r.idx)
        if self.is_ours and self.task.OUTPUT_TYPE == "generate_until":
            return score_own(doc, str(distinct[0].resps[0]), judge)
        metrics: dict[str, Any] = {}
        for ensemble in self.task._filters:
            ensemble.apply(distinct)
            answers = [r.filtered_resps[ensemble.name] for r in distinct]
            suffix = "" if ensemble.name == "none" else f",{ensemble.name}"
            metrics |= {f"{name}{suffix}": value for name, value in self.task.process_results(doc, answers).items()}
        name = choose_metric(metrics)
        value = read_score(name, metrics.get(name))
        why = "" if value is None or value >= 1 or name in LOWER_IS_BETTER else f"{name} is {value:g}"
        return Scored(value, {k: plain_metric(v) for k, v in metrics.items()}, why)

    def tell_answer(self, place: int, requests: Sequence[Any]) -> tuple[str, str, str]:
        """Prompt, answer and what was expected, as text to read; shortened in the middle where they are long."""
        doc = self.find_doc(place)
        first = requests[0]
        expected = self.tell_expected(doc)
        if first.request_type == "generate_until":
            output = str(first.resps[0])
        elif first.request_type == "loglikelihood_rolling":
            output, expected = f"log-likelihood {float(first.resps[0]):.2f}", ""
        else:
            # where the choices stand in the question they differ there, and the continuation is one for all
            differs = 0 if getattr(self.task, "multiple_input", 0) else 1
            in_order = sorted(requests, key=lambda r: r.idx)
            told = [f"{r.resps[0][0]:9.3f}  {str(r.args[differs]).strip()}" for r in in_order]
            output = "\n".join(("log-likelihood, choice", *told))
        return (
            shorten(str(first.args[0]), PROMPT_CHARACTERS),
            shorten(output, OUTPUT_CHARACTERS),
            shorten(expected, PROMPT_CHARACTERS),
        )

    def tell_expected(self, doc: Mapping[str, Any]) -> str:
        """The right answer of an item as text; empty where there is no single one."""
        if isinstance(self.task.config.doc_to_target, int) and self.task.config.doc_to_choice is None:
            return ""  # a stand-in where a program checks the answer, as in ifeval
        in_question = getattr(self.task, "multiple_input", 0)
        target = self.task.doc_to_text(doc) if in_question else self.task.doc_to_target(doc)
        if isinstance(target, int) and self.task.config.doc_to_choice is not None:
            choices = self.task.doc_to_choice(doc)
            return str(choices[target]) if 0 <= target < len(choices) else str(target)
        return tell_own_expected(doc) if self.is_ours else str(target)


def uses_template(output_type: str, is_ours: bool, model: Any, settings: EvalSettings) -> bool:
    """Whether an item is put into the model's chat template.

    Our suites are asked as a person would ask; standard tasks too where the model writes an answer, while those scored
    by log-likelihood are given as plain text, as their published figures mostly are.
    """
    if settings.template == "none" or not model.chat_template(True):
        return False
    return is_ours or output_type == "generate_until"


def limit_generation(
    asked: Mapping[str, Any], doc: Mapping[str, Any], settings: EvalSettings, max_length: int | None
) -> dict[str, Any]:
    """A request's generation arguments with the item's own limit of tokens and the run's settings put in.

    An answer is given at most half of the tokens a sequence has (`max_length`), so that the prompt keeps the other.
    """
    limits = dict(asked)
    most = settings.max_output_tokens or doc.get("max_tokens") or limits.get("max_gen_toks")
    if most is not None:
        limits["max_gen_toks"] = min(int(most), max_length // 2) if max_length else int(most)
    if settings.temperature > 0:
        limits |= {"do_sample": True, "temperature": settings.temperature}
    else:
        limits |= {"do_sample": False, "temperature": 0.0}
    return limits


def score_own(doc: Mapping[str, Any], output: str, judge: Judge | None) -> Scored:
    """The score of an item of ours by its own scorer."""
    from evals.scoring import judge as judge_by_rule

    if doc["scorer"] == "judge":
        if judge is None:
            return Scored(None, {}, "no judge was named, and this item wants one")
        return judge(doc, output)
    verdict = judge_by_rule(doc["scorer"], doc["expected"], output, doc["prompt"])
    return Scored(verdict.score, {"score": verdict.score}, verdict.why)


def choose_metric(metrics: Mapping[str, Any]) -> str:
    """The metric that is the score: by preference of name, then of filter. Empty where there is none."""
    for wanted in PREFERRED_METRICS:
        named = [name for name in metrics if name.split(",")[0] == wanted and not isinstance(metrics[name], str)]
        if named:
            return min(named, key=lambda name: rank_filter(name.partition(",")[2] or "none"))
    return next(iter(metrics), "")


def rank_filter(name: str) -> int:
    """How much a filter is preferred, 0 most."""
    return PREFERRED_FILTERS.index(name) if name in PREFERRED_FILTERS else len(PREFERRED_FILTERS)


def read_score(name: str, value: Any) -> float | None:
    """One item's score from its metric; bits per byte from a log-likelihood and a count. None where it is no number."""
    if name == "bits_per_byte" and isinstance(value, tuple):
        nats, n_bytes = value
        return -float(nats) / (float(n_bytes) * math.log(2)) if n_bytes else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def plain_metric(value: Any) -> Any:
    """A metric as JSON keeps it."""
    if isinstance(value, tuple):
        return [plain_metric(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def shorten(text: str, n_characters: int) -> str:
    """The text, its middle left out where it is longer than allowed."""
    if len(text) <= n_characters:
        return text
    half = n_characters // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"


def shuffle_places(name: str, n_items: int, seed: int) -> tuple[int, ...]:
    """The order in which a suite's items are asked: the same for everybody with this seed, whatever is asked beside."""
    places = list(range(n_items))
    random.Random(f"{seed}:{name}").shuffle(places)
    return tuple(places)


def wrap_own(name: str, title: str, version: str, chance: float, task: Any, seed: int) -> SuiteTask:
    """A suite of ours, or of a person's own data, as a run asks it."""
    docs = task.eval_docs
    order = shuffle_places(name, len(docs), seed)
    return SuiteTask(name, title, version, task, docs, order, chance, "score", True, seed)


def wrap_standard(name: str, task: Any, seed: int) -> SuiteTask:
    """One of lm-eval's own tasks as a run asks it. Raises UnsupportedError for what this app does not run."""
    if getattr(task, "MULTIMODAL", False):
        raise UnsupportedError(f"{name} wants images or sound, which are not evaluated here")
    if getattr(task, "UNSAFE_CODE", False):
        raise UnsupportedError(f"{name} runs a model's code outside a sandbox; the suite 'code' runs it inside one")
    metric = choose_metric({f"{m},{f.name}": 0 for f in task._filters for m in task.aggregation()})
    docs = task.eval_docs
    return SuiteTask(
        name,
        str(getattr(task.config, "task_alias", None) or name),
        f"lm-eval {task.VERSION}",
        task,
        docs,
        shuffle_places(name, len(docs), seed),
        find_chance(task, docs),
        metric.split(",")[0],
        False,
        seed,
    )


def find_chance(task: Any, docs: Any) -> float:
    """What a guess scores: one over the number of choices, of the first items; 0 where an answer is written."""
    if task.OUTPUT_TYPE != "multiple_choice" or task.config.doc_to_choice is None:
        return 0.0
    counts = [len(task.doc_to_choice(docs[i])) for i in range(min(len(docs), 50))]
    return sum(1 / n for n in counts if n) / len(counts) if counts else 0.0


def parse_expected(doc: Mapping[str, Any]) -> Any:
    """What an item of ours expects, as a value. Raises BadInputError for text that is no JSON."""
    try:
        return json.loads(doc["expected"])
    except ValueError as error:
        raise BadInputError(f"item {doc.get('id')!r}: expected is no JSON ({error})") from error


def tell_own_expected(doc: Mapping[str, Any]) -> str:
    """What an item of ours expects, as a person reads it; its JSON where it holds more than one simple thing."""
    wanted = parse_expected(doc)
    if not isinstance(wanted, dict):
        return str(wanted)
    if "answers" in wanted:
        return " or ".join(str(answer) for answer in wanted["answers"])
    if "letter" in wanted:
        return str(wanted["letter"])
    if isinstance(wanted.get("value"), int | float | str):
        return str(wanted["value"])
    return str(doc["expected"])
