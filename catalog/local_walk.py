"""Looking through folders that somebody else filled: bounded in depth, entries and time, and never led astray by links.

What is met on the way that a person should hear of (folders that cannot be read, pipes, links that lead out) is one
sentence each. Nothing is opened here.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

UNFINISHED = (".incomplete", ".downloadinprogress", ".part", ".partial", ".crdownload", ".aria2", ".tmp")
"""Endings of files that a download has not finished (of the Hub, llama.cpp, browsers and download programs)."""

KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How far a search goes: levels below a folder, entries and files in all, seconds, and sentences kept."""

    depth: int = 12
    n_entries: int = 200_000
    n_files: int = 5000
    seconds: float = 20.0
    n_problems: int = 200


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: where it is named, where it really is (another place behind a link), and its state."""

    path: Path
    real: Path
    size_bytes: int
    modified_ns: int
    key: tuple[int, int]


@dataclass(slots=True)
class Search:
    """What one search has used of its limits, and what it has to say. `clock` is monotonic, in seconds."""

    limits: SearchLimits
    clock: Callable[[], float] = time.monotonic
    problems: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    n_entries: int = 0
    n_files: int = 0
    n_unsaid: int = 0
    started: float = -1.0

    def say(self, problem: str) -> None:
        """Keep a sentence, or count it where there are too many."""
        if len(self.problems) < self.limits.n_problems:
            self.problems.append(problem)
        else:
            self.n_unsaid += 1

    def find_stop(self) -> str | None:
        """Why the search must end now, or None."""
        if self.started < 0:
            self.started = self.clock()
        if self.n_entries >= self.limits.n_entries:
            return f"{self.limits.n_entries:,} entries were looked at"
        if self.n_files >= self.limits.n_files:
            return f"{self.limits.n_files:,} files were found"
        if self.clock() - self.started > self.limits.seconds:
            return f"{self.limits.seconds:g} seconds had passed"
        return None

    def has_ended(self, folder: Path) -> bool:
        """Whether the search must end; says so once per folder."""
        stop = self.find_stop()
        if stop is None:
            return False
        self.end_early(f"{show(folder)} was not looked through to the end: {stop}")
        return True

    def end_early(self, sentence: str) -> None:
        """Keep a sentence about something left out, once."""
        if sentence not in self.truncated and len(self.truncated) < self.limits.n_problems:
            self.truncated.append(sentence)

    def list_folder(self, folder: Path) -> tuple[os.DirEntry[str], ...]:
        """The entries of a folder by name; none, and a sentence, where it cannot be read."""
        entries: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    self.n_entries += 1
                    entries.append(entry)
                    if self.n_entries >= self.limits.n_entries:
                        break
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            self.say(f"{show(folder)} cannot be read: {describe(error)}")
        return tuple(sorted(entries, key=lambda entry: entry.name))


def walk_files(
    root: Path, search: Search, wanted: Callable[[str], bool], passed_over: Callable[[Path], bool] = lambda path: False
) -> Iterator[FoundFile]:
    """Regular files under `root` whose name is `wanted`, folder by folder, without the folders to be `passed_over`.

    Links to folders are never followed, links to files only where they stay under `root`. Says what it passes over.
    """
    top = find_real(root)
    if top is None:
        return
    waiting = [(top, 0)]
    while waiting and not search.has_ended(root):
        folder, depth = waiting.pop()
        deeper = []
        for entry in search.list_folder(folder):
            if search.has_ended(root):
                return
            if is_folder(entry):
                if not passed_over(Path(entry.path)):
                    deeper.append((Path(entry.path), depth + 1))
            elif wanted(entry.name):
                found = look_at(Path(entry.path), top, search)
                if found is not None:
                    search.n_files += 1
                    yield found
        if deeper and depth >= search.limits.depth:
            search.end_early(
                f"{show(root)} has folders more than {search.limits.depth} levels deep, which are left out"
            )
        else:
            waiting.extend(reversed(deeper))


def look_at(path: Path, inside: Path, search: Search) -> FoundFile | None:
    """A file to be opened later: regular, not empty, and really under `inside`. None, and a sentence, for any other."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(inside):
            search.say(f"{show(path)} is a link that leads out of {show(inside)}; it is not followed")
            return None
        state = real.stat(follow_symlinks=False)
    except FileNotFoundError:
        search.say(f"{show(path)} is a link to a file that is not there")
        return None
    except (OSError, ValueError) as error:
        search.say(f"{show(path)} cannot be looked at: {describe(error)}")
        return None
    kind = next((name for test, name in KINDS if test(state.st_mode)), None)
    if kind is not None:
        search.say(f"{show(path)} is {kind}, no file")
        return None
    if state.st_size == 0:
        search.say(f"{show(path)} is empty")
        return None
    return FoundFile(path, real, state.st_size, state.st_mtime_ns, (state.st_dev, state.st_ino))


def find_real(folder: Path) -> Path | None:
    """A folder without links in its own path; None where there is no such folder."""
    try:
        real = Path(os.path.realpath(folder, strict=True))
        return real if real.is_dir() else None
    except (OSError, ValueError):
        return None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder itself, no link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def find_modified_ns(entry: os.DirEntry[str]) -> int:
    """When an entry was last changed, in nanoseconds since 1970; 0 where it is gone."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def show(path: Path | str) -> str:
    """A path for a sentence: on one line, whatever bytes are in it."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def describe(error: Exception) -> str:
    """Why the system refused, in its own words."""
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error).split("\n", 1)[0] or type(error).__name__
