"""Models in Ollama's shapes, and by Ollama's names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from llm_core.backends.catalog import CatalogEntry
from llm_core.backends.member import Member
from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, ModelNotFound
from llm_core.models.info import ModelInfo
from llm_core.models.source import means

LATEST = ":latest"  # the tag of what is named without one
_HUB = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_FOREVER = "9999-12-31T23:59:59Z"


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def source_of(name: str) -> str | None:
    """What a name means that Ollama has for a model of the Hub, as in `LLM_MODEL`; None of any other."""
    if name.startswith("hf:"):
        return name
    hub = _HUB.fullmatch(name.removesuffix(LATEST))
    if hub is None:
        return None
    repo, tag = hub.groups()
    if tag is None:
        return f"hf:{repo}"
    either = "".join(f"[{each.lower()}{each.upper()}]" if each.isalpha() else each for each in tag)
    return f"hf:{repo}:{tag}" if tag.endswith(".gguf") else f"hf:{repo}:*{either}*.gguf"


def pulled_source(name: str) -> str:
    """The same of a model that is to be fetched.

    Raises:
        InvalidRequest: It is none of the Hub's.
    """
    if (source := source_of(name)) is not None:
        return source
    where = "Ollama's library is not reached from here. Write hf.co/OWNER/REPO:QUANTIZATION, a model of the Hub"
    raise InvalidRequest(f"model: {name!r} is not on this machine. {where}.", param="model")


def find_entry(client: LLMClient, name: str) -> CatalogEntry:
    """The model of a name. Reads the disk.

    Raises:
        ModelNotFound: There is none.
    """
    wanted = [*_names(name)]
    entries = client.catalog.entries()
    found = [each for each in entries if not {each.name, *each.aliases, each.source}.isdisjoint(wanted)]
    found += [each for each in entries if means(wanted[-1], each.source)]
    if not found:
        raise ModelNotFound(f"model {name!r} not found")  # Ollama's own words, which some clients look for
    return found[0]


def asked_name(client: LLMClient, name: str) -> str:
    """The name by which requests here ask for the model that Ollama's clients call so."""
    names = [*_names(name)]
    served = (each for each in names if client.models.find(each))
    hub = (each.name for each in client.models.members if means(names[-1], each.served.source))
    further = (each for each in names if client.models.look_further(each))  # reads the disk
    return next(chain(served, hub, further), name.removesuffix(LATEST))


def _names(name: str) -> Iterator[str]:
    yield name
    yield name.removesuffix(LATEST)
    yield source_of(name) or name


# ── what is said of one ──────────────────────────────────────────────────────────────────────────────────────────────


def listed(client: LLMClient) -> list[dict[str, Any]]:
    """Those that requests may name and that are here."""
    return [
        _described(each)
        for each in client.catalog.entries()
        if each.state not in ("absent", "fetching")
        and (each.is_served or client.models.look_further(each.source) is not None)
    ]


def loaded(client: LLMClient) -> list[dict[str, Any]]:
    """Those that are in memory. When one leaves is not known ahead: it does when another one needs its memory."""
    ready = [(each, client.models.member(each.name)) for each in client.catalog.entries() if each.state == "ready"]
    return [_described(each) | _in_memory(each, member) for each, member in ready if member.state == "ready"]


def _in_memory(entry: CatalogEntry, member: Member) -> dict[str, Any]:
    """What a loaded one takes. Memory is counted where no GPU has a share of it; of a model that is split between both
    it is not known who has how much, and left out."""
    size = member.reserved or entry.need_bytes or _size(entry)
    memory: dict[str, Any] = {"size": size, "expires_at": _FOREVER}
    if member.info is not None and member.info.context_tokens:
        memory["context_length"] = member.info.context_tokens
    if member.reserved or member.settings.gpu_layers <= 0:
        memory["size_vram"] = 0 if member.reserved or not member.settings.gpu_layers else size
    return memory


def shown(entry: CatalogEntry) -> dict[str, Any]:
    """All that is known of one."""
    info = entry.info
    facts: dict[str, Any] = {"general.basename": entry.name}
    capabilities = ["completion", "tools"]
    if info is not None:
        facts |= {
            "general.architecture": info.architecture,
            "general.parameter_count": info.parameters,
            f"{info.architecture}.context_length": info.context_train,
        }
        capabilities += ["thinking"] if info.can_switch_thinking else []
    return {
        "license": (info.license if info else None) or "",
        "modelfile": f"FROM {entry.source}",
        "parameters": "",
        "template": "",
        "details": _details(info),
        "model_info": facts,
        "capabilities": capabilities,
        "modified_at": _modified(info),
    }


def _described(entry: CatalogEntry) -> dict[str, Any]:
    name = entry.name if ":" in entry.name else f"{entry.name}{LATEST}"
    version = f"{entry.source} {_modified(entry.info)} {_size(entry)}"  # tells apart; the file is not read for it
    return {
        "name": name,
        "model": name,
        "modified_at": _modified(entry.info),
        "size": _size(entry),
        "digest": hashlib.sha256(version.encode()).hexdigest(),
        "details": _details(entry.info),
    }


def _details(info: ModelInfo | None) -> dict[str, Any]:
    family = info.architecture if info else ""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _count(info.parameters) if info else "",
        "quantization_level": info.quantization if info else "",
    }


def _count(parameters: int) -> str:
    """As Ollama writes it: `134.52M`."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= size:
            return f"{parameters / size:.2f}{unit}"
    return str(parameters)


def _size(entry: CatalogEntry) -> int:
    return entry.info.size_bytes if entry.info else 0


def _modified(info: ModelInfo | None) -> str:
    """When its file was written; long ago where it is on no disk here."""
    seconds = info.path.stat().st_mtime if info is not None and info.path is not None and info.path.exists() else 0
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
