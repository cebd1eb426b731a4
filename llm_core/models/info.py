"""The facts about a model that people and programs want to know: what it is, how large, under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llm_core.models.choice import plain_name
from llm_core.models.quantization import quantization_in, quantization_of, without_quantization
from llm_core.models.size import size_on_disk
from llm_core.models.source import ResolvedModel
from llm_core.task import Task

# Names of files that say nothing about the model in them.
_NAMELESS = frozenset({"model", "ggml-model", "gguf-model", "ggml", "gguf"})
# Of the Hub's short names of licences, those that are none.
_SAYS_NOTHING = frozenset({"other", "unknown"})


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What one model is. Texts from the file are whatever its maker wrote: escape them where that matters.

    Attributes:
        name: For people.
        source: What was asked for, as in `LLM_MODEL`; of an engine elsewhere its URL.
        path: The file; of a split model the first. None where the model is not on this machine.
        revision: The commit that it is from; None where it is not from the Hub.
        architecture: llama.cpp's name of the network, such as `llama`.
        quantization: Such as `Q4_K_M`.
        parameters: Number of weights; 0 where it is not known.
        size_bytes: Size of all its files.
        context_train: Tokens of context that it was trained for; 0 where the file does not say.
        license: Such as `apache-2.0`; None where neither the file nor the Hub says.
        has_chat_template: Whether the file, or the operator, says how a conversation is written for it.
        can_switch_thinking: Whether its template can switch thinking on and off.
        computed_as: The form of a copy that is computed with on this machine in place of the file, such as `Q8_0`;
            None where it is the file itself.
        task: What it is for; None where an engine elsewhere does not say.
        context_tokens: Tokens that a request may have here, prompt and reply; 0 where that is not known.
    """

    name: str
    source: str
    path: Path | None
    revision: str | None
    architecture: str
    quantization: str
    parameters: int
    size_bytes: int
    context_train: int
    license: str | None
    has_chat_template: bool
    can_switch_thinking: bool
    computed_as: str | None = None
    task: Task | None = None
    context_tokens: int = 0


class Described(Protocol):
    """A model that is loaded, or the header of one."""

    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def context_train(self) -> int: ...
    @property
    def task(self) -> Task: ...


def describe(model: Described, resolved: ResolvedModel, chat_template: str | None = None) -> ModelInfo:
    """The facts about a model; `chat_template` is the operator's own."""
    template = chat_template or model.chat_template or ""
    return ModelInfo(
        name=_name(resolved.path, model.metadata),
        source=str(resolved.source),
        path=resolved.path,
        revision=resolved.revision,
        architecture=model.metadata.get("general.architecture", "unknown"),
        quantization=quantization_of(model.metadata.get("general.file_type"))
        or model.description
        or quantization_in(resolved.path.name)
        or "unknown",
        parameters=model.parameters,
        size_bytes=size_on_disk(resolved.path),
        context_train=model.context_train,
        license=_license(model.metadata, resolved.license),
        has_chat_template=bool(template),
        can_switch_thinking="enable_thinking" in template,
        task=model.task,
    )


def _name(path: Path, metadata: Mapping[str, str]) -> str:
    """The file's name without the ending: makers choose it for people, unlike `general.name` in the file."""
    stem = without_quantization(plain_name(path.name).removesuffix(".gguf"))
    return metadata.get("general.name", stem) if stem.lower() in _NAMELESS else stem


def _license(metadata: Mapping[str, str], from_the_hub: str | None) -> str | None:
    """The file's word first, being about just this file; but `other`, which it may be, says nothing."""
    stated = metadata.get("general.license")
    if stated and stated not in _SAYS_NOTHING:
        return stated
    return metadata.get("general.license.name") or from_the_hub or stated or None
