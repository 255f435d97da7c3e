"""A routing policy as YAML: written with its figures as comments, read back strictly.

The file is data for a router to read. Anchors, aliases and tags are refused: reading it costs what it looks like.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sizing.errors import BadInputError
from sizing.routing import TARGETS, RequestClass, RoutingPolicy, Target

VERSION = 1
MAX_TEXT_BYTES = 64 * 1024
MAX_DEPTH = 4
TOP_KEYS = {"version": int, "targets": list, "classes": list}
TARGET_KEYS = {"target": str, "model": str}
CLASS_KEYS = {"name": str, "share": float, "target": str, "sensitive": bool, "description": str}
OPTIONAL = frozenset({"sensitive", "description"})


def format_policy(
    policy: RoutingPolicy, header: Sequence[str] = (), notes: Mapping[Target, Sequence[str]] | None = None
) -> str:
    """The policy as YAML text; `header` and the `notes` of a target become comments above them."""
    lines = [*_comments(header), f"version: {VERSION}", "targets:"]
    for target, model in policy.models:
        lines += _comments((notes or {}).get(target, ()), "  ")
        lines += [f"  - target: {target}", f"    model: {_quote(model)}"]
    lines.append("classes:  # tried in this order")
    for request in policy.classes:
        lines += [f"  - name: {request.name}", f"    share: {request.share!r}", f"    target: {request.target}"]
        if request.is_sensitive:
            lines.append("    sensitive: true  # never to an API")
        if request.description:
            lines.append(f"    description: {_quote(request.description)}")
    return "\n".join(lines) + "\n"


def _comments(texts: Sequence[str], indent: str = "") -> list[str]:
    return [f"{indent}# {' '.join(text.split())}" for text in texts]


def _quote(text: str) -> str:
    """A YAML double-quoted scalar: JSON's own form is one."""
    return json.dumps(text, ensure_ascii=False)


def read_policy(text: str) -> RoutingPolicy:
    """The policy of a YAML text. Raises BadInputError saying where it is none."""
    record = _check(_parse(text), TOP_KEYS, "the policy")
    if record["version"] != VERSION:
        raise BadInputError(f"the policy wants version {VERSION}, got {record['version']!r}")
    models: list[tuple[Target, str]] = []
    for number, item in enumerate(record["targets"], 1):
        entry = _check(item, TARGET_KEYS, f"target {number}")
        models.append((_target(entry["target"], f"target {number}"), _read_model(entry["model"], f"target {number}")))
    classes = []
    for number, item in enumerate(record["classes"], 1):
        entry = _check(item, CLASS_KEYS, f"class {number}")
        classes.append(
            RequestClass(
                entry["name"],
                float(entry["share"]),
                _target(entry["target"], f"class {number}"),
                entry.get("sensitive", False),
                entry.get("description", ""),
            )
        )
    return RoutingPolicy(tuple(classes), tuple(models))


def _parse(text: str) -> object:
    """Plain values of a YAML text."""
    import yaml

    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise BadInputError(
            f"a policy wants at most {MAX_TEXT_BYTES // 1024} KiB of YAML, got {len(text):,} characters"
        )
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # before the rest is read: the time it takes grows with the square of the depth
                raise BadInputError(f"a policy wants lists and keys at most {MAX_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                line = event.start_mark.line + 1
                raise BadInputError(f"line {line}: a policy has no anchors, aliases or tags; write the value out")
        value: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:200]
        raise BadInputError(f"a policy wants YAML, got something else: {said}") from error
    except (ValueError, RecursionError) as error:  # a date such as 2026-99-99, or lists in lists without end
        raise BadInputError(f"a policy wants plain YAML values: {ascii(str(error))[:120]}") from error
    return value


def _check(value: object, keys: Mapping[str, type], where: str) -> dict[str, Any]:
    """A mapping that has just these keys, each of its type."""
    if not isinstance(value, dict):
        raise BadInputError(f"{where} wants the keys {', '.join(keys)}, got {ascii(value)[:60]}")
    unknown = [k for k in value if k not in keys]
    missing = [k for k in keys if k not in value and k not in OPTIONAL]
    if unknown or missing:
        raise BadInputError(
            f"{where} wants the keys {', '.join(keys)}; missing {', '.join(missing) or 'none'}, "
            f"unknown {', '.join(ascii(k)[:40] for k in unknown) or 'none'}"
        )
    for key, kind in keys.items():
        if key not in value:
            continue
        given = value[key]
        wanted: tuple[type, ...] = (int, float) if kind is float else (kind,)
        if not isinstance(given, wanted) or (isinstance(given, bool) and kind is not bool):
            raise BadInputError(f"{where}: {key} wants {_WORDS[kind]}, got {ascii(given)[:60]}")
    return value


def _read_model(text: str, where: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise BadInputError(f"{where}: model wants a name of at most 200 printable characters")
    return text


_WORDS: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    bool: "true or false",
}


def _target(text: str, where: str) -> Target:
    for target in TARGETS:
        if text == target:
            return target
    raise BadInputError(f"{where} wants to be one of {', '.join(TARGETS)}, got {ascii(text)[:60]}")
