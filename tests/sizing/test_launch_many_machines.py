"""Files for several machines: valid, bound to named addresses alone, and of the figures that were planned."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from catalog.queries import find_asked_weights, find_machine, find_model
from catalog.store import Catalog, open_catalog
from sizing.__main__ import main
from sizing.cluster import Cluster, ClusterPlan, plan_cluster
from sizing.engines import EngineSetup
from sizing.interconnect import find_interconnect
from sizing.launch import Launch, ModelFiles
from sizing.launch.many_machines import list_cluster_launches

SCHEMA = Path(__file__).parent.parent / "golden" / "compose_schema.json"
NASTY = 'a b/$(touch x)"; rm -rf "\'`id`'


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def plan(catalog: Catalog, model: str, fmt: str, hardware: str, n_nodes: int, engine: str) -> ClusterPlan:
    card, node = find_model(catalog, model), find_machine(catalog, hardware)
    weights = find_asked_weights(catalog, card, fmt) if engine == "llama.cpp" else None
    setup = EngineSetup(card.spec, fmt, 8192, 2, node, weights=weights)
    return plan_cluster(setup, Cluster(node, n_nodes, find_interconnect("100 GbE")), engine, with_context=False)


def by_file(launches: tuple[Launch, ...]) -> dict[str, Launch]:
    found = {launch.file_name: launch for launch in launches}
    assert len(found) == len(launches)
    return found


def words_of(launch: Launch) -> list[str]:
    """The words of a script's last command, once the shell itself has read the whole of it."""
    assert subprocess.run(["bash", "-n"], input=launch.text, text=True, capture_output=True).returncode == 0
    lines = launch.text.replace("\\\n", " ").splitlines()
    return shlex.split(lines[-1])


def value_of(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_ray_and_vllm_start_what_was_planned(catalog: Catalog) -> None:
    made = plan(catalog, "meta-llama/Llama-3.1-405B-Instruct", "BF16", "H100*8", 2, "vLLM")
    files = by_file(list_cluster_launches(made, ModelFiles("meta-llama/Llama-3.1-405B-Instruct")))
    assert set(files) == {"ray-head.sh", "ray-worker.sh", "vllm-serve.sh", "compose.yaml"}
    head, worker, serve = (words_of(files[name]) for name in ("ray-head.sh", "ray-worker.sh", "vllm-serve.sh"))
    assert {"--head", "--port=6379", "--node-ip-address=$SELF", "--num-gpus=8"} <= set(head)
    assert "--address=$HEAD:6379" in worker and "--head" not in worker
    assert (value_of(serve, "--tensor-parallel-size"), value_of(serve, "--pipeline-parallel-size")) == ("8", "2")
    assert value_of(serve, "--distributed-executor-backend") == "ray" and value_of(serve, "--host") == "127.0.0.1"
    assert value_of(serve, "--max-model-len") == "8192"
    for name in ("ray-head.sh", "ray-worker.sh"):
        assert "private network" in files[name].note and "RAY_AUTH_MODE=token" in files[name].text
        assert "0.0.0.0" not in files[name].text


def test_the_compose_file_is_one_and_its_profiles_are_the_two_roles(catalog: Catalog) -> None:
    made = plan(catalog, "meta-llama/Llama-3.1-405B-Instruct", "BF16", "H100*8", 3, "vLLM")
    compose = by_file(list_cluster_launches(made, ModelFiles("m")))["compose.yaml"]
    file = yaml.safe_load(compose.text)
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(file)
    roles = {name: service["profiles"] for name, service in file["services"].items()}
    assert roles == {"ray-head": ["head"], "ray-worker": ["worker"]}
    assert all("ports" not in service for service in file["services"].values())  # bound by Ray to SELF alone


@pytest.mark.parametrize("hardware", ["RTX 4090", "M4 Max", "64 GB DDR5-5600"])
def test_every_other_machine_has_a_server_and_the_first_knows_it(catalog: Catalog, hardware: str) -> None:
    made = plan(catalog, "meta-llama/Llama-3.1-70B-Instruct", "Q4_K_M", hardware, 3, "llama.cpp")
    files = by_file(list_cluster_launches(made, ModelFiles("m", gguf_file="m.gguf")))
    server, main_host = words_of(files["rpc-server.sh"]), words_of(files["llama-server.sh"])
    assert server[:5] == ["rpc-server", "-H", "$SELF", "-p", "50052"]
    assert value_of(main_host, "--rpc") == "10.0.0.2:50052,10.0.0.3:50052"
    assert "never expose it to an open network" in files["rpc-server.sh"].note
    assert value_of(main_host, "-ngl") == str(made.estimate.n_gpu_layers)
    counts = [int(n) for n in value_of(main_host, "-ts").split(",")]
    # devices behind servers first, the main host's own last, as llama.cpp orders them
    held = [d.n_layers for node in (*made.nodes[1:], made.nodes[0]) for d in node.devices if "machine" in d.name]
    assert sum(counts) == made.estimate.n_gpu_layers
    assert [*counts[:-1], counts[-1] - 1] == held  # the output counts as one layer of the last


def test_one_machine_has_no_server_and_what_does_not_fit_no_files(catalog: Catalog) -> None:
    small = plan(catalog, "meta-llama/Llama-3.1-8B-Instruct", "Q4_K_M", "RTX 4090", 1, "llama.cpp")
    assert set(by_file(list_cluster_launches(small, ModelFiles("m")))) == {"llama-server.sh"}
    assert "--rpc" not in list_cluster_launches(small, ModelFiles("m"))[0].text
    large = plan(catalog, "meta-llama/Llama-3.1-405B-Instruct", "BF16", "H100*8", 1, "vLLM")
    assert list_cluster_launches(large, ModelFiles("m")) == ()


@pytest.mark.parametrize(("fmt", "hardware", "engine"), [("BF16", "H100*2", "vLLM"), ("Q4_K_M", "H100*2", "llama.cpp")])
def test_no_name_breaks_out_of_a_script(catalog: Catalog, fmt: str, hardware: str, engine: str) -> None:
    made = plan(catalog, "meta-llama/Llama-3.1-8B-Instruct", fmt, hardware, 2, engine)
    for launch in list_cluster_launches(made, ModelFiles(NASTY, gguf_file=NASTY)):
        if launch.language == "bash":
            words = words_of(launch)
            assert "touch" not in words and (NASTY in words or NASTY not in launch.text)


# ---------------------------------------------------------------- the command

ASKED = ["cluster", "--model", "Llama-3.1-70B-Instruct", "--hardware", "RTX 4090", "--engine", "llama.cpp"]


def test_the_command_finds_the_fewest_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--quant", "Q4_K_M", "--interconnect", "10GbE", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_nodes"], told["verdict"], told["interconnect"]["name"]) == (2, "fits", "10 GbE")
    assert len(told["nodes"]) == 2 and told["network"]["step_s"] > 0
    assert {launch["file_name"] for launch in told["launches"]} == {"rpc-server.sh", "llama-server.sh"}
    assert told["speed"]["decode_tokens_per_s"]["mid"] < told["speed_without_network"]["decode_tokens_per_s"]["mid"]


def test_the_command_prints_a_plan_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["cluster", "--model", "Llama-3.1-405B-Instruct", "--format", "BF16", "--hardware", "H100*8"]
    assert main([*base, "--nodes", "2", "--interconnect", "InfiniBand NDR"]) == 0
    text = capsys.readouterr().out
    assert "runs on 2 machines over InfiniBand NDR" in text and "machine 2:" in text
    assert "tensor parallel 8, pipeline parallel 2" in text and "--distributed-executor-backend ray" in text
    assert main([*base, "--nodes", "table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "6", "8", "12", "16"]
    assert "does not fit" in lines[1] and "fits" in lines[2]
    assert main([*base, "--nodes", "1"]) == 1
    assert "does not fit on one machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--quant", "Q4_K_M", "--nodes", "many"], "'fewest' or 'table'"),
        (["--quant", "Q4_K_M", "--nodes", "17"], "1 to 16"),
        (["--quant", "Q4_K_M", "--interconnect", "carrier pigeon"], "unknown interconnect"),
        (["--quant", "BF17"], "BF17"),
    ],
)
def test_bad_input_is_one_line(extra: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, *extra]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1
