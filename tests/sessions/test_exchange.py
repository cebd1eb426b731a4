"""Calls and results in a session: what is kept of them, who may answer which, and what the model is told of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.cancellation import Cancellation
from llm_core.errors import InvalidRequest, SequenceFailed, SessionBusy, SessionNotFound
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import MAX_CALLS, Message, parse_messages
from llm_core.request import ChatRequest
from llm_core.sessions import exchange
from llm_core.sessions.exchange import prompt_messages, reply_messages
from llm_core.sessions.export import session_dict, to_markdown
from llm_core.sessions.records import Turn, TurnStatus
from llm_core.sessions.sessions import Sessions

from .conftest import DONE, user

Make = Callable[..., Sessions]
Events = Sequence[ChatEvent]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
CALLED = Done("tool_calls", DONE.usage, DONE.timings)


def call(call_id: str, arguments: str = PARIS, index: int = 0) -> list[ChatEvent]:
    """A call as it comes: its head, then its arguments in two pieces."""
    middle = len(arguments) // 2
    return [
        ToolCallDelta(index, call_id, "weather"),
        ToolCallDelta(index, arguments=arguments[:middle]),
        ToolCallDelta(index, arguments=arguments[middle:]),
    ]


def answer(call_id: str, content: str = "12 °C") -> dict[str, Any]:
    return {"tool_call_id": call_id, "content": content}


class Scripted:
    """A model whose replies are given, one for each turn; an error in place of `Done` is raised."""

    def __init__(self, *replies: Sequence[ChatEvent | Exception]) -> None:
        self.requests: list[ChatRequest] = []
        self._replies = iter(replies)

    def __call__(self, request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        self.requests.append(request)
        yield Queued(0)
        for event in next(self._replies):
            if isinstance(event, Exception):
                raise event
            yield event

    def told(self) -> list[tuple[str, str, list[str], str | None]]:
        """What the model was told last: role, text, ids of calls, and the call that it answers."""
        return [shape(message) for message in self.requests[-1].messages]


def shape(message: Message) -> tuple[str, str, list[str], str | None]:
    calls = [each.id for each in message.tool_calls or ()]
    return message.role, message.content, calls, message.tool_call_id


def say(sessions: Sessions, message: str | None = None, **options: Any) -> None:
    with suppress(SequenceFailed):
        list(sessions.begin("s", message, tools=[WEATHER], **options).events())


# ── the exchange ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_is_kept_and_with_its_result_the_next_turn_is_told_both(make_sessions: Make) -> None:
    model = Scripted(
        [ReasoningDelta("Hm."), ContentDelta("Let me look."), *call("one"), *call("two", ROME, 1), CALLED],
        [ContentDelta("12 and 20."), DONE],
        [ContentDelta("You are welcome."), DONE],
    )
    sessions = make_sessions(model)

    say(sessions, "Paris and Rome?")
    say(sessions, tool_results=[answer("two", "20 °C"), answer("one", "12 °C")])
    exchanged = [
        ("user", "Paris and Rome?", [], None),
        ("assistant", "Let me look.", ["one", "two"], None),
        ("tool", "12 °C", [], "one"),
        ("tool", "20 °C", [], "two"),
    ]
    assert model.told() == exchanged
    say(sessions, "Thanks")
    assert model.told() == [*exchanged, ("assistant", "12 and 20.", [], None), ("user", "Thanks", [], None)]

    first, second, _ = sessions.get("s").turns
    assert (first.status, first.finish_reason) == ("complete", "tool_calls")
    assert [each.arguments for each in first.messages[-1].tool_calls or ()] == [PARIS, ROME]
    assert first.messages[-1].reasoning == "Hm."
    assert [message.role for message in second.messages] == ["tool", "tool", "assistant"]
    assert sessions.list()[0].title == "Paris and Rome?"


def test_what_is_kept_is_the_same_for_another_process(make_sessions: Make) -> None:
    sessions = make_sessions(Scripted([*call("one"), CALLED], [ContentDelta("Mild."), DONE]))
    say(sessions, "Paris?")
    say(sessions, tool_results=[answer("one")])

    assert make_sessions(Scripted()).get("s") == sessions.get("s")


def test_tools_that_run_in_this_process_leave_calls_and_results_in_one_turn(make_sessions: Make) -> None:
    model = Scripted(
        [
            *[ContentDelta("First Paris."), *call("one"), ToolResult("one", "weather", "12 °C")],
            *[Queued(0), ContentDelta("Now Rome."), *call("two", ROME), ToolResult("two", "weather", "20 °C")],
            *[Queued(0), ContentDelta("12 and 20."), DONE],
        ],
        [DONE],
    )
    sessions = make_sessions(model)
    say(sessions, "Paris and Rome?")
    say(sessions, "Thanks")

    assert model.told() == [
        ("user", "Paris and Rome?", [], None),
        ("assistant", "First Paris.", ["one"], None),
        ("tool", "12 °C", [], "one"),
        ("assistant", "Now Rome.", ["two"], None),
        ("tool", "20 °C", [], "two"),
        ("assistant", "12 and 20.", [], None),
        ("user", "Thanks", [], None),
    ]


@pytest.mark.parametrize("end", [Done("cancelled", DONE.usage, DONE.timings), SequenceFailed("It failed.")])
def test_a_call_that_was_cut_short_is_not_kept_and_the_text_before_it_is(make_sessions: Make, end: Any) -> None:
    head, beginning, _ = call("two", ROME, 1)
    sessions = make_sessions(Scripted([ContentDelta("Let me look."), *call("one"), head, beginning, end]))
    say(sessions, "Paris and Rome?")

    assert [shape(message) for message in sessions.get("s").messages()] == [
        ("user", "Paris and Rome?", [], None),
        ("assistant", "Let me look.", ["one"], None),
    ]


def test_a_reply_that_was_nothing_but_half_a_call_leaves_no_message(make_sessions: Make) -> None:
    head, beginning, _ = call("one")
    sessions = make_sessions(Scripted([head, beginning, Done("length", DONE.usage, DONE.timings)]))
    say(sessions, "Paris?")

    assert [message.role for message in sessions.get("s").messages()] == ["user"]


@pytest.mark.parametrize("calls", [[ToolCallDelta(0, "one", "")], [*call("x" * 129)]], ids=["nameless", "long id"])
def test_a_call_that_no_message_can_have_does_not_take_the_reply_along(make_sessions: Make, calls: Events) -> None:
    sessions = make_sessions(Scripted([ContentDelta("Let me look."), *calls, CALLED]))
    say(sessions, "Paris?")

    (turn,) = sessions.get("s").turns
    assert (turn.status, shape(turn.messages[-1])) == ("complete", ("assistant", "Let me look.", [], None))


def test_a_reply_keeps_no_more_calls_than_a_message_can_have(make_sessions: Make) -> None:
    many = [event for index in range(MAX_CALLS + 2) for event in call(f"c{index}", index=index)]
    sessions = make_sessions(Scripted([*many, CALLED]))
    say(sessions, "Everywhere?")

    assert len(sessions.get("s").messages()[-1].tool_calls or ()) == MAX_CALLS


def test_calls_that_nobody_answered_are_not_told_and_the_text_before_them_is(make_sessions: Make) -> None:
    model = Scripted([ContentDelta("Let me look."), *call("one"), CALLED], [*call("two"), CALLED], [DONE])
    sessions = make_sessions(model)
    for said in ("Paris?", "Never mind. Rome?", "Hello?"):
        say(sessions, said)

    assert model.told() == [
        ("user", "Paris?", [], None),
        ("assistant", "Let me look.", [], None),
        ("user", "Never mind. Rome?\n\nHello?", [], None),
    ]


# ── who may answer what ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def called(make_sessions: Make) -> Sessions:
    """A session whose last reply waits for the results of two calls."""
    sessions = make_sessions(
        Scripted([*call("one"), *call("two", ROME, 1), CALLED], [ContentDelta("Mild."), DONE], [DONE])
    )
    say(sessions, "Paris and Rome?")
    return sessions


@pytest.mark.parametrize(
    ("results", "param", "named"),
    [
        ([answer("one"), answer("three")], "tool_results.1.tool_call_id", "'three'"),
        ([answer("one"), answer("one")], "tool_results.1.tool_call_id", "'one'"),
        ([answer("one")], "tool_results", "'two'"),
        ([answer("one") | {"role": "user"}], "tool_results.0", "tool_call_id"),
        ([answer("one") | {"colour": "blue"}], "tool_results.0.colour", "colour"),
        ([{"content": "12 °C"}], "tool_results.0", "tool_call_id"),
        ([answer("one", "\ud800")], "tool_results.0.content", "surrogate"),
        (["12 °C"], "tool_results.0", "content"),
        ([], "tool_results", "must be a list"),
        (answer("one"), "tool_results", "must be a list"),
        (12, "tool_results", "must be a list"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_results_of_other_calls_are_refused_by_name_and_leave_no_trace(
    called: Sessions, results: Any, param: str, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named) as refused:
        called.begin("s", tool_results=results)

    assert refused.value.param == param
    assert len(called.get("s").turns) == 1


def test_a_turn_begins_with_a_message_or_with_results(called: Sessions) -> None:
    with pytest.raises(InvalidRequest, match="message") as neither:
        called.begin("s")
    with pytest.raises(InvalidRequest, match="tool_results") as both:
        called.begin("s", "Hello", tool_results=[answer("one"), answer("two")])

    assert (neither.value.param, both.value.param) == ("message", "tool_results")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"role": "tool"}, "12 °C"),
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "12"}, {"type": "text", "text": " °C"}], "name": "weather"}, "12 °C"),
    ],
    ids=["as a message of a tool", "with nothing in it", "in parts"],
)
def test_a_result_may_have_the_form_of_a_message(called: Sessions, form: dict[str, Any], text: str) -> None:
    say(called, tool_results=[answer(each, "12 °C") | form for each in ("one", "two")])

    *_, result, reply = called.get("s").messages()
    assert (result.content, reply.content) == (text, "Mild.")


def test_what_was_answered_and_replied_to_cannot_be_answered_again(called: Sessions) -> None:
    results = [answer("one"), answer("two")]
    say(called, tool_results=results)

    with pytest.raises(InvalidRequest, match="'one'"):
        called.begin("s", tool_results=results)


def test_a_session_of_another_owner_is_not_there_for_results(called: Sessions) -> None:
    results = [answer("one"), answer("two")]
    with pytest.raises(SessionNotFound):
        called.begin("s", tool_results=results, owner="bob")
    with pytest.raises(SessionNotFound):
        called.begin("none", tool_results=results)

    assert called.list(owner="bob") == ()
    say(called, tool_results=results)


def test_results_for_a_reply_that_is_being_made_are_told_that_it_is_busy(make_sessions: Make) -> None:
    def endless(_request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        yield from call("one")
        while not cancellation.cancelled:
            yield ContentDelta(".")
        yield Done("cancelled", DONE.usage, DONE.timings)

    sessions = make_sessions(endless)
    reply = sessions.begin("s", "Paris?")

    with pytest.raises(SessionBusy):
        sessions.begin("s", tool_results=[answer("one")])
    reply.cancel()
    assert reply.wait(10)


def test_results_whose_reply_failed_or_was_stopped_may_be_given_again(make_sessions: Make) -> None:
    model = Scripted(
        [*call("one"), CALLED],
        [SequenceFailed("It failed.")],
        [Done("cancelled", DONE.usage, DONE.timings)],
        [ContentDelta("20."), DONE],
    )
    sessions = make_sessions(model)
    say(sessions, "Paris?")
    for content in ("8 °C", "12 °C", "20 °C"):
        say(sessions, tool_results=[answer("one", content)])

    assert model.told() == [
        ("user", "Paris?", [], None),
        ("assistant", "", ["one"], None),
        ("tool", "20 °C", [], "one"),
    ]


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_export_has_calls_and_results(called: Sessions) -> None:
    say(called, tool_results=[answer("one", "12 °C\n```\n# Not a heading"), answer("two")])
    session = called.get("s")

    calling, result, *_ = session_dict(session)["messages"][1:]
    assert calling["tool_calls"][0] == {
        "id": "one",
        "type": "function",
        "function": {"name": "weather", "arguments": PARIS},
    }
    assert (result["role"], result["tool_call_id"]) == ("tool", "one")
    assert json.loads(json.dumps(session_dict(session)))["messages"][1]["tool_calls"]
    markdown = to_markdown(session)
    assert f"**Assistant**\n\ncalls `weather`\n\n```json\n{PARIS}\n```\n" in markdown
    assert "**Tool** `weather`\n\n````\n12 °C\n```\n# Not a heading\n````\n" in markdown


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────


def turn(*messages: Message, status: TurnStatus = "complete") -> Turn:
    return Turn("stream", status, messages, None, None, None, 0.0, None)


STATUSES: list[TurnStatus] = ["complete", "cancelled", "failed", "interrupted"]


@st.composite
def turns(draw: st.DrawFn) -> list[Turn]:
    """A conversation as it may come to be: calls answered or not, replies that stopped anywhere."""
    made: list[Turn] = []
    waiting: list[str] = []
    for number in range(draw(st.integers(0, 8))):
        begins = [user(f"u{number}")]
        if waiting and draw(st.booleans()):
            begins = [Message(role="tool", content="r", tool_call_id=each) for each in waiting]
        events: list[ChatEvent] = []
        for step in range(draw(st.integers(0, 3))):
            ids = [f"{number}.{step}.{index}" for index in range(draw(st.integers(0, 2)))]
            events += [ContentDelta(draw(st.sampled_from(["", "text"])))]
            for index, call_id in enumerate(ids):
                events += call(call_id, index=index)
            if not ids or draw(st.booleans()):
                break
            events += [ToolResult(call_id, "weather", "r") for call_id in ids]
        made.append(turn(*begins, *reply_messages(events), status=draw(st.sampled_from(STATUSES))))
        waiting = [each.id for each in exchange.open_calls(made)]
    return made


@given(turns())
def test_whatever_happened_the_model_is_told_a_conversation_that_templates_take(earlier: list[Turn]) -> None:
    told = prompt_messages(earlier, [user("now")])

    assert parse_messages(told) == tuple(told), "each result answers a call of the message before"
    for before, after in pairwise(told):
        assert "tool" in (before.role, after.role) or before.role != after.role
    for place, message in enumerate(told):
        calls = [each.id for each in message.tool_calls or ()]
        assert [each.tool_call_id for each in told[place + 1 : place + 1 + len(calls)]] == calls


@given(st.lists(st.sampled_from(["plain", "tools"]), max_size=12), st.integers(3, 12))
def test_a_conversation_longer_than_a_prompt_may_be_is_not_cut_inside_an_exchange(kinds: list[str], most: int) -> None:
    earlier = [
        turn(user("u"), *reply_messages([*call("c"), ToolResult("c", "weather", "r"), ContentDelta("a")]))
        if kind == "tools"
        else turn(user("u"), *reply_messages([ContentDelta("a")]))
        for kind in kinds
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "MAX_PROMPT_MESSAGES", most)
        told = prompt_messages(earlier, [user("now")])

    assert len(told) <= most
    assert told[0].role == "user"
    assert told[-1].content == "now"


def test_an_exchange_longer_than_a_prompt_may_be_is_cut_between_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_PROMPT_MESSAGES", 4)
    steps = [event for number in range(5) for event in (*call(str(number)), ToolResult(str(number), "weather", "r"))]

    told = prompt_messages([turn(user("u"), *reply_messages(steps))], [])

    assert [message.role for message in told] == ["assistant", "tool"]


def test_a_conversation_longer_than_a_prompt_may_be_begins_the_same_for_many_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "MAX_PROMPT_MESSAGES", 20)
    turns = [turn(user(f"{number}"), *reply_messages([ContentDelta("a")])) for number in range(60)]

    firsts = [prompt_messages(turns[:count], [user("now")])[0].content for count in range(1, 60)]

    assert sorted(set(firsts), key=int) == [str(number) for number in range(0, 51, 5)]
