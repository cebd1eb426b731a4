"""What is told to people by a key of the tables beside this file, so that each reads it in a language of their own.

A browser puts it in words (page/static/texts.js), with numbers and plurals as its locale has them; here it is said in
English, for those who read it elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

import yaml

LANGUAGES = ("en", "de", "fr", "es", "zh-CN", "ja", "ar")
ENGLISH = "en"
PLACE = re.compile(r"\{(\w+)\}")

Forms = str | Mapping[str, str]
"""A text, or one for each plural category."""


class Told(TypedDict):
    """A text of the tables.

    Attributes:
        key: `section.name`.
        values: What stands in its places: `time` in seconds, `size` in bytes, `percent` from 0 to 1; `count` decides
            which plural it is.
        english: What is said in English in its place, as it is more exact.
    """

    key: str
    values: dict[str, str | float]
    english: NotRequired[str]


Text = str | Told
"""Told by a key; or as it is: a name, or a sentence that there is in English alone."""


def told(key: str, english: str = "", /, **values: str | float) -> Told:
    return {"key": key, "values": values, "english": english} if english else {"key": key, "values": values}


@cache
def table(language: str) -> Mapping[str, Forms]:
    """All texts of a language, by `section.name`."""
    sections = yaml.safe_load(Path(__file__).with_name(f"{language}.yaml").read_text(encoding="utf-8"))
    return {f"{section}.{name}": forms for section, texts in sections.items() for name, forms in texts.items()}


def english(text: Text) -> str:
    if isinstance(text, str):
        return text
    if said := text.get("english"):
        return said
    forms, values = table(ENGLISH)[text["key"]], text["values"]
    form = forms if isinstance(forms, str) else forms["one" if values["count"] == 1 else "other"]
    return PLACE.sub(lambda place: _value(place[1], values[place[1]]), form)


def english_line(texts: Iterable[Text]) -> str:
    return " · ".join(map(english, texts))


def _value(name: str, value: str | float) -> str:
    if isinstance(value, str):
        return value
    match name:
        case "time":
            return seconds(value)
        case "size":
            return size_text(value)
        case "percent":
            return f"{value:.0%}"
    return f"{value:,}"


def seconds(duration: float) -> str:
    """A duration as people write it: `0.04 s`, `0.4 s`, `3 s`, `2 min`."""
    if duration < 0.095:
        return f"{duration:.2f} s"
    if duration < 9.95:
        return f"{duration:.1f} s"
    if duration < 60:
        return f"{duration:.0f} s"
    return f"{round(duration / 60)} min" if duration < 5400 else f"{round(duration / 3600)} h"


def size_text(count: float) -> str:
    """A number of bytes as the Hub and file managers write it: `98.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
