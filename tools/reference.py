"""Write the reference: docstrings of the rooms as HTML, each formula typeset beside the function that computes it.

    python -m tools.reference [--out docs/reference] [MODULE...]

pdoc makes the pages, latex2mathml turns TeX into MathML that a browser draws by itself; no network is asked, neither
now nor when a page is read.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pdoc
import pdoc.doc
import pdoc.render
from latex2mathml.converter import convert
from markupsafe import Markup

from sizing.errors import BadInputError
from sizing.formula import Formula
from tools.formula_examples import list_formulas, work_out
from tools.memory_examples import Example

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "tools" / "reference_pages"
OUT = ROOT / "docs" / "reference"
ROOMS = ("sizing", "catalog", "evals")
LEFT_OUT = ("evals/demo/", "evals/suites/generators/")
"""What makes the demonstration model and the suites: programs, not a library."""


def format_value(example: Example) -> str:
    """The figure that the function gave, with its unit; whole numbers in full."""
    value = example.value
    told = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
    return f"{told} {example.unit}"


def typeset(name: str, formula: Formula) -> str:
    """One formula as HTML: in words, typeset, its symbols, what it gives for a known model, its source."""
    symbols = "".join(f"<dt>{convert(sign)}</dt><dd>{escape(told)}</dd>" for sign, told in formula.symbols)
    examples = "".join(
        f"<p>{escape(e.of_what)}: {escape(e.with_numbers)} = <strong>{escape(format_value(e))}</strong></p>"
        for e in work_out(name)
    )
    source = f'<p class="source">{escape(formula.source)}</p>' if formula.source else ""
    return (
        f'<div class="formula" data-formula="{escape(name)}"><p>{escape(formula.in_words)}</p>'
        f"{convert(formula.tex, display='block')}<dl>{symbols}</dl>{examples}{source}</div>"
    )


def list_modules(name: str) -> tuple[str, ...]:
    """The dotted names of a module and of all below it, without shells, child processes and `LEFT_OUT`.

    Raises FileNotFoundError for a module that is not here.
    """
    path = ROOT / name.replace(".", "/")
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py").resolve(strict=True)]
    places = [f.relative_to(ROOT).as_posix() for f in files]
    kept = [p for p in places if not p.endswith(("__main__.py", "_child.py")) and not p.startswith(LEFT_OUT)]
    return tuple(p.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for p in kept)


def find_module(formula: Formula, modules: Mapping[str, pdoc.doc.Module]) -> str | None:
    """The module of what computes a formula, None where its page is not among those made."""
    name = formula.function
    while "." in name:
        name = name.rpartition(".")[0]
        if name in modules:
            return name
    return None


def find_address(formula: Formula, modules: Mapping[str, pdoc.doc.Module]) -> str:
    """Where on the pages a formula's function stands, seen from the first page; "" where it has none."""
    module = find_module(formula, modules)
    if module is None:
        return ""
    return f"{module.replace('.', '/')}.html#{formula.function.removeprefix(module + '.')}"


def build_reference(out: Path, names: Sequence[str] = ROOMS) -> tuple[str, ...]:
    """Write the pages of these modules and all below them into `out`, emptied before; the formulas they show.

    Raises FileNotFoundError for a module that is not here, BadInputError for a folder with something else in it.
    """
    formulas = list_formulas()
    shown: list[str] = []

    def formulas_of(function: str) -> Markup:
        found = [name for name, formula in formulas.items() if formula.function == function]
        shown.extend(found)
        return Markup("".join(typeset(name, formulas[name]) for name in found))

    pdoc.render.configure(docformat="markdown", show_source=False, template_directory=PAGES)
    pdoc.render.env.globals.update(
        formulas=formulas,
        formulas_of=formulas_of,
        show_formula=lambda name: Markup(typeset(name, formulas[name])),
        find_module=find_module,
        find_address=find_address,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error parsing type annotation argparse._SubParsersAction")
        modules = {n: pdoc.doc.Module.from_name(n) for name in names for n in list_modules(name)}
        empty_folder(out)
        for name, module in modules.items():
            write_page(out / f"{name.replace('.', '/')}.html", pdoc.render.html_module(module, modules))
        write_page(out / "index.html", pdoc.render.html_index(modules))
        write_page(out / "search.js", pdoc.render.search_index(modules))
    return tuple(dict.fromkeys(shown))


def empty_folder(out: Path) -> None:
    """Remove an earlier reference. Raises BadInputError where the folder holds anything else."""
    if out.exists() and any(out.iterdir()) and not (out / "search.js").is_file():
        raise BadInputError(f"{out} holds something else than a reference; name an empty folder")
    shutil.rmtree(out, ignore_errors=True)


def write_page(path: Path, text: str) -> None:
    """A page at its place, with the folders on the way there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the pages and say where; 1 where a formula's function has no page among all of them."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(ROOMS), metavar="MODULE")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder, emptied before")
    args = parser.parse_args()
    shown = build_reference(args.out, args.modules)
    print(f"{len(shown)} formulas, {sum(1 for _ in args.out.rglob('*.html'))} pages: {args.out / 'index.html'}")
    missing = [name for name in list_formulas() if name not in shown] if args.modules == list(ROOMS) else []
    if missing:
        print(f"no page shows the formulas {', '.join(missing)}: their functions are private or left out")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
