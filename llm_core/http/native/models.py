"""The doorway of models: which there are, and, for who may, fetch, load, unload and remove them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse

from llm_core.access.problems import describe
from llm_core.backends.catalog import CatalogEntry
from llm_core.errors import InvalidRequest, ModelError
from llm_core.http.bodies import DeletedAnswer, FetchBody, ModelAnswer, ModelsAnswer
from llm_core.http.given import ADMIN, Client
from llm_core.http.shapes import event_stream
from llm_core.http.sse import sse
from llm_core.models.downloads import Download
from llm_core.models.search import MAX_FOUND, MAX_QUERY_CHARS, models_of, search_hub
from llm_core.models.source import parse_source

_REFUSED = describe(401, 403, 404, 422)
Name = Annotated[str, Path(max_length=200, description="A name or an alias")]
_EXAMPLE = 'data: {"source":"hf:…","state":"fetching","progress":0.42,"message":"…","seconds_left":12.5}\n\n'
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; the last one has the state `done`, `failed` or `cancelled`",
        "content": event_stream({"type": "object"}, _EXAMPLE, numbered=False),
    }
}

router = APIRouter(prefix="/api/llm", tags=["models"])


@router.get("/models", responses=describe(401))
async def list_models(client: Client) -> ModelsAnswer:
    """All models: those that are served, the default one first, those on this machine, and what is being fetched."""
    return ModelsAnswer(models=[_answer(each) for each in await asyncio.to_thread(client.catalog.entries)])


@router.post(
    "/models", responses=_REFUSED | _STREAM | describe(400), response_class=StreamingResponse, dependencies=[ADMIN]
)
async def fetch(body: FetchBody, client: Client) -> StreamingResponse:
    """Fetches a model of the Hub, and serves it from then on. The events tell how far it is; the download goes on
    without a reader, and asking again comes back to it, or goes on where it was broken off."""
    download = client.catalog.fetch(body.source)
    return StreamingResponse(_progress(download), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@router.get("/hub", responses=_REFUSED | describe(400, 503), dependencies=[ADMIN])
async def search(
    query: Annotated[str, Query(max_length=MAX_QUERY_CHARS)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 20,
) -> list[dict[str, Any]]:
    """Repositories of the Hub that have models, those with the most downloads first."""
    return [asdict(each) for each in await asyncio.to_thread(search_hub, query, limit=limit)]


@router.get("/hub/{owner}/{repo}", responses=_REFUSED | describe(400, 503), dependencies=[ADMIN])
async def search_files(owner: str, repo: str) -> list[dict[str, Any]]:
    """The models of one repository, the smallest first; what is in `source` can be fetched."""
    try:
        parse_source(f"hf:{owner}/{repo}")
    except ModelError as error:
        raise InvalidRequest(error.message, param="repo") from None
    found = await asyncio.to_thread(models_of, f"{owner}/{repo}")
    return [asdict(each) | {"source": str(each.source)} for each in found]


@router.get("/models/{name}", responses=describe(401, 404))
async def one_model(name: Name, client: Client) -> ModelAnswer:
    """One model."""
    return _answer(await asyncio.to_thread(client.catalog.entry, name))


@router.post("/models/{name}/load", responses=_REFUSED | describe(503), dependencies=[ADMIN])
async def load(name: Name, client: Client) -> ModelAnswer:
    """Begins to load a model that is here; requests may name it at once."""
    member = await asyncio.to_thread(client.catalog.load, name)
    return _answer(await asyncio.to_thread(client.catalog.entry, member.name))


@router.post("/models/{name}/unload", responses=_REFUSED, dependencies=[ADMIN])
async def unload(name: Name, client: Client) -> ModelAnswer:
    """Frees a model's memory, when the replies that it makes have ended. It comes back when it is asked."""
    await asyncio.to_thread(client.catalog.unload, name)
    return _answer(await asyncio.to_thread(client.catalog.entry, name))


@router.delete("/models/{name}", responses=_REFUSED | describe(400), dependencies=[ADMIN])
async def remove(name: Name, client: Client) -> DeletedAnswer:
    """Stops a download, whose part is kept; or removes a model's files."""
    await asyncio.to_thread(client.catalog.remove, name)
    return DeletedAnswer(id=name)


async def _progress(download: Download) -> AsyncGenerator[str]:
    async for status in iterate_in_threadpool(download.follow()):
        yield sse(asdict(status))


def _answer(entry: CatalogEntry) -> ModelAnswer:
    info = entry.info
    facts = {} if info is None else {name: getattr(info, name) for name in ModelAnswer.FACTS}
    own = {name: getattr(entry, name) for name in ModelAnswer.model_fields if hasattr(entry, name)}
    return ModelAnswer(**own | facts)
