"""lm-eval over a model server: order, concurrency, a clean end, turns that stay turns, lm-eval's own borders."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from evals.answers import Usage
from evals.endpoint import EndpointClient, EndpointPlan, Secret
from evals.endpoint_lm import EndpointLM, Generation, decode_prompt, read_generation
from sizing.errors import BadInputError, EndpointError, UnsupportedError
from tests.evals.model_server import (
    BEGINNING,
    Handler,
    ModelServer,
    answer_well,
    cut_words,
    fail,
    find_log_probability,
    list_log_probabilities,
    stall,
)
from tests.evals.test_endpoint import make_pairs


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        running.answer = lambda payload: (
            f"re: {(payload.get('messages') or [{}])[-1].get('content', payload.get('prompt'))}"
        )
        yield running


def open_lm(server: ModelServer, **plan: Any) -> EndpointLM:
    given = EndpointPlan(server.url, model="toy-1", **plan)
    return EndpointLM(given, client=EndpointClient(given, Secret(), wait=lambda s: None))


def ask(kind: str, *args: Any) -> Instance:
    return Instance(kind, {}, args, 0)


def list_requests(n_requests: int) -> list[Instance]:
    return [ask("generate_until", f"question {i}", {"until": ["\n"]}) for i in range(n_requests)]


def test_answers_keep_the_order_asked_though_they_finish_in_another(server: ModelServer) -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(handler: Handler) -> None:  # the first asked is the last to answer
        together.wait()
        time.sleep(0.05 if handler.payload["messages"][0]["content"] == "question 0" else 0)
        answer_well(handler)

    server.script = [meet] * 4
    told: list[tuple[int, str]] = []
    threads = set()
    lm = open_lm(server, concurrency=4)

    def listen(index: int, answer: Any, usage: Usage) -> None:
        told.append((index, answer))
        threads.add(threading.get_ident())
        assert (usage.n_prompt_tokens, usage.finish) == (7, "stop")
        assert usage.n_output_tokens == 3
        assert usage.seconds > 0

    lm.listener = listen
    answers = lm.generate_until(list_requests(12))
    assert answers == [f"re: question {i}" for i in range(12)]
    assert sorted(told) == list(enumerate(answers))
    assert told[0][0] != 0
    assert threads == {threading.get_ident()}
    assert server.most_at_once == 4


def test_one_at_a_time_is_one_at_a_time(server: ModelServer) -> None:
    server.script = [stall(0.01)] * 5
    open_lm(server, concurrency=1).generate_until(list_requests(5))
    assert server.most_at_once == 1


def test_a_listener_that_raises_ends_the_call_and_no_further_request_begins(server: ModelServer) -> None:
    lm = open_lm(server, concurrency=3)
    server.script = [stall(0.02)] * 50

    def listen(index: int, answer: Any, usage: Usage) -> None:
        raise InterruptedError("enough")

    lm.listener = listen
    with pytest.raises(InterruptedError):
        lm.generate_until(list_requests(50))
    deadline = time.monotonic() + 5
    while any(t.name == "endpoint-request" and t.is_alive() for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(server.posts()) <= 1 + 2 * 3  # one told, and at most two more begun by each thread meanwhile


def test_a_request_that_fails_for_good_ends_the_run_after_what_was_told(server: ModelServer) -> None:
    lm = open_lm(server, concurrency=1, n_retries=1)
    server.script = [answer_well, answer_well, fail(500), fail(500)]
    told: list[int] = []
    lm.listener = lambda index, answer, usage: told.append(index)
    with pytest.raises(EndpointError, match="500.*2 tries"):
        lm.generate_until(list_requests(9))
    assert told == [0, 1]


def test_no_requests_are_no_answers(server: ModelServer) -> None:
    lm = open_lm(server)
    assert lm.generate_until([]) == lm.loglikelihood([]) == []


def test_an_answer_cut_by_its_limit_says_so(server: ModelServer) -> None:
    server.script = [lambda h: h.send(200, {"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]})]
    lm, seen = open_lm(server), []
    lm.listener = lambda index, answer, usage: seen.append(usage)
    lm.generate_until(list_requests(1))
    assert (seen[0].finish, seen[0].n_prompt_tokens) == ("length", 0)


# chat ----------------------------------------------------------------------------------------------------------------


def test_turns_stay_turns_through_lm_eval(server: ModelServer) -> None:
    """The evaluator itself writes system text and few-shot turns; the server gets them as messages."""
    docs = [{"q": f"what is {i} and {i}?", "a": str(2 * i)} for i in range(4)]
    task = {
        "task": "sums",
        "custom_dataset": lambda **_: {"test": Dataset.from_list(docs[:2]), "train": Dataset.from_list(docs[2:])},
        "output_type": "generate_until",
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "num_fewshot": 1,
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 11, "temperature": 0},
        "metric_list": [{"metric": "exact_match"}],
    }
    server.answer = lambda payload: str(2 * int(payload["messages"][-1]["content"].split()[2]))
    lm = open_lm(server)
    found = simple_evaluate(
        model=lm,
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        system_instruction="be exact",
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
    )
    assert found["results"]["sums"]["exact_match,none"] == 1.0
    messages = [payload["messages"] for payload in server.posts()]
    assert [[turn["role"] for turn in turns] for turns in messages] == [["system", "user", "assistant", "user"]] * 2
    assert [turn["content"] for turn in messages[0]][:3] == ["be exact", "what is 2 and 2?", "4"]
    assert all(payload["max_tokens"] == 11 and payload["stop"] == ["\n"] for payload in server.posts())


@pytest.mark.parametrize(
    "text", ['[{"role": "user", "content": "x"}]', '{"a": 1}', "plain", '{"weighbridge_messages": x', ""]
)
def test_a_prompt_that_looks_like_json_stays_text(text: str) -> None:
    assert decode_prompt(text) == text


def test_the_template_reads_back(server: ModelServer) -> None:
    turns = [{"role": "system", "content": 'é\n"quoted"'}, {"role": "user", "content": "?"}]
    lm = open_lm(server)
    assert decode_prompt(lm.apply_chat_template(turns)) == turns
    assert lm.tokenizer_name == "endpoint/chat/toy-1"
    assert lm.chat_template(True) != lm.chat_template(False) == ""
    with pytest.raises(UnsupportedError, match="chat"):
        open_lm(server, api="completion").apply_chat_template(turns)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, Generation()),
        ({"until": "END", "max_tokens": 5}, Generation(("END",), 5)),
        ({"until": ["a", ""], "max_gen_toks": "7", "temperature": 0.5, "top_p": 0.9}, Generation(("a",), 7, 0.5, 0.9)),
        ({"temperature": 0.8, "do_sample": False}, Generation()),
        ({"until": None, "do_sample": True, "temperature": 1}, Generation((), None, 1.0)),
    ],
)
def test_generation_settings_are_read(kwargs: dict[str, Any], expected: Generation) -> None:
    assert read_generation(kwargs) == expected


def test_generation_settings_without_sense_are_refused() -> None:
    with pytest.raises(BadInputError):
        read_generation({"max_gen_toks": "many"})


# log-likelihoods -----------------------------------------------------------------------------------------------------


class ToyLM(TemplateLM):
    """The toy model in process, cut into context and continuation by lm-eval itself."""

    def __init__(self) -> None:
        super().__init__()
        self.words = [BEGINNING]

    @property
    def eot_token_id(self) -> int:
        return 0

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        for word in cut_words(string):
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in cut_words(string)]

    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        found = []
        for _, context, continuation in requests:
            words = [self.words[i] for i in [0, *context, *continuation]]
            pairs = list(pairwise(words))[-len(continuation) :]
            found.append((sum(find_log_probability(a, b) for a, b in pairs), False))
        return found

    def loglikelihood_rolling(self, requests: Any) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: Any) -> list[str]:
        raise NotImplementedError


@pytest.mark.parametrize("style", ["listed", "hidden", "none"])
def test_log_likelihoods_are_those_of_lm_eval_in_process(style: str) -> None:
    toy = ToyLM()
    pairs = [  # a token across the border cannot be asked for in text
        (prompt, rest)
        for prompt, rest in make_pairs(60)
        if cut_words(prompt + rest)[: len(cut_words(prompt.rstrip()))] == cut_words(prompt.rstrip())
    ]
    requests = [ask("loglikelihood", *pair) for pair in pairs]
    with ModelServer(style=style) as server, open_lm(server, api="completion", concurrency=4) as lm:
        told: dict[int, Usage] = {}
        lm.listener = lambda index, answer, usage: told.__setitem__(index, usage)
        found = lm.loglikelihood(requests)
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in toy.loglikelihood(requests)], abs=1e-9)
    assert len(pairs) > 50
    assert sorted(told) == list(range(len(pairs)))
    assert {usage.finish for usage in told.values()} == {"scored"}
    assert [told[i].n_output_tokens for i in told] == [len(toy._encode_pair(*pairs[i])[1]) for i in told]


@pytest.mark.parametrize(("style", "n_left_out"), [("listed", 0), ("hidden", 1), ("none", 1)])
def test_rolling_counts_every_token_the_server_weighs(style: str, n_left_out: int) -> None:
    text = "the river runs and the mill sleeps."
    with ModelServer(style=style) as server, open_lm(server, api="completion") as lm:
        found = lm.loglikelihood_rolling([ask("loglikelihood_rolling", text)])
    assert found == pytest.approx([sum(list_log_probabilities(cut_words(text))[n_left_out:])])


def test_a_chat_endpoint_refuses_log_likelihoods_before_asking(server: ModelServer) -> None:
    with pytest.raises(UnsupportedError):
        open_lm(server).loglikelihood([ask("loglikelihood", "a", " b")])
    assert server.requests == []


def test_the_json_of_a_chat_is_not_confused_by_its_content(server: ModelServer) -> None:
    lm = open_lm(server)
    inner = lm.apply_chat_template([{"role": "user", "content": "x"}])
    outer = lm.apply_chat_template([{"role": "user", "content": inner}])
    assert decode_prompt(outer) == [{"role": "user", "content": inner}]
    assert json.loads(inner) != json.loads(outer)
