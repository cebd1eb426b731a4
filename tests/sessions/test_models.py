"""A session goes on with the model that it was last asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from llm_core.backends.pool import Pool
from llm_core.client import LLMClient
from llm_core.errors import ModelNotFound
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.models.served import ServedModel
from llm_core.request import ChatRequest
from llm_core.sessions.export import session_dict, to_markdown
from llm_core.settings import Settings
from tests.scripted_backend import ScriptedBackend


def say(request: ChatRequest, _stopped: Event) -> Iterable[ChatEvent]:
    yield Queued(0)
    yield ContentDelta("Hello.")
    yield Done("stop", Usage(), Timings())


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMClient]:
    """Two models, scripted."""

    def make(settings: Settings, *_: Any) -> Pool:
        served = [ServedModel(source="a.gguf", name="first"), ServedModel(source="b.gguf", name="second")]
        return Pool(served, settings, lambda _settings, _room: ScriptedBackend(say))

    monkeypatch.setattr("llm_core.client.pool_of", make)
    with LLMClient(Settings(database_url=f"sqlite:///{tmp_path}/s.db", data_dir=tmp_path)) as client:
        yield client


def test_a_session_goes_on_with_the_model_that_it_was_last_asked_for(client: LLMClient) -> None:
    said = [client.chat_session("s", "Hi", **options).model for options in ({}, {"model": "second"}, {}, {})]

    assert said == ["first", "second", "second", "second"]
    assert client.sessions.get("s").model == "second"
    assert client.chat_session("other", "Hi").model == "first"
    assert client.chat_session("s", "Hi", model="first").model == "first"


def test_history_and_export_say_which_model_made_each_reply(client: LLMClient) -> None:
    client.chat_session("s", "Hi")
    client.chat_session("s", "Hi", model="second")
    session = client.sessions.get("s")

    assert [turn.done.model for turn in session.turns if turn.done] == ["first", "second"]
    assert [message.get("model") for message in session_dict(session)["messages"]] == [None, "first", None, "second"]
    assert "<small>second</small>" in to_markdown(session)


def test_a_model_that_is_not_served_any_more_is_no_reason_to_refuse(client: LLMClient) -> None:
    client.chat_session("s", "Hi", model="second")
    client.models.remove("second")

    assert client.chat_session("s", "Hi").model == "first"


def test_a_model_that_is_not_there_is_refused_and_nothing_is_said(client: LLMClient) -> None:
    with pytest.raises(ModelNotFound):
        client.chat_session("s", "Hi", model="third")
    assert client.sessions.list() == ()
