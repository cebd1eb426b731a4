"""Makes the virtual environment `.venv` and installs the requirements: what `make run` and `make test` do first.

Run from the repository's root as `python3 -m scripts.setup [--dev]`, by any Python 3.8 or newer: it finds one that is
new enough for the app. A finished set-up leaves a stamp, so that the next one takes no time; one that was interrupted
leaves a mark, and the next starts over.
"""

from __future__ import annotations  # lets the old Pythons that start here read the types

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts import native_build, wheel_index
from scripts.pip_progress import PipFailed, run_pip

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON_IN_VENV = VENV / "bin" / "python"
STAMP = VENV / "setup.json"
UNFINISHED = VENV / "setup-unfinished"
LOG = VENV / "setup.log"

OLDEST_PYTHON = (3, 11)
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.14", "python")
PIN = "llama-cpp-python"
ALONE = "requirements-models.txt"  # packages that are installed without what they ask for

PROBE = "import sys; print(*sys.version_info[:2]); import venv, ensurepip"
NO_PYTHON = (
    "Python 3.11 or newer is needed, and none was found on the PATH (this is {version}). Install one "
    "(Debian, Ubuntu: apt install python3 python3-venv), or name it: make run PYTHON=/path/to/python3.11"
)
NO_VENV = (
    "{python} cannot make virtual environments: its modules venv and ensurepip are not installed "
    "(Debian, Ubuntu: apt install python3-venv)."
)
NO_COMPILER = (
    "llama-cpp-python has to be compiled here, and there is no C++ compiler on the PATH "
    "(Debian, Ubuntu: apt install g++ make; Fedora: dnf install gcc-c++ make; macOS: xcode-select --install)."
)
STALE = f"The {PIN} that pip had kept does not run on this processor. It is compiled again."
CRASHES = f"{PIN} ends with a crash on this machine, also when it is compiled here. Its compiler may be too old."


class SetupError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def choose_python() -> str:
    """The Python that the environment is made with: this one where it will do, else the first on the PATH that does.

    Raises:
        SetupError: None is new enough, or none of those that are can make virtual environments.
    """
    candidates = [sys.executable, *filter(None, map(shutil.which, PYTHONS))]
    without_venv = None
    for python in dict.fromkeys(candidates):
        version, makes_venvs = _probe(python)
        if version < OLDEST_PYTHON:
            continue
        if makes_venvs:
            return python
        without_venv = without_venv or python
    if without_venv:
        raise SetupError(NO_VENV.format(python=without_venv))
    raise SetupError(NO_PYTHON.format(version=".".join(map(str, sys.version_info[:3]))))


def _probe(python: str) -> tuple[tuple[int, ...], bool]:
    """Version of a Python, (0,) where it does not run, and whether it can make virtual environments."""
    try:
        answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0,), False
    numbers = answer.stdout.split()
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return (0,), False
    return tuple(map(int, numbers)), answer.returncode == 0


def fingerprints(files: list[Path]) -> dict[str, str]:
    """What an environment with these requirements files is made of: file name to hash."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def is_ready(wanted: dict[str, str]) -> bool:
    """Whether a finished set-up installed these very files into an environment that is still where it was."""
    if UNFINISHED.exists():
        return False
    try:
        stamp: dict[str, object] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    installed = stamp.get("installed")
    if stamp.get("environment") != _identity() or not isinstance(installed, dict):
        return False
    return wanted.items() <= installed.items()


def _identity() -> list[str]:
    """Changes when the environment cannot be used as it is: its folder was copied or moved, its Python replaced."""
    return [str(VENV), os.path.realpath(PYTHON_IN_VENV)] if PYTHON_IN_VENV.exists() else []


def make_environment() -> None:
    """Makes `.venv`, afresh where there is one that was interrupted half way, was copied here or does not run."""
    if not UNFINISHED.exists() and _is_at_home() and _has_pip():
        return
    python = choose_python()
    print(f"Making the virtual environment .venv with {python}", flush=True)
    made = subprocess.run([python, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"The virtual environment could not be made: {(made.stdout + made.stderr).strip()}")


def _is_at_home() -> bool:
    activate = VENV / "bin" / "activate"
    return activate.exists() and str(VENV) in activate.read_text()


def _has_pip() -> bool:
    if _probe(str(PYTHON_IN_VENV))[0] < OLDEST_PYTHON:
        return False
    return (
        subprocess.run([str(PYTHON_IN_VENV), "-m", "pip", "--version"], capture_output=True, check=False).returncode
        == 0
    )


def install(files: list[Path]) -> None:
    """Installs requirements files, showing how far it is.

    Raises:
        SetupError: It has to compile and there is no compiler, or pip failed; the message has the end of pip's output.
    """
    arguments = [argument for file in files if file.name != ALONE for argument in ("-r", str(file))]
    version = pinned_version(ROOT / "requirements.txt")
    index = wheel_index.usable_index(version)
    if index:
        print(f"Using the prebuilt wheel of {PIN} from {index}", flush=True)
        arguments += ["--extra-index-url", index]
    _pip_install(arguments)
    for file in (each for each in files if each.name == ALONE):
        _pip_install(["--no-deps", "-r", str(file)])
    if not native_build.computes(PYTHON_IN_VENV, ROOT):
        print(STALE, flush=True)
        _compile_again(version)


def _compile_again(version: str) -> None:
    """Replaces a llama-cpp-python that crashes, and what pip has kept of it, by one that is compiled here."""
    forget = [str(PYTHON_IN_VENV), "-m", "pip", "cache", "remove", PIN.replace("-", "_")]
    subprocess.run(forget, capture_output=True, check=False)  # where nothing was kept it says so and fails
    _pip_install(["--force-reinstall", "--no-deps", "--no-binary", PIN, f"{PIN}=={version}"])
    if not native_build.computes(PYTHON_IN_VENV, ROOT):
        raise SetupError(CRASHES)


def _pip_install(arguments: list[str]) -> None:
    pip = [str(PYTHON_IN_VENV), "-m", "pip", "install", "--verbose", "--disable-pip-version-check", *arguments]
    may_compile = native_build.find_compiler() is not None
    try:
        run_pip(pip, native_build.compile_environment(), LOG, may_compile=may_compile)
    except PipFailed as error:
        raise SetupError(NO_COMPILER if error.needs_compiler else str(error)) from None


def pinned_version(requirements: Path) -> str:
    """The version that a requirements file pins llama-cpp-python to."""
    pins = (line.split("==") for line in requirements.read_text().splitlines() if line.startswith(f"{PIN}=="))
    return next(pins)[1].split()[0]


def set_up(*, dev: bool) -> None:
    """Brings `.venv` to what the requirements files say; at once where it is there already.

    Raises:
        SetupError: It cannot be done.
    """
    files = [ROOT / "requirements.txt"] + ([ROOT / "requirements-dev.txt", ROOT / ALONE] if dev else [])
    wanted = fingerprints(files)
    if is_ready(wanted):
        return
    with _alone():
        if is_ready(wanted):
            return
        make_environment()
        UNFINISHED.touch()
        STAMP.unlink(missing_ok=True)
        try:
            install(files)
            STAMP.write_text(json.dumps({"environment": _identity(), "installed": wanted}))
        except SetupError:
            # pip undoes what it cannot finish, so the environment is whole. Only an interrupted one is not.
            UNFINISHED.unlink()
            raise
        UNFINISHED.unlink()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One set-up at a time in this folder: `make run` and `make test` may be started side by side."""
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another set-up is at work in this folder; waiting for it to end.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        # A closed terminal or a kill ends pip and the compilers too, as Ctrl-C does.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        set_up(dev="--dev" in sys.argv[1:])
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Run it again to start over; what was downloaded or compiled is kept by pip.",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
