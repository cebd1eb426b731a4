"""JSON objects, one a line (NDJSON). It has no comments: nothing fills silence."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from llm_core.http.stream import Stream

T = TypeVar("T")


def ndjson(*objects: dict[str, Any]) -> str:
    """A line for each."""
    return "".join(f"{json.dumps(each, ensure_ascii=False, separators=(',', ':'))}\n" for each in objects)


class ObjectStream(Stream[T]):
    """A response of JSON objects, one a line."""

    media_type = "application/x-ndjson"
