"""The peers that have to be made first: llama-server, and the batching server of llama-cpp-python.

Both are in the source package of the llama-cpp-python that is installed, so they run the same llama.cpp as the engine
here. llama-server is compiled once and kept in a folder that git ignores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from scripts.native_build import compile_environment, find_compiler
from scripts.pip_progress import LLAMA, ProgressLine, Stage, compile_step

PEERS = Path(__file__).resolve().parent / "results" / "peers"
NOTE = "Compiling llama-server for this machine: about eight minutes on two cores. It happens once."
NO_TOOLS = (
    "--peers compiles llama-server, and there is no {missing} on the PATH (Debian, Ubuntu: apt install cmake g++ make; "
    "Fedora: dnf install cmake gcc-c++ make; macOS: xcode-select --install, and pip install cmake). {without}"
)
WITHOUT = (
    "Without --peers the others are measured; a llama-server that runs already is measured with "
    "--url llama-server=http://127.0.0.1:8080."
)
FAILED = (
    "llama-server could not be made: `{command}` ended with code {code}. It wrote last:\n{tail}\n"
    "The rest is in {log}. It takes CMake 3.14, a C++17 compiler and 1 GB of room; the same command goes on where it "
    "stopped. {without}"
)
TAIL_CHARS = 1_500
# One program that needs none of its libraries, so that it can be kept without its sources. Its page, which would have
# to be fetched, and HTTPS are not measured.
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


class PeersFailed(Exception):
    """The peers could not be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Files of servers that can be started.

    Attributes:
        llama_server: The program.
        batching_server: The Python file of llama-cpp-python's newer server, which its package does not install.
    """

    llama_server: Path
    batching_server: Path


def prepare(folder: Path = PEERS) -> Peers:
    """The peers, made where they are not there yet. That takes minutes, and says how far it is.

    Raises:
        PeersFailed: A tool is missing, or one failed.
    """
    made = folder / version(LLAMA)
    peers = Peers(made / "llama-server", made / "server.py")
    if not all(file.exists() for file in (peers.llama_server, peers.batching_server)):
        _make(peers, made)
    return peers


def _make(peers: Peers, folder: Path) -> None:
    missing = "cmake" if shutil.which("cmake") is None else "" if find_compiler() else "C++ compiler"
    if missing:
        raise PeersFailed(NO_TOOLS.format(missing=missing, without=WITHOUT))
    source, build = folder / "source", folder / "build"
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(folder / "build.log")
    if not source.exists():
        _fetch(source, folder, work)
    print(NOTE, file=sys.stderr, flush=True)
    work.run(["cmake", "-S", str(source / "vendor" / "llama.cpp"), "-B", str(build), *OPTIONS])
    work.run(["nice", "-n", "10", "cmake", "--build", str(build), "--target", "llama-server"])
    shutil.copy(source / "examples" / "server" / "server.py", peers.batching_server)
    shutil.move(build / "bin" / "llama-server", peers.llama_server)  # the last one: now both are there
    for rest in (source, build):
        shutil.rmtree(rest)


def _fetch(source: Path, folder: Path, work: _Work) -> None:
    name = f"{LLAMA}=={version(LLAMA)}"
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", LLAMA, "--dest", str(folder)]
    work.run([*download, name], Stage(f"Fetching the source of {name}"))
    [archive] = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    archive.unlink()
    (folder / archive.name.removesuffix(".tar.gz")).rename(source)


class _Work:
    """Runs commands, shows how far they are, and keeps what they write in one file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._log.unlink(missing_ok=True)
        self._shown = ProgressLine(sys.stderr)

    def run(self, command: Sequence[str], stage: Stage | None = None) -> None:
        stage = stage or Stage("Compiling llama-server")
        with (
            self._log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                env=compile_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                stage = replace(stage, detail=compile_step(line) or stage.detail)
                self._shown.show(stage)
        self._shown.clear()
        if process.returncode != 0:
            tail = self._log.read_text(errors="replace")[-TAIL_CHARS:]
            ran = " ".join(command)
            raise PeersFailed(
                FAILED.format(command=ran, code=process.returncode, tail=tail, log=self._log, without=WITHOUT)
            )
