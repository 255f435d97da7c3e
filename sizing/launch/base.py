"""What a launch is, and how its text is written so that no name can break out of its quotes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sizing.errors import BadInputError

LINE_CHARACTERS = 100
"""A shell command longer than this goes on over several lines."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One text to copy or save.

    `title` is the tool's name ("llama-server", "docker compose"), `language` one of 'bash', 'yaml', 'python',
    'dockerfile', 'json', `file_name` what to save it as, `note` one sentence: what to do with it, what is assumed.
    """

    title: str
    language: str
    text: str
    file_name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files are, as far as that is known.

    `model_id` is the Hub repository of the original in 16 bits, `quantized_repo` one in the format that was sized,
    `gguf_repo` one of GGUF files, `gguf_file` the path or the name of one. Raises BadInputError for a name that a
    program would read as an option, or that no command line can carry.
    """

    model_id: str
    quantized_repo: str | None = None
    gguf_repo: str | None = None
    gguf_file: str | None = None

    def __post_init__(self) -> None:
        for name in ("model_id", "quantized_repo", "gguf_repo", "gguf_file"):
            value = getattr(self, name)
            if value is not None:
                check_argument(name, value)


def check_argument(name: str, value: str) -> str:
    """`value` itself. Raises BadInputError where a command line cannot carry it as an argument."""
    if not value or value.startswith("-") or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise BadInputError(f"{name} wants a name that does not begin with '-' and is text, got {value!r}")
    return value


class Variable(str):
    """A shell variable's name in place of a word: written as "$NAME"."""

    __slots__ = ()


class Expanded(str):
    """A word of our own making that the shell expands, such as "$HOME/models": written in double quotes as it is."""

    __slots__ = ()


def format_shell(words: Sequence[str], variables: Mapping[str, str] | None = None) -> str:
    """A command for a POSIX shell, each word quoted, `variables` set in lines above it; options start new lines.

    >>> format_shell(["serve", Variable("MODEL"), "--name", "a b"], {"MODEL": "it's"})
    'MODEL=\\'it\\'"\\'"\\'s\\'\\nserve "$MODEL" --name \\'a b\\''
    """
    head = [f"{name}={shlex.quote(value)}" for name, value in (variables or {}).items()]
    return "\n".join([*head, *_fill(list(_group(words)))])


def _group(words: Sequence[str]) -> Iterator[str]:
    """Each option with its values as one piece, the command before them as the first."""
    piece: list[str] = []
    for word in words:
        if word.startswith("-") and piece:
            yield " ".join(piece)
            piece = []
        piece.append(_quote(word))
    yield " ".join(piece)


def _quote(word: str) -> str:
    if isinstance(word, Variable):
        return f'"${word}"'
    return f'"{word}"' if isinstance(word, Expanded) else shlex.quote(word)


def _fill(pieces: Sequence[str]) -> list[str]:
    """Pieces on as few lines as their length allows, all but the last ending in a backslash."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) + 3 > LINE_CHARACTERS:
            lines[-1] += " \\"
            lines.append(f"    {piece}")
        else:
            lines[-1] += f" {piece}"
    return lines
