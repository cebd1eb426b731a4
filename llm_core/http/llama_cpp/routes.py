"""llama-server's routes about texts and tokens, in its shapes: `/tokenize`, `/detokenize` and `/apply-template`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from llm_core.access.problems import describe
from llm_core.backends.vocabulary import Token
from llm_core.client import LLMClient
from llm_core.http.dialect import in_their_words
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_chat.routes import CompletionBody
from llm_core.messages import Text
from llm_core.request import ModelName, TokenIds


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    model: ModelName | None = Field(None, description="Whose vocabulary, by name or alias; left out, the first one's")


class TextBody(_Given):
    """A text."""

    content: Text
    add_special: bool = Field(False, description="With what the model puts around each text, such as BOS")
    parse_special: bool = Field(False, description="`<|im_start|>` and the like become control tokens")
    with_pieces: bool = Field(False, description="Each token with its text, or with its bytes where they are none")


class TokensBody(_Given):
    """Tokens."""

    tokens: TokenIds


class Piece(BaseModel):
    """A token and its text, or its bytes."""

    id: int
    piece: str | list[int]


class TokensAnswer(BaseModel):
    """The tokens of a text."""

    tokens: list[int] | list[Piece]


class TextAnswer(BaseModel):
    """The text of tokens."""

    content: str


class PromptAnswer(BaseModel):
    """The prompt of a conversation, without BOS."""

    prompt: str


_REFUSED = describe(400, 401, 404, 413, 422, 429, 503)

router = APIRouter(tags=["llama-server"])


@router.post("/tokenize", responses=_REFUSED, dependencies=[ADMITTED])
async def tokenize(body: TextBody, client: Client) -> TokensAnswer:
    """The tokens of a text."""
    await ready(client, body.model)
    return await asyncio.to_thread(_tokenized, client, body)


@router.post("/detokenize", responses=_REFUSED, dependencies=[ADMITTED])
async def detokenize(body: TokensBody, client: Client) -> TextAnswer:
    """The text of tokens, with the names of control tokens."""
    await ready(client, body.model)
    content = await asyncio.to_thread(lambda: client.vocabulary(body.model or "").detokenize(body.tokens))
    return TextAnswer(content=content)


@router.post("/apply-template", responses=_REFUSED, dependencies=[ADMITTED])
async def apply_template(body: CompletionBody, client: Client, owner: Owner) -> PromptAnswer:
    """The prompt that the model's template makes of a conversation; nothing is generated."""
    await ready(client, body.model)
    messages = [message.as_message() for message in body.messages]
    with in_their_words(body.model_extra or {}):
        options: dict[str, Any] = body.options() | {"owner": owner}
        return PromptAnswer(prompt=await asyncio.to_thread(client.apply_template, messages, **options))


def _tokenized(client: LLMClient, body: TextBody) -> TokensAnswer:
    vocabulary = client.vocabulary(body.model or "")
    tokens = vocabulary.tokenize(body.content, add_special=body.add_special, parse_special=body.parse_special)
    if body.with_pieces:
        return TokensAnswer(tokens=[Piece(id=each.id, piece=_piece(each)) for each in tokens])
    return TokensAnswer(tokens=[each.id for each in tokens])


def _piece(token: Token) -> str | list[int]:
    try:
        return token.data.decode()
    except UnicodeDecodeError:
        return list(token.data)
