"""Published memory against the formulas: what agrees must keep agreeing, what does not has its reason in the file."""

from __future__ import annotations

from collections import Counter

from catalog.memory_logs import LogComparison, compare_memory_logs, list_memory_logs
from catalog.store import Catalog
from sizing.units import MIB

LOGGED_BYTES = round(0.06 * MIB)  # weights are published to 0.1 MiB


def find(catalog: Catalog, part: str) -> list[LogComparison]:
    return [c for c in compare_memory_logs(catalog) if c.log.part == part]


def test_every_row_is_compared(catalog: Catalog) -> None:
    assert len(compare_memory_logs(catalog)) == len(list_memory_logs(catalog)) >= 45


def test_published_caches_are_equal_or_the_file_says_why(catalog: Catalog) -> None:
    caches = find(catalog, "kv_cache")
    equal = [c for c in caches if c.difference_bytes == 0]
    assert {c.log.model_id for c in equal} >= {
        "openai/gpt-oss-20b",
        "google/gemma-3-12b-it",
        "google/codegemma-7b-it",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "CohereLabs/c4ai-command-r-v01",
    }
    assert all(c.log.mind for c in caches if c not in equal)


def test_published_weights_are_equal_or_the_file_says_why(catalog: Catalog) -> None:
    weights = find(catalog, "weights")
    equal = [c for c in weights if abs(c.difference_bytes) <= LOGGED_BYTES]
    assert {c.log.model_id for c in equal} == {"Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct"}
    assert all(c.log.mind for c in weights if c not in equal)


def test_totals_sampled_on_a_card_are_close(catalog: Catalog) -> None:
    """The driver's share is assumed: 200 MiB for Vulkan, 400 for ROCm. Sampled totals bound what that costs."""
    sampled = [c for c in find(catalog, "device_total") if "strix-halo" in c.log.source_url]
    assert len(sampled) >= 20
    assert max(abs(c.share) for c in sampled) < 0.06
    by_model = Counter(c.log.model_id for c in sampled if c.is_close)
    assert by_model["Qwen/Qwen3-32B"] >= 10


def test_what_is_far_off_says_why(catalog: Catalog) -> None:
    assert all(c.log.mind for c in compare_memory_logs(catalog) if not c.is_close)
