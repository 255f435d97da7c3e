"""The file behind an answer: whether it is here already, whether there is room for it, and the button to fetch it."""

from __future__ import annotations

import contextlib
from html import escape

import streamlit as st

from catalog import queries
from catalog.downloads import DownloadPlan, check_room, find_cached
from catalog.imported import FileWeights, HubFile, ImportedModel
from pages.ui import cached, frame, import_jobs, inputs
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError
from sizing.units import format_bytes


def build_plan(model: ImportedModel, file: FileWeights) -> DownloadPlan:
    """A model's file, all parts of it, at the commit that was imported."""
    sizes = file.part_bytes or (file.size_bytes,)
    parts = tuple(HubFile(p, s, h) for p, s, h in zip(file.paths, sizes, file.sha256, strict=True))
    return DownloadPlan(model.repo_id, model.revision, parts, ref="main")


def name_file(model_id: str, quant: str) -> str | None:
    """The file to start llama.cpp with: its path where it is here, its name where it is known, else None."""
    model = _find_import(model_id)
    file = None if model is None else find_file(model, quant)
    if model is None or file is None:
        return None
    if model.origin == "file":
        return file.paths[0]
    with contextlib.suppress(WeighbridgeError):
        plan = build_plan(model, file)
        here = find_cached(plan, plan.files[0])
        if here is not None:
            return str(here)
    return file.paths[0].rsplit("/", 1)[-1]


def find_file(model: ImportedModel, quant: str) -> FileWeights | None:
    """The file of a model that goes by a quantization's name."""
    return next((f for f in model.files if f.label == quant), None)


def _find_import(model_id: str) -> ImportedModel | None:
    """What was imported under an id; None also where the imports cannot be read, which their own page says."""
    with contextlib.suppress(WeighbridgeError):
        return cached.find_import(model_id)
    return None


def show_button(model: ImportedModel, file: FileWeights, key: str = "get_file") -> None:
    """Fetch a file, or say that it is here; what stands in the way is said before anything is asked of the network."""
    if model.origin != "hub":
        st.html(f'<p class="wb-quiet">On this machine: {escape(file.paths[0])}</p>')
        return
    plan = build_plan(model, file)
    here = [find_cached(plan, f) for f in plan.files]
    if all(path is not None for path in here):
        show_here(str(here[0]))
        return
    try:
        room = check_room(plan)
    except WeighbridgeError as error:
        st.warning(escape_markdown(frame.to_sentence(str(error))), icon=":material/hard_drive:")
        return
    need, free = format_bytes(room.needed_bytes), format_bytes(room.free_bytes)
    if not room.is_enough:
        st.warning(
            roomy(
                f"Not enough room: {need} are to come, {free} are free; make room, or name another folder in HF_HOME."
            ),
            icon=":material/hard_drive:",
        )
        return
    st.button(
        roomy(f"Download {file.label}, {need}"),
        icon=":material/download:",
        key=key,
        type="tertiary",
        help=roomy(f"Into the cache that Hugging Face's own programs share; {free} free there."),
        on_click=start,
        args=(f"{model.card.name} at {file.label}", plan),
    )


def show_here(path: str) -> None:
    """A file that is on this machine: where, and the way to test it."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.html(f'<p class="wb-quiet">On this machine: {escape(path)}</p>', width="content")
        frame.link_to_evaluate([path])


def start(title: str, plan: DownloadPlan) -> None:
    """Begin a download; the Import page shows how it goes."""
    import_jobs.downloads().start(title, plan)
    inputs.remember("download_started", title)


def show_for(model_id: str, quant: str) -> None:
    """On Choose and Size, in a row of theirs: the file of what is shown, or where to look for one."""
    model = _find_import(model_id)
    file = None if model is None else find_file(model, quant)
    if model is not None and file is not None:
        show_button(model, file)
        started = inputs.recall("download_started", "")
        if started:
            st.page_link("pages/imports.py", label="Downloads", icon=":material/downloading:")
        return
    known = queries.list_published_repositories(cached.catalog(), model_id, quant)
    if known and known[0] not in cached.list_imported_ids():
        show_known(known[0])
        return
    if known:
        st.page_link(
            "pages/size.py",
            label=f"Size the files of {known[0]}",
            icon=":material/straighten:",
            query_params=inputs.address_of(model=known[0], quant=quant),
        )
        return
    st.page_link(
        "pages/imports.py",
        label="Find its files",
        help="Repositories of the Hugging Face Hub that hold GGUF files of this model",
        icon=":material/cloud_download:",
        query_params=inputs.address_of(hub_base=model_id, hub="", hub_files="gguf"),
    )


def show_known(repo_id: str) -> None:
    """A button that imports a repository known to hold files of the model shown, and how that goes."""
    st.button(
        f"Import {escape_markdown(repo_id)}",
        icon=":material/add:",
        type="tertiary",
        key="import_known",
        help="Reads the headers of its GGUF files, so that each is sized to the byte and can be fetched",
        on_click=import_jobs.imports().start,
        args=((repo_id,),),
    )
    job = import_jobs.imports().job
    if job is not None and repo_id in job.repo_ids:
        st.page_link("pages/imports.py", label="See how it goes", icon=":material/downloading:")
