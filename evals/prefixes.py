"""Token lists as a tree of what they share, so that a common beginning is computed once.

A segment is a run of tokens that every list below it has in common. Where segments are computed, in which order and
under which sequence number is `evals.sequences`' business; nothing here knows an engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SHARED_TOKENS = 8
"""Shorter common runs are computed again in each list: a branch costs a step of its own and a copied sequence."""

Tokens = NDArray[np.int32]


class Segment:
    """A run of tokens after its parent's run.

    `start` is the position of its first token. `offsets`, `requests` and `targets` are three equal columns: at that
    place in the run, that request wants the logarithm of that token's probability. `writer` is the request that goes
    on writing after the last token, -1 for none, and `n_reserved` how many cells its writing may take.
    The rest is the state of `evals.sequences`: whether it was started, tokens computed, the sequence number held (-1
    for none), children not started, children (or itself, for a leaf) that still need its cells, and cells promised to
    it in layers that keep everything and in those with a window.
    """

    __slots__ = (
        "children",
        "is_started",
        "n_computed",
        "n_held",
        "n_held_window",
        "n_holders",
        "n_reserved",
        "n_waiting",
        "offsets",
        "parent",
        "requests",
        "sequence",
        "start",
        "targets",
        "tokens",
        "writer",
    )

    def __init__(self, parent: Segment | None, start: int, tokens: Tokens) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.children: list[Segment] = []
        self.offsets = self.requests = self.targets = np.zeros(0, dtype=np.int64)
        self.writer = -1
        self.n_reserved = 0
        self.is_started = False
        self.n_computed = 0
        self.sequence = -1
        self.n_waiting = 0
        self.n_holders = 0
        self.n_held = self.n_held_window = 0

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)

    def want(self, offsets: NDArray[np.int64], request: int, targets: NDArray[np.int64]) -> None:
        """Note that `request` wants these targets at these places of the run."""
        self.offsets = np.concatenate((self.offsets, offsets))
        self.requests = np.concatenate((self.requests, np.full(len(offsets), request, dtype=np.int64)))
        self.targets = np.concatenate((self.targets, targets))

    def sort_wants(self) -> None:
        """Order the wants by place in the run."""
        order = np.argsort(self.offsets, kind="stable")
        self.offsets, self.requests, self.targets = self.offsets[order], self.requests[order], self.targets[order]

    def prepend(self, above: Segment, *, take_wants: bool) -> None:
        """Make the run of `above`, the parent, part of this one; with what is wanted in it where `take_wants`."""
        n_more = len(above.tokens)
        self.tokens = np.concatenate((above.tokens, self.tokens))
        self.offsets = self.offsets + n_more
        self.start = above.start
        if take_wants:
            self.offsets = np.concatenate((above.offsets, self.offsets))
            self.requests = np.concatenate((above.requests, self.requests))
            self.targets = np.concatenate((above.targets, self.targets))


def sort_key(tokens: Tokens) -> bytes:
    """What orders token lists so that those with a common beginning stand together."""
    return tokens.astype(">i4").tobytes()


def count_shared(a: Tokens, b: Tokens) -> int:
    """How many tokens both lists begin with."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def grow(lists: Sequence[Tokens]) -> tuple[Segment, list[Segment]]:
    """The tree of token lists and, for each list, the segment it ends in; the lists must be in `sort_key` order.

    The root is empty. A list equal to the one before it ends in the same segment. A list that another goes on from
    has that other below it. Lists must not be empty.
    """
    root = Segment(None, 0, np.zeros(0, dtype=np.int32))
    path = [root]
    leaves: list[Segment] = []
    before: Tokens = root.tokens
    for tokens in lists:
        n_shared = count_shared(before, tokens)
        if leaves and n_shared == len(tokens) == len(before):
            leaves.append(leaves[-1])
            continue
        while path[-1].start >= n_shared and path[-1] is not root:
            path.pop()
        _split(path, n_shared)
        leaf = Segment(path[-1], path[-1].end, tokens[path[-1].end :])
        path[-1].children.append(leaf)
        path.append(leaf)
        leaves.append(leaf)
        before = tokens
    return root, leaves


def _split(path: list[Segment], n_shared: int) -> None:
    """Let the path end at position `n_shared`, or before it where cutting a run there would not pay."""
    last = path[-1]
    if last.end <= n_shared:
        return
    if n_shared - last.start < MIN_SHARED_TOKENS:
        path.pop()
        return
    cut = n_shared - last.start
    assert last.parent is not None  # the root is empty, so its end is never beyond n_shared
    upper = Segment(last.parent, last.start, last.tokens[:cut])
    last.parent.children[-1] = upper
    upper.children.append(last)
    last.parent, last.start, last.tokens = upper, n_shared, last.tokens[cut:]
    path[-1] = upper


def spread_wants(leaf: Segment, request: int, first: int, targets: NDArray[np.int64]) -> None:
    """Note on the segments from `leaf` upwards that `request` wants `targets`, one per position from `first` on."""
    segment: Segment | None = leaf
    end = first + len(targets)
    while segment is not None and end > first:
        begin = max(first, segment.start)
        if begin < end:
            places = np.arange(begin - segment.start, end - segment.start, dtype=np.int64)
            segment.want(places, request, targets[begin - first : end - first])
            end = begin
        segment = segment.parent


def join_single_children(root: Segment) -> None:
    """Make one run of two where nothing is wanted of the upper and it has but one child: one step instead of two."""
    waiting = list(root.children)
    while waiting:
        segment = waiting.pop()
        while len(segment.children) == 1 and not len(segment.offsets) and segment.writer < 0:
            below = segment.children[0]
            segment.offsets = below.offsets + len(segment.tokens)
            segment.requests, segment.targets = below.requests, below.targets
            segment.tokens = np.concatenate((segment.tokens, below.tokens))
            segment.writer, segment.n_reserved, segment.children = below.writer, below.n_reserved, below.children
            for child in segment.children:
                child.parent = segment
        waiting += segment.children


def list_segments(root: Segment) -> list[Segment]:
    """Every segment below the root, parents before children."""
    found: list[Segment] = []
    waiting = list(root.children)
    while waiting:
        segment = waiting.pop()
        found.append(segment)
        waiting += segment.children
    return found
