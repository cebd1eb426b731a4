"""What is typed is in the box, in the store, or above the box with the reason why it was not sent."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.errors import SequenceFailed
from llm_core.events import ChatEvent
from tests.scripted_client import END, ScriptedClient, Signal
from tests.visitor import UNSENT, send, wait_until_done, wait_until_idle
from tests.waiting import wait_until

from .screen import BOX, USER, address, answering, full, held, row, stored, talk

Open = Callable[..., Page]


def too_long() -> Generator[ChatEvent]:
    raise SequenceFailed("This message is too long.")
    yield END


@pytest.mark.parametrize(("refuses", "sentence"), [(full, "Everyone is busy."), (too_long, "too long")])
@pytest.mark.parametrize("does", ["retry", "edit"])
def test_what_was_to_be_replaced_stays_where_the_new_one_is_refused(
    page: Page, script: ScriptedClient, refuses: Any, sentence: str, does: str
) -> None:
    talk(page, "One", "Two")
    script.script = refuses
    if does == "retry":
        page.get_by_role("button", name="Retry").click()
    else:
        page.get_by_label("Edit").first.click()
        send(page, "Eins")
    expect(page.locator(f"{UNSENT} p")).to_contain_text(sentence)
    expect(page.locator(f"{UNSENT} pre")).to_have_text("Two" if does == "retry" else "Eins")

    expect(page.locator(USER)).to_have_text(["One", "Two"])
    assert stored(page, script) == [("One", "Fine."), ("Two", "Fine.")]
    page.reload()
    expect(page.locator(USER)).to_have_text(["One", "Two"])
    script.script = answering
    wait_until_idle(page)
    page.get_by_role("button", name="Send again").click()
    kept = ["One", "Two"] if does == "retry" else ["Eins"]
    expect(page.locator(USER)).to_have_text(kept)
    wait_until_done(page, len(kept))
    assert [texts[0] for texts in stored(page, script)] == kept


def test_a_first_message_that_is_refused_is_there_after_a_reload(page: Page, script: ScriptedClient) -> None:
    script.script = full
    send(page, "Hello")
    expect(page.locator(f"{UNSENT} p")).to_have_text("Everyone is busy. Try again in a minute.")
    conversation = address(page)
    page.reload()
    wait_until_idle(page)
    assert address(page) == conversation
    expect(page.locator(f"{UNSENT} pre")).to_have_text("Hello")
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(BOX)).to_have_value("Hello")
    expect(page.locator(UNSENT)).to_have_count(0)


def test_what_is_typed_is_there_after_a_reload_and_in_its_own_conversation(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.fill(BOX, "a thought for One")
    page.locator("#new-chat").click()
    expect(page.locator(BOX)).to_have_value("")
    page.fill(BOX, "a thought for another")
    page.reload()
    wait_until_idle(page)
    expect(page.locator(BOX)).to_have_value("a thought for another")
    row(page, "One").click()
    expect(page.locator(BOX)).to_have_value("a thought for One")


LATE_SCRIPT = (
    "const real = setInterval; window.setInterval = (f, ms, ...more) => real(f, ms === 20 ? 1500 : ms, ...more);"
)


def test_what_is_typed_before_the_page_is_ready_stays_typed(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.fill(BOX, "a thought from before")
    page.add_init_script(LATE_SCRIPT)
    page.reload()
    page.wait_for_selector(BOX)
    page.fill(BOX, "typed early")
    wait_until_idle(page)
    expect(page.locator(BOX)).to_have_value("typed early")
    expect(page.locator(f"{UNSENT} pre")).to_have_text("a thought from before")


def test_what_is_taken_back_is_there_where_the_page_is_left_before_the_answer(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One", "Two")
    with held(page, "take_back") as routes:
        page.get_by_role("button", name="Undo").click()
        wait_until(lambda: page.evaluate("1") and routes, "it is on its way")
        routes[0].fetch()  # the server does it, and the page never hears
        page.reload()
    expect(page.locator(USER)).to_have_text(["One"])
    expect(page.locator(f"{UNSENT} pre")).to_have_text("Two")


@pytest.mark.parametrize("is_late", ["refused", "taken"])
def test_a_message_that_is_left_before_the_engine_has_it_is_said_or_kept(
    page: Page, script: ScriptedClient, is_late: str
) -> None:
    first, go_on = talk(page, "One"), Signal()

    def late() -> Generator[ChatEvent]:
        go_on.wait()
        yield from answering() if is_late == "taken" else full()

    script.script = late
    with page.expect_response(lambda answer: '"begin"' in (answer.request.post_data or "")):
        send(page, "Two")
        page.locator("#new-chat").click()
    go_on.give()
    drafts = "conversation => JSON.parse(sessionStorage.getItem('llm-core-drafts'))?.[conversation]?.unsent ?? []"
    wait_until(
        lambda: (
            [bool(each["reason"]) for each in page.evaluate(drafts, first)] == ([] if is_late == "taken" else [True])
        ),
        "it is known what became of it",
    )
    row(page, "One").click()
    expect(page.locator(USER)).to_have_text(["One", "Two"] if is_late == "taken" else ["One"])
    expect(page.locator(f"{UNSENT} pre")).to_have_text([] if is_late == "taken" else ["Two"])


def test_what_was_refused_while_it_was_to_be_taken_back_stays(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    script.script = full
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        page.get_by_role("button", name="Undo").click()
        routes[0].continue_()
        expect(page.locator(f"{UNSENT} pre")).to_have_text("Two")
    wait_until_idle(page)
    expect(page.locator(f"{UNSENT} pre")).to_have_text("Two")
    assert stored(page, script) == [("One", "Fine.")]


def test_the_message_box_stays_where_it_is_and_a_double_click_on_send_discards_nothing(
    page: Page, script: ScriptedClient
) -> None:
    script.script = full
    send_button = page.get_by_role("button", name="Send", exact=True)
    bottoms = []
    texts = [f"message {number}" for number in range(8)]
    for number, text in enumerate(texts, start=1):
        page.fill(BOX, text)
        send_button.dblclick()
        wait_until_idle(page)
        expect(page.locator(f"{UNSENT} pre")).to_have_text(texts[:number])
        box = send_button.bounding_box()
        assert box is not None
        bottoms.append(box["y"] + box["height"])
    assert bottoms[1:] == [bottoms[1]] * 7  # the first moves it: the page begins with an empty chat


def test_a_message_whose_conversation_is_opened_anew_on_its_way_is_seen(page: Page, script: ScriptedClient) -> None:
    talk(page, "One", "Two")
    with held(page, "begin") as routes:
        page.get_by_label("Edit").first.click()
        send(page, "Eins")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        row(page, "One").click()
        expect(page.locator(USER)).to_have_text(["One", "Two"])
        wait_until_idle(page)
        routes[0].continue_()
        expect(page.locator(USER)).to_have_text(["Eins"])
    expect(page.locator(UNSENT)).to_have_count(0)
    assert stored(page, script) == [("Eins", "Fine.")]
