"""The page's presets: what the panel of presets asks for, in the words of the page's settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError
from starlette.requests import HTTPConnection

from llm_core.client import LLMClient
from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest, ModelNotFound, PresetExists
from llm_core.page.answers import Answer, Command, answering
from llm_core.page.commands import ModelName, Options
from llm_core.page.controls import SERVED_TOOLS, Controls, longest_reply
from llm_core.page.models import Choice
from llm_core.presets.preset import MAX_FILE_CHARS, NAME_RULE, Preset, PresetName, presets_of_file
from llm_core.presets.presets import Kept
from llm_core.tools.builtin import BUILTIN_TOOLS

_NAME = TypeAdapter(PresetName)
_LABELS = {tool.name: label for label, tool in BUILTIN_TOOLS.items()}

Text = Annotated[str, StringConstraints(max_length=200)]


class OfPreset(Command):
    name: Text


class Save(OfPreset):
    """What is set now, under a name, in the place of what has it.

    Attributes:
        model: The name of the model on the screen; None: the default one.
    """

    options: Options
    model: ModelName | None = None


class RenamePreset(OfPreset):
    title: Text


class SetDefault(Command):
    name: Text | None


class OpenFile(Command):
    """A file of presets.

    Attributes:
        default: The name of the one that new conversations are to begin with.
    """

    text: Annotated[str, StringConstraints(max_length=2 * MAX_FILE_CHARS)]
    default: Text | None = None


class PresetCommands:
    """The commands of the panel, of all visitors."""

    def __init__(self, client: LLMClient) -> None:
        self._client, self._presets, self._choice = client, client.presets, Choice(client)
        self._longest = longest_reply(client.settings)

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them. Each answers with the presets as they are then."""
        return {
            "presets": self._then_listed(lambda *_: {}, Command),
            "save_preset": self._then_listed(self._save, Save),
            "rename_preset": self._then_listed(self._rename, RenamePreset),
            "delete_preset": self._then_listed(self._delete, OfPreset),
            "default_preset": self._then_listed(self._set_default, SetDefault),
            "open_presets": self._then_listed(self._open, OpenFile),
        }

    def _then_listed(self, command: Callable[[Any, str], dict[str, Any]], kind: type[Command]) -> Answer:
        async def done(asked: Any, visitor: str, connection: HTTPConnection) -> Any:
            def work() -> dict[str, Any]:
                answer = command(asked, visitor)
                found = self._presets.list(owner=visitor)
                return answer | {"rows": [self._row(kept, connection) for kept in found]}

            return await asyncio.to_thread(work)

        return answering(done, kind)

    def _row(self, kept: Kept, connection: HTTPConnection) -> dict[str, Any]:
        preset = kept.preset
        try:
            self._choice.check(preset.model, connection)
            is_served = True
        except ModelNotFound:
            is_served = False
        return {
            "name": preset.name,
            "own": kept.is_own,
            "is_default": kept.is_default,
            "model": preset.model,
            "is_served": is_served,
            "options": self._options(preset),
            "file": json.dumps({"presets": [{"name": preset.name, **preset.fields()}]}, ensure_ascii=False, indent=2),
        }

    def _options(self, preset: Preset) -> dict[str, Any]:
        """What it sets of the page's settings."""
        options = preset.fields()
        options.pop("model", None)
        wanted = options.pop("run_tools", None)
        if preset.max_tokens is not None:
            options["max_tokens"] = min(preset.max_tokens, self._longest)
        if wanted is not None:
            options["tools"] = self._labels(wanted)
        return options

    def _labels(self, wanted: bool | list[str]) -> list[str]:
        """Of the tools that are switched on, in the order of the page."""
        offered = [SERVED_TOOLS] if self._client.settings.mcp_servers is not None else []
        if isinstance(wanted, bool):
            return [*BUILTIN_TOOLS, *offered] if wanted else []
        are_others = any(name not in _LABELS for name in wanted)
        return [*(label for name, label in _LABELS.items() if name in wanted), *(offered if are_others else ())]

    def _save(self, asked: Save, visitor: str) -> dict[str, Any]:
        set_now = asked.options.model_dump(exclude={"tools"})
        tools = [tool.name for tool in Controls.tools_named(asked.options.tools) or ()]
        if SERVED_TOOLS in asked.options.tools:
            tools += self._client.tools.server_names(visitor)
        name = _checked_name(asked.name)
        try:
            preset = Preset(name=name, model=asked.model, run_tools=tuple(tools), **set_now)
        except ValidationError as error:
            raise invalid_request(error) from None
        self._presets.put(name, preset, owner=visitor)
        return {"name": name}

    def _rename(self, asked: RenamePreset, visitor: str) -> dict[str, Any]:
        name = _checked_name(asked.title)
        preset = self._presets.get(asked.name, owner=visitor).preset
        self._presets.put(asked.name, preset.model_copy(update={"name": name}), owner=visitor)
        return {"name": name}

    def _delete(self, asked: OfPreset, visitor: str) -> dict[str, Any]:
        self._presets.delete(asked.name, owner=visitor)
        return {}

    def _set_default(self, asked: SetDefault, visitor: str) -> dict[str, Any]:
        self._presets.set_default(asked.name, owner=visitor)
        return {}

    def _open(self, asked: OpenFile, visitor: str) -> dict[str, Any]:
        """Keeps those of a file, each under a name that is free."""
        names = [self._added(preset, visitor) for preset in presets_of_file(asked.text)]
        if asked.default in names:
            self._presets.set_default(asked.default, owner=visitor)
        return {"names": names}

    def _added(self, preset: Preset, visitor: str) -> str:
        taken = {kept.preset.name for kept in self._presets.list(owner=visitor)}
        name, number = preset.name, 2
        while name in taken:
            name, number = f"{preset.name[:55]} {number}", number + 1
        try:
            self._presets.add(preset.model_copy(update={"name": name}), owner=visitor)
        except PresetExists:  # since then, in another tab
            return self._added(preset, visitor)
        return name


def _checked_name(name: str) -> str:
    try:
        return _NAME.validate_python(" ".join(name.split()))
    except ValidationError:
        raise InvalidRequest(f"A name has {NAME_RULE}.", param="name") from None
