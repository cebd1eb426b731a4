"""What the tests of the screen do with it, and what they look for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page, Request, Route

from llm_core.errors import QueueFull
from llm_core.events import ChatEvent, ContentDelta, Queued
from llm_core.sessions.records import Session
from tests.scripted_client import END, ScriptedClient, Signal
from tests.served import PATIENCE_MS
from tests.visitor import DRAWN, send, wait_until_done, wait_until_idle

Open = Callable[..., Page]

BOX = "#message textarea"
ROWS = "#conversations li"
USER = "#chat .user-row .typed"
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
    page.wait_for_selector(DRAWN, timeout=PATIENCE_MS)
    return address(page)


def copied(page: Page, button: Locator) -> str:
    """Presses a button that copies. What is in the clipboard when it has said so, which it does for a second."""
    page.evaluate(
        """() => {
            window.copies = 0;
            const isCopied = ({ target }) => target.matches("button.copied");
            const count = (changes) => (copies += changes.filter(isCopied).length);
            const options = { subtree: true, attributeFilter: ["class"] };
            new MutationObserver(count).observe(document.querySelector("#chat"), options);
        }"""
    )
    button.click()
    page.wait_for_function("copies", timeout=PATIENCE_MS)
    return str(page.evaluate("navigator.clipboard.readText()"))


@contextmanager
def held(page: Page, command: str) -> Iterator[list[Route]]:
    """The answers to a command come when the test lets them."""
    routes: list[Route] = []

    def hold(route: Route, request: Request) -> None:
        if request.post_data_json["fn_name"] == command:
            routes.append(route)
        else:
            route.fallback()  # another command may be held too

    page.route(COMMANDS, hold)
    yield routes
    page.unroute(COMMANDS, hold)


def talk_elsewhere(page: Page, script: ScriptedClient, texts: Iterable[str]) -> None:
    """Has the conversation on the screen go on behind the page: of many turns that is much quicker than by hand."""
    owner = f"browser:{page.context.cookies()[0]['value']}"
    for text in texts:
        assert script.sessions.begin(address(page), text, owner=owner).wait(60)
