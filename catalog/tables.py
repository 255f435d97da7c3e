"""Rows into the tables of the catalog, column by column, every breach of a rule named with its file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from catalog.data_files import Column, Row
from sizing.errors import DataFileError

Tables = dict[str, tuple[Column, ...]]


def list_columns(connection: duckdb.DuckDBPyConnection) -> Tables:
    """The columns of every table in order, as schema.sql declares them."""
    with connection.cursor() as cursor:
        found = cursor.execute(
            "SELECT table_name, column_name, data_type, NOT is_nullable FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall()
    tables: dict[str, list[Column]] = {}
    for table, name, sql_type, required in found:
        tables.setdefault(table, []).append(Column(name, sql_type, not required))
    return {table: tuple(columns) for table, columns in tables.items()}


def to_rows(
    columns: Sequence[Column], records: Sequence[Mapping[str, Any]], places: Sequence[tuple[str, int]]
) -> tuple[Row, ...]:
    """Records in the order of the columns, each with the file and line to name where it breaks a rule."""
    return tuple(
        Row(file, line, tuple(record[c.name] for c in columns))
        for record, (file, line) in zip(records, places, strict=True)
    )


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column], rows: Sequence[Row]
) -> None:
    """Insert all rows at once; when a rule is broken, halve until the one row at fault is found and name it.

    Raises DataFileError with that row's file and line.
    """
    if not rows:
        return
    selected = ", ".join(f"unnest(?::{c.sql_type}[])" for c in columns)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} SELECT {selected}", [list(x) for x in zip(*(r.cells for r in rows))])
    except duckdb.Error as error:
        if len(rows) == 1:
            problem = str(error).strip().splitlines()[0]
            raise DataFileError(rows[0].file, rows[0].line, f"breaks a rule of table {table}: {problem}") from error
        half = len(rows) // 2
        insert_rows(connection, table, columns, rows[:half])
        insert_rows(connection, table, columns, rows[half:])
