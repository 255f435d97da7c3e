"""Questions to the catalog. Each answer is a value of `sizing` or of this room; nobody outside sees a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from catalog.devices import DEVICE_COLUMNS, NamedDevice, build_device, find_device
from catalog.machine import detect_machine, unified_machine
from catalog.models import ModelCard
from catalog.quality import QualityEvidence, ScoreRow, rate_models
from catalog.store import NOT_WEIGHED, Catalog
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.quants import QUANTS

ASSUMED_HOST = "PC DDR5-5600 32GB"
"""The host a named card is put into when none is named: a common desktop of today."""

MAX_CARDS = 64
MAX_NAME_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Source:
    """One address facts come from: the tables that cite it, how many rows, and the newest `as_of` among them."""

    source_url: str
    tables: tuple[str, ...]
    n_rows: int
    as_of: str


def list_models(catalog: Catalog) -> tuple[ModelCard, ...]:
    """All models, in the order of the data files."""
    return catalog.cards


def find_model(catalog: Catalog, name: str) -> ModelCard:
    """The model of this Hugging Face id, the tail of one, or a display name, whatever the case.

    Raises UnknownNameError with near names, BadInputError for a text too long to be a name.
    """
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadInputError(f"a model's name has at most {MAX_NAME_CHARACTERS} characters, got {len(name):,}")
    wanted = name.strip().casefold()
    for card in catalog.cards:
        if card.model_id.casefold() == wanted:
            return card
    matches = [c for c in catalog.cards if wanted in (c.model_id.casefold().rsplit("/", 1)[-1], c.name.casefold())]
    if len(matches) == 1:
        return matches[0]
    known = matches or catalog.cards
    raise UnknownNameError("model", name, [n for c in known for n in (c.model_id, c.name)])


def list_weights(catalog: Catalog, model_id: str) -> tuple[WeightBytes, ...]:
    """Bytes of one model in every quantization the engine weighed, 16 bit first; empty where it was not weighed."""
    rows = catalog.fetch(f"SELECT {_WEIGHT_COLUMNS} FROM weights WHERE model_id = ?", [model_id])
    return _sort_by_quant([_read_weights(row) for row in rows])


def find_weights(catalog: Catalog, card: ModelCard, quant: str) -> WeightBytes:
    """A model's weights in one quantization. Raises UnsupportedError with why the engine did not weigh it."""
    for weights in list_weights(catalog, card.model_id):
        if weights.quant == quant:
            return weights
    gap = find_weigh_gap(catalog, card.model_id)
    raise UnsupportedError(f"{card.name} at {quant}: {gap or 'not weighed; run `python -m evals weigh`'}")


def all_weights(catalog: Catalog) -> dict[str, tuple[WeightBytes, ...]]:
    """Bytes of every weighed model in every quantization, by model id, in the order of the catalog."""
    return dict(_read_all_weights(catalog))


@lru_cache(maxsize=4)
def _read_all_weights(catalog: Catalog) -> dict[str, tuple[WeightBytes, ...]]:
    found: dict[str, list[WeightBytes]] = {}
    for row in catalog.fetch(f"SELECT {_WEIGHT_COLUMNS}, model_id FROM weights"):
        found.setdefault(row[-1], []).append(_read_weights(row))
    return {c.model_id: _sort_by_quant(found[c.model_id]) for c in catalog.cards if c.model_id in found}


def find_weigh_gap(catalog: Catalog, model_id: str) -> str | None:
    """Why there are no weights for this model, in words; None where there are."""
    weighed, reasons = _list_gaps(catalog)
    return None if model_id in weighed else reasons.get(model_id, NOT_WEIGHED)


@lru_cache(maxsize=4)
def _list_gaps(catalog: Catalog) -> tuple[frozenset[str], dict[str, str]]:
    weighed = frozenset(model_id for (model_id,) in catalog.fetch("SELECT DISTINCT model_id FROM weights"))
    return weighed, dict(catalog.fetch("SELECT model_id, reason FROM weigh_gaps"))


_WEIGHT_COLUMNS = "quant, input_bytes, output_bytes, layer_bytes, layer_expert_bytes, token_embedding_bytes"


def _read_weights(row: tuple[Any, ...]) -> WeightBytes:
    quant, input_bytes, output_bytes, layers, experts, embedding = row[:6]
    return WeightBytes(quant, input_bytes, output_bytes, tuple(layers), tuple(experts), embedding)


def _sort_by_quant(weights: Iterable[WeightBytes]) -> tuple[WeightBytes, ...]:
    order = {name: i for i, name in enumerate(QUANTS)}
    return tuple(sorted(weights, key=lambda w: (order.get(w.quant, len(order)), w.quant)))


def list_devices(catalog: Catalog) -> tuple[Device, ...]:
    """All devices of the catalog: cards, then unified machines, then hosts, as the data file orders them."""
    return tuple(named.device for named in _list_named(catalog))


@lru_cache(maxsize=4)
def _list_named(catalog: Catalog) -> tuple[NamedDevice, ...]:
    rows = catalog.fetch(f"SELECT {', '.join(DEVICE_COLUMNS)} FROM hardware ORDER BY line")
    return tuple(build_device(row) for row in rows)


def find_machine(catalog: Catalog, text: str) -> Machine:
    """The machine a text names: "this", a device of the catalog, several ("RTX 3090*2"), or a list with '+'.

    A host may stand in the list ("RTX 4090 + PC DDR5-5600 64GB"); otherwise `ASSUMED_HOST` is taken and its notes say
    so. Names are compared as `find_device` does. Raises UnknownNameError with near names, BadInputError for a count
    out of range, an empty name, two hosts, or a unified machine beside other devices.
    """
    if len(text) > MAX_NAME_CHARACTERS:
        raise BadInputError(f"a machine's name has at most {MAX_NAME_CHARACTERS} characters, got {len(text):,}")
    if text.strip().casefold() in ("this", "this machine"):
        return detect_machine(_list_named(catalog))
    parts = re.split(r"(?<!max)\+", text, flags=re.IGNORECASE)  # "Ryzen AI Max+ 395" is one name
    devices = [device for part in parts for device in _find_counted(catalog, part, text)]
    hosts = [d for d in devices if d.kind is DeviceKind.CPU]
    unified = [d for d in devices if d.kind is DeviceKind.UNIFIED]
    cards = tuple(d for d in devices if d.kind is DeviceKind.GPU)
    if len(hosts) > 1:
        raise BadInputError(f"a machine wants one host, got {len(hosts)} in {text!r}")
    if unified:
        if len(devices) > 1:
            raise BadInputError(
                f"{unified[0].name} shares its memory and stands alone, got {text!r}; name one of the two"
            )
        return unified_machine(unified[0])
    if not cards:
        return Machine(hosts[0].name, hosts[0])
    name = " + ".join(_count_names(cards))
    if hosts:
        return Machine(f"{name} + {hosts[0].name}", hosts[0], cards)
    host = find_device(_list_named(catalog), ASSUMED_HOST)
    said = f"assumed host: {host.name}; name yours after a '+'"
    return Machine(name, replace(host, notes=(said, *host.notes)), cards)


def _find_counted(catalog: Catalog, part: str, text: str) -> list[Device]:
    name, _, number = part.strip().rpartition("*") if "*" in part else (part.strip(), "", "1")
    name = name.strip()
    if not name or not re.fullmatch(r"\s*-?\d{1,9}\s*", number):
        raise BadInputError(f'hardware wants "this", NAME, NAME*N, or a list with +, got {text!r}')
    count = int(number)
    if not 1 <= count <= MAX_CARDS:
        raise BadInputError(f"a machine wants 1 to {MAX_CARDS} cards of a kind, got {count} in {text!r}")
    device = find_device(_list_named(catalog), name)
    if count > 1 and device.kind is not DeviceKind.GPU:
        raise BadInputError(f"only cards can be counted, {device.name} is {device.kind}; got {text!r}")
    return [device] * count


def _count_names(cards: Iterable[Device]) -> list[str]:
    counts: dict[str, int] = {}
    for card in cards:
        counts[card.name] = counts.get(card.name, 0) + 1
    return [name if n == 1 else f"{name}*{n}" for name, n in counts.items()]


def list_sources(catalog: Catalog) -> tuple[Source, ...]:
    """Every address the catalog's facts come from, most cited first."""
    tables = catalog.fetch(
        "SELECT table_name FROM duckdb_columns() WHERE NOT internal AND column_name = 'source_url' ORDER BY 1"
    )
    union = " UNION ALL ".join(f"SELECT '{t}' AS t, source_url, as_of FROM {t}" for (t,) in tables)
    rows = catalog.fetch(
        f"SELECT source_url, list_sort(list_distinct(list(t))), count(*), max(as_of) FROM ({union}) "
        "GROUP BY source_url ORDER BY count(*) DESC, source_url"
    )
    return tuple(Source(url, tuple(names), int(n), as_of) for url, names, n, as_of in rows)


def list_quality(catalog: Catalog, task: str) -> tuple[QualityEvidence, ...]:
    """Published evidence for a task, best first; a model without any has no row. Raises UnknownNameError."""
    rated = _rate_all(catalog)
    if task not in rated:
        raise UnknownNameError("task", task, rated)
    return rated[task]


@lru_cache(maxsize=4)
def _rate_all(catalog: Catalog) -> dict[str, tuple[QualityEvidence, ...]]:
    return rate_models(list_scores(catalog))


def list_scores(catalog: Catalog, model_id: str | None = None) -> tuple[ScoreRow, ...]:
    """Published scores of one model, or of all, in the order of the data file."""
    rows = catalog.fetch(
        "SELECT model_id, benchmark, score, reported_by, independent, source_url, as_of, variant, mode, setting, "
        "metric, source_note FROM benchmarks WHERE $model_id IS NULL OR model_id = $model_id ORDER BY line",
        {"model_id": model_id},
    )
    return tuple(ScoreRow(*row[:7], *(text or "" for text in row[7:])) for row in rows)
