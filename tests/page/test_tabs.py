"""Two tabs of one conversation: the one that is behind is told, and shown what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.scripted_client import ScriptedClient, Signal
from tests.visitor import BUSY, REPLY, UNSENT, send, wait_until_done, wait_until_idle

from .screen import BOX, ROWS, USER, WENT_ON, holding, stored, talk

Open = Callable[..., Page]


@pytest.fixture
def stale(page: Page, script: ScriptedClient) -> Iterator[Page]:
    """A tab that shows two turns of a conversation which has a third by now, and was not told."""
    talk(page, "One", "Two")
    stale = page.context.new_page()
    stale.add_init_script(
        "delete window.BroadcastChannel; document.addEventListener = new Proxy(document.addEventListener, "
        "{ apply: (add, on, [name, ...more]) => name === 'visibilitychange' || add.call(on, name, ...more) })"
    )
    stale.goto(page.url)
    expect(stale.locator(USER)).to_have_text(["One", "Two"])
    wait_until_idle(stale)
    send(page, "Three")
    wait_until_done(page, 3)
    expect(stale.locator(USER)).to_have_text(["One", "Two"])
    yield stale
    stale.close()


@pytest.mark.parametrize("does", ["Undo", "Retry", "Edit", "send"])
def test_a_tab_that_is_behind_is_told_and_shown_what_is_there(
    page: Page, stale: Page, script: ScriptedClient, does: str
) -> None:
    if does == "Edit":
        stale.get_by_label("Edit").first.click()
    if does in ("Edit", "send"):
        send(stale, "Four")
        expect(stale.locator(f"{UNSENT} p")).to_have_text(WENT_ON)
        expect(stale.locator(f"{UNSENT} pre")).to_have_text("Four")
    else:
        stale.get_by_role("button", name=does).click()
        expect(stale.locator("#notes .note p").first).to_have_text(WENT_ON)
    expect(stale.locator(USER)).to_have_text(["One", "Two", "Three"])
    wait_until_idle(stale)

    assert [texts[0] for texts in stored(page, script)] == ["One", "Two", "Three"]


def test_a_tab_learns_what_another_does(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(USER)).to_have_text(["One"])
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "Two")
    expect(other.locator(USER)).to_have_text(["One", "Two"])
    other.wait_for_selector(BUSY)
    expect(other.locator(REPLY).last).to_have_text("First half")
    go_on.give()
    expect(other.locator(REPLY).last).to_have_text("First half and the second.")
    wait_until_idle(page)
    page.get_by_role("button", name="Undo").click()
    expect(other.locator(USER)).to_have_text(["One"])
    page.locator(ROWS).hover()
    page.get_by_label("Delete").click()
    page.get_by_text("Delete?").click()
    expect(other.locator("#notes .notice")).to_have_text("This conversation was deleted in another tab.")
    expect(other.locator(USER)).to_have_count(0)
    send(other, "Three")
    wait_until_done(other)
    other.close()


def test_a_message_to_a_conversation_in_which_another_tab_is_answered_is_kept(
    page: Page, stale: Page, script: ScriptedClient
) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    wait_until_idle(page)
    stale.reload()
    wait_until_idle(stale)
    send(page, "Four")
    expect(page.locator(REPLY).last).to_have_text("First half")
    stale.fill(BOX, "Five")
    stale.press(BOX, "Enter")
    expect(stale.locator(f"{UNSENT} pre")).to_have_text("Five")
    expect(stale.locator(USER)).to_have_text(["One", "Two", "Three", "Four"])
    go_on.give()
    wait_until_idle(stale)
    assert [texts[0] for texts in stored(page, script)] == ["One", "Two", "Three", "Four"]
