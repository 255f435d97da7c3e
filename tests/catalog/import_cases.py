"""Imported models for tests, made from models of the catalog under other names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from catalog.imported import FileWeights, ImportedModel, ParamCheck
from catalog.models import ModelCard
from catalog.queries import find_model, list_weights
from catalog.store import Catalog
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec

REVISION = "0123456789abcdef0123456789abcdef01234567"


def make_import(
    catalog: Catalog, model_id: str, like: str = "Qwen/Qwen3-8B", *, spec: ModelSpec | None = None, **changes: Any
) -> ImportedModel:
    """A fine-tune of `like` as the Hub's door would hand it over: weighed in two recipes, in one file of a mix."""
    parent = find_model(catalog, like)
    weights = {w.quant: w for w in list_weights(catalog, like)}
    card = make_card(parent, model_id, spec or parent.spec)
    made = ImportedModel(
        card=card,
        origin="hub",
        repo_id=model_id,
        revision=REVISION,
        shape_from="config.json",
        check=ParamCheck(card.spec.n_params, card.spec.n_params, "the files state just what was counted"),
        imported_at="2026-11-25T10:00:00+00:00",
        weighed=(weights["Q8_0"], weights["Q4_K_M"]),
        files=(make_file("UD-Q4_K_XL", weights["Q4_K_M"]),),
        license_tag="apache-2.0",
        base_models=(like,),
        n_downloads=1000,
        n_likes=7,
        pipeline_tag="text-generation",
    )
    return replace(made, **changes)


def make_card(parent: ModelCard, model_id: str, spec: ModelSpec) -> ModelCard:
    source = f"https://huggingface.co/{model_id}/tree/{REVISION}"
    return replace(
        parent,
        spec=replace(spec, model_id=model_id, name=model_id.rsplit("/", 1)[-1]),
        family="someone",
        org=model_id.split("/", 1)[0],
        license_id="hub",
        sources=(source,),
        as_of="2026-11-25",
    )


def make_file(label: str, like: WeightBytes, n_parts: int = 1) -> FileWeights:
    """A file that is 3200 bytes heavier in its first layer than a recipe."""
    layers = (like.layer_bytes[0] + 3200, *like.layer_bytes[1:])
    weights = replace(like, quant=label, layer_bytes=layers)
    return FileWeights(
        label=label,
        paths=tuple(f"model-{label}-{i + 1:05d}-of-{n_parts:05d}.gguf" for i in range(n_parts)),
        size_bytes=weights.tensor_bytes + 4096,
        sha256=("ab" * 32,) * n_parts,
        weights=weights,
        types=(("blk.0.attn_q.weight", "q4_K"), ("token_embd.weight", "q6_K")),
    )
