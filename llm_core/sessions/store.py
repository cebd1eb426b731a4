"""The sessions of this process, in memory: they end with it.

Every call has the owner in it, and another owner's session does not exist for the caller.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from llm_core.errors import InvalidRequest, SessionBusy, SessionNotFound
from llm_core.messages import Message, parse_messages

MAX_SESSIONS = 1_000
_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass
class _Session:
    messages: list[Message] = field(default_factory=list)
    busy: bool = False


class Turn:
    """One exchange in a session: the user's message is in it already, the reply is added when it is there."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self.messages: tuple[Message, ...] = tuple(session.messages)

    def reply(self, content: str, reasoning: str | None = None) -> None:
        """Records the model's reply, whole or as far as it came."""
        self._session.messages.append(Message(role="assistant", content=content, reasoning=reasoning))


class SessionStore:
    """Keeps the `MAX_SESSIONS` sessions that were used last. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[str, str], _Session] = OrderedDict()

    @contextmanager
    def turn(self, owner: str, session_id: str, message: str, *, system_prompt: str | None = None) -> Iterator[Turn]:
        """Opens a turn; the session is made where there is none, with `system_prompt` at its head.

        A turn that ends without a reply leaves no trace: sent again, the message is not there twice.

        Raises:
            SessionBusy: A reply is being made in it.
            InvalidRequest: The id or the message is not allowed.
        """
        said = parse_messages([{"role": "user", "content": message}])
        session = self._open(owner, session_id, system_prompt)
        try:
            session.messages.extend(said)
            yield Turn(session)
        finally:
            if session.messages[-1].role == "user":
                session.messages.pop()
            session.busy = False

    def history(self, owner: str, session_id: str) -> tuple[Message, ...]:
        """The messages of a session, oldest first.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with self._lock:
            return tuple(self._get(owner, session_id).messages)

    def delete(self, owner: str, session_id: str) -> None:
        """Forgets a session.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        with self._lock:
            if self._get(owner, session_id).busy:
                raise SessionBusy("A reply is being made in this session. Stop it before you delete the session.")
            del self._sessions[owner, session_id]

    def _get(self, owner: str, session_id: str) -> _Session:
        session = self._sessions.get((owner, session_id))
        if session is None:
            raise SessionNotFound(f"There is no session {session_id!r}.")
        return session

    def _open(self, owner: str, session_id: str, system_prompt: str | None) -> _Session:
        if not _SESSION_ID.fullmatch(session_id):
            raise InvalidRequest(
                "session_id: 1 to 128 letters, digits, dots, colons, dashes or underscores", param="session_id"
            )
        with self._lock:
            session = self._sessions.get((owner, session_id))
            if session is None:
                session = _Session()
                if system_prompt is not None:
                    session.messages.extend(parse_messages([{"role": "system", "content": system_prompt}]))
                self._sessions[owner, session_id] = session
                self._drop_oldest()
            if session.busy:
                raise SessionBusy(f"A reply is already being made in session {session_id!r}. Wait for it or stop it.")
            self._sessions.move_to_end((owner, session_id))
            session.busy = True
            return session

    def _drop_oldest(self) -> None:
        idle = (key for key, session in self._sessions.items() if not session.busy)
        while len(self._sessions) > MAX_SESSIONS and (oldest := next(idle, None)) is not None:
            del self._sessions[oldest]
            idle = (key for key, session in self._sessions.items() if not session.busy)
