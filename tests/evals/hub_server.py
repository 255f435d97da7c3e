"""A Hub of data sets on this machine for tests: it speaks as much of the Hugging Face Hub's API as `datasets` asks.

A repository is its files by path. Files are found by revision (`main`, or the one commit there is), each with an ETag
and the commit, as the client's cache wants them. A repository can be gated or out of order.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Rows = Sequence[Mapping[str, Any]]


def write_rows(rows: Rows) -> bytes:
    """Rows as a JSON lines file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def build_repository(subsets: Mapping[str, Mapping[str, Rows]]) -> dict[str, bytes]:
    """The files of a data set: rows by subset and split, one file each, and the README.md that names them."""
    files: dict[str, bytes] = {}
    header = ["---", "configs:"]
    for subset, splits in subsets.items():
        header += [f"- config_name: {subset}", "  data_files:"]
        for split, rows in splits.items():
            path = f"{subset}/{split}.jsonl"
            files[path] = write_rows(rows)
            header += [f"  - split: {split}", f"    path: {path}"]
    files["README.md"] = "\n".join([*header, "---", "# Invented rows", ""]).encode()
    return files


@dataclass
class HubServer:
    """Serves `repositories` (files by path, by "owner/name") until closed.

    Names in `gated` want a token that nobody has, for all but their README.md where they are in `shown` too; those in
    `broken` are answered with status 500. `asked` lists method, path and headers of every request.
    """

    repositories: dict[str, dict[str, bytes]]
    gated: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> HubServer:
        handler = type("Bound", (Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def find_commit(self, name: str) -> str:
        """The one commit of a repository, made of its files."""
        digest = hashlib.sha1(name.encode())
        for path, content in sorted(self.repositories[name].items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One request. The class is bound to its server by `HubServer`."""

    owner: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        """A file, a listing, or what a repository is."""
        self.answer(b"")

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self.answer(b"")

    def do_POST(self) -> None:
        """Which of the named paths there are."""
        self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def answer(self, body: bytes) -> None:
        """Find the repository and what is asked of it."""
        self.owner.asked.append((self.command, self.path, dict(self.headers)))
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"/(?:api/)?datasets/([^/]+/[^/]+)(?:/(.*))?", path)
        name, rest = (found.group(1), found.group(2) or "") if found else ("", "")
        is_open = name in self.owner.shown and rest.endswith("/README.md")
        if name in self.owner.broken:
            self.refuse(500, "", "out of order")
        elif name in self.owner.gated and not path.startswith("/api/") and not is_open:
            told = f"Access to dataset {name} is restricted. You must be authenticated to access it."
            self.refuse(401, "GatedRepo", told)
        elif name not in self.owner.repositories:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        elif path.startswith("/api/"):
            self.answer_api(name, rest, body)
        elif rest.startswith("resolve/"):
            self.send_file(name, rest)
        else:
            self.refuse(404, "EntryNotFound", "no such page")

    def answer_api(self, name: str, rest: str, body: bytes) -> None:
        """What the repository is, a folder of it, or some of its paths."""
        kind, _, below = rest.partition("/")
        revision, _, folder = below.partition("/")
        commit = self.owner.find_commit(name)
        if kind and revision not in ("main", commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif kind in ("", "revision"):
            files = [{"rfilename": path} for path in sorted(self.owner.repositories[name])]
            told = {"id": name, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": files}
            self.send_json({**told, "author": name.partition("/")[0], "disabled": False, "downloads": 0, "likes": 0})
        elif kind == "tree":
            self.list_folder(name, folder)
        elif kind == "paths-info":
            self.send_json([entry for path in read_paths(body) for entry in self.describe(name, path)])
        else:
            self.refuse(404, "EntryNotFound", f"no {kind} here")

    def list_folder(self, name: str, folder: str) -> None:
        """The entries of a folder, all below it where that is asked for."""
        query = parse_qs(urlsplit(self.path).query)
        is_deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        paths = {path for path in list_paths(self.owner.repositories[name]) if path != folder}
        inside = {path for path in paths if not folder or path.startswith(f"{folder}/")}
        depth = folder.count("/") + 1 if folder else 0
        wanted = sorted(path for path in inside if is_deep or path.count("/") == depth)
        if folder and not inside:
            self.refuse(404, "EntryNotFound", f"{folder} does not exist on main")
        else:
            self.send_json([entry for path in wanted for entry in self.describe(name, path)])

    def describe(self, name: str, path: str) -> list[dict[str, Any]]:
        """A file or folder as the Hub's listings tell it; nothing where there is none."""
        files = self.owner.repositories[name]
        if path in files:
            return [{"type": "file", "path": path, "size": len(files[path]), "oid": name_content(files[path])}]
        if path in list_paths(files):
            return [{"type": "directory", "path": path, "size": 0, "oid": name_content(path.encode())}]
        return []

    def send_file(self, name: str, rest: str) -> None:
        """A file at a revision, whole or from a byte on."""
        _, revision, path = rest.split("/", 2)
        commit = self.owner.find_commit(name)
        content = self.owner.repositories[name].get(path)
        if revision not in ("main", commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif content is None:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        else:
            headers = {"ETag": f'"{name_content(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "none"}
            self.send(200, content, {**headers, "Content-Type": "application/octet-stream"})

    def send_json(self, value: Any) -> None:
        """JSON, well."""
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, told: str, headers: Mapping[str, str] | None = None) -> None:
        """An error as the Hub tells it: a code and a message in headers."""
        about = {"X-Error-Code": code, "X-Error-Message": told} if code else {}
        body = json.dumps({"error": told}).encode()
        self.send(status, body, {"Content-Type": "application/json", **about, **(headers or {})})

    def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        """Status, headers and, unless only they are asked for, the content."""
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def name_content(content: bytes) -> str:
    """A name that changes with the content, as Git names its blobs."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def list_paths(files: Mapping[str, bytes]) -> set[str]:
    """All files and the folders above them."""
    folders = {"/".join(path.split("/")[:i]) for path in files for i in range(1, path.count("/") + 1)}
    return {*files, *folders}


def read_paths(body: bytes) -> list[str]:
    """The paths a POST names, as a form or as JSON."""
    text = body.decode()
    paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
    return [paths] if isinstance(paths, str) else list(paths)
