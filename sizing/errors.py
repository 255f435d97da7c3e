"""The errors this project raises on purpose, drawn as one tree.

WeighbridgeError
├── UnknownNameError (LookupError)      a model, quant, device, task or engine nobody knows; carries near names
├── BadInputError (ValueError)          a number out of range, a contradiction between inputs
├── DataFileError (ValueError)          a fact file that breaks its own rules; carries file and line
├── GgufError (ValueError)              a model file that is broken, cut short or malicious
├── EngineError (RuntimeError)          llama.cpp is missing, refused, aborted or hung
├── EndpointError (RuntimeError)         a model server refused, failed or answered what is no answer; carries kind
├── HubError (RuntimeError)              the Hugging Face Hub refused, failed, is not reachable, or sent nonsense
├── UserStoreError (OSError)             the person's own database is in use, damaged or cannot be written
│   └── StoreRebuiltError                it was damaged, was moved aside and made anew: ask again
└── UnsupportedError (ValueError)       known, but this engine or formula cannot do it; names the reason

"It does not fit" is not here: it is a value (`Fit.verdict`), never an exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WeighbridgeError(Exception):
    """Base of every error raised on purpose. Its text is one line a person can act on."""


class UnknownNameError(WeighbridgeError, LookupError):
    """A name nobody knows.

    `kind` is what was wanted ("model", "quant"), `name` what came, `near` the closest known names, at most two of them
    before the others because they are in `first`.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), first: Iterable[str] = ()) -> None:
        self.kind = kind
        self.name = name
        self.near = tuple(dict.fromkeys(find_near_names(name, first, limit=2) + find_near_names(name, known)))[:4]
        hint = f"; did you mean {', '.join(self.near)}?" if self.near else ""
        super().__init__(f"unknown {kind} {name!r}{hint}")


class BadInputError(WeighbridgeError, ValueError):
    """An input outside its range, or two inputs that contradict each other."""


class DataFileError(WeighbridgeError, ValueError):
    """A fact file that breaks its own rules, named with file and line (1-based)."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        self.file = file
        self.line = line
        self.problem = problem
        super().__init__(f"{file}:{line}: {problem}")


class GgufError(WeighbridgeError, ValueError):
    """A model file that is broken, cut short or malicious; the text names what in it and where."""


class EngineError(WeighbridgeError, RuntimeError):
    """The engine is missing, refused the question, aborted, or ran past its limits."""


class EndpointError(WeighbridgeError, RuntimeError):
    """A model server that gave no answer of use, after all tries.

    `kind` is one word for the page to act on: "refused" (nobody listens), "timeout", "lost" (the connection broke),
    "key" (401, 403), "path" (404), "model" (unknown to the server), "busy" (429), "server" (5xx), "rejected" (another
    4xx, or a redirect), "not_json" (a web page or broken JSON), "shape" (JSON of another form), "size", "stopped".
    `status` is the HTTP status where there was one, `n_tries` how often it was asked.
    """

    def __init__(self, kind: str, problem: str, status: int | None = None, n_tries: int = 1) -> None:
        self.kind = kind
        self.status = status
        self.n_tries = n_tries
        super().__init__(problem)


class HubError(WeighbridgeError, RuntimeError):
    """The Hub gave no answer of use, after all tries; the text says what to do and never holds a token.

    `kind` is one word for the page to act on: "offline" (nobody reachable, or offline mode), "timeout", "lost" (the
    connection broke), "token" (401: no token, or a wrong one), "gated" (the model's page asks for agreement first),
    "missing" (404: no such repository, revision or file), "busy" (429), "server" (5xx), "rejected" (another 4xx),
    "not_json" (a web page or broken JSON), "shape" (JSON of another form), "size" (a length that is not what was
    promised, or too much), "name" (a repository, revision or file name that is refused), "range" (the server does not
    send parts of files), "disk" (no room, or nothing can be written), "checksum" (the file is not the one the Hub
    names) and "stopped". `status` is the HTTP status where there was one, `retry_after_s` what a busy Hub asked for.
    """

    def __init__(self, kind: str, problem: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(problem)


class UserStoreError(WeighbridgeError, OSError):
    """The person's own database is in use by another process, damaged, or cannot be written."""


class StoreRebuiltError(UserStoreError):
    """A damaged database was moved aside and made anew; whoever asked may ask again."""


class UnsupportedError(WeighbridgeError, ValueError):
    """A known thing that this engine, architecture or formula cannot do; the text names the reason."""


def find_near_names(name: str, known: Iterable[str], limit: int = 4) -> tuple[str, ...]:
    """The known names closest to `name`: whole-text matches first, then edit distance, at most `limit`."""
    names = list(dict.fromkeys(known))
    folded = name.casefold()
    inside = [n for n in names if folded and folded in n.casefold()]
    by_fold = {n.casefold(): n for n in names}
    by_tail = {n.casefold().rsplit("/", 1)[-1]: n for n in names}
    close = [by_fold[m] for m in difflib.get_close_matches(folded, by_fold, n=limit, cutoff=0.55)]
    close += [by_tail[m] for m in difflib.get_close_matches(folded.rsplit("/", 1)[-1], by_tail, n=limit, cutoff=0.55)]
    return tuple(dict.fromkeys(sorted(inside, key=len) + close))[:limit]
