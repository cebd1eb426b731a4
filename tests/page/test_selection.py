"""Several conversations of the list at once, and files of conversations, under the hands of a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.page.list_commands import MOST_LISTED
from llm_core.page.selection import Several
from tests.scripted_client import ScriptedClient, Signal
from tests.visitor import send, wait_until_done

from .screen import BOX, ROWS, USER, holding, row, talk

Open = Callable[..., Page]

ACTS = "#conversations .selection .acts"
TITLES = f"{ROWS} .open"
FIVE = ("One", "Two", "Three", "Four", "Five")
LISTED = list(reversed(FIVE))


@pytest.fixture
def five(page: Page, script: ScriptedClient) -> Page:
    for text in FIVE:
        talk(page, text)
    expect(page.locator(TITLES)).to_have_text(LISTED)
    return page


def expect_ticked(page: Page, titles: list[str]) -> None:
    expect(page.locator("#conversations li:has(.tick:checked) .open")).to_have_text(titles)


def press(page: Page, name: str) -> None:
    page.locator(ACTS).get_by_role("button", name=name, exact=True).click()


def delete(page: Page) -> None:
    pressed = page.locator(f"{ACTS} .remove")
    pressed.click()
    expect(pressed).not_to_have_attribute("aria-disabled", "true")
    pressed.click()


def test_a_click_with_control_takes_one_and_with_shift_all_up_to_there(five: Page) -> None:
    row(five, "Four").click(modifiers=["ControlOrMeta"])
    expect(five.locator(f"{ACTS} .count")).to_have_text("1 selected")
    row(five, "Two").click(modifiers=["Shift"])
    expect_ticked(five, ["Four", "Three", "Two"])
    row(five, "Three").click(modifiers=["ControlOrMeta"])
    expect_ticked(five, ["Four", "Two"])
    expect(five.locator(USER)).to_have_text(["Five"])  # nothing was opened

    five.keyboard.press("Escape")
    expect(five.locator(ACTS)).to_have_count(0)
    expect_ticked(five, [])
    row(five, "Two").click()
    expect(five.locator(USER)).to_have_text(["Two"])


def test_several_are_deleted_and_one_press_takes_all_of_it_back(five: Page, script: ScriptedClient) -> None:
    row(five, "Five").click(modifiers=["ControlOrMeta"])
    row(five, "Three").click(modifiers=["Shift"])
    delete(five)

    expect(five.locator("#notes .deleted")).to_contain_text("3 conversations were deleted.")
    expect(five.locator(TITLES)).to_have_text(["Two", "One"])
    expect(five.locator(USER)).to_have_count(0)
    expect(five.locator(ACTS)).to_have_count(0)
    five.locator("#notes .deleted").get_by_role("button", name="Undo").click()
    expect(five.locator(TITLES)).to_have_text(LISTED)
    expect(five.locator(USER)).to_have_text(["Five"])
    expect(five.locator("#notes .deleted")).to_have_count(0)


def test_by_keyboard_a_box_is_ticked_at_each_row(five: Page) -> None:
    five.get_by_role("button", name="Select", exact=True).press("Enter")
    expect(five.locator("#conversations .tick").first).to_be_focused()
    five.keyboard.press("Space")
    five.get_by_label("Select: Three").press("Shift+Space")
    expect(five.locator(f"{ACTS} .count")).to_have_text("3 selected")
    expect_ticked(five, ["Five", "Four", "Three"])
    five.keyboard.press("Escape")
    expect(five.get_by_role("button", name="Select", exact=True)).to_be_focused()


def test_several_are_pinned_and_no_more(five: Page) -> None:
    for name in ("One", "Three"):
        row(five, name).click(modifiers=["ControlOrMeta"])
    press(five, "Pin")
    expect(five.locator(TITLES)).to_have_text(["Three", "One", "Five", "Four", "Two"])
    expect(five.locator("#conversations .day").first).to_have_text("Pinned")
    expect_ticked(five, ["Three", "One"])
    five.locator(f"{ACTS} .pin-all", has_text="Unpin").click()
    expect(five.locator(TITLES)).to_have_text(LISTED)


def test_one_that_still_replies_is_stopped_and_deleted_with_the_others(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    go_on = Signal()
    script.script = holding(go_on)
    page.locator("#new-chat").click()
    page.fill(BOX, "Two")
    page.press(BOX, "Enter")
    expect(page.get_by_text("First half")).to_be_visible()
    row(page, "Two").click(modifiers=["ControlOrMeta"])
    row(page, "One").click(modifiers=["ControlOrMeta"])
    delete(page)
    go_on.give()
    expect(page.locator("#notes .deleted")).to_contain_text("2 conversations were deleted.")
    expect(page.locator(ROWS)).to_have_count(0)


def test_what_was_saved_as_a_file_opens_as_conversations_of_ones_own(
    five: Page, script: ScriptedClient, tmp_path: Path
) -> None:
    row(five, "Two").click(modifiers=["ControlOrMeta"])
    row(five, "One").click(modifiers=["ControlOrMeta"])
    with five.expect_download() as saving:
        press(five, "Save as a file")
    assert saving.value.suggested_filename == "2 conversations.json"
    path = tmp_path / "saved.json"
    saving.value.save_as(path)
    assert len(json.loads(path.read_text())["sessions"]) == 2
    five.keyboard.press("Escape")

    five.locator("#conversations .selection input[type=file]").set_input_files(path)
    expect(five.locator(TITLES)).to_have_count(7)
    expect(five.locator(USER)).to_have_text(["Two"])
    send(five, "and more")
    wait_until_done(five, 2)
    assert [message.content for message in script.asked[-1]] == ["Two", "Fine.", "and more"]


def test_a_file_of_more_conversations_than_a_request_has_room_for_is_opened(
    page: Page, script: ScriptedClient, tmp_path: Path
) -> None:
    long = [{"role": "user", "content": '"\n' * 60_000}, {"role": "assistant", "content": "Fine."}]
    sessions: list[dict[str, Any]] = [{"title": f"Long {number}", "messages": 8 * long} for number in range(3)]
    sessions += [{"title": f"Short {number}", "messages": [{"role": "user", "content": "Hi"}]} for number in range(550)]
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"sessions": sessions}))
    assert path.stat().st_size > 4_194_304
    page.locator("#conversations .selection input[type=file]").set_input_files(path)

    expect(page.locator(USER)).to_have_count(8)
    owner = f"browser:{page.context.cookies()[0]['value']}"
    rest = script.sessions.list(owner=owner, limit=500, offset=500)
    assert len(rest) == 53


def test_a_file_is_opened_as_far_as_it_can_be(page: Page, script: ScriptedClient, tmp_path: Path) -> None:
    texts = ["Short", "x" * 1_900_000, "x" * 4_100_000]
    sessions = [{"title": text[:5], "messages": [{"role": "user", "content": text}]} for text in texts]
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"sessions": sessions}))
    page.locator("#conversations .selection input[type=file]").set_input_files(path)

    expect(page.locator("#notes .notice")).to_contain_text("This file is larger than what can be opened here")
    expect(page.locator(TITLES)).to_have_count(2)


def test_all_that_can_be_listed_can_be_taken_at_once() -> None:
    ids = [f"{number:032x}" for number in range(MOST_LISTED)]
    assert Several(key="0" * 48, conversation=ids[0], conversations=ids).conversations == ids


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "The file is no JSON, so it is no exported conversation."),
        ('{"presets": []}', "The file is no exported conversation: messages: field required"),
        ('{"messages": [{"role": "assistant", "content": "Hi"}]}', "each turn begins with what was said to the model"),
        ("[" * 100_000, "The file is no JSON"),
        (" " * 4_100_000, "This file is larger than what can be opened here"),
    ],
    ids=["text", "presets", "reply", "levels", "large"],
)
def test_a_file_that_is_no_conversation_is_refused_in_a_sentence(
    page: Page, script: ScriptedClient, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    page.locator("#conversations .selection input[type=file]").set_input_files(path)
    expect(page.locator("#notes .notice")).to_contain_text(said)
    expect(page.locator(ROWS)).to_have_count(0)
