"""What starts each engine: pinned to what was computed, written in options the tool is known to have."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from sizing.engines import list_engines
from sizing.engines.base import EngineEstimate, EngineOptions, EngineSetup
from sizing.engines.sglang import estimate_sglang
from sizing.engines.tgi import estimate_tgi
from sizing.engines.vllm import estimate_vllm, find_batch
from sizing.hardware import Machine
from sizing.launch import Launch, ModelFiles, list_launches
from sizing.launch.gguf import GGML_TYPE_NUMBERS
from sizing.launch.ollama import find_from, name_model
from sizing.quants import KV_TYPES as SIZED_KV_TYPES
from sizing.units import GIB
from sizing.workload import Workload
from tests.sizing.launch_cases import HOST_ALONE, NASTY, ONE_CARD, names, size, words_of
from tests.sizing.test_launch import title_of, value_of
from tests.sizing.test_launch_containers import check_compose, check_kubernetes, undo_dollars
from tests.sizing.test_placement import card, host, model, weights

GOLDEN = Path(__file__).parent.parent / "golden"
FORMATS = {
    "llama.cpp": ("Q4_K_M",),
    "Ollama": ("Q4_K_M",),
    "vLLM": ("BF16", "FP8", "AWQ", "NF4", "GPTQ", "MXFP4"),
    "SGLang": ("BF16", "FP8", "AWQ", "NF4"),
    "TGI": ("BF16", "FP8", "AWQ", "NF4", "LLM.int8"),
    "Transformers": ("BF16", "NF4", "NF4-single", "LLM.int8", "AWQ"),
    "ExLlamaV2": ("EXL2-4.0", "BF16"),
    "ExLlamaV3": ("EXL3-4.0",),
    "MLX": ("BF16", "MXFP4", "MLX-4bit"),
}
KV_TYPES = {
    "llama.cpp": "q8_0",
    "Ollama": "q8_0",
    "TGI": "fp8_e5m2",
    "Transformers": "int4",
    "ExLlamaV2": "q6",
    "MLX": "q8",
}
PROGRAMS = {"vllm": "vllm", "text-generation-launcher": "tgi"}
LARGE = Machine("two large", host(512), (card(80, "a"), card(80, "b")))


def answer(engine: str, weight_format: str, machine: Machine = LARGE, *, eager: bool = False) -> EngineEstimate:
    """An answer of any engine; the figures are llama.cpp's where the engine's own rule is of no matter here."""
    options = EngineOptions(0.85, 2, 1, 4096, 16, eager) if engine not in ("llama.cpp", "Ollama") else EngineOptions()
    kv_type = KV_TYPES.get(engine, "auto")
    setup = EngineSetup(model(), weight_format, 8192, 4, machine, kv_type, weights(), options)
    told = size(machine, Workload(8192, 4))
    return EngineEstimate(setup, engine, told, tensor_parallel=2, pipeline_parallel=1)


def read_flags() -> dict[str, set[str]]:
    known = defaultdict(set)
    with (GOLDEN / "launch_flags.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["source_url"].startswith("https://") and row["version"]
            known[row["tool"]].add(row["flag"])
    return known


def split_commands(launch: Launch) -> list[tuple[str, list[str]]]:
    """The (tool, options) of each command of a shell launch, Docker's own options apart from its program's."""
    found = []
    for line in launch.text.replace(" \\\n    ", " ").splitlines():
        if re.match(r"[A-Z]+=|until |ollama serve|ollama (create|run) |export |python main.py$", line):
            continue
        words = words_of(line)
        if words[:2] == ["docker", "run"]:
            at = words.index("--entrypoint")
            found.append(("docker run", words[: at + 1]))
            words = [words[at + 1], *words[at + 3 :]]
        program = words[0].rsplit("/", 1)[-1]
        tool = " ".join(words[:2]) if program in ("lms", "hf") else PROGRAMS.get(program, program)
        tool = {"python3": "sglang", "ollama": "ollama"}.get(tool, tool)
        found.append((tool, words[3:] if tool in ("sglang", "python") else words[1:]))
    return found


@pytest.mark.parametrize(("engine", "weight_format"), [(e, f) for e, formats in FORMATS.items() for f in formats])
@pytest.mark.parametrize("machine", [LARGE, HOST_ALONE])
@pytest.mark.parametrize("repo", [None, "q/b-quantized"])
def test_every_option_is_one_the_tool_has(engine: str, weight_format: str, machine: Machine, repo: str | None) -> None:
    if machine is HOST_ALONE and engine in ("vLLM", "SGLang", "TGI", "ExLlamaV2", "ExLlamaV3"):
        return
    known = read_flags()
    given_answer = answer(engine, weight_format, machine, eager=True)
    launches = list_launches(given_answer, ModelFiles("a/b", repo, None if repo else "c/b-GGUF"))
    assert launches
    for launch in launches:
        if launch.language != "bash":
            continue
        for tool, words in split_commands(launch):
            if tool in (
                "python",
                "ollama",
            ):  # llama-cpp-python has a parser of its own to ask; `ollama serve` no options
                continue
            unknown = {w.split("=")[0] for w in words if re.match(r"--?[a-zA-Z]", w)} - known[tool]
            assert not unknown, f"{tool}: {unknown}"


@pytest.mark.parametrize(("engine", "weight_format"), [(e, f[-1]) for e, f in FORMATS.items()])
@pytest.mark.parametrize("name", NASTY)
def test_every_text_is_sound_whatever_the_model_is_called(engine: str, weight_format: str, name: str) -> None:
    shell = []
    for files in (ModelFiles(name), ModelFiles(name, name, name), ModelFiles(name, name, gguf_file=f"/{name}")):
        for launch in list_launches(answer(engine, weight_format), files):
            assert launch.title and launch.file_name and launch.note.endswith(".")
            if launch.language == "bash":
                shell.append(launch.text)
            elif launch.language == "python":
                compile(launch.text, launch.file_name, "exec")
            elif launch.file_name == "compose.yaml":
                check_compose(launch.text)
            elif launch.title == "Kubernetes":
                check_kubernetes(launch.text)
            elif launch.language == "yaml":
                yaml.safe_load(launch.text)
    for text in shell:
        subprocess.run(["bash", "-n"], input=text.encode(), check=True, timeout=20)


def strings_of(launch: Launch) -> list[str]:
    return [
        n.value for n in ast.walk(ast.parse(launch.text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


@given(names, names)
@settings(max_examples=12, deadline=None)
def test_served_models_arrive_unharmed_everywhere(name: str, repo: str) -> None:
    for engine, title in (
        ("vLLM", "vllm serve"),
        ("SGLang", "sglang.launch_server"),
        ("TGI", "text-generation-launcher"),
    ):
        launches = list_launches(answer(engine, "AWQ"), ModelFiles(name, repo))
        assert repo in words_of(title_of(launches, title).text)
        assert repo in words_of(title_of(launches, "Docker").text)
        service = check_compose(title_of(launches, "docker compose").text)
        assert repo in [undo_dollars(w) for w in service["command"]]
        server = check_kubernetes(title_of(launches, "Kubernetes").text)["Deployment"]["spec"]["template"]["spec"]
        assert repo in [undo_dollars(w) for w in server["containers"][0]["args"]]
        assert name in strings_of(title_of(launches, "Python, OpenAI client"))
    script = title_of(list_launches(answer("Transformers", "AWQ"), ModelFiles(name, repo)), "Python, Transformers")
    assert repo in strings_of(script)


def test_vllm_pins_what_its_own_estimate_used() -> None:
    setup = EngineSetup(model(), "BF16", 8192, 4, TWO_CARDS_LARGE, options=EngineOptions(tensor_parallel=2))
    told = estimate_vllm(setup)
    launches = list_launches(told, ModelFiles("a/b"))
    words = words_of(title_of(launches, "vllm serve").text)
    tokens, sequences = find_batch(setup, TWO_CARDS_LARGE.accelerators[0])
    assert words[:3] == ["vllm", "serve", "a/b"]
    assert value_of(words, "--max-model-len") == "8192" and value_of(words, "--max-num-seqs") == str(sequences)
    assert value_of(words, "--max-num-batched-tokens") == str(tokens)
    assert value_of(words, "--tensor-parallel-size") == "2" and value_of(words, "--pipeline-parallel-size") == "1"
    assert value_of(words, "--gpu-memory-utilization") == "0.9" and "--enforce-eager" not in words
    docker = words_of(title_of(launches, "Docker").text)
    assert value_of(docker, "--gpus") == "2" and value_of(docker, "--host") == "0.0.0.0"
    assert value_of(words, "--host") == "127.0.0.1"
    inner = docker[docker.index("serve") :]
    assert [w for w in inner if w != "0.0.0.0"] == [w for w in words[1:] if w != "127.0.0.1"]


ASK_LLAMA_CPP_PYTHON = """
import argparse, json, sys
from llama_cpp.server.cli import add_args_from_model, parse_model_from_args
from llama_cpp.server.settings import ModelSettings, ServerSettings, Settings
parser = argparse.ArgumentParser()
add_args_from_model(parser, Settings)
args = parser.parse_args(json.loads(sys.stdin.read()))
found = [parse_model_from_args(kind, args).model_dump() for kind in (ModelSettings, ServerSettings)]
print(json.dumps(found[0] | found[1]))
"""


@pytest.mark.engine
@pytest.mark.parametrize("name", ["/m/it's $(x) \n名.gguf", "x.gguf"])
def test_llama_cpp_python_s_own_parser_takes_its_command(name: str) -> None:
    pytest.importorskip("pydantic_settings")
    two = answer("llama.cpp", "Q4_K_M", Machine("two", host(), (card(5, "a"), card(5, "b"))))
    words = words_of(title_of(list_launches(two, ModelFiles("a/b", gguf_file=name)), "llama-cpp-python server").text)
    assert words[:3] == ["python", "-m", "llama_cpp.server"]
    told = subprocess.run(
        [sys.executable, "-c", ASK_LLAMA_CPP_PYTHON],
        input=json.dumps(words[3:]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    settings = json.loads(told.stdout.splitlines()[-1])
    assert settings["model"] == name and settings["n_ctx"] == 8192 and settings["n_ubatch"] == 512
    assert settings["type_k"] == settings["type_v"] == 8 and settings["flash_attn"] is True
    assert settings["n_gpu_layers"] == two.estimate.n_gpu_layers and two.estimate.tensor_split is not None
    assert settings["tensor_split"] == [float(n) for n in two.estimate.tensor_split]
    assert settings["host"] == "127.0.0.1" and settings["logits_all"] is False


def test_cache_types_go_by_llama_cpp_s_own_numbers() -> None:
    from gguf import GGMLQuantizationType

    assert set(GGML_TYPE_NUMBERS) == set(SIZED_KV_TYPES)
    assert all(GGMLQuantizationType[name.upper()].value == n for name, n in GGML_TYPE_NUMBERS.items())


TWO_CARDS_LARGE = Machine("two", host(), (card(24, "a"), card(24, "b")))


def test_sglang_and_tgi_pin_what_their_own_estimates_used() -> None:
    setup = EngineSetup(model(), "BF16", 8192, 4, TWO_CARDS_LARGE, options=EngineOptions(tensor_parallel=2))
    told = estimate_sglang(setup)
    words = words_of(title_of(list_launches(told, ModelFiles("a/b")), "sglang.launch_server").text)
    fraction = value_of(words, "--mem-fraction-static")
    assert any(
        f"--mem-fraction-static {fraction}" in line for line in (*told.differences, *told.estimate.memory.assumptions)
    )
    assert value_of(words, "--tp-size") == "2" and value_of(words, "--chunked-prefill-size") == "2048"
    told = estimate_tgi(setup)
    words = words_of(title_of(list_launches(told, ModelFiles("a/b")), "text-generation-launcher").text)
    assert value_of(words, "--max-total-tokens") == "8192" and value_of(words, "--max-input-tokens") == "8191"
    assert value_of(words, "--max-batch-prefill-tokens") == "8192" and value_of(words, "--num-shard") == "2"
    assert value_of(words, "--cuda-memory-fraction") == "1" and value_of(words, "--max-concurrent-requests") == "4"
    short = estimate_tgi(replace(setup, options=EngineOptions(tensor_parallel=2, max_batched_tokens=4096)))
    words = words_of(title_of(list_launches(short, ModelFiles("a/b")), "text-generation-launcher").text)
    assert value_of(words, "--max-input-tokens") == value_of(words, "--max-batch-prefill-tokens") == "4096"


@pytest.mark.parametrize(
    ("engine", "weight_format", "expected"),
    [
        ("vLLM", "FP8", "--quantization fp8"),
        ("vLLM", "NF4", "--quantization bitsandbytes"),
        ("SGLang", "FP8", "--quantization fp8"),
        ("TGI", "NF4", "--quantize bitsandbytes-nf4"),
        ("TGI", "LLM.int8", "--quantize bitsandbytes"),
    ],
)
def test_an_engine_that_quantizes_while_loading_takes_the_original(
    engine: str, weight_format: str, expected: str
) -> None:
    text = list_launches(answer(engine, weight_format), ModelFiles("a/b"))[0].text
    assert expected in text.replace(" \\\n    ", " ") and "MODEL" not in text
    quantized = list_launches(answer(engine, weight_format), ModelFiles("a/b", "c/b-quantized"))[0].text
    assert "c/b-quantized" in quantized and expected not in quantized


def test_an_unknown_quantized_checkpoint_is_a_variable_and_said() -> None:
    launches = list_launches(answer("vLLM", "AWQ"), ModelFiles("a/b"))
    serve = title_of(launches, "vllm serve")
    assert serve.text.startswith("MODEL='a checkpoint of a/b in AWQ 4-bit, groups of 128'\nvllm serve \"$MODEL\" ")
    assert "Set MODEL to a checkpoint of a/b in AWQ" in serve.note
    assert (
        "MXFP4" in FORMATS["vLLM"] and "$MODEL" not in list_launches(answer("vLLM", "MXFP4"), ModelFiles("a/b"))[0].text
    )


def test_every_engine_that_can_be_sized_can_be_started() -> None:
    assert {engine.name for engine in list_engines()} == set(FORMATS)
    for engine in list_engines():
        assert engine.takes_gguf or set(FORMATS[engine.name]) <= set(engine.formats)
        assert KV_TYPES.get(engine.name, "auto") in (*engine.kv_types, "auto")


def test_containers_are_for_nvidia_cards() -> None:
    amd = Machine("amd", host(), (card(80, "a", "rocm"), card(80, "b", "rocm")))
    assert {t.title for t in list_launches(answer("vLLM", "BF16", amd), ModelFiles("a/b"))} == {
        "vllm serve",
        "Python, OpenAI client",
    }
    assert "Kubernetes" in {t.title for t in list_launches(answer("vLLM", "BF16"), ModelFiles("a/b"))}


def test_ollama_pins_context_slots_cache_and_layers() -> None:
    one = answer("Ollama", "Q4_K_M", ONE_CARD)
    launches = list_launches(one, ModelFiles("Org/My Model 8B", gguf_repo="c/My-Model-GGUF"))
    assert title_of(launches, "Ollama Modelfile").text.splitlines() == [
        "FROM hf.co/c/My-Model-GGUF:Q4_K_M",
        "PARAMETER num_ctx 8192",
        f"PARAMETER num_gpu {one.estimate.n_gpu_layers}",
        "PARAMETER num_batch 512",
    ]
    lines = title_of(launches, "ollama run").text.replace(" \\\n    ", " ").splitlines()
    exported = [words_of(line)[1] for line in lines if line.startswith("export ")]
    assert exported == [
        "OLLAMA_HOST=127.0.0.1:11434",
        "OLLAMA_NUM_PARALLEL=4",
        "OLLAMA_CONTEXT_LENGTH=8192",
        "OLLAMA_KV_CACHE_TYPE=q8_0",
        "OLLAMA_FLASH_ATTENTION=1",
        "OLLAMA_KEEP_ALIVE=5m",
    ]
    assert lines[-2:] == ["ollama create my-model-8b:q4_k_m -f Modelfile", "ollama run my-model-8b:q4_k_m"]
    known = read_flags()
    assert {w.split("=")[0] for w in exported} <= known["ollama environment"]
    parameters = {line.split()[1] for line in title_of(launches, "Ollama Modelfile").text.splitlines()[1:]}
    assert parameters <= known["Modelfile"]


def unquote_from(line: str) -> str:
    """What Ollama's parser takes from a FROM line: parser/parser.go, `ParseFile` and `unquote`."""
    value = line.removeprefix("FROM ").strip(" \t")
    if value.startswith('"'):
        raise AssertionError("quoted")
    return "".join(c for c in value if c.isprintable())


@given(names)
@settings(deadline=None)
def test_a_modelfile_names_the_file_or_a_plain_one(path: str) -> None:
    source, note = find_from(ModelFiles("a/b", gguf_file=path), "Q4_K_M")
    assert "\n" not in source and "\r" not in source and unquote_from(f"FROM {source}") == source
    assert source in (path, f"./{path}") or (source == "./model.gguf" and "model.gguf" in note)


@given(names, names)
@settings(deadline=None)
def test_an_ollama_name_is_one_it_takes(model_id: str, quant: str) -> None:
    base, tag = name_model(model_id, quant).split(":")
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,79}", base) and re.fullmatch(r"[a-z0-9_.-]{1,80}", tag)


def test_tabby_s_cache_holds_all_requests_in_whole_blocks() -> None:
    odd = answer("ExLlamaV2", "EXL2-4.0")
    odd = replace(odd, setup=replace(odd.setup, context_tokens=1000, n_parallel=3))
    config = yaml.safe_load(title_of(list_launches(odd, ModelFiles("a/b")), "TabbyAPI config.yml").text)
    assert config["model"]["cache_size"] == 3072 and config["model"]["max_seq_len"] == 1000
    assert config["model"]["cache_mode"] == "Q6" and config["network"] == {
        "host": "127.0.0.1",
        "port": 5000,
        "disable_auth": False,
    }
    v3 = replace(odd, engine="ExLlamaV3", setup=replace(odd.setup, kv_type="8,4"))
    config = yaml.safe_load(title_of(list_launches(v3, ModelFiles("a/b")), "TabbyAPI config.yml").text)
    assert config["model"]["cache_mode"] == "8,4" and config["model"]["backend"] == "exllamav3"


def test_mlx_converts_the_original_where_no_conversion_is_known() -> None:
    mac = Machine("mac", host(), (replace(card(64, "m", "metal")),))
    lines = title_of(list_launches(answer("MLX", "MLX-4bit", mac), ModelFiles("a/b")), "mlx_lm.server").text
    first, second = lines.replace(" \\\n    ", " ").splitlines()
    assert first == "mlx_lm.convert --hf-path a/b --mlx-path ./b-MLX-4bit -q --q-bits 4 --q-group-size 64"
    assert (
        value_of(words_of(second), "--model") == "./b-MLX-4bit"
        and value_of(words_of(second), "--decode-concurrency") == "4"
    )
    known = title_of(list_launches(answer("MLX", "MLX-4bit", mac), ModelFiles("a/b", "m/b-4bit")), "mlx_lm.server")
    assert "convert" not in known.text and "m/b-4bit" in known.text


def test_a_file_of_the_hub_s_cache_is_mounted_with_what_it_links_to() -> None:
    path = "/x/.cache/huggingface/hub/models--c--b/snapshots/abc/b.gguf"
    docker = words_of(
        title_of(list_launches(answer("llama.cpp", "Q4_K_M"), ModelFiles("a/b", gguf_file=path)), "Docker").text
    )
    assert "source=/x/.cache/huggingface/hub/models--c--b," in value_of(docker, "--mount")
    assert value_of(docker, "-m") == "/models/snapshots/abc/b.gguf"


def test_the_claim_holds_what_is_fetched_twice() -> None:
    launches = list_launches(answer("vLLM", "FP8"), ModelFiles("a/b"))
    claim = check_kubernetes(title_of(launches, "Kubernetes").text)["PersistentVolumeClaim"]
    gib = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    assert gib - 1 < 2 * 2 * model().n_params / GIB <= gib  # FP8 made on load fetches 16 bits
