"""One equation, written once for the pages, the reference and whoever reads the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Formula:
    """One quantity: `name` = `words`, and the same as `tex`; `symbols` tells each sign's meaning with its unit.

    `computed_by` is the function, method or property that computes it. `source` is where the rule was read, empty
    where it is plain counting.
    """

    name: str
    words: str
    tex: str
    symbols: tuple[tuple[str, str], ...]
    computed_by: object
    source: str = ""

    @property
    def in_words(self) -> str:
        """The whole equation as a sentence says it."""
        return f"{self.name} = {self.words}"

    @property
    def function(self) -> str:
        """The full dotted name of what computes it."""
        found = self.computed_by.fget if isinstance(self.computed_by, property) else self.computed_by
        return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
