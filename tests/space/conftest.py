"""A small Hub on loopback: the endpoints that deploying a Space uses, over Spaces in memory; and a small repository."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from llm_core.cli import main
from llm_core.space import check, commands, spacefile, wait

REPO = "me/chat"
TOKEN = "hf_of_the_tests"
SECRET = "sesame-of-the-tests"
ENGINE_WHEEL = "llama_cpp_python-0.3.36-py3-none-manylinux_2_28_x86_64.whl"

_SPACE = re.compile(r"/api/spaces/([\w.-]+/[\w.-]+)(/.*)?")


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Space:
    """What the Hub keeps of a Space."""

    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.bin lfs\n", "README.md": b"# New\n"})
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    hardware: str | None = None
    private: bool = False
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    messages: list[str] = field(default_factory=list)
    # What it goes through after a commit, one a look; the last one stays.
    stages: list[str] = field(default_factory=lambda: ["RUNNING"])
    running: str = "0" * 40
    error: str | None = None

    def state(self) -> dict[str, Any]:
        """All that a deploy may change."""
        return copy.deepcopy(
            {name: value for name, value in vars(self).items() if name not in ("stages", "running", "error")}
        )


@dataclass
class Failure:
    """What happens to one write: a status, or a connection that ends with no answer, before or after it is done."""

    number: int
    status: int | None = 403
    is_done: bool = False


@dataclass
class Hub:
    """The server's state: what it has, what it was asked, and where it fails."""

    spaces: dict[str, Space] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    after_commit: list[str] = field(default_factory=lambda: ["BUILDING", "APP_STARTING", "RUNNING"])
    build_log: list[str] = field(default_factory=list)
    run_log: list[str] = field(default_factory=list)
    broken_runtime: int = 0  # so many looks at a Space fail
    wheels: str = ENGINE_WHEEL
    url: str = ""


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        if path.startswith("/whl/"):
            self._send(200, f'<a href="{self.hub.wheels}">{self.hub.wheels}</a>'.encode())
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials"})
        elif self.command == "GET" or path.endswith(("/validate-yaml", "/preupload/main")):
            self._serve(path, body)
        else:
            self._write(path, body)

    def _write(self, path: str, body: bytes) -> None:
        """A write that may be told to fail."""
        number = len(self.hub.writes)
        self.hub.writes.append(f"{self.command} {path}")
        failure = next((failure for failure in self.hub.failures if failure.number == number), None)
        if failure is None:
            self._serve(path, body)
            return
        if failure.is_done:
            self._serve(path, body, is_silent=True)
        if failure.status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(failure.status, {"error": "not this time"})

    def _serve(self, path: str, body: bytes, *, is_silent: bool = False) -> None:
        self._is_silent = is_silent
        data = json.loads(body) if body and not path.endswith("/commit/main") else {}
        if path == "/api/whoami-v2":
            self._send(200, {"name": "me", "type": "user"})
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(data)
        elif path == "/api/repos/delete":
            del self.hub.spaces[f"{data['organization']}/{data['name']}"]
            self._send(200, {})
        elif (found := _SPACE.fullmatch(path)) and (space := self.hub.spaces.get(found[1])):
            self._space(found[1], space, (found[2] or "").removeprefix("/"), data, body)
        else:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def _create(self, data: dict[str, Any]) -> None:
        name = f"{data['organization']}/{data['name']}"
        self.hub.spaces[name] = Space(
            variables={item["key"]: item["value"] for item in data.get("variables", [])},
            secrets={item["key"]: item["value"] for item in data.get("secrets", [])},
            volumes=data.get("volumes", []),
            hardware=data.get("hardware"),
            private=data.get("visibility") == "private",
        )
        self._send(200, {"url": f"{self.hub.url}/spaces/{name}"})

    def _space(self, name: str, space: Space, what: str, data: dict[str, Any], body: bytes) -> None:
        match self.command, what:
            case "GET", "":
                siblings = [{"rfilename": file, "blobId": blob_id(text)} for file, text in space.files.items()]
                self._send(200, {"id": name, "sha": space.commits[-1], "siblings": siblings})
            case "GET", "runtime":
                self._runtime(space)
            case "GET", "logs/build":
                self._log(self.hub.build_log)
            case "GET", "logs/run":
                self._log(self.hub.run_log)
            case "GET", "variables":
                self._send(200, {key: {"value": value} for key, value in space.variables.items()})
            case "GET", "secrets":
                self._send(200, {key: {} for key in space.secrets})
            case "POST", "variables":
                space.variables[data["key"]] = data["value"]
                self._send(200, {key: {"value": value} for key, value in space.variables.items()})
            case "DELETE", "variables":
                gone = space.variables.pop(data["key"], None)
                left = {key: {"value": value} for key, value in space.variables.items()}
                self._send(404 if gone is None else 200, left)
            case "POST", "secrets":
                space.secrets[data["key"]] = data["value"]
                self._send(200, {})
            case "DELETE", "secrets":
                gone = space.secrets.pop(data["key"], None)
                self._send(404 if gone is None else 200, {})
            case "POST", "hardware":
                space.hardware = data["flavor"]
                self._send(200, {"stage": "RUNNING"})
            case "PUT", "volumes":
                space.volumes = data["volumes"]
                self._send(200, {})
            case "POST", "preupload/main":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in data["files"]
                ]
                self._send(200, {"files": files})
            case "POST", "commit/main":
                self._commit(name, space, [json.loads(line) for line in body.splitlines()])
            case _:
                self._send(404, {"error": "no such route"})

    def _runtime(self, space: Space) -> None:
        if self.hub.broken_runtime:
            self.hub.broken_runtime -= 1
            self._send(503, {"error": "in a moment"})
            return
        stage = space.stages.pop(0) if len(space.stages) > 1 else space.stages[0]
        if stage not in ("RUNNING_BUILDING", "OLD"):
            space.running = space.commits[-1]
        self._send(
            200,
            {
                "stage": "RUNNING" if stage == "OLD" else stage,
                "hardware": {"current": None, "requested": space.hardware},
                "volumes": space.volumes,
                "sha": space.running,
                "errorMessage": space.error,
            },
        )

    def _log(self, lines: list[str]) -> None:
        events = [json.dumps({"data": f"{line}\n", "timestamp": "2020-01-01T00:00:00.000Z"}) for line in lines]
        self._send(200, "".join(f"data: {event}\n\n" for event in events).encode())

    def _commit(self, name: str, space: Space, lines: list[dict[str, Any]]) -> None:
        header = lines[0]["value"]
        if header.get("parentCommit", space.commits[-1]) != space.commits[-1]:
            self._send(412, {"error": "A commit has happened since"})
            return
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                space.files[value["path"]] = base64.b64decode(value["content"])
            else:
                del space.files[value["path"]]
        space.commits.append(f"{len(space.commits):040x}")
        space.messages.append(header["summary"])
        space.stages = list(self.hub.after_commit)
        url = f"{self.hub.url}/spaces/{name}/commit/{space.commits[-1]}"
        self._send(200, {"commitUrl": url, "commitOid": space.commits[-1]})

    def _send(self, status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> None:
        if getattr(self, "_is_silent", False):
            self._is_silent = False
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub, where huggingface_hub looks for the real one."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(wait, "LOOK_SECONDS", 0.01)
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


SPACEFILE = """\
title: A chat
emoji: 🤖
short_description: Talks
license: mit
sdk_version: 6.31.0
python_version: "3.11"
variables:
  LLM_THREADS: 2
wheel_index: {index}
"""


class Project:
    """A repository that is made of as little as a Space can be."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def add_to_spacefile(self, lines: str) -> None:
        """More keys, which the front matter then has too."""
        self.write(spacefile.NAME, (self.root / spacefile.NAME).read_text() + lines)
        self.fix()

    def fix(self) -> None:
        check.fix(self.root, spacefile.load(self.root))

    def problems(self) -> list[str]:
        return list(check.problems(self.root, spacefile.load(self.root)))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The repository, in place of the one that the command is in."""
    project = Project(tmp_path / "project")
    project.write(spacefile.NAME, SPACEFILE.format(index=spacefile.CPU_WHEELS))
    project.write("README.md", "# A chat\n\nText.\n")
    project.write("LICENSE", "MIT\n")
    project.write("app.py", "print('app')\n")
    project.write("llm_core/__init__.py", "")
    project.write("llm_core/page/static/page.css", "p {}\n")
    project.write("pyproject.toml", '[project]\nname = "chat"\nrequires-python = ">=3.11"\n')
    project.write("requirements.txt", "# why\ngradio==6.31.0\nllama-cpp-python==0.3.36\nnumpy>=2,<3\n")
    project.fix()
    monkeypatch.setattr(commands, "ROOT", project.root)
    return project


Deploy = Callable[..., int]


@pytest.fixture
def deploy(hub: Hub, project: Project) -> Deploy:
    """The command, with the index of wheels on the same server as the Hub."""
    project.edit("Spacefile", spacefile.CPU_WHEELS, f"{hub.url}/whl/cpu")

    def run(*options: str) -> int:
        return main(["space", "deploy", REPO, *options])

    return run


@pytest.fixture
def space(hub: Hub, deploy: Deploy) -> Space:
    """A Space that was deployed."""
    assert deploy() == 0
    hub.writes.clear()
    hub.requests.clear()
    return hub.spaces[REPO]
