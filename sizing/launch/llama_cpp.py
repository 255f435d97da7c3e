"""The `llama-server` command that starts what was computed, with every figure of it pinned."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from sizing.estimate import Estimate
from sizing.hardware import Machine
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
    words += ["-hf", f"{gguf_repo}:{quant}"] if gguf_repo else ["-m", gguf_file or name_file(model_name, quant)]
    if beside.has_projector:
        words += ["--mmproj", f"mmproj-{name_file(model_name, 'F16')}"]
    words += ["-c", str(workload.n_ctx_tokens), "-np", str(workload.n_parallel)]
    words += list_batch_words(workload)
    if workload.kv_unified:
        words.append("--kv-unified")
    words += list_placement_words(n_gpu_layers, n_cpu_moe, expert_layers, tensor_split)
    if beside.draft is not None:
        words += ["-md", name_file(*beside.draft), "-ctkd", workload.kv_type_k, "-ctvd", workload.kv_type_v]
        if beside.n_gpu_layers is not None:
            words += ["-ngld", str(beside.n_gpu_layers)]
    return shlex.join(words)


def list_batch_words(workload: Workload) -> list[str]:
    """Batches, flash attention and cache types, which every program of llama.cpp takes alike."""
    words = ["-ub", str(workload.n_ubatch), "-b", str(max(workload.n_batch, workload.n_ubatch))]
    words += ["-fa", "on" if workload.flash_attention else "off"]
    return [*words, "-ctk", workload.kv_type_k, "-ctv", workload.kv_type_v]


def list_placement_words(
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


def name_file(model_name: str, quant: str) -> str:
    """What a GGUF file is called where nobody told its name."""
    return f"{model_name.rsplit('/', 1)[-1]}-{quant}.gguf".replace(" ", "-")
