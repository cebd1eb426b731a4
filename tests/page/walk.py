"""A random walk over the page, and what must hold whenever it rests.

The engine is scripted, the rest is real: browser, page, server, store. What is drawn from the seed is what a person
does; how quickly things answer is not, so a seed is a likely way to a fault and not a certain one.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as BrowserError

from llm_core.errors import QueueFull, RateLimited, SequenceFailed, SessionNotFound
from llm_core.events import ChatEvent, ContentDelta, Queued
from llm_core.page.view import WINDOW_TURNS
from llm_core.request import ChatRequest
from llm_core.sessions.records import Session, Turn
from tests.scripted_client import END, ScriptedClient
from tests.visitor import wait_until_idle

LONGEST_PAUSE_SECONDS = 0.8
STEPS_BETWEEN_RESTS = 8
MOMENT_SECONDS = 4.0
PATIENCE_MS = 500  # what cannot be pressed within this is let be: it moves, or has gone
ROWS = "#conversations li"
BOX = "#message textarea"

TYPE = """([box, text]) => {
  const area = document.querySelector(box), before = area.value;
  area.value = text;
  area.dispatchEvent(new Event("input", { bubbles: true }));
  return before;
}"""
SHOWN = """() => ({
  state: document.body.dataset.chat,
  notes: document.querySelector("#notes")?.innerText,
  conversation: new URL(location).searchParams.get("c"),
  questions: [...document.querySelectorAll("#chat .user-row .typed")].map((each) => each.textContent),
  replies: [...document.querySelectorAll("#chat .bot-row")].map((row) =>
    [...row.querySelectorAll(".prose")].map((each) => each.textContent.trim()).filter(Boolean).join(" ")),
  kinds: [...document.querySelectorAll("#chat .reply-line")].map((line) => line.className.split(" ")[1]),
  rows: [...document.querySelectorAll("#conversations li .open")].map((each) => each.textContent),
  search: document.querySelector("#search :is(textarea, input)")?.value ?? "",
  box: document.querySelector("#message textarea")?.value ?? "",
  url: location.href,
  text: document.body.innerText.slice(0, 300),
  reasons: [...document.querySelectorAll("#notes .unsent p")].map((each) => each.textContent),
  drafts: JSON.parse(sessionStorage.getItem("llm-core-drafts") ?? "{}"),
})"""


class WalkedClient(ScriptedClient):
    """Its replies are a few words at a time; some fail, before their first word or after it, and some are refused."""

    def __init__(self, real: Any, port: int, random: random.Random) -> None:
        super().__init__(real, port)
        self._random = random
        self._lock = threading.Lock()
        self.full = False

    def say(self, _request: ChatRequest, stopped: threading.Event) -> Generator[ChatEvent]:
        with self._lock:
            words, wait = self._random.randrange(1, 12), self._random.choice([0.0, 0.01, 0.05])
            fails_after = self._random.choice([None] * 8 + [0, 3])
        if self.full:
            raise QueueFull("As many requests wait already as may. Try again in a few seconds.")
        time.sleep(wait)
        yield Queued(0)
        for number in range(words):
            if stopped.wait(wait):
                return
            if number == fails_after:
                raise SequenceFailed("The engine failed at this request.")
            yield ContentDelta(f"word{number} ")
        yield END


class Walk:
    """Two tabs of one visitor.

    Args:
        limit: While its `is_reached` is true, the rate limit refuses.
    """

    def __init__(
        self, context: BrowserContext, url: str, client: WalkedClient, limit: Limit, seed: int, pages: int = 2
    ) -> None:
        self._client, self._limit, self._url = client, limit, url
        self._random = random.Random(seed)
        self._context = context
        self.pages = [context.new_page() for _ in range(pages)]
        for page in self.pages:
            page.set_default_timeout(30_000)
            page.goto(url)
            wait_until_idle(page)
        self._numbers = itertools.count(1)
        self.steps: list[str] = []
        self.typed: dict[str, str] = {}  # text -> the conversation on the screen when it was pressed
        self._typed_at: dict[str, float] = {}
        self._replaced: list[tuple[str, float]] = []  # conversations in which turns were to be replaced, and when
        self.released: set[str] = set()  # texts that the visitor has deleted, replaced or typed over

    @property
    def owner(self) -> str:
        key = next(cookie["value"] for cookie in self._context.cookies() if cookie["name"] == "llm_core_browser")
        return f"browser:{key}"

    def run(self, steps: int) -> None:
        for number in range(1, steps + 1):
            page = self._random.choice(self.pages)
            act = self._random.choice(self._acts())
            self._step(page, act)
            time.sleep(LONGEST_PAUSE_SECONDS * self._random.random() ** 6)
            if number % STEPS_BETWEEN_RESTS == 0 or number == steps:
                self.rest()

    def _step(self, page: Page, act: Callable[[Page], str | None]) -> None:
        tab = self.pages.index(page)
        page.bring_to_front()
        try:
            did = act(page)
        except BrowserError as error:  # what it was to press has gone meanwhile
            page.mouse.up()  # it may have been in the middle of a press, and a list that is pressed stays as it is
            did = f"{act.__name__} found nothing: {' '.join(str(error).split())[:600]}"
        if did is not None:
            self.steps.append(f"{len(self.steps)}: tab {tab} {did}")

    def _acts(self) -> list[Callable[[Page], str | None]]:
        often = [self.send, self.send, self.send, self.send, self.open, self.open, self.new_chat, self.stop]
        return [
            *often,
            *often,
            self.retry,
            self.undo,
            self.edit,
            self.edit,
            self.rename,
            self.delete,
            self.search,
            self.reload,
            self.back,
            self.again,
            self.change_weather,
        ]

    # ── what a person does ───────────────────────────────────────────────────────────────────────────────────────────

    def _press(self, page: Page, what: Any) -> None:
        what.click(timeout=PATIENCE_MS, delay=self._random.choice([0, 0, 30, 100]))

    def _conversation(self, page: Page) -> str:
        return str(page.evaluate("() => new URL(location).searchParams.get('c')"))

    def _type(self, page: Page, text: str) -> None:
        """Types over whatever stands in the box at this moment."""
        self._typed_at[text] = time.monotonic()
        self.released.add(page.evaluate(TYPE, [BOX, text]))
        page.focus(BOX)

    def send(self, page: Page) -> str:
        text = f"text {next(self._numbers)} of the walk"
        self._type(page, text)
        conversation = self._conversation(page)
        self.typed[text] = conversation
        self._release_edited(page)
        if self._random.random() < 0.2:
            page.locator("#message .submit-button").dblclick(timeout=PATIENCE_MS)
            return f"sends {text!r} with a double click in {conversation[:6]}"
        page.press(BOX, "Enter")
        return f"sends {text!r} in {conversation[:6]}"

    def open(self, page: Page) -> str | None:
        count = page.locator(ROWS).count()
        if not count:
            return None
        row = page.locator(ROWS).nth(self._random.randrange(count))
        wanted = row.get_attribute("data-id", timeout=PATIENCE_MS)
        pressed = page.locator(f'{ROWS}[data-id="{wanted}"] .open')
        self._press(page, pressed)
        return f"opens {(wanted or '')[:6]}"

    def new_chat(self, page: Page) -> str:
        self._press(page, page.locator("#new-chat"))
        return "begins a new chat"

    def stop(self, page: Page) -> str | None:
        if page.locator("#message .stop-button").is_visible():
            self._press(page, page.locator("#message .stop-button"))
            return "stops"
        return None

    def retry(self, page: Page) -> str | None:
        button = page.locator("#chat .message-buttons-left button[title=Retry]")
        if not button.count():
            return None
        self._release_shown(page)
        self._press(page, button.last)
        return "retries"

    def undo(self, page: Page) -> str | None:
        button = page.locator("#chat .message-buttons-left button[title=Undo]")
        if not button.count():
            return None
        self._press(page, button.last)
        return "undoes"

    def edit(self, page: Page) -> str | None:
        buttons = page.locator("#chat .message-buttons-right button[title=Edit]")
        count = buttons.count()
        if not count:
            return None
        nth = self._random.randrange(count)
        question = page.locator("#chat .user-row .typed").nth(nth).text_content(timeout=PATIENCE_MS)
        page.locator("#chat .user-row").nth(nth).hover(timeout=PATIENCE_MS)
        self._press(page, buttons.nth(nth))
        if self._random.random() < 0.3:
            return f"edits {question!r} and leaves it"
        text = f"text {next(self._numbers)} of the walk, edited"
        self._type(page, text)
        self.typed[text] = self._conversation(page)
        self._release_shown(page, question)
        page.press(BOX, "Enter")
        return f"edits {question!r} to {text!r}"

    def rename(self, page: Page) -> str | None:
        count = page.locator(ROWS).count()
        if not count:
            return None
        row = page.locator(ROWS).nth(self._random.randrange(count))
        row.hover(timeout=PATIENCE_MS)
        self._press(page, row.locator(".rename"))
        title = f"title {next(self._numbers)}"
        page.locator(f"{ROWS} input").fill(title, timeout=PATIENCE_MS)
        page.keyboard.press(self._random.choice(["Enter", "Enter", "Escape"]))
        return f"renames to {title!r}"

    def delete(self, page: Page) -> str | None:
        count = page.locator(ROWS).count()
        if not count:
            return None
        row = page.locator(ROWS).nth(self._random.randrange(count))
        conversation = row.get_attribute("data-id", timeout=PATIENCE_MS) or ""
        button = page.locator(f'{ROWS}[data-id="{conversation}"] .delete')
        button.locator("..").hover(timeout=PATIENCE_MS)
        is_asked = "asked" in (button.get_attribute("class", timeout=PATIENCE_MS) or "")  # then one click is enough
        if self._random.random() < 0.4 and not is_asked:
            button.dblclick(timeout=PATIENCE_MS)
            return f"double-clicks at the delete of {conversation[:6]}, which asks"
        if not is_asked:
            self._press(page, button)
        self.released |= {text for text, of in self.typed.items() if of == conversation}
        self._press(page, button)
        return f"deletes {conversation[:6]}"

    def search(self, page: Page) -> str:
        looked_for = self._random.choice(["", "", "text 1", "title", "nothing"])
        page.fill("#search :is(textarea, input)", looked_for)
        return f"searches for {looked_for!r}"

    def reload(self, page: Page) -> str:
        page.reload()
        if self._random.random() < 0.5:
            wait_until_idle(page)
        return "reloads"

    def back(self, page: Page) -> str | None:
        if page.evaluate("() => navigation.currentEntry.index") == 0:  # it would leave the page
            return None
        page.evaluate("() => history.back()")
        return "goes back"

    def again(self, page: Page) -> str | None:
        button = page.locator("#notes .unsent button", has_text=self._random.choice(["Send again", "Edit"])).first
        if not button.is_visible():
            return None
        before = page.input_value(BOX)
        self._release_edited(page)
        self._press(page, button)
        return f"presses {button.text_content(timeout=PATIENCE_MS)!r} at an unsent message, with {before!r} in the box"

    def change_weather(self, _page: Page) -> str:
        self._client.full, self._limit.is_reached = self._random.choice(
            [(False, False), (False, False), (False, False), (True, False), (False, True)]
        )
        return f"now: queue full {self._client.full}, rate limit reached {self._limit.is_reached}"

    def _release_shown(self, page: Page, question: str | None = None) -> None:
        """What the visitor asks to be replaced: the turns on the screen from this one on, or the last."""
        questions = page.evaluate(SHOWN)["questions"]
        self._replaced.append((self._conversation(page), time.monotonic()))
        if question in questions:
            self.released |= set(questions[questions.index(question) :])
        elif question is None:
            self.released |= set(questions[-1:])

    def _release_edited(self, page: Page) -> None:
        """The turns whose place what is in the box, or was not sent, is to take."""
        shown = page.evaluate(SHOWN)
        kept = shown["drafts"].get(shown["conversation"], {"editing": None, "unsent": []})
        session = self._stored(shown["conversation"])
        turns = session.turns if session else ()
        for nth, turn in enumerate(turns):
            if turn.stream_id in (kept["editing"], *(message["replaces"] for message in kept["unsent"])):
                self._release_shown(page, turn.messages[0].content)
                # Of a page that is still loading the turns cannot be seen yet, but it may be open when Enter goes down.
                self.released |= {later.messages[0].content for later in turns[nth:]}

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def _stored(self, conversation: str) -> Session | None:
        try:
            return self._client.sessions.get(conversation, owner=self.owner)
        except SessionNotFound:
            return None

    def rest(self) -> None:
        """Waits until all is quiet, and looks."""
        try:
            for page in self.pages:
                page.bring_to_front()
                page.mouse.move(600, 400)
                wait_until_idle(page)
            for page in self.pages:
                self._check_shown(page)
            self._check_texts_soon()
        except (AssertionError, BrowserError) as error:
            told = "\n".join(self.steps[-60:])
            shown = "\n".join(json.dumps(page.evaluate(SHOWN)) for page in self.pages)
            raise AssertionError(f"{error}\n\nThe last steps:\n{told}\n\nThe tabs:\n{shown}") from error

    def _check_shown(self, page: Page) -> None:
        """What is on the screen is what the store has for the address."""
        expected: dict[str, Any] = {}
        shown: dict[str, Any] = {}

        def is_as_stored() -> bool:
            nonlocal shown, expected
            shown = page.evaluate(SHOWN)
            session = self._stored(shown["conversation"])
            turns = session.turns[-WINDOW_TURNS:] if session else ()
            found = self._client.sessions.list(owner=self.owner, search=shown["search"].strip(), limit=200)
            expected = {
                "questions": [turn.messages[0].content for turn in turns],
                "replies": [_reply(turn) for turn in turns],
                "kinds": ["failed" if turn.done is None else "done" for turn in turns],
                "rows": [each.title for each in found],
            }
            return all(shown[name] == value for name, value in expected.items())

        deadline = time.monotonic() + 30
        while not is_as_stored():
            if time.monotonic() > deadline:
                what = {name: (shown[name], value) for name, value in expected.items() if shown[name] != value}
                raise AssertionError(f"tab {self.pages.index(page)}: shown, stored: {json.dumps(what, indent=1)}")
            page.wait_for_timeout(50)
        assert all(shown["reasons"]), "every refusal has its sentence"

    def _check_texts_soon(self) -> None:
        """What became of a message is asked a second or two after the page was reloaded."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self._check_texts()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            self.pages[0].wait_for_timeout(200)

    def _check_texts(self) -> None:
        """Each text is in the conversation in which it was pressed, or in a draft of it, and nowhere else."""
        where: dict[str, set[str]] = {}
        for summary in self._client.sessions.list(owner=self.owner, limit=500):
            session = self._stored(summary.session_id)
            for turn in session.turns if session else ():
                where.setdefault(turn.messages[0].content, set()).add(summary.session_id)
        for page in self.pages:
            shown = page.evaluate(SHOWN)
            for conversation, kept in shown["drafts"].items():
                for message in kept["unsent"]:
                    is_told = message["reason"] or conversation != shown["conversation"]
                    assert is_told, f"{message['text']!r} is neither sent nor refused"
                for text in (kept["box"], *(message["text"] for message in kept["unsent"])):
                    where.setdefault(text, set()).add(conversation)
        for text, conversation in self.typed.items():
            places = where.get(text, set())
            assert places <= {conversation}, f"{text!r} was said in {conversation} and is in {places}"
            assert places or text in self.released or self._was_just_said(text), f"{text!r} is nowhere"

    def _was_just_said(self, text: str) -> bool:
        """Whether another tab may have replaced it: it came onto that screen between this walk's look and its press."""
        of, at = self.typed[text], self._typed_at[text]
        return any(of == conversation and abs(when - at) < MOMENT_SECONDS for conversation, when in self._replaced)


class Limit:
    """The rate limit, reached when the walk says so."""

    def __init__(self) -> None:
        self.is_reached = False

    def check_caller(self, _caller: Any) -> None:
        if self.is_reached:
            raise RateLimited("You have sent as many requests as are allowed in a minute. Try again in a while.")


def _reply(turn: Turn) -> str:
    return " ".join(" ".join(message.content for message in turn.messages[1:]).split())
