"""Engines that run inside one program on one machine: Transformers, ExLlama through TabbyAPI, MLX."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sizing.engines.base import EngineEstimate
from sizing.engines.exllama import CHUNK_TOKENS, PAGE_TOKENS
from sizing.errors import UnsupportedError
from sizing.launch.base import Launch, ModelFiles, Variable, format_shell
from sizing.launch.client import write_openai_client
from sizing.launch.source import AS_PUBLISHED, Weights, find_weights
from sizing.launch.yaml_text import write_yaml
from sizing.units import format_tokens

TABBY_PORT = 5000
MLX_PORT = 8080
BITSANDBYTES = {
    "NF4": (
        "load_in_4bit=True",
        'bnb_4bit_quant_type="nf4"',
        "bnb_4bit_use_double_quant=True",
        "bnb_4bit_compute_dtype=torch.bfloat16",
    ),
    "NF4-single": (
        "load_in_4bit=True",
        'bnb_4bit_quant_type="nf4"',
        "bnb_4bit_use_double_quant=False",
        "bnb_4bit_compute_dtype=torch.bfloat16",
    ),
    "LLM.int8": ("load_in_8bit=True",),
}
"""Arguments of BitsAndBytesConfig: https://huggingface.co/docs/transformers/quantization/bitsandbytes"""


CACHE_CONFIGS = {
    "fp8": '{"backend": "fp8"}',
    "int8": '{"backend": "hqq", "nbits": 8, "axis_key": 1, "axis_value": 1}',
    "int4": '{"backend": "hqq", "nbits": 4, "axis_key": 1, "axis_value": 1}',
}
"""Arguments of QuantizedCache by cache type; quanto has no 8 bits: https://huggingface.co/docs/transformers/kv_cache"""


def find_cache_bits(kv_type: str) -> tuple[int, ...]:
    """Bits of a quantized cache by an engine's name for it, for K and V where it has two; empty for 16 bits.

    >>> find_cache_bits("Q6"), find_cache_bits("8,4"), find_cache_bits("FP16"), find_cache_bits("auto")
    ((6,), (8, 4), (), ())
    """
    bits = tuple(int(b) for b in re.findall(r"\d+", kv_type))
    return () if any(b >= 16 for b in bits) else bits


def list_transformers_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """A Python program that loads the model and generates for as many chats at once as were asked for."""
    weights = find_weights(answer, files, dict.fromkeys(BITSANDBYTES, ()))
    yield Launch(
        "Python, Transformers",
        "python",
        write_transformers(answer, weights),
        "generate.py",
        f"Generates for {answer.setup.n_parallel} at once, at most {format_tokens(answer.setup.context_tokens)} tokens "
        f"each, prompt included; needs pip install torch transformers accelerate{_name_extras(answer, weights)}. "
        f"{weights.note}".strip(),
    )


def _name_extras(answer: EngineEstimate, weights: Weights) -> str:
    extras = " bitsandbytes" if _quantizes(answer, weights) else ""
    return extras + (" hqq" if answer.setup.kv_type in ("int4", "int8") else "")


def _quantizes(answer: EngineEstimate, weights: Weights) -> bool:
    return answer.setup.weight_format in BITSANDBYTES and weights.name == answer.setup.spec.model_id


def write_transformers(answer: EngineEstimate, weights: Weights) -> str:
    """The program. Source: https://huggingface.co/docs/transformers/kv_cache for the quantized cache."""
    quantizes = _quantizes(answer, weights)
    name = weights.variables[weights.name] if isinstance(weights.name, Variable) else str(weights.name)
    backends = {card.backend for card in answer.setup.machine.accelerators}
    place = "auto" if backends - {"metal"} else "mps" if backends else "cpu"
    config = ""
    if quantizes:
        arguments = "".join(f"        {a},\n" for a in BITSANDBYTES[answer.setup.weight_format])
        config = f"    quantization_config=BitsAndBytesConfig(\n{arguments}    ),\n"
    told = CACHE_CONFIGS.get(answer.setup.kv_type)
    cache = f'    cache_implementation="quantized",\n    cache_config={told},\n' if told else ""
    imports = "AutoModelForCausalLM, AutoTokenizer" + (", BitsAndBytesConfig" if quantizes else "")
    return f"""\
import torch
from transformers import {imports}

MODEL = {name!r}
CONTEXT_TOKENS = {answer.setup.context_tokens}
PROMPTS = ["Why is the sky blue?"] * {answer.setup.n_parallel}

tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(
    MODEL,
    dtype=torch.bfloat16,
    device_map={place!r},
{config})
chats = [[{{"role": "user", "content": prompt}}] for prompt in PROMPTS]
inputs = tokenizer.apply_chat_template(
    chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
).to(model.device)
n_prompt_tokens = inputs["input_ids"].shape[1]
output = model.generate(
    **inputs,
    max_new_tokens=CONTEXT_TOKENS - n_prompt_tokens,
{cache})
for text in tokenizer.batch_decode(output[:, n_prompt_tokens:], skip_special_tokens=True):
    print(text)
"""


def list_exllama_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """TabbyAPI's configuration and the commands that fetch the model and start it."""
    setup = answer.setup
    weights = find_weights(answer, files, {})
    folder = _name_folder(files.quantized_repo or f"{files.model_id}-{setup.weight_format}")
    fetch = format_shell(["hf", "download", weights.name, "--local-dir", f"models/{folder}"], weights.variables)
    note = f"Run it in TabbyAPI's folder with config.yml beside it. {weights.note}".strip()
    yield Launch("TabbyAPI", "bash", f"{fetch}\npython main.py", "tabbyapi.sh", note)
    said = f"Serves on 127.0.0.1:{TABBY_PORT}; its keys are in api_tokens.yml after the first start."
    yield Launch("TabbyAPI config.yml", "yaml", write_tabby_config(answer, folder), "config.yml", said)
    yield write_openai_client(folder, TABBY_PORT)


def _name_folder(repository: str) -> str:
    """A folder's name: what is not a letter, a digit or '-_.' is left out, and it leads nowhere else."""
    return re.sub(r"[^\w.-]+", "-", repository.rsplit("/", 1)[-1]).strip("-.") or "model"


def write_tabby_config(answer: EngineEstimate, folder: str) -> str:
    """TabbyAPI's config.yml: context, cache for all requests at once, cache bits, cards.

    Keys: https://github.com/theroyallab/tabbyAPI/blob/main/config_sample.yml
    """
    setup = answer.setup
    is_v3 = answer.engine == "ExLlamaV3"
    bits = find_cache_bits(setup.kv_type)
    mode = "FP16" if not bits else f"{bits[0]},{bits[-1]}" if is_v3 else f"Q{bits[0]}"
    tokens = -(-setup.context_tokens // PAGE_TOKENS) * PAGE_TOKENS * setup.n_parallel
    return write_yaml(
        {
            "network": {"host": "127.0.0.1", "port": TABBY_PORT, "disable_auth": False},
            "model": {
                "model_dir": "models",
                "model_name": folder,
                "backend": "exllamav3" if is_v3 else "exllamav2",
                "max_seq_len": setup.context_tokens,
                "cache_size": tokens,
                "cache_mode": mode,
                "max_batch_size": setup.n_parallel,
                "tensor_parallel": answer.tensor_parallel > 1,
                "gpu_split_auto": True,
                "chunk_size": setup.options.max_batched_tokens or CHUNK_TOKENS,
            },
        }
    )


def list_mlx_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """`mlx_lm.server`, after a conversion where no converted repository is known.

    Options: https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/server.py and convert.py
    """
    setup = answer.setup
    lines, model, note = [], files.model_id, "Fetches the original."
    if setup.weight_format not in AS_PUBLISHED and files.quantized_repo is not None:
        model, note = files.quantized_repo, "Fetches the converted repository."
    elif setup.weight_format not in AS_PUBLISHED:
        model = f"./{_name_folder(f'{files.model_id}-{setup.weight_format}')}"
        lines.append(format_shell(_list_convert_words(setup.weight_format, files.model_id, model)))
        note = "Converts the original once, which fetches it in 16 bits."
    parallel = str(setup.n_parallel)
    words = ["mlx_lm.server", "--model", model, "--host", "127.0.0.1", "--port", str(MLX_PORT)]
    words += ["--decode-concurrency", parallel, "--prompt-concurrency", parallel]
    if setup.options.max_batched_tokens is not None:
        words += ["--prefill-step-size", str(setup.options.max_batched_tokens)]
    if bits := find_cache_bits(setup.kv_type):
        words += ["--kv-bits", str(bits[0])]
        note += " With a quantized cache it answers one request at a time."
    tokens = format_tokens(setup.context_tokens)
    said = f"Serves on 127.0.0.1:{MLX_PORT}; keep chats to {tokens} tokens, the cache grows with them."
    text = "\n".join([*lines, format_shell(words)])
    said = " ".join((said, *note.split(), "Needs pip install mlx-lm."))
    yield Launch("mlx_lm.server", "bash", text, "mlx.sh", said)
    yield write_openai_client(model, MLX_PORT)


def _list_convert_words(weight_format: str, model_id: str, path: str) -> list[str]:
    bits = re.fullmatch(r"MLX-(\d)bit", weight_format)
    if bits is None:
        raise UnsupportedError(f"MLX converts to MLX-4bit and the like, not to {weight_format!r}")
    words = ["mlx_lm.convert", "--hf-path", model_id, "--mlx-path", path]
    return [*words, "-q", "--q-bits", bits[1], "--q-group-size", "64"]
