"""Responses that are kept: gone on from, also after a restart; in the background; conversations; whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from llm_core.client import LLMClient
from llm_core.errors import ModelError
from llm_core.events import ChatEvent, Loading
from llm_core.sessions import upkeep
from tests.http.openai_responses.test_responses import QUESTION, WEATHER, streamed
from tests.scripted import CALL_PARIS, TWO_CALLS, saying
from tests.served import loaded_client, served
from tests.waiting import is_idle, wait_until

ENDLESS: dict[str, Any] = {
    "model": "any",
    "input": "Tell me a very long story about the sea.",
    "max_output_tokens": 700,
    "extra_body": {"logit_bias": {"2": -100}},
}
SHORT: dict[str, Any] = {"model": "any", "max_output_tokens": 12}


@contextmanager
def running_app(folder: Path, **settings: Any) -> Iterator[tuple[openai.OpenAI, LLMClient]]:
    with (
        loaded_client(folder, **settings) as client,
        served(client) as url,
        openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0) as ai,
    ):
        yield ai, client


def cached(response: Response) -> int:
    assert response.usage is not None
    return response.usage.input_tokens_details.cached_tokens


def prompt_tokens(response: Response) -> int:
    assert response.usage is not None
    return response.usage.input_tokens


# ── counting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_response_would_read_is_counted(ai: openai.OpenAI) -> None:
    first = ai.responses.create(input="My name is Ada.", instructions="Be brief.", tools=[WEATHER], **SHORT)
    talk = ai.conversations.create(items=[{"role": "user", "content": "My name is Ada."}])
    asked: list[dict[str, Any]] = [
        {"input": "My name is Ada.", "instructions": "Be brief.", "tools": [WEATHER]},
        {"input": "What is my name?", "previous_response_id": first.id},
        {"input": "What is my name?", "conversation": talk.id},
    ]
    for each in asked:
        counted = ai.responses.input_tokens.count(model="any", **each)
        assert counted.object == "response.input_tokens"
        assert counted.input_tokens == prompt_tokens(ai.responses.create(**SHORT, **each)), each
    with pytest.raises(openai.BadRequestError, match="input"):
        ai.responses.input_tokens.count(model="any")
    with pytest.raises(openai.NotFoundError):
        ai.responses.input_tokens.count(model="any", input="Hi", conversation="conv_of_nobody")


# ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_response_goes_on_from_another_and_reads_only_what_is_new(ai: openai.OpenAI, client: LLMClient) -> None:
    first = ai.responses.create(input="My name is Ada. " * 10, **SHORT)
    second = ai.responses.create(input="What is my name?", previous_response_id=first.id, **SHORT)
    third = ai.responses.create(input="Say it again.", previous_response_id=second.id, **SHORT)

    assert second.previous_response_id == first.id
    assert prompt_tokens(third) > prompt_tokens(second) > prompt_tokens(first)
    assert cached(second) >= prompt_tokens(first)
    assert cached(third) >= prompt_tokens(second)
    beside = ai.responses.create(input="What is my last name?", previous_response_id=first.id, **SHORT)
    assert cached(beside) >= prompt_tokens(first), "in a copy too"
    session = client.sessions.get(first.id)
    assert [f"resp_{turn.stream_id}" for turn in session.turns] == [first.id, second.id, third.id]


def test_what_was_said_is_there_after_a_restart(tmp_path: Path) -> None:
    with running_app(tmp_path) as (ai, _):
        first = ai.responses.create(input="My name is Ada. " * 10, instructions="Be brief.", **SHORT)
        kept = ai.responses.retrieve(first.id)
    with running_app(tmp_path) as (ai, client):
        again = ai.responses.retrieve(first.id)
        with saying(client, "Ada.") as script:
            second = ai.responses.create(input="What is my name?", previous_response_id=first.id, **SHORT)

        assert kept.model_dump() == again.model_dump() == first.model_dump()
        assert second.output_text == "Ada."
        assert "My name is Ada." in script.prompts[0]
        assert first.output_text in script.prompts[0]
        assert "Be brief." not in script.prompts[0], "instructions are of one response"


@pytest.mark.parametrize("is_kept", [True, False])
def test_an_earlier_response_is_gone_on_from_beside_what_followed_it(
    ai: openai.OpenAI, client: LLMClient, is_kept: bool
) -> None:
    first = ai.responses.create(input="The sea is deep. " * 10, **SHORT)
    second = ai.responses.create(input="One way.", previous_response_id=first.id, **SHORT)
    with saying(client, "Beside.") as script:
        beside = ai.responses.create(input="Another way.", previous_response_id=first.id, store=is_kept, **SHORT)
        onward = ai.responses.create(input="And on.", previous_response_id=second.id, store=is_kept, **SHORT)

    assert ["One way." in prompt for prompt in script.prompts] == [False, True]
    assert all("The sea is deep." in prompt for prompt in script.prompts)
    assert ai.responses.retrieve(second.id).output_text == second.output_text
    if is_kept:
        assert client.sessions.get(beside.id).messages()[-1].content == "Beside."
        assert [item.id for item in ai.responses.input_items.list(beside.id)] != []
        assert ai.responses.retrieve(onward.id).output_text == "Beside."


def test_two_that_follow_one_response_at_once_are_both_made(ai: openai.OpenAI, client: LLMClient) -> None:
    first = ai.responses.create(input="The sea.", **SHORT)
    two = [ai.responses.create(previous_response_id=first.id, background=True, **ENDLESS) for _ in range(2)]

    assert all(ai.responses.cancel(each.id).status == "cancelled" for each in two)


def test_results_of_calls_go_on_from_the_response_that_called(ai: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, TWO_CALLS, "Both cold.") as script:
        called = ai.responses.create(input=QUESTION, tools=[WEATHER], **SHORT)
        calls = [item for item in called.output if item.type == "function_call"]
        results: list[Any] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"{number} degrees"}
            for number, call in enumerate(calls)
        ]
        with pytest.raises(openai.BadRequestError, match="is missing") as refused:
            ai.responses.create(input=results[:1], previous_response_id=called.id, tools=[WEATHER], **SHORT)
        items = [*results, {"role": "user", "content": "In short?"}]
        answered = ai.responses.create(input=items, previous_response_id=called.id, tools=[WEATHER], **SHORT)

    assert refused.value.param == "input"
    assert answered.output_text == "Both cold."
    assert all(said in script.prompts[-1] for said in ("0 degrees", "1 degrees", "In short?"))
    listed = ai.responses.input_items.list(answered.id, order="asc").data
    assert [item.type for item in listed] == ["function_call_output", "function_call_output", "message"]


def test_an_item_can_be_named_in_place_of_being_sent(ai: openai.OpenAI, client: LLMClient) -> None:
    first = ai.responses.create(input="The sea is deep.", **SHORT)
    (asked,) = ai.responses.input_items.list(first.id).data
    named: Any = [{"type": "item_reference", "id": asked.id}, {"id": first.output[0].id}]
    with saying(client, "Yes.") as script:
        ai.responses.create(input=[*named, {"role": "user", "content": "So?"}], **SHORT)

    assert "The sea is deep." in script.prompts[0]
    assert first.output_text in script.prompts[0]


def test_a_response_that_is_not_kept_leaves_nothing_behind(ai: openai.OpenAI, client: LLMClient) -> None:
    before = client.sessions.list()
    response = ai.responses.create(input=QUESTION, store=False, **SHORT)

    assert response.store is False  # type: ignore[attr-defined]
    assert client.sessions.list() == before
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(response.id)


def test_a_response_that_the_engine_refuses_leaves_nothing_behind(ai: openai.OpenAI, client: LLMClient) -> None:
    first = ai.responses.create(input="The sea.", **SHORT)
    ai.responses.create(input="On.", previous_response_id=first.id, **SHORT)
    before = client.sessions.list()
    for background in (False, True):
        with pytest.raises(openai.BadRequestError, match="tokens"):
            ai.responses.create(input="long " * 3000, previous_response_id=first.id, background=background, **SHORT)

    assert client.sessions.list() == before


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_response_is_gone_and_those_that_go_on_from_it_stay(ai: openai.OpenAI, client: LLMClient) -> None:
    first = ai.responses.create(input="The sea is deep.", **SHORT)
    second = ai.responses.create(input="On.", previous_response_id=first.id, **SHORT)
    ai.responses.delete(first.id)

    for ask in (ai.responses.retrieve, ai.responses.delete, ai.responses.cancel, ai.responses.input_items.list):
        with pytest.raises(openai.NotFoundError, match=first.id):
            ask(first.id)  # type: ignore[operator]
    with pytest.raises(openai.NotFoundError, match=first.id):
        ai.responses.create(input="On.", previous_response_id=first.id, **SHORT)
    assert ai.responses.create(input="On.", previous_response_id=second.id, store=False, **SHORT).output
    assert "The sea is deep." in [message.content for message in client.sessions.get(first.id).messages()]
    ai.responses.delete(second.id)
    assert first.id not in [each.session_id for each in client.sessions.list()], "nothing of them is left"


# ── in the background ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_response_is_made_in_the_background_and_read_again_from_any_event_on(
    ai: openai.OpenAI, client: LLMClient
) -> None:
    queued = ai.responses.create(input=QUESTION, background=True, **SHORT)
    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    with ai.responses.retrieve(queued.id, stream=True) as stream:
        events = list(stream)
    whole = ai.responses.retrieve(queued.id)

    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert whole.status == "completed"
    assert events[-1].response.model_dump() == whole.model_dump()  # type: ignore[union-attr]
    for after in (0, 4, len(events) - 2, len(events) - 1):
        with ai.responses.retrieve(queued.id, stream=True, starting_after=after) as stream:
            assert [event.model_dump() for event in stream] == [event.model_dump() for event in events[after + 1 :]]


def test_events_have_the_same_numbers_after_a_restart(tmp_path: Path) -> None:
    with running_app(tmp_path) as (ai, _):
        events = streamed(ai, input=QUESTION, background=True, max_output_tokens=8)
    with running_app(tmp_path) as (ai, _):
        again = list(ai.responses.retrieve(events[0].response.id, stream=True, starting_after=5))

    assert [event.model_dump() for event in again] == [event.model_dump() for event in events[6:]]


def test_a_background_response_goes_on_when_its_reader_has_left(tmp_path: Path) -> None:
    with running_app(tmp_path, resume_seconds=0) as (ai, client):
        asked = ENDLESS | {"max_output_tokens": 120}
        with ai.responses.create(background=True, stream=True, **asked) as stream:
            created = next(stream)
        assert created.type == "response.created"
        wait_until(lambda: is_idle(client), "the reply is made", seconds=120)
        retrieve = ai.responses.retrieve
        wait_until(lambda: retrieve(created.response.id).status != "in_progress", "it is kept", seconds=60)
        whole = retrieve(created.response.id)

    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 120


def test_a_background_response_is_stopped_by_who_cancels_it(ai: openai.OpenAI, client: LLMClient) -> None:
    running = ai.responses.create(background=True, **ENDLESS)
    wait_until(lambda: bool(ai.responses.retrieve(running.id).output), "there is some text")
    assert ai.responses.retrieve(running.id).output[-1].status == "in_progress"  # type: ignore[union-attr]
    with ai.responses.retrieve(running.id, stream=True) as stream:
        next(stream)
        cancelled = ai.responses.cancel(running.id)
        last = list(stream)[-1]

    assert is_idle(client)
    assert (cancelled.status, bool(cancelled.output_text)) == ("cancelled", True)
    assert last.response.model_dump() == cancelled.model_dump()  # type: ignore[union-attr]
    assert ai.responses.cancel(running.id).model_dump() == cancelled.model_dump(), "once more changes nothing"
    assert ai.responses.retrieve(running.id).status == "cancelled"


def test_a_response_whose_server_was_killed_has_failed_and_keeps_what_was_saved(
    ai: openai.OpenAI, client: LLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = ai.responses.create(background=True, **ENDLESS)
    wait_until(lambda: bool(ai.responses.retrieve(running.id).output), "there is some text")
    monkeypatch.setattr(upkeep, "is_gone", lambda *_: True)
    failed = ai.responses.retrieve(running.id)

    assert failed.status == "failed"
    assert failed.output_text
    assert failed.output[-1].status == "incomplete"  # type: ignore[union-attr]
    assert failed.error is not None
    assert "The server ended" in failed.error.message
    wait_until(lambda: is_idle(client), "the reply that nobody keeps is stopped")


def test_what_was_told_of_stays_though_its_model_cannot_be_loaded(
    ai: openai.OpenAI, client: LLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_of = Event()

    def fail(*_: Any) -> Iterator[ChatEvent]:
        yield Loading("It is loaded.", 0.1)
        assert told_of.wait(60)
        raise ModelError("It cannot be loaded.")

    monkeypatch.setattr(client.sessions, "_generate", fail)
    queued = ai.responses.create(input=QUESTION, background=True, **SHORT)
    told_of.set()
    wait_until(lambda: ai.responses.retrieve(queued.id).status != "in_progress", "it has failed")
    failed = ai.responses.retrieve(queued.id)

    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.message == "It cannot be loaded."


# ── conversations ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_keeps_what_its_responses_say(ai: openai.OpenAI, client: LLMClient) -> None:
    begun: Any = [{"role": "user", "content": "The sea is deep."}, {"role": "assistant", "content": "It is."}]
    conversation = ai.conversations.create(items=begun, metadata={"topic": "sea"})
    with saying(client, CALL_PARIS, "Cold.") as script:
        called = ai.responses.create(input="Paris?", conversation=conversation.id, tools=[WEATHER], **SHORT)
        result: Any = {"type": "function_call_output", "call_id": called.output[0].call_id, "output": "2"}  # type: ignore[union-attr]
        ai.responses.create(input=[result], conversation={"id": conversation.id}, tools=[WEATHER], **SHORT)

    assert called.conversation is not None
    assert called.conversation.id == conversation.id
    assert "The sea is deep." in script.prompts[0]
    items = list(ai.conversations.items.list(conversation.id, order="asc", limit=2))
    kinds = ["message", "message", "message", "function_call", "function_call_output", "message"]
    assert [item.type for item in items] == kinds
    assert [item.id for item in ai.conversations.items.list(conversation.id)] == [item.id for item in reversed(items)]
    assert ai.conversations.items.retrieve(items[3].id or "", conversation_id=conversation.id) == items[3]
    added = ai.conversations.items.create(conversation.id, items=[{"role": "user", "content": "More."}])
    assert ai.conversations.items.list(conversation.id, limit=1).data == added.data
    assert ai.conversations.retrieve(conversation.id).metadata == {"topic": "sea"}
    assert ai.conversations.update(conversation.id, metadata={"topic": "land"}).metadata == {"topic": "land"}
    assert ai.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError, match=conversation.id):
        ai.conversations.retrieve(conversation.id)


def test_the_newest_item_can_be_taken_back_one_after_the_other(ai: openai.OpenAI, client: LLMClient) -> None:
    conversation = ai.conversations.create(items=[{"role": "user", "content": "The sea is deep."}])
    with saying(client, f"<think>Hm.</think>I look.\n{TWO_CALLS}"):
        made = ai.responses.create(input="Weather?", conversation=conversation.id, tools=[WEATHER], **SHORT)

    def kinds() -> list[str]:
        return [each.type for each in ai.conversations.items.list(conversation.id, order="asc")]

    all_kinds = ["message", "message", "reasoning", "message", "function_call", "function_call"]
    assert kinds() == all_kinds
    oldest = ai.conversations.items.list(conversation.id, order="asc").data[0].id or ""
    with pytest.raises(openai.BadRequestError, match="only the newest item") as refused:
        ai.conversations.items.delete(oldest, conversation_id=conversation.id)
    assert refused.value.param == "item_id"
    for left in range(len(all_kinds) - 1, -1, -1):
        newest = ai.conversations.items.list(conversation.id, limit=1).data[0].id or ""
        assert ai.conversations.items.delete(newest, conversation_id=conversation.id).id == conversation.id
        assert kinds() == all_kinds[:left]
        with pytest.raises(openai.NotFoundError, match="no item"):
            ai.conversations.items.delete(newest, conversation_id=conversation.id)

    assert ai.responses.retrieve(made.id).output == made.output, "what was set aside is still what was answered"
    with saying(client, "Well.") as script:
        ai.responses.create(input="Anew.", conversation=conversation.id, **SHORT)
    assert "sea" not in script.prompts[0]


def test_a_session_is_a_conversation(ai: openai.OpenAI, client: LLMClient) -> None:
    client.chat_session("trip", "My name is Ada.", system_prompt="You are a pirate.", max_tokens=4)
    with saying(client, "Ada.") as script:
        ai.responses.create(input="What is my name?", conversation="trip", **SHORT)
        ai.responses.create(input="And now?", conversation="trip", instructions="Be a cook.", **SHORT)

    assert "You are a pirate." in script.prompts[0]
    assert "My name is Ada." in script.prompts[0]
    assert "You are a pirate." not in script.prompts[1]
    assert client.sessions.get("trip").system_prompt == "You are a pirate."
    assert [message.content for message in client.session_history("trip")][-1] == "Ada."


def test_a_conversation_has_one_response_at_a_time(ai: openai.OpenAI) -> None:
    conversation = ai.conversations.create(items=[])
    running = ai.responses.create(background=True, conversation=conversation.id, **ENDLESS)
    with pytest.raises(openai.ConflictError) as refused:
        ai.responses.create(input="Hi", conversation=conversation.id, **SHORT)
    assert refused.value.code == "conversation_locked"
    with pytest.raises(openai.ConflictError):
        ai.conversations.items.create(conversation.id, items=[{"role": "user", "content": "More."}])
    with pytest.raises(openai.ConflictError):
        ai.responses.delete(running.id)

    ai.responses.cancel(running.id)


# ── whose they are ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_anothers_does_not_exist(tmp_path: Path) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(loaded_client(tmp_path, api_tokens="ann:ann-secret,bob:bob-secret"))
        url = stack.enter_context(served(client))
        ann, bob = (
            stack.enter_context(openai.OpenAI(base_url=f"{url}v1", api_key=f"{name}-secret", max_retries=0))
            for name in ("ann", "bob")
        )
        hers = ann.responses.create(input="A secret.", background=True, **SHORT)
        conversation = ann.conversations.create(items=[{"role": "user", "content": "A secret."}])
        item = ann.conversations.items.list(conversation.id).data[0].id or ""
        asked = [
            lambda: bob.responses.retrieve(hers.id),
            lambda: bob.responses.retrieve(hers.id, stream=True),
            lambda: bob.responses.cancel(hers.id),
            lambda: bob.responses.delete(hers.id),
            lambda: bob.responses.input_items.list(hers.id),
            lambda: bob.responses.create(input="Hi", previous_response_id=hers.id, **SHORT),
            lambda: bob.responses.create(input="Hi", previous_response_id=hers.id, store=False, **SHORT),
            lambda: bob.responses.create(input="Hi", conversation=conversation.id, **SHORT),
            lambda: bob.conversations.retrieve(conversation.id),
            lambda: bob.conversations.update(conversation.id, metadata={}),
            lambda: bob.conversations.delete(conversation.id),
            lambda: bob.conversations.items.list(conversation.id),
            lambda: bob.conversations.items.create(conversation.id, items=[{"role": "user", "content": "x"}]),
            lambda: bob.conversations.items.retrieve(item, conversation_id=conversation.id),
            lambda: bob.conversations.items.delete(item, conversation_id=conversation.id),
        ]
        for ask in asked:
            with pytest.raises(openai.NotFoundError):
                ask()
        with pytest.raises(openai.BadRequestError):
            bob.responses.create(input=[{"type": "item_reference", "id": item}], **SHORT)

        assert not client.sessions.list(owner="name:bob")
        assert ann.responses.retrieve(hers.id).id == hers.id


def test_a_response_that_nobody_has_is_404_whatever_it_is_called(url: str) -> None:
    for name in ("resp_1", "x", f"resp_{'0' * 32}", f"msg_{'0' * 32}"):
        answer = httpx.get(f"{url}/responses/{name}")
        error = answer.json()["error"]
        assert answer.status_code == 404
        assert (error["code"], error["message"]) == ("response_not_found", f"There is no response {name!r}.")
    assert httpx.get(f"{url}/conversations/%00").json()["error"]["code"] == "conversation_not_found"
