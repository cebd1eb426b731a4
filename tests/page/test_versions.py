"""What was edited, made again or taken back is one press away, with what followed it."""

from __future__ import annotations

import itertools
from collections.abc import Generator

import pytest
from playwright.sync_api import Locator, Page, expect

from llm_core.events import ChatEvent
from tests.scripted_client import ScriptedClient, Signal
from tests.visitor import REPLY, UNSENT, retry, send, wait_until_done, wait_until_idle

from .screen import BOX, USER, address, answering, full, holding, stored, talk, talk_elsewhere


def counting(script: ScriptedClient) -> None:
    """Each reply is another one."""
    numbers = itertools.count(1)

    def answer() -> Generator[ChatEvent]:
        yield from answering(f"Answer {next(numbers)}")

    script.script = answer


def edit(page: Page, nth: int, text: str) -> None:
    page.locator(USER).nth(nth).hover()
    page.get_by_role("button", name="Edit", exact=True).nth(nth).click()
    send(page, text)
    expect(page.locator(USER).nth(nth)).to_have_text(text)
    wait_until_idle(page)


def at_message(page: Page, nth: int = 0) -> Locator:
    return page.locator("#chat .user-row").nth(nth).get_by_role("group", name="Versions of")


def at_reply(page: Page, nth: int = 0) -> Locator:
    return page.locator("#chat .bot-row").nth(nth).get_by_role("group", name="Versions of")


def test_an_edited_message_and_what_followed_it_come_back_by_one_press(page: Page, script: ScriptedClient) -> None:
    counting(script)
    talk(page, "One", "Two", "Three")

    edit(page, 0, "Eins")

    expect(page.locator(USER)).to_have_count(1)
    expect(at_message(page)).to_contain_text("2/2")
    expect(at_reply(page)).to_have_count(0)
    at_message(page).get_by_label("Earlier version of your message").click()
    expect(page.locator(USER)).to_have_text(["One", "Two", "Three"])
    expect(at_message(page)).to_contain_text("1/2")
    assert [texts[0] for texts in stored(page, script)] == ["One", "Two", "Three"]
    send(page, "Four")
    wait_until_done(page, 4)
    assert [message.content for message in script.asked[-1]][::2] == ["One", "Two", "Three", "Four"]
    at_message(page).get_by_label("Later version of your message").click()
    expect(page.locator(USER)).to_have_text(["Eins"])
    page.reload()
    expect(page.locator(USER)).to_have_text(["Eins"])
    at_message(page).get_by_label("Earlier version").click()
    expect(page.locator(USER)).to_have_text(["One", "Two", "Three", "Four"])


def test_each_reply_to_a_message_stays(page: Page, script: ScriptedClient) -> None:
    counting(script)
    talk(page, "One")
    retry(page)
    retry(page)

    expect(at_reply(page)).to_contain_text("3/3")
    expect(at_message(page)).to_have_count(0)
    earlier = at_reply(page).get_by_label("Earlier version of the reply")
    earlier.focus()
    page.keyboard.press("Enter")
    expect(page.locator(REPLY)).to_have_text("Answer 2")
    expect(at_reply(page)).to_contain_text("2/3")  # what a press means is what stands there
    expect(earlier).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(REPLY)).to_have_text("Answer 1")
    expect(earlier).to_have_attribute("aria-disabled", "true")
    expect(page.locator(".reply-line")).to_contain_text("tokens/s")


def test_wordings_are_counted_at_the_message_and_their_replies_below(page: Page, script: ScriptedClient) -> None:
    counting(script)
    talk(page, "One")
    retry(page)
    edit(page, 0, "Eins")
    retry(page)

    expect(at_message(page)).to_contain_text("2/2")
    expect(at_reply(page)).to_contain_text("2/2")
    at_message(page).get_by_label("Earlier").click()
    expect(page.locator(REPLY)).to_have_text("Answer 2")
    expect(at_reply(page)).to_contain_text("2/2")


def test_what_was_taken_back_is_a_version_of_what_is_said_instead(page: Page, script: ScriptedClient) -> None:
    counting(script)
    talk(page, "One", "Two")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(BOX)).to_have_value("Two")

    send(page, "Zwei")

    wait_until_done(page, 2)
    expect(at_message(page, 1)).to_contain_text("2/2")
    at_message(page, 1).get_by_label("Earlier").click()
    expect(page.locator(USER)).to_have_text(["One", "Two"])


def test_another_tab_sees_the_chosen_version_and_none_is_chosen_on_what_nobody_saw(
    page: Page, script: ScriptedClient
) -> None:
    counting(script)
    talk(page, "One")
    edit(page, 0, "Eins")
    other = page.context.new_page()
    other.goto(page.url)
    expect(at_message(other)).to_contain_text("2/2")

    at_message(page).get_by_label("Earlier").click()

    expect(other.locator(USER)).to_have_text(["One"])
    expect(at_message(other)).to_contain_text("1/2")
    other.close()


def test_while_a_reply_is_made_the_way_stays(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    edit(page, 0, "Eins")
    go_on = Signal()
    script.script = holding(go_on)
    page.fill(BOX, "Two")
    page.press(BOX, "Enter")
    expect(page.locator(REPLY).last).to_have_text("First half")

    at_message(page).get_by_label("Earlier").click()

    expect(page.get_by_text("Wait for the reply, or stop it.")).to_be_visible()
    go_on.give()
    wait_until_idle(page)
    expect(page.locator(USER)).to_have_text(["Eins", "Two"])


def test_a_version_of_an_early_message_is_shown_however_long_the_way_from_it_is(
    page: Page, script: ScriptedClient
) -> None:
    owner = f"browser:{page.context.cookies()[0]['value']}"
    talk(page, "One")
    conversation = address(page)
    talk_elsewhere(page, script, (f"more {number}" for number in range(25)))
    first = script.sessions.get(conversation, owner=owner).turns[0].stream_id
    assert script.sessions.begin(conversation, "Eins", replaces=first, owner=owner).wait(60)
    page.reload()
    expect(page.locator(USER)).to_have_text(["Eins"])

    at_message(page).get_by_label("Earlier").click()

    expect(page.locator(USER).first).to_have_text("One")
    expect(page.locator(USER)).to_have_count(26)
    expect(at_message(page)).to_be_in_viewport()


@pytest.mark.parametrize("does", ["retry", "step"])
def test_an_edit_takes_the_place_of_what_stands_there_by_then(page: Page, script: ScriptedClient, does: str) -> None:
    counting(script)
    talk(page, "One", "Two")
    edit(page, 1, "Zwei")
    page.get_by_label("Edit").last.click()
    page.fill(BOX, "Deux")

    if does == "retry":
        retry(page)
        expect(at_reply(page, 1)).to_contain_text("2/2")
    else:
        at_message(page, 1).get_by_label("Earlier").click()
        expect(page.locator(USER)).to_have_text(["One", "Two"])
    expect(page.locator("#notes .editing")).to_be_visible()
    page.press(BOX, "Enter")

    expect(page.locator(USER)).to_have_text(["One", "Deux"])
    expect(at_message(page, 1)).to_contain_text("3/3")
    wait_until_idle(page)
    assert [texts[0] for texts in stored(page, script)] == ["One", "Deux"]


def test_an_edit_of_what_is_not_on_the_screen_says_so_by_its_line(page: Page, script: ScriptedClient) -> None:
    talk(page, "One", "Two")
    edit(page, 0, "Eins")
    at_message(page).get_by_label("Earlier").click()
    expect(page.locator(USER)).to_have_text(["One", "Two"])
    page.get_by_label("Edit").last.click()
    at_message(page).get_by_label("Later").click()
    expect(page.locator(USER)).to_have_text(["Eins"])
    expect(page.locator("#notes .editing")).to_have_count(0)
    at_message(page).get_by_label("Earlier").click()
    expect(page.locator("#notes .editing")).to_be_visible()


def edit_of_long_ago(page: Page, script: ScriptedClient) -> None:
    """Begins to edit the first message of a conversation, which is shown no longer by itself."""
    talk(page, "One")
    talk_elsewhere(page, script, (f"more {number}" for number in range(12)))
    page.reload()
    page.get_by_role("button", name="Show earlier messages").click()
    expect(page.locator(USER)).to_have_count(13)
    page.get_by_label("Edit").first.click()
    page.fill(BOX, "Eins")


@pytest.mark.parametrize("is_refused", [False, True], ids=["in the box", "refused"])
def test_an_edit_of_long_ago_takes_its_place_after_a_reload(
    page: Page, script: ScriptedClient, is_refused: bool
) -> None:
    edit_of_long_ago(page, script)
    if is_refused:
        script.script = full
        page.press(BOX, "Enter")
        expect(page.locator(UNSENT)).to_be_visible()
        script.script = answering

    page.reload()
    wait_until_idle(page)
    if is_refused:
        page.get_by_role("button", name="Send again").click()
    else:
        page.press(BOX, "Enter")

    expect(page.locator(USER)).to_have_text(["Eins"])
    wait_until_idle(page)
    assert [texts[0] for texts in stored(page, script)] == ["Eins"]


def test_an_edit_of_long_ago_waits_while_another_reply_is_made(page: Page, script: ScriptedClient) -> None:
    edit_of_long_ago(page, script)
    retry(page)
    expect(at_reply(page, -1)).to_contain_text("2/2")

    page.press(BOX, "Enter")

    expect(page.locator(USER)).to_have_text(["Eins"])
