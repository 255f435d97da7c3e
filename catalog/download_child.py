"""The process that fetches files of the Hub: `python -m catalog.download_child`, orders on its input, JSON lines out.

huggingface_hub's own `hf_hub_download` begins anew after every interruption since it writes to a file of a random name
(file_download.py, `_download_to_tmp_and_move` in 2.4.0). So the bytes are fetched here, over plain HTTP by range, into
the same places and under the same locks; what is whole and has the hash the Hub names goes to where that library looks.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.downloads import DownloadPlan
from catalog.hub_cache import (
    check_content,
    find_blob_name,
    find_blob_path,
    find_cached_file,
    find_length,
    find_partial_path,
    hold_blob,
    is_inside,
    link_snapshot,
    note_ref,
)
from catalog.imported import HubFile
from sizing.errors import HubError
from sizing.units import GIB

if TYPE_CHECKING:
    from catalog.hub import Hub

SEGMENT_BYTES = 8 * GIB
"""What one request asks for: addresses of the CDN run out after an hour, and it serves no 50 GB in one answer."""

N_TRIES = 5
"""Broken connections in a row, without a byte between, after which it is given up."""

LONGEST_PAUSE_S = 30.0
TOLD_EVERY_S = 0.2
MAX_ORDERS_BYTES = 16 * 1024**2
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(slots=True)
class Teller:
    """Says how far the whole plan is, at most every `TOLD_EVERY_S` unless the status changes."""

    done_bytes: int = 0
    _last: tuple[float, str] = field(default=(0.0, ""))

    def tell(self, status: str, n_bytes: int = 0, **more: str) -> None:
        """One line; `n_bytes` are those of the file at hand."""
        now = time.monotonic()
        if status == self._last[1] and now - self._last[0] < TOLD_EVERY_S and not more:
            return
        self._last = (now, status)
        line = {"status": status, "n_bytes": self.done_bytes + n_bytes, **more}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def fetch_plan(
    hub: Hub, plan: DownloadPlan, cache_dir: Path, teller: Teller, wait: Callable[[float], object] = time.sleep
) -> Path:
    """Fetch all files of a plan and check them; the path of the first. Raises HubError, OSError."""
    paths = []
    for file in plan.files:
        paths.append(fetch_file(hub, plan, file, cache_dir, teller, wait))
        teller.done_bytes += file.size_bytes or 0
    if plan.ref:
        note_ref(cache_dir, plan.repo_id, plan.ref, plan.revision)
    return paths[0]


def fetch_file(
    hub: Hub, plan: DownloadPlan, file: HubFile, cache_dir: Path, teller: Teller, wait: Callable[[float], object]
) -> Path:
    """One file: taken from the cache where it is there, else fetched; checked in both cases, then in its snapshot.

    Raises HubError.
    """
    what = f"{file.path} of {plan.repo_id}"
    size = file.size_bytes or 0

    def tell(n_bytes: int) -> None:
        teller.tell("verifying", n_bytes)

    pointer = find_cached_file(cache_dir, plan.repo_id, plan.revision, file)
    if pointer is not None:
        check_content(pointer.resolve(), file.sha256 or find_blob_name(pointer), size, what, tell)
        return pointer
    name = file.sha256 or fetch_name(hub, plan, file)
    blob = find_blob_path(cache_dir, plan.repo_id, name)
    with hold_blob(cache_dir, plan.repo_id, name):
        blob.parent.mkdir(parents=True, exist_ok=True)
        if is_inside(blob, cache_dir, plan.repo_id):
            check_content(blob.resolve(), name, size, what, tell)
        else:
            partial = find_partial_path(blob)
            fetch_content(hub, plan, file, name, partial, teller, wait)
            check_content(partial, name, size, what, tell)
            partial.replace(blob)
        pointer = link_snapshot(cache_dir, plan.repo_id, plan.revision, file.path, blob)
    if find_cached_file(cache_dir, plan.repo_id, plan.revision, file) is None:
        raise HubError("disk", f"{what} was fetched, but its place in the cache leads elsewhere; look at that folder")
    return pointer


def fetch_name(hub: Hub, plan: DownloadPlan, file: HubFile) -> str:
    """The hash by which the Hub names a file that is not in large-file storage. Raises HubError."""
    with hub.open_file(plan.repo_id, plan.revision, file.path) as stream:
        if not stream.etag:
            raise HubError("shape", f"the Hub names no hash of {file.path}; is HF_ENDPOINT a Hub?")
        return stream.etag


def fetch_content(
    hub: Hub,
    plan: DownloadPlan,
    file: HubFile,
    name: str,
    partial: Path,
    teller: Teller,
    wait: Callable[[float], object],
) -> None:
    """Bring a file's bytes in, from where an earlier try stopped. Raises HubError after `N_TRIES` in vain, OSError."""
    size = file.size_bytes or 0
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if find_length(partial) > size:
            os.ftruncate(handle, 0)
        n_failed = 0
        while (before := os.fstat(handle).st_size) < size:
            try:
                append_segment(hub, plan, file, name, handle, teller)
            except HubError as error:
                if error.kind not in ("lost", "timeout"):
                    raise
                has_grown = os.fstat(handle).st_size > before
                n_failed = 1 if has_grown else n_failed + 1
                if n_failed >= N_TRIES:
                    raise
                wait(min(2.0 ** (n_failed - 1), LONGEST_PAUSE_S))
        os.fsync(handle)
    finally:
        os.close(handle)


def append_segment(hub: Hub, plan: DownloadPlan, file: HubFile, name: str, handle: int, teller: Teller) -> None:
    """The next segment of a file, written behind what is there. A server without ranges sends it from the start.

    Raises HubError for a file that is another, or longer, than the Hub's list says.
    """
    size, place = file.size_bytes or 0, os.fstat(handle).st_size
    end = min(place + SEGMENT_BYTES, size)
    with hub.open_file(plan.repo_id, plan.revision, file.path, place, end) as stream:
        if stream.total is not None and stream.total != size:
            raise HubError("size", f"{file.path} has {stream.total:,} bytes now, {size:,} in the Hub's list")
        if stream.etag and stream.etag != name:
            raise HubError("checksum", f"{file.path} is another file now than in the Hub's list; look it up again")
        if stream.start == 0:
            os.ftruncate(handle, 0)
        place = os.lseek(handle, stream.start, os.SEEK_SET)
        for chunk in stream.chunks:
            if place + len(chunk) > size:
                raise HubError("size", f"more came of {file.path} than its {size:,} bytes")
            write_all(handle, chunk)
            place += len(chunk)
            teller.tell("downloading", place)


def write_all(handle: int, chunk: bytes) -> None:
    """All bytes of a chunk, however many writes that takes."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def read_orders(line: bytes) -> tuple[DownloadPlan, Path, str, str | None]:
    """Plan, cache folder, endpoint and token out of the parent's line."""
    told: dict[str, Any] = json.loads(line)
    files = tuple(HubFile(path, size, sha256) for path, size, sha256 in told["files"])
    plan = DownloadPlan(told["repo_id"], told["revision"], files, told["ref"])
    return plan, Path(told["cache_dir"]), told["endpoint"], told["token"]


def explain_os_error(error: OSError) -> str:
    """What the disk refused, as one line."""
    if error.errno in DISK_ERRORS:
        return "the disk is full; make room, then start it again, it goes on where it was"
    return (
        f"the cache folder cannot be written ({error.strerror or 'unknown error'}): check its rights, or HF_HUB_CACHE"
    )


def end_with_parent() -> None:
    """End this process when its input closes, which is when the parent has gone."""
    while os.read(0, 1024):  # not over sys.stdin: its lock would stand in the way of a sound end
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Carry out the orders on standard input."""
    plan, cache_dir, endpoint, token = read_orders(sys.stdin.buffer.readline(MAX_ORDERS_BYTES))
    threading.Thread(target=end_with_parent, daemon=True).start()
    teller = Teller()
    teller.tell("checking")
    try:
        from catalog.hub import Hub

        path = fetch_plan(Hub(endpoint, token), plan, cache_dir, teller)
    except HubError as error:
        teller.tell("failed", problem=str(error), kind=error.kind)
        return 1
    except OSError as error:
        teller.tell("failed", problem=explain_os_error(error), kind="disk")
        return 1
    teller.tell("done", path=str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
