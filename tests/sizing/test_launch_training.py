"""Training programs: what was planned, in arguments TRL, PEFT and accelerate take; run for real where they are."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.engines.base import EngineEstimate, EngineSetup
from sizing.errors import BadInputError, UnknownNameError
from sizing.launch import ModelFiles, TrainingPlan, list_launches, list_training_launches
from sizing.launch.training import SHARDINGS
from sizing.workload import Workload
from tests.sizing.launch_cases import HOST_ALONE, names, size
from tests.sizing.test_placement import model

METHODS = ("full", "lora", "qlora")
OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "sgd")


def plan(method: str = "lora", **given: Any) -> TrainingPlan:
    return TrainingPlan("a/b", method, **{"sequence_tokens": 2048, **given})


def calls_in(text: str) -> dict[str, dict[str, Any]]:
    """The literal keyword arguments of every call by a capital name."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id[0].isupper():
            found[node.func.id] = {
                k.arg: ast.literal_eval(k.value) for k in node.keywords if not isinstance(k.value, ast.Call | ast.Name)
            }
    return found


def test_the_program_pins_the_plan() -> None:
    asked = plan("qlora", micro_batch=2, accumulation=8, rank=64, alpha=16, targets=("q_proj", "v_proj"))
    program, command = list_training_launches(asked)
    calls = calls_in(program.text)
    settings = calls["SFTConfig"]
    assert settings["max_length"] == 2048 and settings["per_device_train_batch_size"] == 2
    assert settings["gradient_accumulation_steps"] == 8 and settings["activation_checkpointing"] is True
    assert settings["optim"] == "adamw_torch_fused" and settings["model_init_kwargs"] == {"dtype": "bfloat16"}
    assert calls["LoraConfig"]["r"] == 64 and calls["LoraConfig"]["lora_alpha"] == 16
    assert calls["LoraConfig"]["target_modules"] == ["q_proj", "v_proj"]
    assert calls["BitsAndBytesConfig"]["bnb_4bit_quant_type"] == "nf4"
    assert command.text == "python train.py" and "A step learns from 16 sequences" in command.note
    assert "trl==" in program.note and "bitsandbytes==" in program.note and program.file_name == "train.py"


def test_full_training_has_no_adapter_and_no_quantization() -> None:
    calls = calls_in(list_training_launches(plan("full", checkpointing=False))[0].text)
    assert set(calls) == {"SFTConfig", "SFTTrainer"} and calls["SFTConfig"]["activation_checkpointing"] is False


@given(names, st.lists(names, max_size=3), st.sampled_from(METHODS))
@settings(deadline=None)
def test_no_name_breaks_out_of_the_program(name: str, targets: list[str], method: str) -> None:
    text = list_training_launches(TrainingPlan(name, method, 128, targets=tuple(targets)))[0].text
    tree = ast.parse(text)
    assert any(
        isinstance(n, ast.Assign) and ast.literal_eval(n.value) == name
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)
    )
    if method != "full":
        assert calls_in(text)["LoraConfig"]["target_modules"] == (targets or "all-linear")


@pytest.mark.parametrize("sharding", [s for s in SHARDINGS if s != "none"])
def test_several_cards_come_with_accelerate_s_configuration(sharding: str) -> None:
    program, command, config = list_training_launches(plan("qlora", n_cards=4, sharding=sharding, accumulation=3))
    assert command.text == "accelerate launch --config_file accelerate.yaml train.py"
    read = yaml.safe_load(config.text)
    assert read["num_processes"] == 4 and read["mixed_precision"] == "bf16"
    kind = {"ddp": "MULTI_GPU", "fsdp": "FSDP"}.get(sharding, "DEEPSPEED")
    assert read["distributed_type"] == kind
    if kind == "DEEPSPEED":
        assert read["deepspeed_config"]["zero_stage"] == int(sharding[-1])
        assert read["deepspeed_config"]["gradient_accumulation_steps"] == 3 and "deepspeed==" in program.note
    storage = calls_in(program.text)["BitsAndBytesConfig"].get("bnb_4bit_quant_storage")
    assert storage == ("bfloat16" if sharding in ("fsdp", "zero3") else None)


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ({"method": "dora"}, UnknownNameError),
        ({"sharding": "zero4", "n_cards": 2}, UnknownNameError),
        ({"n_cards": 2}, BadInputError),
        ({"sharding": "fsdp"}, BadInputError),
        ({"rank": 0}, BadInputError),
        ({"dropout": 1.0}, BadInputError),
        ({"micro_batch": True}, BadInputError),
        ({"model_id": "-x"}, BadInputError),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(given_: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        TrainingPlan(**{"model_id": "a/b", "method": "lora", "sequence_tokens": 128, **given_})


@pytest.mark.training
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("checkpointing", [True, False])
def test_trl_and_peft_take_every_argument(optimizer: str, checkpointing: bool, tmp_path: Path) -> None:
    trl, peft = pytest.importorskip("trl"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    asked = plan("qlora", optimizer=optimizer, checkpointing=checkpointing)
    calls = calls_in(list_training_launches(asked)[0].text)
    settings = trl.SFTConfig(**{**calls["SFTConfig"], "output_dir": str(tmp_path), "use_cpu": True})
    assert (
        settings.activation_checkpointing is settings.gradient_checkpointing is checkpointing
        and settings.max_length == 2048
    )
    assert settings.optim == optimizer
    adapter = peft.LoraConfig(**calls["LoraConfig"])
    assert adapter.r == 16 and adapter.target_modules == "all-linear"
    quantization = transformers.BitsAndBytesConfig(**calls["BitsAndBytesConfig"])
    assert quantization.load_in_4bit and quantization.bnb_4bit_use_double_quant


@pytest.mark.training
@pytest.mark.parametrize("sharding", [s for s in SHARDINGS if s != "none"])
def test_accelerate_reads_its_configuration(sharding: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from accelerate.commands.config.config_args import load_config_from_file

    file = tmp_path / "accelerate.yaml"
    file.write_text(list_training_launches(plan(n_cards=2, sharding=sharding))[2].text, encoding="utf-8")
    config = load_config_from_file(str(file))
    assert config.num_processes == 2 and config.mixed_precision == "bf16"
    from accelerate.commands.launch import launch_command_parser

    options = vars(launch_command_parser().parse_args(["--config_file", str(file), "train.py"]))
    given_ = {**(config.fsdp_config or {}), **(config.deepspeed_config or {})}
    assert set(given_) <= set(options) and (given_ or sharding == "ddp")


def make_tiny_model(folder: Path) -> None:
    """A random Llama of two layers with a tokenizer of bytes and a chat template, in a folder like a repository."""
    import tokenizers
    import transformers

    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocab = {c: i for i, c in enumerate(["<eos>", *sorted(letters)])}
    bare = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    bare.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>", pad_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<eos>{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=0,
        pad_token_id=0,
        max_position_embeddings=512,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def run_alone(program: str, folder: Path) -> str:
    """Runs a program in a folder of its own, offline and on the processor, which TRL wants to be told; its output."""
    program = program.replace("bf16=True,", "bf16=True, use_cpu=True,")
    (folder / "program.py").write_text(program, encoding="utf-8")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.training
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_program_trains_a_tiny_model(method: str, tmp_path: Path) -> None:
    for package in ("trl", "peft", "datasets", "transformers"):
        pytest.importorskip(package)
    make_tiny_model(tmp_path / "it's tiny")
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}] * 2
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    asked = TrainingPlan("./it's tiny", method, 64, rank=4, alpha=8, targets=("q_proj", "v_proj") * (method == "lora"))
    said = run_alone(list_training_launches(asked)[0].text, tmp_path)
    assert "train_loss" in said
    saved = {f.name for f in (tmp_path / f"trained-{method}").iterdir()}
    assert ("adapter_model.safetensors" if method == "lora" else "model.safetensors") in saved
    if method == "lora":
        config = json.loads((tmp_path / "trained-lora/adapter_config.json").read_text(encoding="utf-8"))
        assert config["r"] == 4 and sorted(config["target_modules"]) == ["q_proj", "v_proj"]


@pytest.mark.training
@pytest.mark.parametrize("kv_type", ["auto", "fp8"])
def test_the_program_for_transformers_generates(kv_type: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    make_tiny_model(tmp_path / "it's tiny")
    setup = EngineSetup(model(), "BF16", 96, 3, HOST_ALONE, kv_type)
    told = EngineEstimate(setup, "Transformers", size(HOST_ALONE, Workload(96, 3)))
    (program,) = list_launches(told, ModelFiles("./it's tiny"))
    assert "device_map='cpu'" in program.text and ("cache_config" in program.text) is (kv_type == "fp8")
    shown = run_alone(program.text + "print(output.shape)", tmp_path)
    assert "torch.Size([3, " in shown
    n_tokens = int(shown.split("torch.Size([3, ")[1].split("]")[0])
    assert n_tokens <= 96
