"""How well the demonstration model answers what it never saw: `python -m evals.demo.measure`.

Held-out items of every skill, asked of llama.cpp in a child process, one chat each, greedily; an answer counts when it
is exactly right. Other quantizations are made from the file by llama.cpp itself, in a temporary folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.demo.corpus import SKILLS, Item, list_held_out_items
from evals.dry_run import DryRunFailure, EngineChild
from evals.stats import wilson_interval
from sizing.command_line import EXIT_DONE, OneLineParser, print_json, run_command
from sizing.errors import BadInputError, EngineError
from sizing.quants import find_quant

MODEL_FILE = Path(__file__).with_name("weighbridge-demo.gguf")
CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("answer_child.py")))
QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q3_K_M", "Q2_K")
ANSWER_TOKENS = 40
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class SkillScore:
    """Exact answers of one skill at one quantization, with the score a guesser would reach."""

    quant: str
    skill: str
    n_items: int
    n_right: int
    chance: float

    @property
    def accuracy(self) -> float:
        """The share answered exactly."""
        return self.n_right / self.n_items

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on all such items lies, by Wilson at 95 %."""
        found = wilson_interval(self.n_right, self.n_items)
        return found.low, found.high


@dataclass(frozen=True, slots=True)
class DemoScore:
    """One quantization of the model: its file's bytes and a score per skill."""

    quant: str
    file_bytes: int
    skills: tuple[SkillScore, ...]

    @property
    def total(self) -> SkillScore:
        """All skills together, every item counting alike."""
        n_items = sum(s.n_items for s in self.skills)
        chance = sum(s.chance * s.n_items for s in self.skills) / n_items
        return SkillScore(self.quant, "all", n_items, sum(s.n_right for s in self.skills), chance)


def ask(child: EngineChild, question: dict[str, Any]) -> dict[str, Any]:
    """One question to the child. Raises EngineError with its reason when it gives no answer."""
    reply = child.ask(question, TIMEOUT_S)
    if isinstance(reply, DryRunFailure):
        raise EngineError(f"{question['kind']}: {reply.message}")
    return reply


def open_child() -> EngineChild:
    """The process that runs the model; use as a context manager."""
    return EngineChild(CHILD_COMMAND)


def make_quant(child: EngineChild, source: Path, quant: str) -> Path:
    """`source` in another quantization, in the child's temporary folder; F16 is the file itself."""
    if quant == "F16":
        return source
    target = child.path(f"demo-{quant}.gguf")
    ask(child, {"kind": "quantize", "source": str(source), "target": str(target), "ftype": find_quant(quant).ftype})
    return target


def measure_quant(child: EngineChild, path: Path, quant: str, items: Sequence[Item]) -> DemoScore:
    """The score of the model in `path`, known as `quant`, on `items` of any skills."""
    question = {"kind": "answer", "path": str(path), "prompts": [i.prompt for i in items], "n_tokens": ANSWER_TOKENS}
    answers = ask(child, question)["answers"]
    scores = []
    for skill in dict.fromkeys(item.skill for item in items):
        mine = [(item, said) for item, said in zip(items, answers, strict=True) if item.skill == skill]
        n_right = sum(item.is_answered_by(said) for item, said in mine)
        scores.append(SkillScore(quant, skill, len(mine), n_right, sum(item.chance for item, _ in mine) / len(mine)))
    return DemoScore(quant, path.stat().st_size, tuple(scores))


def list_items(n_items: int) -> list[Item]:
    """Held-out items of every skill, `n_items` of each or as many as there are."""
    return [item for skill in SKILLS for item in list_held_out_items(skill, n_items)]


def format_scores(scores: Sequence[DemoScore]) -> str:
    """A table for people and for the card: a row per skill, a column per quantization."""
    names = [s.skill for s in scores[0].skills] + ["all"]
    rows = [["skill", "n", "chance", *(s.quant for s in scores)], ["---"] * (3 + len(scores))]
    for i, name in enumerate(names):
        per_quant = [(*s.skills, s.total)[i] for s in scores]
        cells = [
            f"{100 * s.accuracy:.1f} % ({100 * s.interval[0]:.0f} to {100 * s.interval[1]:.0f})" for s in per_quant
        ]
        rows.append([name, str(per_quant[0].n_items), f"{100 * per_quant[0].chance:.1f} %", *cells])
    rows.append(["file bytes", "", "", *(f"{s.file_bytes:,}" for s in scores)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Raises BadInputError for fewer than one item and a file that is not there."""
    if arguments.items < 1:
        raise BadInputError(f"--items wants a whole number of at least 1, got {arguments.items!r}")
    if not arguments.file.is_file():
        raise BadInputError(f"--file wants a GGUF file, got {str(arguments.file)!r}")
    quants = [find_quant(name).name for name in arguments.quant] or list(QUANTS)
    items = list_items(arguments.items)
    with open_child() as child:
        scores = [measure_quant(child, make_quant(child, arguments.file, q), q, items) for q in quants]
    if arguments.json:
        rows = [(score, s) for score in scores for s in (*score.skills, score.total)]
        print_json(
            [
                {
                    **dataclasses.asdict(s),
                    "accuracy": s.accuracy,
                    "low": s.interval[0],
                    "high": s.interval[1],
                    "file_bytes": score.file_bytes,
                }
                for score, s in rows
            ]
        )
    else:
        print(format_scores(scores))
    return EXIT_DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code is 0 done, 1 failed, 2 wrong usage."""
    parser = OneLineParser(prog="python -m evals.demo.measure", description=__doc__)
    parser.add_argument("--file", type=Path, default=MODEL_FILE, help="the F16 file to start from")
    parser.add_argument("--quant", action="append", default=[], help="only this quantization; may be repeated")
    parser.add_argument("--items", type=int, default=400, help="held-out items of each skill")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parsed = parser.parse_args(arguments)
    return run_command("evals.demo.measure", lambda: run(parsed))


if __name__ == "__main__":
    sys.exit(main())
