"""Launches: every figure is the computed one, and no name breaks out of its quotes."""

from __future__ import annotations

import ast
import shlex
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.engines.base import EngineEstimate, EngineSetup
from sizing.errors import BadInputError
from sizing.launch import Beside, Launch, ModelFiles, format_command, list_launches, list_llama_cpp_launches
from sizing.launch.base import Variable, format_shell
from sizing.workload import Workload
from tests.sizing.launch_cases import HOST_ALONE, NASTY, ONE_CARD, TWO_CARDS, names, size, words_of
from tests.sizing.test_placement import model, weights


def title_of(launches: tuple[Launch, ...], title: str) -> Launch:
    (found,) = [launch for launch in launches if launch.title == title]
    return found


def value_of(words: list[str], flag: str) -> str:
    (found,) = [after for before, after in pairwise(words) if before == flag]
    return found


@given(st.lists(names, min_size=1, max_size=8), names)
@settings(deadline=None)
def test_a_shell_gets_back_exactly_the_words(words: list[str], value: str) -> None:
    text = format_shell(["run", *words, Variable("MODEL")], {"MODEL": value})
    first = f"MODEL={shlex.quote(value)}\n"
    assert text.startswith(first)
    assert words_of(text[len(first) :]) == ["run", *words, "$MODEL"]


@pytest.mark.parametrize("name", NASTY)
def test_bash_itself_gets_back_exactly_the_words(name: str) -> None:
    words = [name, "--flag", name, *(f"--long-{i}" for i in range(20)), "--last", name]
    text = format_shell(["printf", "%s\\0", *words, Variable("MODEL")], {"MODEL": name})
    told = subprocess.run(["bash", "-c", text], capture_output=True, check=True, timeout=20)
    assert told.stdout.decode().split("\0") == [*words, name, ""] and " \\\n" in text


def test_long_commands_go_on_over_lines_that_begin_with_options() -> None:
    words = ["serve", "model", *(w for i in range(20) for w in (f"--option-{i}", str(i)))]
    lines = format_shell(words).splitlines()
    assert len(lines) > 2 and all(len(line) <= 104 for line in lines)
    assert all(line.endswith(" \\") for line in lines[:-1]) and all(line.startswith("    --") for line in lines[1:])
    assert words_of("\n".join(lines)) == words


@pytest.mark.parametrize("bad", ["", "-rf", "--trust-remote-code", "a\0b", "a\ud800"])
def test_a_name_that_a_program_would_misread_is_refused(bad: str) -> None:
    with pytest.raises(BadInputError, match="does not begin with '-'"):
        ModelFiles(bad)
    with pytest.raises(BadInputError, match="gguf_file"):
        ModelFiles("a/b", gguf_file=bad)


@given(names)
@settings(max_examples=60, deadline=None)
def test_every_llama_cpp_launch_carries_the_file_unharmed(name: str) -> None:
    workload = Workload(8192, 2, kv_type_k="q8_0", kv_type_v="q8_0")
    told = size(ONE_CARD, workload)
    launches = list_llama_cpp_launches(told, workload, ONE_CARD, ModelFiles(name, gguf_file=name))
    assert value_of(words_of(title_of(launches, "llama-server").text), "-m") == name
    assert value_of(words_of(title_of(launches, "llama-cli").text), "-m") == name
    assert value_of(words_of(title_of(launches, "llama-cpp-python server").text), "--model") == name
    client = ast.parse(title_of(launches, "Python, OpenAI client").text)
    strings = [n.value for n in ast.walk(client) if isinstance(n, ast.Constant)]
    assert name in strings


def test_llama_server_pins_what_was_sized() -> None:
    workload = Workload(8192, 4, kv_type_k="q8_0", kv_type_v="q5_1", n_ubatch=256)
    told = size(TWO_CARDS, workload)
    launches = list_llama_cpp_launches(told, workload, TWO_CARDS, ModelFiles("a/b", gguf_file="/m/x.gguf"))
    words = words_of(title_of(launches, "llama-server").text)
    assert value_of(words, "-c") == "32768" and value_of(words, "-np") == "4" and value_of(words, "-ub") == "256"
    assert value_of(words, "-ctk") == "q8_0" and value_of(words, "-ctv") == "q5_1" and value_of(words, "-fa") == "on"
    assert value_of(words, "-ngl") == str(told.n_gpu_layers) and told.tensor_split is not None
    assert value_of(words, "-ts") == ",".join(str(n) for n in told.tensor_split)
    assert value_of(words, "--host") == "127.0.0.1"
    asked = words_of(format_command("a/b", "Q4_K_M", told, workload, TWO_CARDS, gguf_file="/m/x.gguf"))
    assert words[: len(asked)] == asked
    cli = words_of(title_of(launches, "llama-cli").text)
    assert value_of(cli, "-c") == "8192" and "-np" not in cli


def test_the_hub_the_file_and_the_unknown_are_told_apart() -> None:
    workload = Workload(4096)
    told = size(ONE_CARD, workload)
    hub = list_llama_cpp_launches(told, workload, ONE_CARD, ModelFiles("a/b", gguf_repo="c/b-GGUF"))
    assert value_of(words_of(title_of(hub, "llama-server").text), "-hf") == "c/b-GGUF:Q4_K_M"
    unknown = list_llama_cpp_launches(told, workload, ONE_CARD, ModelFiles("a/b"))
    server = title_of(unknown, "llama-server")
    assert server.text.startswith("MODEL=./b-Q4_K_M.gguf\n") and 'llama-server -m "$MODEL"' in server.text
    assert "Set MODEL to a GGUF file of a/b at Q4_K_M" in server.note


def test_what_stands_beside_the_model_is_loaded_too() -> None:
    workload = Workload(4096)
    told = size(ONE_CARD, workload)
    beside = Beside(("Small 1B", "Q8_0"), 5, has_projector=True)
    launches = list_llama_cpp_launches(told, workload, ONE_CARD, ModelFiles("a/b", gguf_file="x.gguf"), beside)
    words = words_of(title_of(launches, "llama-server").text)
    assert value_of(words, "-md") == "Small-1B-Q8_0.gguf" and value_of(words, "--mmproj") == "mmproj-b-F16.gguf"


def test_an_engines_answer_leads_to_the_same_launches_and_none_where_it_does_not_run() -> None:
    setup = EngineSetup(model(), "Q4_K_M", 8192, 2, ONE_CARD, "q8_0", weights())
    workload = Workload(8192, 2, kv_type_k="q8_0", kv_type_v="q8_0")
    told = size(ONE_CARD, workload)
    files = ModelFiles("a/b")
    answer = EngineEstimate(setup, "llama.cpp", told)
    assert list_launches(answer, files) == list_llama_cpp_launches(told, workload, ONE_CARD, files) != ()
    small = size(HOST_ALONE, Workload(131072, 64))
    assert not small.fit.runs
    assert list_launches(EngineEstimate(setup, "llama.cpp", small), files) == ()
