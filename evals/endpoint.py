"""A model behind an OpenAI-compatible server (llama-server, Ollama, vLLM, TGI, LM Studio, SGLang): asked and scored.

`EndpointClient` is the whole of it: `probe()` says who is there, `complete()` has text generated, `score()` has a given
continuation weighed where the server can. The key is a `Secret` beside the plan, never in it: plans are stored.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evals.endpoint_address import Secret, check_endpoint_url, read_key
from evals.endpoint_http import HttpDoor
from sizing.errors import BadInputError, EndpointError, find_near_names

__all__ = [
    "EndpointClient",
    "EndpointFacts",
    "EndpointPlan",
    "Reply",
    "Scored",
    "Secret",
    "check_endpoint_url",
    "read_key",
]

APIS = ("chat", "completion")

SHORT_TIMEOUT_S = 10.0
"""Seconds given to questions that take no model: which models there are, which server this is."""

Message = dict[str, str]
"""One turn of a chat: `role` ("system", "user" or "assistant") and `content`."""


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """Which model at which server, and how it is asked. Holds no key.

    `url` is the server's base, with or without "/v1". `model` is its name there; "" means the only one listed. `api`
    "chat" sends messages and the server applies the model's template, "completion" sends plain text. `concurrency` is
    how many requests are on their way at once (1 to 256), `timeout_s` the seconds one may take, `n_retries` how often
    one is repeated, `max_output_tokens` how much is generated where a task sets no limit.
    """

    url: str
    model: str = ""
    api: str = "chat"
    concurrency: int = 4
    timeout_s: float = 120.0
    n_retries: int = 4
    seed: int = 1234
    max_output_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.api not in APIS:
            raise BadInputError(f"api is one of {', '.join(APIS)}, got {self.api!r}")
        for name, low, high in (
            ("concurrency", 1, 256),
            ("timeout_s", 0.01, 86_400),
            ("n_retries", 0, 20),
            ("max_output_tokens", 1, 1_000_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BadInputError(f"{name} is {low} to {high}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model generated.

    `finish` is "stop", "length", or the server's own word for another end ("content_filter"). `reasoning` holds the
    thoughts a reasoning server sends apart from the answer. Token counts are None where the server gives none.
    `seconds` is from the request to its answer, pauses between tries left out.
    """

    text: str
    finish: str
    n_prompt_tokens: int | None
    n_output_tokens: int | None
    seconds: float
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """The log-likelihood (natural logarithm) of a continuation, and whether greedy decoding would have given it."""

    log_likelihood: float
    is_greedy: bool
    n_prompt_tokens: int
    n_scored_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Who answers: `kind` ("llama-server", "ollama", "vllm", "tgi", "lm-studio", "sglang", "llama_cpp.server",
    "llama-swap" or "unknown"), its `models`, the one the plan means ("" while it is open), `context_tokens` per request
    where the server tells, and its own version text ("" if untold)."""

    api_url: str
    kind: str
    models: tuple[str, ...]
    model: str
    context_tokens: int | None
    engine_version: str


class EndpointClient:
    """One server, asked by any number of threads. Close it, or use it in a `with`.

    `key` None reads the environment (`read_key`). BadInputError for an address that may not be asked.
    `wait(seconds)`, `chance()` (0 to 1) and `now()` replace sleeping, jitter and the clock in tests.
    """

    def __init__(
        self,
        plan: EndpointPlan,
        key: Secret | None = None,
        *,
        wait: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.plan = plan
        secret = read_key() if key is None else key
        self.door = HttpDoor(
            plan.url, secret, n_connections=max(plan.concurrency, 2), wait=wait, chance=chance, now=now
        )
        self._lock = threading.Lock()
        self._model = plan.model
        self._scoring_lock = threading.Lock()
        self._scoring_checked = False
        self.listed_counts: dict[str, int] = {}  # of prompts scored before, kept by endpoint_score

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Begin no further request and close the connections."""
        self.door.close()

    def stop(self) -> None:
        """Begin no further request; requests on their way run out by themselves."""
        self.door.stop()

    def list_models(self, n_retries: int = 0) -> tuple[str, ...]:
        """The names the server lists, in its order. EndpointError where it lists none as the API says."""
        body = self.door.ask("GET", "/models", timeout_s=self._short_timeout_s, n_retries=n_retries).body
        listed = body.get("data", body.get("models")) if isinstance(body, dict) else body
        if not isinstance(listed, list):
            raise EndpointError(
                "shape", f"{self.door.api_url}/models lists no models; is it an OpenAI-compatible server?"
            )
        names = [entry.get("id") or entry.get("name") for entry in listed if isinstance(entry, dict)]
        return tuple(dict.fromkeys(self.door.redact_answer(name) for name in names if isinstance(name, str)))

    def find_model(self) -> str:
        """The name sent with requests: the plan's, else the only one the server lists (asked once).

        EndpointError "model" where it lists several, or none.
        """
        with self._lock:
            if not self._model:
                self._model = pick_model("", self.list_models(self.plan.n_retries))
            return self._model

    def probe(self) -> EndpointFacts:
        """Who answers and what it serves, asked without retries. EndpointError says what is wrong and what to do."""
        from evals.endpoint_probe import find_facts

        return find_facts(self)

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Reply:
        """What the model makes of a prompt: text, or the turns of a chat.

        A text under `api` "chat" is one user message. Turns under "completion" are a BadInputError, for no template is
        known here. The answer ends before the first of `stop`, also where a server ignores it. `seed` None is the
        plan's. EndpointError when all tries failed, with the names nearest to an unknown model.
        """
        payload: dict[str, Any] = {
            "model": self.find_model(),
            "max_tokens": max_tokens or self.plan.max_output_tokens,
            "temperature": temperature,
            "seed": self.plan.seed if seed is None else seed,
            "stream": False,
        }
        stops = [text for text in stop if text]
        payload |= ({"stop": stops} if stops else {}) | ({} if top_p is None else {"top_p": top_p})
        if self.plan.api == "chat":
            payload["messages"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            answer = self.ask("/chat/completions", payload)
        elif isinstance(prompt, str):
            answer = self.ask("/completions", payload | {"prompt": prompt})
        else:
            raise BadInputError("api 'completion' sends plain text, got the turns of a chat; choose api 'chat'")
        return self._read_reply(answer.body, answer.seconds, stops)

    def score(self, prompt: str, continuation: str) -> Scored:
        """The log-likelihood of `continuation` after `prompt`, by an echoed completion.

        UnsupportedError where the server gives no log-likelihoods of a prompt, or wrong ones (see
        `endpoint_score.check_scoring`, which asks it first).
        """
        from evals.endpoint_score import score

        self._check_scoring()
        return score(self, prompt, continuation)

    def score_text(self, text: str) -> Scored:
        """The log-likelihood of a whole text, as `endpoint_score.score_text` says. UnsupportedError as in `score`."""
        from evals.endpoint_score import score_text

        self._check_scoring()
        return score_text(self, text)

    def _check_scoring(self) -> None:
        """Once for each client; threads that come meanwhile wait for the verdict."""
        from evals.endpoint_score import check_scoring

        model = self.find_model()  # takes the other lock
        with self._scoring_lock:
            if not self._scoring_checked and model:
                check_scoring(self)
                self._scoring_checked = True

    def ask(self, path: str, payload: dict[str, Any]) -> Any:
        """One POST with this plan's time and tries; an unknown model's error names the near ones.

        Raises EndpointError.
        """
        plan = self.plan
        try:
            return self.door.ask("POST", path, payload, timeout_s=plan.timeout_s, n_retries=plan.n_retries)
        except EndpointError as error:
            failure = error
        if failure.kind == "model":
            raise EndpointError("model", f"{failure}{self._name_near_models()}", failure.status, failure.n_tries)
        raise failure

    def _name_near_models(self) -> str:
        try:
            listed = self.list_models()
        except EndpointError:
            return ""
        near = find_near_names(self.find_model(), listed) or listed[:4]
        return f"; it lists {', '.join(near)}" if near else ""

    @property
    def _short_timeout_s(self) -> float:
        return min(self.plan.timeout_s, SHORT_TIMEOUT_S)

    def _read_reply(self, body: Any, seconds: float, stops: Sequence[str]) -> Reply:
        choice = find_choice(body)
        message = choice.get("message")
        source = message if isinstance(message, dict) else choice
        text = join_content(source.get("content") if source is message else source.get("text"))
        reasoning = join_content(source.get("reasoning_content") or source.get("reasoning"))
        finish = str(choice.get("finish_reason") or "stop")
        finish = {"eos_token": "stop", "stop_sequence": "stop", "max_tokens": "length"}.get(finish, finish)
        cut = min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=-1)
        if cut >= 0:
            text, finish = text[:cut], "stop"
        usage = body.get("usage")
        return Reply(
            self.door.redact_answer(text),
            self.door.redact(finish),
            find_count(usage, "prompt_tokens"),
            find_count(usage, "completion_tokens"),
            seconds,
            self.door.redact_answer(reasoning),
        )


def find_choice(body: Any) -> dict[str, Any]:
    """The first answer in a completion's JSON. EndpointError "shape" where there is none."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise EndpointError("shape", "the server's answer holds no choices; is it an OpenAI-compatible server?")
    return choices[0]


def find_count(usage: Any, name: str) -> int | None:
    """A token count of an answer's `usage`, None where it is not given or no count."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def join_content(content: Any) -> str:
    """A message's text: a string, or the text parts of a list of parts; "" for none (a call of a tool, a refusal)."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""


def pick_model(wanted: str, listed: Sequence[str]) -> str:
    """The model meant by `wanted` among the listed ones: itself, "name:latest" of Ollama, or the only one for "".

    EndpointError "model" otherwise, naming near ones.
    """
    if wanted in listed or (wanted and not listed):
        return wanted
    if f"{wanted}:latest" in listed:
        return f"{wanted}:latest"
    if not wanted and len(listed) == 1:
        return listed[0]
    if not wanted:
        names = ", ".join(listed[:8]) or "none"
        raise EndpointError("model", f"the server lists {len(listed)} models ({names}); say which one is meant")
    near = find_near_names(wanted, listed) or tuple(listed[:4])
    raise EndpointError("model", f"the server does not list the model {wanted!r}; it lists {', '.join(near)}")
