"""The tree of token lists: every list is spelled by its path, shared runs once, and wants land where they belong."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evals.prefixes import (
    MIN_SHARED_TOKENS,
    Segment,
    grow,
    join_single_children,
    list_segments,
    sort_key,
    spread_wants,
)


def spell_path(leaf: Segment) -> list[int]:
    parts: list[list[int]] = []
    segment: Segment | None = leaf
    while segment is not None:
        parts.insert(0, segment.tokens.tolist())
        segment = segment.parent
    return [token for part in parts for token in part]


def plant(lists: list[list[int]]) -> tuple[Segment, list[tuple[list[int], Segment]]]:
    arrays = sorted((np.asarray(tokens, dtype=np.int32) for tokens in lists), key=sort_key)
    root, leaves = grow(arrays)
    return root, [(tokens.tolist(), leaf) for tokens, leaf in zip(arrays, leaves, strict=True)]


shared_lists = st.lists(
    st.builds(
        lambda stem, n, tail: [*([7] * stem), *range(n), *tail],
        st.integers(0, 30),
        st.integers(1, 30),
        st.lists(st.integers(0, 3), max_size=20),
    ),
    min_size=1,
    max_size=20,
)


@given(shared_lists)
def test_every_list_is_spelled_by_its_path(lists: list[list[int]]) -> None:
    root, planted = plant(lists)
    for tokens, leaf in planted:
        assert spell_path(leaf) == tokens
    for segment in list_segments(root):
        assert len(segment.tokens) > 0
        assert segment.parent is not None and segment.start == segment.parent.end
        assert segment in segment.parent.children


@given(shared_lists)
def test_wants_land_on_the_token_before_their_target(lists: list[list[int]]) -> None:
    root, planted = plant(lists)
    for request, (tokens, leaf) in enumerate(planted):
        first = len(tokens) // 2
        spread_wants(leaf, request, first, np.arange(first, len(tokens), dtype=np.int64) + 1000)
    join_single_children(root)
    found: dict[int, set[int]] = {request: set() for request in range(len(planted))}
    for segment in list_segments(root):
        for offset, request, target in zip(segment.offsets, segment.requests, segment.targets, strict=True):
            assert segment.start + offset + 1000 == target
            found[int(request)].add(int(target))
    for request, (tokens, _) in enumerate(planted):
        assert found[request] == {place + 1000 for place in range(len(tokens) // 2, len(tokens))}


def test_a_common_beginning_is_kept_once() -> None:
    stem = list(range(100, 160))
    lists = [[*stem, *question, choice] for question in ([1] * 20, [2] * 20) for choice in (3, 4, 5)]
    root, _ = plant(lists)
    assert sum(len(segment.tokens) for segment in list_segments(root)) == 60 + 2 * 20 + 6
    assert [segment.tokens.tolist() for segment in root.children] == [stem]


def test_a_short_common_run_is_not_worth_a_branch() -> None:
    stem = list(range(MIN_SHARED_TOKENS - 1))
    root, _ = plant([[*stem, 50], [*stem, 60]])
    assert len(root.children) == 2


def test_equal_lists_end_in_one_segment_and_a_longer_one_below_it() -> None:
    root, planted = plant([[1] * 10, [1] * 10, [*[1] * 10, 2]])
    assert planted[0][1] is planted[1][1]
    assert planted[2][1].parent is planted[0][1]
    assert len(list_segments(root)) == 2
