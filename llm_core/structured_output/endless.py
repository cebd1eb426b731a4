"""Values that end: what would have to contain itself without end, or is false, fits nothing and is taken out.

Where it is asked for there is nothing that fits the whole; where it is one of several ways, or need not be there, the
rest is held.
"""

from __future__ import annotations

from llm_core.structured_output.limits import HeldSchema, Schema, refuse, target


def prune_endless(held: HeldSchema) -> None:
    """Takes out of a schema, in place, what no finite value fits.

    Raises:
        InvalidRequest: Nothing fits the whole; the message names the place.
    """
    ending: set[str] = set()
    while True:
        found = {name for name, node in held.definitions.items() if name not in ending and _ends(node, ending)}
        if not found:
            break
        ending |= found
    endless = [name for name in held.definitions if name not in ending]
    if held.root is False or not _ends(held.root, ending):
        place = held.place_of(held.definitions[endless[0]]) if endless else held.place
        raise refuse(place, "no value can fit it: it has to contain itself without end, or is false")
    if endless:
        for node in (held.root, *(held.definitions[name] for name in ending)):
            _prune(node, ending)
        for name in endless:
            del held.definitions[name]


def _prune(node: Schema | bool, ending: set[str]) -> None:
    if isinstance(node, bool):
        return
    for key in ("properties", "patternProperties"):
        for name, each in node.get(key, {}).items():
            if not _ends(each, ending):
                node[key][name] = False
            _prune(node[key][name], ending)
    for key in ("items", "additionalProperties"):
        if key in node and not _ends(node[key], ending):
            node[key] = False
        _prune(node.get(key, True), ending)
    if "anyOf" in node:
        node["anyOf"] = [each for each in node["anyOf"] if _ends(each, ending)]
    first = node.get("prefixItems", [])
    count = next((place for place, each in enumerate(first) if not _ends(each, ending)), len(first))
    if count < len(first):
        node |= {"prefixItems": first[:count], "items": False}
    for each in (*node.get("anyOf", ()), *node.get("allOf", ()), *node.get("prefixItems", ())):
        _prune(each, ending)


def _ends(node: Schema | bool, ending: set[str]) -> bool:
    """Whether some finite value may fit, as far as refs to definitions that are not known to end tell."""
    if isinstance(node, bool):
        return node
    if "$ref" in node and target(node) not in ending:
        return False
    if not all(_ends(branch, ending) for branch in node.get("allOf", ())):
        return False
    if "anyOf" in node and not any(_ends(each, ending) for each in node["anyOf"]):
        return False
    kinds = node.get("type", "null")
    return any(_kind_ends(kind, node, ending) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _kind_ends(kind: str, node: Schema, ending: set[str]) -> bool:
    if kind == "object":
        properties, rest = node.get("properties", {}), node.get("additionalProperties", True)
        return all(_ends(properties.get(name, rest), ending) for name in node.get("required", ()))
    if kind == "array":
        count, first = node.get("minItems", 0), node.get("prefixItems", [])
        needed = [*first[:count], *([node.get("items", True)] if count > len(first) else [])]
        return all(_ends(each, ending) for each in needed)
    return True
