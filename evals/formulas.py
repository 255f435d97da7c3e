"""The formulas of runs: how sure a score is, and whether two runs differ. The others are in `sizing/formulas.py`."""

from __future__ import annotations

from evals.intervals import bound_constant, wilson_interval
from evals.stats import mcnemar_p, n_needed_binary, newcombe_interval
from sizing.formula import Formula

FORMULAS = {
    "wilson": Formula(
        "interval of a share of right answers",
        "(share + z^2 / 2n, more or less z x the root of share x (1 - share) / n + z^2 / 4n^2) / (1 + z^2 / n)",
        r"\frac{1}{1 + \frac{z^2}{n}} \left( \hat{p} + \frac{z^2}{2 n} \pm "
        r"z \sqrt{\frac{\hat{p} (1 - \hat{p})}{n} + \frac{z^2}{4 n^2}} \right)",
        (
            (r"\hat{p}", "share of right answers"),
            ("n", "items"),
            ("z", "point of the standard normal: 1.96 at 95%"),
        ),
        wilson_interval,
        "E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209, doi:10.2307/2276774.",
    ),
    "equal": Formula(
        "share of other scores that n equal ones may hide",
        "1 - ((1 - confidence) / 2)^(1 / n)",
        r"h = 1 - \left( \frac{1 - \gamma}{2} \right)^{1/n}",
        ((r"\gamma", "confidence, 0.95"), ("n", "items, all with the same score")),
        bound_constant,
    ),
    "paired": Formula(
        "interval of the difference of two runs on the same items",
        "difference, less or more the root of the squares of Wilson's reaches less what the two runs share",
        r"\hat{d} - \sqrt{a^2 - 2 \phi\, a\, b + b^2} \;\text{ to }\; \hat{d} + \sqrt{c^2 - 2 \phi\, c\, e + e^2}",
        (
            (r"\hat{d}", "difference of the two shares of right answers"),
            ("a, c", "how far the first run's Wilson interval reaches down and up"),
            ("b, e", "how far the second run's reaches up and down"),
            (r"\phi", "correlation of the two runs over the items, corrected for continuity"),
        ),
        newcombe_interval,
        "R. G. Newcombe, Stat. Med. 17 (1998) 2635, method 10.",
    ),
    "mcnemar": Formula(
        "p value of two runs on the same items",
        "twice the chance that of the items one run alone got right so few or fewer are the rarer run's",
        r"p = \min\left( 1,\; 2 \sum_{i=0}^{\min(b, c)} \binom{b + c}{i} 2^{-(b + c)} \right)",
        (("b, c", "items that only the first run got right, and only the second"),),
        mcnemar_p,
        "Q. McNemar, Psychometrika 12 (1947) 153; exact as in F. Mosteller, Biometrics 8 (1952) 220.",
    ),
    "needed": Formula(
        "items that would tell a difference",
        "the n with difference x n - 1 = z x root of (share x n) + z of power x root of ((share - difference^2) x n)",
        r"d\, n - 1 = z_\alpha \sqrt{p\, n} + z_\beta \sqrt{(p - d^2)\, n}",
        (
            ("d", "difference of the shares that only one run got right"),
            ("p", "their sum"),
            (r"z_\alpha", "1.96 at 95%"),
            (r"z_\beta", "0.84 for a power of 0.8"),
        ),
        n_needed_binary,
        "R. J. Connor, Biometrics 43 (1987) 207.",
    ),
}
"""By a short name, as `sizing.formulas.FORMULAS` is."""
