"""Published speeds of engines other than llama.cpp: which rows teach something, and what each moved and computed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from catalog.data_files import Column, load_csv
from catalog.models import DATA_DIR
from catalog.queries import find_model, list_models
from catalog.speeds import MeasuredSpeed, load_speed_devices, load_speeds
from catalog.store import open_catalog
from sizing.engines.cache_bytes import CacheRule, has_compressed_cache, keep_window, list_layer_states
from sizing.engines.model_bytes import count_format_bytes
from sizing.engines.speed import SpeedWork, Stage, StepTerms, count_prompt_flops, list_step_terms
from sizing.errors import UnknownNameError, UnsupportedError
from sizing.hardware import Device
from sizing.modules import list_modules
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec
from sizing.throughput import find_flops, find_speed_class

ENGINES = {
    "vllm": "vLLM",
    "transformers": "Transformers",
    "AutoAWQ": "AutoAWQ",
    "mlx": "MLX",
    "mlx-lm": "MLX",
    "rapid-mlx": "MLX",
    "vllm-mlx": "MLX",
    "mlx-swift-lm": "MLX",
}
"""Names in the file, and the engine whose kernels ran."""

FORMAT_OF = {
    "NVFP4": "NVFP4",
    "AWQ": "AWQ",
    "AWQ INT4 GEMM": "AWQ",
    "AWQ INT4 GEMV": "AWQ",
    "GPTQ": "GPTQ",
    "gptq4": "GPTQ",
    "INT4": "AWQ",
    "int4": "AWQ",
    "Int4 GPTQ": "GPTQ",
    "Int8 GPTQ": "GPTQ-8bit",
    "Int8": "GPTQ-8bit",
    "INT8": "INT8",
    "INT8_W8A16": "INT8",
    "FP8": "FP8",
    "fp8": "FP8",
    "BF16": "BF16",
    "fp16": "BF16",
}
MLX_FORMAT_OF = {
    "4bit": "MLX-4bit",
    "int4": "MLX-4bit",
    "MXFP4": "MLX-4bit",
    "6bit": "MLX-6bit",
    "8bit": "MLX-8bit",
}
"""Formats by the published word; unlisted ones (mixes, GGUF in vLLM) are left out."""

KINDS = ("another engine than llama.cpp", "prompt and answer lengths not stated")
"""Reasons of the file that concern llama.cpp alone; unstated lengths only matter where the cache counts."""

SPECULATIVE = re.compile(r"MTP|DFlash|EAGLE|diffusion|Fast\b", re.IGNORECASE)
SUFFIX = re.compile(r"-(4bit|6bit|8bit|MLX-8bit|MXFP4)$")

_SHAPES = tuple(
    Column(name, kind, False)
    for name, kind in (
        ("model_text", "VARCHAR"),
        ("architecture", "VARCHAR"),
        ("n_layers", "INTEGER"),
        ("hidden_dim", "INTEGER"),
        ("ffn_dim", "INTEGER"),
        ("n_heads", "INTEGER"),
        ("n_kv_heads", "INTEGER"),
        ("vocab_size", "INTEGER"),
        ("tied_embeddings", "BOOLEAN"),
        ("source_url", "VARCHAR"),
    )
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure: seconds measured, and the terms of a step (decode) or the operations of a token (prefill)."""

    engine: str
    measured: MeasuredSpeed
    spec: ModelSpec
    device: Device
    device_class: str
    terms: StepTerms
    prompt_s: float
    time_s: float


def build_spec(
    name: str, architecture: str, shape: tuple[int, int, int, int, int, int], tied: bool, context: int = 8192
) -> ModelSpec:
    """A dense model of equal layers: (layers, hidden, feed-forward, heads, KV heads, vocabulary)."""
    n_layers, hidden, ffn, heads, kv_heads, vocab = shape
    group = LayerGroup(
        tuple(range(n_layers)), Attention(AttentionKind.FULL, heads, kv_heads, hidden // heads), None, FeedForward(ffn)
    )
    draft = ModelSpec(name, name, architecture, (group,), hidden, vocab, context, tied, 1, 1)
    n_params = sum(m.n_params for m in list_modules(draft))
    return ModelSpec(name, name, architecture, (group,), hidden, vocab, context, tied, n_params, n_params)


def load_shapes() -> dict[str, ModelSpec]:
    """Models outside the catalog that figures were measured with, by the name beside the figure."""
    specs = {}
    for row in load_csv(DATA_DIR / "engine_models.csv", _SHAPES):
        name, architecture, *shape, tied, _ = row.cells
        specs[str(name)] = build_spec(str(name), str(architecture), tuple(int(str(n)) for n in shape), bool(tied))  # type: ignore[arg-type]
    return specs


RULE = CacheRule(
    count_row_bytes=lambda k, v, a: 2.0 * (k + v),
    count_tokens=lambda tokens, a: keep_window(tokens, a),
    conv_columns=lambda r: r.conv_kernel,
)
"""Caches in 16 bits, windows kept small: near enough for what a step reads."""


class EngineReader:
    """Turns published figures into samples, counting why the others are left out."""

    def __init__(self) -> None:
        self.catalog = open_catalog()
        self.by_id = {c.model_id: c.spec for c in list_models(self.catalog)}
        self.shapes = load_shapes()
        self.devices = load_speed_devices()
        self.left_out: Counter[str] = Counter()

    def read(self) -> tuple[list[Sample], list[Sample]]:
        """Samples of decode and of prefill."""
        out: dict[str, list[Sample]] = {"decode": [], "prefill": []}
        for m in load_speeds():
            if m.engine not in ENGINES:
                continue
            found = self._sample(m)
            if isinstance(found, str):
                self.left_out[found] += 1
            else:
                out[m.metric].append(found)
        return out["decode"], out["prefill"]

    def _sample(self, m: MeasuredSpeed) -> Sample | str:
        engine = ENGINES[m.engine]
        table = MLX_FORMAT_OF if engine == "MLX" else FORMAT_OF
        weight_format = table.get(m.quant_text or "")
        spec = self.find_spec(m)
        if m.left_out not in KINDS:
            return m.left_out or "an engine named twice"
        if m.metric not in ("decode", "prefill"):
            return "prompt and answer counted together"
        if SPECULATIVE.search(m.model_text):
            return "a model made for speculative decoding"
        if weight_format is None:
            return "the format is not told, or not one of these engines"
        if spec is None:
            return "the model is not known"
        if m.device is None or self.devices[m.device].bandwidth_bytes_per_s is None:
            return "the bandwidth is not known"
        if m.left_out == KINDS[1] and m.metric == "prefill":
            return KINDS[1]
        if (m.quant_text or "").endswith("GEMV") and (m.metric == "prefill" or (m.n_parallel or 1) > 1):
            return "many tokens at once through a kernel for one"
        return self._measure(m, engine, spec, weight_format)

    def _measure(self, m: MeasuredSpeed, engine: str, spec: ModelSpec, weight_format: str) -> Sample | str:
        device = self.devices[str(m.device)]
        n_ranks = m.n_devices if engine == "vLLM" else 1
        n_parallel, depth = m.n_parallel or 1, m.depth_tokens or 0
        stages = [Stage(device, 1 / (m.n_devices // n_ranks), n_ranks)] * (m.n_devices // n_ranks)
        if has_compressed_cache(spec):
            return "the cache is not described"
        if m.context_tokens and depth > m.context_tokens:
            return "deeper than the context it was run with: the prompt's time is in it, or mislabelled"
        states = list_layer_states(spec, RULE, depth, n_parallel)
        quantized = 0.5 if (m.kv_type or "").startswith("fp8") else 1.0
        cache = sum(s.cache_bytes for s in states) * quantized / n_ranks
        state = sum(s.state_bytes for s in states) / n_ranks
        try:
            work = SpeedWork(spec, weight_format, n_parallel, cache, state)
            weights = count_format_bytes(spec, weight_format, n_ranks).total_bytes
            terms = list_step_terms(work, stages, 1.0)
        except UnsupportedError:
            return "the model is not described"
        flops = find_flops(device)
        if terms is None or (m.metric == "prefill" and flops is None):
            return "the device's rate is not known"
        if weights / len(stages) > device.memory_bytes:
            return "weights do not fit the device: part was elsewhere, or mislabelled"
        tokens = m.prompt_tokens or 512
        prompt_s = count_prompt_flops(spec, tokens + 2 * depth) / (flops or 1.0) / n_ranks
        time_s = n_parallel / m.tokens_per_s if m.metric == "decode" else 1.0 / m.tokens_per_s
        least = terms.weight_s + terms.cache_s if m.metric == "decode" else 0.7 * prompt_s
        if time_s < 0.98 * least:
            return f"{m.metric}: faster than the device allows (a cached prefix, speculative, or mislabelled)"
        if m.metric == "prefill" and tokens < 256:
            return "prefill: a prompt too short to fill the arithmetic units"
        return Sample(engine, m, spec, device, find_speed_class(device), terms, prompt_s, time_s)

    def find_spec(self, m: MeasuredSpeed) -> ModelSpec | None:
        """The model of a figure, from the catalog or from engine_models.csv."""
        if m.model_id in self.by_id:
            return self.by_id[str(m.model_id)]
        if m.model_text in self.shapes:
            return self.shapes[m.model_text]
        try:
            return find_model(self.catalog, SUFFIX.sub("", m.model_text)).spec
        except UnknownNameError:
            return None
