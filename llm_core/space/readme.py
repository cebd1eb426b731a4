"""A README's front matter: the block of YAML at its top by which the Hub knows how to show and run a Space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from llm_core.errors import SpaceError

# What the Hub takes for front matter, as huggingface_hub has it.
_BLOCK = re.compile(r"\A\s*---\r?\n(?P<yaml>.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def read(text: str) -> dict[str, Any]:
    """The front matter; empty where there is none.

    Raises:
        SpaceError: It is no YAML mapping.
    """
    block = _BLOCK.match(text)
    if block is None:
        return {}
    try:
        data = yaml.safe_load(block["yaml"])
    except yaml.YAMLError:
        raise SpaceError("README.md's front matter, between the lines of dashes at its top, is no YAML.") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SpaceError("README.md's front matter must be `key: value` lines.")
    return data


def body(text: str) -> str:
    """The README without its front matter."""
    return text[block.end() :] if (block := _BLOCK.match(text)) else text


def with_front_matter(text: str, fields: Mapping[str, Any]) -> str:
    """The README with `fields` in place of the front matter it has."""
    # A wide line keeps a description on its own; wrapped ones are valid, but nobody finds them with grep.
    block = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{block}---\n\n{body(text).lstrip()}"
