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
from llm_core.models.size import size_text

Act = Literal["fetch", "stop", "load", "unload", "remove"]

FITS: dict[Fit, str] = {
    "fits": "fits this machine",
    "tight": "tight on this machine",
    "too_large": "too large for this machine",
}
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
        told: How far it is, as a sentence.
        progress: 0 to 1, of fetching or loading.
        is_known: Whether the line will stay as it is.
        acts: What may be done with it.
    """

    key: str
    name: str
    names: list[str]
    source: str
    line: str
    facts: str
    state: EntryState
    told: str
    progress: float
    is_served: bool
    is_default: bool
    is_known: bool
    can_switch_thinking: bool
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
    facts: str
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
    fit = None if is_elsewhere or entry.fit is None else FITS[entry.fit]
    may_change = may_change and not is_elsewhere
    return {
        "key": entry.name if entry.is_served else entry.source,
        "name": entry.name,
        "names": list(dict.fromkeys((entry.name, *entry.aliases, *names))),
        "source": entry.source if may_change else "",
        "line": model_line(entry.name, info),
        "facts": _joined(*(_facts(info) if info is not None else ()), fit),
        "state": entry.state,
        "told": _told(entry, is_elsewhere=is_elsewhere, may_change=may_change),
        "progress": round(entry.progress, 3),
        "is_served": entry.is_served,
        "is_default": entry.is_default,
        "is_known": info is not None or entry.state == "failed",
        "can_switch_thinking": info is not None and info.can_switch_thinking,
        "acts": _acts(entry, models_dir) if may_change else [],
    }


def model_line(name: str, info: ModelInfo | None) -> str:
    """What a model is, in one line.

    Args:
        name: By which messages name it: the operator may have given it one.
    """
    if info is None:
        return name
    form = f"{info.quantization}, computed as {info.computed_as}" if info.computed_as else None
    return _joined(name, info.license or "no licence stated", form)


def recommended_row(recommendation: Recommendation) -> OfferedRow:
    model, fit = recommendation.model, recommendation.fit
    facts = _joined(size_text(model.size_bytes), model.license, FITS[fit])
    return {
        "name": model.name,
        "source": str(model.source),
        "facts": facts,
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
    facts = _joined(
        None if size is None else size_text(size),
        found.quantization,
        FITS[fit] if fit is not None and fit != "fits" else None,
    )
    return {
        "name": found.file,
        "source": str(found.source),
        "facts": facts,
        "why": "",
        "is_too_large": fit == "too_large",
    }


def repo_facts(found: FoundRepo) -> str:
    downloads = f"{found.downloads:,} downloads a month"
    gate = "its licence has to be accepted on its page first" if found.gated else None
    return _joined(downloads, found.license or "no licence stated", gate)


def time_text(seconds: float) -> str:
    """About how long it takes, as people say it: `40 s`, `3 min`, `2 h`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"


def _facts(info: ModelInfo) -> tuple[str | None, ...]:
    size = size_text(info.size_bytes) if info.size_bytes else None
    form = info.quantization if info.quantization not in _SAYS_NOTHING else None
    return (size, form, info.license or "no licence stated")


def _told(entry: CatalogEntry, *, is_elsewhere: bool, may_change: bool) -> str:
    match entry.state:
        case "ready":
            return "Ready"
        case "here":
            return "Served by another engine" if is_elsewhere else "On this machine"
        case "absent" if not may_change:
            return "Not on this machine yet"
        case "absent":
            return entry.message.partition(_HINT)[0]
        case "fetching" if entry.seconds_left is not None:
            return f"{entry.message} · {time_text(entry.seconds_left)} left"
        case _:
            return entry.message


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


def _joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)
