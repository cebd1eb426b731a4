"""The page around its conversation: keys, the address, what is copied, what is drawn, and a frame without storage."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
from playwright.sync_api import Page, Request, expect

from llm_core.events import ChatEvent, ContentDelta, Queued, ReasoningDelta
from tests.scripted_client import END, ScriptedClient, Signal
from tests.visitor import REPLY, send, wait_for_text, wait_until_done, wait_until_idle

from .screen import BOX, ROWS, USER, answering, copied, full, holding, row, stored, talk, talk_elsewhere

Open = Callable[..., Page]


def test_back_goes_to_the_conversation_before(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    talk(page, "Two")
    row(page, "One").click()
    expect(page.locator(USER)).to_have_text(["One"])
    page.go_back()
    expect(page.locator(USER)).to_have_text(["Two"])
    page.go_forward()
    expect(page.locator(USER)).to_have_text(["One"])


def test_on_a_touch_keyboard_enter_is_a_new_line_and_the_button_sends(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    page = open_page(scripted_page[1], has_touch=True, is_mobile=True, viewport={"width": 390, "height": 780})
    page.locator(BOX).tap()
    page.keyboard.type("One")
    page.keyboard.press("Enter")
    page.keyboard.type("Two")
    expect(page.locator(BOX)).to_have_value("One\nTwo")
    wait_until_idle(page)
    page.get_by_role("button", name="Send").tap()
    wait_until_done(page)
    assert stored(page, script)[0][0] == "One\nTwo"


def test_escape_stops(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "One")
    wait_for_text(page, 5)
    with page.expect_request(lambda request: '"fn_name":"stop"' in (request.post_data or "").replace(" ", "")):
        page.keyboard.press("Escape")
    go_on.give()
    wait_until_idle(page)


def test_a_message_takes_four_requests_and_no_history_is_sent(page: Page, script: ScriptedClient) -> None:
    talk(page, *(f"message {number}" for number in range(4)))
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    send(page, "One more")
    wait_until_done(page, 5)
    wait_until_idle(page)

    busy_machine = [request for request in sent if '"pace"' in (request.post_data or "")]
    assert len(sent) - len(busy_machine) == 4, [request.url for request in sent]
    assert not any("message 2" in (request.post_data or "") for request in sent)


def test_what_is_copied_is_what_was_said_and_no_thought(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    paragraph = "word " * 100
    text = f"{paragraph}\n\n{paragraph}\n\nEnd."

    def thoughtful() -> Generator[ChatEvent]:
        yield Queued(0)
        yield ReasoningDelta("Hm.")
        yield ContentDelta(text)
        yield END

    script.script = thoughtful
    page = open_page(scripted_page[1], permissions=["clipboard-read", "clipboard-write"])
    send(page, "  indented\n# no heading")
    wait_until_done(page)
    assert copied(page, page.locator("#chat .message-buttons-left button").first) == text
    page.locator(USER).hover()
    assert copied(page, page.locator("#chat .message-buttons-right button").first) == "  indented\n# no heading"


def test_a_ticked_box_is_seen_and_text_stands_on_the_side_of_its_language(page: Page, script: ScriptedClient) -> None:
    script.script = lambda: answering("- [x] done\n\nشكرا جزيلا\n\nThank you")
    talk(page, "مرحبا")
    box = page.locator(f"{REPLY} input[type=checkbox]")
    expect(box).to_be_checked()
    expect(box).to_have_css("appearance", "auto")  # Gradio's own has a white tick
    edges = page.evaluate(EDGES, f"{REPLY} p")
    assert [edge["right"] < 5 for edge in edges[-2:]] == [True, False], edges
    assert [edge["left"] < 5 for edge in edges[-2:]] == [False, True], edges


EDGES = """(paragraphs) => [...document.querySelectorAll(paragraphs)].map((paragraph) => {
  const text = document.createRange();
  text.selectNodeContents(paragraph);
  const [inner, outer] = [text.getBoundingClientRect(), paragraph.getBoundingClientRect()];
  return { left: inner.left - outer.left, right: outer.right - inner.right };
})"""


def test_what_is_printed_is_the_whole_conversation(page: Page, script: ScriptedClient) -> None:
    script.script = lambda: answering("\n\n".join(["A paragraph."] * 60))
    talk(page, "One", "Two")
    on_screen = page.locator("#chat").bounding_box()
    page.emulate_media(media="print")
    printed = page.locator("#chat").bounding_box()
    assert on_screen
    assert printed
    assert printed["height"] > 3 * on_screen["height"]
    scrolled = page.locator("#chat .bubble-wrap")
    hidden = scrolled.evaluate("box => box.scrollHeight - box.clientHeight")
    assert hidden <= 1
    expect(page.locator(BOX)).to_be_hidden()
    expect(page.locator(ROWS).first).to_be_hidden()


NOTE_CHANGES = """(rows) => {
  window.changes = [];
  const seen = [...document.querySelectorAll(rows)];
  const note = (found) => changes.push(...found.map((each) => each.target.textContent.slice(0, 40)));
  for (const row of seen) {
    const all = { childList: true, characterData: true, attributeFilter: ["dir"] };
    new MutationObserver(note).observe(row, { ...all, subtree: true });
  }
}"""


def test_the_past_and_finished_parts_of_a_reply_are_drawn_once(page: Page, script: ScriptedClient) -> None:
    talk(page, "One", "Two")
    page.evaluate(NOTE_CHANGES, "#chat .message-row")
    paragraph = "word " * 150
    go_on = Signal()

    def long() -> Generator[ChatEvent]:
        yield Queued(0)
        yield ContentDelta(f"{paragraph}\n\n{paragraph}\n\nEnd\n\n")
        go_on.wait()
        for number in range(20):
            yield ContentDelta(f"more {number} ")
        yield END

    script.script = long
    send(page, "Three")
    expect(page.locator("#chat .bot-row").last.locator(".message .message-content")).to_have_count(3)
    page.evaluate(
        NOTE_CHANGES.replace("window.changes = [];", "window.changes ??= [];"),
        "#chat .bot-row:last-of-type .message .message:nth-child(1) .prose",
    )
    go_on.give()
    wait_until_done(page, 3)
    assert page.evaluate("changes") == []


def test_only_the_newest_turns_are_shown_until_more_are_asked_for(page: Page, script: ScriptedClient) -> None:
    talk(page, "message 0")
    talk_elsewhere(page, script, (f"message {number}" for number in range(1, 45)))
    page.reload()
    expect(page.locator(USER)).to_have_count(10)
    expect(page.locator(USER).last).to_have_text("message 44")
    for shown in (30, 45):
        page.get_by_role("button", name="Show earlier messages").click()
        expect(page.locator(USER)).to_have_count(shown)
    expect(page.locator(USER).first).to_have_text("message 0")
    expect(page.get_by_role("button", name="Show earlier messages")).to_be_hidden()
    send(page, "One more")
    expect(page.locator(USER)).to_have_count(11)  # each step of a reply draws all that is shown
    expect(page.locator(USER).last).to_have_text("One more")
    wait_until_done(page, 11)
    page.get_by_role("button", name="Show earlier messages").click()
    expect(page.locator(USER)).to_have_count(31)
    expect(page.locator(USER).first).to_have_text("message 15")


def test_a_message_that_is_refused_leaves_the_newest_turns_on_the_screen(page: Page, script: ScriptedClient) -> None:
    talk(page, "message 0")
    talk_elsewhere(page, script, (f"message {number}" for number in range(1, 12)))
    page.reload()
    expect(page.locator(USER)).to_have_count(10)
    script.script = full
    send(page, "One more")
    expect(page.locator("#notes .unsent")).to_be_visible()
    wait_until_idle(page)
    expect(page.locator(USER)).to_have_text([f"message {number}" for number in range(2, 12)])


FRAME = '<iframe src="{url}" style="width: 1100px; height: 780px"></iframe>'
DENIED = """
for (const name of ["localStorage", "sessionStorage"]) {
  const get = () => { throw new DOMException("denied", "SecurityError"); };
  Object.defineProperty(window, name, { get, configurable: true });
}
"""


def test_in_a_frame_that_is_denied_storage_the_page_works_and_comes_back_to_the_last_conversation(
    page: Page, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    outer = page.context.new_page()
    outer.add_init_script(DENIED)
    outer.route("**/outer.html", lambda route: route.fulfill(body=FRAME.format(url=scripted_page[1])))
    outer.goto(f"{scripted_page[1]}outer.html")
    frame = outer.frame_locator("iframe")
    frame.locator("body[data-chat=idle]").wait_for()
    frame.locator(BOX).fill("Hello")
    frame.locator(BOX).press("Enter")
    expect(frame.locator(REPLY)).to_have_text(["Fine."])
    expect(frame.locator(ROWS)).to_have_count(1)
    outer.reload()
    expect(frame.locator(USER)).to_have_text(["Hello"])
    outer.close()


# Gradio makes its parts one after the other, in no order that could be relied on.
PART_COMES_LATE = """{
    const { querySelector } = Document.prototype;
    let asked;
    Document.prototype.querySelector = function (selector) {
        const isLate = selector.startsWith("PART") && performance.now() - (asked ??= performance.now()) < 500;
        return isLate ? null : querySelector.call(this, selector);
    };
}"""


@pytest.mark.parametrize("part", ["#header", "#sidebar", "#conversations", "#search", "#chat", "#message", "#settings"])
def test_whichever_part_gradio_makes_last(page: Page, script: ScriptedClient, part: str) -> None:
    talk(page, "One")
    page.context.add_init_script(PART_COMES_LATE.replace("PART", part))
    page.reload()
    page.locator("#settings > .label-wrap").click()
    page.get_by_label("Calculator").check()  # what is there before the page hears of it would be taken back

    expect(page.locator(USER)).to_have_text(["One"])
    send(page, "Two")
    wait_until_done(page, 2)
    assert [tool.name for tool in script.requests[-1].tools] == ["calculate"]
