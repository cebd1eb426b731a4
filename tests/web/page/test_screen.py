"""What is pressed is done to what was on the screen, or a sentence says why not; and nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from llm_core.errors import QueueFull, SequenceFailed
from llm_core.events import ChatEvent, ContentDelta, Queued, ReasoningDelta
from llm_core.sessions.records import Session
from tests.waiting import wait_until

from ..scripted_client import END, ScriptedClient, Signal
from ..visitor import BUSY, REPLY, STOP, UNSENT, send, wait_for_text, wait_until_done, wait_until_idle

Open = Callable[..., Page]

BOX = "#message textarea"
ROWS = "#conversations li"
USER = "#chat .user-row"
COMMANDS = "**/component_server/"
WENT_ON = "This conversation went on in another tab. Here is what it has now."


def answering(text: str = "Fine.") -> Generator[ChatEvent]:
    yield Queued(0)
    yield ContentDelta(text)
    yield END


def full() -> Generator[ChatEvent]:
    raise QueueFull("Everyone is busy. Try again in a minute.")
    yield END


def holding(go_on: Signal) -> Callable[[], Generator[ChatEvent]]:
    """A reply of which the second half waits."""

    def script() -> Generator[ChatEvent]:
        yield Queued(0)
        yield ContentDelta("First half")
        go_on.wait()
        yield ContentDelta(" and the second.")
        yield END

    return script


@pytest.fixture
def script(scripted: ScriptedClient) -> ScriptedClient:
    scripted.script = answering
    return scripted


def address(page: Page) -> str:
    return str(page.evaluate("() => new URL(location).searchParams.get('c')"))


def stored(page: Page, client: ScriptedClient, conversation: str | None = None) -> list[tuple[str, ...]]:
    """What was said in each turn of a conversation, of this page's where none is named."""
    owner = f"browser:{page.context.cookies()[0]['value']}"
    session: Session = client.sessions.get(conversation or address(page), owner=owner)
    return [tuple(message.content for message in turn.messages) for turn in session.turns]


def row(page: Page, title: str) -> Any:
    return page.locator(f"{ROWS} .open", has_text=title)


def talk(page: Page, *texts: str) -> str:
    """Says these in a new conversation. Returns its id."""
    page.locator("#new-chat").click()
    for replies, text in enumerate(texts, start=1):
        send(page, text)
        wait_until_done(page, replies)
    wait_until_idle(page)
    return address(page)


@contextmanager
def held(page: Page, command: str) -> Iterator[list[Route]]:
    """The answers to a command come when the test lets them."""
    routes: list[Route] = []

    def hold(route: Route, request: Request) -> None:
        if request.post_data_json["fn_name"] == command:
            routes.append(route)
        else:
            route.continue_()

    page.route(COMMANDS, hold)
    yield routes
    page.unroute(COMMANDS, hold)


# ── late answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_said_where_it_was_pressed_though_another_conversation_is_opened_at_once(
    page: Page, script: ScriptedClient
) -> None:
    first = talk(page, "One")
    second = talk(page, "Two")
    with held(page, "begin") as routes:
        send(page, "Three")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        row(page, "One").click()
        expect(page.locator(USER)).to_have_text(["One"])
        with page.expect_response(COMMANDS):
            routes[0].continue_()
    wait_until(lambda: stored(page, script, second)[-1] == ("Three", "Fine."), "it is answered")

    assert stored(page, script, first) == [("One", "Fine.")]
    expect(page.locator(USER)).to_have_text(["One"])
    send(page, "Four")
    wait_until_done(page, replies=2)
    assert [texts[0] for texts in stored(page, script, first)] == ["One", "Four"]
    row(page, "Two").click()
    expect(page.locator(USER)).to_have_text(["Two", "Three"])


@pytest.mark.parametrize("leaves_to", ["another", "new chat"])
def test_a_reply_that_is_left_is_drawn_nowhere_else_and_is_there_on_return(
    page: Page, script: ScriptedClient, leaves_to: str
) -> None:
    talk(page, "One")
    go_on = Signal()
    page.locator("#new-chat").click()
    script.script = holding(go_on)
    send(page, "Two")
    wait_for_text(page, len("First half"))

    row(page, "One").click() if leaves_to == "another" else page.locator("#new-chat").click()
    wait_until_idle(page)
    shown = ["One"] if leaves_to == "another" else []
    expect(page.locator(USER)).to_have_text(shown)
    go_on.give()
    wait_until(lambda: not script.sessions._live, "the reply has ended")
    page.wait_for_timeout(300)  # for an update to come that must not be drawn
    expect(page.locator(USER)).to_have_text(shown)
    expect(page.locator(REPLY)).to_have_text(["Fine."] * len(shown))

    row(page, "Two").click()
    assert wait_until_done(page) == "First half and the second."
    expect(page.locator(USER)).to_have_text(["Two"])


def test_of_two_conversations_that_are_opened_the_last_is_shown_whichever_answers_first(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    talk(page, "Two")
    page.locator("#new-chat").click()
    with held(page, "open") as routes:
        row(page, "One").click()
        row(page, "Two").click()
        wait_until(lambda: page.evaluate("1") and len(routes) == 2, "both are asked for")
        for route in reversed(routes):
            with page.expect_response(COMMANDS):
                route.continue_()
        wait_until_idle(page)

        expect(page.locator(USER)).to_have_text(["Two"])
        send(page, "Three")
        wait_until_done(page, replies=2)
    assert [texts[0] for texts in stored(page, script)] == ["Two", "Three"]


def test_what_is_typed_while_a_conversation_is_opened_stays_typed(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")
    page.locator("#new-chat").click()
    with held(page, "open") as routes:
        row(page, "One").click()
        page.fill(BOX, "Two")
        page.press(BOX, "Enter")
        expect(page.locator("#notes .notice")).to_contain_text("still being opened")
        routes[0].continue_()
        wait_until_idle(page)
    expect(page.locator(BOX)).to_have_value("Two")
    page.press(BOX, "Enter")
    wait_until_done(page, replies=2)


def test_a_message_whose_answer_is_lost_is_sent_once(page: Page, script: ScriptedClient) -> None:
    talk(page, "One")

    def lose(route: Route, request: Request) -> None:
        if request.post_data_json["fn_name"] == "begin":
            route.fetch()  # the server does it
            route.abort()
        else:
            route.continue_()

    page.route(COMMANDS, lose)
    send(page, "Two")
    wait_until_done(page, replies=2)
    assert stored(page, script) == [("One", "Fine."), ("Two", "Fine.")]
    expect(page.locator(UNSENT)).to_have_count(0)


def test_a_message_that_does_not_reach_the_server_is_kept_and_can_be_sent_again(
    page: Page, script: ScriptedClient
) -> None:
    talk(page, "One")
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        routes[0].abort()
        expect(page.locator(f"{UNSENT} p")).to_have_text("The server did not get this message.")
    page.reload()
    wait_until_idle(page)
    expect(page.locator(USER)).to_have_text(["One"])
    page.get_by_role("button", name="Send again").click()
    wait_until_done(page, replies=2)
    assert stored(page, script) == [("One", "Fine."), ("Two", "Fine.")]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize("does", ["Retry", "Undo"])
def test_what_is_pressed_while_the_message_is_on_its_way_is_done_to_it(
    page: Page, script: ScriptedClient, does: str
) -> None:
    talk(page, "One")
    with held(page, "begin") as routes:
        send(page, "Two")
        wait_until(lambda: page.evaluate("1") and routes, "the message is on its way")
        page.get_by_role("button", name=does).click()
        routes.pop().continue_()
        wait_until_idle(page) if does == "Undo" else wait_until(lambda: page.evaluate("1") and routes, "again")
        for route in routes:
            route.continue_()
    if does == "Undo":
        expect(page.locator(BOX)).to_have_value("Two")
        expect(page.locator(USER)).to_have_text(["One"])
    else:
        wait_until(lambda: page.evaluate("1") and len(script.asked) == 3, "it is asked again")
        wait_until_done(page, 2)
    wait_until_idle(page)
    expect(page.locator(UNSENT)).to_have_count(0)
    assert [texts[0] for texts in stored(page, script)] == (["One"] if does == "Undo" else ["One", "Two"])


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


# ── two tabs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    page.wait_for_selector(BUSY)
    stale.fill(BOX, "Five")
    stale.press(BOX, "Enter")
    expect(stale.locator(f"{UNSENT} pre")).to_have_text("Five")
    expect(stale.locator(USER)).to_have_text(["One", "Two", "Three", "Four"])
    go_on.give()
    wait_until_idle(stale)
    assert [texts[0] for texts in stored(page, script)] == ["One", "Two", "Three", "Four"]


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_is_deleted_while_it_replies(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    send(page, "One")
    wait_for_text(page, 5)
    page.locator(ROWS).hover()
    page.get_by_label("Delete").click()
    page.get_by_text("Delete?").click()
    expect(page.locator(USER)).to_have_count(0)
    go_on.give()
    expect(page.locator(ROWS)).to_have_count(0)
    script.script = answering
    send(page, "Two")
    wait_until_done(page)
    expect(page.locator(USER)).to_have_text(["Two"])
    expect(page.locator(REPLY)).to_have_text(["Fine."])


def test_stop_before_the_first_word_leaves_its_line_and_the_next_reply_is_its_own(
    page: Page, scripted: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_core.events import Done, Timings, Usage

    def until_stopped(_request: Any, cancellation: Any) -> Generator[ChatEvent]:
        stopped = Signal()
        cancellation.bind(stopped.give)
        yield Queued(0)
        stopped.wait()
        yield Done("cancelled", Usage(), Timings())

    monkeypatch.setattr(scripted, "_stream", until_stopped)
    page.fill(BOX, "One")
    page.press(BOX, "Enter")
    page.locator(STOP).click()
    expect(page.locator(".reply-line")).to_have_text(["Stopped"])
    monkeypatch.undo()
    scripted.script = answering
    send(page, "Two")
    expect(page.locator(".reply-line").first).to_have_text("Stopped")
    expect(page.locator("#chat .bot-row")).to_have_count(2)


def test_the_second_press_of_a_double_click_on_send_stops_nothing(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    wait_until_idle(page)
    expect(page.locator(STOP)).to_be_hidden()
    page.fill(BOX, "One")
    send_button = page.get_by_role("button", name="Send")
    where = send_button.bounding_box()
    send_button.click()
    page.wait_for_selector(BUSY)
    expect(page.locator(STOP)).to_be_visible()
    assert send_button.bounding_box() == where
    send_button.click()
    go_on.give()
    assert wait_until_done(page) == "First half and the second."
    expect(page.locator(STOP)).to_be_hidden()
    assert stored(page, script) == [("One", "First half and the second.")]


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the rest of the page ─────────────────────────────────────────────────────────────────────────────────────────────


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
    page.locator("#chat .message-buttons-left button").first.click()
    expect(page.locator("#chat .message-buttons-left")).to_have_class(re.compile("copied"))
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.locator(USER).hover()
    page.locator("#chat .message-buttons-right button").first.click()
    expect(page.locator("#chat .message-buttons-right")).to_have_class(re.compile("copied"))
    assert page.evaluate("navigator.clipboard.readText()") == "  indented\n# no heading"


NOTE_CHANGES = """(rows) => {
  window.changes = [];
  const seen = [...document.querySelectorAll(rows)];
  const note = (found) => changes.push(...found.map((each) => each.target.textContent.slice(0, 40)));
  for (const row of seen) {
    new MutationObserver(note).observe(row, { childList: true, subtree: true, characterData: true });
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
    conversation = talk(page, "message 0")
    owner = f"browser:{page.context.cookies()[0]['value']}"
    for number in range(1, 45):
        list(script.sessions.begin(conversation, f"message {number}", owner=owner).events())
    page.reload()
    expect(page.locator(USER)).to_have_count(20)
    expect(page.locator(USER).last).to_have_text("message 44")
    for shown in (40, 45):
        page.get_by_role("button", name="Show earlier messages").click()
        expect(page.locator(USER)).to_have_count(shown)
    expect(page.locator(USER).first).to_have_text("message 0")
    expect(page.get_by_role("button", name="Show earlier messages")).to_be_hidden()
    send(page, "One more")
    expect(page.locator(USER)).to_have_count(46)


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
