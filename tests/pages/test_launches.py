"""How launches are shown: one at a time, all of its text, harmless whatever the model is called."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from sizing.launch import ModelFiles, list_launches
from tests.sizing.test_launch_engines import answer


def show_some() -> None:
    """A page that shows every launch of vLLM for one model."""
    from pages.ui import launches
    from sizing.launch import ModelFiles, list_launches
    from tests.sizing.test_launch_engines import answer

    launches.show(list_launches(answer("vLLM", "AWQ"), ModelFiles("org/*bold* $x$ :red[it]")), "here")


def show_nothing() -> None:
    """A page for what does not run."""
    from pages.ui import launches

    launches.show((), "here")


def show_one() -> None:
    """A page with a single launch."""
    from pages.ui import launches
    from sizing.launch import Launch

    launches.show((Launch("tool", "bash", "run", "run.sh"),), "here")


def test_the_first_is_shown_until_another_is_picked() -> None:
    expected = {t.title: t for t in list_launches(answer("vLLM", "AWQ"), ModelFiles("org/*bold* $x$ :red[it]"))}
    app = AppTest.from_function(show_some, default_timeout=60).run()
    assert not app.exception
    (tools,) = app.get("button_group")
    assert [o.content for o in tools.proto.options] == list(expected)
    assert app.code[0].value == expected["vllm serve"].text and app.code[0].language == "bash"
    assert [b.proto.help for b in app.get("download_button")] == ["As vllm.sh"]
    app.segmented_control[0].select("Kubernetes").run()
    assert app.code[0].value.rstrip() == expected["Kubernetes"].text.rstrip()
    assert app.code[0].language == "yaml"
    assert [b.proto.help for b in app.get("download_button")] == ["As vllm.yaml"]


def test_a_note_is_text_and_not_markup() -> None:
    app = AppTest.from_function(show_some, default_timeout=60).run()
    assert "\\*bold\\*" in app.caption[0].value and "\\$x\\$" in app.caption[0].value


def test_one_launch_needs_no_choice_and_none_shows_nothing() -> None:
    app = AppTest.from_function(show_one, default_timeout=60).run()
    assert app.code[0].value == "run" and not app.get("button_group") and not app.caption
    app = AppTest.from_function(show_nothing, default_timeout=60).run()
    assert not app.exception and not app.code and not app.subheader
