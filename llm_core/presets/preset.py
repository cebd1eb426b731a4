"""A preset: a name for a system prompt, a model and how replies are made; and the files that have some of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from llm_core.errors import InvalidRequest, SettingsError
from llm_core.messages import Text
from llm_core.request import MaxTokens, RunTools, Temperature, TopP
from llm_core.yaml_file import check, parse_yaml, read_yaml

# That of a file, and of a part of an address. Control characters stand in it as they are: not all readers of schemas
# know their escapes, and ranges up to the last character take hypothesis seconds.
NAME_PATTERN = "^[^./\\\\\0- \x7f][^/\\\\\0-\x1f\x7f]{0,59}$"
MAX_PROMPT_CHARS = 32_000
MAX_FILE_CHARS = 100_000
MAX_BRACKETS = 1_000  # the time that PyYAML takes grows with the square of those that are open
MAX_IN_FILE = 100

NAME_RULE = "1 to 60 characters, of which the first is no space and no dot, and no slashes"


def _named(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"must have {NAME_RULE}")
    return name


PresetName = Annotated[Text, AfterValidator(_named), Field(json_schema_extra={"pattern": NAME_PATTERN})]


class PresetFields(BaseModel):
    """What a preset sets. What it does not say stays as it is.

    Attributes:
        system_prompt, model, temperature, top_p, max_tokens, thinking, run_tools: As of a request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    system_prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARS)] | None = None
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    thinking: bool | None = None
    run_tools: RunTools | None = None

    def fields(self) -> dict[str, Any]:
        """What it says, as JSON."""
        return self.model_dump(mode="json", include=set(PresetFields.model_fields), exclude_none=True)


class Preset(PresetFields):
    """One of them.

    Attributes:
        name: 1 to 60 characters, of which the first is no space and no dot; no slashes.
    """

    name: PresetName


def operators_presets(path: Path | None) -> tuple[Preset, ...]:
    """Those of the file that the operator has named.

    Raises:
        SettingsError: The file cannot be used; the message names the line.
    """
    if path is None:
        return ()
    place = f"LLM_PRESETS={str(path)!r}"
    return _listed(*read_yaml(path, place, "presets"), place)


def presets_of_file(text: str) -> tuple[Preset, ...]:
    """Those of a file that somebody has opened, JSON or YAML.

    Raises:
        InvalidRequest: It has none, or what is not allowed; the message names the line.
    """
    if len(text) > MAX_FILE_CHARS:
        raise InvalidRequest(f"The file is larger than presets are: {MAX_FILE_CHARS} characters are read.")
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InvalidRequest(f"The file has more than {MAX_BRACKETS} brackets, which no preset needs.")
    try:
        # A few of them, each of others, would become more than any memory holds.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InvalidRequest("The file has YAML aliases (*name), which are not read here. Write them out.")
        return _listed(*parse_yaml(text, "The file"), "The file")
    except yaml.YAMLError as error:
        raise InvalidRequest(f"The file cannot be read as JSON or YAML: {error}.") from None
    except SettingsError as error:
        raise InvalidRequest(error.message) from None


def _listed(data: Any, root: yaml.Node | None, place: str) -> tuple[Preset, ...]:
    found = data.get("presets") if isinstance(data, dict) else None
    if not isinstance(found, list) or not found:
        raise SettingsError(f"{place} cannot be used: it has no `presets:` with a list below it.")
    if len(found) > MAX_IN_FILE:
        raise SettingsError(f"{place} cannot be used: it has more than {MAX_IN_FILE} presets.")
    presets = [check(Preset, each, root, ("presets", place_), place, "a preset") for place_, each in enumerate(found)]
    names = [preset.name for preset in presets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"{place} cannot be used: two presets have the name {twice!r}.")
    return tuple(presets)
