"""YAML written without a library is read back by a library as exactly what was written."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.launch.yaml_text import Yaml, quote_yaml, write_documents, write_yaml
from tests.sizing.launch_cases import NASTY

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = (
    texts | st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(texts, t, max_size=4), max_leaves=20)


@given(trees)
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back(value: Yaml) -> None:
    assert yaml.safe_load(write_yaml(value)) == value


@given(st.lists(st.dictionaries(texts, scalars, max_size=3), min_size=1, max_size=4))
@settings(deadline=None)
def test_documents_stay_apart(values: list[dict[str, Yaml]]) -> None:
    assert list(yaml.safe_load_all(write_documents(values))) == values


@pytest.mark.parametrize("text", [*NASTY, "", "no", "1", "1e3", "0x10", "2001-01-01", "null", "- a", "😀\U000e0001"])
def test_a_string_stays_a_string_on_one_line(text: str) -> None:
    quoted = quote_yaml(text)
    assert "\n" not in quoted and yaml.safe_load(quoted) == text
