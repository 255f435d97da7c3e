"""Files that start one model over several machines: Ray and vLLM, llama.cpp's servers and their main host.

Whoever reaches these ports can run code on the machines, so every file binds to one address of a private network that
the reader names, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sizing.cluster import LLAMA_CPP, VLLM, ClusterPlan
from sizing.engines.base import EngineEstimate
from sizing.engines.llama_cpp import build_workload
from sizing.launch.base import Expanded, Launch, ModelFiles, Variable, format_shell
from sizing.launch.gguf import SERVER_PORT, find_source, list_llama_server_words
from sizing.launch.images import VLLM_IMAGE
from sizing.launch.serving import LOOPBACK, SERVERS, list_vllm_words
from sizing.launch.source import find_weights
from sizing.launch.yaml_text import Yaml, write_yaml

RAY_PORT = 6379
RPC_PORT = 50052
"""Ports by default: https://docs.ray.io/en/latest/ray-core/configure.html and llama.cpp's tools/rpc/rpc-server.cpp."""

FIRST_ADDRESS = "10.0.0.1"

RAY_WARNING = (
    "Traffic between the machines is not encrypted and whoever reaches the ports can run code there: use a private "
    "network (https://docs.vllm.ai/en/latest/serving/parallelism_scaling.html)."
)
TOKEN_NOTE = "Every machine needs the same ~/.ray/auth_token, made once with: ray get-auth-token --generate."
RPC_WARNING = (
    "rpc-server is fragile and insecure by its own word: never expose it to an open network "
    "(https://github.com/ggml-org/llama.cpp/blob/master/tools/rpc/README.md)."
)


def list_cluster_launches(plan: ClusterPlan, files: ModelFiles) -> tuple[Launch, ...]:
    """Every file that starts a plan just as it was sized; empty where it does not run."""
    if not plan.estimate.fit.runs:
        return ()
    if plan.engine == VLLM and plan.answer is not None:
        return tuple(_list_ray_launches(plan, plan.answer, files))
    return tuple(_list_rpc_launches(plan, files)) if plan.engine == LLAMA_CPP else ()


def name_address(number: int) -> str:
    """An example address of a machine, counted from 1."""
    return f"10.0.0.{number}"


# ---------------------------------------------------------------- vLLM on Ray


def _list_ray_launches(plan: ClusterPlan, answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    """Ray's head, its workers, vLLM on top, and the containers in which Ray may run instead."""
    n_cards = len(plan.cluster.node.accelerators)
    others = plan.cluster.n_nodes - 1
    yield Launch(
        "Ray on the first machine",
        "bash",
        _write_ray(["--head", f"--port={RAY_PORT}"], n_cards, {"SELF": FIRST_ADDRESS}),
        "ray-head.sh",
        f"On the first machine; set SELF to its address. {TOKEN_NOTE} {RAY_WARNING}",
    )
    if others:
        yield Launch(
            "Ray on every other machine",
            "bash",
            _write_ray(
                [Expanded(f"--address=$HEAD:{RAY_PORT}")], n_cards, {"HEAD": FIRST_ADDRESS, "SELF": name_address(2)}
            ),
            "ray-worker.sh",
            f"On {others} more; set SELF to each one's own address, HEAD to the first machine's. {RAY_WARNING}",
        )
    weights = find_weights(answer, files, SERVERS[VLLM].on_load)
    words = [*list_vllm_words(answer, weights, files.model_id, LOOPBACK), "--distributed-executor-backend", "ray"]
    note = f"On the first machine, once `ray status` counts {plan.cluster.n_nodes} nodes. {weights.note}".strip()
    if plan.cluster.interconnect.is_rdma:
        note += " NCCL_DEBUG=INFO tells whether it uses RDMA."
    yield Launch("vllm serve", "bash", format_shell(words, weights.variables), "vllm-serve.sh", note)
    if all(card.backend == "cuda" for card in plan.cluster.node.accelerators):
        yield _write_ray_compose(n_cards)


def _write_ray(words: Sequence[str], n_cards: int, variables: dict[str, str]) -> str:
    """`ray start` bound to one address, which vLLM takes too.

    https://github.com/vllm-project/vllm/blob/main/examples/online_serving/run_cluster.sh
    """
    command = ["ray", "start", *words, Expanded("--node-ip-address=$SELF"), f"--num-gpus={n_cards}"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--block"]
    head, start = format_shell(["true"], variables).rpartition("\n")[0], format_shell(command)
    return f'{head}\nexport VLLM_HOST_IP="$SELF" RAY_AUTH_MODE=token\n{start}'


def _write_ray_compose(n_cards: int) -> Launch:
    """Ray in vLLM's image, one profile for the first machine and one for the others."""

    def service(profile: str, words: Sequence[str]) -> Yaml:
        device: Yaml = {"driver": "nvidia", "count": n_cards, "capabilities": ["gpu"]}
        command: list[Yaml] = [*words, "--node-ip-address=${SELF:?set it to this machine's address}"]
        command += [f"--num-gpus={n_cards}", "--include-dashboard=false", "--disable-usage-stats", "--block"]
        return {
            "image": VLLM_IMAGE,
            "profiles": [profile],
            "entrypoint": ["ray", "start"],
            "command": command,
            "environment": {
                "HF_HOME": "/huggingface",
                "HF_TOKEN": None,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": "${RAY_AUTH_TOKEN:?set it to the same long random text on every machine}",
                "VLLM_HOST_IP": "${SELF:?set it to this machine's address}",
            },
            "volumes": ["${HOME}/.cache/huggingface:/huggingface"],
            "network_mode": "host",
            "ipc": "host",
            "restart": "unless-stopped",
            "deploy": {"resources": {"reservations": {"devices": [device]}}},
        }

    join = f"--address=${{HEAD:?set it to the first machine's address}}:{RAY_PORT}"
    head, worker = service("head", ["--head", f"--port={RAY_PORT}"]), service("worker", [join])
    text = write_yaml({"services": {"ray-head": head, "ray-worker": worker}})
    note = (
        "In place of the two scripts: docker compose --profile head up -d on the first machine, --profile worker on "
        "the others, with SELF, HEAD and RAY_AUTH_TOKEN set on each; then run vllm-serve.sh by docker compose exec "
        "ray-head bash. "
    )
    return Launch("docker compose", "yaml", text, "compose.yaml", note + RAY_WARNING)


# ---------------------------------------------------------------- llama.cpp over RPC


def _list_rpc_launches(plan: ClusterPlan, files: ModelFiles) -> Iterator[Launch]:
    """A server on every other machine, and llama-server on the first."""
    told, workload = plan.estimate, build_workload(plan.setup)
    source = find_source(files, told.memory.quant)
    others = [name_address(node.number) for node in plan.nodes[1:]]
    if others:
        words = ["rpc-server", "-H", Variable("SELF"), "-p", str(RPC_PORT), "-c"]
        yield Launch(
            "rpc-server on every other machine",
            "bash",
            format_shell(words, {"SELF": others[0]}),
            "rpc-server.sh",
            f"On {len(others)} more; set SELF to each one's own private address. -c keeps the weights on its disk, so "
            f"that only the first start sends them. {RPC_WARNING}",
        )
    machine = plan.setup.machine
    words = list_llama_server_words(files.model_id, source.words, told, workload, machine)
    if others:
        words += ["--rpc", ",".join(f"{address}:{RPC_PORT}" for address in others)]
    words += ["--host", LOOPBACK, "--port", str(SERVER_PORT)]
    unset = {} if source.words[0] == "-hf" or source.path else source.variables
    note = f"On the first machine, the others' servers running; replace their addresses. {source.note}".strip()
    yield Launch("llama-server", "bash", format_shell(words, unset), "llama-server.sh", note)
