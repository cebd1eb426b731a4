"""The doorway of what was said: list, read, rename, export and delete sessions over HTTP. Everyone sees their own."""

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
    SessionId,
    SessionsAnswer,
    TitleBody,
)
from llm_core.http.given import Client, Owner
from llm_core.sessions.export import session_dict, summary_dict, to_json, to_markdown
from llm_core.sessions.sessions import MAX_LISTED, MAX_SEARCH_CHARS

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
    """Your sessions, the one used last first; with `search`, those whose title or messages have that text."""
    found = await asyncio.to_thread(client.sessions.list, owner=owner, search=search, limit=limit, offset=offset)
    return SessionsAnswer(sessions=[SessionAnswer(**summary_dict(summary)) for summary in found])


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
    """A session as a file."""
    session = await asyncio.to_thread(client.sessions.get, session_id, owner=owner)
    text, kind, suffix = (
        (to_json(session), "application/json", "json")
        if format == "json"
        else (to_markdown(session), "text/markdown; charset=utf-8", "md")
    )
    name = session_id.replace(":", "-")
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}.{suffix}"'})


@router.patch(
    "/chat/session/{session_id}", responses=_WITH_BODY | describe(400, 507), response_model_exclude_unset=True
)
async def rename(session_id: SessionId, body: TitleBody, client: Client, owner: Owner) -> HistoryAnswer:
    """Gives a session another title."""
    await asyncio.to_thread(client.sessions.rename, session_id, body.title, owner=owner)
    return HistoryAnswer(**await _session(client, owner, session_id))


@router.delete("/chat/session/{session_id}", responses=_OFTEN | describe(409))
async def delete(session_id: SessionId, client: Client, owner: Owner) -> DeletedAnswer:
    """Forgets a session."""
    await asyncio.to_thread(client.sessions.delete, session_id, owner=owner)
    return DeletedAnswer(id=session_id)


async def _session(client: LLMClient, owner: str, session_id: str) -> dict[str, Any]:
    return session_dict(await asyncio.to_thread(client.sessions.get, session_id, owner=owner))
