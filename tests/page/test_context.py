"""How much of the context is in use, and where what the model still reads begins."""

from __future__ import annotations

from collections.abc import Generator

from playwright.sync_api import Page, expect

from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.messages import Message
from llm_core.page.view import left_out, shown_session, versions_of
from llm_core.sessions.records import Session, Turn, TurnStatus, Version
from tests.scripted_client import ScriptedClient
from tests.visitor import send, wait_until_done

from .screen import BOX, talk

GAUGE = "#gauge"


def saying(used: int, dropped: int = 0) -> Generator[ChatEvent]:
    yield Queued(0)
    yield ContentDelta("Fine.")
    yield Done("stop", Usage(used - 10, 0, 10), Timings(0, 100, 50), dropped)


def turn(name: str, *replies: str, dropped: int | None = 0, status: TurnStatus = "complete") -> Turn:
    said = (Message(role="user", content=name), *(Message(role="assistant", content=text) for text in replies))
    figures = {"usage": {}, "timings": {}, "dropped_messages": dropped}
    ended = dropped is not None
    return Turn(name, status, said, "stop" if ended else None, figures if ended else None, None, 1.0, 2.0)


def test_what_is_used_stands_by_the_box_and_grows_with_what_is_typed(page: Page, script: ScriptedClient) -> None:
    script.script = lambda: saying(used=300)
    talk(page, "One")
    expect(page.locator(GAUGE)).to_have_text("300 of 1,024 tokens")

    page.fill(BOX, "word " * 80)

    expect(page.locator(GAUGE)).to_have_text("400 of 1,024 tokens")
    page.fill(BOX, "word " * 480)
    expect(page.locator(GAUGE)).to_have_text("900 of 1,024 tokens · 124 free")
    page.fill(BOX, "")
    page.reload()
    expect(page.locator(GAUGE)).to_have_text("300 of 1,024 tokens")
    page.locator("#new-chat").click()
    expect(page.locator(GAUGE)).to_be_hidden()


def test_a_line_stands_where_what_the_model_still_reads_begins(page: Page, script: ScriptedClient) -> None:
    talk(page, "One", "Two", "Three")
    expect(page.get_by_role("note")).to_have_count(0)
    script.script = lambda: saying(used=900, dropped=4)
    send(page, "Four")
    wait_until_done(page, 4)

    line = page.locator("#chat .bot-row").nth(1).get_by_role("note")
    expect(line).to_have_text("The model no longer reads what stands above this line")
    page.reload()
    expect(line).to_be_visible()
    script.script = lambda: saying(used=900)
    send(page, "Five")
    wait_until_done(page, 5)
    expect(page.get_by_role("note")).to_have_count(0)


def test_the_cut_is_after_the_last_turn_that_was_left_out() -> None:
    four = [turn(name, "Yes.") for name in ("one", "two", "three", "four")]
    assert left_out(four) is None
    assert left_out([*four, turn("five", "Yes.", dropped=4)]) == "two"
    assert left_out([*four, turn("five", "Yes.", dropped=4), turn("six", dropped=None, status="failed")]) == "two"
    assert left_out([]) is None


def test_what_was_never_told_to_the_model_is_not_counted() -> None:
    failed = turn("failed", dropped=None, status="failed")
    stopped = turn("stopped", dropped=None, status="cancelled")
    turns = [failed, turn("one", "Yes."), stopped, turn("two", "Yes."), turn("three", "Yes.", dropped=4)]
    assert left_out(turns) == "two", "two messages in a row are one for the model"


def test_versions_are_counted_by_wording_and_then_by_reply() -> None:
    versions = tuple(Version(*each) for each in (("a", "One"), ("b", "Eins"), ("c", "One"), ("d", "Uno")))

    def of(stream: str) -> tuple[object, object]:
        return versions_of(Turn(stream, "complete", (), None, None, None, 1.0, 2.0, versions=versions))

    assert of("a") == (
        {"at": 1, "of": 3, "before": None, "after": "b"},
        {"at": 1, "of": 2, "before": None, "after": "c"},
    )
    assert of("b") == ({"at": 2, "of": 3, "before": "c", "after": "d"}, None)
    assert versions_of(turn("only")) == (None, None)


def test_a_turn_that_is_to_be_seen_is_shown_however_old_it_is() -> None:
    turns = tuple(turn(str(number), "Yes.") for number in range(50))
    session = Session("s", "t", None, None, 1.0, 2.0, 1, turns)
    assert (shown_session(session, "")["earlier"], shown_session(session, "", including=["3"])["earlier"]) == (40, 3)
    assert shown_session(session, "", including=["45"])["earlier"] == 40
