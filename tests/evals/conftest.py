"""One engine child for all tests of this folder, and the specs they ask it about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.models import load_families
from evals.dry_run import EngineChild
from sizing.specs import ModelSpec


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineChild]:
    with EngineChild() as child:
        yield child


@pytest.fixture(scope="session")
def specs() -> dict[str, ModelSpec]:
    return {card.model_id: card.spec for card in load_families()}
