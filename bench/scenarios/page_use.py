"""How soon the page can be typed into, beside Gradio's bare `ChatInterface`, and what a reply costs as things grow.

Both pages are served by this process and opened by turns in one Chromium, each as by a new visitor and then once more.
What grows is a conversation (200 messages on the screen) and the list (1,000 conversations).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import gradio as gr
from playwright.sync_api import Browser, CDPSession, Page
from sqlalchemy import insert

from bench.lab import Findings, Lab
from bench.scenarios.page import IDLE, OBSERVE, PIECE_SECONDS, SLOWED, Scripted, open_page, plain, say, scripted_page
from bench.servers import free_port
from llm_core.page.view import EARLIER_TURNS, NEWEST_TURNS
from llm_core.sessions.schema import sessions
from tests.network import Network, Request

LEAST_TASKS = 0.05  # seconds: what is below one long task is taken for one
_BOX = """() => [...document.querySelectorAll('textarea')].some((box) => box.offsetParent && !box.disabled)"""
_ANSWERED = """text => {
  const last = (kind) => [...document.querySelectorAll(`#chat .${kind}-row`)].at(-1);
  return last("user")?.textContent.includes(text) && last("bot")?.querySelector(".reply-line.done:not(:empty)");
}"""
_SHOWN = "count => document.querySelectorAll('#chat .user-row').length === count"


async def run(lab: Lab) -> Findings:
    return await asyncio.to_thread(_measure, lab)


def _measure(lab: Lab) -> Findings:
    findings = Findings()
    sizes, figures = lab.sizes, findings.figures
    with scripted_page() as (browser, client, url), _bare() as bare:
        lab.say("page_use: loading")
        _load(browser, {"app": url, "bare": bare}, sizes.page_loads, findings)
        lab.say(f"page_use: a reply after {sizes.page_shown} messages")
        rounds = [_grow(browser, client, url, sizes.page_shown // 2) for _ in range(sizes.page_rounds)]
        lab.say(f"page_use: a reply beside {sizes.page_listed} conversations")
        listed = [_list(browser, client, url, sizes.page_listed) for _ in range(sizes.page_rounds)]
    findings.raw["grown"], findings.raw["listed"] = rounds, listed
    for name in rounds[0]:
        figures[name] = median(each[name] for each in rounds)
    for name in listed[0]:
        figures[f"listed.{name}"] = median(each[name] for each in listed)
    for name, prefix in (("grown", ""), ("listed", "listed_")):
        figures[f"{prefix}tasks_ratio"] = _ratio(figures[f"{name}.tasks"], figures["empty.tasks"])
        figures[f"{prefix}busy_ratio"] = figures[f"{name}.busy"] / figures["empty.busy"]
    figures["received_ratio"] = figures["grown.received"] / figures["empty.received"]
    figures["sent_ratio"] = figures["grown.sent"] / figures["empty.sent"]
    return findings


def _ratio(many: float, few: float) -> float:
    return max(many, LEAST_TASKS) / max(few, LEAST_TASKS)


@contextmanager
def _bare() -> Iterator[str]:
    """Gradio's chat with nothing of ours, which says what it is told."""
    chat = gr.ChatInterface(lambda message, _history: message, analytics_enabled=False)
    _, url, _ = chat.launch(prevent_thread_lock=True, quiet=True, server_port=free_port())
    yield url
    chat.close()


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load(browser: Browser, urls: dict[str, str], rounds: int, findings: Findings) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in urls}
    for _ in range(rounds + 1):
        for name, url in urls.items():
            found[name].append(_visit(browser, url))
    for name, visits in found.items():
        for key in visits[0]:
            findings.figures[f"{name}.{key}"] = median(visit[key] for visit in visits[1:])  # the first one warms up
    for key in ("box", "again.box"):
        findings.figures[f"{key}_ratio"] = findings.figures[f"app.{key}"] / findings.figures[f"bare.{key}"]
    findings.raw["loads"] = found


def _visit(browser: Browser, url: str) -> dict[str, float]:
    """A new visitor, who then loads the page once more."""
    page = browser.new_context(viewport={"width": 1180, "height": 820}).new_page()
    network = Network.of(page)
    found: dict[str, float] = {}
    for prefix in ("", "again."):
        page.goto(url, wait_until="commit")
        page.wait_for_function(_BOX, polling=10)
        found[f"{prefix}box"] = page.evaluate("performance.now()") / 1000
        page.wait_for_timeout(1000)  # for what is asked for after that
        requests = network.take()
        found[f"{prefix}requests"] = len(requests)
        found[f"{prefix}received"] = sum(request.received for request in requests)
    page.context.close()
    return found


# ── growing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _grow(browser: Browser, client: Scripted, url: str, turns: int) -> dict[str, float]:
    """What the first reply of a conversation costs, and the one at its end."""
    page = _slow_page(browser, url)
    network = Network.of(page)
    _reply(page, client, 1)  # the first of a page fetches what sets a text
    page.locator("#new-chat").click()
    page.wait_for_function(_SHOWN, arg=0)
    network.take()
    found = _told("empty", _reply(page, client, 1), network.take())
    _fill(page, client, turns - 1)
    page.reload()
    for shown in range(NEWEST_TURNS, turns, EARLIER_TURNS):
        page.wait_for_function(_SHOWN, arg=shown)
        page.get_by_role("button", name="Show earlier messages").click()
    page.wait_for_function(_SHOWN, arg=turns)
    page.evaluate(OBSERVE)
    network.take()
    found |= _told("grown", _reply(page, client, turns + 1), network.take())
    page.context.close()
    return found


def _list(browser: Browser, client: Scripted, url: str, conversations: int) -> dict[str, float]:
    """What a reply costs beside so many conversations in the list."""
    page = _slow_page(browser, url)
    _reply(page, client, 1)
    named = [
        {"session_id": f"{_owner(page)}-{number}", "title": f"Conversation {number}"} for number in range(conversations)
    ]
    times = {"owner": _owner(page), "created_at": 1.0, "updated_at": 1.0}
    with client.sessions._store()._engine.begin() as connection:  # a turn in each would take minutes
        connection.execute(insert(sessions), [row | times for row in named])
    page.reload()
    page.wait_for_function("document.querySelectorAll('#conversations li').length >= 200")
    while page.locator("#conversations .more:visible").count():
        page.evaluate("document.querySelector('#conversations .more').click()")  # a pointer would hold the rows
        page.wait_for_timeout(500)
    page.evaluate(OBSERVE)
    took = _reply(page, client, 2)
    page.context.close()
    return took


def _slow_page(browser: Browser, url: str) -> Page:
    page = open_page(browser, url)
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
    page.evaluate(OBSERVE)
    return page


def _owner(page: Page) -> str:
    return "browser:" + next(each["value"] for each in page.context.cookies() if each["name"] == "llm_core_browser")


def _fill(page: Page, client: Scripted, turns: int) -> None:
    client.piece_seconds = 0.0
    conversation = page.evaluate("new URL(location).searchParams.get('c')")
    for number in range(turns):
        list(client.sessions.begin(conversation, f"Message {number}", owner=_owner(page)).events())


def _reply(page: Page, client: Scripted, count: int) -> dict[str, float]:
    """Seconds of long tasks, and of all tasks, of a reply of three seconds, the `count`th on the page."""
    client.text, client.piece_seconds = plain(1200), PIECE_SECONDS
    page.wait_for_selector(IDLE)
    page.evaluate("longTasks.length = 0")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    before = _busy(session)
    text = f"Go on, {count}."
    say(page, text)
    page.wait_for_function(_ANSWERED, arg=text, polling=250)  # each look is work of the page's
    page.wait_for_selector(IDLE)
    took = {"busy": _busy(session) - before}
    session.detach()
    return took | {"tasks": page.evaluate("longTasks.reduce((all, each) => all + each, 0)") / 1000}


def _busy(session: CDPSession) -> float:
    """Seconds in which the page's thread has worked, as Chromium counts them."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


def _told(name: str, took: dict[str, float], requests: list[Request]) -> dict[str, float]:
    return {
        f"{name}.tasks": took["tasks"],
        f"{name}.busy": took["busy"],
        f"{name}.requests": len(requests),
        f"{name}.received": sum(request.received for request in requests),
        f"{name}.sent": sum(request.sent for request in requests),
    }
