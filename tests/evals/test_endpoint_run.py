"""Runs against a model server on loopback, from the command line to the run's file; the key stays out of everything."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.demo.corpus import SKILLS, list_held_out_items
from evals.run_files import RunState, list_runs

KEY = "sk-very-secret-0123456789"
ANSWERS = {item.prompt: item.answer for skill in SKILLS for item in list_held_out_items(skill, 400)}


class Server(ThreadingHTTPServer):
    """Knows the answers; refuses without the key; can fail after so many answers."""

    daemon_threads = True
    n_answered = 0
    fail_after = 10**9
    key = KEY


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def is_refused(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key and given != f"Bearer {self.server.key}":
            self.reply(401, {"error": {"message": f"wrong key {given}"}})
            return True
        return False

    def do_GET(self) -> None:
        if not self.is_refused():
            self.reply(200 if self.path == "/v1/models" else 404, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_refused():
            return
        if self.server.n_answered >= self.server.fail_after:
            self.reply(400, {"error": {"message": "the cluster is gone"}})
            return
        self.server.n_answered += 1
        assert [turn["role"] for turn in asked["messages"]] == ["user"]
        answer = ANSWERS.get(asked["messages"][0]["content"], "?")
        self.reply(
            200,
            {
                "choices": [{"message": {"content": answer}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3},
            },
        )


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    monkeypatch.setenv("WEIGHBRIDGE_API_KEY", KEY)
    return tmp_path


def find_key(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_server_is_evaluated_with_the_same_suites(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    assert main(["run", "--model", url, "--suite", "demo", "--limit", "60", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    (score,) = told["scores"]
    assert (score["value"], score["n_items"]) == (1.0, 60)
    assert told["items"][0]["n_prompt_tokens"] == 11
    assert told["facts"]["description"] == "tiny" and told["facts"]["file_sha256"] == ""
    assert told["peak_bytes"] == 0 and told["decode_tokens_per_s"] is None  # a server's own work is not seen from here
    assert find_key(home) == [] and KEY not in said.out + said.err


def test_a_refused_key_is_told_without_the_key(server: Server, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.key = "another"
    assert main(["run", "--model", f"http://127.0.0.1:{server.server_port}", "--suite", "demo"]) == 1
    (run,) = list_runs(home)
    assert run.state is RunState.FAILED and "key" in run.reason
    said = capsys.readouterr()
    assert find_key(home) == [] and KEY not in said.out + said.err


def test_a_server_that_fails_in_the_middle_loses_nothing(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail_after = 25
    url = f"http://127.0.0.1:{server.server_port}"
    assert main(["run", "--model", url, "--suite", "demo", "--limit", "60"]) == 1
    (run,) = list_runs(home)
    assert run.state is RunState.FAILED and "the cluster is gone" in run.reason
    assert 0 < len(run.items) <= 25
    n_before, asked_before = len(run.items), server.n_answered
    server.fail_after = 10**9
    assert main(["resume", run.run_id]) == 0
    (run,) = list_runs(home)
    path = home / "runs" / "evals" / f"{run.run_id}.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert set(Counter(r["item_id"] for r in records if r["line"] == "item").values()) == {1}
    assert len(run.items) == 60 and server.n_answered - asked_before == 60 - n_before


def test_log_likelihoods_of_a_chat_server_are_refused_by_name(server: Server, home: Path) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    assert main(["run", "--model", url, "--suite", "demo_choice", "--limit", "5"]) == 1
    (run,) = list_runs(home)
    assert "log-likelihoods need api 'completion'" in run.reason
