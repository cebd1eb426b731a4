"""Where something stands in a schema, and where its refs lead."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from llm_core.errors import InvalidRequest
from llm_core.structured_output.limits import Schema, refuse

ELSEWHERE = "only refs within the schema are followed, such as '#/$defs/name'"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands.

    Attributes:
        path: In the request, such as `tools.0.function.parameters.properties.city`.
        level: How many schemas it is in.
        is_open: Other schemas may add properties to the objects here.
    """

    path: str
    level: int = 0
    is_open: bool = False

    def keyword(self, name: str) -> Place:
        """That of a keyword; the schemas under it are a level deeper."""
        return Place(f"{self.path}.{name}", self.level + 1, self.is_open)

    def item(self, name: str | int) -> Place:
        """That of one of the schemas under a keyword."""
        return Place(f"{self.path}.{str(name)[:100]}", self.level, self.is_open)

    def refuse(self, why: str) -> InvalidRequest:
        """The error that names it."""
        return refuse(self.path, why)


class Refs:
    """The refs of one schema.

    Args:
        path: Of the schema, in the request.
        keywords: Those beside which a ref is one of several conditions.
        is_strict: Refs that lead out of the schema are refused, not left alone.
    """

    def __init__(self, root: Schema, path: str, keywords: Container[str], *, is_strict: bool) -> None:
        self._root, self._path = root, path
        self._keywords, self._is_strict = keywords, is_strict

    def leads_elsewhere(self, ref: Any) -> bool:
        """Whether a tool's ref leads out of its schema, where nobody follows it."""
        return not self._is_strict and isinstance(ref, str) and ref != "#" and not ref.startswith("#/")

    def follow(self, node: Any, place: Place) -> tuple[Any, Place]:
        """What a schema that is nothing but a ref leads to, and its place.

        Raises:
            InvalidRequest: It leads nowhere, or back to itself.
        """
        seen: set[int] = set()
        while isinstance(node, dict) and "$ref" in node and not self._has_more(node):
            at = place.keyword("$ref")
            if id(node) in seen:
                raise at.refuse("refers to itself and to nothing else")
            if self.leads_elsewhere(node["$ref"]):
                break
            seen.add(id(node))
            node, place = self.find(node["$ref"], at)
        return node, place

    def find(self, ref: Any, at: Place) -> tuple[Any, Place]:
        """What the ref at a place points to, and that one's place.

        Raises:
            InvalidRequest: There is no such thing.
        """
        if not isinstance(ref, str) or (ref != "#" and not ref.startswith("#/")):
            raise at.refuse(ELSEWHERE)
        node: Any = self._root
        place = Place(self._path, is_open=at.is_open)
        for part in ref.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and len(name) < 6 and int(name) < len(node):
                node = node[int(name)]
            else:
                raise at.refuse(f"there is no {ref[:100]} in the schema")
            place = place.item(name)
        return node, place

    def _has_more(self, node: Schema) -> bool:
        return any(key in self._keywords and key != "$ref" for key in node)
