"""What a model's licence means for the profile in the context bar: the one place where the comparison asks."""

from __future__ import annotations

from catalog.compare import Compared, LicenseWord, say_verdict
from pages.ui import cached
from pages.ui.questions import Wishes


def find_verdict(model: Compared, wishes: Wishes) -> LicenseWord:
    """The verdict for the person's profile in two words, and its reason with the duties."""
    return say_verdict(cached.find_verdict(model.card.model_id), wishes.license_use)
