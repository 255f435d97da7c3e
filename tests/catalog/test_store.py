"""The catalog as a database: what it refuses, where it says so, and that it is locked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.data_files import Column, load_csv
from catalog.models import DATA_DIR
from catalog.queries import all_weights, find_weigh_gap, list_weights
from catalog.store import CSV_TABLES, NOT_WEIGHED, Catalog, open_catalog
from sizing.errors import DataFileError


def edit(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(change(file.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def replace_line(number: int, old: str, new: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        assert old in lines[number - 1], lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        return lines

    return change


def test_opens_in_less_than_a_second() -> None:
    """In processor time, all threads together: other work on the machine says nothing about ours."""
    began = time.process_time()
    open_catalog().connection.close()
    assert time.process_time() - began < 1.0


def test_every_table_holds_rows_each_with_its_source(catalog: Catalog) -> None:
    tables = [name for (name,) in catalog.fetch("SELECT table_name FROM duckdb_tables() WHERE NOT internal")]
    assert set(tables) >= {"families", "licenses", "models", "model_layers", "model_sources", *CSV_TABLES}
    for table in tables:
        missing = catalog.fetch(f"SELECT count(*) FROM {table} WHERE source_url NOT LIKE 'http%' OR as_of = ''")
        assert missing == [(0,)], table
    for table in ("families", "licenses", "models", "model_layers", "model_sources", *CSV_TABLES):
        assert catalog.fetch(f"SELECT count(*) > 0 FROM {table}") == [(True,)], table


def test_every_table_declares_its_source_as_required(catalog: Catalog) -> None:
    optional = catalog.fetch(
        "SELECT table_name FROM duckdb_columns() WHERE NOT internal AND column_name IN ('source_url', 'as_of') "
        "AND is_nullable"
    )
    with_source = catalog.fetch(
        "SELECT count(DISTINCT table_name) FROM duckdb_columns() WHERE NOT internal AND column_name = 'source_url'"
    )
    n_tables = catalog.fetch("SELECT count(*) FROM duckdb_tables() WHERE NOT internal")
    assert optional == []
    assert with_source == n_tables


def test_holds_the_models_of_the_family_files(catalog: Catalog) -> None:
    assert len(catalog.cards) >= 190
    assert catalog.fetch("SELECT model_id FROM models ORDER BY model_id") == sorted(
        (c.model_id,) for c in catalog.cards
    )


def test_layers_of_a_known_model(catalog: Catalog) -> None:
    """Gemma 2 9B: 42 layers, 16 heads over 8 KV heads of 256, every other one a window of 4096 tokens.

    https://huggingface.co/google/gemma-2-9b-it/blob/main/config.json
    """
    rows = catalog.fetch(
        "SELECT attention, len(layers), n_heads, n_kv_heads, head_dim, window_tokens FROM model_layers "
        "WHERE model_id = 'google/gemma-2-9b-it' ORDER BY attention"
    )
    assert rows == [("full", 21, 16, 8, 256, None), ("sliding", 21, 16, 8, 256, 4096)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET enable_external_access = true",
        "SET memory_limit = '1GB'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY models TO 'models.csv'",
        "ATTACH 'other.duckdb'",
    ],
)
def test_locked_against_files_and_settings(catalog: Catalog, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        catalog.fetch(sql)


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("INSERT INTO families VALUES ('Qwen3', 'X', 'https://x.org', '2026')", "Duplicate key"),
        ("INSERT INTO families VALUES ('New', 'X', NULL, '2026')", "NOT NULL"),
        ("INSERT INTO families VALUES ('New', 'X', 'https://x.org', 'lately')", "CHECK"),
        ("INSERT INTO families VALUES ('New', 'X', 'my memory', '2026')", "CHECK"),
        ("INSERT INTO model_sources VALUES ('no/model', 0, 'https://x.org', '2026')", "foreign key"),
        ("INSERT INTO weigh_gaps VALUES ('Qwen/Qwen3-8B', '', 'https://x.org', '2026')", "CHECK"),
    ],
)
def test_schema_refuses(catalog: Catalog, sql: str, rule: str) -> None:
    with pytest.raises(duckdb.ConstraintException, match=rule):
        catalog.fetch(sql)


HARDWARE_HEADER_CELLS = 21
GOOD_ROW = "Card X,,Maker,gpu,1073741824,1000000000,1000000000,,,,cuda,ada,gddr,,,,,,,https://example.org/x,2026-11"


@pytest.mark.parametrize(
    ("cell", "value", "said"),
    [
        (19, "", "source_url is empty; every row must say where it comes from"),
        (19, "a friend", "source_url wants an http"),
        (20, "", "as_of is empty"),
        (20, "yesterday", "as_of wants YYYY"),
        (20, "2026-13", "as_of wants YYYY"),
        (4, "24 GB", "memory_bytes wants a whole number, got '24 GB'"),
        (4, "", "memory_bytes is empty"),
        (4, "1_000", "memory_bytes wants a whole number"),
        (4, "-5", "breaks a rule of table hardware"),
        (5, "2073741824", "breaks a rule of table hardware"),
        (6, "99999999999999999999", "bandwidth_bytes_per_s wants a whole number"),
        (7, "nan", "fp16_flops wants a number, got 'nan'"),
        (7, "inf", "fp16_flops wants a number"),
        (3, "toaster", "breaks a rule of table hardware"),
        (0, "RTX 4090", "Duplicate key"),
    ],
)
def test_broken_row_is_refused_with_file_and_line(data_copy: Path, cell: int, value: str, said: str) -> None:
    file = data_copy / "hardware.csv"
    cells = GOOD_ROW.split(",")
    assert len(cells) == HARDWARE_HEADER_CELLS
    cells[cell] = value
    at = 100
    edit(file, lambda lines: [*lines[: at - 1], ",".join(cells), *lines[at - 1 :]])
    with pytest.raises(DataFileError, match=".*") as caught:
        open_catalog(data_copy)
    assert said in str(caught.value)
    assert caught.value.file == str(file)
    # a name used twice may be blamed on either of its rows
    assert caught.value.line == at or value == "RTX 4090"


COLUMNS = (
    Column("line", "INTEGER", False),
    Column("name", "VARCHAR", True),
    Column("size", "BIGINT", True),
    Column("rate", "DOUBLE", True),
    Column("known", "BOOLEAN", True),
    Column("source_url", "VARCHAR", False),
    Column("as_of", "VARCHAR", False),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet='abc,"\n\r 0123456789.-x\x00é', max_size=80))
def test_any_text_is_rows_or_a_named_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "facts.csv"
    file.write_text("name,size,rate,known,source_url,as_of\n" + text, encoding="utf-8", newline="")
    try:
        rows = load_csv(file, COLUMNS)
    except DataFileError as error:
        assert error.line >= 1
    else:
        assert all(row.cells[5] and row.cells[6] for row in rows)


def test_cells_are_typed_and_lines_are_counted_through_quotes(tmp_path: Path) -> None:
    file = tmp_path / "facts.csv"
    rest = "1.5,TRUE,https://x.org,2026"
    file.write_text(f'name,size,rate,known,source_url,as_of\n"two\nlines",1,{rest}\n\nplain,,,,https://x.org,2026-11\n')
    first, second = load_csv(file, COLUMNS)
    assert (first.line, first.cells) == (2, (2, "two\nlines", 1, 1.5, True, "https://x.org", "2026"))
    assert (second.line, second.cells) == (5, (5, "plain", None, None, None, "https://x.org", "2026-11"))


def test_good_row_is_taken(data_copy: Path) -> None:
    with (data_copy / "hardware.csv").open("a") as file:
        file.write(GOOD_ROW + "\n")
    opened = open_catalog(data_copy)
    assert opened.fetch("SELECT memory_bytes FROM hardware WHERE name = 'Card X'") == [(1073741824,)]


@pytest.mark.parametrize("table", CSV_TABLES)
def test_missing_file_is_named(data_copy: Path, table: str) -> None:
    (data_copy / f"{table}.csv").unlink()
    with pytest.raises(DataFileError, match=rf"{table}\.csv:1: cannot be read"):
        open_catalog(data_copy)


@pytest.mark.parametrize("table", CSV_TABLES)
def test_empty_file_is_named(data_copy: Path, table: str) -> None:
    (data_copy / f"{table}.csv").write_text("")
    with pytest.raises(DataFileError, match=rf"{table}\.csv:1: wanted the columns"):
        open_catalog(data_copy)


def test_other_bytes_than_text_are_refused_with_the_line(data_copy: Path) -> None:
    file = data_copy / "benchmarks.csv"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:4], b"\xff\xfe" + lines[4], *lines[5:]]))
    with pytest.raises(DataFileError, match=r"benchmarks\.csv:5: wanted UTF-8"):
        open_catalog(data_copy)


def test_row_of_the_wrong_width_is_refused(data_copy: Path) -> None:
    edit(data_copy / "file_sizes.csv", lambda lines: [*lines[:2], lines[2] + ",more", *lines[3:]])
    with pytest.raises(DataFileError, match=r"file_sizes\.csv:3: wanted \d+ cells, got \d+"):
        open_catalog(data_copy)


def test_unclosed_quote_is_refused(data_copy: Path) -> None:
    edit(data_copy / "file_sizes.csv", lambda lines: [*lines, '"never closed'])
    with pytest.raises(DataFileError, match=r"file_sizes\.csv:\d+: (not CSV|wanted)"):
        open_catalog(data_copy)


def test_score_of_an_unknown_model_is_refused(data_copy: Path) -> None:
    edit(data_copy / "benchmarks.csv", lambda lines: [*lines[:9], "nobody/nothing" + lines[9][lines[9].index(",") :]])
    with pytest.raises(DataFileError, match=r"benchmarks\.csv:10: breaks a rule of table benchmarks: .*foreign key"):
        open_catalog(data_copy)


def test_unknown_licence_is_refused_at_the_model(data_copy: Path) -> None:
    file = data_copy / "families" / "gemma-2.toml"
    lines = file.read_text().splitlines()
    at = next(i for i, line in enumerate(lines, 1) if line.startswith('id = "google/gemma-2-9b-it"'))
    edit(file, replace_line(at + 3, '"gemma"', '"no-such-licence"'))
    with pytest.raises(DataFileError, match=rf"gemma-2\.toml:{at}: breaks a rule of table models: .*foreign key"):
        open_catalog(data_copy)


def test_broken_toml_is_refused_with_the_line(data_copy: Path) -> None:
    edit(data_copy / "families" / "qwen3.toml", lambda lines: [*lines[:6], "= nonsense", *lines[6:]])
    with pytest.raises(DataFileError, match=r"qwen3\.toml:7: not TOML"):
        open_catalog(data_copy)


def test_absent_weights_are_an_answer(data_copy: Path) -> None:
    opened = open_catalog(data_copy)
    assert any("weights.parquet is absent" in note for note in opened.notes)
    assert all_weights(opened) == {}
    assert list_weights(opened, "Qwen/Qwen3-8B") == ()
    assert find_weigh_gap(opened, "Qwen/Qwen3-8B") == NOT_WEIGHED
    assert "python -m evals weigh" in NOT_WEIGHED


def test_damaged_weights_are_named(data_copy: Path) -> None:
    (data_copy / "weights.parquet").write_bytes(b"PAR1 and then nothing that makes sense")
    with pytest.raises(DataFileError, match=r"weights\.parquet:1: .*python -m evals weigh"):
        open_catalog(data_copy)


def write_weights(file: Path, *rows: str) -> None:
    """A weights file of the given SQL rows, in the columns `python -m evals weigh` writes."""
    columns = (
        "model_id, quant, input_bytes, output_bytes, token_embedding_bytes, layer_bytes, layer_expert_bytes, "
        "tensor_bytes, tensor_digest, llama_cpp_version, source_url, as_of, gap"
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM (VALUES {', '.join(rows)}) AS t({columns})) TO '{file}' (FORMAT parquet)"
        )


def weights_row(model_id: str, n_layers: int) -> str:
    layers = "[" + ", ".join(["10::BIGINT"] * n_layers) + "]"
    return f"('{model_id}', 'Q4_K_M', 5, 7, 5, {layers}, {layers}, 0, 'd', '0', 'https://x.org', '2026', NULL)"


def gap_row(model_id: str) -> str:
    return f"('{model_id}', {', '.join(['NULL'] * 8)}, '0', 'https://x.org', '2026', 'llama.cpp does not know it')"


def test_weights_that_no_longer_fit_are_left_out_and_counted(data_copy: Path) -> None:
    """Qwen3 8B has 36 layers: https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json"""
    rows = (weights_row("Qwen/Qwen3-8B", 36), weights_row("Qwen/Qwen3-4B", 3), weights_row("gone/model", 2))
    write_weights(data_copy / "weights.parquet", *rows, gap_row("Qwen/Qwen3-14B"))
    opened = open_catalog(data_copy)
    assert list(all_weights(opened)) == ["Qwen/Qwen3-8B"]
    assert opened.notes == ("2 rows of weights.parquet no longer fit the catalog and are left out",)
    (weights,) = list_weights(opened, "Qwen/Qwen3-8B")
    assert weights.tensor_bytes == 5 + 7 + 36 * 10
    assert find_weigh_gap(opened, "Qwen/Qwen3-8B") is None
    assert find_weigh_gap(opened, "Qwen/Qwen3-4B") == NOT_WEIGHED
    assert find_weigh_gap(opened, "Qwen/Qwen3-14B") == "llama.cpp does not know it"


def test_data_folder_without_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="families"):
        open_catalog(tmp_path)


def test_the_repository_itself_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    open_catalog(folder).connection.close()
    assert sorted((p.name, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before
