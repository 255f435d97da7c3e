"""The folder in which every tool of the Hub keeps models: where a file lies there, and how one is put in soundly.

A repository's folder holds `blobs` (content, named by its hash), `snapshots/COMMIT/path` (links to blobs) and `refs`
(which commit a branch is at); https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Nothing here uses the
network. What is half there is `blobs/HASH.weighbridge.incomplete`, so that no other tool goes on with it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from catalog.hub_names import check_commit, check_path, check_repo_id, check_revision
from catalog.hub_secret import TRUE_WORDS
from catalog.imported import HubFile
from sizing.errors import HubError
from sizing.units import MIB

READ_BYTES = 4 * MIB
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def find_repo_dir(cache_dir: Path, repo_id: str) -> Path:
    """The folder of a model repository."""
    return cache_dir / f"models--{check_repo_id(repo_id).replace('/', '--')}"


def find_snapshot_path(cache_dir: Path, repo_id: str, commit: str, path: str) -> Path:
    """Where a file of a commit lies, whether it is there or not. Raises HubError ("name")."""
    return find_repo_dir(cache_dir, repo_id) / "snapshots" / check_commit(commit) / check_path(path)


def find_blob_path(cache_dir: Path, repo_id: str, name: str) -> Path:
    """Where content of a hash lies. Raises HubError ("name")."""
    if not _NAME.fullmatch(name):
        raise HubError("name", f"the Hub gave {name[:80]!a} as a file's hash, which it cannot be")
    return find_repo_dir(cache_dir, repo_id) / "blobs" / name


def find_blob_name(pointer: Path) -> str:
    """The hash that a file in a snapshot is named by where it is a link to its blob, else ""."""
    return pointer.readlink().name if pointer.is_symlink() else ""


def find_partial_path(blob: Path) -> Path:
    """Where a blob is while it comes in."""
    return blob.with_name(f"{blob.name}.weighbridge.incomplete")


def find_cached_file(cache_dir: Path, repo_id: str, commit: str, file: HubFile) -> Path | None:
    """The file in its snapshot if it is there in its full length, and lies in the cache's own folders; else None."""
    pointer = find_snapshot_path(cache_dir, repo_id, commit, file.path)
    return pointer if is_inside(pointer, cache_dir, repo_id) and _has_length(pointer, file.size_bytes) else None


def count_present_bytes(cache_dir: Path, repo_id: str, commit: str, file: HubFile) -> int:
    """How many bytes of a file need not come any more: all of one that is there, the part of one that was begun."""
    if find_cached_file(cache_dir, repo_id, commit, file) is not None:
        return file.size_bytes or 0
    if not file.sha256:
        return 0
    blob = find_blob_path(cache_dir, repo_id, file.sha256)
    if is_inside(blob, cache_dir, repo_id) and _has_length(blob, file.size_bytes):
        return file.size_bytes or 0
    part = find_length(find_partial_path(blob))
    return part if part <= (file.size_bytes or 0) else 0


def is_inside(path: Path, cache_dir: Path, repo_id: str) -> bool:
    """Whether a path leads, over all links, to a file in the repository's folder or the cache's shared blobs."""
    try:
        real = path.resolve(strict=True)
        roots = (find_repo_dir(cache_dir, repo_id).resolve(), cache_dir.resolve() / "blobs")
        return real.is_file() and any(root in real.parents for root in roots)
    except (OSError, RuntimeError):  # nothing there, or links in a circle
        return False


def find_length(path: Path) -> int:
    """Bytes of a regular file that is no link, 0 for anything else."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


@contextlib.contextmanager
def hold_blob(cache_dir: Path, repo_id: str, name: str) -> Iterator[None]:
    """Keep others from fetching the same blob, by the lock that the Hub's own library takes too.

    Raises HubError ("busy") where another process has it, OSError where the cache cannot be written.
    """
    path = cache_dir / ".locks" / find_repo_dir(cache_dir, repo_id).name / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _lock(path)
    if handle is None:
        raise HubError("busy", "another program is fetching this file right now; it will be here when that has ended")
    try:
        yield
    finally:
        os.close(handle)


def _lock(path: Path) -> int | None:
    """An open, locked file; None where another process has the lock. One that was removed meanwhile is opened anew."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        os.close(handle)


def hash_file(path: Path, name: str, tell: Callable[[int], object]) -> str:
    """The hash of a file in the kind of `name`: SHA-256 for 64 digits, Git's blob SHA-1 for 40; "" for any other kind.

    `tell` is given the bytes read so far.
    """
    if len(name) == 64:
        digest = hashlib.sha256()
    elif len(name) == 40:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return ""
    n_bytes = 0
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
            n_bytes += len(piece)
            tell(n_bytes)
    return digest.hexdigest()


def check_content(path: Path, name: str, size_bytes: int, what: str, tell: Callable[[int], object]) -> None:
    """Hold a file against length and hash. Raises HubError ("checksum") after removing one that is not the Hub's."""
    n_bytes = path.stat().st_size
    found = hash_file(path, name, tell) if n_bytes == size_bytes else ""
    is_hash = re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) is not None
    if n_bytes == size_bytes and (found == name or not is_hash):
        return
    path.unlink()
    told = f"has {n_bytes:,} bytes, not {size_bytes:,}" if n_bytes != size_bytes else f"has the hash {found[:12]}..."
    raise HubError("checksum", f"{what} {told}: it is not the file the Hub names, and was removed; start it again")


def link_snapshot(cache_dir: Path, repo_id: str, commit: str, path: str, blob: Path) -> Path:
    """Put a blob into its snapshot, as a relative link, or itself where there are no links.

    Raises HubError ("disk") where the snapshot's folder leads out of the cache, OSError.
    """
    pointer = find_snapshot_path(cache_dir, repo_id, commit, path)
    root = find_repo_dir(cache_dir, repo_id)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if root.resolve() not in pointer.parent.resolve().parents:
        raise HubError("disk", f"the folder of {path} in the cache is a link that leads out of it; remove that link")
    if os.environ.get("HF_HUB_DISABLE_SYMLINKS", "").upper() in TRUE_WORDS:
        blob.replace(pointer)
        return pointer
    new = pointer.with_name(f".{uuid.uuid4().hex[:12]}.new")
    try:
        new.symlink_to(os.path.relpath(blob, pointer.parent))
        new.replace(pointer)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        blob.replace(pointer)
    return pointer


def note_ref(cache_dir: Path, repo_id: str, ref: str, commit: str) -> None:
    """Note which commit a branch is at, for tools that ask offline; one that is noted already stays. Raises OSError."""
    root = find_repo_dir(cache_dir, repo_id) / "refs"
    path = root / check_revision(ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), path.open("x", encoding="ascii") as file:
        file.write(check_commit(commit))


def find_free_bytes(folder: Path) -> tuple[int, int]:
    """Free bytes for this person and all bytes of the disk that a folder is on, or will be."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def _has_length(path: Path, size_bytes: int | None) -> bool:
    try:
        return size_bytes is None or path.stat().st_size == size_bytes
    except OSError:
        return False
