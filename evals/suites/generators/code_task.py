"""One function to write, and how its reference is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One function to write. `examples` are (call, value) as shown; `inputs` are further argument tuples, hidden."""

    name: str
    parameters: str
    about: str
    reference: str
    examples: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[Any, ...], ...]
    level: str


def body(name: str, parameters: str, *lines: str) -> str:
    """A function as source text."""
    return "\n".join([f"def {name}({parameters}):", *(f"    {line}" for line in lines)]) + "\n"


def task(
    level: str,
    signature: str,
    about: str,
    lines: str,
    examples: list[tuple[str, str]],
    inputs: list[tuple[Any, ...]],
) -> Task:
    """A task from a signature such as "f(a, b)" and the lines of its reference, which are indented here."""
    name, _, rest = signature.partition("(")
    parameters = rest.rstrip(")")
    reference = body(name, parameters, *lines.strip("\n").splitlines())
    shown = tuple((f"{name}({arguments})", value) for arguments, value in examples)
    return Task(name, parameters, about, reference, shown, tuple(inputs), level)
