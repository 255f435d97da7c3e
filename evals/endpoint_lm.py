"""An lm-eval model over a model server: the same suites, run on the cluster that serves.

Requests go out `concurrency` at a time from daemon threads; answers are told to the `listener` as they come, from the
thread that called, and returned in the order asked. Whatever ends the call (a request that fails for good, a listener
that raises, Ctrl-C) lets no further request begin; those on their way are not waited for.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from evals.answers import Listener, Usage
from evals.endpoint import EndpointClient, EndpointPlan, Message, Reply, Scored
from evals.endpoint_address import Secret
from sizing.errors import BadInputError, UnsupportedError

MESSAGES_KEY = "weighbridge_messages"
"""The one key of the JSON object that carries a chat through lm-eval, which hands prompts on as text."""

LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_completion_tokens", "max_tokens")

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Generation:
    """How one answer is generated, read from a task's `generation_kwargs`. None: what the plan says."""

    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float | None = None


class EndpointLM(LM):  # type: ignore[misc]
    """`EndpointClient` as lm-eval wants it. Close it, or use it in a `with`.

    Log-likelihoods need `api` "completion" and a server that gives them (UnsupportedError otherwise, before the first
    is told). Token counts a server does not give are 0 in `Usage`.
    """

    def __init__(self, plan: EndpointPlan, key: Secret | None = None, *, client: EndpointClient | None = None) -> None:
        super().__init__()
        self.client = client or EndpointClient(plan, key)
        self.plan = self.client.plan
        self.listener: Listener | None = None

    def __enter__(self) -> EndpointLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Begin no further request and close the connections."""
        self.client.close()

    @property
    def tokenizer_name(self) -> str:
        """The model's name at its server, under which lm-eval keeps answers apart."""
        return f"endpoint/{self.plan.api}/{self.client.find_model()}"

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What lm-eval records as the template: the server applies its own."""
        return "applied by the server" if self.plan.api == "chat" and chat_template else ""

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """The turns of a chat as JSON text that `generate_until` reads back, so that turns stay turns.

        UnsupportedError under `api` "completion", where no template is known.
        """
        if self.plan.api != "chat":
            raise UnsupportedError("api 'completion' knows no chat template; leave templates off or choose api 'chat'")
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in chat_history]
        return json.dumps({MESSAGES_KEY: turns}, ensure_ascii=False)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The generated texts, in the order asked. EndpointError of the first request that failed for good."""
        asked = [(decode_prompt(r.args[0]), read_generation(r.args[1])) for r in requests]

        def ask(pair: tuple[str | list[Message], Generation]) -> Reply:
            prompt, how = pair
            return self.client.complete(
                prompt, max_tokens=how.max_tokens, stop=how.stop, temperature=how.temperature, top_p=how.top_p
            )

        def tell(index: int, reply: Reply) -> str:
            finish = "length" if reply.finish == "length" else "stop"
            counts = reply.n_prompt_tokens or 0, reply.n_output_tokens or 0
            self._tell("generate_until", requests[index], index, reply.text, Usage(*counts, reply.seconds, finish))
            return reply.text

        return run_all(asked, ask, tell, self.plan.concurrency)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood, greedy) of each (prompt, continuation), in the order asked.

        Raises UnsupportedError for a chat endpoint.
        """
        if requests and self.plan.api != "completion":
            raise UnsupportedError("log-likelihoods need api 'completion': a chat endpoint gives none of its prompt")

        def tell(index: int, scored: Scored) -> tuple[float, bool]:
            answer = (scored.log_likelihood, scored.is_greedy)
            self._tell("loglikelihood", requests[index], index, answer, find_scored_usage(scored))
            return answer

        return run_all([r.args for r in requests], lambda a: self.client.score(*a), tell, self.plan.concurrency)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The log-likelihood of each whole text, which must fit the server's context: it is not cut.

        Where a server puts no token before a text, that text's first token is left out.
        """

        def tell(index: int, scored: Scored) -> float:
            self._tell(
                "loglikelihood_rolling",
                requests[index],
                index,
                scored.log_likelihood,
                find_scored_usage(scored),
            )
            return scored.log_likelihood

        return run_all([r.args[0] for r in requests], self.client.score_text, tell, self.plan.concurrency)

    def _tell(self, kind: str, request: Instance, index: int, answer: Any, usage: Usage) -> None:
        if self.listener is not None:
            self.listener(index, answer, usage)
        self.cache_hook.add_partial(kind, request.args, answer)


def find_scored_usage(scored: Scored) -> Usage:
    """What a scored request took."""
    return Usage(scored.n_prompt_tokens, scored.n_scored_tokens, scored.seconds, "scored")


def run_all(asked: Sequence[A], ask: Callable[[A], T], tell: Callable[[int, T], Any], n_threads: int) -> list[Any]:
    """`tell(index, ask(item))` for every item, asked by `n_threads` at once, told one by one in the order finished.

    The list of what `tell` returned, in the order of `asked`. The first exception of either ends it.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    over = threading.Event()
    for index in range(len(asked)):
        waiting.put(index)

    def work() -> None:
        while not over.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((index, ask(asked[index]), None))
            except BaseException as error:  # handed to the caller's thread, which raises it
                finished.put((index, None, error))

    told: dict[int, Any] = {}
    for _ in range(min(n_threads, len(asked))):
        threading.Thread(target=work, daemon=True, name="endpoint-request").start()
    try:
        while len(told) < len(asked):
            index, answer, error = finished.get()
            if error is not None:
                raise error
            told[index] = tell(index, answer)  # type: ignore[arg-type]
    finally:
        over.set()
    return [told[index] for index in range(len(asked))]


def decode_prompt(text: str) -> str | list[Message]:
    """The turns that `apply_chat_template` wrote, or the text itself when it is anything else, other JSON included."""
    if not text.startswith('{"' + MESSAGES_KEY):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return text
    turns = found.get(MESSAGES_KEY) if len(found) == 1 else None
    return turns if isinstance(turns, list) else text


def read_generation(kwargs: Mapping[str, Any]) -> Generation:
    """A task's `generation_kwargs`. BadInputError for values that are no stops, lengths or temperatures.

    Without `do_sample`, or with it false, the temperature is 0.
    """
    until = kwargs.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    length = next((kwargs[name] for name in LENGTH_NAMES if kwargs.get(name) is not None), None)
    temperature = kwargs.get("temperature")
    if kwargs.get("do_sample") is False or temperature is None:
        temperature = 0.0
    try:
        return Generation(
            tuple(str(stop) for stop in stops if stop),
            None if length is None else max(int(length), 1),
            float(temperature),
            None if kwargs.get("top_p") is None else float(kwargs["top_p"]),
        )
    except (TypeError, ValueError):
        raise BadInputError(
            f"generation_kwargs hold a length or temperature that is no number: {dict(kwargs)!r}"
        ) from None
