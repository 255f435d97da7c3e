"""Ollama: a Modelfile, the server's environment and the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sizing.engines.base import EngineEstimate
from sizing.engines.ollama import KEEP_ALIVE_MINUTES, build_ollama_workload
from sizing.launch.base import Launch, ModelFiles, format_shell
from sizing.launch.client import write_openai_client
from sizing.launch.containers import Container, list_container_launches
from sizing.launch.images import OLLAMA_IMAGE

PORT = 11434
PLAIN_PATH = re.compile(r"[^\s\"'~][^\s\"']*(?: [^\s\"']+)*")
LOCAL_NAME = "model.gguf"


def list_ollama_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """The commands, the Modelfile they read, a client, and containers where there are NVIDIA cards or none."""
    name = name_model(files.model_id, answer.setup.weight_format)
    source, note = find_from(files, answer.setup.weight_format)
    yield _write_commands(answer, name, note)
    yield Launch("Ollama Modelfile", "dockerfile", write_modelfile(answer, source), "Modelfile", note)
    yield write_openai_client(name, PORT)
    cards = answer.setup.machine.accelerators
    if any(card.backend != "cuda" for card in cards):
        return
    note = f"Then docker cp the Modelfile into it and run ollama create {name} there. {note}"
    yield from list_container_launches(
        Container(
            name="ollama",
            image=OLLAMA_IMAGE,
            command=("ollama", "serve"),
            port=PORT,
            n_gpus=len(cards),
            stored_bytes=answer.estimate.memory.parts.weight_bytes,
            health_path="/",
            cache_dir="/ollama",
            cache_names=("OLLAMA_MODELS",),
            cache_volume="$HOME/.ollama/models",
            environment={"OLLAMA_HOST": f"0.0.0.0:{PORT}", **list_settings(answer)},
            note=note,
        )
    )


def name_model(model_id: str, quant: str) -> str:
    """A name Ollama takes: lower case, letters, digits and '-_.' of the model, the quantization as its tag.

    >>> name_model("org/Model $(x) 8B", "Q4_K_M")
    'model-x-8b:q4_k_m'

    Rules: https://github.com/ollama/ollama/blob/main/types/model/name.go
    """
    base = re.sub(r"[^a-z0-9_.]+", "-", model_id.rsplit("/", 1)[-1].casefold()).strip("-._") or "model"
    return f"{base[:80]}:{re.sub(r'[^a-z0-9_.]+', '-', quant.casefold())[:80]}"


def find_from(files: ModelFiles, quant: str) -> tuple[str, str]:
    """What stands after FROM, and what the reader has to know of it.

    A path that a Modelfile cannot carry, one with quotes or line ends, is given a plain name by the reader.
    """
    path = files.gguf_file
    if path is not None and PLAIN_PATH.fullmatch(path) and path.isprintable():
        return (path if path.startswith("/") else f"./{path}"), "Ollama copies the file into its own store."
    if path is None and files.gguf_repo is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", files.gguf_repo):
        return f"hf.co/{files.gguf_repo}:{quant}", f"Fetches {files.gguf_repo} at {quant}."
    return f"./{LOCAL_NAME}", f"Save the GGUF file at {quant} as {LOCAL_NAME} beside the Modelfile."


def write_modelfile(answer: EngineEstimate, source: str) -> str:
    """The Modelfile: context of one slot, layers on the cards, tokens a step works on.

    Format: https://docs.ollama.com/modelfile; num_gpu and num_batch: `Runner` in
    https://github.com/ollama/ollama/blob/main/api/types.go
    """
    lines = [f"FROM {source}", f"PARAMETER num_ctx {answer.setup.context_tokens}"]
    if answer.setup.machine.accelerators:
        lines.append(f"PARAMETER num_gpu {answer.estimate.n_gpu_layers}")
    lines.append(f"PARAMETER num_batch {build_ollama_workload(answer.setup).n_ubatch}")
    return "\n".join(lines) + "\n"


def list_settings(answer: EngineEstimate) -> dict[str, str]:
    """The server's environment. Source: https://docs.ollama.com/faq"""
    return {
        "OLLAMA_NUM_PARALLEL": str(answer.setup.n_parallel),
        "OLLAMA_CONTEXT_LENGTH": str(answer.setup.context_tokens),
        "OLLAMA_KV_CACHE_TYPE": build_ollama_workload(answer.setup).kv_type_k,
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KEEP_ALIVE": f"{KEEP_ALIVE_MINUTES}m",
    }


def _write_commands(answer: EngineEstimate, name: str, note: str) -> Launch:
    settings = {"OLLAMA_HOST": f"127.0.0.1:{PORT}", **list_settings(answer)}
    text = "\n".join(
        (
            *(format_shell(["export", f"{key}={value}"]) for key, value in settings.items()),
            "ollama serve &",
            "until ollama list > /dev/null 2>&1; do sleep 1; done",
            format_shell(["ollama", "create", name, "-f", "Modelfile"]),
            format_shell(["ollama", "run", name]),
        )
    )
    said = "Save the Modelfile beside it, and stop an Ollama that runs already, which would keep its own settings."
    return Launch("ollama run", "bash", text, "ollama.sh", f"{said} {note}".strip())
