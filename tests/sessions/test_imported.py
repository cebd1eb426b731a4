"""What an exported session becomes when it is opened again, and what is refused."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import InvalidRequest
from llm_core.events import Done, Timings, Usage
from llm_core.messages import Attachment, Message, ToolCall
from llm_core.sessions.database import open_database
from llm_core.sessions.export import to_json
from llm_core.sessions.imported import ExportedSession, sessions_of_file
from llm_core.sessions.records import Turn
from llm_core.sessions.store import SessionStore

from .conftest import user
from .test_branches import replace
from .test_store import say

HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
ENDED = Done("stop", Usage(20, 0, 5), Timings(0, 100, 50), dropped_messages=2, model="tiny")


def said(store: SessionStore, owner: str, session_id: str) -> list[tuple[str, str]]:
    return [(each.role, each.content) for each in store.session(owner, session_id).messages()]


def test_what_was_exported_is_the_same_when_it_is_opened_by_somebody_else(store: SessionStore) -> None:
    for text in ("One", "Two"):
        turn = store.open_turn("ann", "s", user(text), system_prompt="Be brief.", model="tiny")
        store.end_turn(
            turn.key,
            (),
            (Message(role="assistant", content=f"About {text}"),),
            status="complete",
            done=ENDED,
            error=None,
        )
    session = store.session("ann", "s")
    (exported,) = sessions_of_file(to_json(session))

    store.turns.add_session("bob", exported.session("new")[0], "new")

    opened = store.session("bob", "new")
    assert said(store, "bob", "new") == said(store, "ann", "s")
    assert (opened.title, opened.system_prompt, opened.model) == (session.title, "Be brief.", "tiny")
    assert [turn.done for turn in opened.turns] == [turn.done for turn in session.turns]
    assert {turn.stream_id for turn in opened.turns}.isdisjoint(turn.stream_id for turn in session.turns)
    turn = store.open_turn("bob", "new", user("Three"), system_prompt=None)
    assert len(turn.earlier) == 2


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["say", "replace", "after", "choose", "take back"]), st.integers(0, 99)), max_size=14
    )
)
@settings(max_examples=40, deadline=None)
def test_the_versions_of_a_session_are_there_when_it_is_opened_from_a_file(steps: list[tuple[str, int]]) -> None:
    with patch.object(time, "time", count(2e9).__next__):  # two turns of one millisecond have no order
        compare_opened(steps)


def compare_opened(steps: list[tuple[str, int]]) -> None:
    store = SessionStore(open_database("sqlite://"))
    say(store, "s", "first")
    for nth, (kind, number) in enumerate(steps):
        known = all_turns(store, "ann", "s")
        target = known[number % len(known)].stream_id
        match kind:
            case "say":
                say(store, "s", f"{nth}")
            case "choose":
                store.choose("ann", "s", target)
            case "take back":
                store.take_back("ann", "s", target)
            case _:
                replace(store, f"{nth}", **{"after" if kind == "after" else "replaces": target})
        if not store.session("ann", "s").turns:
            say(store, "s", f"{nth} again")

    open_as_bob(store)

    assert tree(store, "bob", "new") == tree(store, "ann", "s")
    assert said(store, "bob", "new") == said(store, "ann", "s")
    for here, there in zip(all_turns(store, "ann", "s"), all_turns(store, "bob", "new"), strict=True):
        store.choose("ann", "s", here.stream_id)
        store.choose("bob", "new", there.stream_id)
        way = [text for _, text in said(store, "bob", "new")]
        assert here.messages[0].content in way
        assert [version.question for version in there.versions] == [version.question for version in here.versions]
    store.close()


def test_what_followed_a_version_comes_back_with_it_in_a_session_that_was_opened_from_a_file(
    store: SessionStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", count(2e9).__next__)
    say(store, "s", "one")
    two = say(store, "s", "two").stream_id
    say(store, "s", "three")
    replace(store, "zwei", replaces=two)
    open_as_bob(store)

    (_, other) = store.session("bob", "new").turns
    assert [version.question for version in other.versions] == ["two", "zwei"]
    store.choose("bob", "new", other.versions[0].stream_id)
    assert [text for role, text in said(store, "bob", "new") if role == "user"] == ["one", "two", "three"]


def test_files_and_the_results_of_tools_are_there_in_a_session_that_was_opened_from_a_file(store: SessionStore) -> None:
    notes = Attachment(name="notes.md", media_type="text/markdown", text="The code word is heron.")
    call = ToolCall.model_validate({"id": "one", "function": {"name": "f", "arguments": "{}"}})
    asked = Message(role="user", content="Look", attachments=(notes,))
    result = Message(role="tool", content="42", tool_call_id="one")
    for opening, reply in (
        (asked, Message(role="assistant", content="", tool_calls=(call,))),
        (result, Message(role="assistant", content="It is 42.")),
    ):
        turn = store.open_turn("ann", "s", opening, system_prompt=None)
        store.end_turn(turn.key, (), (reply,), status="complete", done=ENDED, error=None)
    replace(store, "again", replaces=store.session("ann", "s").turns[1].stream_id)
    open_as_bob(store)

    opened, before = all_turns(store, "bob", "new"), all_turns(store, "ann", "s")
    assert [turn.messages for turn in opened] == [turn.messages for turn in before]
    assert tree(store, "bob", "new") == tree(store, "ann", "s")


def open_as_bob(store: SessionStore) -> None:
    session, aside = sessions_of_file(to_json(*store.whole("ann", "s")))[0].session("new")
    store.turns.add_session("bob", session, "new", aside)


def all_turns(store: SessionStore, owner: str, session_id: str) -> list[Turn]:
    session, aside = store.whole(owner, session_id)
    return sorted((*session.turns, *aside), key=lambda turn: turn.messages[0].content)


def tree(store: SessionStore, owner: str, session_id: str) -> dict[str, tuple[str | None, bool]]:
    """What each turn follows, and whether it was set aside."""
    found = all_turns(store, owner, session_id)
    names = {turn.stream_id: turn.messages[0].content for turn in found}
    return {names[turn.stream_id]: (names.get(turn.after or ""), turn.is_set_aside) for turn in found}


@pytest.mark.parametrize(
    "others",
    [
        [{"stream_id": "b", "after": "nowhere"}],
        [{"stream_id": "b", "after": "c"}, {"stream_id": "c", "after": "b"}],
        [{"stream_id": "a"}],
        [{"stream_id": "b"}, {"stream_id": "b", "after": "a"}],
    ],
    ids=["follows none", "a ring", "the stream of what was said", "one stream twice"],
)
def test_versions_that_are_no_tree_are_refused(others: list[dict[str, Any]]) -> None:
    aside = [each | {"messages": [HELLO]} for each in others]
    document = {"messages": [HELLO | {"stream_id": "a", "status": "complete"}], "set_aside": aside}
    with pytest.raises(InvalidRequest, match="set_aside"):
        ExportedSession.model_validate(document).session("s")


def test_no_call_of_a_file_waits_to_be_approved() -> None:
    call = {"id": "one", "function": {"name": "delete_all", "arguments": "{}"}}
    reply_ = {"role": "assistant", "content": "", "tool_calls": [call], "status": "complete"}
    reply_ |= {"finish_reason": "tool_calls", "awaiting_approval": ["one"]}
    figures = {
        "usage": {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 1},
        "timings": {"queue_ms": 0, "ttft_ms": 0, "tokens_per_second": 0},
    }
    session = ExportedSession.model_validate({"messages": [HELLO, reply_ | figures]}).session("s")[0]
    done = session.turns[-1].done
    assert done is not None
    assert done.awaiting_approval == ()


def test_a_file_without_marks_has_a_turn_for_each_question() -> None:
    messages = [HELLO, {"role": "assistant", "content": "Hi"}, HELLO, {"role": "assistant", "content": "Hi again"}]
    session = ExportedSession.model_validate({"messages": messages}).session("s")[0]
    assert [[each.content for each in turn.messages] for turn in session.turns] == [
        ["Hello", "Hi"],
        ["Hello", "Hi again"],
    ]
    assert session.title == "Hello"


def test_a_reply_that_was_being_made_when_it_was_exported_reads_interrupted() -> None:
    messages = [HELLO | {"status": "running"}]
    (turn,) = ExportedSession.model_validate({"messages": messages}).session("s")[0].turns
    assert turn.status == "interrupted"


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        7,
        {"sessions": []},
        {"sessions": [{}] * 501},
        {"messages": []},
        {"messages": [HELLO] * 2001},
        {"messages": [HELLO | {"role": "root"}]},
        {"messages": [HELLO | {"content": "\ud800"}]},
        {"messages": [HELLO | {"usage": {"prompt_tokens": -1, "cached_tokens": 0, "completion_tokens": 0}}]},
        {"messages": [HELLO | {"created_at": "yesterday"}]},
        {"title": "x" * 201, "messages": [HELLO]},
    ],
    ids=range(12),
)
def test_what_is_no_exported_session_is_refused_in_a_sentence(document: Any) -> None:
    with pytest.raises(InvalidRequest, match="The file"):
        sessions_of_file(json.dumps(document))


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "Hi"}],
        [{"role": "tool", "content": "42"}],
        [HELLO | {"tool_calls": [{"id": "one", "function": {"name": "f"}}]}],
    ],
    ids=["a reply alone", "a result of no call", "a call of the user's"],
)
def test_what_could_never_have_been_said_is_refused(messages: Any) -> None:
    exported = ExportedSession.model_validate({"messages": messages})
    with pytest.raises(InvalidRequest):
        exported.session("s")
