"""What goes wrong at the server is told in one sentence with one thing to do, and nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from llm_core.client import LLMClient
from llm_core.errors import ModelError, QueueFull, RateLimited, StorageFull
from llm_core.events import ChatEvent, ContentDelta, Queued
from tests.scripted_client import END, ScriptedClient, Signal
from tests.served import loaded_client, served
from tests.visitor import REPLY, UNSENT, send, wait_until_done, wait_until_idle
from tests.waiting import wait_until

from .screen import BOX, COMMANDS, USER, answering, held, holding, stored, talk

LOST = "#notes .lost"


def test_a_lost_connection_is_told_and_the_reply_goes_on_by_itself(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "Two")
    expect(page.locator(REPLY).last).to_have_text("First half")
    page.fill(BOX, "typed meanwhile")

    page.context.set_offline(True)

    expect(page.locator(LOST)).to_contain_text("The connection to the server was lost. The reply goes on there")
    go_on.give()
    wait_until(lambda: len(stored(page, script)[-1]) == 2 and not script.sessions._running._live, "it is made")
    page.context.set_offline(False)
    expect(page.locator(REPLY).last).to_have_text("First half and the second.")
    expect(page.locator(LOST)).to_have_count(0)
    expect(page.locator(BOX)).to_have_value("typed meanwhile")


def test_what_is_sent_while_the_connection_is_lost_is_sent_or_kept(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.context.set_offline(True)
    expect(page.locator(LOST)).to_contain_text("The connection to the server was lost.")
    page.fill(BOX, "Two")
    page.press(BOX, "Enter")
    page.wait_for_selector("body[data-chat=busy]")

    page.context.set_offline(False)

    expect(page.locator(f"{UNSENT} pre")).to_have_text("Two")
    expect(page.locator(LOST)).to_have_count(0)
    page.get_by_role("button", name="Send again").click()
    wait_until_done(page, 2)


@pytest.mark.parametrize("refusal", [QueueFull, RateLimited])
def test_what_may_be_sent_again_later_counts_down(
    page: Page, script: ScriptedClient, refusal: type[QueueFull | RateLimited]
) -> None:
    def refuse() -> Generator[ChatEvent]:
        raise refusal("Not now.", retry_after=30)
        yield END

    script.script = refuse
    send(page, "Hello")

    again = page.locator(UNSENT).get_by_role("button", name="Send again")
    expect(page.locator(f"{UNSENT} p")).to_have_text("Not now.")
    expect(again).to_have_text(re.compile(r"Send again in \d+ s"))
    expect(again).to_be_disabled()
    with held(page, "open") as opening:
        page.reload()
        expect(again).to_be_disabled()
        script.script = answering
        page.evaluate("() => { const now = Date.now; Date.now = () => now() + 31000; }")
        expect(again).to_have_text("Send again")
        expect(again).to_be_disabled()
        wait_until(lambda: page.evaluate("1") and opening, "it is asked for")
        opening[0].continue_()
    again.click()
    wait_until_done(page)
    assert stored(page, script) == [("Hello", "Fine.")]


def test_a_model_that_failed_can_be_left_for_another(page: Page, script: ScriptedClient) -> None:
    def refuse() -> Generator[ChatEvent]:
        raise ModelError("The model cannot be loaded: its file is damaged.")
        yield END

    script.script = refuse
    send(page, "Hello")

    expect(page.locator(f"{UNSENT} p")).to_have_text("The model cannot be loaded: its file is damaged.")
    page.locator(UNSENT).get_by_role("button", name="Choose a model").click()
    expect(page.get_by_role("dialog", name="Models")).to_be_visible()


def test_a_full_disk_is_told_and_the_message_is_kept(
    page: Page, script: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_args: Any, **_options: Any) -> Any:
        raise StorageFull("The disk that keeps the sessions is full: what is new is not kept.")

    talk(page, "One")
    with monkeypatch.context() as patch:
        patch.setattr(script.sessions._store(), "open_turn", no_room)
        send(page, "Two")
        expect(page.locator(f"{UNSENT} p")).to_contain_text("is full")
    page.get_by_role("button", name="Send again").click()
    wait_until_done(page, 2)


def test_a_reply_that_broke_off_says_why_and_keeps_what_came(page: Page, script: ScriptedClient) -> None:
    def breaks() -> Generator[ChatEvent]:
        yield Queued(0)
        yield ContentDelta("Half of")
        raise ModelError("The engine is gone.")

    script.script = breaks
    send(page, "Hello")

    expect(page.get_by_role("alert")).to_have_text("The engine is gone.")
    expect(page.locator(REPLY)).to_have_text("Half of")


def sign_in(page: Page) -> None:
    page.get_by_label("The token that you were given").fill("a" * 20)
    page.get_by_role("button").click()


def test_who_is_signed_out_is_told_and_can_sign_in(browser: Browser, page_client: LLMClient, tmp_path: Any) -> None:
    with loaded_client(tmp_path, api_tokens="ann:" + "a" * 20) as client, served(client) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        sign_in(page)
        wait_until_idle(page)
        context.clear_cookies()
        page.fill(BOX, "Hello")
        page.press(BOX, "Enter")

        expect(page.locator(LOST)).to_contain_text("You are not signed in any more.")
        page.locator(LOST).get_by_role("button", name="Sign in").click()
        sign_in(page)
        expect(page.locator(f"{UNSENT} pre")).to_have_text("Hello")
        context.close()


PLACE = "() => document.querySelector('#sign-out').getBoundingClientRect().y"


def is_list(route: Route) -> bool:
    return bool(route.request.post_data_json["fn_name"] == "list")


def test_who_signs_out_is_asked_for_a_token_again(browser: Browser, page_client: LLMClient, tmp_path: Any) -> None:
    with loaded_client(tmp_path, api_tokens="ann:" + "a" * 20) as client, served(client) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        waiting: list[Route] = []
        page.route(COMMANDS, lambda route: waiting.append(route) if is_list(route) else route.continue_())
        sign_in(page)
        wait_until_idle(page)
        wait_until(lambda: page.evaluate("true") and bool(waiting), "the list is asked for")
        button = page.get_by_role("button", name="Sign out")
        before = page.evaluate(PLACE)
        for route in waiting:
            route.continue_()
        expect(page.locator("#conversations")).to_contain_text("Your conversations will be listed here.")
        assert page.evaluate(PLACE) == before, "what a list that comes late pushes away cannot be pressed"
        button.click()

        expect(page.get_by_label("The token that you were given")).to_be_visible()
        assert not [cookie for cookie in context.cookies() if cookie["name"] == "llm_core_token"]
        context.close()


def test_where_everybody_is_let_in_an_administrator_signs_in_and_out(
    browser: Browser, page_client: LLMClient, tmp_path: Any
) -> None:
    with loaded_client(tmp_path, admin_tokens="root:" + "a" * 20) as client, served(client) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        wait_until_idle(page)
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        page.goto(f"{url}sign-in")
        sign_in(page)
        wait_until_idle(page)
        page.locator("#model button").click()
        expect(page.locator("#models .offered")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Sign out").click()

        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        wait_until_idle(page)
        assert not [cookie for cookie in context.cookies() if cookie["name"] == "llm_core_token"]
        context.close()


def test_a_command_without_an_answer_leaves_the_screen_as_it_was(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")

    def fail(route: Route, request: Request) -> None:
        route.abort() if request.post_data_json["fn_name"] in ("pin", "choose") else route.continue_()

    page.route(COMMANDS, fail)
    page.locator("#conversations li").hover()
    page.get_by_label("Pin").click()
    expect(page.locator("#notes")).to_contain_text("Nothing was changed; try again.")
    expect(page.locator(USER)).to_have_text(["One"])
