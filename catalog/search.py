"""Search in the catalog: DuckDB filters and orders, whatever the number of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.store import Catalog, once_per_catalog
from sizing.errors import BadInputError, UnknownNameError

ORDERS = {
    "name": "lower(name), model_id",
    "downloads": "n_downloads DESC NULLS LAST, lower(name), model_id",
    "release": "release DESC, lower(name), model_id",
    "params": "n_params DESC, lower(name), model_id",
}
"""Orders of the answer, as SQL."""

ORIGINS = ("curated", "hub", "file")
MAX_OPTIONS = 400
"""Values a filter offers at most: every redraw sends them all to the browser."""

MAX_WORDS = 12
MAX_TEXT_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class CatalogSearch:
    """What is looked for. Everything empty, 0 or None asks for nothing; of several values of one kind any will do.

    `text` holds words that must all be part of the name, id, publisher or family, whatever the case. `origins` are of
    ORIGINS, `order` one of ORDERS. Raises BadInputError or UnknownNameError for what nobody can look for.
    """

    text: str = ""
    families: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    openness: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    min_context_tokens: int = 0
    confidence: str | None = None
    origins: tuple[str, ...] = ()
    min_params: int | None = None
    max_params: int | None = None
    order: str = "name"

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEXT_CHARACTERS or len(self.text.split()) > MAX_WORDS:
            raise BadInputError(
                f"a search takes at most {MAX_WORDS} words and {MAX_TEXT_CHARACTERS} characters, "
                f"got {len(self.text.split()):,} and {len(self.text):,}"
            )
        if self.order not in ORDERS:
            raise UnknownNameError("order", self.order, ORDERS)
        for origin in self.origins:
            if origin not in ORIGINS:
                raise UnknownNameError("origin", origin, ORIGINS)


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Values that filters may take, in alphabetical order: those that some model has.

    Of very many families or licences, those of the catalog's own models and then the commonest.
    """

    families: tuple[str, ...]
    licenses: tuple[str, ...]
    openness: tuple[str, ...]
    modalities: tuple[str, ...]
    tasks: tuple[str, ...]
    origins: tuple[str, ...]


def search_models(
    catalog: Catalog, search: CatalogSearch, limit: int = 500, offset: int = 0
) -> tuple[tuple[str, ...], int]:
    """Ids of the models found, at most `limit` of them from `offset` on, and how many there are in all.

    Raises BadInputError for a limit or an offset below 0.
    """
    if limit < 0 or offset < 0:
        raise BadInputError(f"limit and offset want 0 or more, got {limit!r} and {offset!r}")
    conditions, values = _write_conditions(search)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = catalog.fetch(
        f"SELECT model_id FROM models {where} ORDER BY {ORDERS[search.order]} LIMIT $limit OFFSET $offset",
        {**values, "limit": limit, "offset": offset},
    )
    total = catalog.fetch(f"SELECT count(*) FROM models {where}", values)
    return tuple(row[0] for row in rows), int(total[0][0])


def _write_conditions(search: CatalogSearch) -> tuple[list[str], dict[str, object]]:
    """The conditions of a search as SQL, and the values they take."""
    conditions: list[str] = []
    values: dict[str, object] = {}

    def ask(condition: str, name: str, value: object) -> None:
        conditions.append(condition)
        values[name] = value

    for i, word in enumerate(search.text.casefold().split()):
        ask(f"contains(lower(concat_ws(' ', name, model_id, org, family)), $word{i})", f"word{i}", word)
    for column, wanted in (
        ("family", search.families),
        ("license_id", search.licenses),
        ("openness", search.openness),
        ("origin", search.origins),
    ):
        if wanted:
            ask(f"list_contains(${column}::VARCHAR[], {column})", column, list(wanted))
    for column, wanted in (("modalities", search.modalities), ("tasks", search.tasks)):
        if wanted:
            ask(f"list_has_any({column}, ${column}::VARCHAR[])", column, list(wanted))
    if search.min_context_tokens > 0:
        ask("context_tokens >= $context", "context", search.min_context_tokens)
    if search.confidence is not None:
        ask("confidence = $confidence", "confidence", search.confidence)
    if search.min_params is not None:
        ask("n_params >= $min_params", "min_params", search.min_params)
    if search.max_params is not None:
        ask("n_params <= $max_params", "max_params", search.max_params)
    return conditions, values


@once_per_catalog
def list_filter_options(catalog: Catalog) -> FilterOptions:
    """What the models of the catalog can be filtered by."""

    def distinct(expression: str) -> tuple[str, ...]:
        rows: Sequence[tuple[str]] = catalog.fetch(
            f"SELECT value FROM (SELECT {expression} AS value, origin FROM models) GROUP BY value "
            "ORDER BY bool_or(origin = 'curated') DESC, count(*) DESC, value LIMIT $limit",
            {"limit": MAX_OPTIONS},
        )
        return tuple(sorted((row[0] for row in rows), key=lambda text: (text.casefold(), text)))

    return FilterOptions(
        families=distinct("family"),
        licenses=distinct("license_id"),
        openness=distinct("openness"),
        modalities=distinct("unnest(modalities)"),
        tasks=distinct("unnest(tasks)"),
        origins=distinct("origin"),
    )
