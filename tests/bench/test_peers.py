"""The peers that are made first: once, with what is missing said in a sentence, and started as they should be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from bench.lab import QUICK, Lab
from bench.peers import PeersFailed, prepare
from bench.servers import batching_server, llama_server
from scripts.pip_progress import LLAMA

Tool = Callable[[str, str], None]
# Listens at once, and is ready at the second look, as a server that loads its model. Its answer has its arguments.
LOADS_FIRST = f"""#!{sys.executable}
import http.server, json, sys

class Loading(http.server.BaseHTTPRequestHandler):
    looks = 0

    def do_GET(self):
        Loading.looks += 1
        body = json.dumps(sys.argv[1:]).encode()
        self.send_response(200 if Loading.looks > 1 else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        open({{seen!r}}, "a").write(self.path + "\\n" + body.decode() + "\\n")

given = sys.argv[1:]
if "--config-file" in given:
    port = json.load(open(given[-1]))["server"]["port"]
else:
    port = int(given[given.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Loading).serve_forever()
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a shell script on a PATH that has nothing else but what every system has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("CXX", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of peers whose source has been fetched, and nothing made of it."""
    made = tmp_path / "peers" / version(LLAMA)
    server = made / "source" / "examples" / "server" / "server.py"
    server.parent.mkdir(parents=True)
    server.write_text("batching")
    return made


def test_peers_are_made_once_and_their_sources_are_not_kept(
    tool: Tool, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("c++", "echo 14.2.0")
    tool("nice", 'shift 2; exec "$@"')
    tool(
        "cmake",
        f'echo "[ 50%] Building"; /bin/mkdir -p {source}/build/bin; echo program > {source}/build/bin/llama-server',
    )
    peers = prepare(source.parent)

    assert (peers.llama_server.read_text(), peers.batching_server.read_text()) == ("program\n", "batching")
    assert {file.name for file in source.iterdir()} == {"llama-server", "server.py", "build.log"}
    assert "Compiling llama-server: 50 %" in capsys.readouterr().err

    tool("cmake", "exit 1")
    assert prepare(source.parent) == peers


@pytest.mark.parametrize(("there", "missing"), [("c++", "cmake"), ("cmake", "C++ compiler")])
def test_what_is_missing_is_named_before_anything_is_fetched(
    there: str, missing: str, tool: Tool, tmp_path: Path
) -> None:
    tool(there, "exit 0")
    with pytest.raises(
        PeersFailed, match=rf"no {missing.replace('+', '.')} on the PATH.*apt install.*--url llama-server="
    ):
        prepare(tmp_path / "peers")
    assert not (tmp_path / "peers").exists()


def test_a_build_that_fails_says_what_it_wrote_and_what_to_do_and_goes_on_the_next_time(
    tool: Tool, source: Path
) -> None:
    tool("c++", "echo 14.2.0")
    tool("cmake", 'echo "CMake 3.14 or higher is required"; exit 3')
    with pytest.raises(PeersFailed, match=r"ended with code 3(?s:.)*3\.14 or higher(?s:.)*build\.log") as failed:
        prepare(source.parent)

    assert "the same command goes on" in str(failed.value)
    assert (source / "source").exists()


async def test_llama_server_gets_what_is_the_same_for_all_and_is_waited_for_until_it_has_loaded(tmp_path: Path) -> None:
    seen, program = tmp_path / "seen", tmp_path / "llama-server"
    program.write_text(LOADS_FIRST.format(seen=str(seen)))
    program.chmod(0o755)
    model = tmp_path / "a.gguf"
    async with llama_server(program, model, context_tokens=512, slots=8, threads=2, log=tmp_path / "log") as server:
        port = server.url.rsplit(":", 1)[1]

    *_, path, given = seen.read_text().splitlines()
    assert path == "/health"
    assert " ".join(json.loads(given)) == f"-m {model} -c 4096 -np 8 -t 2 --host 127.0.0.1 --port {port}"


async def test_the_batching_server_gets_the_same_by_a_file(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(LOADS_FIRST.format(seen=str(tmp_path / "seen")))
    model, log = tmp_path / "a.gguf", tmp_path / "server.py.log"
    async with batching_server(program, model, context_tokens=512, slots=8, threads=2, log=log):
        configuration = json.loads((tmp_path / "server.py.json").read_text())

    assert configuration["server"]["host"] == "127.0.0.1"
    same = {"path": str(model), "threads": 2, "threads_batch": 2, "n_ctx": 4096, "n_seq_max": 8, "max_seq_len": 512}
    assert configuration["model"] == same | {"alias": "default"}


async def test_only_a_run_that_asks_for_them_has_peers(tmp_path: Path, source: Path, tool: Tool) -> None:
    model = tmp_path / "a.gguf"
    assert Lab(QUICK, model, tmp_path, {}).others == []
    for name in ("llama-server", "server.py"):
        (source / name).touch()
    assert len(Lab(QUICK, model, tmp_path, {}, prepare(source.parent)).others) == 2
