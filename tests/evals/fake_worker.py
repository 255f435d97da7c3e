"""A worker whose items cost nothing, for the tests of the queue: what it does stands in the names of its suites.

`items:N` finishes N items, `slow:N` takes a while for each, `abort:N` and `fault:N` end like native code after N items,
`hang:N` stops answering after N, `exit:N` ends with code 7. It writes as the real one does.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from evals.engine_child import watch
from evals.jobs import EXIT_HELD
from evals.plans import find_now
from evals.run_files import ItemResult, RunState, SuiteChosen, load_run, open_run_file

SLOW_S = 0.05


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_file", type=Path)
    parser.add_argument("--usable-bytes", type=int)
    path = parser.parse_args().run_file
    watch(2**40)
    file = open_run_file(path)
    if file is None:
        return EXIT_HELD
    with file:
        run = load_run(path)
        known = {(item.suite, item.item_id) for item in run.items}
        file.append("start", {"at": find_now(), "pid": os.getpid()})
        for suite in run.plan.suites:
            kind, _, count = suite.partition(":")
            chosen = SuiteChosen(suite, suite, "1", int(count), int(count), 0.0, "score", True, "as asked")
            file.append("chosen", dataclasses.asdict(chosen))
            for n in range(int(count)):
                if (suite, str(n)) in known:
                    continue
                if kind in ("slow", "fault"):
                    time.sleep(SLOW_S)
                if file.is_cancelled:
                    file.end(RunState.CANCELLED)
                    return 0
                item = ItemResult(
                    suite, str(n), float(n % 2), {"score": n % 2}, "", "p", "o", "e", "", 3, 2, 0.1, "stop", find_now()
                )
                file.append("item", dataclasses.asdict(item))
            if kind == "abort":
                print("/some/folder/ggml.c:12: GGML_ASSERT(false) failed", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGABRT)
            if kind == "fault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "exit":
                return 7
            if kind == "hang":
                time.sleep(600)
        file.end(RunState.DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
