"""The room's front: begin a turn, come back to its reply, stop it; what was said is looked after in history.py.

It knows nothing of models: how a reply is made is given to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Protocol, Unpack

from llm_core.cancellation import Cancellation
from llm_core.errors import InvalidRequest, KeyReused, ModelNotFound, SessionBusy, SessionChanged
from llm_core.events import ChatEvent
from llm_core.messages import Attachment, Message, parse_messages
from llm_core.options import BeginOptions, RequestOptions, given
from llm_core.request import ChatRequest
from llm_core.sessions.asked import asked_before, asked_of
from llm_core.sessions.exchange import (
    approved_calls,
    checked_approvals,
    opening_messages,
    prompt_messages,
    results_made,
)
from llm_core.sessions.follow import FollowedReply
from llm_core.sessions.history import SessionHistory
from llm_core.sessions.live import LiveReply
from llm_core.sessions.once import words_of
from llm_core.sessions.records import NumberedEvent
from llm_core.settings import Settings

SESSION_ID_RULE = "1 to 128 letters, digits, dots, colons, dashes or underscores"
SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
_SESSION_ID = re.compile(SESSION_ID_PATTERN)
STREAM_ID_PATTERN = r"^[0-9a-f]{32}$"
_STREAM_ID = re.compile(STREAM_ID_PATTERN)
_ANYTHING = Message(role="user", content="")  # what is said is checked by itself


class Reply(Protocol):
    """A reply that can be read from any event on: one that is being made, or one that has ended."""

    @property
    def stream_id(self) -> str: ...
    @property
    def session_id(self) -> str: ...
    def is_over(self, after: float = math.inf) -> bool: ...
    def cancel(self) -> None: ...
    def events(self, after: int = 0) -> Generator[NumberedEvent]: ...
    def aevents(self, after: int = 0) -> AsyncGenerator[NumberedEvent]: ...


async def unnumbered(reply: Reply) -> AsyncGenerator[ChatEvent]:
    """All events of a reply, for a reader who will not come back."""
    async with aclosing(reply.aevents()) as events:
        async for _, event in events:
            yield event


class Sessions(SessionHistory):
    """All sessions of one database, and the replies that this process makes in them. Safe from any thread.

    Nothing is opened until the first use.

    Args:
        settings: Where the database is, and the limits.
        prepare: Checks messages and options and makes the request of them.
        generate: Makes the reply of a request.
        forget: Forgets what was kept for a session that is deleted: its owner and its id.
    """

    def __init__(
        self,
        settings: Settings,
        prepare: Callable[[Iterable[Message], Mapping[str, Any]], ChatRequest],
        generate: Callable[[ChatRequest, Cancellation], Generator[ChatEvent]],
        forget: Callable[[str, str], None],
    ) -> None:
        super().__init__(settings, forget)
        self._prepare, self._generate = prepare, generate

    def begin(
        self,
        session_id: str,
        message: str | None = None,
        *,
        attachments: Iterable[Mapping[str, Any] | Attachment] | None = None,
        tool_results: Iterable[Mapping[str, Any]] | None = None,
        approvals: Iterable[Mapping[str, Any]] | None = None,
        system_prompt: str | None = None,
        stream_id: str | None = None,
        version: int | None = None,
        replaces: str | None = None,
        after: str | None = None,
        opening: tuple[Message, ...] | None = None,
        instructions: str | None = None,
        goes_on: bool = False,
        settings: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> LiveReply:
        """Says `message` in a session, which is made on first use, or gives the results of the calls of its last reply.

        What is said is saved when this returns.

        Args:
            attachments: Files of the message: `{"name": ..., "text": ...}`. The model is told them before its text.
            tool_results: In place of `message`: `{"tool_call_id": ..., "content": ...}` for each of the calls.
            approvals: The same for those that wait for somebody to agree: `{"tool_call_id": ..., "approve": True}`.
                What is approved is run, and the reply goes on with the results, and as the turn before was asked.
            system_prompt: From now on in this session; None leaves it as it is, in a new one as in the settings.
            stream_id: Of the reply, as long and random as the one that is made where this is None.
            version: The session that the caller has seen, 0 for one that does not exist; None for any.
            replaces: The stream of the turn that this one is to take the place of, with all after it. They are set
                aside when the engine has taken the request; where it refuses it, they stay.
            after: The stream of the turn that this one is to follow, in place of the last one. What followed it is set
                aside in the same way. That turn may have been set aside itself.
            opening: In place of `message`: messages of any role, first the results of the calls of the last reply.
            instructions: In place of the session's system prompt, for this turn alone.
            goes_on: It is made to its end though nobody reads it.
            settings: What the caller has set for the replies of this session: kept with it, and read by nobody here.
                None leaves what is kept.
            options: As of every request. `overflow` is "drop_oldest" unless said otherwise.

        Raises:
            InvalidRequest: The id, the message, a result or an option is not allowed.
            SessionNotFound: There are results, and this owner has no such session.
            SessionBusy: A reply is being made in this session already.
            SessionChanged: It has another version, or not the turn to replace or to follow.
            StorageFull, StorageError: What was said could not be saved.
        """
        if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):  # gradio_client sends any JSON
            raise InvalidRequest(f"session_id: {SESSION_ID_RULE}", param="session_id")
        if stream_id is not None and not _STREAM_ID.fullmatch(stream_id):
            raise InvalidRequest("stream_id: 32 lower-case hexadecimal digits", param="stream_id")
        if replaces is not None and after is not None:
            raise InvalidRequest("after: a turn either replaces another or follows one", param="after")
        decisions = () if approvals is None else checked_approvals(approvals)
        if opening is None:
            opening = opening_messages(message, tool_results, None if approvals is None else decisions, attachments)
        owner = options.get("owner") or ""
        chosen: dict[str, Any] = {"overflow": "drop_oldest"} | given(options)
        own = _system(instructions)
        self._prepare([*(own or _system(system_prompt)), _ANYTHING], chosen)  # what is refused leaves no trace
        self._running.save_what_is_left(owner, session_id)
        turn = self._store().open_turn(
            owner,
            session_id,
            *opening,
            system_prompt=system_prompt,
            model=chosen.get("model"),
            settings=settings,
            stream_id=stream_id,
            version=version,
            replaces=replaces,
            after=after,
            decisions=len(decisions),
        )
        chosen = (asked_before(turn.earlier) if decisions else {}) | chosen
        try:
            said = [*(own or _system(turn.system_prompt)), *prompt_messages(turn.earlier, opening)]
            request = self._request(said, chosen, turn.model)
            request = request.of_session(
                session_id, approved_calls(turn.earlier, decisions), results_made(turn.earlier, decisions)
            )
        except BaseException:
            self._store().discard_turn(turn)
            raise
        seconds = math.inf if goes_on else self._settings.resume_seconds
        reply = LiveReply(turn, self._store(), resume_seconds=seconds, asked=asked_of(request, chosen))
        self._running.start(owner, reply, lambda: self._generate(request, reply.cancellation))
        return reply

    def begin_once(
        self,
        session_id: str,
        message: str | None = None,
        *,
        stream_id: str,
        **options: Unpack[BeginOptions],
    ) -> Reply:
        """`begin`, for a caller who cannot know whether it was heard: where the turn of this stream has begun already,
        it is the reply of that one, and nothing is said again.

        Args:
            options: Of `begin`. They count the first time.

        Raises:
            KeyReused: That turn began with something else, or in another session.
            StreamNotFound: It has ended so long ago that only the history has its reply.
            LLMError: All that `begin` raises.
        """
        chosen: dict[str, Any] = {**options}
        lists = ("tool_results", "approvals", "attachments")  # they are read twice
        said = {name: tuple(chosen[name]) for name in lists if chosen.get(name) is not None}
        owner = options.get("owner") or ""
        turn = partial(self.begun, session_id, message, stream_id=stream_id, owner=owner, **said)
        reply = turn()
        if reply is not None:
            return reply
        try:
            return self.begin(session_id, message, stream_id=stream_id, **(chosen | said))
        except (SessionBusy, SessionChanged):  # maybe by this very turn, which came twice at once
            reply = turn()
            if reply is None:
                raise
            return reply

    def begun(
        self,
        session_id: str,
        message: str | None = None,
        *,
        stream_id: str,
        attachments: Iterable[Mapping[str, Any] | Attachment] | None = None,
        tool_results: Iterable[Mapping[str, Any]] | None = None,
        approvals: Iterable[Mapping[str, Any]] | None = None,
        owner: str = "",
    ) -> Reply | None:
        """The reply of the turn that has begun with this; None where there is no turn of this stream.

        Raises:
            KeyReused, StreamNotFound: As with `begin_once`.
        """
        begun = self._store().begun(owner, stream_id)
        if begun is None:
            return None
        opening = opening_messages(message, tool_results, approvals, attachments)
        said = begun[1] if approvals is None else begun[1][: len(opening)]  # what came of approved calls follows
        if begun[0] != session_id or words_of(said) != words_of(opening):
            raise KeyReused(
                "This key was sent before, with another message or session. Each message needs a key of its own."
            )
        return self.attach(stream_id, owner=owner)

    def attachments(self, session_id: str, stream_id: str, *, owner: str = "") -> tuple[Attachment, ...]:
        """The files of a turn's message, also where it was set aside.

        Raises:
            SessionChanged: This owner's session has no such turn.
        """
        begun = self._store().begun(owner, stream_id)
        if begun is None or begun[0] != session_id:
            raise SessionChanged("The session does not have this turn any more. Look at it again.")
        return tuple(file for message in begun[1] for file in message.attachments or ())

    def attach(self, stream_id: str, *, owner: str = "") -> Reply:
        """The reply of a turn, while it is made and for an hour after.

        Raises:
            StreamNotFound: This owner has no such stream.
        """
        live = self._running.find(owner, stream_id)
        if live is not None:
            return live
        store = self._store()
        stored = store.reply(owner, stream_id)
        return FollowedReply(store, owner, stored) if stored.status == "running" else stored

    def running(self, session_id: str, *, owner: str = "") -> LiveReply | None:
        """The reply that this process makes in a session now, if it makes one."""
        return self._running.in_session(owner, session_id)

    def _request(self, said: Iterable[Message], chosen: dict[str, Any], model: str | None) -> ChatRequest:
        """The request of a turn, to the session's own model where none is chosen and that one is still served."""
        if model is not None and "model" not in chosen:
            with suppress(ModelNotFound):
                return self._prepare(said, chosen | {"model": model})
        return self._prepare(said, chosen)


def _system(prompt: str | None) -> list[Message]:
    return [] if prompt is None else list(parse_messages([{"role": "system", "content": prompt}]))
