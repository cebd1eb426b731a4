"""A server with two callers, and Gradio's client of one of them."""

from __future__ import annotations

from collections.abc import Iterator

import gradio_client
import pytest

from llm_core.client import LLMClient
from tests.served import loaded_client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    with loaded_client(
        tmp_path_factory.mktemp("data"),
        api_tokens="ann:ann-secret,bob:bob-secret",
    ) as client:
        yield client


def connect(url: str, token: str) -> gradio_client.Client:
    return gradio_client.Client(url, headers={"Authorization": f"Bearer {token}"}, verbose=False)


@pytest.fixture(scope="module")
def ann(url: str) -> gradio_client.Client:
    return connect(url, "ann-secret")
