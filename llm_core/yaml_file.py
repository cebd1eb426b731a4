"""Files that a setting names, written in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from llm_core.complaints import Complaint
from llm_core.errors import SettingsError

M = TypeVar("M", bound=BaseModel)
Way = tuple[str | int, ...]

MAX_FILE_BYTES = 1_000_000


def read_yaml(path: Path, place: str, what: str) -> tuple[Any, yaml.Node | None]:
    """What a file says, and its tree, which has the lines.

    Args:
        path: The file.
        place: The setting and its value, for an error.
        what: Of which the file is a list.

    Raises:
        SettingsError: It cannot be read, or is no YAML.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{place} cannot be used: it is larger than a list of {what}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place} cannot be read: {error}.") from None
    return parse_yaml(text, place)


def parse_yaml(text: str, place: str) -> tuple[Any, yaml.Node | None]:
    """What a file's text says, and its tree. Raises `SettingsError` as `read_yaml`."""
    try:
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise SettingsError(f"{place} cannot be read: it has too many levels.") from None
    except (ValueError, yaml.YAMLError) as error:  # a date such as 2026-13-01 is the former
        raise SettingsError(f"{place} cannot be read: {error}.") from None


def check(model: type[M], fields: Any, root: yaml.Node | None, way: Way, place: str, what: str) -> M:
    """What stands at one place of a file, as a `model`.

    Args:
        fields: That which stands there.
        root: The file's tree.
        way: The way there.
        place: The setting and its value, for an error.
        what: One of these, in words.

    Raises:
        SettingsError: It is none; the message names the line.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        complaint = Complaint.of(error.errors(include_url=False)[0])
        line = line_of(root, (*way, *complaint.path))
        field = complaint.field() or what
        allowed = f" Allowed: {', '.join(model.model_fields)}." if "no such field" in complaint.text else ""
        raise SettingsError(f"{place}, line {line}: {field}: {complaint.reason}.{allowed}") from None


def line_of(root: yaml.Node | None, way: Way) -> int:
    """The line of what a way leads to, or of the last on it that is there; from 1."""
    line, node = 0, root
    for step in way:
        line, node = next(_below(node, step), (line, None))
        if node is None:
            break
    return line + 1


def _below(node: yaml.Node | None, step: str | int) -> Iterator[tuple[int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((key.start_mark.line, value) for key, value in node.value if key.value == step)
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        yield node.value[step].start_mark.line, node.value[step]
