"""The requirements of a Space: those of the app, each pinned to the version that is installed here, and where pip finds
llama-cpp-python compiled.

A Space's build does not install this file alone: it adds Gradio with extras, whose own requirements must be met too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from llm_core.errors import SpaceError

NAME = "requirements.txt"
ENGINE = "llama-cpp-python"
SDK = "gradio"
# As builds' logs show: pip install -r requirements.txt gradio[oauth,mcp]==SDK_VERSION uvicorn websockets spaces
SDK_EXTRAS = ("oauth", "mcp")


def requirements(root: Path) -> list[Requirement]:
    """What the app needs.

    Raises:
        SpaceError: The file is missing, or has a line that is no requirement.
    """
    try:
        text = (root / NAME).read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"{root / NAME} cannot be read: {error.strerror}.") from None
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Requirement]:
    for number, line in enumerate(text.splitlines(), 1):
        wanted = line.split(" #")[0].strip()
        if not wanted or wanted.startswith("#"):
            continue
        try:
            yield Requirement(wanted)
        except InvalidRequirement:
            raise SpaceError(f"{NAME}, line {number}: {wanted!r} is no requirement such as gradio==6.31.0.") from None


def pin(root: Path, package: str) -> str | None:
    """The version that a package is pinned to exactly; None where it is not."""
    for wanted in requirements(root):
        if canonicalize_name(wanted.name) == canonicalize_name(package):
            exact = [
                clause.version for clause in wanted.specifier if clause.operator == "==" and "*" not in clause.version
            ]
            return exact[0] if exact else None
    return None


def of_the_build() -> dict[str, SpecifierSet]:
    """What a Space's build asks of packages beside this app, by their names, as the installed Gradio states it."""
    bounds: dict[str, SpecifierSet] = {}
    for text in metadata.requires(SDK) or []:
        wanted = Requirement(text)
        if wanted.marker and any(wanted.marker.evaluate({"extra": extra}) for extra in SDK_EXTRAS):
            name = canonicalize_name(wanted.name)
            bounds[name] = bounds.get(name, SpecifierSet()) & wanted.specifier
    return bounds


def have_common(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Whether some version meets both, as far as the versions that they name tell."""
    named = [clause.version for clause in (*one, *other) if "*" not in clause.version]
    both = one & other
    return not named or any(both.contains(version, prereleases=True) for version in named)


def deployed(root: Path, wheel_index: str, version_of: Callable[[str], str] = metadata.version) -> str:
    """The text of the Space's requirements.txt.

    The index comes first, for people to see where what follows is from. The versions are those that the app was run and
    tested with; a Space that is built again next year then gets the same ones. One that a Space's build does not allow
    gives way to what both allow.

    Args:
        root: The repository.
        wheel_index: Index of compiled wheels.
        version_of: The version of a package that is installed here.

    Raises:
        SpaceError: A package is not installed here, or not in a version that the repository's requirements allow.
    """
    bounds = of_the_build()
    pinned = []
    for wanted in requirements(root):
        version = _installed(wanted, version_of)
        others = bounds.get(canonicalize_name(wanted.name), SpecifierSet())
        allowed = f"=={version}" if others.contains(version, prereleases=True) else str(wanted.specifier & others)
        pinned.append(f"{wanted.name}{_extras(wanted)}{allowed}")
    return "\n".join([f"--extra-index-url {wheel_index}", *pinned, ""])


def _extras(wanted: Requirement) -> str:
    return f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""


def _installed(wanted: Requirement, version_of: Callable[[str], str]) -> str:
    try:
        # A build's own mark, as in 2.1.0+cpu, is on no index.
        version = version_of(wanted.name).split("+")[0]
    except metadata.PackageNotFoundError:
        raise SpaceError(f"{wanted.name} is not installed here. Set up first: make run.") from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise SpaceError(
            f"{wanted.name} {version} is installed here, and {NAME} wants {wanted}. Set up first: make run."
        )
    return version
