"""vLLM, SGLang and Text Generation Inference: commands, containers and manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sizing.engines.base import EngineEstimate
from sizing.engines.serving import Split
from sizing.engines.sglang import find_chunk, find_fraction
from sizing.engines.tgi import FRACTION, PREFILL_TOKENS
from sizing.engines.vllm import UTILIZATION, find_batch
from sizing.hardware import Device
from sizing.launch.base import Launch, ModelFiles, format_shell
from sizing.launch.client import write_openai_client
from sizing.launch.containers import Container, list_container_launches
from sizing.launch.images import SGLANG_IMAGE, TGI_IMAGE, VLLM_IMAGE
from sizing.launch.source import Weights, find_weights
from sizing.units import format_tokens

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
"""Inside a container, of which only a loopback port leads out."""


@dataclass(frozen=True, slots=True)
class Server:
    """How one serving engine is started.

    `on_load` are its flags for quantizing the original, by format. `list_words` gives the whole command line for an
    answer, its weights, the name the API goes by, and the address to listen on.
    """

    name: str
    image: str
    port: int
    on_load: dict[str, tuple[str, ...]]
    list_words: Callable[[EngineEstimate, Weights, str, str], list[str]]
    title: str
    cache_dir: str = "/cache"
    cache_name: str = "HF_HOME"
    cache_volume: str = "$HOME/.cache/huggingface"


def list_vllm_words(answer: EngineEstimate, weights: Weights, served_name: str, host: str) -> list[str]:
    """`vllm serve` with every figure of the estimate.

    Arguments: https://docs.vllm.ai/en/latest/configuration/engine_args.html
    """
    setup, options = answer.setup, answer.setup.options
    tokens, sequences = find_batch(setup, _find_card(answer))
    words = ["vllm", "serve", weights.name, "--served-model-name", served_name, "--host", host, "--port", "8000"]
    words += ["--max-model-len", str(setup.context_tokens)]
    words += ["--max-num-seqs", str(sequences), "--max-num-batched-tokens", str(tokens)]
    words += ["--tensor-parallel-size", str(answer.tensor_parallel)]
    words += ["--pipeline-parallel-size", str(answer.pipeline_parallel)]
    words += ["--gpu-memory-utilization", f"{options.gpu_memory_utilization or UTILIZATION:g}"]
    words += ["--kv-cache-dtype", setup.kv_type, *weights.flags]
    return [*words, "--enforce-eager"] if options.eager else words


def list_sglang_words(answer: EngineEstimate, weights: Weights, served_name: str, host: str) -> list[str]:
    """`sglang.launch_server` with every figure of the estimate.

    Arguments: https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    setup, options, card = answer.setup, answer.setup.options, _find_card(answer)
    split = Split(answer.tensor_parallel, answer.pipeline_parallel)
    words = ["python3", "-m", "sglang.launch_server", "--model-path", weights.name]
    words += ["--served-model-name", served_name, "--host", host, "--port", "30000"]
    words += ["--context-length", str(setup.context_tokens)]
    words += ["--max-running-requests", str(options.max_sequences or setup.n_parallel)]
    words += ["--tp-size", str(answer.tensor_parallel), "--pp-size", str(answer.pipeline_parallel)]
    words += ["--mem-fraction-static", f"{find_fraction(setup, split, card):.3g}"]
    words += ["--chunked-prefill-size", str(find_chunk(setup, card, split.tensor_parallel)[0])]
    words += ["--kv-cache-dtype", setup.kv_type, *weights.flags]
    return [*words, "--disable-cuda-graph"] if options.eager else words


def list_tgi_words(answer: EngineEstimate, weights: Weights, served_name: str, host: str) -> list[str]:
    """`text-generation-launcher` with every figure of the estimate; its API goes by any model's name.

    Arguments: https://huggingface.co/docs/text-generation-inference/reference/launcher
    """
    setup, options = answer.setup, answer.setup.options
    words = ["text-generation-launcher", "--model-id", weights.name, "--hostname", host, "--port", "8080"]
    words += ["--num-shard", str(answer.tensor_parallel)]
    tokens = options.max_batched_tokens or max(PREFILL_TOKENS, setup.context_tokens)
    words += ["--max-total-tokens", str(setup.context_tokens)]
    words += ["--max-input-tokens", str(max(min(setup.context_tokens - 1, tokens), 1))]  # a prompt is one prefill
    words += ["--max-batch-prefill-tokens", str(tokens)]
    words += ["--max-concurrent-requests", str(options.max_sequences or setup.n_parallel)]
    words += ["--cuda-memory-fraction", f"{options.gpu_memory_utilization or FRACTION:g}"]
    if setup.kv_type != "auto":
        words += ["--kv-cache-dtype", setup.kv_type]
    words += weights.flags
    return [*words, "--cuda-graphs", "0"] if options.eager else words


def _find_card(answer: EngineEstimate) -> Device:
    """The first of the cards that hold the model, by which the engines choose their defaults."""
    used = {d.name for d in answer.estimate.memory.devices[1:] if d.parts.total_bytes}
    cards = answer.setup.machine.accelerators
    return next((card for card in cards if card.name in used), cards[0])


SERVERS = {
    "vLLM": Server(
        "vllm",
        VLLM_IMAGE,
        8000,
        {
            "FP8": ("--quantization", "fp8"),
            "NF4": ("--quantization", "bitsandbytes"),
            "NF4-single": ("--quantization", "bitsandbytes"),
        },
        list_vllm_words,
        "vllm serve",
    ),
    "SGLang": Server(
        "sglang",
        SGLANG_IMAGE,
        30000,
        {
            "FP8": ("--quantization", "fp8"),
            "NF4": ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes"),
            "NF4-single": ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes"),
        },
        list_sglang_words,
        "sglang.launch_server",
    ),
    "TGI": Server(
        "tgi",
        TGI_IMAGE,
        8080,
        {
            "FP8": ("--quantize", "fp8"),
            "NF4": ("--quantize", "bitsandbytes-nf4"),
            "NF4-single": ("--quantize", "bitsandbytes-nf4"),
            "LLM.int8": ("--quantize", "bitsandbytes"),
        },
        list_tgi_words,
        "text-generation-launcher",
        cache_dir="/data",
        cache_name="HUGGINGFACE_HUB_CACHE",
        cache_volume="$HOME/.cache/huggingface/hub",
    ),
}
"""The serving engines by their names in the registry."""


def list_serving_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """The shell command, its client, and, on NVIDIA cards, the containers."""
    server = SERVERS[answer.engine]
    weights = find_weights(answer, files, server.on_load)
    words = server.list_words(answer, weights, files.model_id, LOOPBACK)
    said = (
        f"Serves up to {format_tokens(answer.setup.context_tokens)} tokens to {answer.setup.n_parallel} at once on "
        f"{LOOPBACK}:{server.port}, an OpenAI-like API."
    )
    text = format_shell(words, weights.variables)
    yield Launch(server.title, "bash", text, f"{server.name}.sh", f"{said} {weights.note}".strip())
    yield write_openai_client(files.model_id, server.port)
    cards = answer.setup.machine.accelerators
    if not cards or any(card.backend != "cuda" for card in cards):
        return
    yield from list_container_launches(
        Container(
            name=server.name,
            image=server.image,
            command=tuple(server.list_words(answer, weights, files.model_id, EVERYWHERE)),
            port=server.port,
            n_gpus=answer.tensor_parallel * answer.pipeline_parallel,
            stored_bytes=weights.stored_bytes,
            cache_dir=server.cache_dir,
            cache_names=(server.cache_name,),
            cache_volume=server.cache_volume,
            variables=weights.variables,
            note=weights.note,
        )
    )
