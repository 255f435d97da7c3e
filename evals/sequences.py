"""Many requests through one context: what they share is computed once, and a place that falls free is taken at once.

Requests become a tree of segments (`evals.prefixes`). A segment is computed in a sequence of its own, which starts as a
copy of its parent's; the last child takes its parent's sequence over. So a sequence only ever grows: nothing is cut off
its end and nothing rewound, which holds for recurrent and hybrid models as for attention. Every step mixes the next
token of each text being written with pieces of prompts up to the batch's room, depth first, so that what is shared by
the fewest is used up soonest.

Cells are promised before a segment starts: its tokens and what may be written after them. What does not fit waits. When
nothing can go on, a common beginning that waits for its turn is given up and computed again later, so there is always a
next step. Sliding-window layers have fewer cells: a cell shared by sequences is never given back by its window, so a
tree shares its beginning only where all of it fits the window's cells, and runs as separate prompts where it does not.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evals.loaded import LoadedModel
from evals.prefixes import Segment, Tokens, grow, join_single_children, list_segments, sort_key, spread_wants
from evals.sampling import NOT_FINITE, Rows, Sampling, draw, normalize
from sizing.errors import BadInputError, EngineError


class TooLongError(BadInputError):
    """A request that the context cannot hold however it is cut."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How likely `continuation` is after `context`; both are tokens, and the context has at least one."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass(frozen=True, slots=True)
class Scored:
    """The natural logarithm of the continuation's probability, and whether it is the most likely at every token."""

    log_likelihood: float
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Writing:
    """A prompt of at least one token to write on from, `max_tokens` tokens at most.

    It ends before any of `stops`, at any of `stop_tokens` and at every token that ends a text in the vocabulary.
    """

    prompt: Sequence[int]
    max_tokens: int
    stops: tuple[bytes, ...] = ()
    stop_tokens: frozenset[int] = frozenset()
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, without the stop; the tokens taken for it, the stop's included; "stop" or "length"."""

    text: str
    n_tokens: int
    finish: str


class _Writer:
    """One text being written."""

    __slots__ = ("chance", "n_tokens", "position", "request", "segment", "text", "token", "writing")

    def __init__(self, request: int, writing: Writing, chance: np.random.Generator | None) -> None:
        self.request = request
        self.writing = writing
        self.chance = chance
        self.text = b""
        self.n_tokens = 0
        self.token = -1
        self.position = len(writing.prompt)
        self.segment: Segment | None = None

    def take(self, token: int, loaded: LoadedModel) -> Written | None:
        """Write one token on; the finished text where it was the last."""
        self.n_tokens += 1
        if token in self.writing.stop_tokens or loaded.ends(token):
            return self.finish("stop")
        piece = loaded.spell(token)
        # a stop may have begun in the text before this piece, but no further back than its own length
        n_before = len(self.text)
        self.text += piece
        found = [self.text.find(stop, max(0, n_before - len(stop) + 1)) for stop in self.writing.stops]
        places = [place for place in found if place >= 0]
        if places:
            self.text = self.text[: min(places)]
            return self.finish("stop")
        if self.n_tokens >= self.writing.max_tokens:
            return self.finish("length")
        self.token = token
        return None

    def finish(self, why: str) -> Written:
        """The text so far; a character cut in its middle at the end is left out."""
        return Written(decode_text(self.text), self.n_tokens, why)


def decode_text(raw: bytes) -> str:
    """UTF-8 as text: a character that is not finished at the end is dropped, other broken bytes become U+FFFD."""
    for n_cut in range(min(3, len(raw)) + 1):
        try:
            return raw[: len(raw) - n_cut].decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                break
    return raw.decode("utf-8", "replace")


class Sequences:
    """The scheduler over one loaded model. Not for several threads. `seed` decides what is drawn."""

    def __init__(self, loaded: LoadedModel, seed: int = 0) -> None:
        self.loaded = loaded
        self.seed = seed
        self._reset()

    def _reset(self) -> None:
        self.loaded.drop_all()
        self._free = list(range(self.loaded.n_sequences))
        self._ready: list[Segment] = []  # a stack: the last is the next to start
        self._running: list[Segment] = []
        self._resident: dict[Segment, None] = {}  # computed, with children still to start
        self._writers: dict[int, _Writer] = {}
        self._writing: list[_Writer] = []  # those past their prompt
        self._n_starting = 0  # writers whose prompt is being computed
        self._n_held = self._n_held_window = 0
        self._limit = self.loaded.n_batch

    def score(self, scorings: Sequence[Scoring], told: Callable[[int, Scored], None] | None = None) -> list[Scored]:
        """The likelihood of each continuation; `told` hears each the moment it is known, what it raises ends the call.

        Raises TooLongError for a request of more tokens than a sequence's context.
        """
        answers: list[Scored | None] = [None] * len(scorings)

        def note(request: int, scored: Scored) -> None:
            answers[request] = scored
            if told is not None:
                told(request, scored)

        keys, asked = [], []
        for request, scoring in enumerate(scorings):
            self._check_tokens(scoring.context, "context")
            if len(scoring.continuation) == 0:
                note(request, Scored(0.0, True))
                continue
            self._check_tokens(scoring.continuation, "continuation")
            # the last token is only asked about, never computed
            keys.append(np.asarray([*scoring.context, *scoring.continuation[:-1]], dtype=np.int32))
            asked.append(request)
            self._check_length(len(keys[-1]), request)
        order = sorted(range(len(keys)), key=lambda i: sort_key(keys[i]))
        root, leaves = grow([keys[i] for i in order])
        for leaf, i in zip(leaves, order, strict=True):
            scoring = scorings[asked[i]]
            targets = np.asarray(scoring.continuation, dtype=np.int64)
            spread_wants(leaf, asked[i], len(scoring.context) - 1, targets)
        self._totals = np.zeros(len(scorings), dtype=np.float64)
        self._greedy = np.ones(len(scorings), dtype=np.bool_)
        self._left = np.asarray([len(s.continuation) for s in scorings], dtype=np.int64)
        self._note_scored = note
        self._run(root)
        return [answer for answer in answers if answer is not None]

    def write(self, writings: Sequence[Writing], told: Callable[[int, Written], None] | None = None) -> list[Written]:
        """The text written on from each prompt; `told` hears each the moment it is known, what it raises ends the call.

        What is drawn depends on the seed, the prompt and how often the same prompt came before in this call, not on
        what else is asked. Equal greedy requests are written once. Raises TooLongError where a prompt and its
        `max_tokens` exceed a sequence's context. Raises BadInputError for fewer than one token asked.
        """
        answers: list[Written | None] = [None] * len(writings)
        same: dict[int, list[int]] = {}

        def note(request: int, written: Written) -> None:
            for twin in same.get(request, [request]):
                answers[twin] = written
                if told is not None:
                    told(twin, written)

        first_of: dict[tuple[bytes, Writing], int] = {}
        times_seen: dict[bytes, int] = {}
        prompts: list[tuple[bytes, Tokens, int]] = []
        writers: dict[int, _Writer] = {}
        for request, writing in enumerate(writings):
            self._check_tokens(writing.prompt, "prompt")
            if writing.max_tokens < 1:
                raise BadInputError(f"max_tokens wants at least 1, got {writing.max_tokens!r} in request {request}")
            self._check_length(len(writing.prompt) + writing.max_tokens - 1, request)
            tokens = np.asarray(writing.prompt, dtype=np.int32)
            key = sort_key(tokens)
            chance = None
            if writing.sampling.temperature == 0:
                plain = Writing((), writing.max_tokens, writing.stops, writing.stop_tokens, writing.sampling)
                first = first_of.setdefault((key, plain), request)
                same.setdefault(first, []).append(request)
                if first != request:
                    continue
            else:
                chance = self._make_chance(key, times_seen.get(key, 0))
                times_seen[key] = times_seen.get(key, 0) + 1
            writers[request] = _Writer(request, writing, chance)
            prompts.append((key, tokens, request))
        self._note_written = note
        self._writers = writers
        self._run(self._plant_prompts(prompts))
        return [answer for answer in answers if answer is not None]

    def _make_chance(self, key: bytes, n_before: int) -> np.random.Generator:
        digest = hashlib.sha256(key).digest()
        return np.random.default_rng([self.seed, n_before, *np.frombuffer(digest, dtype=np.uint32).tolist()])

    def _plant_prompts(self, prompts: list[tuple[bytes, Tokens, int]]) -> Segment:
        """The tree of prompts. The last token of each is a segment of its own, for each goes on by itself."""
        prompts.sort(key=lambda prompt: prompt[0])
        longer = [prompt for prompt in prompts if len(prompt[1]) > 1]
        root, leaves = grow([tokens[:-1] for _, tokens, _ in longer])
        parents = {request: leaf for (_, _, request), leaf in zip(longer, leaves, strict=True)}
        for _, tokens, request in prompts:
            parent = parents.get(request, root)
            last = Segment(parent, parent.end, tokens[-1:])
            last.writer, last.n_reserved = request, self._writers[request].writing.max_tokens - 1
            parent.children.append(last)
        join_single_children(root)
        return root

    def _check_tokens(self, tokens: Sequence[int], what: str) -> None:
        if len(tokens) == 0:
            raise BadInputError(f"a {what} wants at least one token, got none")
        if min(tokens) < 0 or max(tokens) >= self.loaded.n_vocab:
            raise BadInputError(
                f"a {what} wants tokens from 0 to {self.loaded.n_vocab - 1}, got {min(tokens)!r} to {max(tokens)!r}"
            )

    def _check_length(self, n_tokens: int, request: int) -> None:
        if n_tokens > self.loaded.context_tokens:
            raise TooLongError(
                f"request {request} wants {n_tokens} tokens of context, a sequence has {self.loaded.context_tokens}; "
                "shorten it or open the model with a larger context"
            )

    def _run(self, root: Segment) -> None:
        """Compute every segment below the root. The context is empty before and after, whatever happens."""
        try:
            for segment in list_segments(root):
                segment.sort_wants()
                segment.n_waiting = len(segment.children)
            self._root = root
            self._ready = root.children[::-1]
            while self._ready or self._running or self._writing:
                self._step()
        finally:
            self._reset()

    def _step(self) -> None:
        batch = self.loaded.batch
        batch.clear()
        n_rows = 0
        # llama.cpp takes recurrent states together where their numbers follow one another
        self._writing.sort(key=lambda writer: writer.segment.sequence if writer.segment else -1)
        writing = self._writing[: self._limit]
        for writer in writing:
            assert writer.segment is not None
            token = np.asarray([writer.token], dtype=np.int32)
            batch.add(token, writer.position, writer.segment.sequence, np.zeros(1, dtype=np.int64))
            n_rows += 1
        pieces = self._add_pieces(n_rows)
        if batch.n == 0:
            self._make_room()
            return
        n_rows += sum(len(wanted) for _, _, wanted in pieces)
        rows = self.loaded.decode(n_rows, is_prefill=bool(pieces))
        if rows is None:
            self._shrink(batch.n)
            return
        self._limit = min(self._limit * 2, self.loaded.n_batch)
        for segment, n_tokens, _ in pieces:
            segment.n_computed += n_tokens
        self._read_writers(writing, rows)
        n_read = len(writing)
        asked: list[tuple[NDArray[np.int64], ...]] = []
        for segment, n_tokens, wanted in pieces:
            low, high = np.searchsorted(segment.offsets, (segment.n_computed - n_tokens, segment.n_computed))
            if low < high:
                places = np.searchsorted(wanted, segment.offsets[low:high] - (segment.n_computed - n_tokens))
                asked.append((places + n_read, segment.requests[low:high], segment.targets[low:high]))
            n_read += len(wanted)
            if segment.n_computed == len(segment.tokens):
                self._follow(segment, rows[n_read - 1 : n_read])
        if asked:
            self._take_scores(rows, *map(np.concatenate, zip(*asked, strict=True)))
        self._running = [s for s in self._running if s.n_computed < len(s.tokens)]

    def _add_pieces(self, n_rows: int) -> list[tuple[Segment, int, NDArray[np.int64]]]:
        """Fill the batch with pieces of segments: what, how many tokens, and which places' logits are wanted."""
        batch = self.loaded.batch
        pieces: list[tuple[Segment, int, NDArray[np.int64]]] = []
        turn = 0
        while batch.n < self._limit:
            if turn == len(self._running) and not self._start_next():
                break
            segment = self._running[turn]
            turn += 1
            first = segment.n_computed
            n_tokens = min(self._limit - batch.n, len(segment.tokens) - first)
            wanted = self._list_wanted(segment, first, first + n_tokens)
            n_left = max(0, self.loaded.n_rows - n_rows)
            if len(wanted) > n_left:
                n_tokens, wanted = int(wanted[n_left]), wanted[:n_left]
            if n_tokens == 0:
                break
            batch.add(segment.tokens[first : first + n_tokens], segment.start + first, segment.sequence, wanted)
            n_rows += len(wanted)
            pieces.append((segment, n_tokens, wanted))
        return pieces

    def _list_wanted(self, segment: Segment, first: int, end: int) -> NDArray[np.int64]:
        """Places from `first` to `end` whose logits are wanted, counted from `first`."""
        low, high = np.searchsorted(segment.offsets, (first, end))
        places = np.unique(segment.offsets[low:high]) - first
        if segment.writer >= 0 and end == len(segment.tokens):
            return np.append(places, end - 1 - first)
        return places

    def _start_next(self) -> bool:
        """Start the segment at the top of the stack where a sequence and enough cells are free; whether it was."""
        if not self._ready:
            return False
        segment, loaded = self._ready[-1], self.loaded
        parent = segment.parent
        assert parent is not None
        if segment.writer >= 0 and len(self._writing) + self._n_starting >= loaded.plan.n_seq:
            return False
        n_held = len(segment.tokens) + segment.n_reserved
        n_window = n_held
        if parent is self._root and not segment.children and loaded.n_window_cells < loaded.n_cells:
            n_window = min(n_held, loaded.window_tokens)
        n_window_cells = loaded.n_window_cells
        if n_window_cells < loaded.n_cells:
            n_window_cells -= loaded.n_ubatch
        if self._n_held + n_held > loaded.n_cells or self._n_held_window + n_window > n_window_cells:
            return False
        if parent.n_waiting == 1 and parent.sequence >= 0:
            segment.sequence, parent.sequence = parent.sequence, -1
            del self._resident[parent]
        elif self._free:
            segment.sequence = heapq.heappop(self._free)
            if parent.sequence >= 0:
                loaded.copy_sequence(parent.sequence, segment.sequence)
        else:
            return False
        parent.n_waiting -= 1
        segment.is_started = True
        segment.n_held, segment.n_held_window = n_held, n_window
        segment.n_holders = max(1, len(segment.children))
        self._n_held += n_held
        self._n_held_window += n_window
        self._n_starting += segment.writer >= 0
        self._running.append(self._ready.pop())
        return True

    def _read_writers(self, writing: list[_Writer], rows: Rows) -> None:
        """Choose the next token of each text being written."""
        if not writing:
            return
        best = rows[: len(writing)].argmax(axis=1)
        self._writing = self._writing[len(writing) :]
        for i, writer in enumerate(writing):
            writer.position += 1
            self._take_token(writer, rows[i], int(best[i]))

    def _take_token(self, writer: _Writer, row: Rows, best: int) -> None:
        if not np.isfinite(row[best]):
            raise EngineError(NOT_FINITE)
        token = best if writer.chance is None else draw(row, writer.writing.sampling, writer.chance)
        written = writer.take(token, self.loaded)
        if written is None:
            self._writing.append(writer)
            return
        assert writer.segment is not None
        self._release(writer.segment)
        self._note_written(writer.request, written)

    def _follow(self, segment: Segment, last: Rows) -> None:
        """What comes after a computed segment: its children, the text written from its last row, or nothing."""
        if segment.writer >= 0:
            writer = self._writers.pop(segment.writer)
            writer.segment = segment
            self._n_starting -= 1
            self._take_token(writer, last[0], int(last[0].argmax()))
        elif segment.children:
            self._resident[segment] = None
            self._ready += segment.children[::-1]
        else:
            self._release(segment)

    def _take_scores(
        self, rows: Rows, places: NDArray[np.int64], requests: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> None:
        sums, best = normalize(rows)
        values = rows[places, targets] - sums[places]
        np.add.at(self._totals, requests, values)
        np.logical_and.at(self._greedy, requests, best[places] == targets)
        np.subtract.at(self._left, requests, 1)
        for request in dict.fromkeys(requests.tolist()):
            if self._left[request] == 0:
                self._note_scored(request, Scored(float(self._totals[request]), bool(self._greedy[request])))

    def _release(self, segment: Segment) -> None:
        """A segment is done with: free its sequence, and the cells nothing below it needs."""
        self._drop_sequence(segment)
        above: Segment | None = segment
        while above is not None and above is not self._root:
            above.n_holders -= 1
            if above.n_holders > 0:
                return
            self._n_held -= above.n_held
            self._n_held_window -= above.n_held_window
            above = above.parent

    def _drop_sequence(self, segment: Segment) -> None:
        if segment.sequence >= 0:
            self.loaded.drop_sequence(segment.sequence)
            heapq.heappush(self._free, segment.sequence)
            segment.sequence = -1

    def _make_room(self) -> None:
        """Nothing goes on: give up a common beginning, or the sharing of one, so that the next segment can start."""
        top = self._ready[-1]
        above = set()
        segment = top.parent
        while segment is not None:
            above.add(segment)
            segment = segment.parent
        chosen = next((s for s in self._resident if s not in above), None) or next(iter(self._resident), None)
        if chosen is not None:
            self._give_up(chosen)
        elif top.children:
            self._dissolve(self._ready.pop())
        else:
            raise EngineError(
                f"a request wants {len(top.tokens) + top.n_reserved} cells and a sequence; the context has "
                f"{self.loaded.n_cells} and {self.loaded.n_sequences}, none in use"
            )

    def _give_up(self, segment: Segment) -> None:
        """Forget a computed beginning; the children that wait for it compute it again, each for itself."""
        del self._resident[segment]
        waiting = [child for child in segment.children if not child.is_started]
        for child in waiting:
            above: Segment = segment
            while above is segment or (above is not self._root and above.sequence < 0):
                child.prepend(above, take_wants=False)
                assert above.parent is not None
                above = above.parent
            child.parent = above
            above.n_waiting += 1
            above.n_holders += above is not self._root
            above.children.append(child)
        self._drop_sequence(segment)
        segment.n_holders -= len(waiting) - 1
        segment.n_waiting = 0
        self._release(segment)

    def _dissolve(self, segment: Segment) -> None:
        """Do not share a beginning not computed yet: each child takes it over, and the first what is wanted in it."""
        parent = segment.parent
        assert parent is not None
        for i, child in enumerate(segment.children):
            child.prepend(segment, take_wants=i == 0)
            child.parent = parent
        parent.n_waiting += len(segment.children) - 1
        parent.n_holders += (len(segment.children) - 1) * (parent is not self._root)
        parent.children += segment.children
        self._ready += segment.children[::-1]

    def _shrink(self, n_tokens: int) -> None:
        """The engine found no cells for a step: try a smaller one, and give up a beginning that waits."""
        if self._resident:
            self._give_up(next(iter(self._resident)))
        elif n_tokens == 1:
            raise EngineError("llama.cpp finds no free cell for a single token")
        self._limit = max(1, n_tokens // 2)
