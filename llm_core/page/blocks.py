"""A growing text of Markdown in parts that are drawn once: what is finished never changes again.

A page that draws the whole of a long reply anew for each word falls ever further behind. So a reply is shown as several
messages one below the other, and only the last of them grows.
"""

from __future__ import annotations

import re

LEAST_CHARS = 120  # shorter parts would cost more as messages than they save as text
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FORMULA = {"$$": "$$", "\\[": "\\]"}
# What may still belong to the block above it: an indented line, an item of a list, a quotation, a row of a table, HTML.
_CONTINUES = re.compile(r"[ \t>|<]|[-*+]\s|\d+[.)]")
_HTML = re.compile(r"^ {0,3}<", re.MULTILINE)
# A link by reference, or a number that may be one: what it leads to is said anywhere below.
_REFERENCE = re.compile(r"\]\[|\[\d+\](?![(:])")


class Blocks:
    """Text that grows at its end.

    Attributes:
        finished: Parts that are whole: no later text can change how they are drawn.
        growing: The text after them.
    """

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.growing = ""
        self._looked_at = 0  # characters of `growing` before the last line that was not whole
        self._ends_with: str | None = None  # what ends the code or the formula that is open there
        self._after_blank = False
        self._refers = False

    def append(self, text: str) -> None:
        self.growing += text
        while (end := self.growing.find("\n", self._looked_at)) >= 0:
            line = self.growing[self._looked_at : end]
            if self._begins_block(line) and self._looked_at >= LEAST_CHARS:
                self._finish()
                continue
            self._note(line)
            self._looked_at = end + 1

    def parts(self) -> list[str]:
        """The whole text, finished parts first."""
        return [*self.finished, self.growing] if self.growing else [*self.finished]

    def text(self) -> str:
        return "".join(self.parts())

    def _begins_block(self, line: str) -> bool:
        return (
            self._after_blank
            and not self._refers
            and self._ends_with is None
            and line.strip() != ""
            and _CONTINUES.match(line) is None
            and _HTML.search(self.growing, 0, self._looked_at) is None
        )

    def _finish(self) -> None:
        self.finished.append(self.growing[: self._looked_at])
        self.growing = self.growing[self._looked_at :]
        self._looked_at, self._after_blank = 0, False

    def _note(self, line: str) -> None:
        """Follows what is open after this line, in which nothing ends a block."""
        stripped = line.strip()
        if self._ends_with is not None:
            if self._closes(stripped):
                self._ends_with = None
        elif fence := _FENCE.match(line):
            self._ends_with = fence[1]
        else:
            self._refers = self._refers or _REFERENCE.search(line) is not None
            for begin, end in _FORMULA.items():
                if stripped.startswith(begin) and end not in stripped[len(begin) :]:
                    self._ends_with = end
        self._after_blank = stripped == "" and self._ends_with is None

    def _closes(self, stripped: str) -> bool:
        assert self._ends_with is not None
        if self._ends_with[0] in "`~":
            return stripped.startswith(self._ends_with) and not stripped.strip(self._ends_with[0])
        return self._ends_with in stripped
