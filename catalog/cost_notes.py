"""What a cost takes for granted, a line each with source and date: for the page, the command, the exported policy."""

from __future__ import annotations

from catalog.offers import PUE, PUE_SOURCE, CostPlan, MachinePrice
from catalog.prices import Price
from sizing.units import format_figures

ASSUMED = "assumed, no source"


def say_source(price: Price | None) -> str:
    """Where a price was read and when: 'read 2026-09-25 at https://...'."""
    if price is None:
        return ASSUMED
    if price.is_own:
        return f"your own price of {price.as_of}" if price.as_of else "given by you"
    how = "recalled, not checked" if price.confidence == "recalled" else "read"
    return f"{how} {price.as_of} at {price.source_url}"


def say_machine_price(price: MachinePrice) -> str:
    """What the machine's price is the price of, and where it stands."""
    host = (
        f", and US$ {format_figures(price.host_usd)} for the computer around it ({ASSUMED})" if price.host_usd else ""
    )
    where = f" at {price.source_url}, read {price.as_of}" if price.source_url else ""
    return f"{price.basis}{where}{host}"


def list_cost_assumptions(plan: CostPlan, machine_price: MachinePrice, electricity: Price | None) -> tuple[str, ...]:
    """Everything the figures rest on besides the prices in the table of options."""
    load = plan.load
    out = [f"machine: {say_machine_price(machine_price)}"]
    if plan.watts is not None:
        out.append(
            f"power: {format_figures(plan.watts.load)} W at work (the devices' limit), "
            f"{format_figures(plan.watts.idle)} W idle; the computer's part and the idle share {ASSUMED}"
        )
    if plan.usd_per_kwh is not None:
        converted = (
            f", converted at {electricity.converted_at:g} US$" if electricity and electricity.converted_at else ""
        )
        out.append(f"electricity: US$ {format_figures(plan.usd_per_kwh)} per kWh{converted}; {say_source(electricity)}")
    pue = f"; {PUE_SOURCE.source_url}, {PUE_SOURCE.as_of}" if plan.pue == PUE else ""
    out += [
        f"power of the room over that of the machine: {plan.pue:g}{pue}",
        f"written off over {plan.years:g} years in a straight line, {plan.residual_share:.0%} left at the end",
        f"the busiest hour has {load.peak_factor:g} times the mean; a machine is busy {load.max_utilisation:.0%} then; "
        f"tokens come in {load.active_hours_per_day:g} hours a day",
        "prompts are timed as long as the context, and read anew each time; prompts and answers share the machine",
        f"of an API's input {plan.cached_share:.0%} is cached, {plan.batch_share:.0%} of all can wait for a batch",
        "US dollars without tax; a month is 365.25 / 12 days",
    ]
    if plan.staff_hours_per_month and plan.staff_usd_per_hour:
        out.append(f"staff: {plan.staff_hours_per_month:g} hours a month at US$ {plan.staff_usd_per_hour:g}")
    return tuple(out)
