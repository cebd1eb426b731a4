"""Whether there is a Node that will do, and its packages: found, refused, installed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import node as node_script
from scripts.node import NodeError, find_node, install_node, install_packages, with_node

Program = Callable[[str, str], str]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script on an otherwise empty PATH; what pip has installed lies in another folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(node_script.sys, "executable", str(tmp_path / "pip" / "python"))

    def add(name: str, script: str) -> str:
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return str(file)

    return add


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "package"
    package.mkdir()
    for name in ("package.json", "package-lock.json"):
        (package / name).write_text("{}")
    return package


@pytest.mark.parametrize(("version", "will_do"), [("v18.20.4", False), ("v20.18.0", False), ("v20.19.0", True)])
def test_a_node_is_taken_that_is_new_enough(program: Program, version: str, will_do: bool) -> None:
    program("npm", "exit 0")
    node = program("node", f"echo {version}")

    assert find_node() == (node if will_do else None)


@pytest.mark.parametrize("script", ["exit 1", "echo of no use"])
def test_a_node_that_does_not_run_is_none(program: Program, script: str) -> None:
    program("npm", "exit 0")
    program("node", script)

    assert find_node() is None


def test_a_node_without_npm_is_none(program: Program) -> None:
    program("node", "echo v24.0.0")

    assert find_node() is None


def test_the_one_that_pip_has_installed_is_taken_where_the_path_has_none_that_will_do(
    program: Program, tmp_path: Path
) -> None:
    program("npm", "exit 0")
    program("node", "echo v18.20.4")
    (tmp_path / "pip").mkdir()
    for name in ("node", "npm"):
        file = tmp_path / "pip" / name
        file.write_text("#!/bin/sh\necho v22.20.0\n")
        file.chmod(0o755)

    assert find_node() == str(tmp_path / "pip" / "node")
    assert with_node()["PATH"].startswith(str(tmp_path / "pip"))


def test_that_pip_cannot_bring_one_is_said(program: Program, tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    pip = tmp_path / "pip" / "python"
    pip.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    pip.chmod(0o755)

    with pytest.raises(NodeError, match="no network"):
        install_node()


def test_packages_are_installed_once_for_each_lock_file(program: Program, folder: Path) -> None:
    program("npm", 'echo "$@" >> ran; /bin/rm -rf node_modules; /bin/mkdir node_modules')

    install_packages(folder)
    install_packages(folder)
    assert len((folder / "ran").read_text().splitlines()) == 1

    (folder / "package-lock.json").write_text('{"lockfileVersion": 3}')
    install_packages(folder)
    assert len((folder / "ran").read_text().splitlines()) == 2


def test_what_npm_says_is_told_when_it_fails_and_the_next_time_it_is_tried_again(
    program: Program, folder: Path
) -> None:
    program("npm", "echo the registry is away >&2; exit 1")

    for _ in range(2):
        with pytest.raises(NodeError, match="the registry is away"):
            install_packages(folder)
