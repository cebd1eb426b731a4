"""OpenAI's own client, unmodified, against the routes on the real model."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from llm_core.client import LLMClient
from tests.served import loaded_client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    with loaded_client(tmp_path_factory.mktemp("data"), max_tokens=24) as client:
        yield client


@pytest.fixture(scope="module")
def url(url: str) -> str:
    """Base URL of OpenAI's routes."""
    return f"{url}v1"


@pytest.fixture(scope="module")
def ai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client
