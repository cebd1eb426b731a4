"""A model in the page's words: what it is, whether it fits this machine, how far it is, and what may be done with it.

Names and licences are whatever a model's maker wrote: the page's script sets them as text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

from llm_core.backends.catalog import CatalogEntry, EntryState
from llm_core.models.fit import Fit, fit_of
from llm_core.models.info import ModelInfo
from llm_core.models.recommended import Recommendation
from llm_core.models.search import FoundModel, FoundRepo
from llm_core.texts.told import Text, told

Act = Literal["fetch", "stop", "load", "unload", "remove"]

_HUB, _BUNDLED = "hf:", "bundled"
_HINT = " Fetch it with: "  # for a terminal; the page has a button
_SAYS_NOTHING = ("unknown", "none")


class ModelRow(TypedDict):
    """A model in the list.

    Attributes:
        key: What commands call it, as no other one is called.
        name: By which messages name it.
        names: All by which it can be named.
        source: As in `LLM_MODEL`; "" for who may not change models, as it may be a path.
        line: What it is, for the head of the page.
        facts: Size, quantization, licence and fit.
        told: How far it is.
        progress: 0 to 1, of fetching or loading.
        context: Tokens that a request to it may have; 0 where that is not known.
        is_known: Whether the line will stay as it is.
        can_write: Whether a conversation can go to it: not to one that makes vectors, or ranks.
        acts: What may be done with it.
    """

    key: str
    name: str
    names: list[str]
    source: str
    line: list[Text]
    facts: list[Text]
    state: EntryState
    told: list[Text]
    progress: float
    is_served: bool
    is_default: bool
    is_known: bool
    can_switch_thinking: bool
    can_write: bool
    context: int
    acts: list[Act]


class OfferedRow(TypedDict):
    """A model that could be fetched.

    Attributes:
        source: As in `LLM_MODEL`.
        why: What speaks for it, in a sentence.
        is_too_large: For this machine.
    """

    name: str
    source: str
    facts: list[Text]
    why: str
    is_too_large: bool


def model_row(
    entry: CatalogEntry,
    info: ModelInfo | None,
    *,
    names: tuple[str, ...] = (),
    is_elsewhere: bool = False,
    may_change: bool = False,
    models_dir: Path | None = None,
) -> ModelRow:
    """A model of the catalog.

    Args:
        info: What it is, where that is known.
        names: More names than those that the entry has.
        is_elsewhere: Whether another engine serves it.
        may_change: Whether whoever looks may fetch, load and remove it.
        models_dir: `Settings.models_dir`.
    """
    fit = [] if is_elsewhere or entry.fit is None else [_fit(entry.fit)]
    may_change = may_change and not is_elsewhere
    return {
        "key": entry.name if entry.is_served else entry.source,
        "name": entry.name,
        "names": list(dict.fromkeys((entry.name, *entry.aliases, *names))),
        "source": entry.source if may_change else "",
        "line": model_line(entry.name, info),
        "facts": [*(_facts(info) if info is not None else ()), *fit],
        "state": entry.state,
        "told": _told(entry, is_elsewhere=is_elsewhere, may_change=may_change),
        "progress": round(entry.progress, 3),
        "is_served": entry.is_served,
        "is_default": entry.is_default,
        "is_known": info is not None or entry.state == "failed",
        "can_switch_thinking": info is not None and info.can_switch_thinking,
        "can_write": info is None or info.task in (None, "chat"),
        "context": info.context_tokens if info is not None else 0,
        "acts": _acts(entry, models_dir) if may_change else [],
    }


def model_line(name: str, info: ModelInfo | None) -> list[Text]:
    """What a model is, in one line.

    Args:
        name: By which messages name it: the operator may have given it one.
    """
    if info is None:
        return [name]
    form = {"form": info.quantization, "as": info.computed_as or ""}
    return [name, _license(info.license), *([told("models.computed_as", **form)] if info.computed_as else [])]


def recommended_row(recommendation: Recommendation) -> OfferedRow:
    model, fit = recommendation.model, recommendation.fit
    return {
        "name": model.name,
        "source": str(model.source),
        "facts": [_size(model.size_bytes), model.license, _fit(fit)],
        "why": model.why,
        "is_too_large": fit == "too_large",
    }


def found_row(found: FoundModel, bound: int) -> OfferedRow:
    """A file that was found on the Hub; of its need no more is known than its size.

    Args:
        bound: Bytes of memory that a model may take.
    """
    size = found.size_bytes
    fit = None if size is None else fit_of(size, bound)
    return {
        "name": found.file,
        "source": str(found.source),
        "facts": [
            *([] if size is None else [_size(size)]),
            *([found.quantization] if found.quantization else []),
            *([] if fit is None or fit == "fits" else [_fit(fit)]),
        ],
        "why": "",
        "is_too_large": fit == "too_large",
    }


def repo_facts(found: FoundRepo) -> list[Text]:
    downloads = told("models.downloads", count=found.downloads)
    return [downloads, _license(found.license), *([told("models.gated")] if found.gated else [])]


def _facts(info: ModelInfo) -> list[Text]:
    return [
        *([told(f"models.{info.task}")] if info.task in ("embedding", "rerank") else []),
        *([_size(info.size_bytes)] if info.size_bytes else []),
        *([info.quantization] if info.quantization not in _SAYS_NOTHING else []),
        _license(info.license),
    ]


def _size(count: int) -> Text:
    return told("models.size", size=count)


def _fit(fit: Fit) -> Text:
    return told(f"models.{fit}")


def _license(name: str | None) -> Text:
    return name or told("models.no_license")


def _told(entry: CatalogEntry, *, is_elsewhere: bool, may_change: bool) -> list[Text]:
    match entry.state:
        case "ready":
            return [told("models.is_ready")]
        case "here":
            return [told("models.is_elsewhere" if is_elsewhere else "models.is_here")]
        case "absent" if not may_change:
            return [told("models.is_absent")]
        case "absent":
            return [entry.message.partition(_HINT)[0]]
        case "failed":
            return [entry.message]
    left = [] if entry.seconds_left is None else [told("models.left", time=max(1, round(entry.seconds_left)))]
    return [told(f"models.is_{entry.state}", entry.message, percent=entry.progress), *left]


def _acts(entry: CatalogEntry, models_dir: Path | None) -> list[Act]:
    acts: list[Act] = []
    is_of_hub = entry.source.startswith(_HUB)
    match entry.state:
        case "fetching":
            return ["stop"]
        case "absent":
            return ["fetch"] if is_of_hub else []
        case "ready" | "loading":
            acts = ["unload"]
        case "failed" if entry.is_served:
            acts = ["load"]
    is_of_folder = models_dir is not None and models_dir.absolute() in Path(entry.source).absolute().parents
    if not entry.is_default and entry.source != _BUNDLED and (is_of_hub or is_of_folder):
        acts.append("remove")
    return acts
