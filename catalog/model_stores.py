"""Where other programs keep the models they downloaded, by each one's own rules and environment variables.

Sources: huggingface_hub's constants.py; llama.cpp's common/hf-cache.cpp (today) and common/common.cpp,
`fs_get_cache_directory` (before, and for single files); Ollama's docs/faq.md; lmstudio.ai/docs/basics/import-model, and
for a folder of one's own the `downloadsFolder` of LM Studio's settings.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HUB, OLLAMA, LM_STUDIO, LLAMA_CPP, FOLDER = "Hugging Face cache", "Ollama", "LM Studio", "llama.cpp cache", "folder"

SYSTEM_OLLAMA = (
    "usr/share/ollama/.ollama/models",
    "var/lib/ollama/.ollama/models",
    "var/lib/ollama/models",
    "var/lib/ollama",
)
"""Where Ollama keeps models when it runs as a service: its own installer's user, and how distributions package it."""

SETTINGS_BYTES = 1 << 20
"""A settings file larger than this is not read."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder in which a program keeps models, whether or not it is there. `program` is its name for people."""

    program: str
    folder: Path


def list_stores(
    environment: Mapping[str, str], home: Path, system: Path = Path("/"), platform: str = sys.platform
) -> tuple[Store, ...]:
    """Every place where the known programs would keep models, each folder once, most used first.

    `environment` and `home` are the person's, `system` the root of the file system. Only LM Studio's own settings are
    read from disk; whether a folder exists is not looked at.
    """
    found = [
        *(Store(HUB, folder) for folder in _list_hub_folders(environment, home)),
        *(Store(OLLAMA, folder) for folder in _list_ollama_folders(environment, home, system)),
        *(Store(LM_STUDIO, folder) for folder in _list_lm_studio_folders(home)),
        *(Store(LLAMA_CPP, folder) for folder in _list_llama_cpp_folders(environment, home, platform)),
    ]
    return tuple({store.folder: store for store in reversed(found)}.values())[::-1]


def _list_hub_folders(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    """HF_HUB_CACHE, its older name, HF_HOME, XDG_CACHE_HOME, the default: the first that is set counts."""
    for variable, below in (
        ("HF_HUB_CACHE", ()),
        ("HUGGINGFACE_HUB_CACHE", ()),
        ("HF_HOME", ("hub",)),
        ("XDG_CACHE_HOME", ("huggingface", "hub")),
    ):
        folder = _find_folder(environment, variable, home)
        if folder is not None:
            yield folder.joinpath(*below)
            return
    yield home / ".cache" / "huggingface" / "hub"


def _list_ollama_folders(environment: Mapping[str, str], home: Path, system: Path) -> Iterator[Path]:
    named = _find_folder(environment, "OLLAMA_MODELS", home)
    yield named if named is not None else home / ".ollama" / "models"
    yield from (system / folder for folder in SYSTEM_OLLAMA)


def _list_lm_studio_folders(home: Path) -> Iterator[Path]:
    """LM Studio's home may be elsewhere (`.lmstudio-home-pointer`), and its settings may name another folder."""
    pointed = _read_small(home / ".lmstudio-home-pointer").strip()
    own = _to_folder(pointed, home) or home / ".lmstudio"
    try:
        settings = json.loads(_read_small(own / "settings.json") or "{}")
    except (ValueError, RecursionError):
        settings = {}
    chosen = settings.get("downloadsFolder") if isinstance(settings, dict) else None
    folder = _to_folder(chosen, home) if isinstance(chosen, str) else None
    if folder is not None:
        yield folder
    yield own / "models"
    yield home / ".cache" / "lm-studio" / "models"


def _list_llama_cpp_folders(environment: Mapping[str, str], home: Path, platform: str) -> Iterator[Path]:
    """Its older cache of single files. Today it shares the Hub's, unless LLAMA_CACHE names one in the same layout."""
    named = _find_folder(environment, "LLAMA_CACHE", home)
    if named is not None:
        yield named
    elif platform == "darwin":
        yield home / "Library" / "Caches" / "llama.cpp"
    elif platform == "win32":
        yield (_find_folder(environment, "LOCALAPPDATA", home) or home / "AppData" / "Local") / "llama.cpp"
    else:
        yield (_find_folder(environment, "XDG_CACHE_HOME", home) or home / ".cache") / "llama.cpp"


def _find_folder(environment: Mapping[str, str], variable: str, home: Path) -> Path | None:
    return _to_folder(environment.get(variable, ""), home)


def _to_folder(text: str, home: Path) -> Path | None:
    """A folder as a person wrote it, `~` being their home; None for nothing, a relative path or what is no path."""
    text = text.strip()
    if not text or "\0" in text or len(text) > 4096:
        return None
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return Path(text) if Path(text).is_absolute() else None


def _read_small(path: Path) -> str:
    """A small settings file's text; "" where there is none, it is too large or no text."""
    try:
        if not path.is_file() or path.stat().st_size > SETTINGS_BYTES:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
