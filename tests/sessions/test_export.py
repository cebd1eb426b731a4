"""A session as a file of Markdown reads well, whatever was said in it."""

from __future__ import annotations

from llm_core.messages import Message
from llm_core.sessions.export import to_markdown
from llm_core.sessions.records import Session, Turn

BROKEN_OFF = "Look:\n\n```python\nprint("


def session(reply: str, title: str = "A title") -> Session:
    said = Message(role="user", content="Go *on*"), Message(role="assistant", content=reply)
    turn = Turn("one", "failed", said, None, None, "The disk is_full.", 0.0, None)
    return Session("s", title, None, None, 1_700_000_000.0, 0.0, 1, (turn, turn))


def test_the_head_has_the_title_as_it_is_and_the_time_in_people_s_form() -> None:
    markdown = to_markdown(session("Yes.", title="A <b>  *title*\n# x"))

    assert markdown.startswith("# A \\<b\\> \\*title\\* \\# x\n\n2023-11-14 22:13 UTC, session `s`\n")


def test_code_that_breaks_off_ends_with_its_message() -> None:
    assert to_markdown(session(BROKEN_OFF)).count(f"{BROKEN_OFF}\n```\n\n*failed") == 2
    assert to_markdown(session(f"{BROKEN_OFF}\n```")).count("```") == 4, "it has an end already"
    assert f"{BROKEN_OFF}\n~~~\n```\n" in to_markdown(session(f"{BROKEN_OFF}\n~~~"))


def test_a_reply_that_failed_says_why() -> None:
    assert "\n*failed: The disk is\\_full.*\n" in to_markdown(session("Half"))
