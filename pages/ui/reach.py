"""Which files and folders of this machine a page may be pointed at.

On a person's own machine: any folder and any GGUF file, never what only looks like a file (/proc, /dev, pipes). Where
the app is open to other machines: the folders the person who started it chose, with everything behind links counted
where it really is.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path

import streamlit as st

from catalog.model_stores import list_stores
from evals.home import find_home_if_usable

FOLDERS_VARIABLE = "WEIGHBRIDGE_MODELS"
"""Folders with models, parted as PATH is, that may also be looked through while the app is open to others."""

MODELS_FOLDER = "models"
SYSTEM_FOLDERS = tuple(Path(name) for name in ("/proc", "/sys", "/dev"))
SUFFIX = ".gguf"


def is_exposed() -> bool:
    """Whether other machines may reach this app: it is not bound to a loopback address."""
    host = str(st.get_option("server.address") or "")
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def find_user_home() -> Path:
    """The user's home; a folder that is not there for a user without one."""
    return Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home raises for such a user)


def list_chosen() -> tuple[Path, ...]:
    """Folders that are always open: those of programs that keep models, the person's own, and those named at start."""
    home = find_home_if_usable()
    own = [home / MODELS_FOLDER] if home is not None else []
    named = [Path(text) for text in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if text]
    stores = [store.folder for store in list_stores(os.environ, find_user_home())]
    return tuple(path.expanduser().absolute() for path in (*stores, *own, *named))


def find_refusal(path: Path) -> str:
    """Why a page may not look at a path, file or folder; empty where it may, or where nothing is there."""
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        return "it is no path"
    if any(real.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        return "it is the system's own, not a place for models"
    if is_exposed() and not is_inside_chosen(real):
        return f"the app is open to other machines and may look only where {FOLDERS_VARIABLE} says"
    return ""


def is_inside_chosen(real: Path) -> bool:
    """Whether a path without links lies in one of the chosen folders."""
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in list_chosen())


def find_file_refusal(path: Path) -> str:
    """Why a page may not read a path as a model file; empty where it may. The file is not opened."""
    if path.suffix.lower() != SUFFIX and not is_inside_chosen(Path(os.path.realpath(path))):
        return f"a model file's name ends in {SUFFIX}"
    if refusal := find_refusal(path):
        return refusal
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "it is no regular file"
