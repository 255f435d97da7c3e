"""The demonstration model: its text never leaks, its file loads, answers far above chance, and suffers at Q2_K."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.demo import corpus, measure
from evals.demo.corpus import SKILLS, WORLD, Item, list_held_out_items, list_training_items
from evals.demo.measure import MODEL_FILE, DemoScore, list_items, make_quant, measure_quant
from evals.demo.vocabulary import SPECIALS, SPLIT, Vocabulary, join_pair, learn_vocabulary, spell
from evals.dry_run import EngineChild
from sizing.errors import EngineError

N_ITEMS = 150
SIZE_LIMIT_BYTES = 8 * 1000**2


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    assert list_training_items(3, 200) == list_training_items(3, 200)
    assert list_training_items(3, 200) != list_training_items(4, 200)
    assert list_held_out_items("json", 20) == list_held_out_items("json", 20)


def test_held_out_items_are_never_trained_on() -> None:
    trained = list_training_items(0, 20_000)
    held_out = [item for skill in SKILLS for item in list_held_out_items(skill, 200)]
    assert {i.prompt for i in trained}.isdisjoint(i.prompt for i in held_out)
    assert {(i.skill, i.key) for i in trained}.isdisjoint((i.skill, i.key) for i in held_out)
    assert {i.skill for i in trained} == set(SKILLS)


def test_a_held_out_sum_is_held_out_in_either_order_and_wording() -> None:
    pairs = [frozenset(item.key.split()) for item in list_held_out_items("arithmetic", 400)]
    trained = {frozenset(i.key.split()) for i in list_training_items(0, 20_000) if i.skill == "arithmetic"}
    assert trained.isdisjoint(pairs)


def test_every_fact_that_is_asked_was_told_in_another_wording() -> None:
    told = {
        (town.name, kind)
        for town in WORLD
        for kind, wordings in corpus.FACT_QUESTIONS.items()
        for wording in wordings
        if not Item("facts", "", "", 0.0, wording.format(town=town.name)).is_held_out
    }
    assert len(told) == len(WORLD) * len(corpus.FACT_QUESTIONS)


def test_answers_are_right_by_a_reading_of_the_question() -> None:
    """Sums, copies, JSON and orders are worked out anew from the prompt's words."""
    for item in list_items(100):
        words = item.prompt.rstrip("?.=").replace("?", "").split()
        said = item.prompt.split(": ", 1)[-1]
        if item.skill == "arithmetic":
            assert int(item.answer) == sum(int(w) for w in words if w.isdigit())
        elif item.skill == "copying":
            assert item.answer == said
        elif item.skill == "json":
            fields = dict(pair.split(" ") for pair in said.split(", "))
            assert {k: str(v) for k, v in json.loads(item.answer).items()} == fields
        elif words[0] == "Which" and item.skill == "instructions":
            assert int(item.answer) == max(int(w.strip(",")) for w in words if w.strip(",").isdigit())
        elif item.skill == "instructions":
            told = {
                "Give the first": said.split()[0],
                "Give the last": said.split()[-1],
                "Count the words:": str(len(said.split())),
                "Reverse the word": " ".join(said.split()[::-1]),
            }
            assert item.answer == told[" ".join(words[:3])]


@pytest.mark.parametrize(
    ("skill", "answer", "said", "right"),
    [
        ("copying", "ka lo", " ka lo\n", True),
        ("copying", "ka lo", "ka lo ka", False),
        ("arithmetic", "12", "12.", False),
        ("json", '{"age": 12}', '{ "age":12 }', True),
        ("json", '{"age": 12}', '{"age": "12"}', False),
        ("json", '{"age": 12}', '{"age": 12', False),
        ("json", '{"age": 12}', "[" * 100_000, False),
    ],
)
def test_only_the_exact_answer_counts(skill: str, answer: str, said: str, right: bool) -> None:
    assert Item(skill, "", answer, 0.0, "").is_answered_by(said) is right


def test_invented_names_are_all_different() -> None:
    names = [town.name for town in WORLD] + sorted({town.river for town in WORLD})
    assert len(set(names)) == len(names)


def test_learning_joins_the_most_frequent_pair_first() -> None:
    vocabulary = learn_vocabulary(["aab aab aab", "b"], len(SPECIALS) + 256 + 3)
    assert vocabulary.merges == (("a", "a"), ("aa", "b"), ("Ġ", "aab"))  # 3 of each; the spelling settles it
    assert vocabulary.tokens[-1] == "Ġaab"
    assert vocabulary.encoder().encode("aab aab") == [len(vocabulary.tokens) - 2, len(vocabulary.tokens) - 1]


def test_learning_ends_when_nothing_is_left_to_join() -> None:
    assert learn_vocabulary(["ab"], 10_000).merges == (("a", "b"),)


def test_every_byte_has_a_letter_of_its_own_and_splitting_loses_nothing() -> None:
    assert len({spell(chr(i)) for i in range(128)}) == 128
    chance = random.Random(0)
    for _ in range(200):
        text = "".join(chance.choice(" \n\tabZ09{}\":,.'+=?") for _ in range(30))
        assert "".join(SPLIT.findall(text)) == text
    assert join_pair(("a", "a", "a"), ("a", "a")) == ("aa", "a")


def test_the_file_is_small() -> None:
    assert 1000**2 < MODEL_FILE.stat().st_size <= SIZE_LIMIT_BYTES


@pytest.fixture(scope="module")
def child() -> Iterator[EngineChild]:
    with measure.open_child() as answering:
        yield answering


@pytest.fixture(scope="module")
def full(child: EngineChild) -> DemoScore:
    return measure_quant(child, MODEL_FILE, "F16", list_items(N_ITEMS))


@pytest.mark.engine
def test_the_tokenizer_gives_every_text_back(child: EngineChild) -> None:
    texts = [t for i in list_items(40) for t in (i.prompt, i.answer)] + ["Grüße, 你好! <|end|>\n\t\0x", " "]
    reply = measure.ask(child, {"kind": "tokenize", "path": str(MODEL_FILE), "texts": texts})
    assert reply["texts"] == texts


@pytest.mark.engine
def test_the_engine_splits_text_as_in_training(child: EngineChild) -> None:
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(MODEL_FILE).fields
    tokens = tuple(fields["tokenizer.ggml.tokens"].contents())
    merges = tuple(tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents())
    texts = [t for i in list_items(100) for t in (i.prompt, i.answer)]
    encoder = Vocabulary(tokens, merges).encoder()
    reply = measure.ask(child, {"kind": "tokenize", "path": str(MODEL_FILE), "texts": texts})
    assert reply["tokens"] == [encoder.encode(text) for text in texts]


@pytest.mark.engine
@pytest.mark.parametrize("skill", list(SKILLS))
def test_every_skill_is_far_above_chance(full: DemoScore, skill: str) -> None:
    score = next(s for s in full.skills if s.skill == skill)
    assert score.n_items == N_ITEMS
    assert score.interval[0] > score.chance + 0.25


@pytest.mark.engine
def test_two_bits_cost_accuracy(child: EngineChild, full: DemoScore) -> None:
    """The intervals over all skills do not even meet: no luck of the draw."""
    path = make_quant(child, MODEL_FILE, "Q2_K")
    small = measure_quant(child, path, "Q2_K", list_items(N_ITEMS))
    assert small.file_bytes < full.file_bytes / 3
    assert small.total.interval[1] < full.total.interval[0]


@pytest.mark.engine
def test_a_file_that_is_no_model_is_an_error_with_a_reason(child: EngineChild, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(MODEL_FILE.read_bytes()[:1000])
    with pytest.raises(EngineError, match="answer: "):
        measure_quant(child, broken, "F16", list_items(1))
