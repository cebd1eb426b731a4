"""Keeps text of users from becoming control tokens, while the template's own text does become them.

A template makes one text of its own words and of the messages', and tokenising that text lets every `<|im_start|>` in
it become a control token, whoever wrote it. So before rendering, each special text inside a message is replaced by a
stand-in that means nothing to the vocabulary; after rendering, the text is cut at the stand-ins, and what they stood
for is tokenised as plain text. Messages without special texts reach the template untouched: it may trim, split and
test them, and their tokens are those of the whole rendered text.

Two special cases:
* Text of a message may join with its neighbours: `<|im_` at the end of one and `start|>` at the start of the next, with
  nothing between them in the template, or where a template cuts old thinking out of `<|tu<|channel>x<channel|>rn>`.
  Where a piece begins or ends with a part of a special text, an invisible joint is put there. Afterwards joints are
  taken out again, and only where a special text lies across one is the text cut.
* llama.cpp matches user-defined tokens (often `<think>`) in plain text too. Those are cut after their first character.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from llm_core.chat.formats import REASONING_FORMATS, ReasoningFormat
from llm_core.chat.tokenizer import Tokenizer

# Noncharacters: Unicode keeps them for a program's own use, and a template passes them on like any letter.
_OPEN, _CLOSE, _JOINT = "\ufdd0", "\ufdd1", "\ufdd2"
_STAND_IN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")

_TAG = re.compile(r"<[^<>\s'\"]{1,60}>|\[/?[A-Z_]{2,40}\]")
_UNKNOWN_TEXTS = ("<unk>", "<UNK>", "[UNK]")


# What a JSON schema is made of: words that templates look for, and no caller's.
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_SCHEMAS = frozenset({"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf", "not"})
_KEYWORDS = frozenset(
    {
        "type",
        "enum",
        "const",
        "title",
        "description",
        "default",
        "examples",
        "format",
        "pattern",
        "required",
        "nullable",
    }
    | {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "multipleOf", "$ref"}
)
_JSON_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


class SpecialTexts:
    """The texts that a vocabulary reads as more than text.

    They are: all control tokens; the tags of all reasoning formats; tags that the template writes and the vocabulary
    has as tokens of their own, though not as control tokens (`<|START_OF_TURN_TOKEN|>`, `<tool_call>`).

    Args:
        tokenizer: The vocabulary.
        template_source: Where to look for the template's tags.
        literals: All texts in it that are the template's own.
        reasoning: The model's own format: its tags may stand in replies.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, template_source: str, literals: Collection[str], reasoning: ReasoningFormat
    ) -> None:
        self._tokenizer = tokenizer
        controls = {*tokenizer.control_texts, tokenizer.bos_text, tokenizer.eos_text} - {""}
        controls.update(text for text in _UNKNOWN_TEXTS if self._is_special(text))
        markers = {tag for row in REASONING_FORMATS for tag in row.tags}
        tags = {tag for tag in _TAG.findall(template_source) if self._is_always_matched(tag)}
        texts = sorted(controls | markers | tags | {_OPEN, _CLOSE, _JOINT})
        self._texts = tuple(texts)
        self._stand_ins = {text: f"{_OPEN}{index}{_CLOSE}" for index, text in enumerate(texts)}
        self._in_replies = reasoning.tags
        self._cut_first = frozenset(text for text in markers | tags if self._is_always_matched(text))
        self._any = _pattern(texts)
        self._control = _pattern(controls)
        self._beginnings = frozenset(text[:end] for text in texts for end in range(1, len(text)))
        self._endings = frozenset(text[start:] for text in texts for start in range(1, len(text)))
        self._longest = max(map(len, texts))
        self._continuations = _continuations(texts, literals, self._longest)

    def hide(self, text: str, *, is_reply: bool = False) -> str:
        """What the template gets in place of a message's text.

        Args:
            text: The message's text.
            is_reply: The text is an earlier reply. Templates look for reasoning tags there, to leave out old thinking,
                so the model's own ones stay.
        """
        kept = self._in_replies if is_reply else frozenset()
        parts: list[str] = []
        end = 0
        for match in self._any.finditer(text):
            special = match[0]
            parts.append(self._with_joints(text[end : match.start()]))
            parts.append(special if special in kept else self._stand_ins[special])
            end = match.end()
        return "".join([*parts, self._with_joints(text[end:])])

    def hide_value(self, value: Any) -> Any:
        """A JSON value with all its texts hidden."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, dict):
            return {self.hide(key): self.hide_value(each) for key, each in value.items()}
        return [self.hide_value(each) for each in value] if isinstance(value, list) else value

    def hide_tool(self, tool: dict[str, Any]) -> dict[str, Any]:
        """A tool in OpenAI's shape with what its caller wrote hidden; templates look for the words of the shape."""
        function = dict(tool["function"])
        schema = self._hide_schema(function.pop("parameters"))
        return {
            "type": tool["type"],
            "function": {key: self.hide(text) for key, text in function.items()} | {"parameters": schema},
        }

    def _hide_schema(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._hide_schema(each) for each in schema]
        if not isinstance(schema, dict):
            return self.hide_value(schema)
        return dict(self._hide_keyword(key, value) for key, value in schema.items())

    def _hide_keyword(self, key: str, value: Any) -> tuple[str, Any]:
        if key in _NAMED_SCHEMAS and isinstance(value, dict):
            return key, {self.hide(name): self._hide_schema(each) for name, each in value.items()}
        if key in _SCHEMAS:
            return key, self._hide_schema(value)
        if key == "type" and all(each in _JSON_TYPES for each in (value if isinstance(value, list) else [value])):
            return key, value
        return key if key in _KEYWORDS else self.hide(key), self.hide_value(value)

    def shown(self, rendered: str) -> str:
        """A rendered text for people, with what was hidden in it."""
        return _STAND_IN.sub(lambda match: self._texts[int(match[1])], rendered).replace(_JOINT, "")

    def tokens(self, rendered: str) -> list[int]:
        """Tokens of a rendered text, without BOS: special where the template wrote it, plain where a message had it."""
        if _OPEN not in rendered and _JOINT not in rendered:
            return self._tokenizer.tokenize(rendered, add_special=False, parse_special=True)
        runs = _Runs()
        for index, part in enumerate(_STAND_IN.split(rendered)):
            if index % 2:
                self._add_hidden(runs, self._texts[int(part)])
            else:
                self._add_open(runs, part)
        return [
            token
            for run in runs.finish()
            for token in self._tokenizer.tokenize(run.text, add_special=False, parse_special=run.parse_special)
        ]

    def _add_hidden(self, runs: _Runs, text: str) -> None:
        if text not in self._cut_first:
            runs.add_plain(text)
            return
        runs.add_plain(text[:1])
        runs.cut()
        runs.add_plain(text[1:])

    def _add_open(self, runs: _Runs, part: str) -> None:
        for index, text in enumerate(self._cut_across(part)):
            if index:
                runs.cut()
            end = 0
            for match in self._control.finditer(text):
                runs.add_text(text[end : match.start()])
                runs.add_control(match[0])
                end = match.end()
            runs.add_text(text[end:])

    def _with_joints(self, text: str) -> str:
        """The joints stand inside the white space at both ends, so that trimming works as without them."""
        core = text.strip()
        if not core:
            return text
        reach = range(1, min(self._longest, len(core) + 1))
        starts = any(core[:size] in self._endings for size in reach)
        ends = any(core[-size:] in self._beginnings for size in reach)
        if not (starts or ends or core in self._continuations):
            return text
        before, after = text[: text.index(core[0])], text[len(text.rstrip()) :]
        return f"{before}{_JOINT}{core}{_JOINT}{after}"

    def _cut_across(self, part: str) -> Iterator[str]:
        """The text without joints, cut at those that a special text lies across."""
        if _JOINT not in part:
            yield part
            return
        pieces = part.split(_JOINT)
        text = "".join(pieces)
        joints, at = [], 0
        for piece in pieces[:-1]:
            at += len(piece)
            joints.append(at)
        cuts = [0, *(joint for joint in joints if self._lies_across(text, joint)), len(text)]
        for start, end in pairwise(cuts):
            yield text[start:end]

    def _lies_across(self, text: str, joint: int) -> bool:
        starts = range(max(0, joint - self._longest + 1), joint)
        return any((match := self._any.match(text, start)) and match.end() > joint for start in starts)

    def _is_special(self, text: str) -> bool:
        return self._plain(text) != self._tokenizer.tokenize(text, add_special=False, parse_special=True)

    def _is_always_matched(self, text: str) -> bool:
        return len(text) > 1 and len(self._plain(text)) == 1

    def _plain(self, text: str) -> list[int]:
        return self._tokenizer.tokenize(text, add_special=False, parse_special=False)


@dataclass(frozen=True, slots=True)
class _Run:
    text: str
    parse_special: bool


@dataclass(slots=True)
class _Runs:
    """Puts a rendered text together to as few runs as possible.

    A hidden text is tokenised together with the text around it up to the next control tokens, which the tokenizer takes
    as borders anyway: so `a <s> b` in a message gets the tokens that it would have if `<s>` were any other text.
    """

    _done: list[_Run] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)  # since the last control token
    _is_plain: bool = False  # whether a hidden text is in `_text`

    def add_text(self, text: str) -> None:
        self._text.append(text)

    def add_plain(self, text: str) -> None:
        self._text.append(text)
        self._is_plain = True

    def add_control(self, text: str) -> None:
        self._close_text()
        self._open.append(text)

    def cut(self) -> None:
        """What comes before and what comes after are tokenised apart, both as plain text."""
        self._is_plain = True
        self._close_text()
        self._is_plain = True

    def finish(self) -> list[_Run]:
        self._close_text()
        self._close_open()
        return self._done

    def _close_text(self) -> None:
        if self._is_plain:
            self._close_open()
            self._done.append(_Run("".join(self._text), parse_special=False))
        else:
            self._open += self._text
        self._text, self._is_plain = [], False

    def _close_open(self) -> None:
        self._done.append(_Run("".join(self._open), parse_special=True))
        self._open = []


def _continuations(texts: Iterable[str], literals: Iterable[str], longest: int) -> frozenset[str]:
    """What would go on with a special text that the template's literals begin: `tool` after `'<'`, or `'<' ~ '|'`."""
    ends = {literal[-size:] for literal in literals for size in range(1, min(longest, len(literal)) + 1)}
    signs = {literal for literal in literals if not any(map(str.isalnum, literal))} - {""}
    return frozenset(
        text[start:end]
        for text in texts
        for start in range(1, len(text))
        if text[:start] in ends or any(text[at:start] in signs for at in range(1, start))
        for end in range(start + 1, len(text))
    )


def _pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts, the longest where several begin at one place.

    It is built from their common beginnings: with a plain list of alternatives, a vocabulary with 6,000 of
    `<unused...>` would try them all at each `<`.
    """
    trie: dict[str, Any] = {}
    for text in texts:
        node = trie
        for character in text:
            node = node.setdefault(character, {})
        node[""] = {}
    return re.compile(_alternatives(trie) or "(?!)")


def _alternatives(node: dict[str, Any]) -> str:
    options = [re.escape(first) + _alternatives(rest) for first, rest in sorted(node.items()) if first]
    if not options:
        return ""
    together = f"(?:{'|'.join(options)})"
    return f"{together}?" if "" in node else together
