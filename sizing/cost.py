"""What a load of tokens costs: machines of your own, rented ones, or an API by the token.

Every way is a `CostLine` over tokens a day: `cost = fixed + machines x per machine + tokens x per token`, where
machines are whole and follow from what one carries. One machine carries, of a load with shares of input and output,

`tokens a day = active seconds x utilisation / (peak factor x seconds per token)`,
`seconds per token = input share / prefill rate + output share / decode rate of all users together`.

Prompts and answers share one machine, so their seconds add up; a prompt that repeats is read again each time. Since the
rates are intervals, so are costs: the lowest cost comes of the highest rates. Money is US dollars, a month 365.25 / 12
days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from sizing.errors import BadInputError
from sizing.throughput import Interval, SpeedEstimate

DAYS_PER_MONTH = 365.25 / 12
HOURS_PER_MONTH = 24 * DAYS_PER_MONTH
SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6
MILLION = 1e6
MAX_USD = 1e12
MAX_TOKENS_PER_DAY = 1e15
ROUNDING = 1e-9
"""A machine is not bought for the last digit of a float."""


def _check(name: str, value: float, low: float, high: float) -> None:
    """Raises BadInputError for a number outside its range, NaN among them."""
    if not low <= value <= high:
        raise BadInputError(f"{name} wants a number from {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True, slots=True)
class TokenLoad:
    """What is asked of a way to run a model, on an average day.

    `n_users` ask at once; `peak_factor` is the busiest hour over the mean of the active hours (1 and more).
    `active_hours_per_day` are those in which tokens come. `max_utilisation` is the share of its time, at the peak, that
    a machine may be busy: below 1, so that queues stay short.
    """

    input_tokens_per_day: float
    output_tokens_per_day: float
    n_users: int = 1
    peak_factor: float = 1.0
    active_hours_per_day: float = 24.0
    max_utilisation: float = 1.0

    def __post_init__(self) -> None:
        _check("input_tokens_per_day", self.input_tokens_per_day, 0, MAX_TOKENS_PER_DAY)
        _check("output_tokens_per_day", self.output_tokens_per_day, 0, MAX_TOKENS_PER_DAY)
        _check("n_users", self.n_users, 1, 1e6)
        _check("peak_factor", self.peak_factor, 1, 1000)
        _check("active_hours_per_day", self.active_hours_per_day, 0.1, 24)
        _check("max_utilisation", self.max_utilisation, 0.01, 1)

    @property
    def tokens_per_day(self) -> float:
        """Input and output together."""
        return self.input_tokens_per_day + self.output_tokens_per_day

    @property
    def output_share(self) -> float:
        """Output tokens as a share of all; half where there are none, so that a zero load still has a mix."""
        return self.output_tokens_per_day / self.tokens_per_day if self.tokens_per_day else 0.5

    def scale(self, share: float) -> TokenLoad:
        """The same mix with a share of the tokens."""
        return replace(
            self,
            input_tokens_per_day=self.input_tokens_per_day * share,
            output_tokens_per_day=self.output_tokens_per_day * share,
        )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one machine does: tokens/s of all its `n_parallel` users together when writing, and when reading prompts."""

    decode_tokens_per_s: Interval
    prefill_tokens_per_s: Interval
    n_parallel: int = 1

    def __post_init__(self) -> None:
        _check("n_parallel", self.n_parallel, 1, 1e6)
        for name, rate in (("decode", self.decode_tokens_per_s), ("prefill", self.prefill_tokens_per_s)):
            if not 0 < rate.low <= rate.mid <= rate.high < math.inf:
                raise BadInputError(f"{name} rate wants 0 < low <= mid <= high tokens/s, got {rate!r}")

    def seconds_per_token(self, load: TokenLoad) -> Interval:
        """Seconds of one machine per token of the load's mix; the low end belongs to the high rates.

        >>> speed = Capacity(Interval(50, 100, 200), Interval(1000, 2000, 4000))
        >>> speed.seconds_per_token(TokenLoad(1_500_000, 500_000)).mid  # 0.75 / 2000 + 0.25 / 100
        0.002875
        """
        out = load.output_share
        ends = (
            (self.prefill_tokens_per_s.high, self.decode_tokens_per_s.high),
            (self.prefill_tokens_per_s.mid, self.decode_tokens_per_s.mid),
            (self.prefill_tokens_per_s.low, self.decode_tokens_per_s.low),
        )
        return Interval(*((1 - out) / prefill + out / decode for prefill, decode in ends))


def find_capacity(speed: SpeedEstimate | None) -> Capacity | None:
    """What a speed estimate says a machine does; None where a rate is unknown: then no number of machines is known."""
    if speed is None or speed.prefill_tokens_per_s is None:
        return None
    return Capacity(speed.total_decode_tokens_per_s, speed.prefill_tokens_per_s, speed.n_parallel)


@dataclass(frozen=True, slots=True)
class OwnTerms:
    """A machine of your own: bought for `price_usd`, worth `residual_share` of that after `years`, straight line.

    `idle_watts` and `load_watts` are of the whole machine at the socket; `pue` is the power of the room over that of
    the machines (1 for a desk, more with cooling); staff is for all machines together.
    """

    price_usd: float
    years: float
    load_watts: float
    idle_watts: float
    usd_per_kwh: float
    residual_share: float = 0.0
    pue: float = 1.0
    staff_hours_per_month: float = 0.0
    staff_usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        _check("price_usd", self.price_usd, 0, MAX_USD)
        _check("years", self.years, 0.1, 50)
        _check("load_watts", self.load_watts, 0, 1e7)
        _check("idle_watts", self.idle_watts, 0, self.load_watts)
        _check("usd_per_kwh", self.usd_per_kwh, 0, 1000)
        _check("residual_share", self.residual_share, 0, 1)
        _check("pue", self.pue, 1, 10)
        _check("staff_hours_per_month", self.staff_hours_per_month, 0, 1e6)
        _check("staff_usd_per_hour", self.staff_usd_per_hour, 0, 1e6)


RentMode = Literal["always", "hours", "scaled"]
RENT_MODES: tuple[RentMode, ...] = ("always", "hours", "scaled")
"""Rented round the clock, in the active hours, or by the minute for just as long as there is work."""


@dataclass(frozen=True, slots=True)
class RentTerms:
    """A rented machine of `n_gpus`: US$ per GPU and hour, a `reserved_share` of the hours at the reserved price."""

    usd_per_gpu_hour: float
    n_gpus: int = 1
    mode: RentMode = "always"
    reserved_usd_per_gpu_hour: float | None = None
    reserved_share: float = 0.0

    def __post_init__(self) -> None:
        _check("usd_per_gpu_hour", self.usd_per_gpu_hour, 0, 1e6)
        _check("n_gpus", self.n_gpus, 1, 1e5)
        _check("reserved_share", self.reserved_share, 0, 1)
        if self.mode not in RENT_MODES:
            raise BadInputError(f"mode wants one of {', '.join(RENT_MODES)}, got {self.mode!r}")
        if self.reserved_usd_per_gpu_hour is not None:
            _check("reserved_usd_per_gpu_hour", self.reserved_usd_per_gpu_hour, 0, 1e6)
        elif self.reserved_share:
            raise BadInputError("a reserved share wants a reserved price; give one, or reserve nothing")

    @property
    def usd_per_hour(self) -> float:
        """US$ per hour of the whole machine, reserved and on demand mixed.

        >>> RentTerms(3.2, 2, "always", 2.72, 0.5).usd_per_hour  # 2 x (1.6 + 1.36)
        5.92
        """
        reserved = self.reserved_usd_per_gpu_hour or 0.0
        mixed = (1 - self.reserved_share) * self.usd_per_gpu_hour + self.reserved_share * reserved
        return self.n_gpus * mixed


@dataclass(frozen=True, slots=True)
class ApiTerms:
    """An API's prices in US$ per million tokens. Without a cached price, cached tokens are billed as any input.

    `cached_share` of the input tokens come from the provider's cache; `batch_share` of the whole load can wait and gets
    `batch_discount` off (0.5: half price).
    """

    usd_per_million_input: float
    usd_per_million_output: float
    usd_per_million_cached: float | None = None
    cached_share: float = 0.0
    batch_share: float = 0.0
    batch_discount: float = 0.0

    def __post_init__(self) -> None:
        _check("usd_per_million_input", self.usd_per_million_input, 0, 1e6)
        _check("usd_per_million_output", self.usd_per_million_output, 0, 1e6)
        if self.usd_per_million_cached is not None:
            _check("usd_per_million_cached", self.usd_per_million_cached, 0, 1e6)
        _check("cached_share", self.cached_share, 0, 1)
        _check("batch_share", self.batch_share, 0, 1)
        _check("batch_discount", self.batch_discount, 0, 1)

    def usd_per_million(self, load: TokenLoad) -> float:
        """US$ per million tokens of the load's mix of input and output.

        >>> ApiTerms(2.0, 12.0, 0.2, cached_share=0.5).usd_per_million(TokenLoad(750, 250))  # 0.75 x 1.1 + 0.25 x 12
        3.825
        """
        cached = self.usd_per_million_input if self.usd_per_million_cached is None else self.usd_per_million_cached
        prompt = (1 - self.cached_share) * self.usd_per_million_input + self.cached_share * cached
        mixed = (1 - load.output_share) * prompt + load.output_share * self.usd_per_million_output
        return mixed * (1 - self.batch_share * self.batch_discount)


@dataclass(frozen=True, slots=True)
class CostLine:
    """US$ a month as a function of tokens a day; the mix of tokens is in the numbers.

    `tokens_per_day_per_machine` is infinite where nobody counts machines (an API, or renting by the minute).
    """

    usd_per_million_tokens: float
    usd_per_machine_month: float = 0.0
    usd_per_month: float = 0.0
    tokens_per_day_per_machine: float = math.inf
    min_machines: int = 0

    @property
    def is_linear(self) -> bool:
        """Whether nothing is paid but tokens."""
        return self.usd_per_machine_month == 0 and self.usd_per_month == 0

    def count_machines(self, tokens_per_day: float) -> int:
        """Whole machines for a load, at least `min_machines`."""
        needed = math.ceil(tokens_per_day / self.tokens_per_day_per_machine * (1 - ROUNDING))
        return max(self.min_machines, needed)

    def cost_per_month(self, tokens_per_day: float) -> float:
        """US$ a month at a load.

        >>> line = CostLine(0.5, usd_per_machine_month=100, tokens_per_day_per_machine=1e6, min_machines=1)
        >>> [round(line.cost_per_month(t), 2) for t in (0, 1e6, 2e6)]  # 100, 100 + 15.22, 200 + 30.44
        [100.0, 115.22, 230.44]
        """
        machines = self.count_machines(tokens_per_day) * self.usd_per_machine_month
        tokens = tokens_per_day * DAYS_PER_MONTH / MILLION * self.usd_per_million_tokens
        return self.usd_per_month + machines + tokens


@dataclass(frozen=True, slots=True)
class CostBand:
    """One way at the high, middle and low speed of its machine: the cheapest line first. An API's three are one."""

    low: CostLine
    mid: CostLine
    high: CostLine

    def cost_per_month(self, tokens_per_day: float) -> Interval:
        """US$ a month at a load."""
        return Interval(*(line.cost_per_month(tokens_per_day) for line in (self.low, self.mid, self.high)))

    def cost_per_million(self, tokens_per_day: float) -> Interval | None:
        """US$ per million tokens at a load; None without tokens."""
        if tokens_per_day <= 0:
            return None
        month, millions = self.cost_per_month(tokens_per_day), tokens_per_day * DAYS_PER_MONTH / MILLION
        return Interval(month.low / millions, month.mid / millions, month.high / millions)

    def count_machines(self, tokens_per_day: float) -> tuple[int, int, int]:
        """Machines at the high, middle and low speed."""
        fast, mid, slow = (line.count_machines(tokens_per_day) for line in (self.low, self.mid, self.high))
        return fast, mid, slow


def _tokens_per_machine(seconds_per_token: float, load: TokenLoad) -> float:
    """Tokens a day that one machine carries with room for the peak."""
    active_s = load.active_hours_per_day * SECONDS_PER_HOUR
    return active_s * load.max_utilisation / (load.peak_factor * seconds_per_token)


def _min_machines(load: TokenLoad, capacity: Capacity) -> int:
    """Machines for the slots of all users at once."""
    return math.ceil(load.n_users / capacity.n_parallel)


def own_band(terms: OwnTerms, capacity: Capacity, load: TokenLoad) -> CostBand:
    """The cost of machines of your own.

    A machine costs its loss of value and its idle power all month; a token costs what the machine draws above idle
    while it works on it.
    """
    lost_usd = terms.price_usd * (1 - terms.residual_share) / (12 * terms.years)
    idle_usd = terms.idle_watts / 1000 * HOURS_PER_MONTH * terms.pue * terms.usd_per_kwh
    above_idle = (terms.load_watts - terms.idle_watts) * terms.pue / JOULES_PER_KWH * terms.usd_per_kwh

    def line(seconds: float) -> CostLine:
        return CostLine(
            usd_per_million_tokens=above_idle * seconds * MILLION,
            usd_per_machine_month=lost_usd + idle_usd,
            usd_per_month=terms.staff_hours_per_month * terms.staff_usd_per_hour,
            tokens_per_day_per_machine=_tokens_per_machine(seconds, load),
            min_machines=_min_machines(load, capacity),
        )

    each = capacity.seconds_per_token(load)
    return CostBand(line(each.low), line(each.mid), line(each.high))


def rent_band(terms: RentTerms, capacity: Capacity, load: TokenLoad) -> CostBand:
    """The cost of rented machines; by the minute (`scaled`) a busy hour is paid with the idle share of it."""
    hours = load.active_hours_per_day if terms.mode == "hours" else 24.0

    def line(seconds: float) -> CostLine:
        if terms.mode == "scaled":
            busy_s = seconds / load.max_utilisation
            return CostLine(usd_per_million_tokens=terms.usd_per_hour * busy_s / SECONDS_PER_HOUR * MILLION)
        return CostLine(
            usd_per_million_tokens=0.0,
            usd_per_machine_month=terms.usd_per_hour * hours * DAYS_PER_MONTH,
            tokens_per_day_per_machine=_tokens_per_machine(seconds, load),
            min_machines=_min_machines(load, capacity),
        )

    each = capacity.seconds_per_token(load)
    return CostBand(line(each.low), line(each.mid), line(each.high))


def api_band(terms: ApiTerms, load: TokenLoad) -> CostBand:
    """The cost of an API: so much per token, and nothing without tokens."""
    line = CostLine(usd_per_million_tokens=terms.usd_per_million(load))
    return CostBand(line, line, line)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From how many tokens a day a way costs no more than an API.

    `tokens_per_day` is the first such load, `steady_tokens_per_day` the one from which no further machine makes it
    dearer again; both are None where there is none, and `reason` says why.
    """

    tokens_per_day: float | None
    steady_tokens_per_day: float | None
    reason: str


def find_break_even(line: CostLine, api: CostLine) -> BreakEven:
    """Where a line meets an API's, in closed form; `api` has to be linear.

    With n machines of `m` US$, fixed `s`, and `d` US$ a month saved per token a day, the line costs no more from
    `t = (n m + s) / d` on, which n machines carry when `t <= n c`; so n is the first with `n (c d - m) >= s`. A further
    machine makes it dearer again while `n (c d - m) < s + c d`. Raises BadInputError for an `api` that is not linear.

    >>> own = CostLine(0.0, usd_per_machine_month=91.3125, tokens_per_day_per_machine=4e6, min_machines=1)
    >>> round(find_break_even(own, CostLine(3.0)).tokens_per_day)  # 91.3125 / (30.4375 x 3 / 1e6)
    1000000
    """
    if not api.is_linear:
        raise BadInputError("a break-even is looked for against a price by the token alone")
    saved = (api.usd_per_million_tokens - line.usd_per_million_tokens) * DAYS_PER_MONTH / MILLION
    if line.is_linear:
        if saved >= 0:
            return BreakEven(0.0, 0.0, "it costs no more at any load")
        return BreakEven(None, None, "every token costs more than the API's")
    if saved <= 0:
        return BreakEven(None, None, "the running cost of a token alone is no less than the API's price")
    most_saved = saved * line.tokens_per_day_per_machine
    gain = most_saved - line.usd_per_machine_month
    if gain <= 0:
        return BreakEven(None, None, "a machine costs more than the API even when it carries all it can")
    least = max(line.min_machines, 1)
    first = max(least, math.ceil(line.usd_per_month / gain * (1 - ROUNDING)))
    start = (first - 1) * line.tokens_per_day_per_machine if first > least else 0.0
    at = max(_meet(line, saved, first), start)
    last = math.ceil((line.usd_per_month + most_saved) / gain * (1 - ROUNDING)) - 1
    steady = _meet(line, saved, last) if last > first else at
    return BreakEven(at, max(at, steady), "")


def _meet(line: CostLine, saved: float, n_machines: int) -> float:
    """Tokens a day at which so many machines have saved what they cost."""
    return (n_machines * line.usd_per_machine_month + line.usd_per_month) / saved


def find_break_even_utilisation(line: CostLine, api: CostLine, load: TokenLoad) -> float | None:
    """The share of a machine's active time that has to be used, on average, for it to cost what the API does.

    None where even a machine that is always busy costs more. Fixed costs beside the machine (staff) are left out.
    """
    saved = (api.usd_per_million_tokens - line.usd_per_million_tokens) * DAYS_PER_MONTH / MILLION
    full = line.tokens_per_day_per_machine * load.peak_factor / load.max_utilisation
    if saved <= 0 or math.isinf(full):
        return None
    share = line.usd_per_machine_month / (saved * full)
    return share if share <= 1 else None


def find_break_even_band(band: CostBand, api: CostBand) -> tuple[BreakEven, BreakEven, BreakEven]:
    """The break-even at the cheapest, middle and dearest end of a band."""
    low, mid, high = (find_break_even(line, api.mid) for line in (band.low, band.mid, band.high))
    return low, mid, high
