"""How the page keeps up: a long, richly set reply on a slow machine, and a reply at the end of a long conversation.

The replies are scripted, so that only what the page does with them is measured. Chromium's processor is slowed by its
own means (`Emulation.setCPUThrottlingRate`), and its own `longtask` entries are counted.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from bench.lab import Findings, Lab
from bench.servers import free_port
from llm_core.client import LLMClient
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.request import ChatRequest
from llm_core.server.serve import listen, running
from llm_core.server.server import build_server
from llm_core.settings import Settings
from scripts.system_packages import CHROMIUM_ARGS, find_chromium
from tests.scripted_backend import ScriptedBackend

SLOWED = 4
PIECE_CHARS, PIECE_SECONDS = 4, 0.01  # 100 tokens/s of the usual length
END = "That is all."
_PATIENCE_MS = 600_000.0
_DONE = Done("stop", Usage(20, 0, 5), Timings(0, 100, 50))
OBSERVE = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
}"""
_SEEN = "(end) => document.querySelector('#chat').textContent.includes(end) && Date.now() / 1000"
IDLE = "body[data-chat=idle]"


class Scripted(LLMClient):
    """Says what it is told to, at a steady rate."""

    text = ""
    piece_seconds = 0.0
    ended_at = 0.0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, backend=ScriptedBackend(self._say))

    def _say(self, _request: ChatRequest, _stopped: threading.Event) -> Generator[ChatEvent]:
        yield Queued(0)
        began = time.monotonic()
        for number, start in enumerate(range(0, len(self.text), PIECE_CHARS), start=1):
            yield ContentDelta(self.text[start : start + PIECE_CHARS])
            time.sleep(max(0.0, began + number * self.piece_seconds - time.monotonic()))
        self.ended_at = time.time()
        yield _DONE


async def run(lab: Lab) -> Findings:
    """Only our page: other pages have other scripts."""
    return await asyncio.to_thread(_measure, lab)


@contextmanager
def scripted_page() -> Iterator[tuple[Browser, Scripted, str]]:
    """A browser, a client that says what it is told to, and the address of its page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS)
        settings = Settings(data_dir=Path(folder), rate_limit="none", GRADIO_SERVER_PORT=free_port())
        with (
            Scripted(settings) as client,
            listen(settings) as listener,
            running(build_server(client), listener) as url,
        ):
            yield browser, client, url
        browser.close()


def _measure(lab: Lab) -> Findings:
    findings = Findings()
    sizes = lab.sizes
    with scripted_page() as (browser, client, url):
        for name, text in (("plain", plain(sizes.page_chars)), ("rich", rich(sizes.page_chars))):
            lab.say(f"page: {name} text")
            found = [_long_reply(browser, client, url, text) for _ in range(sizes.page_rounds)]
            findings.raw[name] = found
            findings.figures[f"{name}.behind"] = sorted(each[0] for each in found)[len(found) // 2]
            findings.figures[f"{name}.long_tasks"] = sorted(each[1] for each in found)[len(found) // 2]
        for messages in (10, sizes.page_messages):
            lab.say(f"page: a reply after {messages} messages")
            took = _after(browser, client, url, messages, sizes.page_rounds)
            findings.figures["after_few" if messages == 10 else "after_many"] = took
    figures = findings.figures
    figures["long_tasks_ratio"] = figures["rich.long_tasks"] / max(figures["plain.long_tasks"], 0.05)
    figures["after_ratio"] = figures["after_many"] / figures["after_few"]
    return findings


def plain(chars: int) -> str:
    """Paragraphs of words."""
    return _repeated(lambda number: f"Paragraph {number} says {'one word and another ' * 20}.\n\n", chars)


def rich(chars: int) -> str:
    """Formulas, tables and code: for 17,000 characters some 200, 20 and 20 of them."""

    def part(number: int) -> str:
        formulas = "\n\n".join(f"\\[ x_{{{n}}} = \\frac{{{number}}}{{{n} + 1}} \\]" for n in range(10))
        rows = "\n".join(f"| {n} | {n * number} | value |" for n in range(10))
        code = "\n".join(f"    total += value * {n}" for n in range(8))
        return f"## Part {number}\n\n{formulas}\n\n| a | b | c |\n|---|---|---|\n{rows}\n\n```python\n{code}\n```\n\n"

    return _repeated(part, chars)


def _repeated(part: Callable[[int], str], chars: int) -> str:
    text, number = "", 0
    while len(text) < chars:
        number += 1
        text += part(number)
    return f"{text}{END}"


def open_page(browser: Browser, url: str) -> Page:
    page = browser.new_context(viewport={"width": 1180, "height": 820}).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(url)
    page.wait_for_selector(IDLE)
    return page


def say(page: Page, text: str) -> None:
    page.fill("#message textarea", text)
    page.press("#message textarea", "Enter")


def _long_reply(browser: Browser, client: Scripted, url: str, text: str) -> tuple[float, float]:
    """Seconds from the last token until it is seen, and seconds of long tasks."""
    client.text, client.piece_seconds = text, PIECE_SECONDS
    page = open_page(browser, url)
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
    page.evaluate(OBSERVE)
    say(page, "Go on.")
    seen = page.wait_for_function(_SEEN, arg=END, polling=50).json_value()
    page.wait_for_selector(IDLE)
    tasks: Any = page.evaluate("longTasks")
    page.context.close()
    return seen - client.ended_at, sum(tasks) / 1000


def _after(browser: Browser, client: Scripted, url: str, messages: int, rounds: int) -> float:
    """Seconds that a reply of three takes at the end of a conversation; the least of the rounds."""
    page = open_page(browser, url)
    key = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "llm_core_browser")
    conversation = page.evaluate("new URL(location).searchParams.get('c')")
    client.text, client.piece_seconds = plain(400), 0.0
    for number in range(messages // 2):
        list(client.sessions.begin(conversation, f"Message {number}", owner=f"browser:{key}").events())
    page.reload()
    page.wait_for_selector(IDLE)
    took = []
    for number in range(rounds):
        end = f"End {number}."
        client.text, client.piece_seconds = f"{plain(1200)} {end}", PIECE_SECONDS
        began = time.time()
        say(page, "Go on.")
        took.append(page.wait_for_function(_SEEN, arg=end, polling=50).json_value() - began)
        page.wait_for_selector(IDLE)
    page.context.close()
    return min(took)
