"""Photograph each page of the real app into docs/screenshots, at a laptop's size and one at a phone's.

The machine is a named card, so that the pictures do not depend on where they were taken. The Evaluate page shows two
quantizations of the demonstration model, evaluated for the picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tools.running_app import ROOT, open_browser, start_app, wait_until_drawn

FOLDER = ROOT / "docs" / "screenshots"
QUESTION = {"machine": "RTX 4090"}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its file name, the page's path in the address, and the window's width and height in pixels.

    `asked` is added to the address's question, or stands in its place.
    """

    name: str
    path: str
    width: int = 1440
    height: int = 900
    asked: tuple[tuple[str, str], ...] = ()

    @property
    def query(self) -> str:
        """The address's question: the machine, and what this picture asks beside it."""
        return urlencode({**QUESTION, **dict(self.asked)})


SHOTS = (
    Shot("choose", ""),
    Shot("size", "size"),
    Shot(
        "engines",
        "size",
        height=1020,
        asked=(
            ("machine", "2 x H100 SXM"),
            ("model", "meta-llama/Llama-3.3-70B-Instruct"),
            ("engine", "vLLM"),
            ("format", "FP8"),
            ("users", "16"),
        ),
    ),
    Shot("hardware", "hardware"),
    Shot("compare", "compare"),
    Shot("licenses", "licenses"),
    Shot("evaluate", "evaluate", height=1160),
    Shot("cost", "cost"),
    Shot("finetune", "finetune", height=1120, asked=(("model", "meta-llama/Llama-3.1-8B-Instruct"),)),
    Shot("catalog", "catalog"),
    Shot("imports", "imports"),
    Shot("guide", "guide"),
    Shot("accuracy", "accuracy"),
    Shot("sources", "sources"),
    Shot("choose-narrow", "", width=400, height=860),
)


def evaluate_demo(home: Path) -> None:
    """Evaluate the demonstration model in two quantizations, as `python -m evals run` does."""
    for model in ("demo:Q8_0", "demo:Q2_K"):
        command = [sys.executable, "-m", "evals", "run", "--model", model, "--suite", "demo,demo_choice"]
        environment = {**os.environ, "WEIGHBRIDGE_HOME": str(home)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)


def main() -> int:
    """Take every picture; returns 1 when a page printed a traceback."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with start_app() as app, open_browser() as browser:
        evaluate_demo(app.home)
        for shot in SHOTS:
            context = browser.new_context(viewport={"width": shot.width, "height": shot.height})
            page = context.new_page()
            page.goto(f"{app.url}/{shot.path}?{shot.query}")
            wait_until_drawn(page)
            page.wait_for_selector("[data-testid='stSkeleton']", state="detached", timeout=20_000)
            target = FOLDER / f"{shot.name}.png"
            page.screenshot(path=target)
            context.close()
            print(target.relative_to(ROOT))
        failure = app.read_tracebacks()
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
