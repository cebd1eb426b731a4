"""A small hub on loopback: the endpoints that a search and a download use, over files in memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "1f" * 20
NEXT_COMMIT = "2e" * 20

_SEARCH = "/api/models?"
_LISTING = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/revision/([^?]+)")
_FILE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")


def gguf(size: int = 1000) -> bytes:
    """Begins like a GGUF file, which is as far as anyone looks before it is loaded."""
    return b"GGUF" + bytes(size - 4)


@dataclass
class Repository:
    """A repository: files of each commit, and where its branches and tags stand."""

    files: dict[str, bytes]
    license: str | None = "mit"
    commit: str = COMMIT
    names: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    downloads: int = 0
    likes: int = 0

    def commit_at(self, revision: str) -> str | None:
        commits = {self.commit, *self.names.values()}
        known = {"main": self.commit} | self.names | {commit: commit for commit in commits}
        return known.get(revision)


@dataclass
class Hub:
    """The server's state: what it has, and what it was asked.

    Attributes:
        holds_after: So many bytes of a file it sends, and the others once it may `go_on`.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    broken_with: int | None = None
    sends_damaged: bool = False
    bytes_sent: int = 0
    holds_after: int | None = None
    knows_ranges: bool = True
    is_silent: bool = False
    go_on: Event = field(default_factory=Event)
    says: bytes | None = None
    closing: Event = field(default_factory=Event)
    url: str = ""

    def bodies_sent(self) -> list[str]:
        """Files whose content was fetched."""
        return [
            path
            for line in self.requests
            for method, path in [line.split(" ")]
            if method == "GET" and "/api/" not in path
        ]


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _answer(self) -> None:
        path = unquote(self.path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.is_silent:
            self.hub.closing.wait()
        elif self.hub.says is not None:
            self._send(200, body=self.hub.says)
        elif self.hub.broken_with is not None:
            self._send(self.hub.broken_with)
        elif path.startswith(_SEARCH):
            self._search(parse_qs(urlsplit(self.path).query))
        elif listing := _LISTING.match(path):
            self._list(listing[1], listing[2])
        elif file := _FILE.match(path):
            self._file(*file.groups())
        else:
            self._send(404)

    def _find(self, repo: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = repository.commit_at(revision)
        if commit is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repository, commit

    def _search(self, wanted: dict[str, list[str]]) -> None:
        """As the Hub does: names that have the words, with what `expand` asks for."""
        assert wanted["filter"] == ["gguf"]
        words = wanted.get("search", [""])[0].lower().split()
        order = {"lastModified": "likes", "trendingScore": "likes"}.get(wanted["sort"][0], wanted["sort"][0])
        found = [
            {
                "id": name,
                "downloads": repository.downloads,
                "likes": repository.likes,
                "gated": "auto" if repository.gated else False,
                "tags": ["gguf", *([f"license:{repository.license}"] if repository.license else [])],
            }
            for name, repository in self.hub.repositories.items()
            if all(word in name.lower() for word in words) and any(file.endswith(".gguf") for file in repository.files)
        ]
        found.sort(key=lambda row: row[order], reverse=True)
        asked_for = {"id", *wanted["expand"]}
        rows = [{key: value for key, value in row.items() if key in asked_for} for row in found]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(rows[: int(wanted["limit"][0])]).encode())

    def _list(self, repo: str, revision: str) -> None:
        if found := self._find(repo, revision):
            repository, commit = found
            listing = {
                "id": repo,
                "sha": commit,
                "siblings": [
                    {"rfilename": name} | ({"size": len(data)} if "blobs=true" in self.path.lower() else {})
                    for name, data in repository.files.items()
                ],
                "cardData": {"license": repository.license} if repository.license else None,
            }
            self._send(200, {"Content-Type": "application/json"}, json.dumps(listing).encode())

    def _file(self, repo: str, revision: str, name: str) -> None:
        if not (found := self._find(repo, revision)):
            return
        repository, commit = found
        if repository.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif name not in repository.files:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            data = repository.files[name]
            etag = hashlib.sha256(data).hexdigest()
            if self.hub.sends_damaged:
                data = data[:-1] + b"x"
            self._send_file(data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _send_file(self, data: bytes, headers: dict[str, str]) -> None:
        """The bytes from where the caller wants them; no more than `holds_after` until the test is over."""
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin is None or not self.hub.knows_ranges:
            self._send(200, headers, data)
            return
        start = int(begin[1])
        whole = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        self._send(206, headers | whole, data[start:])

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "GET":
            return
        if "ETag" in (headers or {}):
            now, later = body[: self.hub.holds_after], body[len(body[: self.hub.holds_after]) :]
            self.hub.bytes_sent += len(now)
            self.wfile.write(now)
            if later:
                self.hub.go_on.wait()
            if not self.hub.closing.is_set():
                self.hub.bytes_sent += len(later)
                self.wfile.write(later)
        else:
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The hub, which a process of its own can reach through `HF_ENDPOINT`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    hub.closing.set()
    hub.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the hub in place of the real one. The library read both when it was imported."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return cache
