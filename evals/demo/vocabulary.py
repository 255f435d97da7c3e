"""The demonstration model's own tokenizer: byte-level pairs, learned from its corpus, and its chat format.

The file names llama.cpp's `qwen2` splitting (every digit a token of its own); `SPLIT` says the same for ASCII, which is
all the corpus holds. Byte-level letters are those of GPT-2: a printable stand-in for each of the 256 bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (END, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Turn after turn without line breaks. A system message is left out: the model has never seen one."""

SPLIT = re.compile(
    r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def list_byte_letters() -> tuple[str, ...]:
    """A printable character for each byte: itself where it prints, else the next free one from 256 upwards."""
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    free = iter(range(256, 512))
    return tuple(chr(byte if byte in printing else next(free)) for byte in range(256))


LETTERS = list_byte_letters()


def spell(text: str) -> tuple[str, ...]:
    """`text` as the stand-ins of its UTF-8 bytes."""
    return tuple(LETTERS[byte] for byte in text.encode())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens in order of their number (specials first, then bytes, then merges) and the merges in order of rank."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    def encoder(self) -> Encoder:
        """What turns text into token numbers."""
        return Encoder(self)


class Encoder:
    """Text to token numbers by the merges of a vocabulary; each word is worked out once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = {token: i for i, token in enumerate(vocabulary.tokens)}
        self._ranks = {pair: i for i, pair in enumerate(vocabulary.merges)}
        self._known: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """The tokens of plain text; what looks like a special token in it is read as letters."""
        return [token for word in SPLIT.findall(text) for token in self._encode_word(word)]

    def encode_turn(self, prompt: str, answer: str) -> tuple[list[int], list[int]]:
        """One turn of a chat as the tokens up to the answer, and those of the answer with its end."""
        user, assistant, end = self._ids[USER], self._ids[ASSISTANT], self._ids[END]
        return [user, *self.encode(prompt), end, assistant], [*self.encode(answer), end]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word not in self._known:
            parts = spell(word)
            while len(parts) > 1:
                rank, pair = min((self._ranks.get(pair, len(self._ranks)), pair) for pair in pairwise(parts))
                if rank == len(self._ranks):
                    break
                parts = join_pair(parts, pair)
            self._known[word] = tuple(self._ids[part] for part in parts)
        return self._known[word]


def join_pair(parts: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    """`parts` with every occurrence of `pair`, from the left, made one part."""
    joined: list[str] = []
    i = 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            joined.append(parts[i] + parts[i + 1])
            i += 2
        else:
            joined.append(parts[i])
            i += 1
    return tuple(joined)


def learn_vocabulary(texts: Iterable[str], n_tokens: int) -> Vocabulary:
    """The vocabulary of `n_tokens` tokens that joins the most frequent pair of neighbours again and again.

    Equal counts are settled by the pair's spelling, so that the same texts give the same vocabulary. There may be
    fewer tokens when no pair is left.
    """
    words = {spell(word): n for word, n in Counter(w for text in texts for w in SPLIT.findall(text)).items()}
    merges: list[tuple[str, str]] = []
    while len(SPECIALS) + len(LETTERS) + len(merges) < n_tokens:
        counts: Counter[tuple[str, str]] = Counter()
        for parts, n in words.items():
            for pair in pairwise(parts):
                counts[pair] += n
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        joined: Counter[tuple[str, ...]] = Counter()
        for parts, n in words.items():
            joined[join_pair(parts, best) if best[0] in parts else parts] += n
        words = dict(joined)
    return Vocabulary((*SPECIALS, *LETTERS, *(a + b for a, b in merges)), tuple(merges))
