"""The seam: what the client does with a backend, whichever it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.completion_request import AnyRequest
from llm_core.errors import LLMError
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.reading import Sink
from llm_core.request import ChatRequest
from llm_core.sessions.live import LiveReply
from llm_core.settings import Settings
from tests.scripted_backend import Script, ScriptedBackend, ScriptedEvent, ScriptedSubmission
from tests.waiting import wait_until

STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
END = Done("stop", Usage(3, 0, 2), Timings())


def client_of(backend: ScriptedBackend) -> LLMClient:
    return LLMClient(Settings(database_url="sqlite://"), backend=backend)


def test_a_backend_is_put_in_and_closed_with_the_client() -> None:
    backend = ScriptedBackend(lambda _request, _stopped: [Queued(0), ContentDelta("Hel"), ContentDelta("lo"), END])
    with client_of(backend) as client:
        assert client.wait_ready().name == "scripted"
        assert client.generate(STORY) == "Hello"
        assert asyncio.run(client.agenerate(STORY)) == "Hello"
    assert [request.messages[-1].content for request in backend.requests] == [STORY[0]["content"]] * 2
    assert backend.is_closed


def test_an_event_of_a_module_that_was_loaded_again_says_what_happened() -> None:
    before: Any = type("Queued", (), {})()
    backend = ScriptedBackend(lambda _request, _stopped: [before])
    with client_of(backend) as client, pytest.raises(LLMError, match="Restart Python"):
        client.generate(STORY)


class Held(ScriptedBackend):
    """Takes a request when it may, in a thread that its caller may have left by then."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def submit(self, request: AnyRequest, sink: Sink[ScriptedEvent]) -> ScriptedSubmission:
        self.begun.set()
        assert self.may_go_on.wait(30)
        return super().submit(request, sink)


def until_stopped(_request: ChatRequest, stopped: threading.Event) -> Iterator[ChatEvent]:
    yield Queued(0)
    stopped.wait(30)


@pytest.mark.parametrize("way", ["reply", "session"])
async def test_a_reader_who_leaves_while_the_request_is_handed_in_leaves_none_behind(way: str) -> None:
    backend = Held(until_stopped)
    with client_of(backend) as client:
        task = asyncio.create_task(client.achat(STORY) if way == "reply" else client.achat_session("left", "Hi"))
        await asyncio.to_thread(backend.begun.wait, 30)
        task.cancel()
        backend.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        await asyncio.to_thread(wait_until, lambda: len(backend.submissions) == 1, "it is handed in")
        assert await asyncio.to_thread(backend.submissions[0].stopped.wait, 30)


async def test_a_reader_who_leaves_while_a_session_is_opened_leaves_no_reply_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = ScriptedBackend(until_stopped)
    with client_of(backend) as client:
        begin, begun, may_go_on = client.sessions.begin, threading.Event(), threading.Event()

        def held(*arguments: Any, **options: Any) -> LiveReply:
            begun.set()
            assert may_go_on.wait(30)
            return begin(*arguments, **options)

        monkeypatch.setattr(client.sessions, "begin", held)
        task = asyncio.create_task(client.achat_session("left", "Hi"))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_go_on.set()
        await asyncio.to_thread(wait_until, lambda: len(backend.submissions) == 1, "it is handed in")
        assert await asyncio.to_thread(backend.submissions[0].stopped.wait, 30)


def test_a_stop_while_the_request_is_handed_in_stops_it() -> None:
    backend, cancellation = Held(until_stopped), Cancellation()
    with client_of(backend) as client, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.chat, STORY, cancellation=cancellation)
        assert backend.begun.wait(30)
        cancellation.cancel()
        backend.may_go_on.set()
        assert reply.result(30).finish_reason == "cancelled"


def test_a_stream_that_fails_before_its_first_event_leaves_no_request_behind() -> None:
    backend = ScriptedBackend(until_stopped)
    with client_of(backend) as client:
        client.watch(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        with pytest.raises(ZeroDivisionError):
            client.chat(STORY)
        assert backend.submissions[0].stopped.is_set()
