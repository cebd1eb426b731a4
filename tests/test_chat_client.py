"""Every client has the same methods, sync and async, and no other than the one class has."""

from __future__ import annotations

import inspect

import pytest

from llm_core.chat_client import ChatClient
from llm_core.client import LLMClient
from llm_core.mqtt import MQTTChatClient

CLIENTS = [LLMClient, MQTTChatClient]
METHODS = sorted(name for name in vars(ChatClient) if not name.startswith("_") and hasattr(ChatClient, f"a{name}"))
ITS_OWN = {"session_history", "delete_session"}  # how they are done; their arguments are everyone's


def test_there_are_methods_for_text_events_and_sessions() -> None:
    assert {"generate", "generate_stream", "chat", "chat_stream", "chat_session", "chat_session_stream"} < {*METHODS}
    assert {*METHODS} > ITS_OWN
    public = {name for name in vars(ChatClient) if not name.startswith("_")}
    assert public == {*METHODS, *(f"a{name}" for name in METHODS)}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_and_its_async_twin_take_the_same(name: str) -> None:
    sync, twin = (inspect.signature(getattr(ChatClient, each)) for each in (name, f"a{name}"))
    assert sync.parameters == twin.parameters


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", METHODS)
def test_every_client_has_it_from_the_one_class(client: type[ChatClient], name: str) -> None:
    assert getattr(client, f"a{name}") is getattr(ChatClient, f"a{name}")
    if name in ITS_OWN:
        assert inspect.signature(getattr(client, name)) == inspect.signature(getattr(ChatClient, name))
    else:
        assert getattr(client, name) is getattr(ChatClient, name)
