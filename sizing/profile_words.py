"""Who asks for a licence's answer, in words."""

from __future__ import annotations

from sizing.license_profile import REGION_NAMES, LicenseProfile

FIELD_WORDS = {
    "hosting": "Sell access to the model as a service",
    "military": "Military",
    "medical": "Medicine",
    "law enforcement": "Law enforcement, justice, immigration",
    "automated decisions": "Automated decisions about people",
}
REGION_WORDS = {"": "Not said", **REGION_NAMES}
ACTION_WORDS = {
    "fine_tunes": "you fine-tune it",
    "redistributes": "you pass it on",
    "trains_on_outputs": "you train on its outputs",
}


def describe_profile(profile: LicenseProfile) -> str:
    """A profile as a sentence."""
    where = REGION_WORDS.get(profile.region, profile.region) if profile.region else "a region not said"
    does = [
        words.removeprefix("you ")
        for name, words in ACTION_WORDS.items()
        if getattr(profile, name) or getattr(profile, name) is None
    ]
    does += [FIELD_WORDS[name].lower() for name in sorted(profile.fields)]
    told = f" It may also: {', '.join(does)}." if does else ""
    return (
        f"Profile: {profile.purpose} use in {where}, {say_amount(profile.users_per_month, 'users a month')}, "
        f"{say_money(profile.revenue_usd_per_year, 'of revenue a year')}.{told}"
    )


def say_money(value: int | None, period: str) -> str:
    """An amount of US dollars a period, or that it is not known."""
    return (
        f"revenue {period.removeprefix('of revenue ')} not known"
        if value is None
        else f"US${say_amount(value, period)}"
    )


def say_amount(value: int | None, unit: str) -> str:
    """'10 million users', or that the number is not known."""
    if value is None:
        return f"{unit} not known"
    for size, word in ((10**9, " billion"), (10**6, " million")):
        if value >= size:
            return f"{value / size:.4g}{word} {unit}"
    return f"{value:,} {unit}"
