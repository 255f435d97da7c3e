"""A Hub of models on this machine for tests: as much of the Hugging Face Hub's API as this program asks, and its CDN.

    with ModelHub([ModelRepository("ada/tiny", {"config.json": b"{}", "tiny-Q8_0.gguf": content})]) as hub:
        Hub(hub.url).search(HubQuery("tiny"))

Large files are redirected to a second port, as the Hub redirects them to its CDN. How a path misbehaves is set by
`hub.faults["/ada/tiny/resolve/main/config.json"] = Fault(status=500, times=2)`; on the CDN's port a path starts with
"cdn:". Everything asked stands in `hub.asked`, with the bytes that were sent.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SENT_AT_ONCE = 64 * 1024
LARGE_ENDINGS = (".gguf", ".safetensors", ".bin", ".dat")


@dataclass(frozen=True)
class ModelFile:
    """A file: its bytes, then zeros up to `size` where that is more. Large ones are in LFS, so on the CDN's port."""

    content: bytes
    size: int | None = None
    is_large: bool | None = None
    told_sha256: str | None = None

    @property
    def n_bytes(self) -> int:
        return len(self.content) if self.size is None else self.size

    @property
    def sha256(self) -> str:
        """Of the content; an invented one for a file that is mostly zeros."""
        return self.told_sha256 or hashlib.sha256(self.content + str(self.size or "").encode()).hexdigest()

    @property
    def git_sha1(self) -> str:
        return hashlib.sha1(f"blob {len(self.content)}\0".encode() + self.content).hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to before `end`."""
        while start < end:
            stop = min(end, start + SENT_AT_ONCE)
            piece = self.content[start:stop]
            yield piece + bytes(stop - start - len(piece))
            start = stop


@dataclass
class ModelRepository:
    """A model repository. `readers` are the tokens whose account agreed to the terms of a gated one.

    `told` is laid over the model's info, so that a test can leave fields out (None) or give them another form.
    """

    repo_id: str
    files: Mapping[str, bytes | ModelFile] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    gated: str = ""
    readers: Sequence[str] = ()
    is_private: bool = False
    n_downloads: int = 100
    n_likes: int = 3
    pipeline_tag: str = "text-generation"
    library: str = "transformers"
    safetensors: Mapping[str, int] | None = None
    gguf: Mapping[str, Any] | None = None
    created: str = "2024-05-01T10:00:00.000Z"
    modified: str = "2024-06-02T11:00:00.000Z"
    told: Mapping[str, Any] = field(default_factory=dict)

    def find(self, path: str) -> ModelFile | None:
        file = self.files.get(path)
        return ModelFile(file) if isinstance(file, bytes) else file

    @property
    def commit(self) -> str:
        """The one commit there is, made of names and lengths."""
        digest = hashlib.sha1(self.repo_id.encode())
        for path in sorted(self.files):
            file = self.find(path)
            assert file is not None
            digest.update(f"{path} {file.n_bytes} {file.git_sha1}".encode())
        return digest.hexdigest()

    @property
    def all_tags(self) -> list[str]:
        license_tags = [f"license:{self.card['license']}"] if isinstance(self.card.get("license"), str) else []
        endings = [kind for kind in ("gguf", "safetensors") if any(p.endswith(f".{kind}") for p in self.files)]
        return [*dict.fromkeys([*self.tags, *license_tags, *endings])]

    def list_siblings(self, with_blobs: bool) -> list[dict[str, Any]]:
        told = []
        for path in sorted(self.files):
            entry: dict[str, Any] = {"rfilename": path}
            file = self.find(path)
            assert file is not None
            if with_blobs:
                entry |= {"size": file.n_bytes, "blobId": file.git_sha1}
            if with_blobs and is_large(path, file):
                entry["lfs"] = {"sha256": file.sha256, "size": file.n_bytes, "pointerSize": 135}
            told.append(entry)
        return told

    def describe(self, expand: Sequence[str] = (), with_blobs: bool = False) -> dict[str, Any]:
        """The model's info; only the fields of `expand` where there are some."""
        total = sum((self.safetensors or {}).values())
        told: dict[str, Any] = {
            "_id": self.commit[:24],
            "id": self.repo_id,
            "modelId": self.repo_id,
            "author": self.repo_id.rpartition("/")[0],
            "sha": self.commit,
            "private": self.is_private,
            "gated": self.gated or False,
            "disabled": False,
            "downloads": self.n_downloads,
            "likes": self.n_likes,
            "tags": self.all_tags,
            "pipeline_tag": self.pipeline_tag,
            "library_name": self.library,
            "createdAt": self.created,
            "lastModified": self.modified,
            "cardData": dict(self.card),
            "siblings": self.list_siblings(with_blobs),
            **({"safetensors": {"parameters": dict(self.safetensors), "total": total}} if self.safetensors else {}),
            **({"gguf": dict(self.gguf)} if self.gguf else {}),
        }
        told = {name: value for name, value in {**told, **self.told}.items() if value is not None}
        return {name: told[name] for name in ("_id", "id", *expand) if name in told} if expand else told


@dataclass
class Fault:
    """How a path misbehaves, for as many `times` as told (None: always). `after_bytes` of the body are sent first.

    `is_cut` ends the connection there, `is_reset` breaks it; `drip_s` pauses before every piece sent.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    times: int | None = None
    delay_s: float = 0.0
    drip_s: float = 0.0
    after_bytes: int | None = None
    is_cut: bool = False
    is_reset: bool = False
    ignores_range: bool = False
    location: str | None = None


@dataclass
class Asked:
    """One request, and how many bytes of a body it was sent."""

    method: str
    server: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    n_sent: int = 0

    @property
    def span(self) -> tuple[int, int | None] | None:
        """The asked range: first byte and last byte."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None


class ModelHub:
    """Serves `repositories` on `url`, and their large files on a second port, until closed.

    `tokens` are those of any account: another token is refused. Set `page_size` to see pages.
    """

    def __init__(
        self, repositories: Sequence[ModelRepository] = (), tokens: Sequence[str] = (), page_size: int = 1000
    ) -> None:
        self.repositories = {repository.repo_id: repository for repository in repositories}
        self.tokens = tokens
        self.page_size = page_size
        self.faults: dict[str, Fault] = {}
        self.asked: list[Asked] = []
        self.renamed: dict[str, str] = {}
        self.url = self.cdn_url = ""
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> ModelHub:
        for name in ("hub", "cdn"):
            handler = type("Bound", (Handler,), {"owner": self, "name": name})
            server = QuietServer(("127.0.0.1", 0), handler)
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.002,), daemon=True).start()
        self.url, self.cdn_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def list_asked(self, server: str = "", path: str = "", method: str = "GET") -> list[Asked]:
        """Requests so far to one of the two servers, whose path ends in `path`."""
        asked = (a for a in list(self.asked) if a.method == method and a.path.endswith(path))
        return [a for a in asked if a.server == (server or a.server)]

    def find_models(self, query: list[tuple[str, str]]) -> list[ModelRepository]:
        """What a search finds, in its order."""
        told = dict(query)
        filters = [value for name, value in query if name == "filter"]
        bounds = dict(re.findall(r"(min|max):(\d+)B", told.get("num_parameters", "")))
        found = []
        for repository in self.repositories.values():
            n_params = sum((repository.safetensors or {}).values()) or (repository.gguf or {}).get("total", 0)
            if (
                told.get("search", "").lower() in repository.repo_id.lower()
                and told.get("author", repository.repo_id.partition("/")[0]) == repository.repo_id.partition("/")[0]
                and told.get("pipeline_tag", repository.pipeline_tag) == repository.pipeline_tag
                and all(tag in repository.all_tags for tag in filters)
                and int(bounds.get("min", 0)) * 10**9 <= n_params
                and n_params <= int(bounds.get("max", 10**9)) * 10**9
            ):
                found.append(repository)
        keys = {
            "downloads": lambda r: r.n_downloads,
            "likes": lambda r: r.n_likes,
            "trendingScore": lambda r: r.n_likes / (1 + r.n_downloads),
            "createdAt": lambda r: r.created,
            "lastModified": lambda r: r.modified,
        }
        return sorted(found, key=keys[told["sort"]], reverse=True) if "sort" in told else found


class QuietServer(ThreadingHTTPServer):
    """Clients that go away are no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr."""


class Handler(BaseHTTPRequestHandler):
    """One request. The class is bound to its Hub and to the server's name by `ModelHub`."""

    owner: ModelHub
    name: str
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.now = Asked(self.command, self.name, path, parse_qsl(parts.query), headers)
        self.owner.asked.append(self.now)
        self.fault = self.take_fault(path if self.name == "hub" else f"cdn:{path}")
        time.sleep(self.fault.delay_s)
        if self.fault.location is not None:
            self.send(302, b"", {"Location": self.fault.location, **self.fault.headers})
        elif self.fault.status:
            self.send(self.fault.status, self.fault.body or b"", self.fault.headers)
        elif self.fault.body is not None:
            self.send(200, self.fault.body, {"Content-Type": "text/html", **self.fault.headers})
        elif self.name == "cdn":
            self.answer_cdn(path)
        else:
            self.answer_hub(path)

    def take_fault(self, path: str) -> Fault:
        """The path's fault while it lasts, one that does nothing otherwise."""
        fault = self.owner.faults.get(path)
        if fault is None or fault.times == 0:
            return Fault()
        if fault.times is not None:
            fault.times -= 1
        return fault

    def answer_hub(self, path: str) -> None:
        token = self.now.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.owner.tokens:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif path == "/api/models":
            self.list_models()
        elif found := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?", path):
            self.answer_api(found[1], found[2] or "revision", found[3] or "main", found[4] or "", token)
        elif found := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", path):
            self.send_file(found[1], found[2], found[3], token)
        else:
            self.refuse(404, "", "Sorry, we can't find the page you are looking for.")

    def find(self, repo_id: str, revision: str, token: str, is_content: bool) -> ModelRepository | None:
        """The repository, or None after the request was refused."""
        owner = self.owner
        if repo_id in owner.renamed:
            target = self.path.replace(repo_id, owner.renamed[repo_id], 1)
            self.send(307, b"", {"Location": target})
            return None
        found = owner.repositories.get(repo_id)
        if found is None or (found.is_private and token not in found.readers):
            status, told = (404, "Repository not found") if token else (401, "Invalid username or password.")
            self.refuse(status, "RepoNotFound", told)
        elif is_content and found.gated and token not in found.readers:
            told = f"Access to model {repo_id} is restricted"
            self.refuse(403 if token else 401, "GatedRepo", told)
        elif revision not in ("main", found.commit):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return found
        return None

    def answer_api(self, repo_id: str, kind: str, revision: str, folder: str, token: str) -> None:
        found = self.find(repo_id, revision, token, is_content=False)
        if found is None:
            return
        query = self.now.query
        if kind == "tree":
            entries = [
                {"type": "file", "path": s["rfilename"], "size": s["size"], "oid": s["blobId"]}
                | ({"lfs": {"oid": s["lfs"]["sha256"], **s["lfs"]}} if "lfs" in s else {})
                for s in found.list_siblings(with_blobs=True)
                if s["rfilename"].startswith(folder)
            ]
            self.send_json(entries)
            return
        expand = [value for name, value in query if name in ("expand", "expand[]")]
        with_blobs = dict(query).get("blobs", "").lower() in ("true", "1")
        if expand and (with_blobs or "securityStatus" in dict(query)):
            self.refuse(400, "", "expand cannot be combined")
        else:
            self.send_json(found.describe(expand, with_blobs))

    def list_models(self) -> None:
        """A page of models, with a link to the next where there are more."""
        query = self.now.query
        told = dict(query)
        start = int(told.get("cursor", 0))
        n = min(int(told.get("limit", 1000)), self.owner.page_size)
        found = self.owner.find_models(query)
        expand = [value for name, value in query if name in ("expand", "expand[]")]
        headers = {}
        if start + n < len(found):
            kept = [(name, value) for name, value in query if name != "cursor"]
            target = f"{self.owner.url}/api/models?{urlencode([*kept, ('cursor', str(start + n))])}"
            headers["Link"] = f'<{target}>; rel="next"'
        self.send_json([repository.describe(expand) for repository in found[start : start + n]], headers)

    def send_file(self, repo_id: str, revision: str, path: str, token: str) -> None:
        found = self.find(repo_id, revision, token, is_content=True)
        if found is None:
            return
        file = found.find(path)
        if file is None:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": found.commit})
        elif is_large(path, file):
            etag = f'"{file.sha256}"'
            linked = {"X-Linked-Size": str(file.n_bytes), "X-Linked-Etag": etag, "X-Repo-Commit": found.commit}
            target = f"{self.owner.cdn_url}/{repo_id}/{file.sha256}/{quote(path)}?X-Amz-Signature=signed"
            self.send(302, b"", {"Location": target, "ETag": f'"{file.git_sha1}"', **linked})
        else:
            headers = {"X-Repo-Commit": found.commit, "ETag": f'"{file.git_sha1}"'}
            self.send_content(file, {**headers, "Content-Type": "text/plain"})

    def answer_cdn(self, path: str) -> None:
        """A large file's bytes, whole or in part."""
        found = re.fullmatch(r"/([^/]+(?:/[^/]+)?)/([0-9a-f]{64})/(.+)", path)
        repository = self.owner.repositories.get(found[1]) if found else None
        file = repository.find(found[3]) if repository and found else None
        if file is None:
            self.send(404, b"<Error>NoSuchKey</Error>", {"Content-Type": "application/xml"})
        else:
            self.send_content(file, {"ETag": f'"{file.sha256[:32]}"', "Content-Type": "binary/octet-stream"})

    def send_content(self, file: ModelFile, headers: Mapping[str, str]) -> None:
        span = None if self.fault.ignores_range else self.now.span
        wanted = self.now.headers.get("if-range")
        if wanted is not None and wanted != headers["ETag"]:
            span = None
        if span is not None and span[0] >= file.n_bytes:
            self.send(416, b"", {"Content-Range": f"bytes */{file.n_bytes}"})
            return
        start = span[0] if span else 0
        end = file.n_bytes if span is None or span[1] is None else min(span[1] + 1, file.n_bytes)
        told = {"Accept-Ranges": "bytes", **headers}
        if span:
            told["Content-Range"] = f"bytes {start}-{end - 1}/{file.n_bytes}"
        self.send(206 if span else 200, file.read(start, end), {**told, "Content-Length": str(end - start)})

    def send_json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send(200, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    def refuse(self, status: int, code: str, told: str, headers: Mapping[str, str] | None = None) -> None:
        """An error as the Hub tells it: a code and a message in headers."""
        about = {"X-Error-Message": told, **({"X-Error-Code": code} if code else {})}
        body = json.dumps({"error": told}).encode()
        self.send(status, body, {"Content-Type": "application/json", **about, **(headers or {})})

    def send(self, status: int, content: bytes | Iterator[bytes], headers: Mapping[str, str]) -> None:
        """Status, headers and, unless only they are asked for, the content, as far as the fault lets it."""
        chunks = split(content) if isinstance(content, bytes) else content
        length = {"Content-Length": str(len(content))} if isinstance(content, bytes) else {}
        self.send_response(status)
        for key, value in {**length, **headers, **self.fault.headers}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        left = self.fault.after_bytes
        for chunk in chunks:
            time.sleep(self.fault.drip_s)
            piece = chunk if left is None else chunk[:left]
            self.wfile.write(piece)
            self.now.n_sent += len(piece)
            if left is not None:
                left -= len(piece)
                if left == 0:
                    break
        if self.fault.is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.fault.is_cut or self.fault.is_reset:
            self.close_connection = True
            self.wfile.flush()


def split(content: bytes) -> Iterator[bytes]:
    """Bytes in the pieces they are sent in."""
    for start in range(0, len(content), SENT_AT_ONCE):
        yield content[start : start + SENT_AT_ONCE]


def is_large(path: str, file: ModelFile) -> bool:
    """Whether a file is in LFS."""
    return path.endswith(LARGE_ENDINGS) if file.is_large is None else file.is_large


def build_gguf(
    shape: tuple[int, ...] = (64, 8), n_tokens: int = 3, token: str = "token", architecture: str = "llama"
) -> ModelFile:
    """A GGUF file of one f16 tensor whose data are zeros, with a vocabulary as long as a test wants its header."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    tokens = b"".join(text(f"{token}{i}") for i in range(n_tokens))
    keys = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    keys += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, n_tokens) + tokens
    tensor = text("token_embd.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 1, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + keys + tensor
    head += bytes(-len(head) % 32)
    n_values = 1
    for n in shape:
        n_values *= n
    return ModelFile(head, size=len(head) + 2 * n_values)


def build_safetensors(tensors: Mapping[str, tuple[str, Sequence[int], int]], header: bytes | None = None) -> ModelFile:
    """A safetensors file of zeros: tensors by name with type, shape and bytes of one value."""
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (type_name, shape, width) in tensors.items():
        n_bytes = width
        for n in shape:
            n_bytes *= n
        told[name] = {"dtype": type_name, "shape": list(shape), "data_offsets": [place, place + n_bytes]}
        place += n_bytes
    text = json.dumps(told).encode() if header is None else header
    content = struct.pack("<Q", len(text)) + text
    return ModelFile(content, size=len(content) + place)
