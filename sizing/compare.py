"""Models side by side: rows of facts, which rows differ, and which value of a row is the best where one can be.

A row is best told by what it is: a number in a unit, with an interval where it is uncertain, and words for a reader.
Nothing is worked out here but the comparison itself; the numbers come from the sizing functions and the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizing.errors import BadInputError

MAX_MODELS = 6
"""Models that can be told apart in one table and one chart."""

Better = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One model's value in a row: what a reader sees, and the number behind it in the row's unit.

    `value` is None where there is no number or none is known; `low` and `high` are the ends of its interval.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One fact of every model. `unit` is that of the numbers, "" for words; `better` says which way is better.

    `better` is None where neither way is: more layers are not better, and scores reported by different parties under
    different settings do not say.
    """

    group: str
    label: str
    cells: tuple[Cell, ...]
    unit: str = ""
    better: Better | None = None

    @property
    def differs(self) -> bool:
        """Whether the models are not all alike here."""
        return len(set(self.cells)) > 1

    @property
    def best(self) -> frozenset[int]:
        """The places of the best cells; several where their intervals overlap or their values are equal.

        Empty where no way is better, where fewer than two values are known, or where all of the known are level.
        """
        known = [i for i, cell in enumerate(self.cells) if cell.value is not None]
        if self.better is None or len(known) < 2:
            return frozenset()
        sign = 1.0 if self.better == "more" else -1.0
        ends = {i: _ends(self.cells[i], sign) for i in known}
        top = max(known, key=lambda i: (sign * (self.cells[i].value or 0.0), ends[i]))
        level = frozenset(i for i in known if ends[i][1] >= ends[top][0])
        return level if len(level) < len(known) else frozenset()


def _ends(cell: Cell, sign: float) -> tuple[float, float]:
    """The worse and the better end of a cell's interval, turned so that more is better."""
    value = cell.value or 0.0
    ends = [sign * (value if end is None else end) for end in (cell.low, cell.high)]
    return min(ends), max(ends)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """Where facts of a model were read: its name, what was read, the address and when."""

    model: str
    what: str
    url: str
    as_of: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole comparison: the models in their order, rows, what was assumed, and the sources."""

    model_ids: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    assumptions: tuple[str, ...]
    sources: tuple[SourceLine, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of rows in their order."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    @property
    def n_different(self) -> int:
        """How many rows differ."""
        return sum(row.differs for row in self.rows)

    def of_group(self, group: str, *, only_different: bool = False) -> tuple[Row, ...]:
        """The rows of one group, all of them or those that differ."""
        return tuple(r for r in self.rows if r.group == group and (r.differs or not only_different))


def check_count(n_models: int, least: int = 0) -> None:
    """Raises BadInputError for more models than stand side by side, or fewer than `least`."""
    if not least <= n_models <= MAX_MODELS:
        wanted = f"{least} to {MAX_MODELS}" if least else f"at most {MAX_MODELS}"
        raise BadInputError(f"a comparison wants {wanted} models, got {n_models}; leave some out or add some")


def mark_best(row: Row, place: int) -> str:
    """The word that stands beside a best value; "" where there is nothing to say.

    >>> row = Row("Machine", "Memory", (Cell("8", 8.0), Cell("9", 9.0)), "bytes", "less")
    >>> [mark_best(row, 0), mark_best(row, 1)]
    ['best', '']
    """
    best = row.best
    if place not in best:
        return ""
    return "best" if len(best) == 1 else "among the best"
