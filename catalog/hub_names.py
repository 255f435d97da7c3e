"""Names of repositories, revisions and files: checked before anything is asked of the Hub, and in what it answers."""

from __future__ import annotations

import re
import unicodedata

from sizing.errors import HubError

MAX_REPO_ID_CHARACTERS = 96
"""The longest repository id the Hub takes (huggingface_hub/utils/_validators.py, `REPO_ID_REGEX`)."""

MAX_REVISION_CHARACTERS = 200
MAX_PATH_CHARACTERS = 1024
MAX_SEGMENT_BYTES = 255
"""The longest name of one file that common file systems hold."""

_REPO_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+=@-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DRIVE = re.compile(r"[A-Za-z]:")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def check_repo_id(repo_id: str) -> str:
    """The id itself, "owner/name" or an old "name". Raises HubError ("name") for what no repository is called."""
    problem = ""
    if len(repo_id) > MAX_REPO_ID_CHARACTERS:
        problem = f"it has {len(repo_id):,} characters, {MAX_REPO_ID_CHARACTERS} are allowed"
    elif not _REPO_ID.fullmatch(repo_id):
        problem = "write it as owner/name, as it stands in the address of its page"
    elif "--" in repo_id or ".." in repo_id or repo_id.endswith((".git", ".", "-")):
        problem = "no repository has '--' or '..' in its name, or ends in '.', '-' or '.git'"
    if problem:
        raise HubError("name", f"{quote_name(repo_id)} is no repository of the Hub: {problem}")
    return repo_id


def check_revision(revision: str) -> str:
    """The branch, tag or commit itself. Raises HubError ("name") for what none is called."""
    is_sound = _REVISION.fullmatch(revision) and len(revision) <= MAX_REVISION_CHARACTERS
    if not is_sound or ".." in revision or "//" in revision or revision.endswith(("/", ".", ".lock")):
        raise HubError("name", f"{quote_name(revision)} is no revision: give a branch, a tag or a commit, such as main")
    return revision


def check_commit(commit: str) -> str:
    """A full commit itself: 40 hexadecimal digits. Raises HubError ("name")."""
    if not _COMMIT.fullmatch(commit):
        raise HubError("name", f"{quote_name(commit)} is no commit: 40 hexadecimal digits were expected")
    return commit


def check_path(path: str) -> str:
    """The path of a file in a repository itself. Raises HubError ("name") for one that is not below its root."""
    if problem := find_path_problem(path):
        raise HubError("name", f"the file name {quote_name(path)} is refused: {problem}")
    return path


def find_path_problem(path: str) -> str | None:
    """Why a file's path in a repository may not be used, or None."""
    if not path or len(path) > MAX_PATH_CHARACTERS:
        return f"it has {len(path):,} characters, 1 to {MAX_PATH_CHARACTERS:,} are allowed"
    if any(unicodedata.category(c) in _HIDDEN_CATEGORIES for c in path):
        return "it holds control characters, or such that turn the direction of text"
    if "\\" in path or _DRIVE.match(path):
        return "it is written for another system"
    if path.startswith(("/", "~")):
        return "it does not start in the repository"
    segments = path.split("/")
    if ".." in segments or "." in segments or "" in segments:
        return "it climbs out of its folder"
    if any(len(segment.encode("utf-8")) > MAX_SEGMENT_BYTES for segment in segments):
        return f"a part of it is longer than {MAX_SEGMENT_BYTES} bytes"
    return None


def quote_name(name: str) -> str:
    """A name for one line of a message: escaped, at most about 80 characters."""
    return ascii(name[:80]) + ("..." if len(name) > 80 else "")
