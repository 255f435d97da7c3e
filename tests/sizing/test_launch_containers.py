"""Docker, compose and Kubernetes: valid against the published schemas, reachable from this machine only, unbroken."""

from __future__ import annotations

import csv
import http.server
import io
import json
import subprocess
import threading
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.launch.base import Launch, Variable
from sizing.launch.containers import Container, list_container_launches, write_compose, write_docker, write_kubernetes
from tests.sizing.launch_cases import NASTY, names, words_of

GOLDEN = Path(__file__).parent.parent / "golden"


@cache
def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{name}_schema.json").read_text(encoding="utf-8"))
    return loaded


def check_compose(text: str) -> dict[str, Any]:
    """The one service of a compose file that the Compose Specification accepts."""
    file = yaml.safe_load(text)
    jsonschema.Draft7Validator(schema("compose")).validate(file)
    (service,) = file["services"].values()
    return dict(service)


def check_kubernetes(text: str) -> dict[str, dict[str, Any]]:
    """Objects by kind, each accepted by Kubernetes' own strict schema."""
    objects = list(yaml.safe_load_all(text))
    known = schema("kubernetes")
    for one in objects:
        jsonschema.Draft202012Validator({**known["kinds"][one["kind"]], "$defs": known["$defs"]}).validate(one)
    return {one["kind"]: one for one in objects}


def undo_dollars(text: str) -> str:
    """What compose and Kubernetes make of a text in which every dollar is doubled."""
    assert text.count("$") == 2 * text.count("$$")
    return text.replace("$$", "$")


def container(command: tuple[str, ...], **given: Any) -> Container:
    settings = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.29.0",
        "port": 8000,
        "n_gpus": 2,
        "stored_bytes": 15 << 30,
    }
    return Container(command=command, **{**settings, **given})


@given(st.lists(names, min_size=1, max_size=4), names)
@settings(max_examples=30, deadline=None)
def test_every_word_arrives_unharmed(words: list[str], folder: str) -> None:
    whole = container(("vllm", "serve", *words, "--port", "8000"), model_dir=f"/{folder}")
    docker = words_of(write_docker(whole).text)
    at = docker.index("vllm/vllm-openai:v0.29.0")
    assert docker[at - 1] == "vllm" and docker[at + 1 :] == ["serve", *words, "--port", "8000"]
    service = check_compose(write_compose(whole).text)
    assert service["entrypoint"] == ["vllm"]
    assert [undo_dollars(w) for w in service["command"]] == ["serve", *words, "--port", "8000"]
    assert undo_dollars(service["volumes"][1]["source"]) == f"/{folder}"
    pod = check_kubernetes(write_kubernetes(whole).text)["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["vllm"]
    assert [undo_dollars(w) for w in pod["containers"][0]["args"]] == ["serve", *words, "--port", "8000"]


@given(names)
@settings(deadline=None)
def test_a_mounted_folder_is_one_field_of_docker_s_csv(folder: str) -> None:
    words = words_of(write_docker(container(("x",), model_dir=f"/{folder}")).text)
    (fields,) = csv.reader(io.StringIO(words[words.index("--mount") + 1], newline=""), strict=True)
    assert fields == ["type=bind", f"source=/{folder}", "target=/models", "readonly"]


@pytest.mark.parametrize("name", NASTY)
def test_bash_hands_docker_what_was_meant(name: str) -> None:
    text = write_docker(container(("vllm", "serve", name, Variable("MODEL")), variables={"MODEL": name})).text
    shown = subprocess.run(
        ["bash", "-c", f'docker() {{ printf "%s\\0" "$@"; }}\nHOME=/h\n{text}'],
        capture_output=True,
        check=True,
        timeout=20,
    )
    words = shown.stdout.decode().split("\0")[:-1]
    assert words[-3:] == ["serve", name, name] and "/h/.cache/huggingface:/cache" in words and "HF_HOME=/cache" in words


def test_a_variable_has_to_be_set_everywhere_before_anything_starts() -> None:
    whole = container(("vllm", "serve", Variable("MODEL")), variables={"MODEL": "a checkpoint of x/y in AWQ: {4-bit}"})
    assert write_docker(whole).text.startswith("MODEL='a checkpoint of x/y in AWQ: {4-bit}'\n")
    service = check_compose(write_compose(whole).text)
    assert service["command"] == ["serve", "${MODEL:?set it to a checkpoint of x/y in AWQ? ?4-bit?}"]
    pod = check_kubernetes(write_kubernetes(whole).text)["Deployment"]["spec"]["template"]["spec"]
    server = pod["containers"][0]
    assert server["args"] == ["serve", "$(MODEL)"]
    assert {"name": "MODEL", "value": "a checkpoint of x/y in AWQ: {4-bit}"} in server["env"]


def test_only_this_machine_reaches_it_and_no_token_is_written() -> None:
    docker, compose, kubernetes = list_container_launches(container(("vllm", "serve", "a/b")))
    words = words_of(docker.text)
    assert words[words.index("-p") + 1] == "127.0.0.1:8000:8000" and words[words.index("-e") + 1] == "HF_TOKEN"
    service = check_compose(compose.text)
    assert service["ports"] == ["127.0.0.1:8000:8000"] and service["environment"] == {
        "HF_TOKEN": None,
        "HF_HOME": "/cache",
    }
    assert service["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}
    ]
    objects = check_kubernetes(kubernetes.text)
    assert objects["Service"]["spec"]["type"] == "ClusterIP"
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    server = pod["containers"][0]
    assert server["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}},
        {"name": "HF_HOME", "value": "/cache"},
    ]
    assert server["resources"]["limits"] == {"nvidia.com/gpu": "2"} and pod["enableServiceLinks"] is False
    assert server["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert objects["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] == "30Gi"
    assert {m["mountPath"] for m in server["volumeMounts"]} == {"/cache", "/dev/shm"}
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= (
        objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_schemas_refuse_what_is_misspelt() -> None:
    whole = container(("x",))
    with pytest.raises(jsonschema.ValidationError):
        check_compose(write_compose(whole).text.replace("healthcheck:", "healthchek:"))
    with pytest.raises(jsonschema.ValidationError):
        check_kubernetes(write_kubernetes(whole).text.replace("startupProbe:", "startProbe:"))


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_the_health_check_tells_a_server_from_none() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(path: str, port: int) -> int:
            whole = container(("x",), port=port, health_path=path)
            test = check_compose(write_compose(whole).text)["healthcheck"]["test"]
            return subprocess.run([undo_dollars(w) for w in test[1:]], capture_output=True, timeout=20).returncode

        port = server.server_address[1]
        assert ask("/health", port) == 0
        assert ask("/elsewhere", port) != 0
        server.shutdown()
    assert ask("/health", port) != 0


def test_a_launch_says_what_to_do() -> None:
    launches: tuple[Launch, ...] = list_container_launches(container(("x",)))
    assert [launch.file_name for launch in launches] == ["vllm-docker.sh", "compose.yaml", "vllm.yaml"]
    assert all(launch.note.endswith(".") for launch in launches)
