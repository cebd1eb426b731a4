"""LoRA adapters: those that the operator has for a model, those that a request asks for, and the set that applies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llm_core.errors import InvalidRequest
from llm_core.numbers import Whole

MAX_ADAPTERS = 32
MAX_SCALE = 8.0
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

AdapterSet = tuple[tuple[str, float], ...]
"""The adapters with which tokens are computed, by name, each with its scale: sorted, and none whose scale is 0. What is
computed in the same way has the same set."""

_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Scale = Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE, allow_inf_nan=False)]


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not os.path.isfile(path):  # unlike Path's own it raises for no name at all
        raise ValueError(f"there is no file {path}")
    return path


class Adapter(BaseModel):
    """One that the operator has for a model.

    Attributes:
        name: By which requests ask for it.
        path: A `.gguf` file, made for this model.
        scale: With which it applies to requests that ask for none. 0: only where a request asks for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    path: Annotated[Path, AfterValidator(_existing)]
    scale: _Scale = 1.0


class AdapterChoice(BaseModel):
    """One that a request asks for.

    Attributes:
        name: Its name.
        id: In place of the name: its place among the model's adapters, from 0, as llama-server has it.
        scale: How much of it applies; 0 is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name | None = None
    id: Annotated[int, Field(ge=0, lt=MAX_ADAPTERS), Whole] | None = None
    scale: _Scale = 1.0

    @model_validator(mode="after")
    def _is_one(self) -> AdapterChoice:
        if (self.name is None) == (self.id is None):
            raise ValueError('must be such as {"name": ..., "scale": 1}, or {"id": 0, "scale": 1}')
        return self


def _listed(value: object) -> object:
    """`NAME=PATH, NAME=PATH:SCALE` as the fields of adapters."""
    return [_fields(part.strip()) for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _fields(text: str) -> dict[str, str | float]:
    name, _, place = text.partition("=")
    if not name or not place:
        raise ValueError(f"{text!r} is not NAME=PATH or NAME=PATH:SCALE")
    path, _, scale = place.rpartition(":")
    try:
        return {"name": name, "path": path, "scale": float(scale)} if path else {"name": name, "path": place}
    except ValueError:  # a colon of the path
        return {"name": name, "path": place}


def _distinct(adapters: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
    names = [adapter.name for adapter in adapters]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two adapters have the name {twice!r}")
    return adapters


Adapters = Annotated[
    tuple[Adapter, ...], Field(max_length=MAX_ADAPTERS), BeforeValidator(_listed), AfterValidator(_distinct)
]
AdapterChoices = Annotated[tuple[AdapterChoice, ...], Field(max_length=MAX_ADAPTERS)]


def adapter_set(chosen: Sequence[AdapterChoice] | None, there: Sequence[Adapter]) -> AdapterSet:
    """What a request's tokens are computed with: the adapters that it asks for, and no others.

    Args:
        chosen: What it asks for; None: it says nothing, and gets the operator's, each with its own scale.
        there: The model's.

    Raises:
        InvalidRequest: There is no such adapter, or one is asked for twice.
    """
    if chosen is None:
        return _normal({adapter.name: adapter.scale for adapter in there})
    names = [adapter.name for adapter in there]
    scales: dict[str, float] = {}
    for choice in chosen:
        name = names[choice.id] if choice.id is not None and choice.id < len(names) else choice.name
        if name not in names:
            asked = repr(name) if name is not None else f"with the id {choice.id}"
            has = f"There is: {', '.join(names)}." if names else "The model has none."
            raise InvalidRequest(f"lora: there is no adapter {asked}. {has}", param="lora")
        if name in scales:
            raise InvalidRequest(f"lora: the adapter {name!r} is asked for twice.", param="lora")
        scales[name] = choice.scale
    return _normal(scales)


def _normal(scales: dict[str, float]) -> AdapterSet:
    return tuple(sorted((name, scale) for name, scale in scales.items() if scale))
