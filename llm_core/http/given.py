"""What a route is given: the client, who asks, leave to ask, and a model that is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from llm_core.access.admins import check_admin
from llm_core.access.gate import owner_of
from llm_core.access.limits import CallerLimit
from llm_core.backends.backend import LoadStatus
from llm_core.backends.member import Member
from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.errors import ModelLoading

PATIENCE_SECONDS = 15.0  # longer than the bundled model takes; a download takes minutes


def give(app: FastAPI, client: LLMClient, rate_limit: CallerLimit) -> None:
    """Sets what the routes of `app` are given."""
    app.state.client, app.state.rate_limit, app.state.streams = client, rate_limit, {}


# None of these is a plain function, for which FastAPI would change threads.
async def _client(request: Request) -> LLMClient:
    client: LLMClient = request.app.state.client
    return client


async def _owner(request: Request) -> str:
    return owner_of(request)


async def _admit(request: Request) -> None:
    request.app.state.rate_limit.check_caller(request)


async def _streams(request: Request) -> dict[str, tuple[str, Cancellation]]:
    streams: dict[str, tuple[str, Cancellation]] = request.app.state.streams
    return streams


async def _may_administer(request: Request) -> None:
    check_admin(request, request.app.state.client.settings)


Client = Annotated[LLMClient, Depends(_client)]
Owner = Annotated[str, Depends(_owner)]
Streams = Annotated[dict[str, tuple[str, Cancellation]], Depends(_streams)]
"""The streams of replies outside of sessions: id to owner and a way to stop it."""

ADMITTED = Depends(_admit)
"""For routes that ask the model: refuses a caller who has asked too often."""

ADMIN = Depends(_may_administer)
"""For routes that change the models: refuses who may not."""


async def ready(client: LLMClient, model: str | None = None) -> None:
    """Waits for the default model; the reader of another one is told while it is waited for.

    Raises:
        ModelNotFound: There is no model of that name.
        ModelLoading: That takes longer than a caller waits.
        ModelError, SettingsError: It cannot be loaded.
    """
    if client.models.member(model or "") is not client.models.members[0] or client.status().state == "ready":
        return
    await _in_time(client.await_ready(), "The model", client.status)


async def loaded_in_time(client: LLMClient, member: Member) -> None:
    """Loads a model. Raises as `ready` does."""
    loading = asyncio.wrap_future(client.models.loaded(member.name))
    await _in_time(asyncio.shield(loading), member.name, member.status)


async def _in_time(loading: Awaitable[object], name: str, status: Callable[[], LoadStatus]) -> None:
    try:
        await asyncio.wait_for(loading, PATIENCE_SECONDS)
    except TimeoutError:
        said = f"{name} is not ready yet. {status().message}"
        raise ModelLoading(said, retry_after=PATIENCE_SECONDS) from None
