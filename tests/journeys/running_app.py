"""Start the app the way a person does, in a process of its own, and wait until it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.run_app import find_free_port, streamlit_command

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class RunningApp:
    """A running app: its address, and the file its output goes to."""

    url: str
    log: Path

    def read_tracebacks(self) -> str:
        """What the app's process printed from the first traceback on; empty when there was none."""
        text = self.log.read_text(errors="replace")
        return text[text.find("Traceback") :] if "Traceback" in text else ""


@contextmanager
def start_app(wait_s: float = 40.0) -> Iterator[RunningApp]:
    """Run the app on a free port until the block ends. Raises RuntimeError with its output when it does not answer."""
    port = find_free_port(18501)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "app.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                streamlit_command(port),
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CI": "true", "PYTHONPATH": str(ROOT)},
                executable=sys.executable,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until_healthy(url, process, log, wait_s)
                yield RunningApp(url, log)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, wait_s: float) -> None:
    """Return when the app's health page answers; RuntimeError when the process died or `wait_s` passed."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended with {process.returncode}:\n{log.read_text(errors='replace')}")
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the app did not answer at {url} within {wait_s:.0f} s:\n{log.read_text(errors='replace')}")
