"""What is set for the replies comes back with its conversation. In a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.settings import Settings
from tests.scripted_client import ScriptedClient
from tests.visitor import send, wait_until_done, wait_until_idle

from .screen import BOX, ROWS, USER, held, row, talk

Open = Callable[..., Page]


def unfold(page: Page) -> None:
    if page.locator("#settings > .label-wrap.open").count() == 0:
        page.locator("#settings > .label-wrap").click()


def set_everything(page: Page) -> None:
    unfold(page)
    page.get_by_label("System prompt").fill("You are a pirate.")
    slide(page, "Temperature", 1.5)
    slide(page, "Top-p", 0.5)
    slide(page, "Longest reply", 77)
    page.get_by_label("Calculator").check()


def slide(page: Page, label: str, value: float) -> None:
    number = page.get_by_role("spinbutton", name=f"{label}")
    number.fill(str(value))
    number.press("Tab")


PIRATE = {
    "system_prompt": "You are a pirate.",
    "temperature": 1.5,
    "top_p": 0.5,
    "max_tokens": 77,
    "calculator": True,
}
FRESH = {
    "system_prompt": Settings().system_prompt,
    "temperature": 0.7,
    "top_p": 0.95,
    "max_tokens": 512,
    "calculator": False,
}


def expect_shown(page: Page, expected: dict[str, Any]) -> None:
    unfold(page)
    expect(page.get_by_label("System prompt")).to_have_value(expected["system_prompt"])
    for label, name in (("Temperature", "temperature"), ("Top-p", "top_p"), ("Longest reply", "max_tokens")):
        expect(page.get_by_role("spinbutton", name=f"{label}")).to_have_value(str(expected[name]))
    expect(page.get_by_label("Calculator")).to_be_checked(checked=expected["calculator"])


def test_settings_come_back_with_their_conversation_after_a_reload_and_in_another_tab(
    page: Page, script: ScriptedClient
) -> None:
    set_everything(page)
    pirates = talk_here(page, "Ahoy")
    talk(page, "Plain")
    expect_shown(page, FRESH)

    row(page, "Ahoy").click()
    expect_shown(page, PIRATE)
    page.reload()
    wait_until_idle(page)
    expect_shown(page, PIRATE)

    other = page.context.new_page()
    other.goto(f"{page.url.split('?')[0]}?c={pirates}")
    wait_until_idle(other)
    expect_shown(other, PIRATE)
    send(other, "Again")
    wait_until_done(other, 2)
    asked = script.requests[-1]
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.max_tokens) == (1.5, 0.5, 77)
    assert [tool.name for tool in asked.tools] == ["calculate"]
    other.close()


def talk_here(page: Page, text: str) -> str:
    send(page, text)
    wait_until_done(page)
    return str(page.evaluate("() => new URL(location).searchParams.get('c')"))


def test_what_was_set_and_not_sent_yet_waits_in_its_conversation(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    talk(page, "Two")
    set_everything(page)

    row(page, "One").click()
    expect_shown(page, FRESH)
    row(page, "Two").click()
    expect_shown(page, PIRATE)
    page.reload()
    wait_until_idle(page)
    expect_shown(page, PIRATE)
    owner = f"browser:{page.context.cookies()[0]['value']}"
    kept = script.sessions.get(page.url.split("c=")[1], owner=owner).settings
    assert kept is not None
    assert kept["temperature"] == 0.7, "nothing was said with it yet"


def test_nothing_can_be_set_before_it_is_known_what_is_set(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    calculator = page.get_by_label("Calculator")
    with held(page, "open") as answers:
        page.reload()
        unfold(page)
        expect(calculator).to_be_visible()
        place = calculator.bounding_box()
        assert place is not None
        page.mouse.click(place["x"] + 5, place["y"] + 5)
        calculator.focus()
        page.keyboard.press("Space")
        expect(page.locator("body")).to_have_attribute("data-chat", "opening")
        expect(calculator).not_to_be_checked()
        for answer in answers:
            answer.continue_()
    calculator.check()
    send(page, "Two")
    wait_until_done(page, 2)

    assert [tool.name for tool in script.requests[-1].tools] == ["calculate"]


@pytest.mark.parametrize("late", [0, 100])
def test_what_gradio_draws_late_is_drawn_over(page: Page, script: ScriptedClient, late: int) -> None:
    set_everything(page)
    page.reload()
    wait_until_idle(page)
    # The inputs are made when they are unfolded.
    page.evaluate(
        """late => {
            const put = (input, value) => {
                Object.assign(input, typeof value === "boolean" ? { checked: value } : { value });
            };
            new MutationObserver((_, observer) => {
                if (!document.querySelector("#tools input")) return;
                observer.disconnect();
                setTimeout(() => {
                    put(document.querySelector("#system-prompt textarea"), "Another.");
                    for (const id of ["temperature", "top-p", "max-tokens"]) {
                        put(document.querySelector(`#${id} [type=number]`), "1");
                    }
                    document.querySelectorAll("#tools input").forEach((box) => put(box, !box.checked));
                }, late);
            }).observe(document.querySelector("#settings"), { childList: true, subtree: true });
        }""",
        late,
    )
    expect_shown(page, PIRATE)
    talk_here(page, "One")
    asked = script.requests[-1]
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.max_tokens) == (1.5, 0.5, 77)
    assert [tool.name for tool in asked.tools] == ["calculate"]


def test_a_slider_that_is_dragged_or_set_back_is_what_is_sent(page: Page, script: ScriptedClient) -> None:
    unfold(page)
    page.get_by_role("slider", name="Temperature").press("ArrowRight")
    talk_here(page, "One")
    assert script.requests[-1].sampling.temperature == 0.75
    page.get_by_role("spinbutton", name="Temperature").locator("xpath=..").locator("button").click()
    send(page, "Two")
    wait_until_done(page, 2)
    assert script.requests[-1].sampling.temperature == 0.7


@pytest.mark.parametrize(
    ("label", "typed", "nearest"),
    [("Temperature", "9", "2"), ("Top-p", "-1", "0"), ("Longest reply", "77.6", "78"), ("Longest reply", "", "1")],
)
@pytest.mark.parametrize("drawn", [None, "0.3"])
def test_a_number_out_of_range_is_the_nearest(
    page: Page, script: ScriptedClient, label: str, typed: str, nearest: str, drawn: str | None
) -> None:
    unfold(page)
    number = page.get_by_role("spinbutton", name=label)
    number.fill(typed)
    if drawn is not None:
        number.evaluate("(input, drawn) => (input.value = drawn)", drawn)  # by Gradio, meanwhile
    number.press("Tab")
    expect(number).to_have_value(nearest)
    talk_here(page, "One")
    asked = script.requests[-1]
    sent = {"Temperature": asked.sampling.temperature, "Top-p": asked.sampling.top_p, "Longest reply": asked.max_tokens}
    assert sent[label] == float(nearest)
    expect(number).to_have_value(nearest)


def test_a_box_that_is_ticked_by_enter_is_ticked(page: Page, script: ScriptedClient) -> None:
    unfold(page)
    expect(page.get_by_label("Calculator")).to_be_visible()
    page.get_by_label("Calculator").press("Enter")
    expect(page.get_by_label("Calculator")).to_be_checked()
    talk_here(page, "One")
    assert [tool.name for tool in script.requests[-1].tools or ()] == ["calculate"]


def test_who_goes_to_another_conversation_out_of_a_number_sets_nothing_there(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    talk(page, "Two")
    unfold(page)
    slide(page, "Temperature", 1.5)
    page.get_by_role("spinbutton", name="Temperature").focus()
    page.evaluate("() => history.back()")
    expect(page.locator(USER)).to_have_text(["One"])
    page.focus(BOX)
    send(page, "One more")
    wait_until_done(page, 2)
    assert script.requests[-1].sampling.temperature == 0.7


def test_a_list_that_was_folded_away_stays_so_in_this_browser(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator("#sidebar .toggle-button").click()
    expect(page.locator("#sidebar.open")).to_have_count(0)
    page.reload()
    wait_until_idle(page)
    expect(page.locator("#sidebar.open")).to_have_count(0)
    page.locator("#sidebar .toggle-button").click()
    page.reload()
    wait_until_idle(page)
    expect(page.locator("#sidebar.open")).to_have_count(1)
    expect(page.locator(ROWS)).to_have_count(1)
