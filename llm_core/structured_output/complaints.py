"""What llguidance says against a schema, where in it, and what can be left out for it."""

from __future__ import annotations

from functools import lru_cache

from llm_core.structured_output.constraint import complaint
from llm_core.structured_output.limits import BOUNDS, MAX_NUMBER, HeldSchema, Schema, children, target, walk
from llm_core.structured_output.serialize import text_of
from llm_core.structured_output.wording import NOTHING_FITS

_MAX_LEFT_OUT = 5
_MAX_CHECKS = 400  # a millisecond each


@lru_cache(4_000)  # the same few bounds come with every request
def complaint_of(schema: str) -> str | None:
    """What llguidance says against a schema, written as JSON, that stands for itself; None where nothing is wrong."""
    return complaint(f"start: %json {schema}\n")


def deepest_complaint(held: HeldSchema) -> tuple[Schema | bool, str] | None:
    """The innermost schema that cannot be held even by itself, and why."""

    found: tuple[Schema | bool, str] | None = None
    checked: set[int] = set()
    waiting: list[Schema | bool] = [held.root]
    while waiting and len(checked) < _MAX_CHECKS:
        node = waiting.pop(0)
        if id(node) in checked:
            continue
        checked.add(id(node))
        reason = complaint_of(text_of(held, node))
        if reason is not None:
            found, waiting = (node, reason), list(children(node))
            if isinstance(node, dict) and "$ref" in node:
                waiting.append(held.definitions[target(node)])
    return found


def drop_unsupported(held: HeldSchema) -> None:
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
    return ("$ref" in node and len(node) > 1) or any(abs(node.get(key, 0)) > MAX_NUMBER for key in BOUNDS)
