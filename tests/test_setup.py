"""The set-up behind `make`: it finds a Python, says in a sentence what is missing, and never does work twice."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import setup, system_packages
from scripts.pip_progress import COMPILE_NOTE, PipFailed, ProgressLine, Stage, duration, next_stage, run_pip
from scripts.setup import SetupError
from scripts.wheel_index import usable_index

ROOT = Path(__file__).resolve().parent.parent
FakePython = Callable[..., str]


@pytest.fixture
def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePython:
    """Puts a program on an otherwise empty PATH that answers the set-up's question as some Python would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "started-by"))

    def add(name: str, version: str, *, makes_venvs: bool = True) -> str:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {version}\nexit {0 if makes_venvs else 1}\n")
        program.chmod(0o755)
        return str(program)

    return add


class TestChoosingAPython:
    def test_the_one_that_runs_the_set_up_is_taken_where_it_will_do(self, fake_python: FakePython) -> None:
        fake_python("python3.13", "3 13")
        started_by = fake_python("started-by", "3 11")

        assert setup.choose_python() == started_by

    def test_an_old_one_gives_way_to_a_newer_one_on_the_path(self, fake_python: FakePython) -> None:
        fake_python("started-by", "3 9")
        newer = fake_python("python3.12", "3 12")

        assert setup.choose_python() == newer

    def test_one_without_venv_gives_way_to_one_that_has_it(self, fake_python: FakePython) -> None:
        fake_python("started-by", "3 11", makes_venvs=False)
        complete = fake_python("python3.13", "3 13")

        assert setup.choose_python() == complete

    def test_without_any_new_enough_the_sentence_says_what_to_install(self, fake_python: FakePython) -> None:
        fake_python("started-by", "3 9")

        with pytest.raises(SetupError, match=r"Python 3\.11 or newer is needed.*apt install python3 python3-venv"):
            setup.choose_python()

    def test_without_venv_the_sentence_names_the_python_and_the_package(self, fake_python: FakePython) -> None:
        python = fake_python("started-by", "3 11", makes_venvs=False)

        with pytest.raises(SetupError, match=r"cannot make virtual environments.*python3-venv") as stopped:
            setup.choose_python()
        assert python in str(stopped.value)

    def test_a_program_that_is_no_python_is_passed_over(self, fake_python: FakePython) -> None:
        fake_python("started-by", "command not found")
        working = fake_python("python3.11", "3 11")

        assert setup.choose_python() == working


@pytest.mark.parametrize("target", ["run", "test"])
def test_without_python_make_says_so(target: str) -> None:
    make = shutil.which("make")
    assert make is not None

    ran = subprocess.run([make, target, "PYTHON=no-such-python"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode != 0
    assert "Python 3.11 or newer is needed: there is no no-such-python on the PATH" in ran.stderr


@dataclass
class Clone:
    """A clone whose environment is one empty file and whose pip is counted, not run."""

    root: Path
    installed: list[list[str]] = field(default_factory=list)
    failure: BaseException | None = None

    def make_environment(self) -> None:
        setup.PYTHON_IN_VENV.parent.mkdir(parents=True, exist_ok=True)
        setup.PYTHON_IN_VENV.touch()

    def install(self, files: list[Path]) -> None:
        self.installed.append([file.name for file in files])
        if self.failure:
            raise self.failure


class TestTheStamp:
    @pytest.fixture
    def clone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
        clone = Clone(tmp_path)
        venv = tmp_path / ".venv"
        monkeypatch.setattr(setup, "ROOT", tmp_path)
        monkeypatch.setattr(setup, "VENV", venv)
        monkeypatch.setattr(setup, "PYTHON_IN_VENV", venv / "bin" / "python")
        monkeypatch.setattr(setup, "STAMP", venv / "setup.json")
        monkeypatch.setattr(setup, "UNFINISHED", venv / "setup-unfinished")
        monkeypatch.setattr(setup, "make_environment", clone.make_environment)
        monkeypatch.setattr(setup, "install", clone.install)
        (tmp_path / "requirements.txt").write_text("llama-cpp-python==1.2.3\n")
        (tmp_path / "requirements-dev.txt").write_text("pytest\n")
        (tmp_path / setup.ALONE).write_text("a-model\n")
        return clone

    def test_a_second_set_up_installs_nothing(self, clone: Clone) -> None:
        setup.set_up(dev=False)
        setup.set_up(dev=False)

        assert clone.installed == [["requirements.txt"]]

    def test_the_set_up_for_tests_is_enough_for_the_app(self, clone: Clone) -> None:
        setup.set_up(dev=True)
        setup.set_up(dev=False)

        assert clone.installed == [["requirements.txt", "requirements-dev.txt", setup.ALONE]]

    def test_the_set_up_for_the_app_is_not_enough_for_tests(self, clone: Clone) -> None:
        setup.set_up(dev=False)
        setup.set_up(dev=True)

        assert len(clone.installed) == 2

    def test_changed_requirements_are_installed(self, clone: Clone) -> None:
        setup.set_up(dev=False)
        (clone.root / "requirements.txt").write_text("llama-cpp-python==1.2.4\n")
        setup.set_up(dev=False)

        assert len(clone.installed) == 2

    def test_an_environment_that_was_moved_is_not_trusted(self, clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
        setup.set_up(dev=False)
        monkeypatch.setattr(setup, "VENV", clone.root / "elsewhere")
        setup.set_up(dev=False)

        assert len(clone.installed) == 2

    def test_an_interrupted_set_up_leaves_its_mark_and_the_next_one_installs(self, clone: Clone) -> None:
        clone.failure = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            setup.set_up(dev=False)
        assert setup.UNFINISHED.exists()

        clone.failure = None
        setup.set_up(dev=False)

        assert len(clone.installed) == 2
        assert not setup.UNFINISHED.exists()

    def test_a_failed_set_up_is_tried_again_in_the_same_environment(self, clone: Clone) -> None:
        clone.failure = SetupError("no network")
        with pytest.raises(SetupError):
            setup.set_up(dev=False)
        assert not setup.UNFINISHED.exists()

        clone.failure = None
        setup.set_up(dev=False)

        assert len(clone.installed) == 2

    def test_a_stamp_that_cannot_be_read_counts_as_none(self, clone: Clone) -> None:
        setup.set_up(dev=False)
        for junk in ("", "{", "{}", json.dumps({"environment": None, "installed": 3})):
            setup.STAMP.write_text(junk)

            assert not setup.is_ready({})


def test_the_pin_of_llama_cpp_python_is_read_from_the_requirements() -> None:
    version = setup.pinned_version(ROOT / "requirements.txt")

    assert all(part.isdigit() for part in version.split("."))


class TestReadingPipsOutput:
    def stages(self, *lines: str) -> list[str]:
        stage, seen = Stage("Fetching packages"), []
        for line in lines:
            stage = next_stage(stage, line)
            seen.append(str(stage))
        return seen

    def test_each_phase_is_said_in_words(self) -> None:
        assert self.stages(
            "Collecting gradio==6.31.0 (from -r requirements.txt (line 2))",
            "  Downloading gradio-6.31.0-py3-none-any.whl (55.2 MB)",
            "  Building wheel for llama-cpp-python (pyproject.toml): started",
            "  [12/193] /usr/bin/g++ -DGGML_BUILD -o ggml.cpp.o -c ggml.cpp",
            "  -- Some other line of CMake",
            "Installing collected packages: pydub, pytz, gradio",
        ) == [
            "Fetching packages: gradio",
            "Fetching packages: gradio-6.31.0-py3-none-any.whl, 55.2 MB",
            "Compiling llama-cpp-python",
            "Compiling llama-cpp-python: step 12 of 193",
            "Compiling llama-cpp-python: step 12 of 193",
            "Installing 3 packages",
        ]

    def test_the_percentages_of_make_are_read_too(self) -> None:
        assert (
            self.stages(
                "  Building wheel for llama-cpp-python (pyproject.toml): started",
                "  [  7%] Building CXX object vendor/llama.cpp/src/llama.cpp.o",
                "  Building wheel for llama-cpp-python (pyproject.toml): still running...",
            )[1:]
            == ["Compiling llama-cpp-python: 7 %"] * 2
        )

    def test_step_counts_outside_a_compilation_mean_nothing(self) -> None:
        assert self.stages("[3/4] something") == ["Fetching packages"]

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min 00 s"), (605, "10 min 05 s")]
    )
    def test_durations_read_as_people_say_them(self, seconds: float, words: str) -> None:
        assert duration(seconds) == words

    def test_off_a_terminal_a_phase_is_printed_once_and_compiling_says_how_long_it_takes(self) -> None:
        output = io.StringIO()
        line = ProgressLine(output)
        for detail in ("", "step 1 of 193", "step 2 of 193"):
            line.show(Stage("Compiling llama-cpp-python", detail))

        assert output.getvalue().splitlines() == [COMPILE_NOTE, "Compiling llama-cpp-python (0 s)"]
        assert "six to ten minutes" in COMPILE_NOTE


class TestRunningPip:
    def run(self, script: str, log: Path, *, may_compile: bool = True) -> None:
        run_pip(["/bin/sh", "-c", script], {}, log, may_compile=may_compile)

    def test_its_output_goes_to_the_log(self, tmp_path: Path) -> None:
        self.run("echo one; echo two >&2", tmp_path / "log")

        assert (tmp_path / "log").read_text() == "one\ntwo\n"

    def test_a_failure_shows_the_end_of_the_output_and_where_the_rest_is(self, tmp_path: Path) -> None:
        with pytest.raises(PipFailed) as failed:
            self.run("echo one; echo two; exit 3", tmp_path / "log")

        assert str(failed.value) == f"one\ntwo\npip ended with code 3; its whole output is in {tmp_path / 'log'}"

    def test_it_is_ended_as_soon_as_it_would_compile_without_a_compiler(self, tmp_path: Path) -> None:
        source = "echo '  Using cached llama_cpp_python-0.3.36.tar.gz (76.6 MB)'; exec sleep 600"

        with pytest.raises(PipFailed) as failed:
            self.run(source, tmp_path / "log", may_compile=False)

        assert failed.value.needs_compiler

    def test_a_wheel_needs_no_compiler(self, tmp_path: Path) -> None:
        wheel = "echo '  Using cached llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl'"

        self.run(wheel, tmp_path / "log", may_compile=False)


class TestTheIndexOfPrebuiltWheels:
    @pytest.fixture
    def index(self) -> Iterator[str]:
        """An index that has the wheels of version 1.2.3; below /slow it never answers."""
        ended = threading.Event()

        class Index(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/slow"):
                    ended.wait(30)
                    return
                self.send_response(200 if self.path == "/cpu/llama-cpp-python/" else 404)
                self.end_headers()
                self.wfile.write(b'<a href="llama_cpp_python-1.2.3-py3-none-linux_x86_64.whl">wheel</a>')

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        ended.set()
        server.shutdown()
        serving.join()
        server.server_close()

    def test_it_is_used_where_it_has_the_version(self, index: str) -> None:
        assert usable_index("1.2.3", f"{index}/cpu") == f"{index}/cpu"

    def test_it_is_not_used_where_it_lacks_the_version(self, index: str) -> None:
        assert usable_index("1.2.30", f"{index}/cpu") is None
        assert usable_index("1.2", f"{index}/cpu") is None

    def test_it_is_not_used_where_it_answers_with_an_error(self, index: str) -> None:
        assert usable_index("1.2.3", f"{index}/gone") is None

    def test_it_is_not_waited_for(self, index: str) -> None:
        assert usable_index("1.2.3", f"{index}/slow", timeout=0.2) is None

    def test_it_is_not_used_where_it_cannot_be_reached(self) -> None:
        assert usable_index("1.2.3", "http://127.0.0.1:9") is None
        assert usable_index("1.2.3", "nonsense") is None


class TestSystemPackages:
    @pytest.fixture(autouse=True)
    def _bare_machine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(system_packages, "MAC_BROWSERS", ())
        monkeypatch.delenv("CI", raising=False)

    def test_where_nothing_can_be_installed_it_says_so_and_goes_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert system_packages.main() == 0
        assert "this machine has no apt-get" in capsys.readouterr().err

    def test_in_ci_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI", "true")

        assert system_packages.main() == 1

    def test_a_browser_is_found_by_its_usual_names(self, tmp_path: Path) -> None:
        browser = tmp_path / "google-chrome"
        browser.touch(mode=0o755)

        assert system_packages.find_chromium() == str(browser)
