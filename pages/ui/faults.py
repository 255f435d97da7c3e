"""What is wrong with the person's folder, said on every page until it is over; the page goes on without it."""

from __future__ import annotations

import os
import shutil

from evals.home import find_home
from evals.run_files import MAX_LINE_BYTES
from evals.user_store import UserStore
from pages.ui import cached, eval_queue, measured
from sizing.errors import UserStoreError
from sizing.units import format_bytes


def list_problems() -> tuple[str, ...]:
    """One line each with what to do, each once; nothing is raised."""
    try:
        home = find_home()
    except UserStoreError as error:
        return (*cached.catalog().notes, f"{error}; until then nothing is kept")
    found = [
        *cached.catalog().notes,
        find_folder_problem(str(home)),
        measured.find_problem(),
        eval_queue.find_queue_problem(),
        UserStore(home).find_note(),
    ]
    return tuple(dict.fromkeys(problem for problem in found if problem))


def find_folder_problem(home: str) -> str:
    """Why nothing can be written to the folder; empty where it can. Room for one answer is wanted."""
    if not os.access(home, os.W_OK | os.X_OK):
        return (
            f"{home} cannot be written, so nothing new is kept; make it writable or name another folder in "
            "WEIGHBRIDGE_HOME"
        )
    try:
        free_bytes = shutil.disk_usage(home).free
    except OSError:
        return ""
    if free_bytes >= MAX_LINE_BYTES:
        return ""
    free = format_bytes(free_bytes)
    return f"the disk of {home} is full ({free} free), so nothing new is kept; free some room, what is there stays"
