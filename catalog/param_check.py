"""Parameters counted from the shapes against what the files state, with the reason for a difference in words."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.imported import ParamCheck
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors

PACKED = ("4-bit", "MXFP4", "NVFP4", "INT4", "FP4", "AWQ", "GPTQ", "BNB")
"""Formats whose files keep two values or more in one element of the tensors they list."""


def check_params(
    spec: ModelSpec,
    n_stated: int | None,
    *,
    quant_native: str | None = None,
    modalities: tuple[str, ...] = ("text",),
    n_prediction_layers: int = 0,
    has_head: bool = True,
) -> ParamCheck:
    """How the count of `spec` compares with the safetensors total `n_stated`, and what explains a difference.

    A difference that is just the size of something known (an embedding stored twice, a head left out, rotation tables,
    padding of the vocabulary) is named as that; otherwise the things whose size the config does not tell are named as
    what may lie behind it.
    """
    n_counted = spec.n_params
    if n_stated is None:
        return ParamCheck(n_counted, None, "the files state no number of parameters to compare with")
    difference = n_stated - n_counted
    if not difference:
        return ParamCheck(n_counted, n_stated, "the shapes give just what the files hold")
    exact = next((words for size, words in _list_exact(spec, has_head) if size == difference), None)
    share = f"{abs(difference) / n_counted:.2%}".replace("0.00%", "less than 0.01%")
    said = f"the files state {abs(difference):,} {'more' if difference > 0 else 'fewer'} ({share})"
    if exact is not None:
        return ParamCheck(n_counted, n_stated, f"{said}: {exact}")
    likely = list(_list_likely(difference, quant_native, modalities, n_prediction_layers))
    if likely:
        return ParamCheck(n_counted, n_stated, f"{said}, which may be {' and '.join(likely)}")
    return ParamCheck(n_counted, n_stated, f"the counts differ by {difference:+,} ({share}), unexplained")


def _list_exact(spec: ModelSpec, has_head: bool) -> Iterator[tuple[int, str]]:
    """Differences (stated less counted) whose size is known, with their words."""
    embedding = spec.vocab_size * spec.hidden_dim
    if spec.tied_embeddings:
        yield embedding, "the tied embedding is stored twice"
    elif not has_head:
        yield -embedding, "the files hold no output head"
    else:
        yield -embedding, "the output head is not in the files; they may share it with the embedding"
    attending = [g.attention for g in spec.by_layer if g.attention is not None]
    if attending:
        first = attending[0]
        pairs = (first.latent.rope_head_dim if first.latent else first.head_dim) // 2
        yield len(attending) * pairs, "rotation frequencies are stored with every layer"
        yield pairs, "rotation frequencies are stored once"
        rotated = spec.extra("rope.dimension_count", 2 * pairs)
        if isinstance(rotated, int):
            masks = len(attending) * (spec.context_tokens**2 + rotated // 2)
            yield masks, "causal masks and rotation frequencies are stored with every layer"
    biases = sum(t.n_elements for t in list_tensors(spec) if t.name.endswith("exp_probs_b.bias"))
    if biases:
        yield -biases, "the routers' bias per expert is not counted among the parameters"
    tables = sum(t.n_elements for t in list_tensors(spec) if t.name.startswith("rope_"))
    if tables and not (spec.extra("rope_freqs") or spec.extra("rope_factors")):
        yield -tables, "the rotation table of the GGUF file is computed, not published"
    yield from _list_padded(spec)


def _list_padded(spec: ModelSpec) -> Iterator[tuple[int, str]]:
    """What rounding the vocabulary up to a multiple of 8 to 1024 entries adds."""
    copies = 1 if spec.tied_embeddings else 2
    for multiple in (8, 16, 32, 64, 128, 256, 512, 1024):
        padded = -(-spec.vocab_size // multiple) * multiple
        if padded != spec.vocab_size:
            size = (padded - spec.vocab_size) * spec.hidden_dim * copies
            yield size, f"the vocabulary is padded to {padded:,} entries"


def _list_likely(
    difference: int, quant_native: str | None, modalities: tuple[str, ...], n_prediction_layers: int
) -> Iterator[str]:
    """Things whose size the config does not tell."""
    packed = quant_native is not None and any(word in quant_native.upper() for word in PACKED)
    if packed and quant_native is not None:
        yield (
            f"packed values counted as fewer elements ({quant_native})" if difference < 0 else f"{quant_native} scales"
        )
    elif quant_native is not None:
        yield f"the scales of {quant_native}"
    if difference > 0:
        towers = [word for word in ("image", "audio") if word in modalities]
        if towers:
            yield f"the {' and '.join(towers)} tower beside the text model"
        if n_prediction_layers:
            plural = "s" if n_prediction_layers > 1 else ""
            yield f"{n_prediction_layers} prediction layer{plural} that llama.cpp leaves out"
