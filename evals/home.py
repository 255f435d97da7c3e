"""The person's own folder: results, their database, nothing that belongs in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from sizing.errors import UserStoreError

HOME_VARIABLE = "WEIGHBRIDGE_HOME"
"""The environment variable that names another folder."""


def find_home() -> Path:
    """The folder, made if it is not there: what `WEIGHBRIDGE_HOME` names, else the platform's user-data folder.

    Raises UserStoreError where there is none and none can be made: a user without a home, a file in its place.
    """
    named = os.environ.get(HOME_VARIABLE)
    try:
        home = Path(named).expanduser() if named else platformdirs.user_data_path("weighbridge")
        home = home.absolute()
        home.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        told = f"your folder for results and imports cannot be made ({error}); name another in {HOME_VARIABLE}"
        raise UserStoreError(told) from error
    return home


def find_home_if_usable() -> Path | None:
    """The folder, None where it cannot be made: what only reads goes on without it."""
    try:
        return find_home()
    except OSError:
        return None
