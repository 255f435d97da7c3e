"""The Hub's part of the Import page: a search, what was found, the row of imports at work, and what was imported."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from catalog.hub import Hub
from catalog.hub_answers import HubHit, HubQuery
from catalog.imported import ImportedModel
from catalog.importing import MAX_IMPORTS
from catalog.refresh import diff_imported
from pages.ui import cached, frame, get_file, import_jobs, import_tables, inputs, tables, words
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from sizing.errors import HubError, WeighbridgeError
from sizing.units import format_params

LIVE_S = 0.5
MAX_FAILURES_SHOWN = 12
BOX_PIXELS = 430
"""Width of the search box: on a phone it has a line of its own."""
BY_NAME_KEY = "hub_names"
HERE = "On this machine"
"""How the tab of this machine's files is called."""


def show(question: frame.Question) -> None:
    """Search, then import, then read what came of it."""
    show_search()
    show_hits()
    show_job()
    show_imported(question)


# ---- search ----


def show_search() -> None:
    """A name and the one button that asks the network; what narrows the search is folded and named."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        with st.container(width=BOX_PIXELS):
            inputs.text("hub", "Search the Hub", "Part of a name, such as Qwen3", then=want_search)
        st.button("Search", type="secondary", icon=":material/search:", key="hub_search", on_click=want_search)
        with st.popover(f"Filters: {say_filters()}", icon=":material/tune:", type="tertiary", key="hub_filters"):
            show_filters()
        with st.popover("By name", icon=":material/list:", type="tertiary"):
            show_by_name()
    if inputs.take("hub_wanted"):
        search()
    base = inputs.read("hub_base")
    if base:
        st.caption(f"Only repositories quantized from {escape_markdown(base)}.")
        st.button("Search all repositories", type="tertiary", on_click=inputs.set_field, args=("hub_base", ""))


def show_filters() -> None:
    """What narrows a search, and its order."""
    inputs.choice("hub_task", "Made for", tuple(inputs.HUB_TASKS), inputs.HUB_TASKS)
    inputs.choice("hub_licence", "Licence", tuple(inputs.HUB_LICENCES), inputs.HUB_LICENCES)
    inputs.choice("hub_size", "Parameters", tuple(inputs.HUB_SIZES), inputs.HUB_SIZES)
    inputs.choice("hub_sort", "Order by", tuple(inputs.HUB_SORTS), inputs.HUB_SORTS)
    inputs.segments("hub_files", "Files", tuple(inputs.HUB_FILES), inputs.HUB_FILES)


def say_filters() -> str:
    """'text, Apache-2.0, up to 10B': the filters that are set."""
    named = (("hub_licence", inputs.HUB_LICENCES), ("hub_size", inputs.HUB_SIZES), ("hub_files", inputs.HUB_FILES))
    told = [inputs.HUB_TASKS[inputs.read("hub_task")].lower()]
    for field, names in named:
        if (chosen := inputs.read(field)) != "any":
            told.append(names[chosen] if field == "hub_licence" else names[chosen][0].lower() + names[chosen][1:])
    return ", ".join(told)


def want_search() -> None:
    """Ask the network in this run of the page; no other run does."""
    inputs.remember("hub_wanted", True)


def search() -> None:
    """Ask the Hub; what was found, or why nothing was, stays until the next search."""
    try:
        query: HubQuery = inputs.read_hub_query()
        with st.spinner("Asking the Hub"):
            inputs.remember("hub_hits", import_jobs.search_hub(query))
        inputs.remember("hub_problem", "")
    except WeighbridgeError as error:
        inputs.remember("hub_hits", None)
        inputs.remember("hub_problem", say_way_out(error))


def say_way_out(error: WeighbridgeError) -> str:
    """Why a search came to nothing and, where nobody answers, what can be done all the same."""
    told = frame.to_sentence(str(error))
    if isinstance(error, HubError) and error.kind in ("offline", "timeout", "lost"):
        return f"{told} Model files under {HERE} need no network."
    return told


def show_by_name() -> None:
    """Repositories by their names, as many as one likes."""
    st.text_area(
        "Repositories, one a line", key=BY_NAME_KEY, placeholder="Qwen/Qwen3-14B\nbartowski/Qwen_Qwen3-14B-GGUF"
    )
    st.button("Import these", icon=":material/download:", key="hub_import_names", on_click=import_names)


def import_names() -> None:
    """Start with the names in the box; what is wrong with them is said on the page."""
    names = [line.strip() for line in inputs.typed(BY_NAME_KEY).splitlines() if line.strip()]
    start(tuple(dict.fromkeys(names)))


def start(repo_ids: Sequence[str]) -> None:
    """Begin a row of imports, or say why not."""
    if not repo_ids:
        inputs.remember("hub_problem", "name at least one repository, such as Qwen/Qwen3-14B")
    elif len(repo_ids) > MAX_IMPORTS:
        inputs.remember("hub_problem", f"at most {MAX_IMPORTS:,} repositories at once, got {len(repo_ids):,}")
    elif not import_jobs.imports().start(repo_ids):
        inputs.remember("hub_problem", "an import is at work; stop it or wait for its end")
    else:
        inputs.remember("hub_problem", "")


def show_hits() -> None:
    """What the search found, several to be picked; nothing before the first search."""
    problem = inputs.recall("hub_problem", "")
    if problem:
        st.warning(escape_markdown(frame.to_sentence(problem)), icon=":material/error:")
    hits: tuple[HubHit, ...] | None = inputs.recall("hub_hits")
    if hits is None:
        return
    if not hits:
        st.html(
            '<p class="wb-quiet">No repository answers this search. Take a filter away, or search another name.</p>'
        )
        return
    picked = [hits[i] for i in inputs.picked_rows("hub_hits_table") if i < len(hits)]
    known = cached.list_imported_ids()
    st.caption(
        roomy(f"{len(hits)} repositories. Pick rows to import them: their facts and headers, not their weights.")
    )
    tables.show_table(
        words.style_table(import_tables.tabulate_hits(hits, known)),
        "hub_hits_table",
        name="hub-search",
        height=frame.table_height(len(hits), 420),
        selection_mode="multi-row",
        column_config=frame.right_aligned("Downloads in 30 days", "Parameters, B"),
    )
    if picked:
        st.button(
            f"Import {len(picked)}",
            type="primary",
            icon=":material/add:",
            key="hub_import",
            disabled=import_jobs.imports().is_busy,
            on_click=start,
            args=(tuple(h.repo_id for h in picked),),
        )


# ---- the row at work ----


def show_job() -> None:
    """The row of imports, drawn anew while it is at work; what failed stays until the next row."""
    jobs = import_jobs.imports()
    if jobs.job is None:
        return
    if jobs.is_busy:
        _draw_live(jobs.n_ended)
    else:
        draw_job(jobs.job)


@st.fragment(run_every=LIVE_S)
def _draw_live(n_ended: int) -> None:
    jobs = import_jobs.imports()
    if jobs.n_ended != n_ended:
        st.rerun()
    if jobs.job is not None:
        draw_job(jobs.job)


def draw_job(job: import_jobs.ImportJob) -> None:
    """Progress while at work, then how many were kept and which were not."""
    with st.container(border=True, key="import_job", gap="small"):
        n_done, n_all = len(job.outcomes), len(job.repo_ids)
        if not job.is_over:
            progress = job.progress
            st.progress(n_done / n_all, f"{n_done} of {n_all}. {escape_markdown(progress.repo_id)}: {progress.step}")
            st.button("Stop", type="tertiary", icon=":material/stop_circle:", on_click=import_jobs.imports().stop)
        else:
            st.html(f'<p class="wb-figures">{escape(describe_end(job))}</p>')
        if job.problem:
            st.warning(escape_markdown(frame.to_sentence(job.problem)), icon=":material/error:")
        show_failures(job)


def describe_end(job: import_jobs.ImportJob) -> str:
    """'48 of 50 repositories were imported, 2 were not.'"""
    n_all, n_failed = len(job.repo_ids), len(job.failures)
    left = n_all - len(job.outcomes)
    parts = [f"{job.n_kept} of {n_all} repositories imported" if n_all > 1 else f"{job.n_kept} repository imported"]
    parts += [f"{n_failed} refused"] if n_failed else []
    parts += [f"{left} not tried"] if left else []
    return f"{', '.join(parts)}."


def show_failures(job: import_jobs.ImportJob) -> None:
    """Every repository that was not imported, with why."""
    failures = job.failures
    if not failures:
        return
    items = "".join(
        f"<li>{escape(o.repo_id)}: {escape(roomy(frame.to_sentence(o.problem.removeprefix(f'{o.repo_id}: '))))}</li>"
        for o in failures[:MAX_FAILURES_SHOWN]
    )
    more = len(failures) - MAX_FAILURES_SHOWN
    rest = f'<p class="wb-quiet">And {more:,} more.</p>' if more > 0 else ""
    st.html(f'<ul class="wb-list">{items}</ul>{rest}')


# ---- what was imported ----


def show_imported(question: frame.Question) -> None:
    """Every imported model, newest first; a picked one with its files."""
    shown = cached.list_newest_imports()
    if not shown:
        return
    n = len(cached.list_imported_ids())
    st.subheader(f"Imported: {n:,}", anchor=False)
    more = f" {n - len(shown):,} older ones stand in the Catalog." if n > len(shown) else ""
    st.caption(f"Newest first. Pick a row to see its files.{more}")
    tables.show_table(
        words.style_table(import_tables.tabulate_imports(shown)),
        "imported_rows",
        name="imported-models",
        height=frame.table_height(len(shown), 320),
        selection_mode="single-row",
        column_config=frame.right_aligned("Parameters, B"),
    )
    picked = inputs.picked_row("imported_rows")
    if picked is not None and picked < len(shown):
        show_model(shown[picked], question)


def show_model(model: ImportedModel, question: frame.Question) -> None:
    """One imported model: what its card says, its files, and how to be rid of it."""
    with st.container(border=True, key="imported_model", gap="small"):
        card = model.card
        st.html(f'<p class="wb-figures">{escape(card.name)}</p>')
        facts = [
            ("Parameters", f"{format_params(card.spec.n_params)}. {frame.to_sentence(model.check.note)}"),
            ("Read from", card.basis),
            *(("Quantized from" if model.files else "Made from", name) for name in model.base_models[:3]),
            *([("Not weighed", model.weigh_gap)] if model.weigh_gap else []),
            *(("Note", note) for note in (*card.notes, *model.notes, *card.unverified)),
        ]
        st.html(frame.facts_html(facts))
        if model.files:
            show_files(model, question)
        show_changes(model)
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            if model.weights:
                frame.link_to_size(card.model_id, model.weights[0].quant, "Size it")
            if model.origin == "hub":
                st.button(
                    "Compare with the Hub",
                    type="tertiary",
                    icon=":material/difference:",
                    key="compare_import",
                    on_click=inputs.remember,
                    args=("import_compared", card.model_id),
                )
            st.button(
                "Forget it",
                type="tertiary",
                icon=":material/delete:",
                key="forget_import",
                on_click=forget,
                args=(card.model_id,),
            )


def show_changes(model: ImportedModel) -> None:
    """What the Hub says otherwise by now, asked for once the button was pressed, and the way to take it over."""
    if inputs.take("import_compared") == model.card.model_id:
        try:
            with st.spinner("Asking the Hub"):
                changes = diff_imported(model, Hub().fetch_repository(model.repo_id))
            inputs.remember("import_changes", (model.card.model_id, model.revision, changes))
        except WeighbridgeError as error:
            st.warning(escape_markdown(frame.to_sentence(str(error))), icon=":material/cloud_off:")
    about, revision, changes = inputs.recall("import_changes", ("", "", ()))
    if (about, revision) != (model.card.model_id, model.revision):
        return
    if not changes:
        st.html('<p class="wb-quiet">The Hub says just what was imported.</p>')
        return
    tables.show_table(
        import_tables.tabulate_changes(changes),
        "hub_changes",
        name="hub-changes",
        height=frame.table_height(len(changes), 280),
    )
    st.button(
        "Take it over",
        type="tertiary",
        icon=":material/sync:",
        key="take_changes",
        on_click=start,
        args=((model.repo_id,),),
        help="Imports the repository again, whole, as of today",
    )


def show_files(model: ImportedModel, question: frame.Question) -> None:
    """The GGUF files of a model, the largest first; a picked one can be fetched."""
    files = sorted(model.files, key=lambda f: -f.size_bytes)
    tables.show_table(
        words.style_table(import_tables.tabulate_files(files)),
        "imported_files",
        name=f"files-{model.card.model_id}",
        height=frame.table_height(len(files), 280),
        selection_mode="single-row",
        column_config=frame.right_aligned("File, GiB", "Tensors, GiB"),
    )
    picked = inputs.picked_row("imported_files")
    if picked is not None and picked < len(files):
        get_file.show_button(model, files[picked])


def forget(model_id: str) -> None:
    """Drop an import; files on disk stay."""
    try:
        cached.open_imports().forget(model_id)
    except WeighbridgeError as error:
        inputs.remember("hub_problem", str(error))
