"""The person's own folder: results, their database, nothing that belongs in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "WEIGHBRIDGE_HOME"
"""The environment variable that names another folder."""


def find_home() -> Path:
    """The folder, made if it is not there: what `WEIGHBRIDGE_HOME` names, else the platform's user-data folder."""
    named = os.environ.get(HOME_VARIABLE)
    home = Path(named).expanduser() if named else platformdirs.user_data_path("weighbridge")
    home.mkdir(parents=True, exist_ok=True)
    return home


def find_home_if_usable() -> Path | None:
    """The folder, None where it cannot be made: what only reads goes on without it."""
    try:
        return find_home()
    except OSError:
        return None
