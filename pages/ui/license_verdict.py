"""What a licence means for the use that the context bar names: the one place where the comparison asks."""

from __future__ import annotations

from catalog.compare import LicenseWord, say_license
from catalog.licenses import License
from pages.ui.questions import Wishes


def find_verdict(terms: License, wishes: Wishes) -> LicenseWord:
    """The verdict of a licence for the person's use in two words, and its reason with the duties."""
    return say_license(terms, wishes.license_use)
