"""The list of conversations under the hands of a person."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.scripted_client import ScriptedClient
from tests.visitor import send, wait_until_done, wait_until_idle

from .screen import ROWS, USER, row, talk

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
