"""llama.cpp's server, its command line, and the programs that wrap it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sizing.engines.base import EngineSetup
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.launch.base import Launch, ModelFiles, Variable, format_shell
from sizing.launch.client import write_openai_client
from sizing.solver import NoSolution, Solution
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class Beside:
    """What llama-server loads beside the model: a draft (its name and quantization), a projector.

    `n_gpu_layers` are the draft's, the output counted as one; None without accelerators.
    """

    draft: tuple[str, str] | None = None
    n_gpu_layers: int | None = None
    has_projector: bool = False


NOTHING_BESIDE = Beside()


def format_command(
    name: str,
    quant: str,
    estimate: Estimate,
    workload: Workload,
    machine: Machine,
    beside: Beside = NOTHING_BESIDE,
    gguf_file: str | None = None,
) -> str:
    """The command that starts a configuration just as it was sized on `machine`; `gguf_file` is its file, if known."""
    return format_llama_server_command(
        name,
        quant,
        workload,
        n_gpu_layers=estimate.n_gpu_layers if machine.accelerators else None,
        n_cpu_moe=estimate.n_cpu_moe,
        expert_layers=estimate.expert_layers,
        tensor_split=estimate.tensor_split,
        beside=beside,
        gguf_file=gguf_file,
    )


def format_solution_command(
    name: str, answer: Solution | NoSolution, machine: Machine, gguf_file: str | None = None
) -> str | None:
    """The command that starts a solver's answer; None where there is none."""
    if isinstance(answer, NoSolution):
        return None
    return format_command(name, answer.quant, answer.estimate, answer.workload, machine, gguf_file=gguf_file)


def format_llama_server_command(
    model_name: str,
    quant: str,
    workload: Workload,
    *,
    n_gpu_layers: int | None = None,
    n_cpu_moe: int = 0,
    expert_layers: tuple[int, ...] = (),
    tensor_split: tuple[int, ...] | None = None,
    gguf_repo: str | None = None,
    gguf_file: str | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> str:
    """The `llama-server` command line for a configuration, quoted for a POSIX shell.

    `gguf_repo` ("owner/name" on the Hugging Face Hub) lets the server fetch the file itself; without it the command
    names `gguf_file`, or a local file to be replaced. `n_gpu_layers` None leaves the flag out (a host without
    accelerators). A draft's context is as long as a slot's without a flag; its cache types are pinned.
    `tensor_split` counts each card's layers, `expert_layers` are those whose experts stay on the host.
    Flags: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    """
    words = ["llama-server"]
    words += ["-hf", f"{gguf_repo}:{quant}"] if gguf_repo else ["-m", gguf_file or _file_name(model_name, quant)]
    if beside.has_projector:
        words += ["--mmproj", f"mmproj-{_file_name(model_name, 'F16')}"]
    words += ["-c", str(workload.n_ctx_tokens), "-np", str(workload.n_parallel)]
    words += _list_batch_words(workload)
    if workload.kv_unified:
        words.append("--kv-unified")
    words += _list_placement_words(n_gpu_layers, n_cpu_moe, expert_layers, tensor_split)
    if beside.draft is not None:
        words += ["-md", _file_name(*beside.draft), "-ctkd", workload.kv_type_k, "-ctvd", workload.kv_type_v]
        if beside.n_gpu_layers is not None:
            words += ["-ngld", str(beside.n_gpu_layers)]
    return shlex.join(words)


def _list_batch_words(workload: Workload) -> list[str]:
    """Batches, flash attention and cache types, which every program of llama.cpp takes alike."""
    words = ["-ub", str(workload.n_ubatch), "-b", str(max(workload.n_batch, workload.n_ubatch))]
    words += ["-fa", "on" if workload.flash_attention else "off"]
    return [*words, "-ctk", workload.kv_type_k, "-ctv", workload.kv_type_v]


def _list_placement_words(
    n_gpu_layers: int | None, n_cpu_moe: int, expert_layers: tuple[int, ...], tensor_split: tuple[int, ...] | None
) -> list[str]:
    """What runs where, which every program of llama.cpp takes alike."""
    words: list[str] = []
    if n_gpu_layers is not None:
        words += ["-ngl", str(n_gpu_layers)]
    if n_cpu_moe:
        words += ["--n-cpu-moe", str(n_cpu_moe)]
    if expert_layers:
        layers = "|".join(str(i) for i in sorted(set(expert_layers)))
        words += ["-ot", rf"blk\.({layers})\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"]
    if tensor_split is not None:
        words += ["-ts", ",".join(str(count) for count in tensor_split)]
    return words


def _file_name(model_name: str, quant: str) -> str:
    return f"{model_name.rsplit('/', 1)[-1]}-{quant}.gguf".replace(" ", "-")


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


def workload_of(setup: EngineSetup) -> Workload:
    """What llama.cpp is asked for by a setup: K and V of one type, the rest as llama-server does by default."""
    kv_type = "f16" if setup.kv_type == "auto" else setup.kv_type.lower()
    return Workload(setup.context_tokens, setup.n_parallel, kv_type_k=kv_type, kv_type_v=kv_type)


@dataclass(frozen=True, slots=True)
class GgufSource:
    """How a program is told the file: `words` of llama.cpp, the `path` for others, and the variable it may stand in."""

    words: tuple[str, ...]
    path: str
    variables: Mapping[str, str]
    note: str


def find_source(files: ModelFiles, quant: str) -> GgufSource:
    """Where the GGUF file comes from: a local file, the Hub, or a variable for the reader to fill."""
    name = _file_name(files.model_id, quant)
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
    said = f"Serves {slots} of {workload.context_tokens} tokens on 127.0.0.1:{SERVER_PORT}, an OpenAI-like API."
    yield Launch("llama-server", "bash", format_shell(words, unset), "llama-server.sh", f"{said} {source.note}".strip())
    yield write_openai_client(files.model_id, SERVER_PORT)
    cli = ["llama-cli", *source.words, "-c", str(workload.context_tokens), *_list_batch_words(workload)]
    cli += _words_of_placement(told, machine)
    said = f"A chat in the terminal, one conversation of {workload.context_tokens} tokens."
    yield Launch("llama-cli", "bash", format_shell(cli, unset), "llama-cli.sh", f"{said} {source.note}".strip())
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
    return _list_placement_words(layers, told.n_cpu_moe, told.expert_layers, told.tensor_split)


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
    note = f"Answers one request at a time, up to {workload.context_tokens} tokens."
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
