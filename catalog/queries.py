"""Questions to the catalog. Each answer is a value of `sizing` or of this room; nobody outside sees a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.devices import DEVICE_COLUMNS, NamedDevice, build_device, find_device
from catalog.import_rows import WeightReader
from catalog.import_store import ImportStore
from catalog.machine import detect_machine, unified_machine
from catalog.machine_text import (
    EXAMPLES,
    MAX_CARDS,
    THIS_NAMES,
    MachinePart,
    hold_used,
    looks_described,
    read_described,
    read_parts,
    set_usable,
    write_parts,
)
from catalog.models import ModelCard
from catalog.quality import QualityEvidence, ScoreRow, list_traits, rate_models
from catalog.store import NOT_WEIGHED, Catalog, once_per_catalog
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.quants import QUANTS, find_quant

ASSUMED_HOST = "PC DDR5-5600 32GB"
"""The host a named card is put into when none is named: a common desktop of today."""

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

    Where a tail means several models, the catalog's own goes before imported ones. Raises UnknownNameError with near
    names, BadInputError for a text too long to be a name.
    """
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadInputError(f"a model's name has at most {MAX_NAME_CHARACTERS} characters, got {len(name):,}")
    wanted = name.strip().casefold()
    by_id, by_name = _index_names(catalog)
    if wanted in by_id:
        return by_id[wanted]
    matches = by_name.get(wanted, [])
    own = [card for card in matches if card.model_id in _list_curated(catalog)]
    if len(own) == 1 or len(matches) == 1:
        return (own or matches)[0]
    known = matches or _list_near(catalog, wanted)
    raise UnknownNameError("model", name, [n for c in known for n in (c.model_id, c.name)])


@once_per_catalog
def _index_names(catalog: Catalog) -> tuple[dict[str, ModelCard], dict[str, list[ModelCard]]]:
    """Models by their id, and by its tail and the display name, in small letters."""
    by_id = {card.model_id.casefold(): card for card in reversed(catalog.cards)}
    by_name: dict[str, list[ModelCard]] = {}
    for card in catalog.cards:
        for name in {card.model_id.casefold().rsplit("/", 1)[-1], card.name.casefold()}:
            by_name.setdefault(name, []).append(card)
    return by_id, by_name


@once_per_catalog
def _list_curated(catalog: Catalog) -> frozenset[str]:
    return frozenset(card.model_id for card in catalog.cards[: catalog.n_curated])


MAX_NEAR = 400
"""Models among which near names are looked for letter by letter; of more, the most similar ones."""


def _list_near(catalog: Catalog, wanted: str) -> Sequence[ModelCard]:
    """Models whose names may be meant by a text that is none."""
    if len(catalog.cards) <= MAX_NEAR:
        return catalog.cards
    rows = catalog.fetch(
        "SELECT model_id FROM models ORDER BY greatest(jaro_winkler_similarity(lower(name), $text), "
        "jaro_winkler_similarity(lower(split_part(model_id, '/', -1)), $text), "
        "jaro_winkler_similarity(lower(model_id), $text)) DESC, model_id LIMIT $limit",
        {"text": wanted, "limit": MAX_NEAR},
    )
    by_id, _ = _index_names(catalog)
    return [by_id[model_id.casefold()] for (model_id,) in rows]


def list_weights(catalog: Catalog, model_id: str) -> tuple[WeightBytes, ...]:
    """Bytes of one model in every quantization the engine weighed or a file has; empty where there is none.

    Recipes from 16 bit down, then names that only files have.
    """
    rows = catalog.fetch(f"SELECT {_WEIGHT_COLUMNS} FROM weights WHERE model_id = ?", [model_id])
    if catalog.has_imports:
        rows += catalog.fetch(
            f"SELECT label AS {_WEIGHT_COLUMNS} FROM import_sets WHERE set_no IN (SELECT unnest(sets) FROM "
            "import_weights JOIN import_lists USING (list_no) WHERE model_id = ?)",
            [model_id],
        )
    reader = WeightReader()
    return _sort_by_quant([_read_weights(reader, row) for row in rows])


def list_published_repositories(catalog: Catalog, model_id: str, quant: str) -> tuple[str, ...]:
    """Repositories of the Hub known to hold GGUF files of a curated model, those with the quantization first."""
    rows = catalog.fetch(
        "SELECT repo FROM file_sizes WHERE model_id = ? AND regexp_full_match(repo, '[\\w.-]+/[\\w.-]+') "
        "GROUP BY repo ORDER BY bool_or(quant = ?) DESC, min(line)",
        [model_id, quant],
    )
    return tuple(row[0] for row in rows)


def find_file_types(catalog: Catalog, imports: Path | None, model_id: str, quant: str) -> dict[str, str] | None:
    """The GGML type of every tensor where a model's quantization is an imported file's own mix, else None.

    `imports` is the person's folder. A recipe the catalog has weighed itself stays that recipe, whatever a file is
    called. Raises UserStoreError where the imports cannot be read.
    """
    if imports is None or not catalog.has_imports:
        return None
    weighed = "SELECT 1 FROM weights WHERE model_id = ? AND quant = ?"
    if catalog.fetch(weighed, [model_id, quant]):
        return None
    return ImportStore(imports).find_types(model_id, quant)


def find_weights(catalog: Catalog, card: ModelCard, quant: str) -> WeightBytes:
    """A model's weights in one quantization. Raises UnsupportedError with why the engine did not weigh it."""
    known = list_weights(catalog, card.model_id)
    for weights in known:
        if weights.quant == quant:
            return weights
    gap = find_weigh_gap(catalog, card.model_id)
    if gap is None and catalog.has_imports:
        gap = f"there is none; it has {', '.join(w.quant for w in known)}"
    raise UnsupportedError(f"{card.name} at {quant}: {gap or 'not weighed; run `python -m evals weigh`'}")


def find_asked_weights(catalog: Catalog, card: ModelCard, text: str) -> WeightBytes:
    """A model's weights in the quantization a text names: a recipe, or a mix that only its files have.

    Raises UnknownNameError for a name nobody knows, UnsupportedError where the model was not weighed in it.
    """
    of_files = {w.quant.casefold(): w for w in list_weights(catalog, card.model_id) if w.quant not in QUANTS}
    own = of_files.get(text.strip().casefold())
    return own if own is not None else find_weights(catalog, card, find_quant(text).name)


def all_weights(catalog: Catalog) -> dict[str, tuple[WeightBytes, ...]]:
    """Bytes of every weighed model in every quantization, by model id, in the order of the catalog.

    Models that weigh the same in everything share one tuple.
    """
    return dict(_read_all_weights(catalog))


@once_per_catalog
def _read_all_weights(catalog: Catalog) -> dict[str, tuple[WeightBytes, ...]]:
    reader = WeightReader()
    found: dict[str, list[WeightBytes]] = {}
    for row in catalog.fetch(f"SELECT {_WEIGHT_COLUMNS}, model_id FROM weights"):
        found.setdefault(row[-1], []).append(_read_weights(reader, row))
    known = {model_id: _sort_by_quant(weights) for model_id, weights in found.items()}
    if catalog.has_imports:
        for model_id, weights in _read_import_weights(catalog, reader).items():
            known[model_id] = _sort_by_quant((*known[model_id], *weights)) if model_id in known else weights
    return {c.model_id: known[c.model_id] for c in catalog.cards if c.model_id in known}


def _read_import_weights(catalog: Catalog, reader: WeightReader) -> dict[str, tuple[WeightBytes, ...]]:
    """Weights of imports by model id, sorted."""
    sets = {
        row[-1]: _read_weights(reader, row)
        for row in catalog.fetch(f"SELECT label AS {_WEIGHT_COLUMNS}, set_no FROM import_sets")
    }
    lists = {
        number: tuple(sets[i] for i in numbers)
        for number, numbers in catalog.fetch("SELECT list_no, sets FROM import_lists")
    }
    return {model_id: lists[number] for model_id, number in catalog.fetch("SELECT * FROM import_weights")}


@once_per_catalog
def list_downloads(catalog: Catalog) -> dict[str, int]:
    """How often models were downloaded in the month before they were imported, where the Hub said so."""
    return dict(catalog.fetch("SELECT model_id, n_downloads FROM models WHERE n_downloads IS NOT NULL"))


def find_weigh_gap(catalog: Catalog, model_id: str) -> str | None:
    """Why there are no weights for this model, in words; None where there are."""
    weighed, reasons = _list_gaps(catalog)
    return None if model_id in weighed else reasons.get(model_id, NOT_WEIGHED)


@once_per_catalog
def _list_gaps(catalog: Catalog) -> tuple[frozenset[str], dict[str, str]]:
    imported = " UNION SELECT model_id FROM import_weights" if catalog.has_imports else ""
    weighed = catalog.fetch(f"SELECT DISTINCT model_id FROM weights{imported}")
    return frozenset(row[0] for row in weighed), dict(catalog.fetch("SELECT model_id, reason FROM weigh_gaps"))


_WEIGHT_COLUMNS = "quant, input_bytes, output_bytes, layer_bytes, layer_expert_bytes, token_embedding_bytes"


def _read_weights(reader: WeightReader, row: tuple[Any, ...]) -> WeightBytes:
    quant, input_bytes, output_bytes, layers, experts, embedding = row[:6]
    return reader.read(quant, input_bytes, output_bytes, embedding, layers, experts)


def _sort_by_quant(weights: Iterable[WeightBytes]) -> tuple[WeightBytes, ...]:
    order = {name: i for i, name in enumerate(QUANTS)}
    return tuple(sorted(weights, key=lambda w: (order.get(w.quant, len(order)), w.quant)))


def list_devices(catalog: Catalog) -> tuple[Device, ...]:
    """All devices of the catalog: cards, then unified machines, then hosts, as the data file orders them."""
    return tuple(named.device for named in list_named_devices(catalog))


@once_per_catalog
def list_named_devices(catalog: Catalog) -> tuple[NamedDevice, ...]:
    """All devices of the catalog with the other names they go by."""
    rows = catalog.fetch(f"SELECT {', '.join(DEVICE_COLUMNS)} FROM hardware ORDER BY line")
    return tuple(build_device(row) for row in rows)


def find_machine(catalog: Catalog, text: str, here: Callable[[], Machine] | None = None) -> Machine:
    """The machine a text names, in the grammar of `catalog.machine_text`: "RTX 3090*2 + 64 GB DDR5-5600".

    A part is "this" (this machine, read by `here` where given), a device of the catalog by any of its names, or a
    device described; memory that other programs hold is taken off. Without a host among cards `ASSUMED_HOST` is taken
    and its notes say so. Raises UnknownNameError with near names; BadInputError for what the grammar refuses, two
    hosts, a host or a pool of unified memory that is counted, or one that stands beside other devices.
    """
    parts = read_parts(text)
    named = list_named_devices(catalog)
    if any(p.name.casefold() in THIS_NAMES for p in parts):
        return _extend_this(here() if here else detect_machine(named), parts, named, text)
    devices = [_find_part(named, part, text) for part in parts]
    hosts = [(p, d) for p, d in devices if d.kind is DeviceKind.CPU]
    unified = [d for _, d in devices if d.kind is DeviceKind.UNIFIED]
    cards = [(p, d) for p, d in devices if d.kind is DeviceKind.GPU]
    if len(hosts) > 1:
        raise BadInputError(f"a machine wants one host, got {len(hosts)} in {text!r}")
    if unified:
        if len(devices) > 1:
            raise BadInputError(
                f"{unified[0].name} shares its memory and stands alone, got {text!r}; name one of the two"
            )
        return replace(unified_machine(unified[0]), name=_name_parts(devices))
    if not cards:
        return Machine(_name_parts(hosts), hosts[0][1])
    accelerators = tuple(d for p, d in cards for _ in range(p.count))
    if len(accelerators) > MAX_CARDS:
        raise BadInputError(f"a machine wants at most {MAX_CARDS} cards, got {len(accelerators)} in {text!r}")
    if hosts:
        return Machine(_name_parts([*cards, *hosts]), hosts[0][1], accelerators)
    host = find_device(named, ASSUMED_HOST)
    said = f"assumed host: {host.name}; name yours after a '+'"
    return Machine(_name_parts(cards), replace(host, notes=(said, *host.notes)), accelerators)


def _extend_this(here: Machine, parts: Sequence[MachinePart], named: Sequence[NamedDevice], text: str) -> Machine:
    """This machine, with further cards where the text names some."""
    this = [p for p in parts if p.name.casefold() in THIS_NAMES]
    if len(this) > 1 or this[0].count > 1:
        raise BadInputError(f"this machine is there once, got {text!r}")
    if this[0].used_bytes or this[0].usable_bytes:
        raise BadInputError(f"what is used on this machine is read, not given; got {text!r}")
    others = [p for p in parts if p is not this[0]]
    if not others:
        return here
    devices = [_find_part(named, part, text) for part in others]
    for _, device in devices:
        if device.kind is not DeviceKind.GPU:
            raise BadInputError(
                f"only cards can be added to this machine, {device.name} is {device.kind}; got {text!r}"
            )
    if here.is_unified:
        raise BadInputError(f"{here.name} shares its memory and stands alone, got {text!r}")
    added = tuple(d for p, d in devices for _ in range(p.count))
    return Machine(f"this machine + {_name_parts(devices)}", here.host, (*here.accelerators, *added))


def _find_part(named: Sequence[NamedDevice], part: MachinePart, text: str) -> tuple[MachinePart, Device]:
    """The device a part means, and the part with the device's full name."""
    name, device = _find_named_or_described(named, part.name)
    if part.count > 1 and device.kind is not DeviceKind.GPU:
        raise BadInputError(f"only cards can be counted, {device.name} is {device.kind}; got {text!r}")
    return replace(part, name=name), set_usable(hold_used(device, part.used_bytes), part.usable_bytes)


def _find_named_or_described(named: Sequence[NamedDevice], name: str) -> tuple[str, Device]:
    try:
        device = find_device(named, name)
    except UnknownNameError as error:
        described = read_described(name)
        if described is not None:
            return described.text, described.build()
        if looks_described(name):
            near = f"; or did you mean {', '.join(error.near)}?" if error.near else ""
            raise BadInputError(f"a described device reads {EXAMPLES}; got {name!r}{near}") from None
        raise
    return device.name, device


def _name_parts(devices: Sequence[tuple[MachinePart, Device]]) -> str:
    """A machine's name: its text with every device by its full name."""
    return write_parts([part for part, _ in devices])


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


@once_per_catalog
def _rate_all(catalog: Catalog) -> dict[str, tuple[QualityEvidence, ...]]:
    return rate_models(list_scores(catalog), traits=list_traits(list_models(catalog)))


def list_scores(catalog: Catalog, model_id: str | None = None) -> tuple[ScoreRow, ...]:
    """Published scores of one model, or of all, in the order of the data file."""
    rows = catalog.fetch(
        "SELECT model_id, benchmark, score, reported_by, independent, source_url, as_of, variant, mode, setting, "
        "metric, source_note FROM benchmarks WHERE $model_id IS NULL OR model_id = $model_id ORDER BY line",
        {"model_id": model_id},
    )
    return tuple(ScoreRow(*row[:7], *(text or "" for text in row[7:])) for row in rows)
