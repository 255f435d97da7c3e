"""How Streamlit's cache finds an answer by its question without taking the question apart each time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from itertools import count
from typing import Any

from catalog.compare import CompareQuestion
from sizing.engines.base import EngineOptions
from sizing.engines.offers import EngineQuestion
from sizing.finetune_setup import FineTuneSetup
from sizing.hardware import Machine
from sizing.license_profile import LicenseProfile
from sizing.recommend import MeasuredHere, Needs
from sizing.solver import Asked
from sizing.workload import Workload

_NUMBERS = count()


@lru_cache(maxsize=4096)
def number_of(question: Hashable) -> int:
    """A number for a question, the same for equal ones as long as it is among the 4096 asked last.

    Streamlit copies a question into dictionaries and hashes every field of every device of its machine, a millisecond
    at each of a page's twenty calls; a question knows its own hash.
    """
    return next(_NUMBERS)


BY_NUMBER: dict[type | str, Callable[[Any], int]] = dict.fromkeys(
    (
        *(Machine, Workload, Needs, LicenseProfile, MeasuredHere, Asked),
        *(EngineQuestion, EngineOptions, FineTuneSetup, CompareQuestion),
        "pages.ui.cached.Setup",
        "pages.ui.engine_answers.EngineAsk",
        "pages.ui.many_machines.ClusterAsk",
    ),
    number_of,
)
"""The questions that `st.cache_resource(hash_funcs=BY_NUMBER)` finds so: frozen, and equal only where answers are."""
