"""An answer that comes late is drawn nowhere else, and what is pressed meanwhile is done to what was on the screen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from llm_core.events import ChatEvent, Queued
from llm_core.page.commands import Commands, Show
from tests.scripted_client import SIGNAL_SECONDS, ScriptedClient, Signal
from tests.visitor import BUSY, DRAWN, REPLY, STOP, UNSENT, send, wait_for_text, wait_until_done, wait_until_idle
from tests.waiting import wait_until

from .screen import BOX, COMMANDS, ROWS, USER, address, answering, held, holding, row, stored, talk

Open = Callable[..., Page]


def test_a_message_is_said_where_it_was_pressed_though_another_conversation_is_opened_at_once(
    page: Page, script: ScriptedClient
) -> None:
    first = talk(page, "One")
    second = talk(page, "Two")
    with held(page, "begin") as routes:
        send(page, "Three")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        row(page, "One").click()
        expect(page.locator(USER)).to_have_text(["One"])
        with page.expect_response(COMMANDS):
            routes[0].continue_()
    wait_until(lambda: stored(page, script, second)[-1] == ("Three", "Fine."), "it is answered")

    assert stored(page, script, first) == [("One", "Fine.")]
    expect(page.locator(USER)).to_have_text(["One"])
    send(page, "Four")
    wait_until_done(page, replies=2)
    assert [texts[0] for texts in stored(page, script, first)] == ["One", "Four"]
    row(page, "Two").click()
    expect(page.locator(USER)).to_have_text(["Two", "Three"])


@pytest.mark.parametrize("leaves_to", ["another", "new chat"])
def test_a_reply_that_is_left_is_drawn_nowhere_else_and_is_there_on_return(
    page: Page, script: ScriptedClient, leaves_to: str
) -> None:
    talk(page, "One")
    go_on = Signal()
    page.locator("#new-chat").click()
    script.script = holding(go_on)
    send(page, "Two")
    wait_for_text(page, len("First half"))

    row(page, "One").click() if leaves_to == "another" else page.locator("#new-chat").click()
    wait_until_idle(page)
    shown = ["One"] if leaves_to == "another" else []
    expect(page.locator(USER)).to_have_text(shown)
    go_on.give()
    wait_until(lambda: not script.sessions._running._live, "the reply has ended")
    page.wait_for_timeout(300)  # for an update to come that must not be drawn
    expect(page.locator(USER)).to_have_text(shown)
    expect(page.locator(REPLY)).to_have_text(["Fine."] * len(shown))

    row(page, "Two").click()
    expect(page.locator(USER)).to_have_text(["Two"])
    assert wait_until_done(page) == "First half and the second."
    expect(page.locator(USER)).to_have_text(["Two"])


def test_an_update_that_was_asked_for_before_is_not_taken_for_one_of_the_new_ones(
    page: Page, script: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was missed, all is asked for again, and of the first time one comes late that has the number awaited next."""
    real, subscriptions, awaited = Commands._updates, count(), asyncio.Queue[int]()
    rest, late = Signal(), threading.Event()

    async def updates(commands: Commands, asked: Show, *who: Any) -> AsyncGenerator[dict[str, Any]]:
        is_first = next(subscriptions) == 0
        async with aclosing(real(commands, asked, *who)) as found:
            async for update in found:
                yield update
                if not update["add"]:
                    continue
                if not is_first:
                    awaited.put_nowait(update["number"] + 1)
                    continue
                yield update | {"number": 99}
                yield update | {"number": await awaited.get(), "keep": 0, "goes_on": True, "ended": True}
                late.set()
                return

    monkeypatch.setattr(Commands, "_updates", updates)
    script.script = holding(rest)
    send(page, "Two")
    wait_until(lambda: page.evaluate("1") and late.is_set(), "the late one is on its way")
    page.wait_for_timeout(300)  # for what must not be drawn
    rest.give()

    assert wait_until_done(page) == "First half and the second."


def test_of_two_conversations_that_are_opened_the_last_is_shown_whichever_answers_first(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    talk(page, "Two")
    page.locator("#new-chat").click()
    with held(page, "open") as routes:
        row(page, "One").click()
        row(page, "Two").click()
        wait_until(lambda: page.evaluate("1") and len(routes) == 2, "both are asked for")
        for route in reversed(routes):
            with page.expect_response(COMMANDS):
                route.continue_()
        wait_until_idle(page)

        expect(page.locator(USER)).to_have_text(["Two"])
        send(page, "Three")
        wait_until_done(page, replies=2)
    assert [texts[0] for texts in stored(page, script)] == ["Two", "Three"]


def test_what_is_typed_while_a_conversation_is_opened_stays_typed(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator("#new-chat").click()
    with held(page, "open") as routes:
        row(page, "One").click()
        page.fill(BOX, "Two")
        page.press(BOX, "Enter")
        expect(page.locator("#notes .notice")).to_contain_text("still being opened")
        wait_until(lambda: page.evaluate("1") and routes, "it is asked for")
        routes[0].continue_()
        wait_until_idle(page)
    expect(page.locator(BOX)).to_have_value("Two")
    page.press(BOX, "Enter")
    wait_until_done(page, replies=2)


def test_a_message_under_the_name_of_another_one_is_refused_and_kept(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    owner = f"browser:{page.context.cookies()[0]['value']}"
    (turn,) = script.sessions.get(address(page), owner=owner).turns
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        asked = routes[0].request.post_data_json
        asked["data"]["stream"] = turn.stream_id
        routes[0].continue_(post_data=asked)
        expect(page.locator(f"{UNSENT} p")).to_contain_text("with another message")

    assert stored(page, script) == [("One", "Fine.")]


@pytest.mark.parametrize("then", [Route.abort, Route.continue_], ids=["its answer is lost", "it arrives twice"])
def test_a_message_is_said_once_when(page: Page, script: ScriptedClient, then: Callable[[Route], None]) -> None:
    talk(page, "One")

    def lose(route: Route, request: Request) -> None:
        if request.post_data_json["fn_name"] == "begin":
            route.fetch()  # the server does it
            then(route)
        else:
            route.continue_()

    page.route(COMMANDS, lose)
    send(page, "Two")
    wait_until_done(page, replies=2)
    assert stored(page, script) == [("One", "Fine."), ("Two", "Fine.")]
    expect(page.locator(UNSENT)).to_have_count(0)


def test_a_message_that_does_not_reach_the_server_is_kept_and_can_be_sent_again(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        routes[0].abort()
        expect(page.locator(f"{UNSENT} p")).to_have_text("The server did not get this message.")
    page.reload()
    wait_until_idle(page)
    expect(page.locator(USER)).to_have_text(["One"])
    page.get_by_role("button", name="Send again").click()
    wait_until_done(page, replies=2)
    assert stored(page, script) == [("One", "Fine."), ("Two", "Fine.")]


@pytest.mark.parametrize("does", ["Retry", "Undo"])
def test_what_is_pressed_while_the_message_is_on_its_way_is_done_to_it(
    page: Page, script: ScriptedClient, does: str
) -> None:
    talk(page, "One")
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        expect(page.locator(USER)).to_have_text(["One", "Two"])
        page.get_by_role("button", name=does).click()
        routes.pop().continue_()
        wait_until_idle(page) if does == "Undo" else wait_until(lambda: page.evaluate("1") and routes, "again")
        for route in routes:
            route.continue_()
    if does == "Undo":
        expect(page.locator(BOX)).to_have_value("Two")
        expect(page.locator(USER)).to_have_text(["One"])
    else:
        wait_until(lambda: page.evaluate("1") and len(script.asked) == 3, "it is asked again")
        wait_until_done(page, 2)
    wait_until_idle(page)
    expect(page.locator(UNSENT)).to_have_count(0)
    assert [texts[0] for texts in stored(page, script)] == (["One"] if does == "Undo" else ["One", "Two"])


@pytest.mark.parametrize("says", ["another reply", "another message"])
def test_a_reply_that_is_over_before_it_is_followed_leaves_a_screen_that_can_be_worked_with(
    page: Page, script: ScriptedClient, says: str
) -> None:
    talk(page, "One", "Two")
    followed: list[Route] = []
    page.route("**/queue/join**", lambda route: followed.append(route) if is_followed(route) else route.continue_())
    with held(page, "open") as looks:
        if says == "another reply":
            page.get_by_role("button", name="Retry", exact=True).click()
        else:
            send(page, "Three")
        wait_until(lambda: page.evaluate("1") and followed, "the reply is asked for")
        owner = f"browser:{page.context.cookies()[0]['value']}"
        wait_until(lambda: script.sessions.running(address(page), owner=owner) is None, "it is over")
        followed.pop().continue_()
        wait_until_idle(page)
        page.wait_for_selector(DRAWN)
        page.get_by_role("button", name="Undo").click()
        for look in looks:
            look.continue_()
    expect(page.locator(USER)).to_have_text(["One"] if says == "another reply" else ["One", "Two"])
    expect(page.locator("#notes .notice")).to_have_count(0)


def is_followed(route: Route) -> bool:
    return '"stream"' in (route.request.post_data or "")


@pytest.mark.parametrize("does", ["Edit", "Retry", "Undo"])
def test_what_is_pressed_where_an_earlier_conversation_still_stands_is_done_to_nothing(
    page: Page, script: ScriptedClient, does: str
) -> None:
    first = talk(page, "One")
    second = talk(page, "Two")
    page.evaluate("() => (window.real = chatScreen.drawn, chatScreen.drawn = () => new Promise(() => {}))")
    with page.expect_response(COMMANDS):
        row(page, "One").click()
    wait_until_idle(page)
    expect(page.locator(USER)).to_have_text(["Two"])
    page.locator(USER).hover()
    page.get_by_role("button", name=does, exact=True).first.click()
    expect(page.locator("#notes .notice")).to_contain_text("has just changed")
    page.evaluate("() => (chatScreen.drawn = real)")
    expect(page.locator(BOX)).to_have_value("")
    expect(page.locator("#notes .editing")).to_have_count(0)
    expect(page.locator(USER)).to_have_text(["One"])
    assert [stored(page, script, each) for each in (first, second)] == [[("One", "Fine.")], [("Two", "Fine.")]]


def test_a_conversation_is_deleted_while_it_replies(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "One")
    wait_for_text(page, 5)
    page.locator(ROWS).hover()
    page.get_by_label("Delete").click()
    page.get_by_text("Delete?").click()
    expect(page.locator(USER)).to_have_count(0)
    go_on.give()
    expect(page.locator(ROWS)).to_have_count(0)
    script.script = answering
    send(page, "Two")
    wait_until_done(page)
    expect(page.locator(USER)).to_have_text(["Two"])
    expect(page.locator(REPLY)).to_have_text(["Fine."])


def test_stop_before_the_first_word_leaves_its_line_and_the_next_reply_is_its_own(
    page: Page, scripted: ScriptedClient
) -> None:
    def until_stopped() -> Generator[ChatEvent]:
        yield Queued(0)
        assert scripted.stopped.wait(SIGNAL_SECONDS)

    scripted.script = until_stopped
    page.fill(BOX, "One")
    page.press(BOX, "Enter")
    page.locator(STOP).click()
    expect(page.locator(".reply-line")).to_have_text(["Stopped"])
    scripted.script = answering
    send(page, "Two")
    expect(page.locator(".reply-line").first).to_have_text("Stopped")
    expect(page.locator("#chat .bot-row")).to_have_count(2)


def test_the_second_press_of_a_double_click_on_send_stops_nothing(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    wait_until_idle(page)
    expect(page.locator(STOP)).to_be_hidden()
    page.fill(BOX, "One")
    send_button = page.get_by_role("button", name="Send")
    where = send_button.bounding_box()
    send_button.click()
    page.wait_for_selector(BUSY)
    expect(page.locator(STOP)).to_be_visible()
    assert send_button.bounding_box() == where
    send_button.click()
    go_on.give()
    assert wait_until_done(page) == "First half and the second."
    expect(page.locator(STOP)).to_be_hidden()
    assert stored(page, script) == [("One", "First half and the second.")]


def test_what_stands_beside_a_reply_is_of_the_reply_that_is_drawn(page: Page, script: ScriptedClient) -> None:
    """Its end may come while what was before it is still being drawn."""
    page.evaluate(
        """() => {
            globalThis.requestAnimationFrame = (then) => setTimeout(then, 400);
            globalThis.atItsEnd = [];
            const region = document.querySelector(".heard");
            new MutationObserver(() => {
                const reply = document.querySelector("#chat .bot-row:has(.reply-line.done) .prose");
                if (reply) atItsEnd.push(reply.innerText, region.textContent);
            }).observe(document.body, { childList: true, subtree: true, attributes: true });
        }"""
    )
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "One")
    expect(page.locator(REPLY)).to_have_text("First half")
    go_on.give()
    wait_until_done(page)
    expect(page.locator(".heard")).to_have_text("First half and the second.")
    at_its_end = page.evaluate("atItsEnd")
    assert set(at_its_end[::2]) == {"First half and the second."}
    assert set(at_its_end[1::2]) <= {"First half and the second.", "A reply begins."}


def test_what_gradio_did_not_hear_is_drawn_all_the_same(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator("#new-chat").click()
    expect(page.locator(REPLY)).to_have_count(0)
    page.evaluate(
        """() => {
            const { drawn } = chatScreen;
            let unheard = 2; // the empty conversation, and what is in it
            chatScreen.drawn = () => (unheard-- > 0 ? [{ __type__: "update" }] : drawn());
        }"""
    )
    row(page, "One").click()
    expect(page.locator(REPLY)).to_have_text(["Fine."])
