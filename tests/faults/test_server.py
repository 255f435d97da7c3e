"""The running server: bound to this machine, closed to other sites' pages, with caps, and no way to the disk."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tools import run_app
from tools.running_app import RunningApp, start_app

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
MARK = b"<title>Streamlit</title>"  # the page itself, which answers at every path there is no file for


@pytest.fixture(scope="module")
def app() -> Iterator[RunningApp]:
    with start_app() as running:
        yield running


def ask(
    app: RunningApp, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the path is sent as it stands."""
    host, port = app.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def find_token(app: RunningApp) -> str:
    """The token the server gives its own page as a cookie."""
    cookie = ask(app, "GET", "/_stcore/health")[1]["set-cookie"]
    assert "SameSite=Lax" in cookie
    return cookie.split("=", 1)[1].split(";", 1)[0]


def find_session(app: RunningApp, token: str) -> Iterator[str]:
    """The id of a session as its page learns it, for as long as the page is open."""
    address = app.url.replace("http", "ws") + "/_stcore/stream"
    with connect(address, origin=app.url, subprotocols=["streamlit", token], max_size=None) as page:
        message = BackMsg()
        message.rerun_script.query_string = ""
        page.send(message.SerializeToString())
        while True:
            told = ForwardMsg()
            told.ParseFromString(page.recv(timeout=30))
            if told.WhichOneof("type") == "new_session":
                yield told.new_session.initialize.session_id
                return


def test_it_is_bound_to_this_machine_and_the_file_says_so_too(app: RunningApp) -> None:
    assert app.url.startswith("http://127.0.0.1:")
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    server = settings["server"]
    assert server["address"] == "127.0.0.1"
    assert server["enableXsrfProtection"] and server["enableCORS"]
    assert not server.get("enableStaticServing", False)
    assert server["maxUploadSize"] <= 16 and server["maxMessageSize"] <= 64
    assert set(server["allowedHosts"]) == {"127.0.0.1", "localhost", "::1"}
    assert not server.get("enableAgentApi", False)
    assert not settings["browser"]["gatherUsageStats"] and settings["client"]["showErrorDetails"] == "none"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("headers", [{}, {"X-Xsrftoken": "x", "Cookie": "_streamlit_xsrf=x"}, {"X-Xsrftoken": "x"}])
def test_an_upload_without_the_pages_token_is_refused(app: RunningApp, method: str, headers: dict[str, str]) -> None:
    status, _, body = ask(app, method, "/_stcore/upload_file/session/file", headers, b"x")
    assert status == 403 and b"XSRF" in body


def test_an_upload_is_taken_from_the_page_up_to_the_cap_and_no_further(app: RunningApp) -> None:
    token = find_token(app)
    headers = {"X-Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"}
    form = {**headers, "Content-Type": "multipart/form-data; boundary=b"}

    def wrap(data: bytes) -> bytes:
        return b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + data + b"\r\n--b--\r\n"

    assert ask(app, "PUT", "/_stcore/upload_file/nobody/file", form, wrap(b"x"))[0] == 400
    for session in find_session(app, token):
        path = f"/_stcore/upload_file/{session}/file"
        assert ask(app, "PUT", path, form, wrap(b"x"))[0] == 204
        assert ask(app, "PUT", path, {**form, "Content-Length": str(17 * MIB)}, b"x")[0] == 413
        assert ask(app, "PUT", path, {**headers, "Content-Type": form["Content-Type"]}, b"x")[0] == 400


def test_a_page_of_another_site_may_neither_read_nor_talk(app: RunningApp) -> None:
    evil = "http://evil.example"
    for path in ("/_stcore/health", "/_stcore/host-config", "/_stcore/upload_file/a/b"):
        method = "OPTIONS" if "upload" in path else "GET"
        assert ask(app, method, path, {"Origin": evil})[1].get("access-control-allow-origin") not in ("*", evil)
    address = app.url.replace("http", "ws") + "/_stcore/stream"
    with pytest.raises(InvalidStatus) as refused, connect(address, origin=evil, subprotocols=["streamlit"]):
        pass
    assert refused.value.response.status_code == 403


def test_a_name_that_was_made_to_lead_here_may_not_talk(app: RunningApp) -> None:
    port = app.url.rsplit(":", 1)[1]
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        connect(
            f"ws://evil.example:{port}/_stcore/stream",
            sock=socket.create_connection(("127.0.0.1", int(port))),
            proxy=None,
            origin=f"http://evil.example:{port}",
            subprotocols=["streamlit"],
        ) as page,
    ):
        page.recv(timeout=5)


ROUTES = ("", "/static", "/app/static", "/media", "/component", "/_stcore/component", "/_stcore/bidi-components")
CLIMBS = (
    "/../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/..%252f..%252f..%252fetc%252fpasswd",
    "/..\\..\\..\\..\\etc\\passwd",
    "/%2fetc%2fpasswd",
    "//etc/passwd",
    "/x/../../.streamlit/config.toml",
    "/%00",
    "/C:/windows/win.ini",
)
OWN_FILES = ("/app.py", "/.streamlit/config.toml", "/.streamlit/secrets.toml", "/evals/home.py", "/.git/config")


@pytest.mark.parametrize("path", [*(route + climb for route in ROUTES for climb in CLIMBS), *OWN_FILES])
def test_no_route_leads_to_a_file_of_the_disk(app: RunningApp, path: str) -> None:
    status, _, body = ask(app, "GET", path)
    assert status in (400, 403, 404, 405) or (status == 200 and MARK in body)
    assert b"root:" not in body and b"enableXsrf" not in body and b"set_page_config" not in body


@pytest.mark.parametrize("path", ["interact", "mcp"])
def test_no_program_may_drive_the_app_over_http(app: RunningApp, path: str) -> None:
    status, _, body = ask(app, "POST", f"/_stcore/agent/{path}", {"Content-Type": "application/json"}, b"{}")
    assert status in (400, 403, 404, 405) and b"not_available" in body


@pytest.mark.parametrize("name", ["x.txt", "../app.py", "config.toml"])
def test_no_static_files_are_served(app: RunningApp, name: str) -> None:
    status, _, body = ask(app, "GET", f"/app/static/{name}")
    assert status in (400, 404) or MARK in body


def test_the_server_lives_and_printed_no_traceback(app: RunningApp) -> None:
    assert ask(app, "GET", "/_stcore/health")[0] == 200
    assert app.read_tracebacks() == ""


# ---- who may reach it ----


def run_main(monkeypatch: pytest.MonkeyPatch, host: str) -> tuple[int | None, list[str]]:
    """What `make run HOST=host` starts: the exit code of a refusal, else the command line."""
    started: list[str] = []

    def become(path: str, command: list[str], environment: dict[str, str]) -> None:
        assert environment["OPENBLAS_NUM_THREADS"] == os.environ.get("OPENBLAS_NUM_THREADS", "1")
        started.extend(command)

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setattr(os, "chdir", lambda path: None)
    monkeypatch.setenv(run_app.HOST_VARIABLE, host)
    return run_app.main(), started


@pytest.mark.parametrize("host", ["", "127.0.0.1", "127.0.0.2"])
def test_a_host_of_this_machine_is_no_matter(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, command = run_main(monkeypatch, host)
    assert command[command.index("--server.address") + 1] == (host or "127.0.0.1")
    assert capsys.readouterr().err == ""


def test_another_host_is_warned_of_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, command = run_main(monkeypatch, "0.0.0.0")
    assert command[command.index("--server.address") + 1] == "0.0.0.0"
    assert command[command.index("--server.allowedHosts") + 1] == "*"
    told = capsys.readouterr().err
    for words in ("reached from other machines", "asks nobody who they are", "results, imports", "downloads"):
        assert words in told
    assert "WEIGHBRIDGE_MODELS" in told and "ssh -L" in told and "Nothing is encrypted" in told


@pytest.mark.parametrize("host", ["my-laptop", "http://x", "0.0.0.0/0", "-h"])
def test_a_host_that_is_no_address_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, command = run_main(monkeypatch, host)
    assert code == 2 and not command and "HOST must be an address" in capsys.readouterr().err


def test_a_host_the_shell_happens_to_hold_does_not_open_the_app() -> None:
    asked = ["make", "-n", "-o", "set-up-app", "run"]
    shell = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HOST": "my-laptop"})
    assert "WEIGHBRIDGE_HOST= " in shell.stdout and "my-laptop" not in shell.stdout
    told = subprocess.run([*asked, "HOST=0.0.0.0"], cwd=ROOT, capture_output=True, text=True)
    assert "WEIGHBRIDGE_HOST=0.0.0.0 " in told.stdout
