"""What a Space is sent: the app and nothing else, as files in memory, and as a folder to look at."""

from __future__ import annotations

import shutil
from pathlib import Path

from llm_core.errors import SpaceError
from llm_core.space import readme, requirements
from llm_core.space.check import README
from llm_core.space.spacefile import Spacefile

PACKAGE = "llm_core"
# By what they are, so that a model, a database or a key that lies between the sources stays here.
SUFFIXES = frozenset({".py", ".js", ".css", ".html", ".yaml", ".svg", ".typed"})
LICENSE = "LICENSE"

# Tells a folder or a Space that this command may replace from one that it must not touch.
MARKER = ".llm-core-space"
_MARKER_TEXT = "Written by python -m llm_core space, which replaces everything beside this file.\n"
# Belongs to whoever keeps the folder or the Space.
KEPT = frozenset({".git", ".gitattributes"})

_BODY = """\
# {title}
{description}
A chat with a language model that runs inside this Space and answers many people at once. Programs talk to it too:

```python
from gradio_client import Client

client = Client("OWNER/NAME")  # this Space
messages = [{{"role": "user", "content": "Name three uses of a paper clip."}}]
print(client.predict(messages, 0.7, 80, api_name="/chat_complete"))
```

It was put here by `python -m llm_core space deploy`; the next deploy replaces what is changed here.
"""


def files(root: Path, spec: Spacefile) -> dict[str, bytes]:
    """Everything that is sent, by its path in the Space.

    Raises:
        SpaceError: A file is missing, is a link, or a package is not installed in the version that is wanted.
    """
    package = root / PACKAGE
    sources = [path for path in package.rglob("*") if path.suffix in SUFFIXES and "__pycache__" not in path.parts]
    built = {path.relative_to(root).as_posix(): _read(path) for path in sorted(sources)}
    built[spec.app_file] = _read(root / spec.app_file)
    built[LICENSE] = _read(root / LICENSE)
    built[README] = _readme(spec).encode()
    built[requirements.NAME] = requirements.deployed(root, spec.wheel_index).encode()
    built[MARKER] = _MARKER_TEXT.encode()
    return built


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise SpaceError(f"{path} is a link. Links are not sent, since they may lead to what must stay here.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}.") from None


def _readme(spec: Spacefile) -> str:
    """Not the repository's README, whose links lead to files that a Space does not have."""
    description = f"\n{spec.short_description}\n" if spec.short_description else ""
    return readme.with_front_matter(_BODY.format(title=spec.title, description=description), spec.front_matter())


def write(folder: Path, built: dict[str, bytes]) -> None:
    """Writes the files into a folder, which has nothing else afterwards but a `.git`.

    Raises:
        SpaceError: The folder has something in it that this command did not write, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise SpaceError(f"{folder} is not a folder.")
    there = list(folder.iterdir()) if folder.exists() else []
    if any(path.name not in KEPT for path in there) and not (folder / MARKER).is_file():
        raise SpaceError(f"{folder} is not empty and was not written by this command. Name a new or an empty folder.")
    try:
        for path in there:
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # The marker is first: an interrupted build may be done again.
        for name in sorted(built, key=lambda name: name != MARKER):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(built[name])
    except OSError as error:
        raise SpaceError(f"{folder} cannot be written: {error.strerror}.") from None
