"""What comes late takes nothing away from what a person has done meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from llm_core.events import ChatEvent
from tests.scripted_client import ScriptedClient, Signal
from tests.visitor import REPLY, UNSENT, send, wait_until_done, wait_until_idle
from tests.waiting import wait_until

from .screen import BOX, COMMANDS, ROWS, USER, answering, full, held, holding, row, talk

BEGUN = '"begin"'


@contextmanager
def late(page: Page, command: str) -> Iterator[list[tuple[Route, APIResponse]]]:
    """The answers to a command are made at once, and come when this is over."""
    answers: list[tuple[Route, APIResponse]] = []
    is_over = False

    def hold(route: Route) -> None:
        if not is_over and route.request.post_data_json["fn_name"] == command:
            answers.append((route, route.fetch()))
        else:
            route.fallback()

    page.route(COMMANDS, hold)
    yield answers
    is_over = True
    for route, answer in answers:
        route.fulfill(response=answer)
    page.unroute(COMMANDS, hold)


@pytest.fixture
def go_on(page: Page, script: ScriptedClient) -> Signal:
    """Lets the replies go on from their first half, after one that is whole."""
    talk(page, "One")
    go_on = Signal()
    script.script = holding(go_on)
    return go_on


def test_a_list_that_was_read_before_a_reply_ended_marks_none_as_busy(page: Page, go_on: Signal) -> None:
    page.locator("#new-chat").click()
    with late(page, "list") as answers:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and answers, "the list is read")
        expect(page.locator(REPLY).last).to_have_text("First half")
        go_on.give()
        wait_until_done(page)
        wait_until_idle(page)
    expect(row(page, "Two")).to_be_visible()
    expect(page.locator(f"{ROWS} .busy:not([hidden])")).to_have_count(0)


def test_a_look_that_was_read_before_a_reply_ended_does_not_make_it_run_again(page: Page, go_on: Signal) -> None:
    send(page, "Two")
    expect(page.locator(REPLY).last).to_have_text("First half")
    with late(page, "open") as answers:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        wait_until(lambda: page.evaluate("1") and answers, "it is looked")
        go_on.give()
        wait_until_done(page, 2)
        wait_until_idle(page)
        page.evaluate(
            """() => {
                window.states = [];
                const note = () => states.push(document.body.dataset.chat);
                new MutationObserver(note).observe(document.body, { attributeFilter: ["data-chat"] });
            }"""
        )
    page.wait_for_timeout(300)  # for what must not be drawn
    assert "busy" not in page.evaluate("states")
    expect(page.locator(REPLY).last).to_have_text("First half and the second.")


def test_a_conversation_that_comes_late_leaves_the_focus_where_something_is_typed(page: Page) -> None:
    talk(page, "One")
    talk(page, "Two")
    with held(page, "open") as routes:
        row(page, "One").click()
        page.keyboard.press("Control+k")
        page.keyboard.type("wha")
        wait_until(lambda: page.evaluate("1") and routes, "it is asked for")
        routes[0].continue_()
        wait_until_idle(page)
        page.keyboard.type("les")
    expect(page.locator("#search :is(textarea, input)")).to_have_value("whales")
    expect(page.locator(BOX)).to_have_value("")


def test_a_message_that_is_refused_when_its_conversation_was_opened_anew_has_its_note(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    script.script = full
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        row(page, "One").click()
        expect(page.locator(USER)).to_have_text(["One"])
        wait_until_idle(page)
        routes[0].continue_()
        expect(page.locator(f"{UNSENT} pre")).to_have_text("Two")


@pytest.mark.parametrize("becomes", ["refused", "taken"])
def test_a_message_that_is_left_before_the_engine_takes_it_is_settled(
    page: Page, script: ScriptedClient, becomes: str
) -> None:
    conversation, go_on = talk(page, "One"), Signal()

    def later() -> Generator[ChatEvent]:
        go_on.wait()
        yield from answering() if becomes == "taken" else full()

    script.script = later
    with page.expect_response(lambda answer: BEGUN in (answer.request.post_data or "")):
        send(page, "Two")
    page.locator("#new-chat").click()
    go_on.give()
    page.wait_for_function(
        """([conversation, becomes]) => {
            const kept = JSON.parse(sessionStorage.getItem("llm-core-drafts"))?.[conversation]?.unsent ?? [];
            return becomes === "taken" ? !kept.length : kept[0]?.reason;
        }""",
        arg=[conversation, becomes],
    )
