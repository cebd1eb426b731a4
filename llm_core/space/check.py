"""Whether Spacefile, README.md, the requirements and the settings say the same, a sentence for each place where not."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from llm_core.errors import SettingsError, SpaceError
from llm_core.models.source import FileModel
from llm_core.settings import SERVER_NAME_VARIABLE, SERVER_PORT_VARIABLE, Settings, variable_of
from llm_core.space import readme, requirements, spacefile
from llm_core.space.spacefile import Spacefile

FIX = "python -m llm_core space check --fix"
README = "README.md"

# The Space's own proxy expects the app where it is by default.
_THE_SPACES_OWN = (SERVER_NAME_VARIABLE, SERVER_PORT_VARIABLE)
# Variables may be read by everyone; these have passwords in them, or may have.
_SECRET = frozenset({"LLM_API_TOKENS", "LLM_SERVER_TOKEN", "LLM_DATABASE_URL", "LLM_REDIS_URL", "MQTT_URL", "HF_TOKEN"})
# Of other libraries, and of use here: where the Hub's client keeps models, and what it says to the Hub.
_OTHERS = frozenset({"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "TZ"})


def load_checked(root: Path) -> Spacefile:
    """The Spacefile of a repository in which everything fits.

    Raises:
        SpaceError: One sentence a line for each thing that does not fit.
    """
    spec = spacefile.load(root)
    if complaints := list(problems(root, spec)):
        raise SpaceError("\n".join(complaints))
    return spec


def problems(root: Path, spec: Spacefile) -> Iterator[str]:
    """What does not fit, each as a sentence."""
    yield from _front_matter(root, spec)
    yield from _requirements(root, spec)
    yield from _python(root, spec)
    if not (root / spec.app_file).is_file():
        yield f"{spacefile.NAME}: app_file is {spec.app_file}, and there is no such file."
    yield from _model(spec)
    yield from _names(spec)
    yield from _values(spec)
    yield from _wheels(spec)


def fix(root: Path, spec: Spacefile) -> bool:
    """Writes README.md's front matter as Spacefile has it. Returns whether there was anything to write."""
    path = root / README
    text = _readme(root)
    if _front_matter_of(text) == spec.front_matter():
        return False
    path.write_text(readme.with_front_matter(text, spec.front_matter()), encoding="utf-8")
    return True


def _front_matter_of(text: str) -> dict[str, Any] | None:
    try:
        return readme.read(text)
    except SpaceError:
        return None


def _readme(root: Path) -> str:
    try:
        return (root / README).read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"{root / README} cannot be read: {error.strerror}.") from None


def _front_matter(root: Path, spec: Spacefile) -> Iterator[str]:
    wanted = spec.front_matter()
    try:
        found = readme.read(_readme(root))
    except SpaceError as error:
        yield error.message
        return
    if not found:
        yield f"{README} has no front matter, by which the Hub knows the Space. Write it: {FIX}"
        return
    for name in wanted | found:
        if name not in found:
            yield f"{README}'s front matter lacks {name}; {spacefile.NAME} has {wanted[name]!r}. Write it: {FIX}"
        elif name not in wanted:
            yield f"{README}'s front matter has {name}, which {spacefile.NAME} does not have. Write it anew: {FIX}"
        elif found[name] != wanted[name]:
            yield (
                f"{README}'s front matter has {name} {found[name]!r} and {spacefile.NAME} has {wanted[name]!r}. "
                f"Write it anew: {FIX}"
            )


def _requirements(root: Path, spec: Spacefile) -> Iterator[str]:
    try:
        gradio = requirements.pin(root, requirements.SDK)
        engine = requirements.pin(root, requirements.ENGINE)
    except SpaceError as error:
        yield error.message
        return
    if gradio is None:
        yield f"{requirements.NAME} does not pin {spec.sdk} exactly; {spacefile.NAME} wants {spec.sdk_version}."
    elif gradio != spec.sdk_version:
        yield (
            f"{spacefile.NAME} has sdk_version {spec.sdk_version} and {requirements.NAME} has {spec.sdk}=={gradio}. "
            "Make them the same: the Space installs both."
        )
    if engine is None:
        yield f"{requirements.NAME} does not pin {requirements.ENGINE} exactly; a compiled wheel is of one version."
    bounds = requirements.of_the_build()
    for wanted in requirements.requirements(root):
        others = bounds.get(canonicalize_name(wanted.name))
        if others is not None and not requirements.have_common(wanted.specifier, others):
            yield (
                f"{requirements.NAME} wants {wanted}, and the {spec.sdk}[{','.join(requirements.SDK_EXTRAS)}] that a "
                f"Space's build adds wants {wanted.name}{others}. Allow a version that both do."
            )


def _python(root: Path, spec: Spacefile) -> Iterator[str]:
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needed = SpecifierSet(project["requires-python"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, InvalidSpecifier):
        yield "pyproject.toml does not say which Python the app needs (project.requires-python)."
        return
    # 3.11 means the newest 3.11.x there is.
    version = spec.python_version if spec.python_version.count(".") == 2 else f"{spec.python_version}.99"
    if version not in needed:
        yield f"{spacefile.NAME} has python_version {spec.python_version}; the app needs {needed}."


def _model(spec: Spacefile) -> Iterator[str]:
    for source in spec.sources:
        if isinstance(source, FileModel) and not any(source.path.is_relative_to(folder) for folder in spec.mounts()):
            yield (
                f"{spacefile.NAME}: the model {source} is on no volume of the Space's storage. Use bundled, a model of "
                "the Hub (hf:OWNER/REPO), or mount the repository it is in."
            )


def _names(spec: Spacefile) -> Iterator[str]:
    known = {variable_of(field) for field in Settings.model_fields} | _OTHERS
    for name in spec.variables:
        if name == "LLM_MODEL":
            yield f"{spacefile.NAME}: LLM_MODEL is a key of its own. Write model: {spec.variables[name]}"
        elif name in _THE_SPACES_OWN:
            yield f"{spacefile.NAME}: {name} is set by the Space itself. Leave it out."
        elif name in _SECRET:
            yield f"{spacefile.NAME}: everyone can read a Space's variables. Put the name {name} under secrets."
        elif name not in known:
            yield f"{spacefile.NAME}: {name} under variables is no setting of this app; docs/settings.md has them all."
    for name in spec.secrets:
        if name in spec.variables:
            yield f"{spacefile.NAME}: {name} is both under variables and under secrets. Keep one."
        if name not in known or name in _THE_SPACES_OWN:
            yield f"{spacefile.NAME}: {name} under secrets is no setting of this app; docs/settings.md has them all."


def _values(spec: Spacefile) -> Iterator[str]:
    with _environment({"SPACE_ID": "owner/name", **spec.environment()}):
        try:
            Settings.load()
        except SettingsError as error:
            yield from (f"{spacefile.NAME}: {sentence}" for sentence in error.message.splitlines())


def is_usable(name: str, value: str) -> bool:
    """Whether a setting can have this value. The value may be a secret, so that nothing more is said of it."""
    with _environment({name: value}):
        try:
            Settings.load()
        except SettingsError:
            return False
    return True


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment is `variables` and nothing else: settings are read from there and from nowhere else."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _wheels(spec: Spacefile) -> Iterator[str]:
    if spec.hardware.startswith("zero"):
        yield (
            f"{spacefile.NAME}: {spec.hardware} lends a GPU for single calls, and this app keeps its model on one. "
            "Choose another hardware."
        )
        return
    is_cpu_index = re.search(r"/cpu/?$", spec.wheel_index) is not None
    if spec.has_gpu and is_cpu_index:
        yield (
            f"{spacefile.NAME}: {spec.hardware} has a GPU, and the wheels of {spec.wheel_index} do not use one. Name "
            "an index of CUDA wheels, or choose cpu-basic or cpu-upgrade."
        )
    if not spec.has_gpu and re.search(r"/cu\d+/?$", spec.wheel_index):
        yield f"{spacefile.NAME}: {spec.hardware} has no GPU, and the wheels of {spec.wheel_index} need one."
