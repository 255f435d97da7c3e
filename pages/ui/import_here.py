"""This machine's part of the Import page: model files other programs keep here, and servers that answer on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from catalog.local_models import LocalModel
from evals.running import RunningServer
from pages.ui import evaluate_endpoint, frame, import_tables, inputs, local_files, tables, words
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown

MAX_ROWS = 500
MAX_PROBLEMS = 20


def show(question: frame.Question) -> None:
    """Files, then servers."""
    show_files()
    show_servers()


def take_in_wanted() -> None:
    """Read the files that were picked by the button before this run, with words while it lasts."""
    wanted: tuple[LocalModel, ...] | None = inputs.take("local_wanted")
    if wanted:
        with st.spinner(f"Reading {len(wanted)} model file{'s' if len(wanted) != 1 else ''}"):
            local_files.take_in(wanted)
        st.rerun()  # the catalog is read anew where a run begins


def show_files() -> None:
    """Every model file found; picked ones are taken in, or go to the Evaluate page."""
    folders: tuple[str, ...] = inputs.read("folders")
    found = local_files.find_models(folders)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        n = len(found.models)
        said = f"{n or 'No'} model{'s' if n != 1 else ''} in files on this machine."
        st.html(f'<p class="wb-figures">{said}</p>', width="content")
        st.button("Look again", icon=":material/refresh:", type="tertiary", on_click=local_files.look_again)
        with st.popover("Add a folder", icon=":material/create_new_folder:", type="tertiary"):
            show_add_folder(folders)
        with st.popover("Where was looked", type="tertiary"):
            st.markdown("\n".join(f"- {escape_markdown(line)}" for line in local_files.list_places(folders)))
    if found.models:
        show_table(found.models[:MAX_ROWS])
    else:
        st.html(
            '<p class="wb-quiet">Add a folder that holds GGUF files, or import a model from the Hub and download one '
            "of its files.</p>"
        )
    show_problems((*found.truncated, *found.problems))


def show_table(models: Sequence[LocalModel]) -> None:
    """The files as a table, and what can be done with the picked ones."""
    st.caption("Pick rows to size or evaluate them.")
    tables.show_table(
        words.style_table(import_tables.tabulate_local(models)),
        "local_rows",
        name="model-files-here",
        height=frame.table_height(len(models), 420),
        selection_mode="multi-row",
        column_config=frame.right_aligned("File, GiB", "Parameters, B"),
    )
    picked = [models[i] for i in inputs.picked_rows("local_rows") if i < len(models)]
    usable = [m for m in picked if not m.problem]
    if usable:
        show_actions(usable)
    elif picked:
        st.caption("What was picked cannot be used; its state says why.")
    for told in inputs.recall("local_told", ()):
        show_told(told)


def show_actions(models: Sequence[LocalModel]) -> None:
    """What can be done with the files that were picked."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.button(
            f"Size {len(models)} of them" if len(models) > 1 else "Size it",
            type="primary",
            icon=":material/add:",
            key="local_import",
            on_click=inputs.remember,
            args=("local_wanted", tuple(models)),
        )
        frame.link_to_evaluate([m.paths[0] for m in models], "Evaluate")


def show_told(told: local_files.Told) -> None:
    """What came of taking in one file."""
    if told.problem:
        st.warning(escape_markdown(frame.to_sentence(f"{told.name}: {told.problem}")), icon=":material/error:")
        return
    frame.link_to_size(told.model_id, told.quant, f"Size {told.name} at {told.quant}")


def show_add_folder(folders: tuple[str, ...]) -> None:
    """A box for one more folder, and those chosen before."""
    st.text_input("Folder with GGUF files", key="local_folder", placeholder="/data/models", max_chars=500)
    st.button("Look there too", icon=":material/add:", on_click=add_folder)
    problem = inputs.recall("folder_problem", "")
    if problem:
        st.warning(escape_markdown(frame.to_sentence(problem)), icon=":material/folder_off:")
    for folder in folders:
        refusal = local_files.find_refusal(folder)
        if refusal:
            st.warning(escape_markdown(frame.to_sentence(refusal)), icon=":material/folder_off:")
        st.button(
            f"Leave out {escape_markdown(folder)}",
            key=f"leave_{folder}",
            type="tertiary",
            icon=":material/close:",
            on_click=leave_folder,
            args=(folder,),
        )


def add_folder() -> None:
    """Put the folder in the box among those that are looked through; a wrong one is said instead."""
    text = inputs.typed("local_folder")
    problem = local_files.check_folder(text)
    inputs.remember("folder_problem", problem)
    if not problem:
        inputs.add_value("folders", text)
        inputs.empty_box("local_folder")


def leave_folder(folder: str) -> None:
    """Look through a folder no more."""
    inputs.set_field("folders", "|".join(f for f in inputs.read("folders") if f != folder))


def show_problems(problems: Sequence[str]) -> None:
    """What could not be read, folded."""
    if not problems:
        return
    with st.expander(f"Left out: {len(problems)}"):
        shown = problems[:MAX_PROBLEMS]
        items = "".join(f"<li>{escape(roomy(frame.to_sentence(p)))}</li>" for p in shown)
        more = len(problems) - len(shown)
        st.html(f'<ul class="wb-list">{items}</ul>' + (f'<p class="wb-quiet">And {more} more.</p>' if more > 0 else ""))


# ---- servers ----


def show_servers() -> None:
    """Model servers that answer on this machine, asked for only when the button is pressed."""
    st.subheader("Servers", anchor=False)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.button(
            "Look for servers",
            icon=":material/sensors:",
            type="tertiary",
            key="find_servers",
            on_click=inputs.remember,
            args=("servers_wanted", True),
        )
        st.caption("Ollama, llama-server, vLLM, LM Studio and others at their usual ports of this machine.")
    if inputs.take("servers_wanted"):
        with st.spinner("Asking the usual ports of this machine"):
            inputs.remember("servers", local_files.find_servers())
    servers: tuple[RunningServer, ...] | None = inputs.recall("servers")
    if servers is None:
        return
    if not servers:
        st.html(
            '<p class="wb-quiet">No model server answers at the usual ports. Start one and look again, or give the '
            "address of another under A server on Evaluate.</p>"
        )
    for server in servers:
        show_server(server)


def show_server(server: RunningServer) -> None:
    """One server with its models, each of which can be put among those of the Evaluate page."""
    with st.container(border=True, gap="small"):
        version = f" {server.version}" if server.version else ""
        context = f", {server.context_tokens:,} tokens of context" if server.context_tokens else ""
        st.html(
            f'<p class="wb-figures">{escape(server.kind)}{escape(version)}</p>'
            f'<p class="wb-quiet">{escape(server.url)}{escape(context)}</p>'
        )
        if server.problem:
            st.caption(escape_markdown(frame.to_sentence(server.problem)))
        for model in server.models[:MAX_PROBLEMS]:
            st.button(
                f"Evaluate {escape_markdown(model)}",
                key=f"server_{server.url}_{model}",
                type="tertiary",
                icon=":material/checklist:",
                on_click=evaluate_endpoint.add_found,
                args=(server.url, model),
            )
        if server.url in inputs.recall("servers_added", ()):
            st.page_link(
                "pages/evaluate.py",
                label="Go to Evaluate",
                icon=":material/arrow_forward:",
                query_params=inputs.address_of(),
            )
