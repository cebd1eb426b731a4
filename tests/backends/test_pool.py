"""Several models in one process: each answers as itself, and they share the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.engine.llama.model import Model
from llm_core.engine.turns import Turns
from llm_core.errors import InvalidRequest, ModelError, ModelNotFound, QueueFull, TimedOut
from llm_core.events import ChatEvent, ContentDelta, Done, Loading, Queued
from llm_core.settings import Settings
from llm_core.structured_output import constraint
from tests.engine.conftest import sliding_window_path as sliding_window_path
from tests.waiting import wait_until

SMOL, GEMMA = "SmolLM2-135M-Instruct", "gemma-3-270m"
MIB = 1 << 20
BOUND_MB = 380  # enough for each of the two, and not for both
HELLO = [{"role": "user", "content": "Say hello."}]

pytestmark = pytest.mark.local_engine


@pytest.fixture
def both(sliding_window_path: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of two real models, each of which takes less than 600 MiB with these."""
    return {
        "model": f"bundled, {sliding_window_path}",
        "parallel": 2,
        "context_tokens": 512,
        "kv_host_mb": 0,
        "system_prompt": "",
        "data_dir": tmp_path,
    }


@pytest.fixture
def two(both: dict[str, Any]) -> Iterator[LLMClient]:
    with LLMClient(Settings(**both)) as client:
        yield client


@pytest.fixture
def one_at_a_time(both: dict[str, Any]) -> Iterator[LLMClient]:
    """A bound that holds either of them, and not both."""
    with LLMClient(Settings(**both, memory_mb=BOUND_MB)) as client:
        yield client


def ask(client: LLMClient, model: str, **options: Any) -> list[ChatEvent]:
    return list(client.chat_stream(HELLO, **{"model": model, "temperature": 0, "max_tokens": 8} | options))


def end_of(events: list[ChatEvent]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def test_two_models_answer_at_once_each_as_itself(two: LLMClient) -> None:
    with ThreadPoolExecutor(2) as pool:
        smol, gemma = pool.map(lambda name: ask(two, name), (SMOL, GEMMA))

    assert [end_of(events).model for events in (smol, gemma)] == [SMOL, GEMMA]
    texts = ["".join(each.text for each in events if isinstance(each, ContentDelta)) for events in (smol, gemma)]
    assert all(texts)
    assert len(set(texts)) == 2
    assert [member.state for member in two.models.members] == ["ready", "ready"]


@pytest.mark.parametrize("is_idle", [True, False])
def test_tables_that_would_hold_up_running_streams_are_made_when_they_are_needed(
    two: LLMClient, is_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Model] = []
    real = constraint._readable
    monkeypatch.setattr(constraint, "_readable", lambda model: (made.append(model), real(model))[1])
    monkeypatch.setattr(Turns, "is_idle", property(lambda _: is_idle))

    two.models.start(GEMMA).result()

    assert len(made) == is_idle
    reply = "".join(
        each.text
        for each in ask(two, GEMMA, response_format={"type": "json_object"}, max_tokens=40)
        if isinstance(each, ContentDelta)
    )
    assert reply.startswith("{")
    assert len(made) == 1


def test_what_names_no_model_goes_to_the_first_one(two: LLMClient) -> None:
    assert two.chat(HELLO, max_tokens=1).model == SMOL
    assert two.models.member(GEMMA).state == "absent"


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(two: LLMClient) -> None:
    with pytest.raises(ModelNotFound, match=f"'gpt-4' is not here. There is: {SMOL}, {GEMMA}"):
        two.chat(HELLO, model="gpt-4")


def test_the_one_model_answers_to_any_name(tmp_path: Path) -> None:
    with LLMClient(Settings(parallel=1, context_tokens=512, data_dir=tmp_path)) as client:
        assert client.chat(HELLO, model="gpt-4", max_tokens=1).model == SMOL


def test_a_reader_is_told_how_far_the_model_is_and_then_of_the_queue(two: LLMClient) -> None:
    events = ask(two, GEMMA)
    kinds = [type(event) for event in events]

    assert kinds[0] is Loading
    assert kinds.index(Queued) > max(place for place, kind in enumerate(kinds) if kind is Loading)
    assert Loading not in {type(event) for event in ask(two, GEMMA)}


def test_what_a_model_refuses_is_refused_after_it_was_waited_for(two: LLMClient) -> None:
    with pytest.raises(InvalidRequest, match="511 tokens"):
        ask(two, GEMMA, overflow="error", tools=[{"name": "long", "description": "word " * 3000, "parameters": {}}])
    assert end_of(ask(two, GEMMA)).finish_reason == "length"


def test_a_request_that_waits_for_its_model_can_be_stopped(two: LLMClient) -> None:
    cancellation = Cancellation()
    events = two.chat_stream(HELLO, model=GEMMA, cancellation=cancellation)
    assert isinstance(next(events), Loading)
    cancellation.cancel()

    assert end_of(list(events)).finish_reason == "cancelled"


def test_a_model_that_is_not_ready_in_time_ends_the_request(two: LLMClient) -> None:
    with two.models._memory._loading, pytest.raises(TimedOut, match="not ready in the time"):
        ask(two, GEMMA, timeout=0.3)


def test_no_more_requests_wait_for_a_model_than_it_may_have(both: dict[str, Any]) -> None:
    with LLMClient(Settings(**both | {"parallel": 1, "queue_limit": 1})) as client:
        with client.models._memory._loading:
            waiting = [client.chat_stream(HELLO, model=GEMMA, max_tokens=1) for _ in range(2)]
            assert [type(next(events)) for events in waiting] == [Loading, Loading]
            with pytest.raises(QueueFull, match=f"wait for {GEMMA} already"):
                ask(client, GEMMA)
        assert [end_of(list(events)).model for events in waiting] == [GEMMA, GEMMA]
        assert end_of(ask(client, GEMMA)).model == GEMMA


def test_a_switch_in_the_middle_of_ten_replies_loses_none_and_never_exceeds_the_memory(
    one_at_a_time: LLMClient,
) -> None:
    one_at_a_time.wait_ready()
    process = psutil.Process()
    before, most, over = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = threading.Barrier(11)

    def reply(_number: int) -> Done:
        events = one_at_a_time.chat_stream(HELLO, max_tokens=24, temperature=0)
        first = next(events)
        begun.wait(120)
        return end_of([first, *events])

    with ThreadPoolExecutor(10) as pool:
        replies = [pool.submit(reply, number) for number in range(10)]
        begun.wait(120)
        switched = end_of(ask(one_at_a_time, GEMMA))
        ended = [each.result() for each in replies]
    over.set()
    watcher.join()

    assert {each.model for each in ended} == {SMOL}
    assert {each.finish_reason for each in ended} <= {"length", "stop"}
    assert switched.model == GEMMA
    assert [member.state for member in one_at_a_time.models.members] == ["absent", "ready"]
    assert most < BOUND_MB * MIB
    assert sum(member.reserved for member in one_at_a_time.models.members) <= BOUND_MB * MIB
    assert end_of(ask(one_at_a_time, SMOL)).model == SMOL  # and back


def test_what_cannot_fit_is_refused_with_what_to_do(both: dict[str, Any]) -> None:
    with LLMClient(Settings(**both, memory_mb=240)) as client:
        assert client.chat(HELLO, max_tokens=1).model == SMOL
        with pytest.raises(ModelError, match=f"{GEMMA}.gguf needs .* of memory .* are there. Choose a smaller"):
            ask(client, GEMMA)
        assert client.models.member(SMOL).state == "ready"  # it has not left for nothing


def test_a_model_that_nobody_asks_for_leaves_and_comes_back(both: dict[str, Any]) -> None:
    with LLMClient(Settings(**both, model_idle_minutes=0.005)) as client:
        assert client.chat(HELLO, max_tokens=1).model == SMOL
        wait_until(lambda: client.models.member().state == "absent", "it has left")

        assert client.status().state == "ready"  # as far as callers are concerned
        assert client.chat(HELLO, max_tokens=1).model == SMOL


@pytest.mark.parametrize(
    "ask_it", [lambda client: client.count_tokens(HELLO), lambda client: client.models.loaded().result()]
)
def test_who_asks_a_model_that_is_leaving_gets_an_answer_when_it_is_back(
    two: LLMClient, ask_it: Callable[[LLMClient], object]
) -> None:
    events = two.chat_stream(HELLO, max_tokens=200, logit_bias={2: -100})
    wait_until(lambda: isinstance(next(events), ContentDelta), "a reply is made")
    leaving = threading.Thread(target=two.models.unload, args=(SMOL,), daemon=True)
    leaving.start()
    wait_until(lambda: two.models.default.is_leaving, "it leaves when the reply has ended")

    assert two.wait_ready(30).name == SMOL  # what it is, is known
    answers: list[object] = []
    threading.Thread(target=lambda: answers.append(ask_it(two)), daemon=True).start()
    events.close()
    leaving.join()
    wait_until(lambda: bool(answers), "it is answered")
    assert two.models.default.state == "ready"


def test_each_model_has_its_own_settings(both: dict[str, Any], sliding_window_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        f"models: [{{source: bundled, max_tokens: 2}}, {{source: {sliding_window_path}, name: gem, max_tokens: 3}}]"
    )
    with LLMClient(Settings(**both | {"models": path, "temperature": 0})) as client:
        told = [client.chat(HELLO, model=name).usage.completion_tokens for name in (SMOL, "gem")]

    assert told == [2, 3]
