"""From a reply's content to calls of tools and the text around them, piece by piece.

A call's name comes out as soon as it is whole, its arguments as they are made, byte for byte as the model wrote them.
What only looked like a call comes out as the text that it is. A call that is cut before its arguments is neither.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from llm_core.chat.tool_formats import ToolFormat
from llm_core.events import ContentDelta, TokenLogprob, ToolCallDelta
from llm_core.messages import MAX_NAME_CHARS

Logprobs = tuple[TokenLogprob, ...]

MAX_HEAD_CHARS = 500  # from a call's first character to its arguments: more is no call

_CALLABLE = re.compile(f"[^\ud800-\udfff]{{1,{MAX_NAME_CHARS}}}")  # a lone surrogate is no text
_ARGUMENT_KEYS = ("arguments", "parameters")  # models mix them up, whatever their template says
_JSON_NAME = r'(?P<name>(?:[^"\\]|\\.)*\\?)'
_PLAIN_NAME = r"(?P<name>[^{]*?)"
# How an object may begin that is a call in another order or wrapping; it is looked at once it is whole.
_MAYBE_CALL = tuple(f'{{"{key}"' for key in (*_ARGUMENT_KEYS, "function", "type", "id", "name"))
_NAME_BEGUN = re.compile(r'"name"\s*:\s*"([^"]*)("?)')
_CALL_ID = "[CALL_ID]"  # Mistral Small 3.2 writes an id of its own behind the name


class CallParser:
    """Splits the content of one reply.

    White space between text and calls belongs to the format and is dropped.

    Args:
        form: How the model writes calls.
        names: Of the tools. Where a call has no mark, an object is one only if it names a tool.
        release: Called with the length of each text that leaves, in order; returns what belongs to it.
    """

    def __init__(self, form: ToolFormat, names: Collection[str], release: Callable[[int], Logprobs]) -> None:
        self._release = release
        self._marker = form.marker
        self._names = names
        self._next_is_bare = not form.marker or not form.call_open.startswith(form.marker)
        openings = dict.fromkeys((form.group_open + form.call_open, form.call_open))
        self._heads = [_Head(form, opening, key) for opening, key in product(openings, _ARGUMENT_KEYS)]
        self._close = _prefixes(_flexible(form.call_close))
        self._close_of_object = _prefixes(_flexible(form.call_close.removeprefix("}")))
        self._closing = self._close
        self._rest = [_prefixes([r"\s*", *_flexible(text)]) for text in (form.separator.strip(), form.group_close)]
        self._state: Callable[[], bool] = self._text
        self._may_begin_bare = not form.marker
        self._blank = ""  # white space that leaves only if text follows it, not a call
        self._tail = ""
        self._scan = _JsonEnd()
        self._out: list[ContentDelta | ToolCallDelta] = []
        self._index = -1
        self.completed = 0  # calls whose arguments have come to their end

    def feed(self, text: str) -> list[ContentDelta | ToolCallDelta]:
        """Takes the next text and returns what can be told of it now."""
        self._tail += text
        while self._tail and self._state():
            pass
        return self._flush()

    def finish(self, *, is_cut: bool) -> list[ContentDelta | ToolCallDelta]:
        """The reply has ended: what was held back comes out.

        Args:
            is_cut: The model had more to say. What a call's form has begun is then no text, and is dropped.
        """
        if self._state == self._object and self._take_object(len(self._tail)):
            self._state = self._after
        if self._state in (self._text, self._head, self._object) and not (is_cut and self._has_begun()):
            self._emit_text(len(self._tail))
        else:
            self._cut(len(self._tail))
        return self._flush()

    # ── states: each looks at `_tail`, and says whether the next state has something to do ───────────────────────────

    def _text(self) -> bool:
        """In text: a call may begin."""
        if self._may_begin_bare:
            self._hold_blank()
            if not self._tail:
                return False
            if self._tail[0] == "{":
                self._state = self._head
                return True
            self._may_begin_bare = False
        if not self._marker:
            self._emit_text(len(self._tail))
            return False
        at = self._tail.find(self._marker)
        end = at if at >= 0 else len(self._tail) - overlap(self._tail, self._marker)
        words = len(self._tail[:end].rstrip())
        if words:
            self._emit_text(words)
        self._blank += self._tail[: end - words]
        self._tail = self._tail[end - words :]
        self._state = self._head if at >= 0 else self._text
        return at >= 0

    def _head(self) -> bool:
        """At what may be a call, before its arguments."""
        for head in self._heads:
            found = head.match(self._tail)
            if found is not None and found.length <= MAX_HEAD_CHARS and self._is_tool(found):
                self._begin(found)
                self._scan, self._closing = _JsonEnd(), self._close
                self._state = self._arguments
                return True
        if len(self._tail) <= MAX_HEAD_CHARS and any(head.may_become(self._tail) for head in self._heads):
            return False
        self._state = self._object
        return True

    def _object(self) -> bool:
        """At what may be a call whose keys are in another order: it is looked at when it is whole."""
        start = self._tail.find("{")
        before, after = (self._tail, "") if start < 0 else (self._tail[:start], self._tail[start:])
        if before.removeprefix(self._marker).strip("[ \t\r\n") or not _may_be_call(after):
            return self._not_a_call()
        end = _JsonEnd().find(after)
        if end is None:
            return False
        if self._take_object(start + end):
            self._state = self._after
            return True
        return self._not_a_call()

    def _arguments(self) -> bool:
        """In a call's arguments."""
        end = self._scan.find(self._tail)
        piece = self._tail if end is None else self._tail[:end]
        self._cut(len(piece))
        self._out.append(ToolCallDelta(self._index, arguments=piece))
        if end is None:
            return False
        self.completed += 1
        self._state = self._after
        return True

    def _after(self) -> bool:
        """Behind a call's arguments: the rest of its form, then text or the next call."""
        close = _length(self._closing, self._tail)
        rest = close + max(_length(pattern, self._tail[close:]) for pattern in self._rest)
        if rest == len(self._tail):
            return False
        self._cut(rest)
        self._may_begin_bare = self._next_is_bare
        self._state = self._text
        return True

    # ── small moves ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_tool(self, head: _Found) -> bool:
        if not _CALLABLE.fullmatch(head.name):
            return False
        is_marked = bool(self._marker) and self._tail.startswith(self._marker)
        return is_marked or head.name in self._names

    def _has_begun(self) -> bool:
        """Whether what is held back may be a call's beginning: the marker or a part of it, white space behind another
        call, an object that names a tool or is about to."""
        if self._state == self._text or (self._marker and self._tail.startswith(self._marker)):
            return bool(self._tail) or self._index >= 0
        named = _NAME_BEGUN.search(self._tail)
        if named is None:
            return self._state == self._head
        return any(name == named[1] if named[2] else name.startswith(named[1]) for name in self._names)

    def _begin(self, head: _Found) -> None:
        """Tells a call's name and takes its head away."""
        self._release(len(self._blank))
        self._blank = ""
        self._cut(head.length)
        self._index += 1
        self._out.append(ToolCallDelta(self._index, id=f"call_{uuid.uuid4().hex[:24]}", name=head.name))

    def _take_object(self, end: int) -> bool:
        """Tells the call that the text up to `end` is, if it is one."""
        start = self._tail.find("{")
        call = _call_of(self._tail[start:end]) if start >= 0 else None
        if call is None:
            return False
        name, arguments = call
        found = _Found(name, end)
        if not self._is_tool(found):
            return False
        self._begin(found)
        self._closing = self._close_of_object
        self._out.append(ToolCallDelta(self._index, arguments=arguments))
        self.completed += 1
        return True

    def _not_a_call(self) -> bool:
        """What looked like a call is text: its first character leaves, and what follows is looked at anew."""
        self._may_begin_bare = False
        self._emit_text(1)
        self._state = self._text
        return bool(self._tail)

    def _hold_blank(self) -> None:
        rest = self._tail.lstrip()
        self._blank += self._tail[: len(self._tail) - len(rest)]
        self._tail = rest

    def _emit_text(self, length: int) -> None:
        text = self._blank + self._tail[:length]
        self._tail, self._blank = self._tail[length:], ""
        if text:
            self._out.append(ContentDelta(text, self._release(len(text))))

    def _cut(self, length: int) -> None:
        self._tail = self._tail[length:]
        self._release(length)

    def _flush(self) -> list[ContentDelta | ToolCallDelta]:
        out, self._out = self._out, []
        return out


class _JsonEnd:
    """Finds where a JSON object ends, in text that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False

    def find(self, text: str) -> int | None:
        """Goes on with the next piece; returns the place behind the object's last brace in it, or None."""
        for place, character in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place + 1
        return None


@dataclass(frozen=True, slots=True)
class _Found:
    """A call's name, and the length of the text before its arguments."""

    name: str
    length: int


class _Head:
    """The text from a call's first character to its arguments, with white space as a model may put it."""

    def __init__(self, form: ToolFormat, opening: str, key: str) -> None:
        self._is_json = opening.endswith('"')
        middle = form.call_middle.replace("arguments", key).replace("parameters", key)
        atoms = [*_flexible(opening), _JSON_NAME if self._is_json else _PLAIN_NAME, *_flexible(middle), r"\s*"]
        self._object = re.compile("".join([*atoms, r"(?=\{)"]))
        self._beginning = _prefixes(atoms)

    def match(self, text: str) -> _Found | None:
        found = self._object.match(text)
        if found is None:
            return None
        name = found["name"]
        if not self._is_json:
            return _Found(name.partition(_CALL_ID)[0].strip(), found.end())
        try:
            return _Found(json.loads(f'"{name}"', strict=False), found.end())
        except ValueError:
            return None

    def may_become(self, text: str) -> bool:
        """Whether `text` is the beginning of a head."""
        return self._beginning.fullmatch(text) is not None


def _flexible(text: str) -> list[str]:
    """Patterns of the characters of `text`, with any white space where JSON allows it."""
    atoms: list[str] = []
    for character in text:
        if character.isspace():
            atoms.append(r"\s*")
        elif character in "{}:,":
            atoms += [r"\s*", re.escape(character), r"\s*"]
        else:
            atoms.append(re.escape(character))
    return atoms


def _prefixes(atoms: Iterable[str]) -> re.Pattern[str]:
    """Matches every beginning of what the patterns match one after another."""
    atoms = list(atoms)
    return re.compile("".join(f"(?:{atom}" for atom in atoms) + ")?" * len(atoms))


def _length(pattern: re.Pattern[str], text: str) -> int:
    """Length of the longest beginning of `text` that a pattern of `_prefixes` matches."""
    found = pattern.match(text)
    return found.end() if found else 0


def _may_be_call(text: str) -> bool:
    """Whether an object that begins with `text` may be a call."""
    beginning = "".join(text[:40].split())
    return any(known.startswith(beginning) or beginning.startswith(known) for known in _MAYBE_CALL)


def _call_of(text: str) -> tuple[str, str] | None:
    """Name and arguments of the call that a JSON object is, or None."""
    try:
        call: Any = json.loads(text)
    except ValueError:
        return None
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        return None
    arguments: Any = next((call[key] for key in _ARGUMENT_KEYS if key in call), {})
    if isinstance(arguments, str):  # some models put JSON into a string
        return call["name"], arguments
    return call["name"], json.dumps(arguments, ensure_ascii=False)


def overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a beginning of `marker`, but not all of it."""
    longest = min(len(marker) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if marker.startswith(text[-length:])), 0)
