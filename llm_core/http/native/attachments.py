"""The doorway of files: one comes in as bytes, and goes back as text with its count of tokens. None is kept."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from llm_core.access.problems import describe
from llm_core.attachments.reading import MAX_FILE_BYTES, read_attachment
from llm_core.attachments.rendering import rendered
from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, LLMError
from llm_core.http.bodies import AttachmentAnswer
from llm_core.http.given import ADMITTED, Client
from llm_core.messages import MAX_FILE_NAME_CHARS, Attachment
from llm_core.request import ModelName

_CHARS_A_TOKEN = 4  # of most languages in Latin letters
# A page of any other site could send what browsers take for a form or for plain text: they ask for no leave.
_TYPE = "application/octet-stream"
_WRONG_TYPE = f'The header Content-Type must be {_TYPE}: curl sends it with -H "Content-Type: {_TYPE}".'
_FILE = {
    "requestBody": {
        "required": True,
        "content": {_TYPE: {"schema": {"type": "string", "format": "binary", "maxLength": MAX_FILE_BYTES}}},
    }
}

router = APIRouter(prefix="/api/llm", tags=["chat"])


@router.post(
    "/attachments",
    responses=describe(400, 401, 404, 413, 422, 429),
    dependencies=[ADMITTED],
    openapi_extra=_FILE,
)
async def read(
    request: Request,
    client: Client,
    name: Annotated[str, Query(min_length=1, max_length=MAX_FILE_NAME_CHARS, description="Of the file")],
    model: Annotated[ModelName | None, Query(description="Whose tokens are counted; left out, the first one")] = None,
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
) -> AttachmentAnswer:
    """The text of a file, to be sent with a message: of a PDF, a Word document (docx), or anything that is text."""
    if content_type.partition(";")[0].strip().lower() != _TYPE:
        raise InvalidRequest(_WRONG_TYPE, param="Content-Type")
    client.models.member(model or "")
    data = await request.body()
    attachment = await asyncio.to_thread(read_attachment, name, data)
    tokens = await asyncio.to_thread(_count, client, model or "", attachment)
    is_estimate = tokens is None
    tokens = -(-len(attachment.text) // _CHARS_A_TOKEN) if tokens is None else tokens
    return AttachmentAnswer(attachment=attachment, tokens=tokens, is_estimate=is_estimate)


def _count(client: LLMClient, model: str, attachment: Attachment) -> int | None:
    """What it takes of the context; None where nobody can say now. No model is loaded for that."""
    if client.models.member(model).state != "ready":
        return None
    try:
        vocabulary = client.vocabulary(model)
        return len(vocabulary.tokenize(rendered([attachment], ""), add_special=False, parse_special=False))
    except LLMError:
        return None
