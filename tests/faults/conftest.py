"""Disks that are full or read-only, real ones where this user may mount them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DISK_BYTES = 4 * 1024**2


def run_mount(*arguments: str) -> bool:
    """Whether mount(8) did it."""
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    return False


class SmallDisk:
    """A disk of a few MiB in memory, mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT)
        try:
            for piece in (1 << 16, 512, 1):
                with contextlib.suppress(OSError):
                    while os.write(handle, b"x" * piece):
                        pass
        finally:
            os.close(handle)

    def empty(self) -> None:
        """Free what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def forbid_writing(self) -> None:
        """Make it read-only, for root too."""
        if not run_mount("-o", "remount,ro", str(self.path)):
            pytest.skip("this disk cannot be made read-only here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk of its own; the test is skipped where this user may mount none."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or not run_mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(path)):
        pytest.skip("only root may mount a small disk; elsewhere a limit on file sizes stands in")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def no_writing(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder one that may be read and not written: by its mode, for root by mounting it so."""
    done: list[Path] = []

    def forbid(folder: Path) -> None:
        if os.geteuid() != 0:
            for path in (*folder.rglob("*"), folder):
                path.chmod(0o555 if path.is_dir() else 0o444)
        elif not (run_mount("--bind", str(folder), str(folder)) and run_mount("-o", "remount,bind,ro", str(folder))):
            pytest.skip("a folder cannot be made read-only for this user here")
        done.append(folder)

    yield forbid
    for folder in done:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755)
