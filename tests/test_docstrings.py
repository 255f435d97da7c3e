"""What docstrings of the rooms must say: the errors a function raises itself, and the unit of a number it gives.

That there is one at all is `tests/test_repository.py`. A command (a function of the parsed arguments) is exempt: the
shell ends each of its errors as one line that says what to do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sizing.errors as errors

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(str(f.relative_to(ROOT)) for room in ("sizing", "catalog", "evals") for f in (ROOT / room).rglob("*.py"))

OWN_ERRORS = {
    name
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.WeighbridgeError)
}

UNITS = re.compile(
    r"""bytes?\b|[kmg]ib\b|bits?\b|tokens?\b|seconds?\b|_s\b|nanoseconds|hours|years|us\$|usd|[mg]?hz\b|watts?|flops
    |operations|params?\b|parameters|layers?\b|heads?\b|experts?\b|cards?\b|machines?\b|processors|copies|cells?\b|rows?\b
    |items?\b|elements?\b|values?\b|width|length|points?\b|nats?\b|shares?\b|percent|ratio|factors?\b|rate|times\b|rank
    |index|position|places?\b|number|count|how\ many|probability|p\ value|pid|seed|port\b|version|steps?\b|cost|padding
    |memory\b|exit\ code|score""",
    re.VERBOSE | re.IGNORECASE,
)
"""Words that tell what a number counts, in a function's name or docstring."""

NUMBER = re.compile(r"(int|float|Ints|Floats)( \| None)?")


def is_shell(node: ast.FunctionDef) -> bool:
    """Whether a function answers a command or is the entry to all of them."""
    return node.name == "main" or "Namespace" in ast.unparse(node.args)


def list_public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods of public classes, with their names; commands and entry points left out."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from list_public(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not is_shell(node):
            yield owner + node.name, node


def list_raised(body: list[ast.stmt]) -> Iterator[str]:
    """Names of the project's errors a body raises and does not catch itself; inner functions are not its body."""
    for node in body:
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if ast.unparse(raised).split(".")[-1] in OWN_ERRORS:
                yield ast.unparse(raised).split(".")[-1]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Try):
            caught = {ast.unparse(h.type) for h in node.handlers if h.type is not None}
            yield from (name for name in list_raised(node.body) if not any(name in text for text in caught))
            rest = [*(s for h in node.handlers for s in h.body), *node.orelse, *node.finalbody]
            yield from list_raised(rest)
            continue
        inside = [block for field in ("body", "orelse") if isinstance(block := getattr(node, field, None), list)]
        if isinstance(node, ast.Match):
            inside += [case.body for case in node.cases]
        for block in inside:
            yield from list_raised(block)


def find_untold_errors(source: str) -> list[str]:
    """Public functions whose docstring does not name an error that their own body raises."""
    return [
        f"{name}: {error}"
        for name, node in list_public(ast.parse(source).body)
        for error in sorted(set(list_raised(node.body)))
        if error not in (ast.get_docstring(node) or "")
    ]


def find_unitless(source: str) -> list[str]:
    """Public functions that give a number and say neither in their name nor in their docstring of what."""
    return [
        name
        for name, node in list_public(ast.parse(source).body)
        if node.returns is not None
        and NUMBER.fullmatch(ast.unparse(node.returns))
        and not UNITS.search(f"{node.name.replace('_', ' ')} {node.name} {ast.get_docstring(node) or ''}")
    ]


@pytest.mark.parametrize("path", FILES)
def test_every_error_of_ours_is_told(path: str) -> None:
    assert find_untold_errors((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [f for f in FILES if not f.endswith("_child.py")])
def test_every_number_says_what_it_counts(path: str) -> None:
    known = {"sizing/rank_columns.py": ["RankColumns.model_of"]}  # rows of a list, told in its class
    found = [
        name for name in find_unitless((ROOT / path).read_text(encoding="utf-8")) if name not in known.get(path, [])
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f():\n    """F."""\n    raise BadInputError("x")', ["f: BadInputError"]),
        ('def f():\n    """F. Raises BadInputError."""\n    raise BadInputError("x")', []),
        (
            'class A:\n    """A."""\n    def f(self):\n        """F."""\n        if 1:\n            raise HubError()',
            ["A.f: HubError"],
        ),
        ('def f():\n    """F."""\n    try:\n        raise HubError("x", "y")\n    except HubError:\n        pass', []),
        (
            'def f():\n    """F."""\n    try:\n        g()\n    except OSError:\n        raise errors.GgufError("x")',
            ["f: GgufError"],
        ),
        ('def f():\n    """F."""\n    def g():\n        raise GgufError("x")\n    g()', []),
        ('def f():\n    """F."""\n    raise ValueError("x")', []),
        ('def _f():\n    raise GgufError("x")', []),
        ('def run(args: argparse.Namespace) -> int:\n    """Run."""\n    raise GgufError("x")', []),
    ],
)
def test_an_untold_error_is_caught(source: str, found: list[str]) -> None:
    assert find_untold_errors(source) == found


def test_a_number_of_nothing_is_caught() -> None:
    source = (
        'def size(x) -> float:\n    """How large it is."""\ndef size_bytes(x) -> int:\n    """How large it is."""\n'
    )
    assert find_unitless(source) == ["size"]
