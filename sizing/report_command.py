"""The command line that makes a decision report again, with the whole question in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from sizing.candidate import Needs
from sizing.estimate import ENGINE
from sizing.license_profile import LicenseProfile


def format_report_command(hardware: str, needs: Needs, engine: str = ENGINE) -> str:
    """The command for a POSIX shell; what a person left as it was is left out of the profile.

    >>> from sizing.workload import Workload
    >>> format_report_command("RTX 4090*2", Needs("code", Workload(context_tokens=16384)))
    "python -m sizing report --task code --hardware 'RTX 4090*2' --context 16384"
    """
    load = needs.workload
    words = ["python", "-m", "sizing", "report", "--task", needs.task, "--hardware", hardware]
    words += ["--context", str(load.context_tokens)]
    if load.n_parallel > 1:
        words += ["--parallel", str(load.n_parallel)]
    if needs.min_decode_tokens_per_s:
        words += ["--min-speed", f"{needs.min_decode_tokens_per_s:g}"]
    if needs.license_use != "any":
        words += ["--license-use", needs.license_use, *_list_profile(needs.license_profile)]
    if engine != ENGINE:
        words += ["--engine", engine]
    return shlex.join(words)


def _list_profile(profile: LicenseProfile) -> Iterator[str]:
    """The options of a profile that differ from the default."""
    plain = LicenseProfile()
    flags = {True: "yes", False: "no", None: "unknown"}
    amounts = (("--users", "users_per_month"), ("--revenue", "revenue_usd_per_year"))
    for option, name in amounts:
        value = getattr(profile, name)
        if value != getattr(plain, name):
            yield from (option, "unknown" if value is None else str(value))
    if profile.region:
        yield from ("--region", profile.region)
    actions = (("--fine-tune", "fine_tunes"), ("--redistribute", "redistributes"))
    for option, name in (*actions, ("--train-on-outputs", "trains_on_outputs")):
        value = getattr(profile, name)
        if value != getattr(plain, name):
            yield from (option, flags[value])
    for name in sorted(profile.fields):
        yield from ("--field", name)
