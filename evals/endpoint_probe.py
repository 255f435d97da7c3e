"""Which server answers, in which version, with how much context: asked by the paths only one of them has.

llama-server has /props, Ollama /api/version and /api/ps, vLLM and SGLang /version and /get_server_info, TGI /info, LM
Studio /api/v0/models. A hint in the listing of models (`owned_by`) or the Server header saves the other questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evals.endpoint import SHORT_TIMEOUT_S, EndpointClient, EndpointFacts, pick_model
from evals.endpoint_http import Answer
from sizing.errors import EndpointError

OWNERS = {
    "llamacpp": "llama-server",
    "library": "ollama",
    "vllm": "vllm",
    "sglang": "sglang",
    "organization_owner": "lm-studio",
    "organization-owner": "lm-studio",
    "me": "llama_cpp.server",
    "llama-swap": "llama-swap",
}
"""What servers write into `owned_by` of their models."""

Found = tuple[int | None, str]
"""Context tokens where told, and version text."""


def find_facts(client: EndpointClient) -> EndpointFacts:
    """Everything `EndpointFacts` holds. EndpointError where the listing of models fails or lacks the plan's model."""
    timeout_s = min(client.plan.timeout_s, SHORT_TIMEOUT_S)
    listing = client.door.ask("GET", "/models", timeout_s=timeout_s)
    models = client.list_models()
    plan_model = client.plan.model
    model = pick_model(plan_model, models) if plan_model or len(models) == 1 else ""
    entries = list_entries(listing.body)
    entry = next((e for e in entries if e.get("id") == model), entries[0] if entries else {})
    kind, (context_tokens, version) = find_kind(client, guess_kind(listing, entry), model)
    if context_tokens is None:
        context_tokens = find_whole(entry, "max_model_len") or find_whole(entry, "context_length")
    return EndpointFacts(client.door.api_url, kind, models, model, context_tokens, client.door.redact(version)[:200])


def list_entries(body: Any) -> list[dict[str, Any]]:
    """The models of a listing that are JSON objects."""
    listed = body.get("data") if isinstance(body, dict) else body
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def guess_kind(listing: Answer, entry: Mapping[str, Any]) -> str:
    """The server's kind by its Server header and the owner it gives its models; "" without a hint."""
    if "llama.cpp" in listing.headers.get("server", "").lower():
        return "llama-server"
    return OWNERS.get(str(entry.get("owned_by", "")).lower(), "")


def find_kind(client: EndpointClient, hint: str, model: str) -> tuple[str, Found]:
    """The kind, and what it tells of itself. The hinted kind is asked first, and believed when none answers."""
    askers = dict(sorted(ASKERS.items(), key=lambda pair: pair[0] != hint))
    if hint and hint not in ASKERS:
        return hint, (None, "")
    for kind, asker in askers.items():
        found = asker(client, model)
        if found is not None:
            return kind, found
    return hint or "unknown", (None, "")


def _ask_root(client: EndpointClient, path: str) -> dict[str, Any]:
    """The JSON object at a path beside /v1, empty where there is none."""
    root = client.door.api_url.removesuffix("/v1")
    try:
        body = client.door.ask("GET", root + path, timeout_s=min(client.plan.timeout_s, SHORT_TIMEOUT_S)).body
    except EndpointError:
        return {}
    return body if isinstance(body, dict) else {}


def find_whole(entry: Mapping[str, Any], name: str) -> int | None:
    """A positive whole number of a JSON object, else None."""
    value = entry.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _ask_llama_server(client: EndpointClient, model: str) -> Found | None:
    props = _ask_root(client, "/props")
    settings = props.get("default_generation_settings")
    if not isinstance(settings, dict):
        return None
    return find_whole(settings, "n_ctx"), str(props.get("build_info") or "")


def _ask_ollama(client: EndpointClient, model: str) -> Found | None:
    version = _ask_root(client, "/api/version").get("version")
    if not version:
        return None
    running = _ask_root(client, "/api/ps").get("models")  # what is loaded now; another context may come with a reload
    for entry in running if isinstance(running, list) else []:
        if isinstance(entry, dict) and entry.get("name") == model:
            return find_whole(entry, "context_length"), str(version)
    return None, str(version)


def _ask_vllm(client: EndpointClient, model: str) -> Found | None:
    version = _ask_root(client, "/version").get("version")
    return (None, str(version)) if version else None


def _ask_sglang(client: EndpointClient, model: str) -> Found | None:
    info = _ask_root(client, "/get_server_info")
    if not info:
        return None
    return find_whole(info, "context_length") or find_whole(info, "max_total_num_tokens"), str(
        info.get("version") or ""
    )


def _ask_tgi(client: EndpointClient, model: str) -> Found | None:
    info = _ask_root(client, "/info")
    if "model_id" not in info:
        return None
    return find_whole(info, "max_total_tokens"), str(info.get("version") or "")


def _ask_lm_studio(client: EndpointClient, model: str) -> Found | None:
    listed = list_entries(_ask_root(client, "/api/v0/models"))
    for entry in listed:
        if entry.get("id") == model:
            return find_whole(entry, "loaded_context_length") or find_whole(entry, "max_context_length"), ""
    return (None, "") if listed else None


ASKERS: dict[str, Callable[[EndpointClient, str], Found | None]] = {
    "llama-server": _ask_llama_server,
    "ollama": _ask_ollama,
    "tgi": _ask_tgi,
    "lm-studio": _ask_lm_studio,
    "sglang": _ask_sglang,
    "vllm": _ask_vllm,
}
