"""A policy survives being written and read; what is no policy is refused in words."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from catalog.routing_file import format_policy, read_policy
from sizing.errors import BadInputError
from sizing.routing import GUIDE_CLASSES, TARGETS, RequestClass, RoutingPolicy, Target

MODELS: tuple[tuple[Target, str], ...] = (("local-small", "S"), ("local-large", "L: 70B # big"), ("api", "A 'b' \"c\""))
POLICY = RoutingPolicy(GUIDE_CLASSES, MODELS)


def test_what_is_written_is_read_and_figures_are_comments() -> None:
    text = format_policy(POLICY, ["US$ 61 to 74 a month", "two\nlines"], {"api": ["US$ 2, https://example.org"]})
    assert read_policy(text) == POLICY
    assert text.startswith("# US$ 61 to 74 a month\n# two lines\nversion: 1\n")
    assert "  # US$ 2, https://example.org\n  - target: api\n" in text
    assert yaml.safe_load(text)["classes"][0] == {
        "name": "sensitive",
        "share": 0.2,
        "target": "local-large",
        "sensitive": True,
        "description": "personal or confidential data: never leaves this machine",
    }


WORDS = st.text(max_size=60).filter(lambda t: t.isprintable())


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12), WORDS.filter(str.strip), WORDS)
def test_any_policy_survives(weights: list[float], model: str, said: str) -> None:
    total = sum(weights)
    classes = tuple(
        RequestClass(f"c{i}", w / total, TARGETS[i % 3], i % 3 != 2 and i % 2 == 0, said) for i, w in enumerate(weights)
    )
    models: tuple[tuple[Target, str], ...] = tuple((t, model) for t in TARGETS)
    policy = RoutingPolicy(classes, models)
    assert read_policy(format_policy(policy, [said], {"api": [said]})) == policy


GOOD = format_policy(POLICY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "wants the keys version"),
        ("- a\n- b", "wants the keys version"),
        (GOOD.replace("version: 1", "version: 2"), "wants version 1"),
        (GOOD.replace("version: 1", "version: true"), "version wants a whole number"),
        (GOOD.replace("share: 0.5", "share: 0.6"), "add up to 1.1"),
        (GOOD.replace("share: 0.5", "share: half"), "share wants a number, got 'half'"),
        (GOOD.replace("share: 0.5", "share: .nan"), "from 0 to 1"),
        (GOOD.replace("target: local-small\n    model", "target: cloud\n    model"), "target 1 wants to be one of"),
        (GOOD.replace("name: simple", "name: sensitive"), "names of their own"),
        (GOOD.replace("sensitive: true", "sensitive: 1"), "sensitive wants true or false"),
        (GOOD.replace("name: simple", "name: simple\n    weight: 3"), "unknown 'weight'"),
        (GOOD.replace("share: 0.5\n", "\n"), "missing share"),
        (GOOD.replace('model: "S"', 'model: ""'), "model wants a name"),
        (GOOD.replace('  - target: local-small\n    model: "S"\n', ""), "no model is named for local-small"),
        (GOOD.replace("name: simple", "name: &a simple"), "no anchors"),
        ("a: &a [x, x]\nb: [*a, *a]", "no anchors"),
        ("!!python/object/apply:os.system ['true']", "no anchors"),
        ("version: 2026-99-99\ntargets: []\nclasses: []", "plain YAML values"),
        ("{" * 20_000, "at most 4 deep"),
        ("[" * 60_000, "at most 4 deep"),
        ("- " * 30_000, "at most 4 deep"),
        ("#" * 70_000, "at most 64 KiB"),
        ("a: \x00", "wants YAML"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=".*") as caught:
        read_policy(text)
    assert said in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_named_error(text: str) -> None:
    with pytest.raises(BadInputError):
        read_policy(text)
