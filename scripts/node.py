"""Node, for the TypeScript client: whether there is one that will do, and the packages that a folder needs.

Run as `python -m scripts.node` to install the packages of `clients/typescript`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "clients" / "typescript"
OLDEST_NODE = (20, 19)  # Vite's
STAMP = ".installed.json"  # in node_modules
VERSION_SECONDS = 20

NO_NODE = "there is no Node 20.19 or newer with npm on the PATH (https://nodejs.org has it)"


class NodeError(Exception):
    """npm could not do what it should; the message has the end of its output."""


def find_node() -> str | None:
    """The path of a Node that is new enough and has npm beside it, or None."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None or _version(node) < OLDEST_NODE:
        return None
    return node


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
    # no package needs any to be used here, and packages of strangers should not run what they like.
    run_npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    stamp.write_text(json.dumps(wanted))


_INPUTS = ("package.json", "package-lock.json")


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def run_npm(folder: Path, *arguments: str) -> None:
    """Runs npm in `folder`.

    Raises:
        NodeError: It failed.
    """
    environment = os.environ | {"npm_config_update_notifier": "false"}
    ran = subprocess.run(["npm", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NodeError(f"npm {' '.join(arguments)} failed:\n{(ran.stdout + ran.stderr)[-4000:].strip()}")


def main() -> int:
    if find_node() is None:
        print(f"The TypeScript client needs Node: {NO_NODE}.", file=sys.stderr)
        return 1
    try:
        install_packages(CLIENT)
    except NodeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
