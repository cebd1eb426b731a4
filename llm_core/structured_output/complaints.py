"""What llguidance says against a schema, where in it, and what can be left out for it."""

from __future__ import annotations

from functools import lru_cache

from llm_core.structured_output.constraint import complaint
from llm_core.structured_output.limits import HeldSchema, Schema, children, target, walk
from llm_core.structured_output.serialize import MAX_NUMBER, text_of
from llm_core.structured_output.wording import NOTHING_FITS

_MAX_LEFT_OUT = 5
_MOST_LOOKS = 400  # a millisecond each
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@lru_cache(4_000)  # the same few bounds come with every request
def complaint_of(schema: str) -> str | None:
    """What llguidance says against a schema, written as JSON, that stands for itself; None where nothing is wrong."""
    return complaint(f"start: %json {schema}\n")


def deepest_complaint(held: HeldSchema) -> tuple[Schema | bool, str] | None:
    """The innermost schema that cannot be held even by itself, and why."""

    found: tuple[Schema | bool, str] | None = None
    looked_at: set[int] = set()
    waiting: list[Schema | bool] = [held.root]
    while waiting and len(looked_at) < _MOST_LOOKS:
        node = waiting.pop(0)
        if id(node) in looked_at:
            continue
        looked_at.add(id(node))
        said = complaint_of(text_of(held, node))
        if said is not None:
            found, waiting = (node, said), list(children(node))
            if isinstance(node, dict) and "$ref" in node:
                waiting.append(held.definitions[target(node)])
    return found


def leave_out_what_is_not_known(held: HeldSchema) -> None:
    """Leaves of a schema's parts that llguidance cannot do only their type, in place: circles with something beside
    their refs, and bounds beyond 64 bits. What nothing fits, or what is too large, stays, to be refused."""
    if not any(map(_is_doubtful, walk(held))):
        return
    for _ in range(_MAX_LEFT_OUT):
        node, why = deepest_complaint(held) or (False, "")
        if isinstance(node, bool) or why.startswith(NOTHING_FITS) or "too" in why.split():
            return
        kept = {"type": node["type"]} if "type" in node else {}
        node.clear()
        node.update(kept)
        held.left_out.append(f"{held.place_of(node)}: {why}")


def _is_doubtful(node: Schema | bool) -> bool:
    if isinstance(node, bool):
        return False
    return ("$ref" in node and len(node) > 1) or any(abs(node.get(key, 0)) > MAX_NUMBER for key in _BOUNDS)
