"""A frame of numbers together with the words shown for them, made for Streamlit without pandas' HTML in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
from pandas.io.formats.style import Styler


@dataclass(frozen=True, slots=True, eq=False)
class ShownTable:
    """A frame and the words shown in every column of it, one for each row."""

    data: pd.DataFrame
    texts: Mapping[str, Sequence[str]]

    def to_styler(self) -> Styler:
        """The same as what Streamlit takes words from.

        Streamlit has a Styler work out each cell's HTML, of which it reads the words alone and sets them cell by cell
        into the frame as text: twenty milliseconds for 150 rows, at every run of a page
        (streamlit/elements/lib/pandas_styler_utils.py, `marshall_styler`). This Styler works out nothing and names no
        cell; its frame, when asked for as text, is the words.
        """
        told = _ToldFrame(self.data)
        told.in_words = pd.DataFrame(self.texts, index=self.data.index, columns=self.data.columns)
        # a name of its own at every run would have the browser draw anew what has not changed
        styler: Any = Styler(told, uuid="shown")
        styler._compute = lambda: styler
        styler._translate = lambda *_: {"body": []}
        return styler


class _ToldFrame(pd.DataFrame):
    """A frame that is asked for as text only to be shown, and then is in words."""

    _metadata: ClassVar[list[str]] = ["in_words"]
    in_words: pd.DataFrame

    def astype(self, dtype: Any, *args: Any, **settings: Any) -> pd.DataFrame:
        return self.in_words if dtype is str else super().astype(dtype, *args, **settings)
