"""OpenAI's conversations, to which responses belong: each is a session, and each session is one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from llm_core.access.problems import describe
from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, StreamNotFound
from llm_core.http.dialect import in_their_words
from llm_core.http.given import Client, Owner
from llm_core.http.openai_responses import kept
from llm_core.http.openai_responses.bodies import FIELDS, Metadata
from llm_core.http.openai_responses.items import ITEM, JSON, Input, Item, items_of, listed, messages_of, whole_list
from llm_core.http.openai_responses.routes import Part
from llm_core.messages import MAX_MESSAGES, Message
from llm_core.sessions.records import Session
from llm_core.sessions.store import title_of

_UNNAMED = "Conversation"
_KEPT = describe(400, 401, 404, 409, 503)
_WRITTEN = _KEPT | describe(413, 507)
ConversationId = Annotated[str, Path(max_length=128)]

router = APIRouter(prefix="/v1/conversations", tags=["OpenAI"])


class MetadataBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: Metadata | None = None


class ConversationBody(MetadataBody):
    """What a new conversation begins with."""

    items: Annotated[list[Item], Field(max_length=MAX_MESSAGES)] | None = None


class ItemsBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    items: Input


@router.post("", responses=_WRITTEN)
async def create_conversation(client: Client, owner: Owner, body: ConversationBody) -> JSON:
    """Begins a conversation."""
    conversation_id = f"conv_{uuid.uuid4().hex}"
    opening = await _opening(client, owner, body.items) if body.items else ()
    title = title_of(next((message.content for message in opening if message.role == "user"), "")) or _UNNAMED
    note = {"metadata": body.metadata or {}}
    await asyncio.to_thread(client.sessions.turns.begin_session, owner, conversation_id, title, note)
    if opening:
        await asyncio.to_thread(client.sessions.turns.add, owner, conversation_id, opening)
    return await _conversation(client, owner, conversation_id)


@router.get("/{conversation_id}", responses=_KEPT)
async def get_conversation(conversation_id: ConversationId, client: Client, owner: Owner) -> JSON:
    """A conversation."""
    return await _conversation(client, owner, conversation_id)


@router.post("/{conversation_id}", responses=_WRITTEN)
async def update_conversation(
    conversation_id: ConversationId, body: MetadataBody, client: Client, owner: Owner
) -> JSON:
    """Gives a conversation other metadata."""
    note = {"metadata": body.metadata or {}}
    with kept.conversation_named(conversation_id) as session_id:
        await asyncio.to_thread(client.sessions.turns.set_note, owner, session_id, note)
    return await _conversation(client, owner, conversation_id)


@router.delete("/{conversation_id}", responses=_KEPT)
async def delete_conversation(conversation_id: ConversationId, client: Client, owner: Owner) -> JSON:
    """Forgets a conversation and all that was said in it."""
    with kept.conversation_named(conversation_id) as session_id:
        await asyncio.to_thread(client.sessions.delete, session_id, owner=owner)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.get("/{conversation_id}/items", responses=_KEPT)
async def list_items(conversation_id: ConversationId, client: Client, owner: Owner, part: Part) -> JSON:
    """What was said in a conversation."""
    return listed(_items(await _session(client, owner, conversation_id)), part)


@router.post("/{conversation_id}/items", responses=_WRITTEN)
async def add_items(conversation_id: ConversationId, body: ItemsBody, client: Client, owner: Owner) -> JSON:
    """Adds what was said elsewhere."""
    await _session(client, owner, conversation_id)
    opening = await _opening(client, owner, body.items)
    stream_id = await asyncio.to_thread(client.sessions.turns.add, owner, conversation_id, opening)
    return whole_list(items_of(opening, stream_id))


@router.get("/{conversation_id}/items/{item_id}", responses=_KEPT)
async def get_item(
    conversation_id: ConversationId, item_id: Annotated[str, Path(max_length=128)], client: Client, owner: Owner
) -> JSON:
    """One item of a conversation."""
    items = _items(await _session(client, owner, conversation_id))
    found = next((item for item in items if item["id"] == item_id), None)
    if found is None:
        raise StreamNotFound(f"There is no item {item_id!r} in this conversation.")
    return found


@router.delete("/{conversation_id}/items/{item_id}", responses=_WRITTEN)
async def delete_item(
    conversation_id: ConversationId, item_id: Annotated[str, Path(max_length=128)], client: Client, owner: Owner
) -> JSON:
    """Takes back the newest item of a conversation. What its turn has before it is a turn of its own then, whose items
    have new ids; the turn is set aside, and is still a response to go on from."""
    session = await _session(client, owner, conversation_id)
    newest = (_items(session) or [{"id": None}])[-1]["id"]
    if item_id != newest:
        await get_item(conversation_id, item_id, client, owner)
        said = f"item_id: only the newest item can be deleted, which is {newest!r}; list the items again after each"
        raise InvalidRequest(said, param="item_id")
    turn = session.turns[-1]
    rest = messages_of(map(ITEM.validate_python, items_of(turn.messages, turn.stream_id)[:-1]))
    await asyncio.to_thread(client.sessions.turns.cut, owner, session, rest)
    return await _conversation(client, owner, conversation_id)


async def _session(client: LLMClient, owner: str, conversation_id: str) -> Session:
    return await asyncio.to_thread(kept.find_conversation, client.sessions, owner, conversation_id)


async def _conversation(client: LLMClient, owner: str, conversation_id: str) -> JSON:
    session = await _session(client, owner, conversation_id)
    note = await asyncio.to_thread(client.sessions.turns.note_of, owner, conversation_id)
    about = {"created_at": int(session.created_at), "metadata": note.get("metadata", {})}
    return {"id": conversation_id, "object": "conversation"} | about


async def _opening(client: LLMClient, owner: str, items: Iterable[Item]) -> tuple[Message, ...]:
    with in_their_words({}, FIELDS | {"input": "items"}):
        return await asyncio.to_thread(kept.opening_of, client.sessions, owner, items)


def _items(session: Session) -> list[JSON]:
    return [item for turn in session.turns for item in items_of(turn.messages, turn.stream_id)]
