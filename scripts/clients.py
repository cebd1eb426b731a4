"""Other people's clients, for tests/real_clients: a virtual environment for each requirements-clients*.txt, and npm's
packages.

Run as `python -m scripts.clients` before the tests. The environments are apart from `.venv`, which they cannot disturb.
Where they cannot be made those tests skip, but never in CI.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.node import NodeError, find_node, install_node, install_packages
from scripts.setup import ROOT, fingerprints
from scripts.system_packages import in_ci

NODE_FOLDER = ROOT / "tests" / "real_clients" / "node"
REQUIREMENTS = sorted(ROOT.glob("requirements-clients*.txt"))
STAMP = "setup.json"


class ClientsError(Exception):
    """An environment could not be made; the message has the end of pip's output."""


def environment_of(requirements: Path) -> Path:
    """Where the environment of a requirements file is."""
    return ROOT / requirements.stem.replace("requirements", ".venv")


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def is_ready(requirements: Path) -> bool:
    """Whether its environment has what it says, and is where it was made."""
    try:
        stamp: object = json.loads((environment_of(requirements) / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return stamp == _stamp_of(requirements)


def set_up(requirements: Path) -> None:
    """Makes an environment; at once where it is ready. One that was interrupted is made afresh.

    Raises:
        ClientsError: It cannot be done.
    """
    if is_ready(requirements):
        return
    environment = environment_of(requirements)
    print(f"Installing {requirements.name} into {environment.name}", flush=True)
    pip = [str(python_of(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "venv", "--clear", str(environment))
    _run(*pip, "-r", str(requirements))
    (environment / STAMP).write_text(json.dumps(_stamp_of(requirements)))


def _stamp_of(requirements: Path) -> dict[str, str]:
    return fingerprints([requirements]) | {"environment": str(environment_of(requirements))}


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise ClientsError(f"{' '.join(command[:4])} failed:\n{(ran.stdout + ran.stderr)[-2000:].strip()}")


def main() -> int:
    try:
        for requirements in REQUIREMENTS:
            set_up(requirements)
        if find_node() is None:
            install_node()
        install_packages(NODE_FOLDER)
    except (ClientsError, NodeError) as error:
        print(error, file=sys.stderr)
        if in_ci():
            return 1
        print("The tests of other people's clients that need it will be skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
