"""Presets under the hands of a person, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.scripted_client import ScriptedClient
from tests.visitor import send, wait_until_done, wait_until_idle
from tests.waiting import wait_until

from .screen import COMMANDS, held, row, talk
from .test_settings_kept import FRESH, PIRATE, expect_shown, set_everything

Open = Callable[..., Page]

PANEL = "dialog#presets"
SAID = f"{PANEL} .said"
NAMES = f"{PANEL} .name"


def show(page: Page) -> None:
    page.locator("#settings .presets-opener").click()
    expect(page.locator(PANEL)).to_be_visible()


def save(page: Page, name: str) -> None:
    show(page)
    page.get_by_label("Name of the preset").fill(name)
    page.keyboard.press("Enter")
    expect(page.locator(SAID)).to_contain_text(f"“{name}” has what is set now.")
    page.locator(PANEL).get_by_label("Close").click()


def choose(page: Page, name: str) -> None:
    show(page)
    page.locator(NAMES, has_text=name).click()
    expect(page.locator(PANEL)).to_be_hidden()


def act(page: Page, name: str, label: str) -> None:
    page.locator(f"{PANEL} li", has_text=name).get_by_label(label, exact=True).click()


def test_what_is_set_is_kept_as_a_preset_and_chosen_in_another_conversation(page: Page, script: ScriptedClient) -> None:
    talk(page, "Going on")
    page.locator("#new-chat").click()
    set_everything(page)
    save(page, "Pirate")
    expect(page.locator("#settings .presets-opener")).to_have_text("Pirate")

    row(page, "Going on").click()
    expect_shown(page, FRESH)
    expect(page.locator("#settings .presets-opener")).to_have_text("Presets")
    choose(page, "Pirate")
    expect_shown(page, PIRATE)
    send(page, "More")
    wait_until_done(page, 2)
    asked = script.requests[-1]
    assert (asked.sampling.temperature, asked.messages[0].content) == (1.5, "You are a pirate.")

    page.reload()
    wait_until_idle(page)
    expect_shown(page, PIRATE)
    expect(page.locator("#settings .presets-opener")).to_have_text("Pirate")


def test_one_is_chosen_and_saved_for_a_conversation_that_is_open(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    set_everything(page)
    save(page, "Pirate")
    talk(page, "Two")
    show(page)
    with held(page, "open") as answers:
        page.evaluate("history.back()")
        expect(page.locator("body")).to_have_attribute("data-chat", "opening")
        page.locator(NAMES, has_text="Pirate").click()
        expect(page.locator(SAID)).to_contain_text("still being opened")
        page.get_by_label("Name of the preset").fill("Another")
        page.keyboard.press("Enter")
        wait_until(lambda: page.evaluate("1") and answers, "it is asked for")
        for answer in answers:
            answer.continue_()
    wait_until_idle(page)
    page.locator(NAMES, has_text="Pirate").click()
    expect_shown(page, PIRATE)
    show(page)
    expect(page.locator(NAMES)).to_have_text(["Pirate"])


def test_new_conversations_begin_with_the_default_also_after_a_reload(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    set_everything(page)
    save(page, "Pirate")
    show(page)
    act(page, "Pirate", "Begin new conversations with it")
    expect(page.locator(f"{PANEL} .default")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")

    page.locator("#new-chat").click()
    expect_shown(page, PIRATE)
    page.goto(page.url.split("?")[0])
    wait_until_idle(page)
    expect_shown(page, PIRATE)
    send(page, "Two")
    wait_until_done(page)
    assert script.requests[-1].sampling.temperature == 1.5

    show(page)
    act(page, "Pirate", "New conversations begin with it; no more")
    page.keyboard.press("Escape")
    page.locator("#new-chat").click()
    expect_shown(page, FRESH)


def test_a_preset_is_renamed_deleted_and_taken_back_by_keyboard(page: Page, script: ScriptedClient) -> None:
    save(page, "One")
    show(page)
    page.locator(PANEL).get_by_label("Rename").press("Enter")
    page.locator(f"{PANEL} li").get_by_label("Name of the preset").fill("Uno")
    page.keyboard.press("Enter")
    expect(page.locator(NAMES)).to_have_text(["Uno"])
    expect(page.locator(PANEL).get_by_label("Rename")).to_be_focused()

    delete = page.locator(PANEL).get_by_label("Delete")
    delete.press("Enter")
    expect(delete).not_to_have_attribute("aria-disabled", "true")
    delete.press("Enter")
    expect(page.locator(SAID)).to_contain_text("“Uno” was deleted.")
    expect(page.locator(NAMES)).to_have_count(0)
    page.locator(SAID).get_by_role("button", name="Undo").press("Enter")
    expect(page.locator(NAMES)).to_have_text(["Uno"])
    page.keyboard.press("Escape")
    expect(page.locator(PANEL)).to_be_hidden()


def test_a_preset_travels_as_a_file(page: Page, script: ScriptedClient, tmp_path: Path) -> None:
    set_everything(page)
    save(page, "Pirate")
    show(page)
    with page.expect_download() as saving:
        act(page, "Pirate", "Save as a file")
    path = tmp_path / saving.value.suggested_filename
    saving.value.save_as(path)
    (preset,) = json.loads(path.read_text())["presets"]
    assert preset["name"] == "Pirate"
    assert preset["run_tools"] == ["calculate"]

    page.locator(f"{PANEL} input[type=file]").set_input_files(path)
    expect(page.locator(NAMES)).to_have_text(["Pirate", "Pirate 2"])
    expect(page.locator(SAID)).to_contain_text("Opened: “Pirate 2”.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("presets:\n  - name: A\n    temperature: 9\n", "The file, line 3: temperature: input should be less than"),
        ('{"messages": []}', "it has no `presets:` with a list below it"),
        ("\x00\x01", "cannot be read"),
        ("x" * 4_100_000, "This file is larger than what can be opened here"),
    ],
    ids=["a bad value", "another file", "no text", "large"],
)
def test_a_file_that_is_no_preset_is_refused_in_a_sentence(
    page: Page, script: ScriptedClient, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    show(page)
    page.locator(f"{PANEL} input[type=file]").set_input_files(path)
    expect(page.locator(SAID)).to_contain_text(said)
    expect(page.locator(NAMES)).to_have_count(0)


def test_a_model_that_is_not_served_is_said_and_all_else_is_set(
    page: Page, script: ScriptedClient, tmp_path: Path
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("presets:\n  - name: Far\n    model: Elsewhere-70B\n    temperature: 1.5\n")
    show(page)
    page.locator(f"{PANEL} input[type=file]").set_input_files(path)
    page.locator(NAMES, has_text="Far").click()
    expect(page.locator("#notes .notice")).to_contain_text("The model Elsewhere-70B is not served here")
    send(page, "Hello")
    wait_until_done(page)
    assert script.requests[-1].sampling.temperature == 1.5


def test_an_answer_to_an_earlier_question_takes_nothing_away(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("presets:\n  - name: Far\n    temperature: 1.5\n")
    late: list[tuple[Route, APIResponse]] = []

    def hold_the_list(route: Route) -> None:
        answer = route.fetch()
        if route.request.post_data_json["fn_name"] == "presets" and not late:
            late.append((route, answer))
        else:
            route.fulfill(response=answer)

    page.route(COMMANDS, hold_the_list)
    show(page)
    page.locator(f"{PANEL} input[type=file]").set_input_files(path)
    expect(page.locator(NAMES, has_text="Far")).to_be_visible()
    ((route, answer),) = late
    with page.expect_response(COMMANDS):
        route.fulfill(response=answer)
    page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    expect(page.locator(NAMES, has_text="Far")).to_be_visible()
