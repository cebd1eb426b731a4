"""Tools on the page: switched on in the settings, calls folded away, pending and then done. In a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.events import ChatEvent, ContentDelta, Done, Timings, ToolCallDelta, Usage
from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.tools.python_tool import tool
from tests.scripted_client import END, ScriptedClient, Signal
from tests.served import PATIENCE_MS
from tests.visitor import REPLY, STOP, line, retry, send, wait_until_done, wait_until_idle

from .test_page import contrast

Open = Callable[..., Page]

CALLED = Done("tool_calls", Usage(20, 0, 5), Timings(0, 100, 50))
STEP = "#chat .thought-group"


def call(index: int, name: str, arguments: str) -> Iterator[ChatEvent]:
    yield ToolCallDelta(index, id=f"call-{index}", name=name)
    yield ToolCallDelta(index, arguments=arguments)


def switch_on(page: Page, *tools: str) -> None:
    page.locator("#settings button", has_text="Settings").click()
    for name in tools:
        page.get_by_label(name).check()
    page.locator("#settings button", has_text="Settings").click()


def pending(page: Page) -> Any:
    return page.locator(f"{STEP} .loading-spinner")


def calculating(scripted: ScriptedClient, expression: str = "6 * 7") -> Callable[[], Generator[ChatEvent]]:
    """A reply that calls the calculator once and then says what came of it."""

    def script() -> Generator[ChatEvent]:
        if scripted.asked[-1][-1].role == "user":
            yield ContentDelta("Let me see.")
            yield from call(0, "calculate", f'{{"expression": "{expression}"}}')
            yield CALLED
        else:
            yield ContentDelta(f"It is {scripted.asked[-1][-1].content}.")
            yield END

    return script


def test_a_call_is_pending_then_done_and_then_the_text_follows(page: Page, scripted: ScriptedClient) -> None:
    go_on, answer = Signal(), Signal()

    def script() -> Generator[ChatEvent]:
        if len(scripted.asked) == 1:
            yield ToolCallDelta(0, id="one", name="calculate")
            yield ToolCallDelta(0, arguments='{"expression": "6')
            go_on.wait()
            yield ToolCallDelta(0, arguments=' * 7"}')
            yield CALLED
        else:
            answer.wait()
            yield ContentDelta("It is 42.")
            yield END

    scripted.script = script
    switch_on(page, "Calculator")
    send(page, "6 * 7?")
    expect(page.locator(STEP)).to_contain_text("Calculator")
    expect(page.locator(STEP)).to_contain_text('{"expression": "6')
    expect(pending(page)).to_have_count(1)
    go_on.give()
    expect(pending(page)).to_have_count(0)
    expect(page.locator(f"{STEP} .title")).to_contain_text("6 * 7")
    expect(page.locator(f"{STEP} .content")).to_be_hidden()
    answer.give()

    assert wait_until_done(page) == "It is 42."
    page.locator(f"{STEP} .title").click()
    expect(page.locator(f"{STEP} pre").first).to_contain_text("6 * 7")
    expect(page.locator(f"{STEP} pre").last).to_have_text("42")
    assert [each.name for each in scripted.requests[0].tools] == ["calculate"]


def test_no_tool_is_on_until_the_visitor_switches_it_on(page: Page, scripted: ScriptedClient) -> None:
    def script() -> Generator[ChatEvent]:
        yield ContentDelta("Hello.")
        yield END

    scripted.script = script
    send(page, "Hello")
    wait_until_done(page)
    switch_on(page, *BUILTIN_TOOLS)
    send(page, "Hello")
    wait_until_done(page, replies=2)

    assert [[each.name for each in request.tools] for request in scripted.requests] == [
        [],
        [each.name for each in BUILTIN_TOOLS.values()],
    ]


def test_a_reload_shows_the_calls_again_and_the_model_is_told_them_as_calls(
    page: Page, scripted: ScriptedClient
) -> None:
    scripted.script = calculating(scripted)
    switch_on(page, "Calculator")
    send(page, "6 * 7?")
    assert wait_until_done(page) == "It is 42."
    page.wait_for_function("() => location.search.includes('c=')")
    page.reload()
    expect(page.locator(STEP)).to_contain_text("Calculator")
    page.locator(f"{STEP} .title").click()
    expect(page.locator(f"{STEP} pre").last).to_have_text("42")
    assert page.locator(REPLY).last.inner_text() == "It is 42."

    send(page, "Sure?")
    wait_until_done(page, replies=2)
    told = [(message.role, message.content, bool(message.tool_calls)) for message in scripted.asked[2]]
    assert told == [
        ("user", "6 * 7?", False),
        ("assistant", "Let me see.", True),
        ("tool", "42", False),
        ("assistant", "It is 42.", False),
        ("user", "Sure?", False),
    ]


def test_what_is_taken_back_takes_its_calls_with_it(page: Page, scripted: ScriptedClient) -> None:
    scripted.script = calculating(scripted)
    switch_on(page, "Calculator")
    for replies, question in enumerate(("6 * 7?", "And again?"), start=1):
        send(page, question)
        wait_until_done(page, replies)
    wait_until_idle(page)
    retry(page)
    wait_until_done(page, replies=2)
    wait_until_idle(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chat .user-row")).to_have_count(1)
    expect(page.locator(STEP)).to_have_count(1)
    page.reload()
    expect(page.locator("#chat .user-row")).to_have_text(["6 * 7?"])
    expect(page.locator(STEP)).to_have_count(1)


@pytest.fixture
def blocking(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The calculator never ends by itself while the test runs. The event says that it has been called."""
    may_end, called = threading.Event(), threading.Event()

    def calculate(expression: str) -> str:
        called.set()
        may_end.wait()
        return expression

    monkeypatch.setitem(BUILTIN_TOOLS, "Calculator", tool(calculate))  # type: ignore[arg-type]
    yield called
    may_end.set()


def test_a_stop_in_the_middle_of_a_tool_leaves_nothing_pending(
    page: Page, scripted: ScriptedClient, blocking: threading.Event
) -> None:
    scripted.script = calculating(scripted)
    switch_on(page, "Calculator")
    send(page, "6 * 7?")
    assert blocking.wait(PATIENCE_MS / 1e3)
    expect(pending(page)).to_have_count(1)
    page.locator(STOP).click()
    expect(page.locator(".reply-line")).to_have_text("Stopped")
    expect(pending(page)).to_have_count(0)
    assert len(scripted.asked) == 1, "the model is not asked again"
    page.reload()
    expect(page.locator(STEP)).to_contain_text("Calculator")
    expect(pending(page)).to_have_count(0)


HOSTILE = "<img src=x onerror='window.hacked=1'> ``` ![](http://elsewhere.invalid/p.png) **bold**"


def test_what_a_tool_is_called_with_or_gives_back_is_shown_and_not_drawn(
    page: Page, scripted: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calculate(expression: str) -> str:
        return expression

    monkeypatch.setitem(BUILTIN_TOOLS, "Calculator", tool(calculate))  # type: ignore[arg-type]
    scripted.script = calculating(scripted, HOSTILE)
    switch_on(page, "Calculator")
    send(page, "Well?")
    wait_until_done(page)
    page.locator(f"{STEP} .title").click()
    expect(page.locator(f"{STEP} pre").last).to_have_text(HOSTILE)

    assert page.evaluate("window.hacked") is None
    assert page.locator(f"{STEP} :is(img, strong)").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_call_can_be_read_on_a_phone_in_light_and_dark(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], scripted: ScriptedClient, scheme: str
) -> None:
    _, url = scripted_page
    page = open_page(url, color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 780})
    page.reload()  # a phone begins with the list folded away
    scripted.script = calculating(scripted, " + ".join(["1234567890"] * 30))
    switch_on(page, "Calculator")
    send(page, "Well?")
    wait_until_done(page)
    page.locator(f"{STEP} .title").click()
    expect(page.locator(f"{STEP} pre").last).to_have_text("37037036700")

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(f"{STEP} .title").bounding_box()["width"] <= 390  # type: ignore[index]
    texts = [f"{STEP} .title p", f"{STEP} .title .duration", f"{STEP} .content p", f"{STEP} pre code"]
    contrasts = {text: contrast(page, text) for text in texts}
    assert min(contrasts.values()) >= 4.5, f"WCAG 2.2 AA asks for 4.5 : 1, and these have {contrasts}"
    assert "tokens/s" in line(page)
