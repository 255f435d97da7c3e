"""Imported models taken into the catalog's database, beside its own: same tables, same rules, same questions.

The catalog's own facts win: an import of a model that it has adds the quantizations that it has not, and nothing else.
Whatever is wrong with the imports, the catalog opens without them and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from catalog.import_rows import Record, build_card
from catalog.import_store import ImportStore
from catalog.licenses import License, list_license_names, make_unknown_license, record_license
from catalog.models import ModelCard
from catalog.spec_json import Shape, read_shape
from catalog.tables import Tables, insert_rows, to_rows
from sizing.errors import BadInputError, DataFileError, StoreRebuiltError, UserStoreError
from sizing.quants import QUANTS

ATTACHED = "kept"
LICENSES_OF_THE_HUB = "https://huggingface.co/docs/hub/repositories-licenses"
"""What a licence's tag means on the Hub: the address where a model's own licence has none."""

NO_LICENSE = "none stated"
NOT_ASKED = "no quantization of it is known: import it again with the engine installed, or a repository with GGUF files"


@dataclass(frozen=True, slots=True)
class Merged:
    """What the imports added: cards, licences the catalog has no terms of, and notes on what went wrong.

    `has_tables` says that the tables of their weights are there.
    """

    cards: tuple[ModelCard, ...] = ()
    licenses: tuple[License, ...] = ()
    notes: tuple[str, ...] = ()
    has_tables: bool = False


@dataclass(frozen=True, slots=True)
class Placing:
    """Where an import stands in the catalog: a name that nobody else has, its family and its licence."""

    name: str
    family: str
    license_id: str


LEFT_OUT = "the imported models are left out"
"""How the note begins where they cannot be read."""


def merge_imports(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    cards: Sequence[ModelCard],
    licenses: Sequence[License],
    home: Path,
) -> Merged:
    """Take the imports of the folder `home` into the catalog's database, before it is locked.

    Where they cannot be read the notes say why; a damaged file has been made anew and is asked again.
    """
    store = ImportStore(home)
    try:
        try:
            merged = _attach_and_merge(connection, tables, cards, licenses, store)
        except StoreRebuiltError:
            merged = _attach_and_merge(connection, tables, cards, licenses, store)
        note = store.find_note()
        return replace(merged, notes=(*merged.notes, note)) if note else merged
    except (UserStoreError, DataFileError, BadInputError) as error:
        return Merged(notes=(f"{LEFT_OUT}: {error}",))


def _attach_and_merge(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    cards: Sequence[ModelCard],
    licenses: Sequence[License],
    store: ImportStore,
) -> Merged:
    with store.attach(connection, ATTACHED) as is_there, connection.cursor() as cursor:
        if not is_there:
            return Merged()
        cursor.execute("BEGIN")
        merged = _merge(cursor, tables, cards, licenses, str(store.path))
        cursor.execute("COMMIT")
        return merged


def _merge(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    cards: Sequence[ModelCard],
    licenses: Sequence[License],
    file: str,
) -> Merged:
    rows = _fetch(cursor, f"SELECT * FROM {ATTACHED}.models ORDER BY n_downloads DESC NULLS LAST, model_id")
    curated = {card.model_id for card in cards}
    new = [row for row in rows if row["model_id"] not in curated]
    shapes = {
        i: read_shape(text) for i, text in cursor.execute(f"SELECT shape_id, spec FROM {ATTACHED}.shapes").fetchall()
    }
    added = place_licenses(new, licenses)
    placings = place_models(new, cards, licenses)
    _insert_licenses(cursor, tables, added, file)
    _insert_families(cursor, tables, new, placings, cards, file)
    _insert_models(cursor, new, placings)
    _insert_weights(cursor)
    return Merged(tuple(_build_cards(new, placings, shapes)), added, has_tables=True)


def _fetch(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[Record]:
    cursor.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def find_license_id(row: Mapping[str, Any], known: Mapping[str, str]) -> str:
    """The catalog's licence that a model's tag names, else an id of its own for the tag and the name beside it.

    `known` gives the id for every name that a licence goes by.
    """
    tag, name = row["license_tag"], row["license_name"]
    if tag in known:
        return known[tag]
    plain = str(name or "").strip().casefold().replace(" ", "-")
    if tag == "other" and plain in known:
        return known[plain]
    named = f"{tag}/{name}" if name and name != tag else tag
    return f"hub:{named or NO_LICENSE}"


def place_licenses(rows: Sequence[Mapping[str, Any]], licenses: Sequence[License]) -> tuple[License, ...]:
    """The licences that only imports name, one for each tag and name; none of them allows anything unread."""
    known = list_license_names(licenses)
    ids = set(known.values())
    found: dict[str, License] = {}
    for row in rows:
        license_id = find_license_id(row, known)
        if license_id in ids or license_id in found:
            continue
        name = row["license_name"] or row["license_tag"] or "no licence stated"
        url = row["license_url"] if is_web_address(row["license_url"]) else LICENSES_OF_THE_HUB
        source = row["source_url"] if is_web_address(row["source_url"]) else LICENSES_OF_THE_HUB
        found[license_id] = make_unknown_license(license_id, name, url, source, row["as_of"])
    return tuple(found.values())


def is_web_address(text: str) -> bool:
    """Whether a text can be shown as a link."""
    return text.startswith(("https://", "http://")) and text.isprintable() and " " not in text


def place_models(
    rows: Sequence[Mapping[str, Any]], cards: Sequence[ModelCard], licenses: Sequence[License]
) -> list[Placing]:
    """Name, family and licence of each import.

    The family is that of the first base model the catalog or the imports know, else the publisher; a file that names no
    base keeps the catalog's family it says it is of. A name that another model has already gives way to the model's id.
    """
    known = list_license_names(licenses)
    families = {card.model_id.casefold(): card.family for card in cards}
    curated = {card.family for card in cards}
    bases = {row["model_id"].casefold(): row["base_models"] for row in rows}
    taken = {card.name.casefold() for card in cards}
    out = []
    for row in rows:
        family = _find_family(row["model_id"].casefold(), families, bases) or _name_publisher(row, curated)
        out.append(Placing(_find_name(row, taken), family, find_license_id(row, known)))
    return out


MAX_BASES = 8
"""How many steps from a model to a base of its base are followed."""


def _find_family(model_id: str, families: Mapping[str, str], bases: Mapping[str, Sequence[str]]) -> str | None:
    """The family of the nearest known base, going from base to base."""
    at = [model_id]
    for _ in range(MAX_BASES):
        at = [base.casefold() for name in at for base in bases.get(name, ())][:MAX_BASES]
        found = next((families[name] for name in at if name in families), None)
        if found is not None or not at:
            return found
    return None


def _name_publisher(row: Mapping[str, Any], curated: set[str]) -> str:
    """The publisher as a family; one that is called like a family of the catalog is told apart from it."""
    if row["family"] in curated and not row["base_models"] and row["origin"] == "file":
        return str(row["family"])
    publisher = str(row["org"] or row["model_id"].split("/", 1)[0])
    return f"{publisher} (publisher)" if publisher in curated else publisher


def _find_name(row: Mapping[str, Any], taken: set[str]) -> str:
    """A name nobody has yet, which is then taken."""
    name, n = str(row["name"]), 1
    if name.casefold() in taken:
        name = str(row["model_id"])
    while name.casefold() in taken:
        n += 1
        name = f"{row['model_id']} ({n})"
    taken.add(name.casefold())
    return name


def _insert_licenses(cursor: duckdb.DuckDBPyConnection, tables: Tables, licenses: Sequence[License], file: str) -> None:
    rows = [record_license(x) for x in licenses]
    columns = tables["licenses"]
    insert_rows(cursor, "licenses", columns, to_rows(columns, rows, [(file, 1)] * len(rows)))


def _insert_families(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    rows: Sequence[Mapping[str, Any]],
    placings: Sequence[Placing],
    cards: Sequence[ModelCard],
    file: str,
) -> None:
    known = {card.family for card in cards}
    first: dict[str, Record] = {}
    for row, placing in zip(rows, placings, strict=True):
        if placing.family not in known and placing.family not in first:
            first[placing.family] = {
                "family": placing.family,
                "org": row["org"] or placing.family,
                "source_url": make_address(row["source_url"]),
                "as_of": row["as_of"],
            }
    columns = tables["families"]
    insert_rows(cursor, "families", columns, to_rows(columns, list(first.values()), [(file, 1)] * len(first)))


def make_address(source: str) -> str:
    """A source as an address: those of this machine's files begin with `file:`."""
    return source if source.startswith(("http", "file:")) else f"file:{source}"


def _insert_models(
    cursor: duckdb.DuckDBPyConnection, rows: Sequence[Mapping[str, Any]], placings: Sequence[Placing]
) -> None:
    """Rows of `models` and `model_sources`: what the file says, under the names and the places given.

    Layers of imports are in their cards only: thousands of rows that nobody asks for by SQL.
    """
    cursor.execute(
        "CREATE TEMP TABLE placings AS SELECT unnest(?::VARCHAR[]) AS model_id, unnest(?::VARCHAR[]) AS name, "
        "unnest(?::VARCHAR[]) AS family, unnest(?::VARCHAR[]) AS license_id",
        [
            [row["model_id"] for row in rows],
            [p.name for p in placings],
            [p.family for p in placings],
            [p.license_id for p in placings],
        ],
    )
    address = "CASE WHEN {0} LIKE 'http%' OR {0} LIKE 'file:%' THEN {0} ELSE concat('file:', {0}) END"
    cursor.execute(
        f"""INSERT INTO models BY NAME
        SELECT m.model_id, p.name, p.family, if(m.org = '', p.family, m.org) AS org, m.release, p.license_id,
            m.openness, m.modalities, m.tasks, m.gated, s.spec::JSON ->> 'architecture' AS architecture, s.n_layers,
            (s.spec::JSON ->> 'hidden_dim')::INTEGER AS hidden_dim,
            (s.spec::JSON ->> 'vocab_size')::INTEGER AS vocab_size, m.context_tokens,
            (s.spec::JSON ->> 'tied_embeddings')::BOOLEAN AS tied_embeddings, m.n_params, m.n_active_params,
            m.n_params_projector, m.n_params_reported, m.quant_native, m.confidence, m.unverified,
            list_concat(m.card_notes, m.import_notes) AS notes, m.origin, m.revision, m.n_downloads, m.n_likes,
            {address.format("m.source_url")} AS source_url, m.as_of
        FROM {ATTACHED}.models m JOIN placings p USING (model_id) JOIN {ATTACHED}.shapes s USING (shape_id)"""
    )
    cursor.execute(
        f"""INSERT INTO model_sources
        SELECT model_id, position - 1, {address.format("source")}, as_of FROM (
            SELECT model_id, as_of, unnest(sources) AS source, generate_subscripts(sources, 1) AS position
            FROM {ATTACHED}.models SEMI JOIN placings USING (model_id))"""
    )


def _insert_weights(cursor: duckdb.DuckDBPyConnection) -> None:
    """What imports weigh: each mix of a name once, each list of mixes once, and the list each model has.

    A file's bytes come before a recipe's of the same name, and a curated model keeps what it has under a name. These
    tables carry no source of their own: it is that of the model.
    """
    cursor.execute(
        f"""CREATE TEMP TABLE offered AS
        WITH of_files AS (
            SELECT model_id, label, weights_id FROM {ATTACHED}.model_files WHERE weights_id IS NOT NULL
        ), of_recipes AS (
            SELECT k.model_id, w.label, w.weights_id
            FROM {ATTACHED}.models k JOIN {ATTACHED}.weighings w USING (weighing_id)
            WHERE NOT EXISTS (FROM of_files f WHERE f.model_id = k.model_id AND f.label = w.label)
        )
        SELECT o.model_id, o.label, o.weights_id
        FROM (FROM of_files UNION ALL FROM of_recipes) o JOIN models m USING (model_id)
        JOIN {ATTACHED}.weight_sets s USING (weights_id)
        WHERE len(s.layer_bytes) = m.n_layers
            AND NOT EXISTS (FROM weights c WHERE c.model_id = o.model_id AND c.quant = o.label)"""
    )
    cursor.execute(
        f"""CREATE TABLE import_sets AS
        SELECT row_number() OVER (ORDER BY list_position($quants::VARCHAR[], label) NULLS LAST, label, weights_id)
            ::INTEGER AS set_no, label, weights_id, input_bytes, output_bytes, layer_bytes, layer_expert_bytes,
            token_embedding_bytes
        FROM (SELECT DISTINCT label, weights_id FROM offered) JOIN {ATTACHED}.weight_sets USING (weights_id)""",
        {"quants": list(QUANTS)},
    )
    cursor.execute(
        """CREATE TEMP TABLE lists AS
        SELECT o.model_id, list(s.set_no ORDER BY s.set_no) AS sets
        FROM offered o JOIN import_sets s USING (label, weights_id) GROUP BY o.model_id"""
    )
    cursor.execute(
        "CREATE TABLE import_lists AS SELECT row_number() OVER ()::INTEGER AS list_no, sets "
        "FROM (SELECT DISTINCT sets FROM lists)"
    )
    cursor.execute("CREATE TABLE import_weights AS SELECT model_id, list_no FROM lists JOIN import_lists USING (sets)")
    cursor.execute(
        f"""INSERT INTO weigh_gaps
        SELECT model_id, coalesce(nullif(k.weigh_gap, ''), f.gap, $unknown), m.source_url, m.as_of
        FROM models m JOIN {ATTACHED}.models k USING (model_id)
        LEFT JOIN (SELECT model_id, any_value(gap) AS gap FROM {ATTACHED}.model_files GROUP BY model_id) f
            USING (model_id)
        WHERE m.origin <> 'curated' AND NOT EXISTS (FROM import_weights w WHERE w.model_id = m.model_id)""",
        {"unknown": NOT_ASKED},
    )
    for table in ("placings", "offered", "lists"):
        cursor.execute(f"DROP TABLE {table}")


def _build_cards(rows: Sequence[Record], placings: Sequence[Placing], shapes: Mapping[str, Shape]) -> list[ModelCard]:
    """The cards of the imports, placed. Equal texts and lists are one object, since many imports share them."""
    shared: dict[object, Any] = {}
    out = []
    for row, placing in zip(rows, placings, strict=True):
        placed = {**row, "name": placing.name, "family": placing.family, "license_id": placing.license_id}
        for key in _SHARED_LISTS:
            values = tuple(row[key])
            placed[key] = shared.setdefault(values, values)
        for key in _SHARED_TEXTS:
            placed[key] = shared.setdefault(row[key], row[key])
        placed["card_notes"] = (*placed["card_notes"], *row["import_notes"])
        placed["org"] = row["org"] or placing.family
        bases = tuple(row["base_models"])
        out.append(replace(build_card(placed, shapes[row["shape_id"]]), base_models=shared.setdefault(bases, bases)))
    return out


_SHARED_LISTS = ("modalities", "tasks", "unverified", "card_notes")
_SHARED_TEXTS = ("release", "openness", "quant_native", "confidence", "basis", "as_of", "org")
