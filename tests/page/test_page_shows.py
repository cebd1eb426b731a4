"""What the page makes of replies that the bundled model would not give on demand, in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from llm_core.client import LLMClient
from llm_core.engine.llama.model import Model
from llm_core.errors import QueueFull
from llm_core.events import ChatEvent, ContentDelta, Queued, ReasoningDelta
from llm_core.settings import Settings
from tests.scripted_client import END, ScriptedClient, Signal
from tests.served import PATIENCE_MS, served
from tests.visitor import REPLY, UNSENT, line, send, wait_until_done, wait_until_idle
from tests.waiting import free_port

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


def posing() -> Generator[ChatEvent]:
    yield ContentDelta(
        'Here is a page:\n\n<div id="settings">one</div>\n<div id="message">two</div>\n'
        '<div class="message-row bot-row">three</div>\n'
    )
    yield END


def test_html_from_the_model_is_not_taken_for_a_part_of_the_page(page: Page, scripted: ScriptedClient) -> None:
    scripted.script = posing
    send(page, "Write a page.")
    reply = wait_until_done(page)
    page.locator("#attach-files").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"A file."})
    expect(page.locator(".chip", has_text="a.txt")).to_have_count(1)

    assert "one" in reply
    assert page.locator("#chat").get_by_text("a.txt").count() == 0
    expect(page.locator("#chat #gauge")).to_have_count(0)
    expect(page.locator("#chat .prose .reply-line")).to_have_count(0)


ELSEWHERE = "http://elsewhere.invalid"
REACHES_OUT = [
    *(
        f'<{tag} src="{ELSEWHERE}/{tag}"></{tag}>'
        for tag in ("video", "audio", "iframe", "embed", "img", "script", "input")
    ),
    *(f'<{tag} controls><source src="{ELSEWHERE}/{tag}-source"></{tag}>' for tag in ("video", "audio", "picture")),
    f'<video poster="{ELSEWHERE}/poster"></video>',
    f'<video controls><track src="{ELSEWHERE}/track"></video>',
    f'<img srcset="{ELSEWHERE}/srcset 1x">',
    f'<picture><source srcset="{ELSEWHERE}/picture"><img></picture>',
    f'<input type="image" src="{ELSEWHERE}/input">',
    f'<object data="{ELSEWHERE}/object"></object>',
    f'<link rel="stylesheet" href="{ELSEWHERE}/style">',
    f'<link rel="prefetch" href="{ELSEWHERE}/prefetch">',
    f'<meta http-equiv="refresh" content="0; url={ELSEWHERE}/meta">',
    f'<base href="{ELSEWHERE}/base/">',
    f'<svg><image href="{ELSEWHERE}/svg-image"></image><use href="{ELSEWHERE}/use#a"></use></svg>',
    f'<div style="background: url({ELSEWHERE}/background)">a</div>',
    f'<div style="list-style-image: url({ELSEWHERE}/list)">a</div>',
    f'<div style="border-image: url({ELSEWHERE}/border)">a</div>',
    f'<div style="cursor: url({ELSEWHERE}/cursor), auto">a</div>',
    f'<div style="content: url({ELSEWHERE}/content)">a</div>',
    f'<div style="mask: url({ELSEWHERE}/mask)">a</div>',
    f'<div style="filter: url({ELSEWHERE}/filter#a)">a</div>',
    f"<style>@import url({ELSEWHERE}/import); body {{ background: url({ELSEWHERE}/sheet) }}</style>",
    f"<style>@font-face {{ font-family: x; src: url({ELSEWHERE}/font) }} * {{ font-family: x }}</style>",
    f'<body background="{ELSEWHERE}/body">',
    f'<table background="{ELSEWHERE}/table"><tr><td background="{ELSEWHERE}/cell">a</td></tr></table>',
    f'<form action="{ELSEWHERE}/form"><button class="pressed">press</button></form>',
    f'<button class="pressed" formaction="{ELSEWHERE}/formaction">press</button>',
    f"![picture]({ELSEWHERE}/markdown.png)",
    f"[![picture]({ELSEWHERE}/linked.png)](#)",
    f'<a ping="{ELSEWHERE}/ping" href="#">a</a>',
    f'<math><mtext><img src="{ELSEWHERE}/math"></mtext></math>',
    f'<frameset><frame src="{ELSEWHERE}/frame"></frameset>',
    f'<applet archive="{ELSEWHERE}/applet"></applet>',
    f'<bgsound src="{ELSEWHERE}/bgsound">',
    f'<portal src="{ELSEWHERE}/portal"></portal>',
]
COVERS = '<div style="position: fixed; inset: 0; z-index: 999999; background: red">covered</div>'


def test_nothing_that_a_reply_holds_reaches_another_server_or_covers_the_page(
    page: Page, scripted: ScriptedClient
) -> None:
    """Whatever asks for a name that does not exist would still be seen here, as a request that failed for that."""

    def reaches_out() -> Generator[ChatEvent]:
        yield ContentDelta("\n\n".join([*REACHES_OUT, COVERS, "The end."]))
        yield END

    asked: list[Request] = []
    page.context.on("request", lambda request: asked.append(request))
    scripted.script = reaches_out
    send(page, "Well?")
    wait_until_done(page)
    for button in page.locator("#chat .pressed").all():
        button.click(force=True)
    page.wait_for_timeout(300)  # for a request to come that must not

    assert len(REACHES_OUT) >= 40
    outside = {request.url: request.failure for request in asked if ELSEWHERE in request.url}
    stopped = ("csp", "origin")  # by the policy, or since a filter may only be of the same site
    assert {url: failure for url, failure in outside.items() if failure not in stopped} == {}
    assert page.evaluate("document.elementFromPoint(20, 20).closest('#chat')") is None
    wait_until_idle(page)


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
