"""The models on this machine: the bundled one, those in the Hub's cache and those in the operator's folder, each with
what it is and whether it fits. Only headers are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.kv_type import KvType
from llm_core.memory import free_memory
from llm_core.models.fit import Fit, Need, context_of, fit, footprint_of, longest_text, need_of_vectors
from llm_core.models.folder import models_below
from llm_core.models.header import ModelHeader, read_model_header
from llm_core.models.info import ModelInfo, describe
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel, ModelSource, ResolvedModel
from llm_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """How a model is to be run, as far as its memory depends on it.

    Attributes:
        bound: Bytes of memory that it may take.
        slots: Replies made at the same time.
        context: Tokens that each may use; None: 4096, or what a model was trained for where that is less.
        kv_type: Of keys and values.
        prepares: Whether small models get a copy that is computed faster.
    """

    bound: int
    slots: int
    context: int | None = None
    kv_type: KvType = "f16"
    prepares: bool = True

    @classmethod
    def of(cls, settings: Settings, bound: int | None = None) -> Wish:
        """As the operator's settings have it. `bound` is what is free now where it is None."""
        return cls(
            free_memory() if bound is None else bound,
            settings.parallel,
            settings.context_tokens,
            settings.kv_type,
            settings.prepare == "auto",
        )


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """How a model fits.

    Attributes:
        context: Tokens of context that `need` is for; of a model that makes vectors, or ranks, those of a text.
        slots: Replies at a time that it is for.
        need: Bytes of memory.
        fit: Whether they are there.
    """

    context: int
    slots: int
    need: Need
    fit: Fit


@dataclass(frozen=True, slots=True)
class ModelHere:
    """A model on this machine.

    Attributes:
        resolved: Where it is, and what it is called.
        info: What it is; None where its header cannot be read.
        memory: How it fits; None where `info` is.
        problem: Why it cannot be used, in a sentence; None where nothing speaks against it.
    """

    resolved: ResolvedModel
    info: ModelInfo | None
    memory: MemoryFit | None
    problem: str | None


def models_here(wish: Wish, *, models_dir: Path | None = None, also: Iterable[ModelSource] = ()) -> list[ModelHere]:
    """All of them, each once. Of `also`, files elsewhere that are there are added; what is not there is left out."""
    from llm_core.models.cache import cached_models  # the Hub's library takes long to import

    of_folder = models_below(models_dir) if models_dir else []
    every = [*found([BundledModel()]), *cached_models(), *of_folder, *found(also)]
    once = {model.path: model for model in reversed(every)}  # by its first name
    return [look_at(model, wish) for model in every if model is once[model.path]]


def look_at(resolved: ResolvedModel, wish: Wish) -> ModelHere:
    """What one model is and whether it fits."""
    try:
        header = read_model_header(resolved.path)
        info = describe(header, resolved)
    except (ModelError, OSError) as error:
        return ModelHere(resolved, None, None, getattr(error, "message", str(error)))
    return ModelHere(resolved, info, memory_fit(resolved.path, header, wish), header.why_no_model())


def memory_fit(path: Path, header: ModelHeader, wish: Wish) -> MemoryFit:
    """How a model fits that is on this machine."""
    if header.task != "chat":
        longest = longest_text(header, wish.context)
        need = need_of_vectors(path, header, longest)
        return MemoryFit(longest, 1, need, fit(need, wish.bound))
    context = context_of(header, wish.context)
    footprint = footprint_of(path, header, kv_type=wish.kv_type, prepares=wish.prepares)
    need = footprint.need(context=context, slots=wish.slots)
    return MemoryFit(context, wish.slots, need, fit(need, wish.bound))


def found(sources: Iterable[ModelSource]) -> list[ResolvedModel]:
    """Those that are on this machine."""
    there = []
    for source in sources:
        try:
            there.append(find(source))
        except ModelError:
            continue
    return there
