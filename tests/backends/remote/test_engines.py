"""Engines that come and go, and which of several gets a request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from llm_core.client import LLMClient
from llm_core.errors import EngineUnreachable
from tests.backends.fake_engine import MODEL, FakeEngine, refuses, reply, streams
from tests.waiting import free_port, wait_until

HELLO = [{"role": "user", "content": "Hello"}]

MakeClient = Callable[..., LLMClient]


def of_both(make_client: MakeClient, *engines: FakeEngine) -> LLMClient:
    """A client that has seen all of the engines answer."""
    client = make_client(*engines)
    client.wait_ready(60)
    wait_until(lambda: "Left out" not in client.status().message, "all answer")
    return client


class TestSeveral:
    def test_each_request_goes_to_the_engine_with_the_least_to_do(
        self, engine: FakeEngine, second_engine: FakeEngine, make_client: MakeClient
    ) -> None:
        client = of_both(make_client, engine, second_engine)
        for each in (engine, second_engine):
            each.answers = [streams([], end="wait")]
        streams_open = [client.chat_stream(HELLO) for _ in range(6)]
        for events in streams_open:
            next(events)

        assert (len(engine.asked), len(second_engine.asked)) == (3, 3)
        for events in streams_open:
            events.close()

    def test_one_that_is_down_is_left_out_until_it_is_back(
        self, engine: FakeEngine, second_engine: FakeEngine, make_client: MakeClient
    ) -> None:
        client = of_both(make_client, engine, second_engine)
        engine.kill()

        for _ in range(4):
            assert client.chat(HELLO).content == "Hello there"
        assert len(second_engine.asked) == 4
        assert "Left out" in client.status().message

        engine.start()
        wait_until(lambda: "Left out" not in client.status().message, "it is back")
        for _ in range(4):
            client.chat(HELLO)
        assert engine.asked

    def test_one_that_fails_hands_over_at_once(
        self, engine: FakeEngine, second_engine: FakeEngine, make_client: MakeClient
    ) -> None:
        client = of_both(make_client, engine, second_engine)
        # Who waited for as long as that would never end.
        engine.answers = second_engine.answers = [refuses(429, Retry_After="4000")]
        second_engine.answers = [streams(reply("Hi"))]

        assert {client.chat(HELLO).content for _ in range(3)} == {"Hi"}


class TestBeingThere:
    def test_the_model_is_what_the_engine_says(self, client: LLMClient) -> None:
        info = client.wait_ready(60)

        assert (info.name, info.context_train, info.path) == (MODEL, 4096, None)
        assert client.status().state == "ready"

    def test_an_engine_that_is_not_there_yet_is_waited_for(
        self, make_client: MakeClient, engine: FakeEngine, impatient: None
    ) -> None:
        engine.kill()
        client = make_client(engine)
        client.start()

        with pytest.raises(EngineUnreachable, match="cannot be reached"):
            client.wait_ready(60)
        assert (client.status().state, client.stats()) == ("loading", None)
        with pytest.raises(EngineUnreachable):
            client.chat(HELLO)

        engine.start()
        wait_until(lambda: client.status().state == "ready", "the engine has answered")
        assert client.wait_ready(60).name == MODEL
        assert client.chat(HELLO).content == "Hello there"

    def test_nobody_at_the_address(self, make_client: MakeClient, quick: None, impatient: None) -> None:
        client = make_client(f"http://127.0.0.1:{free_port()}")

        with pytest.raises(EngineUnreachable, match="No engine answers"):
            client.generate(HELLO)

    def test_what_is_in_flight_is_counted(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams([], end="wait")]
        with closing(client.chat_stream(HELLO)) as events:
            next(events)
            stats = client.stats()
            assert stats is not None
            assert stats.running == 1
        wait_until(lambda: getattr(client.stats(), "running", 1) == 0, "it is over")
