"""SGLang and TGI: what they do otherwise than vLLM, and what every server says of itself."""

from __future__ import annotations

import pytest

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing.engines import EngineEstimate, EngineOptions, EngineSetup, find_engine
from sizing.engines.serving import Split
from sizing.engines.sglang import find_fraction, plan_tokens
from sizing.errors import UnsupportedError
from sizing.fit import Verdict

CATALOG = open_catalog()
SERVERS = ("vLLM", "SGLang", "TGI")


def ask(model: str, fmt: str, machine: str, context: int = 8192, n: int = 1, **options):
    spec = find_model(CATALOG, model).spec
    return EngineSetup(spec, fmt, context, n, find_machine(CATALOG, machine), options=EngineOptions(**options))


def run(engine: str, *asked, **options) -> EngineEstimate:
    return find_engine(engine).estimate(ask(*asked, **options))


def test_sglang_holds_the_tokens_it_logged():
    # https://github.com/vllm-project/vllm/issues/21348: --tp 4 --mem-fraction-static 0.93, K and V 8.23 GB each
    told = run("SGLang", "Qwen/Qwen3-235B-A22B", "FP8-block", "4x H100", gpu_memory_utilization=0.93)
    assert told.capacity is not None and told.capacity.kv_tokens == pytest.approx(367_404, rel=0.05)


def test_sglang_pool_of_a_plain_model_is_its_heads_token_by_token():
    # the same log: 367,404 tokens in 8.23 GB of keys; 94 layers, one of four KV heads of 128 on each rank
    plan = plan_tokens(find_model(CATALOG, "Qwen/Qwen3-235B-A22B").spec, Split(4), "auto")
    assert plan.block_tokens == 1 and plan.block_bytes == 94 * 128 * 2 * 2
    assert 367_404 * plan.block_bytes / 2 / 1024**3 == pytest.approx(8.23, abs=0.01)


def test_sglang_fraction_follows_the_card():
    # the sums of server_args.py: 512 + 1.5 x 2048 + 2 x 24 + 1024 / 8 MiB of an RTX 4090
    setup = ask("Qwen/Qwen3-14B", "FP8", "RTX 4090")
    card = setup.machine.accelerators[0]
    reserve = (512 + 1.5 * 2048 + 2 * 24 + 128) * 1024**2
    assert find_fraction(setup, Split(), card) == pytest.approx(1 - reserve / card.usable_bytes, abs=0.001)
    large = ask("Qwen/Qwen3-14B", "FP8", "H100")
    usable = large.machine.accelerators[0].usable_bytes
    reserve_large = (512 + 1.5 * 8192 + 2 * 256 + 128) * 1024**2
    assert find_fraction(large, Split(), large.machine.accelerators[0]) == pytest.approx(
        1 - reserve_large / usable, abs=0.001
    )


def test_sglang_windows_save_a_fifth_where_it_knows_them_and_nothing_elsewhere():
    spec = find_model(CATALOG, "openai/gpt-oss-20b").spec
    full = 24 * 8 * 64 * 2 * 2
    assert plan_tokens(spec, Split(), "auto").block_bytes == pytest.approx(full * 0.9, abs=1)
    gemma = find_model(CATALOG, "google/gemma-3-12b-it").spec
    assert plan_tokens(gemma, Split(), "auto").block_bytes == 48 * 8 * 256 * 2 * 2


TGI_GAPS = [
    ("openai/gpt-oss-20b", "BF16", "RTX 4090", {}, "no kernels of its own for gpt-oss"),
    ("meta-llama/Llama-3.1-8B-Instruct", "MXFP4", "RTX 4090", {}, "does not take MXFP4"),
    ("meta-llama/Llama-3.1-8B-Instruct", "BF16", "2x RTX 4090", {"pipeline_parallel": 2}, "no pipeline stages"),
    ("Qwen/Qwen2.5-7B-Instruct", "BF16", "7x RTX 4090", {"tensor_parallel": 7}, "cannot divide 4 heads of keys"),
]


@pytest.mark.parametrize(("model", "fmt", "machine", "options", "why"), TGI_GAPS)
def test_what_tgi_cannot_run_is_a_reason(model, fmt, machine, options, why):
    setup = ask(model, fmt, machine, **options)
    gap = find_engine("TGI").find_gap(setup)
    assert gap is not None and why in gap
    with pytest.raises(UnsupportedError):
        find_engine("TGI").estimate(setup)


def test_tgi_does_not_copy_heads_of_keys():
    told = run("TGI", "Qwen/Qwen2.5-7B-Instruct", "BF16", "8x RTX 4090")  # 28 heads, 4 of keys
    assert told.tensor_parallel == 4
    assert run("vLLM", "Qwen/Qwen2.5-7B-Instruct", "BF16", "8x RTX 4090").tensor_parallel == 4


def test_tgi_caches_windows_in_full_and_says_it_is_archived():
    told = run("TGI", "google/gemma-3-12b-it", "FP8", "RTX 5090")
    assert any("maintenance mode" in d for d in told.differences)
    assert any("windowed layers cache every token" in d for d in told.differences)
    vllm = run("vLLM", "google/gemma-3-12b-it", "FP8", "RTX 5090", 32_768)
    tgi = run("TGI", "google/gemma-3-12b-it", "FP8", "RTX 5090", 32_768)
    assert vllm.capacity is not None and tgi.capacity is not None
    per_gib = [t.capacity.n_requests / t.capacity.kv_bytes for t in (vllm, tgi)]
    assert per_gib[0] > 2 * per_gib[1]


@pytest.mark.parametrize("engine", SERVERS)
def test_every_server_says_what_it_does_otherwise_with_figures(engine):
    told = run(engine, "meta-llama/Llama-3.1-70B-Instruct", "FP8", "4x H100", 8192, 4)
    text = "\n".join(told.differences)
    assert (
        "takes its share of each card" in text and "share every matrix" in text and "nothing runs on the host" in text
    )
    assert told.capacity is not None and f"{told.capacity.kv_tokens:,}" in text
    assert told.estimate.fit.verdict in (Verdict.FITS, Verdict.TIGHT)
    assert len(set(told.differences)) == len(told.differences)


@pytest.mark.parametrize("engine", SERVERS)
@pytest.mark.parametrize("machine", ["RTX 4090", "2x RTX 5090", "8x H100", "MI300X"])
def test_no_card_holds_more_than_it_has_when_a_model_runs(engine, machine):
    setup = ask("meta-llama/Llama-3.1-8B-Instruct", "BF16", machine)
    told = find_engine(engine).estimate(setup)
    assert told.estimate.fit.runs
    for device in told.estimate.memory.devices:
        assert 0 <= device.parts.total_bytes <= device.usable_bytes


def test_differences_name_what_explains_a_figure():
    def text(model: str, fmt: str, machine: str) -> str:
        return "\n".join(run("vLLM", model, fmt, machine).differences)

    assert "does not calculate in FP8" in text("meta-llama/Llama-3.1-8B-Instruct", "FP8", "RTX 3090")
    assert "does not calculate" not in text("meta-llama/Llama-3.1-8B-Instruct", "FP8", "RTX 4090")
    assert "latent row" in text("deepseek-ai/DeepSeek-V3", "FP8-block", "8x H200")
    assert "each is kept 2 times" in text("Qwen/Qwen3-30B-A3B", "BF16", "8x RTX 4090")
    assert "padded" in text("openai/gpt-oss-20b", "MXFP4", "RTX 4090")
    assert "544 tokens" in text("Qwen/Qwen3-Next-80B-A3B-Instruct", "AWQ", "2x RTX 5090")
    assert "vision or audio tower" in text("google/gemma-3-27b-it", "BF16", "4x RTX 3090")
    assert "3 stages of layers" in text("openai/gpt-oss-20b", "MXFP4", "3x RTX 3090")


@pytest.mark.parametrize("engine", SERVERS)
def test_speed_is_of_the_requests_that_run_at_once(engine):
    few = run(engine, "meta-llama/Llama-3.1-8B-Instruct", "BF16", "RTX 4090", 8192, 2)
    many = run(engine, "meta-llama/Llama-3.1-8B-Instruct", "BF16", "RTX 4090", 8192, 64)
    assert few.estimate.speed is not None and many.estimate.speed is not None
    assert few.estimate.speed.n_parallel == 2
    assert many.capacity is not None and many.estimate.speed.n_parallel == int(many.capacity.n_requests) < 64
    assert many.estimate.speed.decode_tokens_per_s.mid < few.estimate.speed.decode_tokens_per_s.mid
    assert any(a.startswith("speed: ") for a in many.estimate.memory.assumptions)
    assert run(engine, "meta-llama/Llama-3.1-70B-Instruct", "BF16", "RTX 4090").estimate.speed is None
