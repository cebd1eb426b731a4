"""The list of conversations under the hands of a person."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect
from sqlalchemy import insert, update

from llm_core.sessions.schema import sessions
from tests.scripted_client import ScriptedClient, Signal
from tests.visitor import send, wait_until_done, wait_until_idle

from .screen import BOX, ROWS, USER, holding, row, talk

Open = Callable[..., Page]


def test_rows_stay_under_a_pointer_that_is_pressed(page: Page, script: ScriptedClient) -> None:
    one = talk(page, "One")
    talk(page, "Two")
    other = page.context.new_page()
    other.goto(f"{page.url.split('?')[0]}?c={one}")
    wait_until_idle(other)
    row(page, "Two").hover()
    page.mouse.down()
    send(other, "goes to the top")
    wait_until_done(other, 2)
    expect(other.locator(f"{ROWS} .open").first).to_have_text("One")
    expect(page.locator(f"{ROWS} .open").first).to_have_text("Two")
    page.mouse.up()
    expect(page.locator(USER)).to_have_text(["Two"])
    page.mouse.move(600, 400)
    expect(page.locator(f"{ROWS} .open").first).to_have_text("One")
    other.close()


def test_a_title_that_is_half_typed_while_the_list_changes_goes_to_its_conversation(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    talk(page, "Two")
    page.locator(ROWS, has_text="One").hover()
    page.locator(ROWS, has_text="One").get_by_label("Rename").click()
    page.get_by_label("Title").fill("Uno")
    other = page.context.new_page()
    other.goto(page.url.split("?")[0])
    send(other, "Three")
    wait_until_done(other)
    page.get_by_label("Title").press("Enter")
    expect(page.locator(f"{ROWS} .open")).to_have_text(["Three", "Two", "Uno"])
    other.close()


def test_a_double_click_on_delete_asks(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator(ROWS).hover()
    page.get_by_label("Delete").dblclick()
    expect(page.get_by_text("Delete?")).to_be_visible()
    expect(page.locator(USER)).to_have_text(["One"])


def test_enter_of_an_input_method_does_not_end_a_title(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator(ROWS).hover()
    page.get_by_label("Rename").click()
    title = page.get_by_label("Title")
    title.fill("日本")
    title.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    expect(title).to_be_visible()
    title.press("Enter")
    expect(page.locator(f"{ROWS} .open")).to_have_text(["日本"])


def used_ago(page: Page, script: ScriptedClient, **days: float) -> None:
    """Conversations that were used last so many days ago."""
    owner = f"browser:{page.context.cookies()[0]['value']}"
    for name, ago in days.items():
        assert script.sessions.begin(name, name, owner=owner).wait(60)
        with script.sessions._store()._engine.begin() as connection:
            then = time.time() - 86_400 * ago
            connection.execute(update(sessions).where(sessions.c.session_id == name).values(updated_at=then))


def days(page: Page) -> dict[str, list[str]]:
    return dict(
        page.evaluate(
            """() => [...document.querySelectorAll("#conversations section")].map((each) => [
                each.querySelector(".day").textContent,
                [...each.querySelectorAll(".open")].map((open) => open.textContent),
            ])"""
        )
    )


def test_the_list_says_when_a_conversation_was_used_and_pinned_ones_stand_first(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "Now")
    used_ago(page, script, Yesterday=1, Week=5, Month=20, Older=400)
    page.reload()
    wait_until_idle(page)
    expect(page.locator(ROWS)).to_have_count(5)
    found = days(page)
    month = [*found][-1]
    assert found == {
        "Today": ["Now"],
        "Yesterday": ["Yesterday"],
        "Previous 7 days": ["Week"],
        "Previous 30 days": ["Month"],
        month: ["Older"],
    }
    assert month.split()[-1].isdecimal(), "a month and its year"

    page.locator(ROWS, has_text="Older").hover()
    page.locator(ROWS, has_text="Older").get_by_label("Pin").click()
    expect(page.locator("#conversations section").first).to_contain_text("Pinned")
    page.reload()
    wait_until_idle(page)
    expect(page.locator(f"{ROWS} .open").first).to_have_text("Older")
    expect(page.locator(ROWS).first.get_by_label("Pin")).to_have_attribute("aria-pressed", "true")


def delete(page: Page, title: str) -> None:
    pressed = page.locator(ROWS, has_text=title).get_by_label("Delete")
    page.locator(ROWS, has_text=title).hover()
    pressed.click()
    expect(pressed).not_to_have_attribute("aria-disabled", "true")
    pressed.click()


def test_a_deletion_says_so_and_is_taken_back_by_one_press(page: Page, script: ScriptedClient) -> None:
    talk(page, "One", "and more")
    talk(page, "Two")
    row(page, "One").click()
    expect(page.locator(USER)).to_have_text(["One", "and more"])

    delete(page, "One")

    expect(page.locator("#notes .deleted")).to_contain_text("“One” was deleted.")
    expect(page.locator(f"{ROWS} .open")).to_have_text(["Two"])
    expect(page.locator(USER)).to_have_count(0)
    page.locator("#notes .deleted").get_by_role("button", name="Undo").click()
    expect(page.locator(USER)).to_have_text(["One", "and more"])
    expect(page.locator(f"{ROWS} .open")).to_have_text(["Two", "One"])
    expect(page.locator("#notes .deleted")).to_have_count(0)


def test_what_is_deleted_elsewhere_in_the_list_leaves_the_screen_as_it_is(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    talk(page, "Two")
    delete(page, "One")
    page.locator("#notes .deleted").get_by_role("button", name="Undo").click()
    expect(page.locator(f"{ROWS} .open")).to_have_text(["Two", "One"])
    expect(page.locator(USER)).to_have_text(["Two"])


def test_a_conversation_that_still_replies_has_a_mark_until_it_has_ended(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    page.fill(BOX, "One")
    page.press(BOX, "Enter")
    expect(page.get_by_text("First half")).to_be_visible()
    page.locator("#new-chat").click()

    mark = page.locator(ROWS, has_text="One").get_by_role("img", name="A reply is being made")
    expect(mark).to_be_visible()
    go_on.give()
    expect(mark).to_have_count(0)


def test_a_thousand_conversations_are_all_in_the_list_when_its_end_is_seen(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    owner = f"browser:{page.context.cookies()[0]['value']}"
    rows = [
        {
            "owner": owner,
            "session_id": f"s{number}",
            "title": f"title {number}",
            "created_at": 1.0,
            "updated_at": number,
        }
        for number in range(1000)
    ]
    with script.sessions._store()._engine.begin() as connection:
        connection.execute(insert(sessions), rows)
    page.reload()
    wait_until_idle(page)
    expect(page.locator(ROWS)).to_have_count(200)

    while page.locator(ROWS).count() < 1001:
        page.locator(ROWS).last.scroll_into_view_if_needed()
        page.wait_for_timeout(20)

    expect(page.locator("#conversations .more")).to_be_hidden()
    first = page.locator(ROWS).nth(500).element_handle()
    send(page, "goes to the top of all")
    wait_until_done(page, 2)
    assert first is not None
    assert first.evaluate("(row) => row.isConnected"), "rows that are as they were are not made anew"


def test_the_search_is_one_key_away_and_so_is_the_box(page: Page, script: ScriptedClient) -> None:
    talk(page, "About whales")
    talk(page, "About cats")
    page.keyboard.press("Control+k")
    page.keyboard.type("whales")
    expect(page.locator(f"{ROWS} .open")).to_have_text(["About whales"])

    page.keyboard.press("Escape")

    expect(page.locator(BOX)).to_be_focused()
    expect(page.locator(f"{ROWS} .open")).to_have_text(["About cats", "About whales"])
    page.locator("#sidebar .toggle-button").click()
    expect(page.locator("#sidebar.open")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.locator("#sidebar.open")).to_have_count(1)
