"""What the store hands out: plain facts about sessions and turns."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llm_core.errors import LLMError
from llm_core.events import ChatEvent, Done, FinishReason, Timings, Usage
from llm_core.messages import Message

# interrupted: the process ended under it. cancelled: somebody stopped it, or nobody read it any more.
TurnStatus = Literal["running", "complete", "interrupted", "cancelled", "failed"]
NumberedEvent = tuple[int, ChatEvent]


@dataclass(frozen=True, slots=True)
class Version:
    """One of the turns that can stand at the same place of a session.

    Attributes:
        question: What the user said; None where it began with the results of calls.
        attached: A digest of the files of that message; None where it has none.
    """

    stream_id: str
    question: str | None
    attached: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what it began with, and what came of it as far as it came.

    Attributes:
        messages: The user's message first, or the results of the calls of the turn before. Without a reply there are no
            others. A reply is several messages where tools ran in this process.
        figures: `usage`, `timings`, `dropped_messages`, `model` and `awaiting_approval` of the reply, where it ended by
            itself; `asked` is how it was asked, where calls of it wait.
        error: A sentence that says why it failed.
        created_at, ended_at: Seconds since 1970, UTC.
        after: The stream of the turn that it follows; None: it is the first.
        is_set_aside: Whether another version, or nothing, stands in its place now.
        versions: What can stand at its place, the oldest first, itself among them. None where it is the only one.
    """

    stream_id: str
    status: TurnStatus
    messages: tuple[Message, ...]
    finish_reason: FinishReason | None
    figures: dict[str, Any] | None
    error: str | None
    created_at: float
    ended_at: float | None
    after: str | None = None
    is_set_aside: bool = False
    versions: tuple[Version, ...] = ()

    @property
    def done(self) -> Done | None:
        """The reply's last event, where it ended by itself."""
        if self.finish_reason is None or self.figures is None:
            return None
        usage, timings = Usage(**self.figures["usage"]), Timings(**self.figures["timings"])
        dropped, model = self.figures.get("dropped_messages", 0), self.figures.get("model", "")
        awaiting = tuple(self.figures.get("awaiting_approval", ()))
        return Done(self.finish_reason, usage, timings, dropped, model=model, awaiting_approval=awaiting)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session without what was said in it.

    Attributes:
        turns: How many there are.
        busy: Whether a reply is being made.
        created_at, updated_at: Seconds since 1970, UTC.
        pinned: Whether it stands before those that are not.
    """

    session_id: str
    title: str
    turns: int
    busy: bool
    created_at: float
    updated_at: float
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A session and what was said in it, oldest first.

    Attributes:
        model: The name of the model that was asked for last; None: the default one.
        version: Another one whenever a turn has come or gone.
        turns: What was said. Of each place one version, the chosen one.
        settings: What its reader has set for the replies; None: nothing.
    """

    session_id: str
    title: str
    system_prompt: str | None
    model: str | None
    created_at: float
    updated_at: float
    version: int
    turns: tuple[Turn, ...]
    settings: Mapping[str, Any] | None = None

    def messages(self) -> tuple[Message, ...]:
        """All messages, oldest first, without the system prompt."""
        return tuple(message for turn in self.turns for message in turn.messages)


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The reply of a turn that has ended, as far as it was saved.

    Attributes:
        saved: Its events.
        error: What ended it, where it did not end with `Done`.
    """

    stream_id: str
    session_id: str
    status: TurnStatus
    saved: tuple[NumberedEvent, ...]
    error: LLMError | None

    def is_over(self, after: float = math.inf) -> bool:
        """Whether nothing follows event number `after`."""
        last = self.saved[-1][0] if self.saved else 0
        return last + (self.error is not None) <= after

    def cancel(self) -> None:
        """There is nothing left to stop."""

    def events(self, after: int = 0) -> Generator[NumberedEvent]:
        """The events after number `after`.

        Raises:
            LLMError: What the reply ended with.
        """
        yield from (numbered for numbered in self.saved if numbered[0] > after)
        if self.error is not None:
            raise self.error

    async def aevents(self, after: int = 0) -> AsyncGenerator[NumberedEvent]:
        """`events` for event loops."""
        for numbered in self.events(after):
            yield numbered


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that has begun: where it is in the database, and the session before it.

    Attributes:
        is_first: Whether the session was made for it.
        version: Of the session from now on.
        replaces: Whether it is to take the place of other turns, or to follow one that was set aside, which is what
            `admit_turn` does.
    """

    key: int
    stream_id: str
    session_id: str
    system_prompt: str | None
    model: str | None
    earlier: tuple[Turn, ...]
    is_first: bool
    version: int
    replaces: bool


@dataclass(frozen=True, slots=True)
class ReaderSignals:
    """What readers on other processes want of a running turn.

    Attributes:
        stop: That it ends.
        followed_at: When one last said that it reads; it changes as long as one does.
    """

    stop: bool
    followed_at: float | None = None
