"""Configurations and hostile names that the tests of launches share."""

from __future__ import annotations

import shlex

from hypothesis import strategies as st

from sizing.estimate import Estimate, estimate
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.workload import Workload
from tests.sizing.test_placement import card, host, model, weights

NASTY = (
    'org/it\'s "quoted"',
    "org/$(rm -rf ~)",
    "org/`id`;&|<>",
    "org/${HOME}$$x$",
    "org/new\nline: - x",
    "org/tab\tand\\back\\n",
    "org/名前-模型-é-😀",
    "org/#comment: {a: [b]} & *c !d | > % @",
    "org/next\x85line\u2028sep\u2029par\ufeffbom\x7f\x9b",
    "org/'''triple\"\"\"",
    "org/{braces}{{two}}%s%(x)s",
    "~/model",
    "org/EOF\nEOF\n",
)
"""Names that break out of careless quotes, in a shell, YAML, Python, compose or Kubernetes."""

names = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40
).filter(lambda s: not s.startswith("-"))
"""Any name a command line can carry, the hostile ones often."""

ONE_CARD = Machine("one card", host(), (card(24),))
TWO_CARDS = Machine("two cards", host(), (card(8, "a"), card(8, "b")))
HOST_ALONE = Machine("host", host())


def words_of(text: str) -> list[str]:
    """The words of a command that goes on over lines, which `shlex` alone does not join."""
    return shlex.split(text.replace(" \\\n    ", " "))


def size(machine: Machine, workload: Workload, spec: ModelSpec | None = None, w: WeightBytes | None = None) -> Estimate:
    """An estimate of the usual small model."""
    return estimate(spec or model(), w or weights(), workload, machine)
