"""From a reply's raw text to content, reasoning and calls of tools, piece by piece.

The whole answer is the sum of the deltas, and it is the same however the text was cut on its way in. A marker never
comes out in part; what only looked like the start of one comes out as the text that it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from llm_core.chat.call_parser import CallParser, Logprobs, overlap
from llm_core.chat.formats import ReasoningFormat
from llm_core.chat.tool_formats import ToolFormat
from llm_core.events import ContentDelta, ReasoningDelta, TokenLogprob, ToolCallDelta

Delta = ContentDelta | ReasoningDelta | ToolCallDelta

_LINE_BREAKS = "\r\n"


class ReplyParser:
    """Splits one reply. It holds back no more than a marker's length, and whitespace that may border on one.

    White space around the thinking and line breaks before the answer belong to the format and are dropped; those of a
    reply without thinking are its own. An unclosed block is thinking to the end. `<think>` inside an answer is text.

    Args:
        markers: What stands around the thinking.
        starts_in_reasoning: The prompt ended with the opener, so the reply begins inside the block.
        calls: How the model writes calls; None where it may call nothing: then everything in the answer is text.
        tools: Names of the tools that it may call.
        goes_on: What comes goes on with a reply that was begun: all of it is told, the white space at its start too.

    Attributes:
        has_thought: The thinking has begun; it may have ended.
    """

    def __init__(
        self,
        markers: ReasoningFormat,
        starts_in_reasoning: bool,
        calls: ToolFormat | None = None,
        tools: Collection[str] = (),
        *,
        goes_on: bool = False,
    ) -> None:
        self._closer = markers.closer
        self._after_opener: dict[str, Callable[[], bool]] = {markers.opener: self._reasoning_start}
        if markers.answer_opener:
            self._after_opener[markers.answer_opener] = self._after_closer
        self._starts_in_reasoning = starts_in_reasoning
        self._state: Callable[[], bool] = self._start
        if goes_on:
            self._state = self._reasoning if starts_in_reasoning else self._content
        self._blank: list[str] = []  # whitespace before `_tail` that leaves only if text follows it, not a marker
        self._tail = ""
        self._logprobs = _HeldLogprobs()
        self._calls = CallParser(calls, tools, self._logprobs.release) if calls else None
        self._out: list[Delta] = []
        self.has_thought = False

    @property
    def is_thinking(self) -> bool:
        """Whether the thinking has begun, and not ended."""
        return self._state in (self._reasoning_start, self._reasoning)

    @property
    def has_called(self) -> bool:
        """Whether a whole call has come."""
        return self._calls is not None and self._calls.completed > 0

    def feed(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> list[Delta]:
        """Takes the next text and returns what can be told of it now.

        Args:
            text: The next piece of the raw reply.
            logprobs: Those of its tokens. Each comes out once, with the content that the end of its text is in; those
                of reasoning and of markers do not come out.
        """
        self._logprobs.add(len(text), logprobs)
        self._tail += text
        while self._tail and self._state():
            pass
        return self._flush()

    def finish(self, *, is_cut: bool = False) -> list[Delta]:
        """The reply has ended: what was held back comes out.

        Args:
            is_cut: The model had more to say. What may be the beginning of a marker or a call is then dropped.
        """
        if is_cut and self._state in (self._start, self._reasoning):
            self._cut(len(self._tail))
        if self._state == self._start and self._starts_in_reasoning:
            self._drop(len(self._take_blank()))
            self._state = self._reasoning
        if self._state == self._reasoning:
            held, self._tail = self._tail, ""
            self._emit_reasoning(self._take_blank() + held if held else "")
        elif self._state in (self._start, self._content):
            held, self._tail = self._take_blank() + self._tail, ""
            if held:
                self._emit_content(held)
            if self._calls is not None:
                self._out += self._calls.finish(is_cut=is_cut)
            if late := self._logprobs.rest():
                self._out.append(ContentDelta("", late))
        return self._flush()

    # ── states: each looks at `_tail`, and says whether the next state has something to do ───────────────────────────

    def _start(self) -> bool:
        """Before anything but whitespace has come: an opener may follow."""
        self._hold_leading_space()
        for opener, state in self._after_opener.items():
            if self._tail.startswith(opener):
                self._drop(len(self._take_blank()))
                self._cut(len(opener))
                self._state = state
                return True
        if any(opener.startswith(self._tail) for opener in self._after_opener):
            return False
        if self._starts_in_reasoning:
            self._state = self._reasoning_start
        else:
            self._tail = self._take_blank() + self._tail
            self._state = self._content
        return True

    def _reasoning_start(self) -> bool:
        """Inside the block, before its first word."""
        self.has_thought = True
        self._cut(len(self._tail) - len(self._tail.lstrip()))
        self._state = self._reasoning if self._tail else self._state
        return bool(self._tail)

    def _reasoning(self) -> bool:
        """Inside the block: the closer may follow."""
        self.has_thought = True
        at = self._tail.find(self._closer)
        end = at if at >= 0 else len(self._tail) - overlap(self._tail, self._closer)
        body, self._tail = self._tail[:end], self._tail[end:]
        words = body.rstrip()
        if words:
            self._emit_reasoning(self._take_blank() + words)
        self._blank.append(body[len(words) :])
        if at < 0:
            return False
        self._drop(len(self._take_blank()))
        self._cut(len(self._closer))
        self._state = self._after_closer
        return True

    def _after_closer(self) -> bool:
        """Between the block and the answer's first line."""
        self._cut(len(self._tail) - len(self._tail.lstrip(_LINE_BREAKS)))
        self._state = self._content if self._tail else self._state
        return bool(self._tail)

    def _content(self) -> bool:
        """In the answer: everything is text, or a call."""
        text, self._tail = self._tail, ""
        self._emit_content(text)
        return False

    # ── small moves ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _hold_leading_space(self) -> None:
        rest = self._tail.lstrip()
        self._blank.append(self._tail[: len(self._tail) - len(rest)])
        self._tail = rest

    def _take_blank(self) -> str:
        blank = "".join(self._blank)
        self._blank.clear()
        return blank

    def _cut(self, length: int) -> None:
        self._tail = self._tail[length:]
        self._drop(length)

    def _drop(self, length: int) -> None:
        self._logprobs.release(length)

    def _emit_reasoning(self, text: str) -> None:
        self._drop(len(text))
        if text:
            self._out.append(ReasoningDelta(text))

    def _emit_content(self, text: str) -> None:
        if self._calls is None:
            self._out.append(ContentDelta(text, self._logprobs.release(len(text))))
        else:
            self._out += self._calls.feed(text)

    def _flush(self) -> list[Delta]:
        out, self._out = self._out, []
        return out


class _HeldLogprobs:
    """Log probabilities by where their text ends, until that text leaves the parser."""

    def __init__(self) -> None:
        self._fed = 0
        self._left = 0
        self._waiting: list[TokenLogprob] = []
        self._held: deque[tuple[int, Logprobs]] = deque()

    def add(self, length: int, logprobs: Iterable[TokenLogprob]) -> None:
        """Tokens without text (half a character, text that the engine holds back) belong to the text that follows."""
        self._fed += length
        self._waiting.extend(logprobs)
        if length and self._waiting:
            self._held.append((self._fed, tuple(self._waiting)))
            self._waiting.clear()

    def release(self, length: int) -> Logprobs:
        """Those of the next `length` characters, which leave now."""
        self._left += length
        gone: list[TokenLogprob] = []
        while self._held and self._held[0][0] <= self._left:
            gone.extend(self._held.popleft()[1])
        return tuple(gone)

    def rest(self) -> Logprobs:
        """Those of tokens whose text never came."""
        rest = tuple(self._waiting)
        self._waiting.clear()
        return rest
