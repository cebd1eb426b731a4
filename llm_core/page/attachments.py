"""Files of messages on the page: how a browser names them, and what is shown of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from llm_core.attachments.reading import MAX_FILE_BYTES
from llm_core.client import LLMClient
from llm_core.errors import SessionChanged
from llm_core.messages import MAX_ATTACHED_CHARS, MAX_ATTACHMENT_CHARS, MAX_ATTACHMENTS, Attachment, Message
from llm_core.page.answers import Answer, Command, StreamId, answering
from llm_core.sessions.sessions import Sessions

LIMITS = {
    "files": MAX_ATTACHMENTS,
    "bytes": MAX_FILE_BYTES,
    "chars": MAX_ATTACHMENT_CHARS,
    "all_chars": MAX_ATTACHED_CHARS,
}
"""What the page's script refuses by itself."""

Place = Annotated[int, Field(ge=0, lt=MAX_ATTACHMENTS)]


class Kept(BaseModel):
    """A file of a turn of this conversation, which is there already.

    Attributes:
        stream: Of the turn.
        place: Among its files.
    """

    model_config = ConfigDict(extra="forbid")

    stream: StreamId
    place: Place


class Preview(Command):
    """What is in a file of a turn."""

    stream: StreamId
    place: Place


class ShownAttachment(TypedDict):
    """A file as the browser has it: without its text, which it asks for."""

    name: str
    media_type: str
    chars: int


def shown_attachments(message: Message) -> list[ShownAttachment]:
    return [
        {"name": file.name, "media_type": file.media_type, "chars": len(file.text)}
        for file in message.attachments or ()
    ]


def chosen(files: Iterable[Attachment | Kept], sessions: Sessions, conversation: str, visitor: str) -> list[Attachment]:
    """The files of a message that is sent.

    Raises:
        SessionChanged: One is not kept any more.
    """
    return [
        _kept(sessions, conversation, file.stream, file.place, visitor) if isinstance(file, Kept) else file
        for file in files
    ]


def _kept(sessions: Sessions, conversation: str, stream: str, place: int, visitor: str) -> Attachment:
    files = sessions.attachments(conversation, stream, owner=visitor)
    if place >= len(files):
        raise SessionChanged("This file is not there any more. Attach it again.")
    return files[place]


class AttachmentCommands:
    """The commands of files, of all visitors."""

    def __init__(self, client: LLMClient) -> None:
        self._sessions = client.sessions

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {"attached_text": answering(self._text, Preview)}

    async def _text(self, asked: Preview, visitor: str, _connection: HTTPConnection) -> Any:
        of = self._sessions, asked.conversation, asked.stream, asked.place, visitor
        return {"text": (await asyncio.to_thread(_kept, *of)).text}
