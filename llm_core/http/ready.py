"""Waits for the model as long as a caller over HTTP would."""

from __future__ import annotations

import asyncio

from llm_core.client import LLMClient
from llm_core.errors import ModelLoading
from llm_core.models.info import ModelInfo

PATIENCE_SECONDS = 15.0  # longer than the bundled model takes; a download takes minutes


async def ready(client: LLMClient) -> ModelInfo:
    """What the model is, once it is loaded.

    Raises:
        ModelLoading: That takes longer than a caller waits.
        ModelError, SettingsError: It cannot be loaded.
    """
    if client.status().state == "ready":
        return client.wait_ready(0)
    try:
        return await asyncio.wait_for(client.await_ready(), PATIENCE_SECONDS)
    except TimeoutError:
        said = f"The model is not ready yet. {client.status().message}"
        raise ModelLoading(said, retry_after=PATIENCE_SECONDS) from None
