"""pydantic's complaints as sentences, for every door by which something comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from llm_core.errors import InvalidRequest


class Misplaced(ValueError):
    """A complaint of a validator about something inside of what it checks.

    Attributes:
        place: The way there, such as (0,) in a list.
    """

    def __init__(self, place: tuple[str | int, ...], reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True, slots=True)
class Complaint:
    """One of pydantic's errors.

    Attributes:
        path: The way to the field.
        text: What is wrong with it, as pydantic or the validator has it.
    """

    path: tuple[str | int, ...]
    text: str

    @classmethod
    def of(cls, error: Mapping[str, Any]) -> Complaint:
        """What pydantic's `errors()` has one of."""
        reason = error.get("ctx", {}).get("error")
        inside = reason.place if isinstance(reason, Misplaced) else ()
        text = "there is no such field" if error["type"] == "extra_forbidden" else error["msg"]
        return cls((*error["loc"], *inside), text.removeprefix("Value error, "))

    @property
    def reason(self) -> str:
        """The text as what follows a colon."""
        return f"{self.text[:1].lower()}{self.text[1:]}"

    def field(self, prefix: str = "", *, but: tuple[str, ...] = ()) -> str:
        """The path with dots.

        Args:
            but: Where a field may be, which may stand first and is no name of the caller's.
        """
        path = self.path[1:] if self.path[:1] and self.path[0] in but else self.path
        return ".".join(str(part) for part in (prefix, *path) if part != "")


def place_in(given: Any, error: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where in what was given one of pydantic's `errors()` is. The way that it has itself goes through the members of
    unions too, whose names are not the caller's."""
    place: list[str | int] = []
    *_, last = error["loc"]
    for part in error["loc"]:
        there = part in given if isinstance(given, dict) else isinstance(given, list) and part in range(len(given))
        if there:
            given = given[part]
        if there or (error["type"] == "missing" and part is last):
            place.append(part)
    return tuple(place)


def invalid_request(error: ValidationError, prefix: str = "", *, tags: tuple[str, ...] = ()) -> InvalidRequest:
    """The first complaint of pydantic as one sentence that names the field.

    Args:
        tags: Of a union's members, which stand in the way there and are no names of the caller's.
    """
    found = Complaint.of(error.errors(include_url=False)[0])
    complaint = Complaint(tuple(part for part in found.path if part not in tags), found.text)
    param = complaint.field(prefix)
    return InvalidRequest(f"{param}: {complaint.reason}", param=param)
