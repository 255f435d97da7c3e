"""One server in a container: as a Docker command, a compose file and a Kubernetes manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sizing.launch.base import Expanded, Launch, Variable, format_shell
from sizing.launch.yaml_text import Yaml, write_documents, write_yaml
from sizing.units import GIB

SHARED_MEMORY = "2Gi"
"""What ranks share their data in, as in vLLM's own manifest: https://docs.vllm.ai/en/latest/deployment/k8s.html"""

PROBE_SECONDS = 10
START_SECONDS = 3600
"""How long a start may take before Kubernetes gives up: the weights have to be fetched first."""

NVIDIA_RESOURCE = "nvidia.com/gpu"
"""https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/"""


@dataclass(frozen=True, slots=True)
class Container:
    """A server in a container.

    `command` is the whole command line, the program first; a `Variable` in it is set from `variables`. `port` is
    where it listens inside and, on loopback, outside. `n_gpus` NVIDIA cards are given to it. `cache_dir` is where it
    keeps what it fetches, which the variables `cache_names` tell it, and `cache_volume` that place on the host.
    `health_path` is what answers 200 once it serves. `model_dir` is a folder of the host that it sees read-only as
    /models. `stored_bytes` is the size of the files.
    """

    name: str
    image: str
    command: tuple[str, ...]
    port: int
    n_gpus: int
    stored_bytes: int
    health_path: str = "/health"
    cache_dir: str = "/cache"
    cache_names: tuple[str, ...] = ("HF_HOME",)
    cache_volume: str = "$HOME/.cache/huggingface"
    model_dir: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """Its whole environment but for the token."""
        return {**dict.fromkeys(self.cache_names, self.cache_dir), **self.environment}


def list_container_launches(container: Container) -> tuple[Launch, ...]:
    """Docker, compose and Kubernetes, in that order."""
    return write_docker(container), write_compose(container), write_kubernetes(container)


def write_docker(container: Container) -> Launch:
    """`docker run`, reachable from this machine only; a token for gated models comes from the environment by name.

    Options: https://docs.docker.com/reference/cli/docker/container/run/
    """
    words: list[str] = ["docker", "run", "--rm", "--name", container.name]
    if container.n_gpus:
        words += ["--gpus", str(container.n_gpus)]
    words += ["--ipc=host", "-p", f"127.0.0.1:{container.port}:{container.port}", "-e", "HF_TOKEN"]
    for name, value in container.settings.items():
        words += ["-e", f"{name}={value}"]
    words += ["-v", Expanded(f"{container.cache_volume}:{container.cache_dir}")]
    if container.model_dir is not None:
        words += ["--mount", _write_mount(container.model_dir)]
    words += ["--entrypoint", container.command[0], container.image, *container.command[1:]]
    note = (
        f"Serves on 127.0.0.1:{container.port}; needs the NVIDIA Container Toolkit."
        if container.n_gpus
        else (f"Serves on 127.0.0.1:{container.port}.")
    )
    note = " ".join((note, "Export HF_TOKEN first where the model is gated.", container.note)).strip()
    return Launch("Docker", "bash", format_shell(words, container.variables), f"{container.name}-docker.sh", note)


def _write_mount(folder: str) -> str:
    """A read-only bind mount; the fields are CSV, so that a comma or a quote in the folder's name is harmless."""
    source = f"source={folder}"
    if any(c in folder for c in ',"\n\r'):
        source = '"' + source.replace('"', '""') + '"'
    return f"type=bind,{source},target=/models,readonly"


def write_compose(container: Container) -> Launch:
    """A compose file. Its own `$` interpolation is switched off but for what the reader has to set.

    Format: https://github.com/compose-spec/compose-spec/blob/main/spec.md
    """
    volumes: list[Yaml] = [f"{_to_compose_home(container.cache_volume)}:{container.cache_dir}"]
    if container.model_dir is not None:
        source = _escape_dollar(container.model_dir)
        volumes.append({"type": "bind", "source": source, "target": "/models", "read_only": True})
    service: dict[str, Yaml] = {
        "image": container.image,
        "entrypoint": [container.command[0]],
        "command": [_to_compose(word, container.variables) for word in container.command[1:]],
        "environment": {"HF_TOKEN": None, **{k: _escape_dollar(v) for k, v in container.settings.items()}},
        "ports": [f"127.0.0.1:{container.port}:{container.port}"],
        "volumes": volumes,
        "ipc": "host",
        "restart": "unless-stopped",
        "healthcheck": _write_health_check(container),
    }
    if container.n_gpus:
        device: Yaml = {"driver": "nvidia", "count": container.n_gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    file: dict[str, Yaml] = {"services": {container.name: service}}
    if not container.cache_volume.startswith("$"):
        file["volumes"] = {container.cache_volume: {}}
    text = write_yaml(file)
    note = f"docker compose up -d; serves on 127.0.0.1:{container.port}; HF_TOKEN is taken from the environment."
    if container.variables:
        note += f" {', '.join(container.variables)} must be set there too."
    return Launch("docker compose", "yaml", text, "compose.yaml", f"{note} {container.note}".strip())


def _write_health_check(container: Container) -> Yaml:
    """Asks the server as a client would, with bash alone: not every image has curl."""
    ask = (
        f"exec 3<>/dev/tcp/127.0.0.1/{container.port} && "
        f"printf 'GET {container.health_path} HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200'"
    )
    test: list[Yaml] = ["CMD", "bash", "-c", ask]
    every = f"{PROBE_SECONDS}s"
    return {"test": test, "interval": every, "timeout": every, "retries": 6, "start_period": f"{START_SECONDS}s"}


def _escape_dollar(text: str) -> str:
    return text.replace("$", "$$")


def _to_compose(word: str, variables: Mapping[str, str]) -> str:
    if not isinstance(word, Variable):
        return _escape_dollar(word)
    hint = "".join(c if c.isalnum() or c in " ./-_" else "?" for c in variables[word])
    return f"${{{word}:?set it to {hint}}}"


def _to_compose_home(volume: str) -> str:
    return volume.replace("$HOME", "${HOME}")


def write_kubernetes(container: Container) -> Launch:
    """A Deployment, its Service and the claim that keeps what it fetched.

    The program gets no rights it does not need, and no variables named after services, of which vLLM would misread
    its own (VLLM_PORT). The claim holds the files twice, so that a new revision fits beside the old one.
    API: https://kubernetes.io/docs/reference/kubernetes-api/
    """
    name = container.name
    labels: Yaml = {"app.kubernetes.io/name": name}
    storage = math.ceil(2 * container.stored_bytes / GIB)
    claim: Yaml = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{name}-cache", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{max(storage, 1)}Gi"}}},
    }
    deployment: Yaml = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # two at once would ask for twice the cards
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _write_pod(container)},
        },
    }
    service: Yaml = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [{"name": "http", "port": container.port, "targetPort": "http"}],
        },
    }
    note = (
        f"kubectl apply -f {name}.yaml; reachable inside the cluster, and from here with kubectl port-forward "
        f"service/{name} {container.port}. A gated model needs a secret hf-token with the key token."
    )
    if container.variables:
        note += f" Put the right name in {', '.join(container.variables)} first."
    if container.model_dir is not None:
        note += " Copy the file into the claim's folder models first."
    text = write_documents([claim, deployment, service])
    return Launch("Kubernetes", "yaml", text, f"{name}.yaml", f"{note} {container.note}".strip())


def _write_pod(container: Container) -> Yaml:
    cache: list[Yaml] = [
        {"name": "cache", "mountPath": container.cache_dir},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if container.model_dir is not None:
        cache.append({"name": "cache", "mountPath": "/models", "subPath": "models", "readOnly": True})
    server: dict[str, Yaml] = {
        "name": container.name,
        "image": container.image,
        "command": [container.command[0]],
        "args": [_to_kubernetes(word) for word in container.command[1:]],
        "env": _list_environment(container),
        "ports": [{"name": "http", "containerPort": container.port}],
        "volumeMounts": cache,
        **_list_probes(container),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if container.n_gpus:
        server["resources"] = {"limits": {NVIDIA_RESOURCE: str(container.n_gpus)}}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [server],
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": f"{container.name}-cache"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        ],
    }


def _to_kubernetes(word: str) -> str:
    """A word whose `$(NAME)` Kubernetes would fill in, unless it is meant so."""
    return f"$({word})" if isinstance(word, Variable) else _escape_dollar(word)


def _list_environment(container: Container) -> Sequence[Yaml]:
    token: Yaml = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    given = {**container.variables, **container.settings}
    plain: list[Yaml] = [{"name": k, "value": _escape_dollar(v)} for k, v in given.items()]
    return [{"name": "HF_TOKEN", "valueFrom": token}, *plain]


def _list_probes(container: Container) -> Mapping[str, Yaml]:
    ask: Yaml = {"path": container.health_path, "port": "http"}
    start: Yaml = {"httpGet": ask, "periodSeconds": PROBE_SECONDS, "failureThreshold": START_SECONDS // PROBE_SECONDS}
    ready: Yaml = {"httpGet": ask, "periodSeconds": PROBE_SECONDS, "timeoutSeconds": PROBE_SECONDS}
    live: Yaml = {"httpGet": ask, "periodSeconds": 3 * PROBE_SECONDS, "timeoutSeconds": PROBE_SECONDS}
    return {"startupProbe": start, "readinessProbe": ready, "livenessProbe": live}
