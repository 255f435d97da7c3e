"""The tables of the Import page: what was found, imported, and is otherwise by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from catalog.facts import FactChange
from catalog.hub_answers import HubHit
from catalog.imported import FileWeights, ImportedModel
from catalog.local_models import LocalModel
from catalog.refresh_command import format_fact
from pages.ui import words
from sizing.units import GIB


def leave_out_usual(table: pd.DataFrame, usual: Mapping[str, str]) -> pd.DataFrame:
    """A table without those columns that say only what is usual, in every row."""
    silent = [column for column, value in usual.items() if (table[column] == value).all()]
    return table.drop(columns=silent)


def tabulate_hits(hits: Sequence[HubHit], known: frozenset[str]) -> pd.DataFrame:
    """Repositories as a table."""
    table = pd.DataFrame(
        {
            "Repository": [h.repo_id for h in hits],
            "Parameters, B": [h.n_params / 1e9 if h.n_params else float("nan") for h in hits],
            "Licence": [h.license_tag or words.UNKNOWN for h in hits],
            "Access": ["gated" if h.gated else "open" for h in hits],
            "Files": [describe_files(h) for h in hits],
            "Downloads in 30 days": [
                f"{h.n_downloads:,}" if h.n_downloads is not None else words.UNKNOWN for h in hits
            ],
            "Changed": [h.modified_on or words.UNKNOWN for h in hits],
            "Imported": ["yes" if h.repo_id in known else "" for h in hits],
        }
    )
    return leave_out_usual(table, {"Access": "open", "Imported": ""})


def describe_files(hit: HubHit) -> str:
    """Which kinds of weights a repository holds."""
    kinds = [name for name, there in (("GGUF", hit.has_gguf), ("safetensors", hit.has_safetensors)) if there]
    return ", ".join(kinds) or words.UNKNOWN


def tabulate_imports(models: Sequence[ImportedModel]) -> pd.DataFrame:
    """Imported models as a table."""
    table = pd.DataFrame(
        {
            "Model": [m.card.model_id for m in models],
            "Parameters, B": [m.card.spec.n_params / 1e9 for m in models],
            "Sized in": [describe_quants(m) for m in models],
            "Licence": [m.license_tag or words.UNKNOWN for m in models],
            "Shape from": [m.shape_from for m in models],
            "Parameter count": ["as stated" if m.check.is_equal else m.check.note for m in models],
            "Commit": [m.revision[:7] or "a file here" for m in models],
        }
    )
    return leave_out_usual(table, {"Parameter count": "as stated", "Commit": "a file here"})


def describe_quants(model: ImportedModel) -> str:
    """'12 files, 29 recipes': in how many quantizations it can be sized."""
    n_files = sum(f.weights is not None for f in model.files)
    parts = [f"{n_files} file{'s' if n_files != 1 else ''}"] if model.files else []
    parts += [f"{len(model.weighed)} recipes"] if model.weighed else []
    return ", ".join(parts) or "nothing"


def tabulate_changes(changes: Sequence[FactChange]) -> pd.DataFrame:
    """Facts that are otherwise now, as a table."""
    table = pd.DataFrame(
        {
            "Fact": [c.field for c in changes],
            "Imported": [format_fact(c.old) for c in changes],
            "The Hub now": [format_fact(c.new) for c in changes],
            "Note": [c.note for c in changes],
        }
    )
    return leave_out_usual(table, {"Note": ""})


def tabulate_files(files: Sequence[FileWeights]) -> pd.DataFrame:
    """Files as a table."""
    table = pd.DataFrame(
        {
            "Quantization": [f.label for f in files],
            "File, GiB": [f.size_bytes / GIB for f in files],
            "Tensors, GiB": [f.weights.tensor_bytes / GIB if f.weights else float("nan") for f in files],
            "Parts": [str(len(f.paths)) for f in files],
            "Name": [f.paths[0].rsplit("/", 1)[-1] for f in files],
            "Not sized": [f.gap or "" for f in files],
        }
    )
    return leave_out_usual(table, {"Parts": "1", "Not sized": ""})


def tabulate_local(models: Sequence[LocalModel]) -> pd.DataFrame:
    """Model files as a table."""
    table = pd.DataFrame(
        {
            "Model": [m.name for m in models],
            "Quantization": [m.label or words.UNKNOWN for m in models],
            "File, GiB": [m.size_bytes / GIB for m in models],
            "Parameters, B": [m.n_params / 1e9 if m.n_params else float("nan") for m in models],
            "Kept by": [m.store for m in models],
            "State": [m.problem or "complete" for m in models],
            "File": [str(m.paths[0]) if m.paths else "" for m in models],
        }
    )
    return leave_out_usual(table, {"State": "complete"})
