"""Fine-tuning: published points, properties, what is refused and what the command says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing.__main__ import main
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.finetune import estimate_finetune
from sizing.finetune_memory import count_base_bytes, count_trained
from sizing.finetune_plan import plan_training
from sizing.finetune_search import compare_methods, find_largest
from sizing.finetune_setup import OPTIMIZERS, SHARDINGS, FineTuneSetup
from sizing.finetune_speed import count_flops_per_token
from sizing.fit import Verdict
from sizing.units import GIB

CATALOG = open_catalog()


def setup_of(model: str, hardware: str, **more) -> FineTuneSetup:
    return FineTuneSetup(find_model(CATALOG, model).spec, find_machine(CATALOG, hardware), **more)


# ---------------------------------------------------------------- what others have published


def test_qlora_of_a_70b_fits_on_one_80_gb_card():
    # QLoRA (arXiv:2305.14314) trains 65B on 48 GB; a 70B on 80 GB is the guide's claim
    answer = estimate_finetune(setup_of("Llama-3.1-70B-Instruct", "A100 SXM 80GB", method="qlora", rank=64))
    assert answer.fit.verdict is Verdict.FITS
    assert answer.devices[0].parts.total_bytes < 60 * GIB


def test_qlora_of_65_to_70b_fits_on_one_48_gb_card_with_a_paged_optimizer():
    # the paper's own setting: rank 64, sequences of 512 tokens, paged AdamW (arXiv:2305.14314, section 4, appendix B)
    asked = setup_of(
        "Llama-3.1-70B-Instruct",
        "RTX A6000",
        method="qlora",
        rank=64,
        optimizer="paged_adamw",
        sequence_tokens=512,
    )
    answer = estimate_finetune(asked)
    assert answer.fit.runs
    assert answer.host is not None and answer.host.parts.optimizer_bytes > GIB


def test_lora_of_an_8b_fits_on_24_gb_at_a_modest_sequence():
    # torchtune 0.3 trains it on an RTX 4090 (https://github.com/pytorch/torchtune/blob/v0.3.0/README.md)
    assert estimate_finetune(setup_of("Llama-3.1-8B-Instruct", "RTX 4090")).fit.runs
    longest = find_largest(setup_of("Llama-3.1-8B-Instruct", "RTX 4090"))
    assert 4096 < longest.sequence_tokens < 131_072


def test_full_fine_tuning_of_an_8b_wants_16_bytes_a_parameter_and_does_not_fit_on_80_gb():
    # ZeRO (arXiv:1910.02054, section 3.1): 2 + 2 + 12 bytes
    asked = setup_of("Llama-3.1-8B-Instruct", "A100 SXM 80GB", method="full", sequence_tokens=512)
    trained = count_trained(asked)
    held = trained.weight_bytes + trained.gradient_bytes + trained.optimizer_bytes
    assert held == 16 * trained.n_values
    assert estimate_finetune(asked).fit.verdict is Verdict.DOES_NOT_FIT


def test_zero_shares_out_what_its_paper_says():
    # arXiv:1910.02054, figure 1: 4 + 12/N, 2 + 14/N and 16/N bytes a parameter on each of N cards
    asked = setup_of("Llama-3.1-8B-Instruct", "A100 SXM 80GB*8", method="full")
    n = count_trained(asked).n_values
    for sharding, per_value in (("zero1", 4 + 12 / 8), ("zero2", 2 + 14 / 8)):
        parts = estimate_finetune(replace(asked, sharding=sharding)).devices[0].parts
        held = parts.weight_bytes + parts.gradient_bytes + parts.optimizer_bytes
        assert held == pytest.approx(per_value * n, rel=0.01)
    parts = estimate_finetune(replace(asked, sharding="zero3")).devices[0].parts
    assert parts.optimizer_bytes + parts.gradient_bytes == pytest.approx(14 / 8 * n, rel=0.01)
    assert parts.weight_bytes < 2 / 8 * n + 3 * 2 * n / 32  # its share and two whole layers


def test_nf4_with_double_quantization_is_what_the_paper_says():
    # arXiv:2305.14314, section 3: 4.127 bits for quantized matrices; embeddings and head stay in 16
    asked = setup_of("Llama-3.1-8B-Instruct", "RTX 4090", method="qlora")
    ends = 2 * 128_256 * 4096
    bits = 8 * (count_base_bytes(asked) - 2 * ends) / (asked.spec.n_params - ends)
    assert bits == pytest.approx(4.127, abs=0.005)


def test_eight_bit_states_are_a_quarter_of_the_32_bit_ones():
    # arXiv:2110.02861: 8-bit Adam; a scale of 32 bits for every 256 values is the rest
    whole = count_trained(setup_of("Qwen3-8B", "RTX 4090", optimizer="paged_adamw", adapter_bits=32))
    small = count_trained(setup_of("Qwen3-8B", "RTX 4090", optimizer="adamw_8bit", adapter_bits=32))
    assert small.optimizer_bytes / whole.optimizer_bytes == pytest.approx(0.25 + 1 / 256, rel=0.001)


def test_stacked_experts_stay_in_16_bits_under_qlora():
    answer = estimate_finetune(setup_of("Qwen3-30B-A3B", "H100 SXM 80GB", method="qlora"))
    assert answer.devices[0].parts.weight_bytes > 50 * GIB
    assert any("stacked experts" in a for a in answer.assumptions)


def test_frozen_weights_take_about_two_thirds_of_the_operations():
    full = count_flops_per_token(setup_of("Llama-3.1-8B-Instruct", "RTX 4090", method="full", checkpointing=False))
    lora = count_flops_per_token(setup_of("Llama-3.1-8B-Instruct", "RTX 4090", checkpointing=False))
    assert full / (6 * 7.5e9) == pytest.approx(1.05, abs=0.06)
    assert lora / full == pytest.approx(2 / 3, abs=0.05)


# ---------------------------------------------------------------- properties

SETUP = setup_of("Qwen3-8B", "RTX 4090")


def total(setup: FineTuneSetup) -> int:
    return estimate_finetune(setup).devices[0].parts.total_bytes


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(("full", "lora", "qlora")),
    rank=st.integers(1, 256),
    sequence=st.integers(1, 20_000),
    batch=st.integers(1, 64),
    checkpointing=st.booleans(),
    loss=st.sampled_from(("chunked", "full")),
)
def test_memory_rises_with_rank_sequence_and_batch(method, rank, sequence, batch, checkpointing, loss):
    base = replace(
        SETUP,
        method=method,
        rank=rank,
        sequence_tokens=sequence,
        micro_batch=batch,
        checkpointing=checkpointing,
        loss=loss,
    )
    held = total(base)
    assert total(replace(base, sequence_tokens=sequence * 2)) > held
    assert total(replace(base, micro_batch=batch + 1)) > held
    assert total(replace(base, rank=rank + 1)) > held or method == "full"


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_checkpointing_and_a_chunked_loss_never_take_more(method):
    base = replace(SETUP, method=method, checkpointing=False, loss="full", sequence_tokens=4096)
    assert total(replace(base, checkpointing=True)) <= total(base)
    assert total(replace(base, loss="chunked")) <= total(base)
    assert total(replace(base, attention="eager")) > total(base)


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_each_stage_of_zero_takes_less(method):
    asked = setup_of("Llama-3.1-8B-Instruct", "A100 SXM 80GB*8", method=method)
    held = [total(replace(asked, sharding=s)) for s in SHARDINGS]
    assert held == sorted(held, reverse=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_sized_and_none_takes_more_than_adamw(optimizer):
    base = replace(SETUP, method="full")
    assert total(replace(base, optimizer=optimizer)) <= total(base)


def test_an_offloaded_optimizer_is_counted_on_the_host():
    base = setup_of("Llama-3.1-8B-Instruct", "A100 SXM 80GB", method="full")
    kept, moved = estimate_finetune(base), estimate_finetune(replace(base, offload_optimizer=True))
    assert moved.devices[0].parts.optimizer_bytes == 0
    assert moved.host is not None
    assert moved.host.parts.optimizer_bytes == kept.devices[0].parts.optimizer_bytes


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_largest_fits_and_one_more_does_not(method):
    asked = setup_of("Llama-3.1-8B-Instruct", "RTX 4090", method=method)
    found = find_largest(asked)
    for name, value in (("sequence_tokens", found.sequence_tokens), ("micro_batch", found.micro_batch)):
        assert estimate_finetune(replace(asked, **{name: value})).fit.runs
        assert not estimate_finetune(replace(asked, **{name: value + 1})).fit.runs


def test_nothing_is_largest_where_nothing_fits():
    found = find_largest(setup_of("Llama-3.1-70B-Instruct", "RTX 3060 12GB", method="lora"))
    assert (found.rank, found.sequence_tokens, found.micro_batch) == (0, 0, 0)


# ---------------------------------------------------------------- what is refused


def test_qlora_wants_bitsandbytes_and_says_so():
    with pytest.raises(UnsupportedError, match="bitsandbytes"):
        estimate_finetune(setup_of("Qwen3-8B", "M4 Max 128GB", method="qlora"))
    gaps = {m.method: m.gap for m in compare_methods(setup_of("Qwen3-8B", "M4 Max 128GB"))}
    assert "bitsandbytes" in gaps["qlora"] and gaps["lora"] == ""


@pytest.mark.parametrize(
    "more", [{"sequence_tokens": 0}, {"micro_batch": -1}, {"accumulation": 1.5}, {"adapter_bits": 8}]
)
def test_settings_that_are_none_are_refused(more):
    with pytest.raises(BadInputError):
        setup_of("Qwen3-8B", "RTX 4090", **more)


def test_an_unknown_method_is_named_with_near_ones():
    with pytest.raises(UnknownNameError, match="qlora"):
        setup_of("Qwen3-8B", "RTX 4090", method="qlorra")


def test_a_sequence_longer_than_the_trained_context_is_refused():
    with pytest.raises(BadInputError, match="40,960"):
        estimate_finetune(replace(SETUP, sequence_tokens=50_000))


# ---------------------------------------------------------------- the program


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_plan_holds_what_was_sized(method, optimizer):
    asked = replace(SETUP, method=method, optimizer=optimizer, precision="bf16", targets=("q_proj", "v_proj"), rank=4)
    plan = plan_training(asked)
    assert (plan.method, plan.rank, plan.targets, plan.n_cards) == (method, 4, ("q_proj", "v_proj"), 1)
    assert (plan.sequence_tokens, plan.micro_batch, plan.accumulation) == (2048, 1, 8)
    assert "8bit" not in optimizer or "8bit" in plan.optimizer


def test_no_program_is_made_for_what_trl_would_do_otherwise():
    for more in ({"loss": "full"}, {"attention": "eager"}, {"adapter_bits": 16}, {"offload_optimizer": True}):
        with pytest.raises(UnsupportedError, match="size"):
            plan_training(replace(SETUP, **more))
    with pytest.raises(UnsupportedError, match="ZeRO"):
        plan_training(replace(SETUP, method="full"))


# ---------------------------------------------------------------- the command


def test_the_command_answers_in_a_sentence_and_as_json(capsys):
    line = "finetune --model Llama-3.1-70B-Instruct --method qlora --hardware"
    assert main([*line.split(), "A100 SXM 80GB"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("QLoRA of Llama 3.1 70B Instruct at rank 16: ")
    assert "fits." in told.splitlines()[0] and "largest that fits" in told and "US$" in told
    assert main([*line.split(), "A100 SXM 80GB", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    parts = record["devices"][0]["parts"]
    assert parts.pop("total_bytes") == sum(parts.values())
    assert [m["method"] for m in record["methods"]] == ["full", "lora", "qlora"]


def test_the_command_fails_where_it_does_not_fit_and_says_what_is_wrong(capsys):
    assert main([*"finetune --model Qwen3-8B --method full --hardware".split(), "RTX 4090"]) == 1
    assert "too much" in capsys.readouterr().out
    assert main([*"finetune --model Qwen3-8B --rank 0 --hardware".split(), "RTX 4090"]) == 2
    assert "rank wants" in capsys.readouterr().err
