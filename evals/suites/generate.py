"""Write every suite's items and task file from its generator: `python -m evals.suites.generate [--check] [NAME ...]`.

`--check` writes nothing and fails where a committed file is not what its generator writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evals.suites.generators.base import Plan, write_rows
from evals.suites.listing import FOLDER, ITEMS_FILE

GENERATORS = FOLDER / "generators"
"""Each module here that has `PLANS` makes suites; the others hold what several of them use."""


def list_plans() -> list[Plan]:
    """The plan of every suite, by name."""
    modules = [import_module(f"evals.suites.generators.{path.stem}") for path in sorted(GENERATORS.glob("*.py"))]
    return sorted((plan for m in modules for plan in getattr(m, "PLANS", ())), key=lambda plan: plan.name)


def quote(value: Any) -> str:
    """A value as YAML, which reads JSON."""
    return json.dumps(value, ensure_ascii=False)


def write_task(plan: Plan, rows: str) -> str:
    """The text of a suite's task file for lm-eval."""
    parsed = [json.loads(line) for line in rows.splitlines()]
    digest = hashlib.sha256(rows.encode()).hexdigest()
    longest = max(row["max_tokens"] for row in parsed)
    is_choice = plan.output_type == "multiple_choice"
    metadata = {
        "version": f"{plan.release}.{digest[:8]}",
        "name": plan.name,
        "title": plan.title,
        "measures": plan.measures,
        "does_not_measure": plan.does_not_measure,
        "chance": plan.chance,
        "opt_in": plan.opt_in,
        "takes_context": plan.takes_context,
        "needs": "loglikelihood" if is_choice else "generate",
        "max_output_tokens": longest,
        "n_items": len(parsed),
        "items_sha256": digest,
        "seed": plan.seed,
    }
    generation = (
        "doc_to_choice: !function evals.suites.tasks.list_choices\n"
        "doc_to_target: !function evals.suites.tasks.find_right_choice\n"
        "process_results: !function evals.suites.tasks.score_choice\n"
        if is_choice
        else "doc_to_target: expected\n"
        "process_results: !function evals.suites.tasks.score_answer\n"
        "generation_kwargs:\n  until: []\n  do_sample: false\n  temperature: 0.0\n"
        f"  max_gen_toks: {longest}\n"
    )
    return (
        f"# Written by `python -m evals.suites.generate`; change the generator, not this file.\n"
        f"task: {plan.name}\n"
        "custom_dataset: !function evals.suites.tasks.load_dataset\n"
        "test_split: test\n"
        f"output_type: {plan.output_type}\n"
        'description: "{{system}}"\n'
        "doc_to_text: prompt\n"
        f"{generation}"
        "metric_list:\n  - metric: score\n    aggregation: mean\n    higher_is_better: true\n"
        "metadata:\n" + "".join(f"  {key}: {quote(value)}\n" for key, value in metadata.items())
    )


def list_files(plan: Plan) -> dict[Path, str]:
    """The two files of a suite and what belongs in them."""
    rows = write_rows(plan)
    folder = FOLDER / plan.name
    return {folder / ITEMS_FILE: rows, folder / f"{plan.name}.yaml": write_task(plan, rows)}


def list_stale(plans: Sequence[Plan]) -> list[Path]:
    """The files that are missing or not what their generator writes."""
    files = {path: text for plan in plans for path, text in list_files(plan).items()}
    return [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 for well, 1 where a file is stale under --check."""
    parser = argparse.ArgumentParser(prog="python -m evals.suites.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file is stale")
    parser.add_argument("names", nargs="*", help="suites; all where none is named")
    asked = parser.parse_args(arguments)
    plans = [plan for plan in list_plans() if not asked.names or plan.name in asked.names]
    if asked.check:
        stale = list_stale(plans)
        for path in stale:
            print(f"stale: {path.relative_to(FOLDER)}", file=sys.stderr)
        return 1 if stale else 0
    for plan in plans:
        files = list_files(plan)
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{plan.name}: {len(next(iter(files.values())).splitlines())} items")
    return 0


if __name__ == "__main__":
    sys.exit(main())
