"""`Spacefile`: the one place for what a Space of this app is made of, with a sentence for whatever is wrong with it.

What can be told from the file alone is checked here; how it fits the rest of the repository is `check.py`'s business.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from llm_core.complaints import Complaint
from llm_core.errors import ModelError, SpaceError
from llm_core.models.source import FORMS, FileModel, HubModel, ModelSource, parse_source
from llm_core.space import volumes

NAME = "Spacefile"

# What the Hub accepts: huggingface.co/docs/hub/spaces-config-reference. A longer description is refused on upload.
Color = Literal["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
MAX_SHORT_DESCRIPTION = 60

CPUS = ("cpu-basic", "cpu-upgrade")
CPU_WHEELS = "https://abetlen.github.io/llama-cpp-python/whl/cpu"

_VERSION = re.compile(r"\d+(\.\d+)+")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,2})?")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_INDEX = re.compile(r"https?://[^\s?#]+")
# An emoji's first character is a symbol of one of these blocks; modifiers, joiners and flags' tags follow it.
_SYMBOLS = re.compile("[©®\u203c\u2049™ℹ\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]")
_JOINERS = frozenset("\u200d\ufe0f\u20e3") | {chr(point) for point in range(0xE0020, 0xE0080)}


def _shape(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is no {what}")
        return value

    return AfterValidator(check)


def _emoji(value: str) -> str:
    symbols = [character for character in value if character not in _JOINERS]
    # A family of four is four symbols with joiners between them; that is as long as an emoji gets.
    if not symbols or len(symbols) > 4 or not all(map(_SYMBOLS.fullmatch, symbols)):
        raise ValueError(f"{value!r} is no emoji; the Hub takes one emoji and nothing else")
    return value


def _one_line(value: str) -> str:
    if not value.strip() or any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("write one line of text")
    return value


def _unquoted(value: object) -> object:
    """A version without quotes is a number to YAML, which takes 3.10 for 3.1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{value} is a number in YAML; put the version in quotes")
    return value


def _text(value: object) -> object:
    """A variable's value as the process will see it; YAML has made a number or a truth value of it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, (int, float)) else value


def _model(value: str) -> str:
    if "," in value:
        raise ValueError(f"{value!r} has a comma. Write several models as a list")
    try:
        source = parse_source(value)
    except ModelError as error:
        raise ValueError(error.message) from None
    if isinstance(source, FileModel) and not source.path.is_absolute():
        raise ValueError(f"{value!r} is a file on this machine, which a Space does not have. {FORMS}")
    return value


def _listed(value: object) -> object:
    """One model is a list of one."""
    if value == []:
        raise ValueError("name at least one model")
    return (value,) if isinstance(value, str) else value


def _plain_path(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][\w./-]*\.py", value) or ".." in value:
        raise ValueError(f"{value!r} is not the path of a Python file in the repository")
    return value


def _volume(value: str) -> str:
    volumes.parse(value)
    return value


Line = Annotated[str, AfterValidator(_one_line)]
ModelSpec = Annotated[str, AfterValidator(_model)]
VariableName = Annotated[str, _shape(_VARIABLE, "name of a variable: capitals, digits and underscores")]
Volume = Annotated[str, AfterValidator(_volume)]


class Spacefile(BaseModel):
    """What a Space is made of.

    Attributes:
        title, emoji, color_from, color_to, short_description, license, tags: How the Hub shows it.
        sdk, sdk_version: Gradio and its version, which must be the one that requirements.txt pins.
        python_version: Python of the Space.
        app_file: What the Space runs.
        hardware: Name of a machine of the Hub's.
        storage: Buckets and repositories mounted into the Space, `hf://buckets/OWNER/NAME:/data[:ro]`.
        model: `LLM_MODEL` of the Space: a model, or a list of which the first one is the default.
        variables: Other settings. Everyone can read them.
        secrets: Names of variables whose values only the Space sees; deploying asks for the values.
        wheel_index: Where pip finds llama-cpp-python compiled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Line
    emoji: Annotated[str, AfterValidator(_emoji)]
    color_from: Color = "indigo"
    color_to: Color = "green"
    short_description: Annotated[str, Field(max_length=MAX_SHORT_DESCRIPTION), AfterValidator(_one_line)] | None = None
    license: Annotated[str, _shape(_LICENSE, "licence identifier such as mit or apache-2.0")] | None = None
    tags: tuple[Line, ...] = ()
    sdk: Literal["gradio"] = "gradio"
    sdk_version: Annotated[str, BeforeValidator(_unquoted), _shape(_VERSION, "version such as 6.31.0")]
    python_version: Annotated[str, BeforeValidator(_unquoted), _shape(_PYTHON, 'version such as "3.11"')]
    app_file: Annotated[str, AfterValidator(_plain_path)] = "app.py"
    hardware: Annotated[str, _shape(re.compile(r"[a-z0-9-]+"), "name of a machine such as cpu-basic")] = "cpu-basic"
    storage: tuple[Volume, ...] = ()
    model: Annotated[tuple[ModelSpec, ...], Field(max_length=20), BeforeValidator(_listed)] = ("bundled",)
    variables: Mapping[VariableName, Annotated[str, BeforeValidator(_text)]] = {}
    secrets: tuple[VariableName, ...] = ()
    wheel_index: Annotated[str, _shape(_INDEX, "address of an index of wheels, https://…")] = CPU_WHEELS

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """What `model` means."""
        return tuple(map(parse_source, self.model))

    @property
    def has_gpu(self) -> bool:
        """Whether the machine is one with a GPU."""
        return self.hardware not in CPUS

    def mounts(self) -> list[str]:
        """The folders of the Space that `storage` puts something into."""
        return [volumes.parse(volume).mount_path for volume in self.storage]

    def environment(self) -> dict[str, str]:
        """The Space's variables, the model's among them."""
        return {"LLM_MODEL": ",".join(self.model), **self.variables}

    def front_matter(self) -> dict[str, Any]:
        """What the Hub reads at the top of the Space's README.md."""
        fields = {
            "title": self.title,
            "emoji": self.emoji,
            "colorFrom": self.color_from,
            "colorTo": self.color_to,
            "sdk": self.sdk,
            "sdk_version": self.sdk_version,
            "python_version": self.python_version,
            "app_file": self.app_file,
            "suggested_hardware": self.hardware,  # for those who copy the Space
            "short_description": self.short_description,
            "license": self.license,
            "tags": list(self.tags),
            "models": [source.repo for source in self.sources if isinstance(source, HubModel)],
        }
        return {name: value for name, value in fields.items() if value not in (None, [])}


def load(root: Path) -> Spacefile:
    """Reads the `Spacefile` of a repository.

    Raises:
        SpaceError: There is none, or it cannot be used; each line of the message is one complaint.
    """
    try:
        text = (root / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpaceError(f"There is no {NAME} in {root}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{root / NAME} cannot be read: {error}.") from None
    return parse(text)


def parse(text: str) -> Spacefile:
    """Reads a `Spacefile`'s text.

    Raises:
        SpaceError: As `load`.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{NAME} is no YAML: {_yaml_reason(error)}") from None
    if not isinstance(tree, yaml.MappingNode) or not isinstance(data, dict):
        raise SpaceError(f"{NAME} must be a list of `key: value` lines.")
    lines = dict(_lines(tree))
    if repeated := _repeated(tree):
        raise SpaceError("\n".join(repeated))
    try:
        return Spacefile.model_validate(data)
    except ValidationError as error:
        raise SpaceError("\n".join(_sentence(complaint, lines) for complaint in error.errors())) from None


def _yaml_reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}."
    return f"{error}."


def _lines(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """The line of everything in the file, by its path: `("variables", "LLM_PARALLEL")`, `("tags", "0")`."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield from _lines(value, below)
            yield below, key.start_mark.line + 1  # last, so that it counts: a value may begin on the next line
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, (*path, str(number)))


def _repeated(tree: yaml.MappingNode) -> list[str]:
    """YAML lets the last of two equal keys win without a word."""
    first: dict[str, int] = {}
    complaints = []
    for key, value in tree.value:
        line = key.start_mark.line + 1
        if key.value in first:
            complaints.append(f"{NAME}, line {line}: {key.value} is there already, on line {first[key.value]}.")
        first.setdefault(key.value, line)
        if isinstance(value, yaml.MappingNode):
            complaints += _repeated(value)
    return complaints


def _sentence(complaint: Any, lines: Mapping[tuple[str, ...], int]) -> str:
    """One complaint of pydantic as a sentence with the line and with what is allowed."""
    path = tuple(str(part) for part in complaint["loc"] if part != "[key]")
    if path not in lines and path[:-1] in lines and path[-1].isdecimal():  # one that was not written as a list
        path = path[:-1]
    key = ".".join(path)
    at = f"{NAME}, line {lines[path]}" if path in lines else NAME
    match complaint["type"]:
        case "missing":
            return f"{NAME}: {key} is missing."
        case "extra_forbidden":
            known = list(Spacefile.model_fields)
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(known)}."
            return f"{at}: there is no key {key}. {hint}"
        case "literal_error" if path[0].startswith("color"):
            return (
                f"{at}: {key}: {complaint['input']!r} is no colour of the Hub's. Allowed: {', '.join(get_args(Color))}."
            )
        case "string_too_long":
            long = len(complaint["input"])
            return f"{at}: {key} has {long} characters; the Hub allows {MAX_SHORT_DESCRIPTION}."
        case _:
            return f"{at}: {key}: {Complaint.of(complaint).text.removeprefix('Input ').rstrip('.')}."
