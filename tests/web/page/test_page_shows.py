"""What the page makes of replies that the bundled model would not give on demand, in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.client import LLMClient
from llm_core.engine.llama import Model
from llm_core.errors import QueueFull
from llm_core.events import ChatEvent, ContentDelta, Queued, ReasoningDelta
from llm_core.settings import Settings
from tests.waiting import free_port

from ..conftest import PATIENCE_MS, served
from ..scripted_client import END, ScriptedClient, Signal
from ..visitor import REPLY, UNSENT, line, send, wait_until_done, wait_until_idle

Open = Callable[..., Page]

HOSTILE = (
    '<img src="x" onerror="window.hacked = 1"> <script>window.hacked = 2</script> '
    "[link](javascript:window.hacked=3) <svg onload='window.hacked = 4'></svg> "
    "![](http://elsewhere.invalid/picture.png) <style>body { display: none }</style> List<String> is a type"
)


def hostile() -> Generator[ChatEvent]:
    yield ContentDelta(HOSTILE)
    yield END


def test_html_from_the_model_does_nothing_and_fetches_nothing(page: Page, scripted: ScriptedClient) -> None:
    scripted.script = hostile
    page.evaluate(
        "() => { window.refused = []; "
        "document.addEventListener('securitypolicyviolation', (event) => window.refused.push(event.blockedURI)); }"
    )
    send(page, HOSTILE)
    reply = wait_until_done(page)
    page.wait_for_function("() => window.refused.some((address) => address.includes('elsewhere.invalid'))")

    assert page.evaluate("window.hacked") is None
    assert "List<String> is a type" in reply
    assert page.locator("#chat a[href^=javascript], #chat script, #chat style:not(svg style)").count() == 0
    expect(page.locator("#message textarea")).to_be_visible()


def formatted() -> Generator[ChatEvent]:
    yield ContentDelta("Euler: \\(e^{i\\pi} = -1\\)\n\n```python\nif a:\n    b()\n```\n\n")
    yield ContentDelta("| x | y |\n|---|---|\n| 1 | 2 |")
    yield END


def test_code_can_be_copied_and_formulas_and_tables_are_set(page: Page, scripted: ScriptedClient) -> None:
    scripted.script = formatted
    send(page, "Show me.")
    wait_until_done(page)
    reply = page.locator("#chat .bot-row")

    assert reply.locator("pre code").inner_text().rstrip() == "if a:\n    b()"
    expect(reply.locator("button.copy_code_button")).to_have_count(1)
    expect(reply.locator(".katex").first).to_be_visible()
    expect(reply.locator("td")).to_have_count(2)


def test_reasoning_folds_away_when_it_is_done_and_is_not_sent_back(page: Page, scripted: ScriptedClient) -> None:
    answer_now = Signal()

    def thoughtful() -> Generator[ChatEvent]:
        yield ReasoningDelta("The visitor wants a colour.")
        answer_now.wait()
        yield ContentDelta("Blue.")
        yield END

    scripted.script = thoughtful
    send(page, "Name a colour.")
    thought = page.locator(".thought-group")
    expect(thought).to_contain_text("Thinking")
    expect(thought).to_contain_text("The visitor wants a colour.")
    answer_now.give()
    wait_until_done(page)
    expect(thought).to_contain_text("Thought for")
    expect(thought).not_to_contain_text("The visitor wants a colour.")
    send(page, "And another.")
    wait_until_done(page, replies=2)

    assert [(message.role, message.content) for message in scripted.asked[1]] == [
        ("user", "Name a colour."),
        ("assistant", "Blue."),
        ("user", "And another."),
    ]


def test_indentation_in_a_message_reaches_the_model_whole_also_as_history(page: Page, scripted: ScriptedClient) -> None:
    code = "Look:\n    if a:\n        b()"
    scripted.script = formatted
    send(page, code)
    wait_until_done(page)
    expect(page.locator("#chat .user-row")).to_have_text([code])
    send(page, "Well?")
    wait_until_done(page, replies=2)

    assert scripted.asked[1][0].content == code


def test_a_visitor_who_waits_sees_how_many_are_ahead(page: Page, scripted: ScriptedClient) -> None:
    go_on = Signal()

    def behind_two() -> Generator[ChatEvent]:
        yield Queued(2)
        go_on.wait()
        yield ContentDelta("Here you are.")
        yield END

    scripted.script = behind_two
    send(page, "Hello")
    expect(page.locator(".reply-line")).to_have_text("Waiting: 2 requests ahead of yours")
    go_on.give()

    assert wait_until_done(page) == "Here you are."


def refused() -> Generator[ChatEvent]:
    raise QueueFull("Everyone is busy. Try again in a minute.")
    yield END


def test_a_refusal_is_shown_in_its_own_words_and_can_be_tried_again(page: Page, scripted: ScriptedClient) -> None:
    scripted.script = refused
    send(page, "Hello")
    expect(page.locator(f"{UNSENT} p")).to_have_text("Everyone is busy. Try again in a minute.")
    expect(page.locator("#chat .user-row")).to_have_count(0)
    page.reload()
    expect(page.locator(f"{UNSENT} pre")).to_have_text("Hello")
    wait_until_idle(page)
    scripted.script = formatted
    page.get_by_role("button", name="Send again").click()
    wait_until_done(page)
    expect(page.locator("#chat .user-row")).to_have_text(["Hello"])
    expect(page.locator(UNSENT)).to_have_count(0)


def broken() -> Generator[ChatEvent]:
    yield ContentDelta("Half a")
    raise ZeroDivisionError("a secret of the server")


def test_an_unexpected_failure_keeps_the_text_and_tells_no_secrets(
    page: Page, scripted: ScriptedClient, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.script = broken
    send(page, "Hello")
    expect(page.locator(".reply-line.failed")).to_contain_text("log says why")

    assert page.locator(REPLY).last.inner_text() == "Half a"
    assert "a secret of the server" not in page.content()
    assert "a secret of the server" in caplog.text, "the operator finds the reason in the log"


def test_a_message_sent_while_the_model_loads_waits_and_shows_how_far_it_is(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    load = Model.load

    def slowly(path: Path, *, on_progress: Callable[[float], None], **options: Any) -> Model:
        on_progress(0.4)
        assert go_on.wait(PATIENCE_MS / 1e3)
        return load(path, on_progress=on_progress, **options)

    monkeypatch.setattr(Model, "load", slowly)
    settings = Settings(parallel=1, context_tokens=512, max_tokens=8, GRADIO_SERVER_PORT=free_port())
    with LLMClient(settings) as client, served(client) as url:
        client.start()
        page = open_page(url)
        expect(page.locator("#header .notice")).to_contain_text("Loading the model: 40%")
        assert page.locator("#header progress").get_attribute("value") == "0.400"
        send(page, "Hello")
        expect(page.locator(".reply-line")).to_have_text("Loading the model: 40%")
        go_on.set()

        assert wait_until_done(page)
        assert "tokens/s" in line(page)
