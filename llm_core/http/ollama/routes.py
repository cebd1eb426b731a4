"""Ollama's API, so that its clients can talk to the models and look after them: `/api`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import JSONResponse, Response

from llm_core.access.admins import check_admin
from llm_core.access.problems import OllamaProblemBody, describe, ollama_problem
from llm_core.backends.member import Member
from llm_core.client import LLMClient
from llm_core.errors import ModelError, ModelNotFound
from llm_core.events import ChatEvent
from llm_core.http.dialect import in_their_words
from llm_core.http.given import ADMIN, ADMITTED, Client, Owner, loaded_in_time, ready
from llm_core.http.ndjson import ObjectStream, ndjson
from llm_core.http.ollama.answer import Answer, chat_words, generate_words
from llm_core.http.ollama.bodies import FIELDS, GenerateBody, ModelBody, OllamaChatBody, PullBody
from llm_core.http.ollama.models import asked_name, find_entry, listed, loaded, pulled_source, shown
from llm_core.http.shapes import OBJECT
from llm_core.http.whole import unless_reader_leaves
from llm_core.models.downloads import Download, DownloadStatus

VERSION = "0.13.0"  # of Ollama's API that is spoken: some clients look whether it is new enough
_NOT_DONE = "{path} is not done here. Models come from the Hugging Face Hub, by POST /api/pull, as they are."


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "description": "One JSON object; with `stream`, which is the default, one a line",
            "content": {
                **OBJECT,
                "application/x-ndjson": {"itemSchema": {"type": "object"}, "example": ndjson(example)},
            },
        }
    }


_CHATTED = _answers({"model": "…", "created_at": "…", "message": {"role": "assistant", "content": "Hi"}, "done": False})
_GENERATED = _answers({"model": "…", "created_at": "…", "response": "Hi", "done": False})
_PULLED = _answers({"status": "pulling …", "digest": "…", "total": 1000, "completed": 420})
_REFUSED = describe(400, 401, 403, 404, 413, 429, 503, 504, body=OllamaProblemBody)
_MODEL_REFUSED = describe(400, 401, 404, 413, body=OllamaProblemBody)
_ADMIN_REFUSED = _MODEL_REFUSED | describe(403, 503, body=OllamaProblemBody)

router = APIRouter(prefix="/api", tags=["Ollama"])


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/chat", responses=_CHATTED | _REFUSED, dependencies=[ADMITTED])
async def chat(body: OllamaChatBody, request: Request, client: Client, owner: Owner) -> Response:
    """Ollama's chat. Without messages the model is loaded, or with `keep_alive` 0 unloaded."""
    return await _reply(Answer(chat_words), body, request, client, owner)


@router.post("/generate", responses=_GENERATED | _REFUSED, dependencies=[ADMITTED])
async def generate(body: GenerateBody, request: Request, client: Client, owner: Owner) -> Response:
    """Ollama's reply to a prompt. Without one the model is loaded, or with `keep_alive` 0 unloaded."""
    return await _reply(Answer(generate_words), body, request, client, owner)


async def _reply(
    answer: Answer, body: OllamaChatBody | GenerateBody, request: Request, client: LLMClient, owner: str
) -> Response:
    name = await asyncio.to_thread(asked_name, client, body.model)
    messages, options = body.conversation(), body.chat_options() | {"model": name, "owner": owner}
    if not messages:
        return JSONResponse(await _load_or_unload(answer, body, request, client.models.member(name), client))
    await ready(client, name)
    answer.model = client.models.member(name).name  # as it is called once it is loaded
    with in_their_words({}, FIELDS):
        if body.stream is False:
            work = client.achat(messages, **options)
            return await unless_reader_leaves(request, work, lambda reply: JSONResponse(answer.whole(reply)))
        return await _stream(answer, client.achat_stream(messages, **options)).begun()


def _stream(answer: Answer, events: AsyncGenerator[ChatEvent]) -> ObjectStream[ChatEvent]:
    return ObjectStream(events, lambda event: ndjson(*answer.objects(event)), _failed)


def _failed(error: Exception) -> str:
    return ndjson(ollama_problem(error)[1])


async def _load_or_unload(
    answer: Answer, body: OllamaChatBody | GenerateBody, request: Request, member: Member, client: LLMClient
) -> dict[str, Any]:
    if body.unloads:
        check_admin(request, client.settings)
        await asyncio.to_thread(client.catalog.unload, member.name)
    else:
        await loaded_in_time(client, member)
    answer.model = member.name
    return answer.only("unload" if body.unloads else "load")


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/version")
async def version() -> dict[str, str]:
    """The version of Ollama's API that is spoken."""
    return {"version": VERSION}


@router.get("/tags", responses=describe(401, body=OllamaProblemBody))
async def tags(client: Client) -> dict[str, Any]:
    """The models that can be asked."""
    return {"models": await asyncio.to_thread(listed, client)}


@router.get("/ps", responses=describe(401, body=OllamaProblemBody))
async def running(client: Client) -> dict[str, Any]:
    """The models that are loaded."""
    return {"models": await asyncio.to_thread(loaded, client)}


@router.post("/show", responses=_MODEL_REFUSED)
async def show(body: ModelBody, client: Client) -> dict[str, Any]:
    """What is known of a model."""
    return shown(await asyncio.to_thread(find_entry, client, body.named()))


@router.delete("/delete", responses=_ADMIN_REFUSED, dependencies=[ADMIN])
async def delete(body: ModelBody, client: Client) -> Response:
    """Stops a download, or removes a model's files."""
    entry = await asyncio.to_thread(find_entry, client, body.named())
    await asyncio.to_thread(client.catalog.remove, entry.name)
    return Response()


@router.post("/pull", responses=_PULLED | _ADMIN_REFUSED, dependencies=[ADMIN])
async def pull(body: PullBody, request: Request, client: Client) -> Response:
    """Fetches a model of the Hub. It goes on without a reader; asked again, it goes on where it was broken off."""
    name = body.named()
    if await asyncio.to_thread(_is_here, client, name):
        return JSONResponse({"status": "success"})
    download = client.catalog.fetch(pulled_source(name))
    if body.stream is not False:
        return await ObjectStream(_statuses(download), _progress, _failed).begun()
    return await unless_reader_leaves(request, _ended(download), lambda _: JSONResponse({"status": "success"}))


def _is_here(client: LLMClient, name: str) -> bool:
    try:
        return find_entry(client, name).state not in ("absent", "fetching")
    except ModelNotFound:
        return False


async def _ended(download: Download) -> None:
    async for _ in _statuses(download):
        pass


async def _statuses(download: Download) -> AsyncGenerator[DownloadStatus]:
    """
    Raises:
        ModelError: It has failed, or was stopped.
    """
    async for status in iterate_in_threadpool(download.follow()):
        if status.state in ("failed", "cancelled"):
            raise ModelError(status.message)
        yield status


def _progress(status: DownloadStatus) -> str:
    """Ollama's clients know the parts of a file and not a share of it: here there are a thousand of them."""
    if status.state == "done":
        return ndjson({"status": "success"})
    if not status.progress:
        return ndjson({"status": "pulling manifest"})
    done = round(status.progress * 1000)
    return ndjson({"status": f"pulling {status.source}", "digest": status.source, "total": 1000, "completed": done})


# ── what is not done ─────────────────────────────────────────────────────────────────────────────────────────────────


async def _not_done(request: Request) -> Response:
    return JSONResponse({"error": _NOT_DONE.format(path=request.url.path)}, 501)


for _path in ("/copy", "/create", "/push"):
    router.add_api_route(_path, _not_done, methods=["POST"], include_in_schema=False)
