"""Start the app the way a person does, in a process of its own, and look at it with a headless browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tools.run_app import app_environment, find_free_port, streamlit_command

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class RunningApp:
    """A running app: its address, the file its output goes to, and what stands for the person's folder."""

    url: str
    log: Path
    home: Path

    def read_tracebacks(self) -> str:
        """What the app's process printed from the first traceback on; empty when there was none."""
        text = self.log.read_text(errors="replace")
        return text[text.find("Traceback") :] if "Traceback" in text else ""


@contextmanager
def start_app(wait_s: float = 40.0, environment: Mapping[str, str] | None = None) -> Iterator[RunningApp]:
    """Run the app on a free port until the block ends, with an empty folder in place of the person's own.

    `environment` is laid over this process's. Raises RuntimeError with the app's output when it does not answer within
    `wait_s` seconds.
    """
    port = find_free_port(18501)
    with tempfile.TemporaryDirectory() as folder:
        log, home = Path(folder) / "app.log", Path(folder) / "home"
        with log.open("w") as out:
            process = subprocess.Popen(
                streamlit_command(port),
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**app_environment(), **(environment or {}), "CI": "true", "WEIGHBRIDGE_HOME": str(home)},
                executable=sys.executable,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until_healthy(url, process, log, wait_s)
                yield RunningApp(url, log, home)
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


def find_chromium() -> str | None:
    """The path of a Chromium that can run headless, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The installed Chromium, headless, until the block ends. Raises FileNotFoundError when there is none."""
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(f"no Chromium here (looked for {', '.join(CHROMIUM_NAMES)}); install one of them")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def wait_until_drawn(page: Page, timeout_s: float = 60.0) -> None:
    """Return when the app's script has run and what it drew stands still."""
    page.wait_for_selector(
        "[data-testid='stAppViewContainer'] h1, .wb-answer, [data-testid='stAlert']", timeout=timeout_s * 1e3
    )
    page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=timeout_s * 1e3)
    page.wait_for_timeout(400)
