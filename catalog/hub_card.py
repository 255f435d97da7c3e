"""A model's card out of what a repository says of itself: its licence, what it reads and makes, who made it from what.

A repository is written by whoever made it: what it claims is kept as a claim, with the commit it was read at. Nothing
is filled in: a release month is that of the repository, tasks are those its tag names.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.imported import HubRepository, ParamCheck
from catalog.models import ModelCard
from sizing.specs import ModelSpec

NO_LICENSE = "none stated"
"""The licence of a repository that names none: without one, nothing is allowed that the law does not allow anyway."""

TASKS_BY_TAG = {
    "text-generation": ("chat",),
    "text2text-generation": ("chat",),
    "conversational": ("chat",),
    "image-text-to-text": ("chat", "vision"),
    "any-to-any": ("chat", "vision"),
    "audio-text-to-text": ("chat",),
    "feature-extraction": ("embedding",),
    "sentence-similarity": ("embedding",),
    "text-ranking": ("rerank",),
}
"""What a model is made for, by its pipeline tag (https://huggingface.co/tasks)."""

MODALITIES_BY_TAG = {
    "image-text-to-text": ("text", "image"),
    "any-to-any": ("text", "image", "audio"),
    "audio-text-to-text": ("text", "audio"),
}

QUANT_SUFFIXES = ("-gguf", "-GGUF", "_gguf", "_GGUF", ".gguf", ".GGUF")


def build_card(
    repository: HubRepository,
    spec: ModelSpec,
    check: ParamCheck,
    *,
    shape_from: str,
    as_of: str,
    modalities: Sequence[str] = (),
    quant_native: str | None = None,
    notes: Sequence[str] = (),
) -> ModelCard:
    """The card of an imported repository. `as_of` is YYYY-MM-DD; `modalities` what its config.json says, if it does.

    `license_id` is the tag as written; whether the catalog knows its terms is decided where cards are merged.
    """
    read = tuple(dict.fromkeys((*(modalities or ("text",)), *MODALITIES_BY_TAG.get(repository.pipeline_tag, ()))))
    tasks = TASKS_BY_TAG.get(repository.pipeline_tag, ("chat",))
    if "image" in read and "vision" not in tasks and tasks[0] == "chat":
        tasks = (*tasks, "vision")
    return ModelCard(
        spec=spec,
        family=repository.author or spec.architecture,
        org=repository.author or "unknown",
        release=(repository.created_on or as_of)[:7],
        license_id=repository.license_tag or NO_LICENSE,
        openness="restricted weight" if repository.gated else "open weight",
        modalities=read,
        tasks=tasks,
        gated=bool(repository.gated),
        confidence="read",
        unverified=tuple(list_unverified(repository, check)),
        notes=tuple(notes),
        sources=(repository.url,),
        as_of=as_of,
        n_params_reported=check.n_stated or check.n_counted,
        quant_native=quant_native,
        basis=f"read from {shape_from} of {repository.repo_id} at commit {repository.revision[:7]}",
    )


def list_unverified(repository: HubRepository, check: ParamCheck) -> list[str]:
    """What nobody checked about an imported model, in words."""
    out = ["imported: its card is the publisher's own word"]
    if not repository.license_tag:
        out.append("the repository states no licence")
    if check.n_stated is None:
        out.append("parameter count: the files state none to compare with")
    elif not check.is_equal:
        out.append(f"parameter count: {check.note}")
    return out


def name_model(repo_id: str) -> str:
    """The name people read: the repository's own, without a mark that it holds GGUF files.

    >>> name_model("bartowski/Qwen_Qwen3-14B-GGUF")
    'Qwen_Qwen3-14B'
    """
    tail = repo_id.rsplit("/", 1)[-1]
    for suffix in QUANT_SUFFIXES:
        if tail.endswith(suffix) and len(tail) > len(suffix):
            return tail.removesuffix(suffix)
    return tail
