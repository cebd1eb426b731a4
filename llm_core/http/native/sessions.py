"""The doorway of what was said: list, read, change, export and delete sessions over HTTP, and choose among versions.

Everyone sees their own.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from llm_core.access.problems import describe
from llm_core.client import LLMClient
from llm_core.http.bodies import (
    DeletedAnswer,
    HistoryAnswer,
    HistoryBody,
    SessionAnswer,
    SessionChange,
    SessionId,
    SessionsAnswer,
    TurnId,
    VersionAnswer,
    VersionsAnswer,
)
from llm_core.http.given import Client, Owner
from llm_core.sessions.export import session_dict, summary_dict, to_json, to_markdown, version_dict
from llm_core.sessions.history import MAX_LISTED, MAX_SEARCH_CHARS
from llm_core.sessions.imported import ExportedSession

_OFTEN = describe(401, 404, 422, 503)
_WITH_BODY = _OFTEN | describe(413)


router = APIRouter(prefix="/api/llm", tags=["sessions"])


@router.get("/sessions", responses=describe(401, 422, 503))
async def list_sessions(
    client: Client,
    owner: Owner,
    search: Annotated[str, Query(max_length=MAX_SEARCH_CHARS)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> SessionsAnswer:
    """Your sessions, pinned ones first, then the one used last; with `search`, those that have it in title or text."""
    found = await asyncio.to_thread(client.sessions.list, owner=owner, search=search, limit=limit, offset=offset)
    return SessionsAnswer(sessions=[SessionAnswer(**summary_dict(summary)) for summary in found])


@router.post("/sessions", responses=describe(400, 401, 413, 422, 503, 507), response_model_exclude_unset=True)
async def add(body: ExportedSession, client: Client, owner: Owner) -> HistoryAnswer:
    """Keeps what `export` has written as JSON as a new session of yours, with what was set aside."""
    session_id = await asyncio.to_thread(client.sessions.add, body, owner=owner)
    return HistoryAnswer(**await _session(client, owner, session_id))


@router.get("/chat/session/{session_id}/history", responses=_OFTEN, response_model_exclude_unset=True)
async def history(session_id: SessionId, client: Client, owner: Owner) -> HistoryAnswer:
    """What was said in a session, oldest first."""
    return HistoryAnswer(**await _session(client, owner, session_id))


@router.post("/chat/session/history", responses=_WITH_BODY, response_model_exclude_unset=True)
async def history_by_body(body: HistoryBody, client: Client, owner: Owner) -> HistoryAnswer:
    """What was said in a session, oldest first; for callers who cannot put the id into the path."""
    return HistoryAnswer(**await _session(client, owner, body.session_id))


@router.get("/chat/session/{session_id}/export", responses=_OFTEN, response_class=Response)
async def export(
    session_id: SessionId, client: Client, owner: Owner, format: Literal["json", "markdown"] = "json"
) -> Response:
    """A session as a file. As JSON it has what was set aside too."""
    if format == "json":
        session, set_aside = await asyncio.to_thread(client.sessions.whole, session_id, owner=owner)
        text, kind, suffix = to_json(session, set_aside), "application/json", "json"
    else:
        session = await asyncio.to_thread(client.sessions.get, session_id, owner=owner)
        text, kind, suffix = to_markdown(session), "text/markdown; charset=utf-8", "md"
    name = session_id.replace(":", "-")
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}.{suffix}"'})


@router.patch(
    "/chat/session/{session_id}", responses=_WITH_BODY | describe(400, 507), response_model_exclude_unset=True
)
async def change(session_id: SessionId, body: SessionChange, client: Client, owner: Owner) -> HistoryAnswer:
    """Gives a session another title, or has it stand first in the list."""
    if body.title is not None:
        await asyncio.to_thread(client.sessions.rename, session_id, body.title, owner=owner)
    if body.pinned is not None:
        await asyncio.to_thread(client.sessions.pin, session_id, body.pinned, owner=owner)
    return HistoryAnswer(**await _session(client, owner, session_id))


@router.get(
    "/chat/session/{session_id}/turns/{stream_id}/versions",
    responses=_OFTEN | describe(409),
    response_model_exclude_unset=True,
)
async def versions(session_id: SessionId, stream_id: TurnId, client: Client, owner: Owner) -> VersionsAnswer:
    """The turns that can stand at the place of one: earlier replies, and messages before they were edited."""
    found = await asyncio.to_thread(client.sessions.versions, session_id, stream_id, owner=owner)
    return VersionsAnswer(versions=[VersionAnswer(**version_dict(turn)) for turn in found])


@router.post(
    "/chat/session/{session_id}/turns/{stream_id}/choose",
    responses=_OFTEN | describe(409, 507),
    response_model_exclude_unset=True,
)
async def choose(session_id: SessionId, stream_id: TurnId, client: Client, owner: Owner) -> HistoryAnswer:
    """The session goes on with this version of a turn, and with what last followed it."""
    await asyncio.to_thread(client.sessions.choose, session_id, stream_id, owner=owner)
    return HistoryAnswer(**await _session(client, owner, session_id))


@router.delete("/chat/session/{session_id}", responses=_OFTEN | describe(409))
async def delete(session_id: SessionId, client: Client, owner: Owner) -> DeletedAnswer:
    """Forgets a session."""
    await asyncio.to_thread(client.sessions.delete, session_id, owner=owner)
    return DeletedAnswer(id=session_id)


async def _session(client: LLMClient, owner: str, session_id: str) -> dict[str, Any]:
    return session_dict(await asyncio.to_thread(client.sessions.get, session_id, owner=owner))
