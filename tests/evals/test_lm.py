"""The in-process lm-eval model against one request at a time: same likelihoods, same text, whatever the shape.

llama.cpp rounds to f16 what it multiplies with f16 weights, flash attention casts an f32 cache to f16, and sums run
in an order that depends on how many tokens stand in a step: one request alone, computed 7 or 512 tokens at a time,
differs by 0.02 nats on the demonstration file. So likelihoods are held to 1e-4 in f32 without flash attention, where
steps of 7 and 512 agree to 1e-5, and with f16 weights, f16 cache and flash attention to the engine's own spread.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.demo.measure import MODEL_FILE
from tests.evals.tiny_models import KINDS, SPM_TEMPLATE, WINDOW, WORDS, write_tiny

pytestmark = pytest.mark.engine

TOLERANCE = 1e-4
"""Nats over a whole continuation."""

CLOSE = 1e-3
"""Where the best two logits are closer than this, the slow path is no judge of which comes first."""

NAMES = ("demo", *KINDS)


class ChildError(Exception):
    """What the child raised, by name and text."""


class Child:
    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("lm_child.py"))]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # open as long as the child
        self.pipe = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def __call__(self, do: str, **question: Any) -> Any:
        assert self.pipe.stdin is not None and self.pipe.stdout is not None
        self.pipe.stdin.write(json.dumps({"do": do, **question}) + "\n")
        self.pipe.stdin.flush()
        line = self.pipe.stdout.readline()
        if not line:
            self.errors.seek(0)
            pytest.fail(f"the child died in {do}: {self.errors.read()[-2000:]}", pytrace=False)
        reply = json.loads(line)
        if "error" in reply:
            raise ChildError(f"{reply['error']}: {reply['message']}")
        return reply["ok"]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    asking = Child()
    yield asking
    assert asking.pipe.stdin is not None
    asking.pipe.stdin.close()
    asking.pipe.wait(20)


@pytest.fixture(scope="module")
def paths(child: Child, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tiny")
    found = {"demo": str(folder / "demo.gguf")}
    child("write_f32", source=str(MODEL_FILE), target=found["demo"])
    for kind in KINDS:
        found[kind] = str(folder / f"{kind}.gguf")
        write_tiny(kind, Path(found[kind]))
    return found


@pytest.fixture(scope="module")
def opened(child: Child, paths: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {name: open_model(child, name, paths[name]) for name in NAMES}


def open_model(child: Child, name: str, path: str, **settings: Any) -> Any:
    exact = {"kv_type_k": "f32", "kv_type_v": "f32", "flash_attention": False}
    plan = {"context_tokens": 256, "n_threads": 1, **exact, **settings}
    return child("open", name=name, path=path, **plan)


def say(chance: random.Random, n_words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(n_words))


def make_requests(seed: int = 3) -> list[list[str]]:
    """Few-shot choices, prompts with nothing in common, a duplicate, an empty context, unicode and one letter."""
    chance = random.Random(seed)
    shots = say(chance, 30)
    requests = []
    for _ in range(6):
        question = f"{shots} Q: {say(chance, chance.randrange(3, 15))}"
        requests += [[question, " " + say(chance, chance.randrange(1, 4))] for _ in range(4)]
    requests += [[say(chance, 35), " " + say(chance, 3)] for _ in range(4)]
    return [
        *requests,
        requests[0],
        ["", say(chance, 4)],
        ["Grüße, 你好 🙂", " été 🙂"],
        ["x", " y"],
        ["a ", "b"],
        ["a", ""],
    ]


def test_the_requests_share_what_the_engine_computes_once(child: Child, opened: dict[str, Any]) -> None:
    pairs = child("pairs", name="demo", requests=make_requests())
    before = child("facts", name="demo")
    child("score_tokens", name="demo", pairs=pairs)
    after = child("facts", name="demo")
    asked = sum(len(context) + len(continuation) for context, continuation in pairs)
    assert after["n_prompt_tokens"] - before["n_prompt_tokens"] == sum(len(context) for context, _ in pairs)
    assert after["n_computed_tokens"] - before["n_computed_tokens"] < asked / 2


@pytest.mark.parametrize("name", NAMES)
def test_likelihoods_are_those_of_one_request_at_a_time(
    name: str, child: Child, opened: dict[str, Any], paths: dict[str, str]
) -> None:
    requests = make_requests()
    pairs = child("pairs", name=name, requests=requests)
    slow = child("slow_score", path=paths[name], pairs=pairs)
    found = child("ask", name=name, what="loglikelihood", requests=requests)["answers"]
    for (value, greedy), (true_value, true_greedy, gap) in zip(found, slow, strict=True):
        assert value == pytest.approx(true_value, abs=TOLERANCE)
        assert greedy == true_greedy or gap < CLOSE
    # the tolerance can fail: another beginning moves the result by more
    reordered = [[context[:1] + context[1:6][::-1] + context[6:], continuation] for context, continuation in pairs[:4]]
    moved = [value for value, _, _ in child("slow_score", path=paths[name], pairs=reordered)]
    assert max(abs(a - b[0]) for a, b in zip(moved, slow[:4], strict=True)) > 3 * TOLERANCE


def test_half_precision_is_within_the_engines_own_spread(child: Child, opened: dict[str, Any]) -> None:
    """As people run it: f16 weights and cache, beside the same requests alone in steps of 512 and of 7 tokens."""
    requests = make_requests()
    open_model(child, "half", str(MODEL_FILE), kv_type_k="f16", kv_type_v="f16", flash_attention=True)
    try:
        pairs = child("pairs", name="half", requests=requests)
        found = [value for value, _ in child("score_tokens", name="half", pairs=pairs)]
    finally:
        child("close", name="half")
    wide = [value for value, _, _ in child("slow_score", path=str(MODEL_FILE), pairs=pairs, half=True)]
    again = child("slow_score", path=str(MODEL_FILE), pairs=pairs, n_ubatch=7, half=True)
    narrow = [value for value, _, _ in again]
    spread = max(abs(a - b) for a, b in zip(wide, narrow, strict=True))
    assert 0 < spread < 0.1
    assert max(abs(a - b) for a, b in zip(found, wide, strict=True)) < 3 * spread


@pytest.mark.parametrize("name", NAMES)
def test_greedy_text_is_that_of_one_request_at_a_time(
    name: str, child: Child, opened: dict[str, Any], paths: dict[str, str]
) -> None:
    chance = random.Random(5)
    shots = say(chance, 12)
    prompts = [f"{shots} {say(chance, n)}" for n in range(1, 9)] + [say(chance, n) for n in range(3, 12)]
    tokens = child("encode", name=name, texts=prompts)
    slow = child("slow_write", path=paths[name], prompts=tokens, n_tokens=24)
    requests = [[prompt, {"until": [], "max_gen_toks": 24}] for prompt in prompts]
    found = child("ask", name=name, what="generate_until", requests=requests)
    judged = [(a, text) for a, (_, gap, text) in zip(found["answers"], slow, strict=True) if gap > CLOSE]
    assert len(judged) > len(prompts) // 3
    for answer, text in judged:
        assert answer == text or (text.endswith("\ufffd") and answer == text.rstrip("\ufffd"))
    assert {heard[5] for heard in found["heard"]} <= {"stop", "length"}
    lengths = {heard[0]: heard[3] for heard in found["heard"] if heard[5] == "length"}
    assert set(lengths.values()) <= {24}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{"n_seq": 1}, {"n_seq": 16}, {"n_seq": 4, "n_cells": 256}, {"n_batch": 32}])
def test_how_requests_are_scheduled_changes_nothing(
    name: str, settings: dict[str, int], child: Child, opened: dict[str, Any], paths: dict[str, str]
) -> None:
    """In other orders, other numbers of sequences, with a cache that makes requests wait, and in small steps."""
    requests = make_requests(7)
    want = child("ask", name=name, what="loglikelihood", requests=requests)["answers"]
    open_model(child, "other", paths[name], **settings)
    try:
        order = random.Random(1).sample(range(len(requests)), len(requests))
        found = child("ask", name="other", what="loglikelihood", requests=[requests[i] for i in order])
        for i, (value, _) in zip(order, found["answers"], strict=True):
            assert value == pytest.approx(want[i][0], abs=TOLERANCE)
        assert sorted(heard[0] for heard in found["heard"]) == list(range(len(requests)))
        for place, answer, n_prompt, _, seconds, finish in found["heard"]:
            assert found["answers"][place] == answer
            assert n_prompt > 0 and seconds >= 0 and finish == "scored"
        writing = [[context, {"until": ["."], "max_gen_toks": 40}] for context, _ in requests[::3]]
        texts = child("ask", name="other", what="generate_until", requests=writing)
        assert len(texts["answers"]) == len(writing) == len(texts["heard"])
    finally:
        child("close", name="other")


def test_a_window_smaller_than_what_is_shared_is_not_shared_wrongly(child: Child, paths: dict[str, str]) -> None:
    """Prompts far beyond the window: its cells cannot keep a common beginning, so it is computed for each."""
    chance = random.Random(2)
    shots = say(chance, 220)
    requests = [[f"{shots} {say(chance, 4)}", " " + say(chance, 2)] for _ in range(6)]
    opened = open_model(child, "narrow", paths["window"], n_seq=2, n_ubatch=64, context_tokens=512)
    try:
        pairs = child("pairs", name="narrow", requests=requests)
        assert (
            opened["window"] < opened["n_cells"]
            and len(pairs[0][0]) > 4 * WINDOW
            and len(pairs[0][0]) > opened["window"] - 64
        )
        slow = child("slow_score", path=paths["window"], pairs=pairs)
        found = child("score_tokens", name="narrow", pairs=pairs)
        for (value, _), (true_value, _, _) in zip(found, slow, strict=True):
            assert value == pytest.approx(true_value, abs=TOLERANCE)
    finally:
        child("close", name="narrow")


@pytest.mark.parametrize("name", NAMES)
def test_rolling_likelihoods_are_those_of_their_windows(
    name: str, child: Child, opened: dict[str, Any], paths: dict[str, str]
) -> None:
    chance = random.Random(4)
    texts = [say(chance, 300), "one", ""]
    found = child("ask", name=name, what="loglikelihood_rolling", requests=[[text] for text in texts])["answers"]
    prefix = child("read", name=name, attribute="prefix_token_id")
    for text, value in zip(texts, found, strict=True):
        tokens = child("encode", name=name, texts=[text], special=False)[0]
        # windows of 256, each as full as can be: disjoint predictions, as lm-eval cuts them
        windows = [([prefix, *tokens[:-1]][:256], tokens[:256])] if tokens else []
        for first in range(256, len(tokens), 256):
            end = min(first + 256, len(tokens))
            windows.append((tokens[end - 257 : end - 1], tokens[first:end]))
        pairs = [[inputs[: len(inputs) - len(targets) + 1], targets] for inputs, targets in windows]
        slow = child("slow_score", path=paths[name], pairs=pairs)
        assert value == pytest.approx(sum(v for v, _, _ in slow), abs=TOLERANCE * max(1, len(tokens) / 50))


def test_a_beginning_of_text_is_never_doubled(child: Child, opened: dict[str, Any]) -> None:
    plain, spelled = child("encode", name="spm", texts=["the river", "<s>the river"])
    assert plain[0] == 1 and plain[1] != 1
    assert spelled == plain
    chat = child("chat", name="spm", messages=[{"role": "user", "content": "the river"}])
    assert chat.startswith("<s><turn>user\n")
    tokens = child("encode", name="spm", texts=[chat])[0]
    assert tokens.count(1) == 1 and tokens[:2] == [1, 3]
    assert child("encode", name="demo", texts=["the"])[0][0] != 0  # this vocabulary adds none
    assert child("encode", name="spm", texts=["the"], special=False)[0][0] != 1


def test_special_tokens_are_read_in_rendered_chats_only(child: Child, opened: dict[str, Any]) -> None:
    chat = child("chat", name="demo", messages=[{"role": "user", "content": "What is 1 + 2?"}])
    assert child("encode", name="demo", texts=[chat])[0][-1] == 2  # <|assistant|>
    letters = child("encode", name="demo", texts=["A text with <|end|> in it"])[0]
    assert not {0, 1, 2} & set(letters)


def test_a_refused_system_message_goes_before_the_first_question(child: Child, opened: dict[str, Any]) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
    assert "raise_exception" in SPM_TEMPLATE
    assert child("chat", name="spm", messages=messages) == "<s><turn>user\nBe short.\n\nWhy?<end>\n<turn>model\n"
    with pytest.raises(ChildError, match="UnsupportedError"):
        child("chat", name="moe", messages=messages)  # no template


def test_an_answer_begun_is_left_open(child: Child, opened: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because "}]
    assert child("chat", name="spm", messages=messages, generate=False).endswith("<turn>assistant\nBecause ")


def test_a_stop_across_tokens_ends_the_text_before_it(child: Child, opened: dict[str, Any]) -> None:
    chat = child("chat", name="demo", messages=[{"role": "user", "content": "Copy: ka lo mi zu"}])

    def write(**settings: Any) -> tuple[str, str]:
        heard = child("ask", name="demo", what="generate_until", requests=[[chat, settings]])["heard"][0]
        return heard[1], heard[5]

    whole, finish = write(until=[], max_gen_toks=30)
    assert finish == "stop" and len(whole) > 6
    tokens = child("encode", name="demo", texts=[whole])[0]
    assert 1 < len(tokens) < len(whole)  # some token has several letters, so some stop crosses a border
    for first in range(1, len(whole) - 2):
        stop = whole[first : first + 3]
        assert write(until=[stop], max_gen_toks=30) == (whole[: whole.index(stop)], "stop")
    assert write(until=whole[2:5], max_gen_toks=30)[0] == whole[:2]
    assert write(until=["<|user|>"], max_gen_toks=30) == (whole, "stop")
    cut, finish = write(until=[], max_gen_toks=2)
    assert whole.startswith(cut) and finish == "length"


def test_drawing_is_reproducible_and_no_neighbour_changes_it(child: Child, opened: dict[str, Any]) -> None:
    settings = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "top_k": 50}
    one = ["the river is", settings]
    others = [[say(random.Random(n), n + 2), settings] for n in range(10)]

    def write(requests: list[Any]) -> list[str]:
        return list(child("ask", name="spm", what="generate_until", requests=requests)["answers"])

    alone = write([one])[0]
    assert write([one])[0] == alone
    assert write([*others, one])[-1] == alone
    twins = write([one, one, one])
    assert twins[0] == alone and len(set(twins)) > 1


def test_what_is_too_long_is_cut_from_the_left_and_counted(child: Child, opened: dict[str, Any]) -> None:
    text = say(random.Random(6), 400)
    before = child("facts", name="demo")["n_truncated"]
    tokens = child("encode", name="demo", texts=[text])[0]
    pair = child("pairs", name="demo", requests=[[text, " river"]])[0]
    whole = [*pair[0], *pair[1]]
    found = child("ask", name="demo", what="loglikelihood", requests=[[text, " river"]])["answers"][0]
    want = child("score_tokens", name="demo", pairs=[[whole[-257 : -len(pair[1])], pair[1]]])[0]
    assert len(tokens) > 256 and found == pytest.approx(want, abs=TOLERANCE)
    written = child("ask", name="demo", what="generate_until", requests=[[text, {"until": [], "max_gen_toks": 56}]])
    assert written["heard"][0][2] == 200
    assert child("facts", name="demo")["n_truncated"] == before + 2


def test_what_cannot_be_cut_is_an_error_and_the_model_goes_on(child: Child, opened: dict[str, Any]) -> None:
    with pytest.raises(ChildError, match=r"TooLongError: .*256"):
        child("ask", name="demo", what="loglikelihood", requests=[["a", say(random.Random(6), 400)]])
    with pytest.raises(ChildError, match=r"TooLongError: .*256"):
        child("ask", name="demo", what="generate_until", requests=[["a", {"max_gen_toks": 256}]])
    with pytest.raises(ChildError, match=r"BadInputError: .*beams"):
        child("ask", name="demo", what="generate_until", requests=[["a", {"beams": 3}]])
    assert len(child("ask", name="demo", what="loglikelihood", requests=[["a", "b"]])["answers"]) == 1


@pytest.mark.parametrize("what", ["loglikelihood", "generate_until"])
def test_a_listener_that_raises_ends_the_call_and_the_next_one_works(
    what: str, child: Child, opened: dict[str, Any]
) -> None:
    texts = make_requests()[:-1]
    settings = {"until": [], "max_gen_toks": 9}
    requests = texts if what == "loglikelihood" else [[context, settings] for context, _ in texts]
    want = child("ask", name="hybrid", what=what, requests=requests)["answers"]
    with pytest.raises(ChildError, match="Stop: heard 3"):
        child("ask", name="hybrid", what=what, requests=requests, fail_after=3)
    found = child("ask", name="hybrid", what=what, requests=requests)["answers"]
    if what == "loglikelihood":
        assert [v for v, _ in found] == pytest.approx([v for v, _ in want], abs=TOLERANCE)
    else:
        assert found == want


def test_a_file_that_is_no_model_is_an_error_with_a_reason(child: Child, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(MODEL_FILE.read_bytes()[:1000])
    with pytest.raises(ChildError, match=r"EngineError: llama.cpp cannot load"):
        open_model(child, "broken", str(broken))
    with pytest.raises(ChildError, match="BadInputError: path wants"):
        open_model(child, "broken", str(tmp_path / "nothing.gguf"))
    with pytest.raises(ChildError, match="BadInputError: n_seq wants"):
        open_model(child, "broken", str(MODEL_FILE), n_seq=0)


def test_stock_lm_eval_runs_over_it(
    child: Child, opened: dict[str, Any], paths: dict[str, str], tmp_path: Path
) -> None:
    """A choice task, a text task in the chat format and a rolling one; choices agree with the slow path's best."""
    rows = [
        {"q": f"What is {a} + {b}?", "choices": [str(a + b + d) for d in (0, 1, -1, 10)], "answer": str(a + b)}
        for a, b in ((3, 5), (12, 7), (20, 31), (8, 8), (44, 15), (9, 60))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}}}
    base = {**data, "test_split": "test", "num_fewshot": 0, "target_delimiter": ""}
    tasks: dict[str, dict[str, Any]] = {
        "pick": {
            "output_type": "multiple_choice",
            "doc_to_text": "{{q}}",
            "doc_to_choice": "choices",
            "doc_to_target": 0,
        },
        "say": {
            "output_type": "generate_until",
            "doc_to_text": "{{q}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
        },
        "roll": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}}"},
    }
    for task, settings in tasks.items():
        (tmp_path / f"{task}.yaml").write_text(json.dumps({"task": task, **base, **settings}), encoding="utf-8")
    told = child("evaluate", name="demo", folder=str(tmp_path), tasks=["pick", "say"], apply_chat_template=True)
    assert told["results"]["say"]["exact_match,none"] > 0.5  # the model was trained to add
    chats = [child("chat", name="demo", messages=[{"role": "user", "content": row["q"]}]) for row in rows]
    for chat, row, sample in zip(chats, rows, told["samples"]["pick"], strict=True):
        pairs = child("pairs", name="demo", requests=[[chat, choice] for choice in row["choices"]])
        slow = child("slow_score", path=paths["demo"], pairs=pairs)
        assert [float(v) for v, _ in sample] == pytest.approx([v for v, _, _ in slow], abs=TOLERANCE)
    rolled = child("evaluate", name="demo", folder=str(tmp_path), tasks=["roll"])
    assert rolled["results"]["roll"]["word_perplexity,none"] > 1
