"""llama-cpp-python for this machine: compiled with the flags that its compiler needs, and tried before it counts.

A wheel that was compiled for another processor, as pip's cache or a copied image may hold, installs without complaint
and then ends the process at the first computation.
"""

from __future__ import annotations  # lets the old Pythons that start here read the types

import os
import shutil
import signal
import subprocess
from pathlib import Path

CXX_COMPILERS = ("c++", "g++", "clang++")
# Until these releases GCC loses most of what `_tile_loadconfig` reads (its bug 114098), and ggml's code for Intel's
# matrix unit (AMX) dies of it. The macro is what ggml asks for before it compiles that code.
GCC_WITH_AMX = {11: (11, 5), 12: (12, 4), 13: (13, 3)}
NO_AMX = "-U__AMX_INT8__"
# What ends a program that was compiled for another processor, or wrongly.
CRASHES = {-signal.SIGILL, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGABRT}
TRIAL_SECONDS = 300


def find_compiler() -> str | None:
    """The C++ compiler that CMake will find, or None."""
    names = (os.environ.get("CXX", "").split(" ")[0], *CXX_COMPILERS)
    return next(filter(None, map(shutil.which, filter(None, names))), None)


def compile_environment() -> dict[str, str]:
    """The environment for pip: all cores, and the flags that the compiler needs to make code that works."""
    # Ninja uses all cores by itself; make, where there is no ninja, has to be told.
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **os.environ}
    compiler = find_compiler()
    if compiler is not None and not makes_amx(gcc_version(compiler)):
        for name in ("CFLAGS", "CXXFLAGS"):
            environment[name] = f"{environment.get(name, '')} {NO_AMX}".strip()
    return environment


def gcc_version(compiler: str) -> tuple[int, ...]:
    """Version of a GCC; () for any other compiler, which does not know this question."""
    try:
        answer = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, timeout=20, check=True)
        return tuple(map(int, answer.stdout.strip().split(".")))
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def makes_amx(version: tuple[int, ...]) -> bool:
    """Whether a compiler's code for AMX works."""
    return not version or version >= GCC_WITH_AMX.get(version[0], version)


def computes(python: Path, root: Path) -> bool:
    """Whether llama.cpp, as it is installed, survives a computation with the bundled model on this machine."""
    try:
        tried = subprocess.run([str(python), "-m", "scripts.try_llama"], cwd=root, timeout=TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True  # a slow machine is no broken one
    return tried.returncode not in CRASHES
