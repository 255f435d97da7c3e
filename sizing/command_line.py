"""What the three command lines share: one line on stderr, exit 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sizing.errors import BadInputError, UnknownNameError, WeighbridgeError

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, with the exit code of wrong usage."""

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def run_command(prog: str, command: Callable[[], int]) -> int:
    """Run `command`, turning the project's errors into one line on stderr and an exit code."""
    try:
        return command()
    except (UnknownNameError, BadInputError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except WeighbridgeError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader left (`| head`): nothing to report
        return EXIT_DONE
    except OSError as error:
        print(f"{prog}: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return EXIT_FAILED


def print_notes(notes: Iterable[str]) -> None:
    """Say on stderr what an answer has to do without."""
    for note in notes:
        print(note, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print `value` as JSON with stable key order and no NaN."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
