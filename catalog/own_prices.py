"""A person's own prices: `prices.toml` in their folder, read strictly, written whole.

```toml
[[price]]
kind = "rent"             # buy, rent, api or electricity
item = "RTX 4090"         # a device, an API's model, or where electricity is bought
provider = "RunPod Secure"
usd_per_gpu_hour = 0.61
as_of = "2026-11-20"
```
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.prices import KINDS, OWN, Price
from catalog.strict_toml import AS_OF, URL, Place, check_choice, check_form, check_keys, load_records
from sizing.errors import BadInputError, DataFileError, UserStoreError

FILE_NAME = "prices.toml"
MAX_FILE_BYTES = 256 * 1024
MAX_PRICES = 500
MAX_TEXT_CHARACTERS = 200

NUMBERS = {
    "usd": 1e9,
    "usd_per_gpu_hour": 1e4,
    "reserved_usd_per_gpu_hour": 1e4,
    "usd_per_million_input": 1e5,
    "usd_per_million_cached": 1e5,
    "usd_per_million_output": 1e5,
    "batch_discount": 1.0,
    "usd_per_kwh": 1e3,
}
"""The numbers a price may hold, and the most each may be."""

WANTED: Mapping[str, tuple[str, ...]] = {
    "buy": ("usd",),
    "rent": ("usd_per_gpu_hour",),
    "api": ("usd_per_million_input", "usd_per_million_output"),
    "electricity": ("usd_per_kwh",),
}
MAY = {
    "buy": (),
    "rent": ("reserved_usd_per_gpu_hour",),
    "api": ("usd_per_million_cached", "batch_discount"),
    "electricity": (),
}
TEXTS = ("kind", "item", "provider", "hardware", "model_id", "region", "note", "source_url", "as_of")
_KEYS: Mapping[str, tuple[type, bool]] = {
    **{name: (str, name in ("kind", "item", "as_of")) for name in TEXTS},
    **dict.fromkeys(NUMBERS, (object, False)),
}


def load_own_prices(home: Path) -> tuple[Price, ...]:
    """The person's own prices; none where there is no file.

    Raises DataFileError naming file and line for whatever is no price.
    """
    file = home / FILE_NAME
    if not file.exists():
        return ()
    if not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
        raise DataFileError(
            str(file), 1, f"wanted a file of at most {MAX_FILE_BYTES // 1024} KiB with [[price]] records"
        )
    _, records = load_records(file, "price", {})
    if len(records) > MAX_PRICES:
        raise DataFileError(str(file), 1, f"wanted at most {MAX_PRICES} prices, got {len(records):,}")
    prices: dict[tuple[str, str, str], Price] = {}
    for record, place in records:
        price = _read_price(record, place)
        if price.key in prices:
            raise place.error("item", f"{price.name} has a price already; keep one of the two")
        prices[price.key] = price
    return tuple(prices.values())


def _read_price(record: Mapping[str, Any], place: Place) -> Price:
    check_keys(record, _KEYS, place)
    check_choice(record, {"kind": KINDS}, place)
    check_form(record, {"as_of": AS_OF, "source_url": URL}, place)
    kind = record["kind"]
    for name in TEXTS:
        text = record.get(name, "")
        if len(text) > MAX_TEXT_CHARACTERS or not (text or " ").isprintable():
            raise place.error(name, f"{name} wants at most {MAX_TEXT_CHARACTERS} printable characters")
    for name in WANTED[kind]:
        if name not in record:
            raise place.error(name, f"missing {name}; a price of kind {kind} wants it")
    for name, most in NUMBERS.items():
        if name not in record:
            continue
        value = record[name]
        if name not in (*WANTED[kind], *MAY[kind]):
            raise place.error(name, f"a price of kind {kind} has no {name}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise place.error(name, f"{name} wants a number from 0 to {most:g}, got {value!r}")
    numbers = {name: float(record[name]) for name in NUMBERS if name in record}
    texts = {name: record[name] for name in TEXTS if name in record}
    return Price(**{"provider": "", **texts, **numbers}, confidence=OWN)


def save_own_price(home: Path, price: Price) -> None:
    """Keep one price, in place of the same offer's where there is one.

    Raises BadInputError for what could not be read again, DataFileError where the present file is broken (it is left as
    it is), UserStoreError where the file cannot be written.
    """
    kept = {p.key: p for p in load_own_prices(home)}
    kept[price.key] = price
    if len(kept) > MAX_PRICES:
        raise BadInputError(f"{FILE_NAME} holds {MAX_PRICES} prices at most; take some out of it by hand")
    _write(home, tuple(kept.values()))


def forget_own_price(home: Path, key: tuple[str, str, str]) -> bool:
    """Take one price out; returns whether it was there. Raises as `save_own_price` does."""
    prices = load_own_prices(home)
    left = tuple(p for p in prices if p.key != key)
    if len(left) < len(prices):
        _write(home, left)
    return len(left) < len(prices)


def format_own_prices(prices: Sequence[Price]) -> str:
    """The text of the file."""
    blocks = ["# Your own prices: they go before the catalog's. Kinds: " + ", ".join(KINDS) + "."]
    for price in prices:
        lines = ["[[price]]"]
        for name in TEXTS:
            value = getattr(price, name)
            if value:
                lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        for name in NUMBERS:
            number = getattr(price, name)
            if number is not None:
                lines.append(f"{name} = {float(number)!r}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n" if prices else blocks[0] + "\nprice = []\n"


def _write(home: Path, prices: Sequence[Price]) -> None:
    """Write the file beside itself, read it back as a check, and put it in its place in one step."""
    try:
        with tempfile.TemporaryDirectory(dir=home, prefix="prices-") as folder:
            draft = Path(folder) / FILE_NAME
            draft.write_text(format_own_prices(prices), encoding="utf-8")
            try:
                load_own_prices(Path(folder))
            except DataFileError as error:
                raise BadInputError(f"this price cannot be kept: {error.problem}") from error
            draft.replace(home / FILE_NAME)
    except OSError as error:
        raise UserStoreError(
            f"{home / FILE_NAME} cannot be written ({error.strerror}); is the folder yours?"
        ) from error
