"""The doorway of presets: list, read, keep, change and delete them over HTTP. Everyone has their own."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from llm_core.access.problems import describe
from llm_core.client import LLMClient
from llm_core.http.bodies import DeletedAnswer
from llm_core.http.given import Client, Owner
from llm_core.presets.preset import Preset, PresetFields, PresetName
from llm_core.presets.presets import Kept

_READ = describe(401, 404, 422, 503)
_WRITTEN = describe(400, 401, 409, 413, 422, 503, 507)
Name = Annotated[PresetName, Path()]
_Default = Annotated[
    Annotated[bool, Field(strict=True)] | None,
    Field(description="Whether your new conversations on the page begin with it; left out, as it is"),
]
_EXAMPLE: dict[str, Any] = {"name": "Pirate", "system_prompt": "You are a pirate.", "temperature": 1.2}

router = APIRouter(prefix="/api/llm", tags=["presets"])


class NewPresetBody(Preset):
    """A preset to keep."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    default: _Default = None


class PresetBody(PresetFields):
    """What a preset is from now on, all of it; with a `name`, under that one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"temperature": 1.2}})

    name: PresetName | None = None
    default: _Default = None


class PresetAnswer(Preset):
    """A preset that you may choose. What is null stays as it is."""

    own: bool = Field(description="Whether it is yours to change, and not the operator's")
    default: bool = Field(description="Whether your new conversations on the page begin with it")


class PresetsAnswer(BaseModel):
    """Your own presets, the oldest first, then the operator's."""

    presets: list[PresetAnswer]


@router.get("/presets", responses=describe(401, 503))
async def list_presets(client: Client, owner: Owner) -> PresetsAnswer:
    """The presets that you may choose from. One of your own stands in the place of the operator's of that name."""
    found = await asyncio.to_thread(client.presets.list, owner=owner)
    return PresetsAnswer(presets=[_answer(each) for each in found])


@router.get("/presets/{name}", responses=_READ)
async def one_preset(name: Name, client: Client, owner: Owner) -> PresetAnswer:
    """One preset."""
    return _answer(await asyncio.to_thread(client.presets.get, name, owner=owner))


@router.post("/presets", responses=_WRITTEN)
async def add(body: NewPresetBody, client: Client, owner: Owner) -> PresetAnswer:
    """Keeps a new preset of your own."""
    preset = Preset(name=body.name, **body.fields())
    await asyncio.to_thread(client.presets.add, preset, owner=owner)
    return await asyncio.to_thread(_kept, client, owner, body.name, body.default)


@router.put("/presets/{name}", responses=_WRITTEN)
async def put(name: Name, body: PresetBody, client: Client, owner: Owner) -> PresetAnswer:
    """Keeps a preset of your own in the place of this one, or as a new one."""
    preset = Preset(name=body.name or name, **body.fields())
    await asyncio.to_thread(client.presets.put, name, preset, owner=owner)
    return await asyncio.to_thread(_kept, client, owner, preset.name, body.default)


@router.delete("/presets/{name}", responses=_READ | describe(403, 507))
async def delete(name: Name, client: Client, owner: Owner) -> DeletedAnswer:
    """Forgets a preset of your own."""
    await asyncio.to_thread(client.presets.delete, name, owner=owner)
    return DeletedAnswer(id=name)


def _kept(client: LLMClient, owner: str, name: str, default: bool | None) -> PresetAnswer:
    """The preset as it is kept, after it was said whether it is the default."""
    is_default = client.presets.get(name, owner=owner).is_default
    if default is not None and default != is_default:
        client.presets.set_default(name if default else None, owner=owner)
    return _answer(client.presets.get(name, owner=owner))


def _answer(kept: Kept) -> PresetAnswer:
    return PresetAnswer(name=kept.preset.name, **kept.preset.fields(), own=kept.is_own, default=kept.is_default)
