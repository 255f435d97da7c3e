"""Model files and servers on this machine, as the Import page asks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from catalog.importing_local import add_files, import_file
from catalog.local_models import LocalFindings, LocalModel, find_local_models
from catalog.model_stores import list_stores
from evals.home import find_home
from evals.running import RunningServer, find_running
from pages.ui import cached, import_jobs, inputs, reach
from sizing.errors import WeighbridgeError

KEPT_S = 300


@dataclass(frozen=True, slots=True)
class Told:
    """What came of taking in one file: the model and quantization it is sized by, or why it was refused."""

    name: str
    model_id: str = ""
    quant: str = ""
    problem: str = ""


@st.cache_resource(show_spinner="Looking for model files", max_entries=8, ttl=KEPT_S)
def _find_models(folders: tuple[str, ...], home: str, n_fetched: int) -> LocalFindings:
    stores = list_stores(os.environ, reach.find_user_home())
    own = Path(home) / reach.MODELS_FOLDER
    return find_local_models(stores, (*([own] if own.is_dir() else []), *(Path(f).expanduser() for f in folders)))


def find_models(folders: tuple[str, ...]) -> LocalFindings:
    """Model files other programs keep, those in the person's folder, and those in `folders`."""
    folders = tuple(f for f in folders if not reach.find_refusal(Path(f).expanduser()))  # an address may name any
    n_fetched = sum(state.status == "done" for _, state in import_jobs.downloads().list_all())
    return _find_models(folders, str(find_home()), n_fetched)


def look_again() -> None:
    """Forget what was found."""
    _find_models.clear()


def list_places(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Where is looked, one line each."""
    stores = [f"{store.program}: {store.folder}" for store in list_stores(os.environ, reach.find_user_home())]
    return (*stores, f"your folder: {find_home() / reach.MODELS_FOLDER}", *(f"folder: {folder}" for folder in folders))


def find_refusal(text: str) -> str:
    """Why a folder is left out though it may be there; empty where it is looked through."""
    refusal = reach.find_refusal(Path(text).expanduser())
    return f"{text} is not looked through: {refusal}" if refusal else ""


def check_folder(text: str) -> str:
    """What is wrong with a folder to look through; empty where nothing is."""
    if not text or "|" in text or len(text) > 500 or not text.isprintable():
        return "a folder is wanted, such as /data/models"
    path = Path(text).expanduser()
    try:
        if not path.is_absolute():
            return f"the whole path is wanted, beginning with /, got {text!r}"
        if refusal := find_refusal(text):
            return refusal
        if not path.is_dir():
            return f"there is no folder at {text}; check the path"
        next(path.iterdir(), None)
    except (OSError, ValueError) as error:
        return f"{text} cannot be read ({getattr(error, 'strerror', None) or error})"
    return ""


def take_in(models: Sequence[LocalModel]) -> None:
    """Keep files as models to be sized; what came of each is said by the next run of the page."""
    store = cached.open_imports()
    cards = cached.list_cards()
    told = []
    for local in models:
        try:
            found = import_file([Path(p) for p in local.paths], local.name, local.label, cards)
            store.keep(add_files(store.find(found.card.model_id), found))
        except (WeighbridgeError, OSError) as error:
            told.append(Told(local.name, problem=str(error)))
        else:
            told.append(Told(found.card.name, found.card.model_id, found.files[0].label))
    inputs.remember("local_told", tuple(told))


def find_servers() -> tuple[RunningServer, ...]:
    """Model servers that answer at the usual ports of this machine."""
    return find_running()
