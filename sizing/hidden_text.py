"""Text that must not show itself by accident: keys and tokens of the rooms that send them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

HIDDEN = "***"


class HiddenText:
    """A text that shows itself as "***": printed, in a debugger, in an f-string. It cannot be pickled.

    `reveal()` gives the text itself; only the line that sends it needs that. An empty one means there is none.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is hidden is not stored: pass it by the environment")

    def reveal(self) -> str:
        """The text itself."""
        return self._value


def hide(text: str, forms: Iterable[str]) -> str:
    """`text` with each of these forms of a hidden one replaced by "***"; an empty form hides nothing.

    >>> hide("key=abc&x=1", ("abc", ""))
    'key=***&x=1'
    """
    for form in filter(None, forms):
        text = text.replace(form, HIDDEN)
    return text
