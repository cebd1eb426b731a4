"""A few chat models worth knowing, from the smallest to the best, and which of them fit a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from llm_core.kv_type import BLOCK_BYTES, KvType
from llm_core.models.fit import DEFAULT_CONTEXT_TOKENS, Fit, Footprint, Need, fit
from llm_core.models.source import ModelSource, parse_source

SLOTS = 8

_TABLE = Path(__file__).with_name("recommended.yaml")


@dataclass(frozen=True, slots=True)
class Recommended:
    """A row of the table. Sizes are rounded.

    Attributes:
        name: For people.
        source: As in `LLM_MODEL`.
        size_bytes: Of the file.
        parameters: Number of weights.
        context_train: Tokens of context that it was trained for.
        license: Such as `apache-2.0`.
        why: What speaks for it, in a sentence.
        footprint: What its need of memory depends on, with keys and values of 16 bits.
    """

    name: str
    source: ModelSource
    size_bytes: int
    parameters: int
    context_train: int
    license: str
    why: str
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model and how it fits a machine.

    Attributes:
        model: The row of the table.
        context: Tokens of context that `need` is for: what was wished for, or less where it was trained for less.
        need: What it needs of memory.
        fit: Whether that is there.
    """

    model: Recommended
    context: int
    need: Need
    fit: Fit


def recommended(
    bound_bytes: int, *, slots: int = SLOTS, context: int = DEFAULT_CONTEXT_TOKENS, kv_type: KvType = "f16"
) -> list[Recommendation]:
    """Every model of the table, from the smallest to the best.

    Args:
        bound_bytes: Memory that a model may take.
        slots: Replies made at the same time.
        context: Tokens that each may use.
        kv_type: Of keys and values.
    """
    return [_recommendation(model, bound_bytes, slots, context, kv_type) for model in table()]


def best_for(
    bound_bytes: int, *, slots: int = SLOTS, context: int = DEFAULT_CONTEXT_TOKENS, kv_type: KvType = "f16"
) -> Recommendation | None:
    """The best model that fits with room to spare; None where none does."""
    return best_of(recommended(bound_bytes, slots=slots, context=context, kv_type=kv_type))


def best_of(every: Sequence[Recommendation]) -> Recommendation | None:
    """Of what `recommended` answered, the best that fits with room to spare; None where none does."""
    return next((each for each in reversed(every) if each.fit == "fits"), None)


@cache
def table() -> tuple[Recommended, ...]:
    """The whole table, as it is in recommended.yaml."""
    return tuple(map(_row, yaml.safe_load(_TABLE.read_text(encoding="utf-8"))))


def _recommendation(model: Recommended, bound: int, slots: int, context: int, kv_type: KvType) -> Recommendation:
    tokens = min(context, model.context_train)
    kv = model.footprint.kv_bytes_per_token * BLOCK_BYTES[kv_type] // BLOCK_BYTES["f16"]
    need = replace(model.footprint, kv_bytes_per_token=kv).need(context=tokens, slots=slots)
    return Recommendation(model, tokens, need, fit(need, bound))


def _row(row: Mapping[str, Any]) -> Recommended:
    return Recommended(
        name=row["name"],
        source=parse_source(row["source"]),
        size_bytes=row["size_bytes"],
        parameters=row["parameters"],
        context_train=row["context_train"],
        license=row["license"],
        why=row["why"],
        footprint=Footprint(
            weights=row.get("weights", row["size_bytes"]),
            kv_bytes_per_token=row["kv_bytes_per_token"],
            heads=row["heads"],
            embedding_length=row["embedding_length"],
            vocab_size=row["vocab_size"],
            state_bytes=row.get("state_bytes", 0),
        ),
    )
