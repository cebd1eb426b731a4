"""The chat in the terminal: what is shown, what is kept of the conversation, and what Ctrl-C means when.

It gets the client's `chat_stream` and knows nothing else of the model.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TextIO

from llm_core.errors import LLMError
from llm_core.events import ChatEvent, ContentDelta, Done, Loading, Queued, ReasoningDelta, ToolResult, ToolStarted
from llm_core.figures import read_again
from llm_core.messages import Attachment, Message

ChatStream = Callable[..., Generator[ChatEvent]]
ReadFile = Callable[[str, Sequence[Attachment]], Attachment]

PROMPT = "> "
SHOWN_CHARS = 200  # of what a tool that failed says
HELP = """\
/retry   answer the last message again
/undo    take the last message and its reply back
/clear   begin a new conversation
/attach  with a file behind it, that goes with your next message as text
/detach  no file goes with your next message
/model   the models there are; with a name behind it, that one answers from now on
/help    this list
/exit    leave (or Ctrl-D)
Ctrl-C stops a reply; what came of it stays in the conversation."""

_COMMAND = re.compile(r"/[a-z]+")
_CHOICE = re.compile(r"/model\s+(\S+)")
_FILE = re.compile(r"/attach\s+(['\"]?)(.+)\1")
# C0 without tab and newline, DEL, and C1, which some terminals obey like ESC and a letter.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def printable(text: str) -> str:
    """`text` without the characters that command a terminal, which a model or a model file's maker may have written."""
    return _CONTROLS.sub("", text)


class Screen:
    """Replies go to `out`, everything else to `notes`, so that a script's output is the reply alone."""

    def __init__(self, out: TextIO | None = None, notes: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._notes = notes or sys.stderr
        self.is_terminal = self._out.isatty()
        self.notes_are_seen = self._notes.isatty()
        self._styles = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._at_line_start, self._has_status = True, False

    def reply(self, text: str, *, dim: bool = False) -> None:
        """A piece of a reply, at once. A file or a pipe gets it as it is, a terminal without control characters."""
        if self.is_terminal:
            text = printable(text)
        if text:
            self._out.write(self._styled(text, dim=dim and self.is_terminal))
            self._out.flush()
            self._at_line_start = text.endswith("\n")

    def end_line(self) -> None:
        """Begins a new line unless one has just begun."""
        if not self._at_line_start:
            self.reply("\n")

    def note(self, text: str) -> None:
        """A line about the chat, not of it."""
        if self.is_terminal:
            self.end_line()
        self._notes.write(self._styled(printable(text), dim=self.notes_are_seen) + "\n")
        self._notes.flush()

    def status(self, text: str) -> None:
        """A line that the next one takes the place of; an empty one clears it. Nothing where nobody looks."""
        if self.notes_are_seen and (text or self._has_status):
            self._notes.write(f"\r\x1b[K{printable(text)}")
            self._notes.flush()
        self._has_status = bool(text)

    def _styled(self, text: str, *, dim: bool) -> str:
        return f"{_DIM}{text}{_PLAIN}" if dim and self._styles else text


@dataclass
class _Spoken:
    """What has come of one reply."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    done: Done | None = None

    def message(self) -> Message | None:
        """The reply as far as it came; None where nothing did."""
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        if not content and not reasoning:
            return None
        return Message(role="assistant", content=content, reasoning=reasoning or None)


def answer_once(
    stream: ChatStream,
    prompt: str,
    options: Mapping[str, Any],
    screen: Screen,
    *,
    system: str = "",
    files: Sequence[Attachment] = (),
) -> None:
    """Writes one reply's text and nothing else.

    Args:
        files: What goes with the prompt.

    Raises:
        LLMError: There is no reply, or it broke off.
    """
    messages = [*_system(system), _message(prompt, files)]
    with closing(stream(messages, **options)) as events:
        for event in events:
            match event:
                case Loading():
                    screen.status(event.message)
                case Queued():
                    screen.status("")
                case ContentDelta(text=text):
                    screen.reply(text)
                case Done(finish_reason="length" | "timeout" as reason):
                    screen.end_line()
                    screen.note(_ENDINGS[reason])
    screen.end_line()


class TerminalChat:
    """A conversation at the keyboard.

    Args:
        stream: The client's `chat_stream`.
        options: Of every request.
        screen: Where it is shown.
        system: A system prompt; empty leaves it to the client's settings.
        files: What goes with the first message.
        read_file: Reads the file of a path, to go with those that wait already, or raises `LLMError`.
        models: Names those that there are.
        ended: Called after each reply, however it ended.
    """

    def __init__(
        self,
        stream: ChatStream,
        options: Mapping[str, Any],
        screen: Screen,
        *,
        system: str = "",
        files: Iterable[Attachment] = (),
        read_file: ReadFile,
        models: Callable[[], Iterable[str]] = tuple,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._ended = ended
        self._stream, self._options, self._screen = stream, dict(options), screen
        self._models = models
        self._system = _system(system)
        self._messages: list[Message] = []
        self._files, self._read_file = list(files), read_file
        self._commands: dict[str, Callable[[], None]] = {
            "/retry": self._retry,
            "/undo": self._undo,
            "/clear": self._clear,
            "/model": lambda: self._screen.note("\n".join(self._models())),
            "/attach": self._list_files,
            "/detach": self._detach,
            "/help": lambda: self._screen.note(HELP),
        }

    def run(self, read: Callable[[str], str] = input) -> None:
        """Talks until the user leaves.

        Args:
            read: Shows a prompt and returns a line, as `input` does.
        """
        while True:
            try:
                line = read(PROMPT).strip()
                if line in ("/exit", "/quit"):
                    return
                self._take(line)
            except EOFError:
                self._screen.reply("\n")
                return
            except KeyboardInterrupt:
                self._screen.reply("\n")

    def _take(self, line: str) -> None:
        if not line:
            return
        if choice := _CHOICE.fullmatch(line):
            self._choose(choice[1])
        elif file := _FILE.fullmatch(line):
            self._attach(file[2])
        elif not _COMMAND.fullmatch(line):  # a path such as /etc/hosts, or a sentence about one, is no command
            self._ask(line)
        elif command := self._commands.get(line):
            command()
        else:
            self._screen.note(f"There is no command {line}. /help lists them.")

    def _ask(self, text: str) -> None:
        try:
            self._messages.append(_message(text, self._files))
        except ValueError:
            self._screen.note("That is not text that can be sent: it has bytes that are not UTF-8, or is too long.")
            return
        self._files = []
        self._answer()

    def _answer(self) -> None:
        """Shows the reply to the last message and keeps as much of it as came."""
        spoken, stopped = _Spoken(), False
        try:
            with (
                _one_interrupt(),
                closing(self._stream([*self._system, *self._messages], **self._options)) as events,
            ):
                self._show(events, spoken)
        except KeyboardInterrupt:
            stopped = True
        except LLMError as error:
            self._screen.note(error.message)
        finally:
            self._ended()
        reply = spoken.message()
        if reply:
            self._messages.append(reply)
        else:  # a message without its reply would break the turns that templates insist on
            self._take_files_back(self._messages.pop())
        self._note_end(spoken.done, replied=reply is not None, stopped=stopped)

    def _show(self, events: Iterable[ChatEvent], spoken: _Spoken) -> None:
        for event in events:
            match event:
                case ReasoningDelta(text=text):
                    spoken.reasoning.append(text)
                    self._screen.reply(text, dim=True)
                case ContentDelta(text=text):
                    if text and spoken.reasoning and not spoken.content:
                        self._screen.end_line()
                        self._screen.reply("\n")
                    spoken.content.append(text)
                    self._screen.reply(text)
                case Loading():
                    self._screen.status(event.message)
                case Queued():
                    self._screen.status("")
                case ToolStarted():
                    self._screen.note(f"({event.name} is called)")
                case ToolResult(failed=True):
                    self._screen.note(f"({event.name}: {event.content[:SHOWN_CHARS]})")
                case Done():
                    spoken.done = event

    def _note_end(self, done: Done | None, *, replied: bool, stopped: bool) -> None:
        self._screen.end_line()
        if not replied:
            self._screen.note("No reply came, so your message is taken back. The up arrow brings it again.")
        elif stopped:
            self._screen.note("(stopped)")
        if done is None:
            return
        if number := done.dropped_messages:
            oldest = "oldest message was" if number == 1 else f"{number} oldest messages were"
            self._screen.note(f"The {oldest} left out: the conversation is longer than the context.")
        if ending := _ENDINGS.get(done.finish_reason):
            self._screen.note(ending)
        if self._screen.is_terminal:
            self._screen.note(figures(done))

    def _retry(self) -> None:
        if not self._messages:
            self._screen.note("There is nothing to answer again.")
            return
        self._messages.pop()
        self._answer()

    def _undo(self) -> None:
        if not self._messages:
            self._screen.note("There is nothing to take back.")
            return
        asked, _reply = self._messages[-2:]
        del self._messages[-2:]
        self._screen.note(f"Taken back: {_shortened(asked.content)}")
        self._take_files_back(asked)

    def _take_files_back(self, message: Message) -> None:
        """They go with the next message, unless others wait for that: together they may be too many."""
        if message.attachments and not self._files:
            self._files = [*message.attachments]
            self._list_files()

    def _detach(self) -> None:
        self._files = []
        self._list_files()

    def _attach(self, path: str) -> None:
        try:
            self._files.append(self._read_file(path, self._files))
        except LLMError as error:
            self._screen.note(error.message)
        else:
            self._list_files()

    def _list_files(self) -> None:
        names = ", ".join(f"{file.name} ({len(file.text):,} characters)" for file in self._files)
        nothing = "No file goes with your next message. /attach FILE takes one."
        self._screen.note(f"With your next message: {names}" if names else nothing)

    def _choose(self, model: str) -> None:
        if model in self._models():
            self._options["model"] = model
            self._screen.note(f"{model} answers from now on.")
        else:
            self._screen.note(f"There is no model {model}. /model lists them.")

    def _clear(self) -> None:
        self._messages.clear()
        self._files.clear()
        self._screen.note("A new conversation.")


_ENDINGS = {"length": "(cut off: the limit of tokens is reached)", "timeout": "(cut off: the time is up)"}


def figures(done: Done) -> str:
    """A reply's figures in one line."""
    usage, timings = done.usage, done.timings
    parts = [
        f"{usage.completion_tokens} tokens",
        f"{timings.tokens_per_second:.1f} tokens/s" if timings.tokens_per_second else "",
        f"first after {timings.ttft_ms:.0f} ms" if timings.ttft_ms else "",
        read_again(usage) or f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens cached",
    ]
    return " · ".join(filter(None, parts))


def _message(text: str, files: Sequence[Attachment]) -> Message:
    return Message(role="user", content=text, attachments=tuple(files) or None)


def _system(text: str) -> list[Message]:
    return [Message(role="system", content=text)] if text else []


def _shortened(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """The first Ctrl-C raises `KeyboardInterrupt`; more of them do nothing: they would break into the clean-up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
