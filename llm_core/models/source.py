"""What `LLM_MODEL` says, as data: the bundled model, a file, or a file in a repository of the Hugging Face Hub.

Only the form is checked here. Whether the thing exists is the business of `resolve`, which answers with a
`ResolvedModel`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from llm_core.errors import ModelError

FORMS = "Use `bundled`, the path of a .gguf file, or `hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]`."
MAX_SPEC_CHARS = 4096
MAX_FILE_CHARS = 500
MAX_REVISION_CHARS = 200

_HUB_PREFIX = "hf:"
_HUB_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
# The Hub's own rules: at most 96 characters a name, no dash or dot at either end, never two of them in a row.
_NAME = re.compile(r"(?=.{1,96}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_]|[-.](?=[A-Za-z0-9_]))*")
_FILE = re.compile(r"[^\x00-\x1f\x7f\\:]+")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class BundledModel:
    """The model that comes as a Python package."""

    def __str__(self) -> str:
        return "bundled"


@dataclass(frozen=True, slots=True)
class FileModel:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A file of a repository on the Hub.

    Attributes:
        repo: `OWNER/REPO`.
        file: A file's path in the repository, or a pattern with `*`, `?` or `[...]`. None leaves the choice to us.
        revision: Branch, tag or commit. None is the repository's main branch.
    """

    repo: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        file = f":{self.file}" if self.file else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{_HUB_PREFIX}{self.repo}{file}{revision}"

    @property
    def is_glob(self) -> bool:
        """Whether `file` is a pattern."""
        return self.file is not None and not _GLOB_CHARACTERS.isdisjoint(self.file)

    @property
    def is_pinned(self) -> bool:
        """Whether `revision` is a commit, which never changes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


ModelSource = BundledModel | FileModel | HubModel


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a source led.

    Attributes:
        path: The file to open; of a split model the first part, with the others beside it.
        source: What was asked for.
        revision: The commit that the file is from; None where it is not from the Hub.
        license: What the place it comes from says, such as `apache-2.0`; None where it says nothing.
    """

    path: Path
    source: ModelSource
    revision: str | None = None
    license: str | None = None

    @property
    def pin(self) -> HubModel | None:
        """The source that will always mean just this file; None where it is not from the Hub."""
        if not isinstance(self.source, HubModel) or self.revision is None:
            return None
        folder = next(folder for folder in self.path.parents if folder.name == self.revision)
        return HubModel(self.source.repo, self.path.relative_to(folder).as_posix(), self.revision)


def parse_source(spec: str) -> ModelSource:
    """Reads a model's spec, as in `LLM_MODEL`.

    Raises:
        ModelError: It has none of the three forms; the message says what is wrong with it.
    """
    if not spec.strip():
        raise ModelError(f"No model is named. {FORMS}")
    if len(spec) > MAX_SPEC_CHARS:
        raise ModelError(f"The model's name has {len(spec)} characters; {MAX_SPEC_CHARS} is the limit. {FORMS}")
    if spec == "bundled":
        return BundledModel()
    if spec.startswith(_HUB_PREFIX):
        return _parse_hub(spec)
    if page := _HUB_PAGE.match(spec):
        raise ModelError(f"{spec} is a page of the Hub. Write hf:{page[1]}")
    if "\0" in spec:
        raise ModelError(f"{spec!r} cannot be a path: it has a NUL character. {FORMS}")
    return FileModel(_expand(spec))


def means(wanted: str, spec: str) -> bool:
    """Whether a model of the Hub that is wanted, its file maybe a pattern, is the one of another spec."""
    if wanted == spec:
        return True
    try:
        one, other = parse_source(wanted), parse_source(spec)
    except ModelError:
        return False
    if not isinstance(one, HubModel) or not isinstance(other, HubModel) or one.repo != other.repo:
        return False
    return one.file is None or fnmatchcase(other.file or "", one.file)


def _expand(spec: str) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError as error:
        raise ModelError(f"The home folder in {spec} is not known: {error}") from None


def _parse_hub(spec: str) -> HubModel:
    # The last @ is the revision's, since a file's name may have one too; a revision never has.
    rest, at, revision = spec.removeprefix(_HUB_PREFIX).rpartition("@")
    if not at:
        rest, revision = revision, ""
    repo, colon, file = rest.partition(":")
    _check_repo(repo, spec)
    if colon:
        _check_file(file, spec)
    if at:
        _check_revision(revision, spec)
    return HubModel(repo, file or None, revision or None)


def _check_repo(repo: str, spec: str) -> None:
    owner, slash, name = repo.partition("/")
    if not (slash and owner and name):
        raise ModelError(f"{spec!r} does not name a repository as OWNER/REPO. {FORMS}")
    if "/" in name:
        raise ModelError(f"{spec!r}: put a colon, not a slash, between the repository and the file. {FORMS}")
    for part in (owner, name):
        if not _NAME.fullmatch(part):
            raise ModelError(
                f"{spec!r}: {part!r} cannot be a name on the Hub. Names have up to 96 letters, digits, dots, dashes "
                "and underscores, with no dash or dot at an end or beside another."
            )


def _check_file(file: str, spec: str) -> None:
    if not file:
        raise ModelError(f"{spec!r}: no file is named after the colon. Leave the colon out, or name one. {FORMS}")
    if len(file) > MAX_FILE_CHARS:
        raise ModelError(f"{spec!r}: the file's name is longer than {MAX_FILE_CHARS} characters.")
    if not _FILE.fullmatch(file) or any(part in ("", ".", "..") for part in file.split("/")):
        raise ModelError(f"{spec!r}: {file!r} is not the path of a file inside a repository.")
    if not file.endswith(".gguf") and _GLOB_CHARACTERS.isdisjoint(file):
        raise ModelError(f"{spec!r}: {file!r} is no .gguf file. For a pattern write, for example, *{file}*.gguf")


def _check_revision(revision: str, spec: str) -> None:
    if not revision:
        raise ModelError(f"{spec!r}: no branch, tag or commit is named after the @.")
    if len(revision) > MAX_REVISION_CHARS:
        raise ModelError(f"{spec!r}: the revision's name is longer than {MAX_REVISION_CHARS} characters.")
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith(("/", ".lock")):
        raise ModelError(f"{spec!r}: {revision!r} cannot be the name of a branch, a tag or a commit.")
