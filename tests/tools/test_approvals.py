"""Consent: a call that needs it waits in its session until somebody decides, whatever happens meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import InvalidRequest, QueueFull, SessionNotFound
from llm_core.events import Done, ToolApproval, ToolResult, ToolStarted, event_from_dict, event_to_dict
from llm_core.sessions.exchange import APPROVED

from .scripted import ScriptedClient, ask, calling, end, results, saying

SERVER = Path(__file__).with_name("mcp_server.py")
FILE = f"servers: [{{name: t, command: {sys.executable}, args: [{SERVER}], tools: {{shout: always, fail: never}}}}]"
ASKS = calling(("t.shout", '{"text": "a"}'), ("calculate", '{"expression": "6*7"}'), text="I shall shout.")


def client_of(folder: Path, *generations: Any, text: str = FILE) -> ScriptedClient:
    path = folder / "servers.yaml"
    path.write_text(text)
    database = f"sqlite:///{folder / 'sessions.db'}"
    return ScriptedClient(*generations, mcp_servers=path, database_url=database, data_dir=folder)


def approval(call_id: str = "call-0", *, approve: bool = True, **more: Any) -> dict[str, Any]:
    return {"tool_call_id": call_id, "approve": approve, **more}


def test_a_call_that_needs_consent_ends_the_reply_and_the_others_run(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("Never.")) as client:
        events = list(client.chat_session_stream("s", "Shout.", run_tools=True))
        turn = client.sessions.get("s").turns[-1]
    assert results(events) == [ToolResult("call-1", "calculate", "42")]
    assert [event for event in events if isinstance(event, ToolApproval)] == [
        ToolApproval("call-0", "t.shout", '{"text": "a"}', "t")
    ]
    assert (end(events).finish_reason, end(events).awaiting_approval) == ("tool_calls", ("call-0",))
    assert turn.status == "complete"
    assert turn.done is not None
    assert turn.done.awaiting_approval == ("call-0",)
    assert [message.role for message in turn.messages] == ["user", "assistant", "tool"]


def test_the_whole_reply_has_the_calls_that_wait(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS) as client:
        reply = client.chat_session("s", "Shout.", run_tools=True)
    assert (reply.content, reply.awaiting_approval) == ("I shall shout.", ("call-0",))
    assert [call.id for call in reply.tool_calls] == ["call-0"]
    assert reply.to_dict()["awaiting_approval"] == ["call-0"]


def test_after_a_restart_it_is_approved_made_and_the_reply_goes_on(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS) as client:
        client.chat_session("s", "Shout.", run_tools=True)
    with client_of(tmp_path, saying("It was loud.")) as client:
        events = list(client.chat_session_stream("s", approvals=[approval()], run_tools=True))
        told = client.asked[0].messages
        kept = client.session_history("s")
    assert [event for event in events if isinstance(event, (ToolStarted, ToolResult))] == [
        ToolStarted("call-0", "t.shout", "t"),
        ToolResult("call-0", "t.shout", "A"),
    ]
    assert end(events).finish_reason == "stop"
    assert [(message.role, message.content) for message in told[1:]] == [
        ("user", "Shout."),
        ("assistant", "I shall shout."),
        ("tool", "A"),
        ("tool", "42"),
    ]
    assert [message.content for message in kept[3:]] == [APPROVED, "A", "It was loud."]


def test_the_next_message_s_prompt_has_the_result_once(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("It was loud."), saying("Bye.")) as client:
        client.chat_session("s", "Shout.", run_tools=True)
        client.chat_session("s", approvals=[approval()])
        client.chat_session("s", "Thanks.")
        told = client.asked[2].messages
    assert [message.content for message in told if message.role == "tool"] == ["A", "42"]


def test_what_is_declined_is_not_made_and_the_model_is_told_why(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("As you like.")) as client:
        client.chat_session("s", "Shout.", run_tools=True)
        events = list(client.chat_session_stream("s", approvals=[approval(approve=False, reason="Too late.")]))
        told = client.asked[1].messages
    assert not results(events)
    assert "Error: the call was declined. Too late." in [message.content for message in told]
    assert end(events).finish_reason == "stop"


def test_another_owner_has_no_such_session_and_the_right_one_still_may(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("Loud.")) as client:
        client.chat_session("s", "Shout.", run_tools=True, owner="name:ann")
        with pytest.raises(SessionNotFound):
            client.chat_session("s", approvals=[approval()], owner="name:bob")
        assert client.chat_session("s", approvals=[approval()], owner="name:ann").content == "Loud."


def test_consent_counts_once(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("Loud.")) as client:
        client.chat_session("s", "Shout.", run_tools=True)
        client.chat_session("s", approvals=[approval()])
        with pytest.raises(InvalidRequest, match="waits"):
            client.chat_session("s", approvals=[approval()])


def test_a_key_that_comes_twice_makes_the_call_once(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS, saying("Loud.")) as client:
        client.chat_session("s", "Shout.", run_tools=True)
        streams = [
            list(client.sessions.begin_once("s", stream_id="a" * 32, approvals=[approval()]).events())
            for _ in ("once", "again")
        ]
    assert streams[0] == streams[1]
    assert len(client.asked) == 2


@pytest.mark.parametrize("approve", [True, False])
def test_what_was_made_is_not_made_again_where_the_reply_to_it_was_refused(tmp_path: Path, approve: bool) -> None:
    file, call = FILE.replace("shout", "who/am I"), calling(("t.who_am_I", "{}"))
    with client_of(tmp_path, call, QueueFull("Everyone is busy."), text=file) as client:
        client.chat_session("s", "Who is there?", run_tools=True)
        with pytest.raises(QueueFull):
            client.chat_session("s", approvals=[approval()])
        made = client.session_history("s")[-1].content
    with client_of(tmp_path, saying("It is me."), text=file) as client:
        events = list(client.chat_session_stream("s", approvals=[approval(approve=approve)]))
        told = client.asked[0].messages[-1]
        kept = client.session_history("s")
    assert [event for event in events if isinstance(event, (ToolStarted, ToolResult))] == [
        ToolResult("call-0", "t.who_am_I", made)  # has the id of the process that was asked
    ]
    assert told.content == made
    assert [message.content for message in kept[-2:]] == [made, "It is me."]


def test_an_owner_who_may_not_use_the_server_any_more_cannot_approve_and_can_decline(tmp_path: Path) -> None:
    with client_of(tmp_path, ASKS) as client:
        client.chat_session("s", "Shout.", run_tools=True)
    with client_of(tmp_path, saying("Well."), text=FILE.replace("tools:", "owners: [ann], tools:")) as client:
        with pytest.raises(InvalidRequest, match=r"approvals: there is no tool 't.shout' for you here"):
            client.chat_session("s", approvals=[approval()])
        assert client.chat_session("s", approvals=[approval(approve=False)]).content == "Well."


def test_calls_of_the_caller_and_those_that_wait_are_answered_together(tmp_path: Path) -> None:
    own = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    both = calling(("look", "{}"), ("t.shout", '{"text": "a"}'))
    with client_of(tmp_path, both, saying("Done.")) as client:
        reply = client.chat_session("s", "Go.", tools=[own], run_tools=["t"])
        assert ([call.id for call in reply.tool_calls], reply.awaiting_approval) == (["call-0", "call-1"], ("call-1",))
        with pytest.raises(InvalidRequest, match="call-0"):
            client.chat_session("s", approvals=[approval("call-1")])
        seen = [{"tool_call_id": "call-0", "content": "a cat"}]
        assert client.chat_session("s", tool_results=seen, approvals=[approval("call-1")]).content == "Done."
        assert [each.content for each in client.asked[1].messages if each.role == "tool"] == ["a cat", "A"]


@pytest.mark.parametrize(
    ("approvals", "param"),
    [
        ([], "approvals"),
        ("yes", "approvals"),
        ([{"tool_call_id": "call-0"}], "approvals.0.approve"),
        ([{"tool_call_id": "call-0", "approve": "yes"}], "approvals.0.approve"),
        ([approval() | {"colour": "red"}], "approvals.0.colour"),
        ([approval("call-1")], "approvals.0.tool_call_id"),
        ([approval(), approval("call-1")], "approvals.1.tool_call_id"),
    ],
)
def test_what_is_no_decision_is_refused_by_its_place_and_leaves_no_trace(
    tmp_path: Path, approvals: Any, param: str
) -> None:
    with client_of(tmp_path, ASKS) as client:
        client.chat_session("s", "Shout.", run_tools=True)
        before = client.sessions.get("s").turns
        with pytest.raises(InvalidRequest) as refused:
            client.chat_session("s", approvals=approvals)
        assert refused.value.param == param
        assert client.sessions.get("s").turns == before


def test_the_reply_goes_on_as_it_was_asked_and_not_by_default(tmp_path: Path) -> None:
    asked: Any = {"temperature": 1.5, "seed": 7, "stop": ["END"], "logit_bias": {5: 2.0}, "max_tokens": 50}
    with client_of(tmp_path, ASKS) as client:
        client.chat_session("s", "Shout.", run_tools=True, **asked)
        assert "asked" not in client.session_history("s")[-1]
    with client_of(tmp_path, ASKS, saying("Loud.")) as client:
        client.chat_session("s", approvals=[approval()], run_tools=True)
        client.chat_session("s", approvals=[approval()], run_tools=True, temperature=0.5)
        client.chat_session("s", "Well?")
        first, second, third = client.asked

    assert (first.sampling.temperature, first.sampling.seed, first.stop) == (1.5, 7, ("END",))
    assert (first.sampling.logit_bias, first.max_tokens) == ({5: 2.0}, 50)
    assert (second.sampling.temperature, second.sampling.seed) == (0.5, 7), "but for what is said now"
    assert (third.sampling.seed, third.stop) == (None, ()), "a message is another question"


def test_a_call_that_waits_for_its_caller_cannot_be_approved(tmp_path: Path) -> None:
    own = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    with client_of(tmp_path, calling(("look", "{}"))) as client:
        client.chat_session("s", "Go.", tools=[own])
        with pytest.raises(InvalidRequest) as refused:
            client.chat_session("s", approvals=[approval()])
    assert refused.value.param == "approvals.0.tool_call_id"


def test_a_call_that_cannot_be_made_is_not_asked_about(tmp_path: Path) -> None:
    with client_of(tmp_path, calling(("t.shout", "[1]")), saying("Well.")) as client:
        events = ask(client, "session", run_tools=["t"])
    assert [result.failed for result in results(events)] == [True]
    assert end(events).finish_reason == "stop"


@pytest.mark.parametrize(
    "event",
    [
        ToolStarted("c", "t.shout", "t"),
        ToolApproval("c", "t.shout", "{}", "t"),
        Done("tool_calls", *(ASKS[-1].usage, ASKS[-1].timings), awaiting_approval=("c",)),  # type: ignore[union-attr]
    ],
)
def test_the_events_come_back_from_json(event: Any) -> None:
    assert event_from_dict(event_to_dict(event)) == event
