"""The folder that is uploaded is enough: its app starts with what its requirements bring, and answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from packaging.requirements import Requirement

from llm_core.space import build, check

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be uploaded."""
    folder = tmp_path_factory.mktemp("space") / "app"
    build.write(folder, build.files(ROOT, check.load_checked(ROOT)))
    return folder


@pytest.fixture(scope="module")
def python(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with what the folder's requirements.txt brings, and nothing else.

    The packages are linked from the environment of the tests, which has just these versions: pip would take a minute
    and more to put the same files there. That they are enough is for pip to say, in the first test. What the Space gets
    in another version, since its build asks for that, comes from the package index.
    """
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=SECONDS)
    python = venv / "bin" / "python"
    there = {"base": str(venv), "platbase": str(venv)}
    lines = (folder / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith("--")]
    for package in closure(wanted):
        link(package, Path(sysconfig.get_path("purelib", vars=there)))
    others = [str(one) for one in wanted if not one.specifier.contains(metadata.version(one.name))]
    if others:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *others], check=True, timeout=SECONDS)
    return python


def closure(wanted: Iterable[Requirement]) -> list[metadata.Distribution]:
    """What is wanted and all that this needs in turn."""
    found: dict[tuple[str, str], metadata.Distribution] = {}
    waiting = [(requirement, "") for requirement in wanted]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = metadata.distribution(requirement.name)
        for part in ("", *requirement.extras):
            if (requirement.name.lower(), part) not in found:
                found[requirement.name.lower(), part] = distribution
                waiting += [(Requirement(text), part) for text in distribution.requires or []]
    return list({id(distribution): distribution for distribution in found.values()}.values())


def link(distribution: metadata.Distribution, site_packages: Path) -> None:
    """Puts a package's files into another environment; the programs in its `bin` stay away."""
    for file in distribution.files or []:
        source, target = Path(str(file.locate())), site_packages / file
        if ".." in file.parts or "__pycache__" in file.parts or not source.is_file() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another disk
            shutil.copy2(source, target)


@contextmanager
def space(python: Path, folder: Path, home: Path) -> Iterator[str]:
    """The app as a Space runs it, but on loopback and a free port; yields its URL."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SPACE_ID": "me/chat",
        "SPACE_AUTHOR_NAME": "me",
        "SPACE_REPO_NAME": "chat",
        "SYSTEM": "spaces",
        "PYTHONUNBUFFERED": "1",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": "0",
        **check.load_checked(ROOT).environment(),
    }
    log = home / "log"
    with log.open("w") as out:
        app = subprocess.Popen(
            [str(python), "app.py"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=out, text=True
        )
    try:
        assert app.stdout is not None
        told = next((line for line in app.stdout if line.startswith("Chat: ")), None)
        assert told, log.read_text()
        yield told.removeprefix("Chat: ").strip()
    finally:
        app.send_signal(signal.SIGTERM)
        app.communicate(timeout=SECONDS)


def test_pip_finds_all_requirements_met_and_no_package_at_odds_with_another(python: Path, folder: Path) -> None:
    pip = [str(python), "-m", "pip"]
    met = [
        *pip,
        "install",
        "--no-index",
        "--dry-run",
        "-r",
        str(folder / "requirements.txt"),
    ]
    for command in (met, [*pip, "check"]):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_of_the_tests_can_be_imported_there(python: Path, folder: Path) -> None:
    program = "from importlib.util import find_spec; print([n for n in ('pytest', 'mypy', 'ruff') if find_spec(n)])"
    ran = subprocess.run(
        [str(python), "-c", program], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True
    )

    assert ran.stdout == "[]\n"


def test_the_app_starts_from_the_folder_alone_and_answers_gradios_client(
    python: Path, folder: Path, tmp_path: Path
) -> None:
    with space(python, folder, tmp_path) as url:
        client = Client(url, verbose=False)
        messages = [{"role": "user", "content": "Say hello."}]
        reply = client.predict(messages, 0, 8, api_name="/chat_complete")
        health = httpx.get(f"{url}api/llm/health").json()
        page = httpx.get(url)

    assert reply.strip()
    assert health["status"] == "ok"
    assert page.status_code == 200
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {
        ".llm-core-space", "LICENSE", "README.md", "app.py", "llm_core", "requirements.txt"
    }  # fmt: skip
