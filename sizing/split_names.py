"""Names of the parts of a model that was split over several GGUF files: "NAME-00001-of-00003.gguf".

As llama.cpp writes them (tools/gguf-split, `llama_split_path`). Names only; where the files lie is the rooms' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<total>[0-9]{5})(?P<ending>\.(?i:gguf))")


@dataclass(frozen=True, slots=True)
class SplitName:
    """One part's name: `number` of `total`, from 1, between the `stem` and the `ending` all parts share."""

    stem: str
    number: int
    total: int
    ending: str = ".gguf"

    def name_part(self, number: int) -> str:
        """The name of another part of the same model."""
        return f"{self.stem}-{number:05}-of-{self.total:05}{self.ending}"


def read_split_name(name: str) -> SplitName | None:
    """What a file's name or path says of its part; None for a file that is no part of one.

    >>> read_split_name("Q8_0/Big-Q8_0-00002-of-00003.gguf")
    SplitName(stem='Q8_0/Big-Q8_0', number=2, total=3, ending='.gguf')
    >>> read_split_name("Big-Q8_0.gguf") is None
    True
    """
    found = _PART.fullmatch(name)
    if found is None:
        return None
    part = SplitName(found["stem"], int(found["number"]), int(found["total"]), found["ending"])
    return part if part.total else None
