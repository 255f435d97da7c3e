"""Prices: dated and sourced, and a person's own before the catalog's."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import DATA_DIR
from catalog.own_prices import FILE_NAME, forget_own_price, format_own_prices, load_own_prices, save_own_price
from catalog.prices import OWN, Price, list_prices, merge_prices
from catalog.store import Catalog, open_catalog
from sizing.errors import BadInputError, DataFileError, UserStoreError


@pytest.fixture(scope="module")
def opened() -> Catalog:
    return open_catalog()


@pytest.fixture(scope="module")
def prices(opened: Catalog) -> tuple[Price, ...]:
    return list_prices(opened)


def find(prices: tuple[Price, ...], kind: str, item: str, provider: str) -> Price:
    return next(p for p in prices if p.key == (kind, item.casefold(), provider.casefold()))


def test_every_price_is_dated_and_sourced(prices: tuple[Price, ...]) -> None:
    assert {p.kind for p in prices} == {"rent", "api", "electricity"}
    for price in prices:
        assert price.source_url.startswith("https://"), price
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", price.as_of)
        assert price.confidence in ("read", "recalled") and not price.is_own
    assert len({p.key for p in prices}) == len(prices)


def test_published_prices_by_hand(prices: tuple[Price, ...]) -> None:
    """As their sources have them: RunPod Secure's H100 SXM on 2026-11-09, Hyperstack's reserved one, Anthropic's Opus
    5.5 of October 2026, Llama 3.3 70B at DeepInfra, EU business electricity at 0.1902 EUR and 1.0411 US$."""
    assert find(prices, "rent", "H100 SXM 80GB", "RunPod Secure").usd_per_gpu_hour == 3.99
    assert find(prices, "rent", "H100 SXM 80GB", "Hyperstack").reserved_usd_per_gpu_hour == 2.72
    opus = find(prices, "api", "Claude Opus 5.5", "Anthropic")
    assert (opus.usd_per_million_input, opus.usd_per_million_cached, opus.usd_per_million_output) == (4, 0.2, 20)
    llama = find(prices, "api", "Llama 3.3 70B", "DeepInfra")
    assert (llama.model_id, llama.usd_per_million_cached) == ("meta-llama/Llama-3.3-70B-Instruct", None)
    eu = find(prices, "electricity", "EU business", "average")
    assert eu.usd_per_kwh == pytest.approx(0.1902 * 1.0411) and eu.converted_at == 1.0411


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("rent,RTX 4090,", "rent,,", "item is empty"),
        (",0.34,,,,,,,USD", ",,,,,,,,USD", "breaks a rule of table prices"),
        (",0.34,,,,,,,USD", ",-1,,,,,,,USD", "breaks a rule of table prices"),
        (",0.34,,,,,,,USD", ",0.34,0.5,,,,,,USD", "breaks a rule of table prices"),
        (",0.34,,,,,,,USD", ",0.34,,,,,,0.3,USD", "breaks a rule of table prices"),
        (",0.34,,,,,,,USD", ",cheap,,,,,,,USD", "wants a number"),
        ("marketplace,RTX 4090", "marketplace,RTX 4091", "foreign key"),
        ("2026-09-25", "", "as_of is empty"),
    ],
)
def test_a_broken_price_is_refused_with_its_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder, ignore=shutil.ignore_patterns("*.parquet"))
    file = folder / "prices.csv"
    lines = file.read_text().splitlines()
    assert before in lines[1]
    lines[1] = lines[1].replace(before, after, 1)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataFileError, match=re.escape(said)) as caught:
        open_catalog(folder)
    assert (caught.value.file, caught.value.line) == (str(file), 2)


def test_a_currency_without_a_rate_is_left_out_not_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder, ignore=shutil.ignore_patterns("*.parquet"))
    file = folder / "prices.csv"
    file.write_text("".join(x for x in file.read_text().splitlines(keepends=True) if not x.startswith("exchange")))
    assert not any(p.converted_at for p in list_prices(open_catalog(folder)))


# ---- a person's own ----

MINE = """
[[price]]
kind = "rent"
item = "RTX 4090"
provider = "runpod secure"
usd_per_gpu_hour = 1
as_of = "2026-11-20"

[[price]]
kind = "buy"
item = "RTX 4090"
usd = 1850.5
as_of = "2026-11"
note = "second hand"
"""


def test_own_prices_go_first_and_keep_what_the_offer_said(tmp_path: Path, prices: tuple[Price, ...]) -> None:
    (tmp_path / FILE_NAME).write_text(MINE)
    merged = merge_prices(prices, load_own_prices(tmp_path))
    assert len(merged) == len(prices) + 1
    assert [p.is_own for p in merged[:3]] == [True, True, False]
    assert merged[0].usd_per_gpu_hour == 1 and merged[0].hardware == "RTX 4090"
    assert (merged[1].usd, merged[1].note) == (1850.5, "second hand")


def test_no_file_no_prices(tmp_path: Path) -> None:
    assert load_own_prices(tmp_path) == ()


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ('kind = "rent"', 'kind = "steal"', 3, "kind wants one of buy, rent, api, electricity"),
        ("usd_per_gpu_hour = 1", "usd_per_gpu_hour = -1", 6, "wants a number from 0"),
        ("usd_per_gpu_hour = 1", "usd_per_gpu_hour = nan", 6, "wants a number from 0"),
        ("usd_per_gpu_hour = 1", "usd_per_gpu_hour = true", 6, "wants a number from 0"),
        ("usd_per_gpu_hour = 1", 'usd_per_gpu_hour = "1"', 6, "wants a number from 0"),
        ("usd_per_gpu_hour = 1\n", "", 2, "missing usd_per_gpu_hour"),
        ("usd_per_gpu_hour = 1", "usd_per_gpu_hour = 1\nusd_per_kwh = 1", 7, "has no usd_per_kwh"),
        ('as_of = "2026-11-20"', 'as_of = "lately"', 7, "as_of wants the form"),
        ('as_of = "2026-11-20"\n', "", 2, "missing as_of"),
        ('note = "second hand"', 'colour = "red"', 14, "unknown key 'colour'"),
        ('note = "second hand"', 'source_url = "javascript:alert(1)"', 14, "source_url wants the form"),
        ('item = "RTX 4090"\nusd', f'item = "{"x" * 300}"\nusd', 11, "printable characters"),
        ("usd = 1850.5", "usd = = 1", 12, "not TOML"),
    ],
)
def test_a_wrong_price_is_named_with_its_line(tmp_path: Path, before: str, after: str, line: int, said: str) -> None:
    assert before in MINE
    (tmp_path / FILE_NAME).write_text(MINE.replace(before, after, 1))
    with pytest.raises(DataFileError, match=re.escape(said)) as caught:
        load_own_prices(tmp_path)
    assert caught.value.line == line


def test_a_price_given_twice_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(MINE + MINE)
    with pytest.raises(DataFileError, match="has a price already"):
        load_own_prices(tmp_path)
    (tmp_path / FILE_NAME).write_text("#" * 300_000)
    with pytest.raises(DataFileError, match="at most 256 KiB"):
        load_own_prices(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DataFileError, match="wanted a file"):
        load_own_prices(tmp_path)


TEXT = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=40).filter(
    lambda t: t.strip() and t.isprintable()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(TEXT, TEXT, st.floats(0, 1e4), st.floats(0, 1e4))
def test_what_is_kept_is_read_back(tmp_path: Path, item: str, provider: str, usd: float, more: float) -> None:
    (tmp_path / FILE_NAME).unlink(missing_ok=True)
    one = Price("rent", item, provider, usd_per_gpu_hour=usd, confidence=OWN, as_of="2026-11-25")
    api = Price(
        "api", item, provider, usd_per_million_input=usd, usd_per_million_output=more, confidence=OWN, as_of="2026-11"
    )
    save_own_price(tmp_path, one)
    save_own_price(tmp_path, api)
    save_own_price(tmp_path, replace(one, usd_per_gpu_hour=more))
    assert load_own_prices(tmp_path) == (replace(one, usd_per_gpu_hour=more), api)
    assert forget_own_price(tmp_path, one.key) and not forget_own_price(tmp_path, one.key)
    assert forget_own_price(tmp_path, api.key)
    assert load_own_prices(tmp_path) == ()
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]


def test_a_broken_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("half a fi")
    price = Price("buy", "RTX 4090", "", usd=1, confidence=OWN, as_of="2026-11-25")
    with pytest.raises(DataFileError):
        save_own_price(tmp_path, price)
    assert (tmp_path / FILE_NAME).read_text() == "half a fi"


def test_what_could_not_be_read_again_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be kept"):
        save_own_price(tmp_path, Price("buy", "a\nb", "", usd=1, confidence=OWN, as_of="2026-11-25"))
    with pytest.raises(UserStoreError, match="cannot be written"):
        save_own_price(tmp_path / "none", Price("buy", "a", "", usd=1, confidence=OWN, as_of="2026-11-25"))
    assert format_own_prices(()).startswith("#")
