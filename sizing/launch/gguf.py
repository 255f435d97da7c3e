"""llama.cpp's programs and those that wrap it: the server, the chat, containers, llama-cpp-python, LM Studio."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.launch.base import Launch, ModelFiles, Variable, format_shell
from sizing.launch.client import write_openai_client
from sizing.launch.containers import Container, list_container_launches
from sizing.launch.images import LLAMA_CPP_CUDA_IMAGE, LLAMA_CPP_HOST_IMAGE
from sizing.launch.llama_cpp import (
    NOTHING_BESIDE,
    Beside,
    format_command,
    list_batch_words,
    list_placement_words,
    name_file,
)
from sizing.units import format_tokens
from sizing.workload import Workload

GGML_TYPE_NUMBERS = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""Cache types by the number that llama-cpp-python asks for: `enum ggml_type`,
https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h"""

SERVER_PORT = 8080
"""Where llama-server is told to listen, on 127.0.0.1: its own default has changed over time."""

PYTHON_SERVER_PORT = 8000
"""llama-cpp-python's own port, on localhost."""


@dataclass(frozen=True, slots=True)
class GgufSource:
    """How a program is told the file: `words` of llama.cpp, the `path` for others, and the variable it may stand in."""

    words: tuple[str, ...]
    path: str
    variables: Mapping[str, str]
    note: str


def find_source(files: ModelFiles, quant: str) -> GgufSource:
    """Where the GGUF file comes from: a local file, the Hub, or a variable for the reader to fill."""
    name = name_file(files.model_id, quant)
    if files.gguf_file is not None:
        return GgufSource(("-m", files.gguf_file), files.gguf_file, {}, "")
    variables = {"MODEL": f"./{name}"}
    fill = f"Set MODEL to a GGUF file of {files.model_id} at {quant}."
    if files.gguf_repo is not None:
        said = f"Fetches {files.gguf_repo} at {quant} on the first start."
        return GgufSource(("-hf", f"{files.gguf_repo}:{quant}"), "", variables, said)
    return GgufSource(("-m", Variable("MODEL")), "", variables, fill)


def list_llama_cpp_launches(
    told: Estimate, workload: Workload, machine: Machine, files: ModelFiles, beside: Beside = NOTHING_BESIDE
) -> tuple[Launch, ...]:
    """Every program on top of llama.cpp that starts an estimate as it was sized; empty where it does not run."""
    if not told.fit.runs:
        return ()
    return tuple(_list_launches(told, workload, machine, files, beside))


def _list_launches(
    told: Estimate, workload: Workload, machine: Machine, files: ModelFiles, beside: Beside
) -> Iterator[Launch]:
    source = find_source(files, told.memory.quant)
    words = list_llama_server_words(files.model_id, source.words, told, workload, machine, beside)
    words += ["--host", "127.0.0.1", "--port", str(SERVER_PORT)]
    unset = {} if source.words[0] == "-hf" or source.path else source.variables
    slots = f"{workload.n_parallel} slots" if workload.n_parallel > 1 else "one slot"
    tokens = format_tokens(workload.context_tokens)
    said = f"Serves {slots} of {tokens} tokens on 127.0.0.1:{SERVER_PORT}, an OpenAI-like API."
    yield Launch("llama-server", "bash", format_shell(words, unset), "llama-server.sh", f"{said} {source.note}".strip())
    yield write_openai_client(files.model_id, SERVER_PORT)
    cli = ["llama-cli", *source.words, "-c", str(workload.context_tokens), *list_batch_words(workload)]
    cli += _words_of_placement(told, machine)
    said = f"A chat in the terminal, one conversation of {tokens} tokens."
    yield Launch("llama-cli", "bash", format_shell(cli, unset), "llama-cli.sh", f"{said} {source.note}".strip())
    if beside == NOTHING_BESIDE:
        yield from _list_containers(told, workload, machine, files)
    yield from _list_python_server(told, workload, machine, files, source)
    yield _write_lm_studio(told, workload, machine, files)


def list_llama_server_words(
    model_name: str,
    source: tuple[str, ...],
    told: Estimate,
    workload: Workload,
    machine: Machine,
    beside: Beside = NOTHING_BESIDE,
) -> list[str]:
    """The words of `format_command`, with `source` in place of the file."""
    words = shlex.split(format_command(model_name, told.memory.quant, told, workload, machine, beside))
    return [words[0], *source, *words[3:]]


def _words_of_placement(told: Estimate, machine: Machine) -> list[str]:
    layers = told.n_gpu_layers if machine.accelerators else None
    return list_placement_words(layers, told.n_cpu_moe, told.expert_layers, told.tensor_split)


def _list_containers(told: Estimate, workload: Workload, machine: Machine, files: ModelFiles) -> Iterator[Launch]:
    """The server's own images, for NVIDIA cards and for hosts without any; others are not built for every maker.

    A file of this machine is mounted: of the Hub's cache the whole repository, whose files are links into it.
    """
    if any(card.backend != "cuda" for card in machine.accelerators):
        return
    folder, file = _split_path(files.gguf_file)
    if folder is not None:
        source: tuple[str, ...] = ("-m", f"/models/{file}")
    elif files.gguf_repo is not None and files.gguf_file is None:
        source = ("-hf", f"{files.gguf_repo}:{told.memory.quant}")
    else:
        return
    command = list_llama_server_words(files.model_id, source, told, workload, machine)
    yield from list_container_launches(
        Container(
            name="llama-server",
            image=LLAMA_CPP_CUDA_IMAGE if machine.accelerators else LLAMA_CPP_HOST_IMAGE,
            command=("/app/llama-server", *command[1:], "--host", "0.0.0.0", "--port", str(SERVER_PORT)),
            port=SERVER_PORT,
            n_gpus=len(machine.accelerators),
            stored_bytes=told.memory.parts.weight_bytes,
            cache_names=("LLAMA_CACHE", "HF_HOME"),  # which of the two keeps a file has changed over time
            cache_volume="llama-cache",
            model_dir=folder,
        )
    )


def _split_path(path: str | None) -> tuple[str | None, str]:
    """The folder to mount and the file's path inside it; no folder for a path that is not absolute."""
    if path is None or not path.startswith("/"):
        return None, ""
    repository, mark, inside = path.partition("/snapshots/")
    if mark:
        return repository, f"snapshots/{inside}"
    return posixpath.dirname(path), posixpath.basename(path)


def _list_python_server(
    told: Estimate, workload: Workload, machine: Machine, files: ModelFiles, source: GgufSource
) -> Iterator[Launch]:
    """llama-cpp-python's server, which has no way to keep experts on the host: nothing where the estimate does so.

    Options: https://github.com/abetlen/llama-cpp-python/blob/main/llama_cpp/server/settings.py
    """
    if told.n_cpu_moe or told.expert_layers:
        return
    words = ["python", "-m", "llama_cpp.server", "--model", source.path or Variable("MODEL")]
    words += ["--n_ctx", str(workload.context_tokens), "--n_ubatch", str(workload.n_ubatch)]
    words += ["--n_batch", str(max(workload.n_batch, workload.n_ubatch))]
    words += ["--flash_attn", "true" if workload.flash_attention else "false"]
    words += ["--type_k", str(GGML_TYPE_NUMBERS[workload.kv_type_k.lower()])]
    words += ["--type_v", str(GGML_TYPE_NUMBERS[workload.kv_type_v.lower()])]
    words += ["--n_gpu_layers", str(told.n_gpu_layers if machine.accelerators else 0)]
    if told.tensor_split is not None:
        words += ["--tensor_split", *(str(count) for count in told.tensor_split)]
    words += ["--logits_all", "false", "--host", "127.0.0.1", "--port", str(PYTHON_SERVER_PORT)]
    note = f"Answers one request at a time, up to {format_tokens(workload.context_tokens)} tokens."
    if not source.path:
        note += f" Set MODEL to a GGUF file of {files.model_id} at {told.memory.quant}."
    note += " Needs pip install 'llama-cpp-python[server]'."
    text = format_shell(words, {} if source.path else source.variables)
    yield Launch("llama-cpp-python server", "bash", text, "llama-cpp-python.sh", note)


def _write_lm_studio(told: Estimate, workload: Workload, machine: Machine, files: ModelFiles) -> Launch:
    """LM Studio's command line, which takes the share of layers on the card instead of their number.

    Flags: https://lmstudio.ai/docs/cli/load
    """
    n_layers = sum(d.n_layers for d in told.memory.devices)
    share = min(told.n_gpu_layers / max(n_layers, 1), 1.0)
    gpu = "off" if not machine.accelerators or not share else "max" if share == 1 else f"{share:.3g}"
    words = ["lms", "load", Variable("MODEL"), "--gpu", gpu, "--context-length", str(workload.n_ctx_tokens)]
    key = (files.gguf_repo or files.model_id).rsplit("/", 1)[-1].casefold()
    note = f"Set MODEL to what lms ls calls {files.model_id} at {told.memory.quant}; it has no options for cache types"
    if told.n_cpu_moe or told.expert_layers:
        note += ", nor for experts on the host, which are set in its window"
    return Launch("LM Studio", "bash", format_shell(words, {"MODEL": key}), "lm-studio.sh", f"{note}.")
