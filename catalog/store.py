"""The catalog as one in-memory DuckDB, filled from `catalog/data` under the rules of `schema.sql`.

Facts are text files in the repository; the database is built when the program starts and then locked: no file, no
network and no setting can be reached through it. Every breach of a rule names the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from catalog.data_files import load_csv
from catalog.import_merge import Merged, merge_imports
from catalog.licenses import Clause, License, load_licenses, record_license
from catalog.models import DATA_DIR, ModelCard, load_families, record_card
from catalog.tables import Tables, insert_rows, list_columns, to_rows
from catalog.version import CatalogVersion, find_version
from sizing.errors import DataFileError
from sizing.specs import LayerGroup

SCHEMA_FILE = Path(__file__).with_name("schema.sql")
CSV_TABLES = ("hardware", "prices", "benchmarks", "quant_quality", "file_sizes", "memory_logs", "serving_logs")
WEIGHTS_FILE = "weights.parquet"
NOT_WEIGHED = "not weighed yet: run `python -m evals weigh` to ask llama.cpp"


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The loaded catalog. `notes` says in words which files were absent and what cannot be answered for it.

    `cards` are the `n_curated` models of the data files, then the person's imports, the most downloaded first;
    `licenses` are those of the data files, then those that only imports name. `answers` holds what was worked out of it
    once (`once_per_catalog`) and goes with it. `version` is that of the data files, whatever was imported.
    """

    connection: duckdb.DuckDBPyConnection
    cards: tuple[ModelCard, ...]
    licenses: tuple[License, ...]
    data_dir: Path
    n_curated: int
    version: CatalogVersion
    has_imports: bool = False
    notes: tuple[str, ...] = ()
    answers: dict[object, Any] = field(default_factory=dict, repr=False)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own, for one query; close it, or let it go."""
        return self.connection.cursor()

    def fetch(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query, on a cursor of its own, so that threads do not meet."""
        with self.connection.cursor() as cursor:
            return cursor.execute(sql, parameters or None).fetchall()


Answer = TypeVar("Answer")


def once_per_catalog(ask: Callable[[Catalog], Answer]) -> Callable[[Catalog], Answer]:
    """The same question, worked out once for each catalog and kept as long as that is."""

    @wraps(ask)
    def answer(catalog: Catalog) -> Answer:
        if ask not in catalog.answers:
            catalog.answers[ask] = ask(catalog)
        found: Answer = catalog.answers[ask]
        return found

    return answer


def open_catalog(data_dir: Path | None = None, imports: Path | None = None) -> Catalog:
    """Build the catalog from `data_dir` (the repository's own data unless given) and lock it.

    `imports` is the person's folder, whose imported models (`catalog.import_store`) are taken in too; where they
    cannot be read, the catalog opens without them and a note says why.

    Raises DataFileError naming file and line where a fact breaks a rule. An absent weights file is no error: the
    catalog then says of each model that it was not weighed.
    """
    folder = data_dir or DATA_DIR
    cards = load_families(folder)
    licenses = load_licenses(folder)
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(SCHEMA_FILE.read_text(encoding="utf-8"))
        tables = list_columns(connection)
        _fill_licenses(connection, tables, licenses, folder)
        _fill_models(connection, tables, cards, folder)
        for table in CSV_TABLES:
            insert_rows(connection, table, tables[table], load_csv(folder / f"{table}.csv", tables[table]))
        notes = _fill_weights(connection, folder)
        version = find_version(connection, folder)
        merged = Merged() if imports is None else merge_imports(connection, tables, cards, licenses, imports)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return Catalog(
        connection,
        (*cards, *merged.cards),
        (*licenses, *merged.licenses),
        folder,
        n_curated=len(cards),
        version=version,
        has_imports=merged.has_tables,
        notes=(*notes, *merged.notes),
    )


def _fill_licenses(
    connection: duckdb.DuckDBPyConnection, tables: Tables, licenses: Sequence[License], folder: Path
) -> None:
    file = folder / "licenses.toml"
    lines = _find_id_lines(file)
    rows = [record_license(x) for x in licenses]
    places = [(str(file), lines.get(x.license_id, 1)) for x in licenses]
    insert_rows(connection, "licenses", tables["licenses"], to_rows(tables["licenses"], rows, places))
    columns = tables["license_clauses"]
    clauses = [(x.license_id, i, clause) for x in licenses for i, clause in enumerate(x.clauses)]
    clause_places = [(str(file), lines.get(license_id, 1)) for license_id, _, _ in clauses]
    clause_rows = [_clause_row(*clause) for clause in clauses]
    insert_rows(connection, "license_clauses", columns, to_rows(columns, clause_rows, clause_places))


def _clause_row(license_id: str, position: int, clause: Clause) -> dict[str, object]:
    return {
        "license_id": license_id,
        "position": position,
        "kind": clause.kind,
        "effect": clause.effect,
        "says": clause.says,
        "quote": clause.quote,
        "verified": clause.verified,
        "purposes": list(clause.purposes),
        "actions": list(clause.when),
        "fields": list(clause.fields),
        "regions": list(clause.regions),
        "users_above": clause.users_above,
        "revenue_above_usd": clause.revenue_above_usd,
        "revenue_per": clause.revenue_per,
        "counted_on": clause.counted_on or None,
        "multimodal_only": clause.multimodal_only,
        "source_url": clause.source_url,
        "as_of": clause.as_of,
    }


def _fill_models(
    connection: duckdb.DuckDBPyConnection, tables: Tables, cards: Sequence[ModelCard], folder: Path
) -> None:
    """Families, models, their layers and their sources."""
    place = {
        model_id: (str(file), line)
        for file in (folder / "families").glob("*.toml")
        for model_id, line in _find_id_lines(file).items()
    }
    first = {card.family: card for card in reversed(cards)}
    family_rows = [
        {"family": family, "org": card.org, "source_url": card.source_url, "as_of": card.as_of}
        for family, card in first.items()
    ]
    layers = [(card, _layer_row(card, group, i)) for card in cards for i, group in enumerate(card.spec.groups)]
    sources = [
        (card, {"model_id": card.model_id, "position": i, "source_url": url, "as_of": card.as_of})
        for card in cards
        for i, url in enumerate(card.sources)
    ]
    for table, owners, rows in (
        ("families", list(first.values()), family_rows),
        ("models", list(cards), [_model_row(card) for card in cards]),
        ("model_layers", [card for card, _ in layers], [row for _, row in layers]),
        ("model_sources", [card for card, _ in sources], [row for _, row in sources]),
    ):
        places = [place.get(card.model_id, (str(folder / "families"), 1)) for card in owners]
        insert_rows(connection, table, tables[table], to_rows(tables[table], rows, places))


def _model_row(card: ModelCard) -> dict[str, object]:
    spec = card.spec
    return {
        **record_card(card),
        "architecture": spec.architecture,
        "n_layers": spec.n_layers,
        "hidden_dim": spec.hidden_dim,
        "vocab_size": spec.vocab_size,
        "tied_embeddings": spec.tied_embeddings,
        "notes": list(card.notes),
        "origin": "curated",
        "revision": None,
        "n_downloads": None,
        "n_likes": None,
    }


def _layer_row(card: ModelCard, group: LayerGroup, index: int) -> dict[str, object]:
    attention, recurrent, ffn = group.attention, group.recurrent, group.ffn
    latent = attention.latent if attention else None
    return {
        "model_id": card.model_id,
        "group_index": index,
        "layers": list(group.layers),
        "attention": str(attention.kind) if attention else None,
        "n_heads": attention.n_heads if attention else None,
        "n_kv_heads": attention.n_kv_heads if attention else None,
        "head_dim": attention.head_dim if attention else None,
        "head_dim_v": attention.head_dim_v if attention else None,
        "window_tokens": attention.window_tokens if attention else None,
        "kv_lora_rank": latent.kv_lora_rank if latent else None,
        "rope_head_dim": latent.rope_head_dim if latent else None,
        "shares_kv": attention.shares_kv if attention else None,
        "recurrent": str(recurrent.kind) if recurrent else None,
        "conv_elements": recurrent.conv_elements if recurrent else None,
        "state_elements": recurrent.state_elements if recurrent else None,
        "ffn_dim": ffn.ffn_dim if ffn else None,
        "n_experts": ffn.n_experts if ffn else None,
        "n_active_experts": ffn.n_active_experts if ffn else None,
        "expert_ffn_dim": ffn.expert_ffn_dim if ffn else None,
        "shared_expert_ffn_dim": ffn.shared_expert_ffn_dim if ffn else None,
        "source_url": card.source_url,
        "as_of": card.as_of,
    }


def _fill_weights(connection: duckdb.DuckDBPyConnection, folder: Path) -> tuple[str, ...]:
    """Weights and gaps as llama.cpp gave them; notes say what is absent or no longer fits the catalog.

    Rows of models that left the catalog, or whose number of layers changed since, are left out and counted.
    """
    file = folder / WEIGHTS_FILE
    if not file.exists():
        return (f"no model is weighed: {file.name} is absent; `python -m evals weigh` asks llama.cpp",)
    current = (
        "SELECT w.* FROM read_parquet($file) w JOIN models m USING (model_id) "
        "WHERE w.gap IS NULL AND len(w.layer_bytes) = m.n_layers"
    )
    weights = [c.name for c in list_columns(connection)["weights"]]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO weights SELECT {', '.join(weights)} FROM ({current})", {"file": str(file)})
            cursor.execute(
                "INSERT INTO weigh_gaps SELECT model_id, w.gap, w.source_url, w.as_of "
                "FROM read_parquet($file) w JOIN models m USING (model_id) WHERE w.gap IS NOT NULL",
                {"file": str(file)},
            )
            found = cursor.execute(
                "SELECT count(*) FROM read_parquet($file) w "
                "WHERE gap IS NULL AND NOT EXISTS (FROM weights x WHERE x.model_id = w.model_id AND x.quant = w.quant)",
                {"file": str(file)},
            ).fetchall()
    except duckdb.Error as error:
        problem = str(error).strip().splitlines()[0]
        raise DataFileError(str(file), 1, f"{problem}; run `python -m evals weigh` to write it anew") from error
    left_out = int(found[0][0])
    return (f"{left_out} rows of {file.name} no longer fit the catalog and are left out",) if left_out else ()


def _find_id_lines(file: Path) -> dict[str, int]:
    """The line of every `id = "..."` of a TOML file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    found = ((re.match(r'id\s*=\s*"([^"]+)"', line), number) for number, line in enumerate(text.splitlines(), 1))
    return {match[1]: number for match, number in found if match}
