"""What a visitor has done in some tabs, and what must hold whenever they rest: the screen is what is stored."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import Any

from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as BrowserError

from llm_core.errors import SessionNotFound
from llm_core.page.view import NEWEST_TURNS
from llm_core.sessions.records import Session, Turn
from tests.visitor import wait_until_idle

from .walked import Limit, WalkedClient

MOMENT_SECONDS = 4.0
SHOWN = """() => ({
  state: document.body.dataset.chat,
  notes: document.querySelector("#notes")?.innerText,
  conversation: new URL(location).searchParams.get("c"),
  questions: [...document.querySelectorAll("#chat .user-row .typed")].map((each) => each.textContent),
  files: [...document.querySelectorAll("#chat .user-row")].map((row) =>
    [...row.querySelectorAll(".attached .name")].map((name) => name.textContent)),
  attached: [...document.querySelectorAll("#message .attached .remove")].map((each) =>
    each.closest(".chip").querySelector(".name").textContent),
  replies: [...document.querySelectorAll("#chat .bot-row")].map((row) =>
    [...row.querySelectorAll(".prose")].map((each) => each.textContent.trim()).filter(Boolean).join(" ")),
  versions: [...document.querySelectorAll("#chat .versions .count")].map((each) => each.textContent),
  kinds: [...document.querySelectorAll("#chat .reply-line")].map((line) => line.className.split(" ")[1]),
  rows: [...document.querySelectorAll("#conversations li .open")].map((each) => each.textContent),
  prompt: document.querySelector("#system-prompt textarea")?.value,
  search: document.querySelector("#search :is(textarea, input)")?.value ?? "",
  box: document.querySelector("#message textarea")?.value ?? "",
  url: location.href,
  text: document.body.innerText.slice(0, 300),
  reasons: [...document.querySelectorAll("#notes .unsent p")].map((each) => each.textContent),
  drafts: JSON.parse(sessionStorage.getItem("llm-core-drafts") ?? "{}"),
})"""


class Visit:
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
        self.attached: dict[str, str] = {}  # name of a file -> the conversation for which it was read
        self.deleted: set[str] = set()  # conversations
        self.released: set[str] = set()  # texts that the visitor has deleted, replaced or typed over

    @property
    def owner(self) -> str:
        key = next(cookie["value"] for cookie in self._context.cookies() if cookie["name"] == "llm_core_browser")
        return f"browser:{key}"

    def _conversation(self, page: Page) -> str:
        return str(page.evaluate("() => new URL(location).searchParams.get('c')"))

    # ── what the visitor gives up ────────────────────────────────────────────────────────────────────────────────────

    def _release_conversations(self, conversations: set[str]) -> None:
        self.deleted |= conversations
        self.released |= {text for text, of in self.typed.items() if of in conversations}

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
            turns = session.turns[-max(NEWEST_TURNS, len(shown["questions"])) :] if session else ()
            found = self._client.sessions.list(owner=self.owner, search=shown["search"].strip(), limit=200)
            expected = {
                "questions": [turn.messages[0].content for turn in turns],
                "files": [_files(turn) for turn in turns],
                "replies": [_reply(turn) for turn in turns],
                "versions": [text for turn in turns for text in _versions(turn)],
                "kinds": ["failed" if turn.done is None else "done" for turn in turns],
                "rows": [each.title for each in found],
                "prompt": self._prompt(shown, session),
            }
            return all(shown[name] == value for name, value in expected.items())

        deadline = time.monotonic() + 30
        while not is_as_stored():
            if time.monotonic() > deadline:
                what = {name: (shown[name], value) for name, value in expected.items() if shown[name] != value}
                raise AssertionError(f"tab {self.pages.index(page)}: shown, stored: {json.dumps(what, indent=1)}")
            page.wait_for_timeout(50)
        assert all(shown["reasons"]), "every refusal has its sentence"

    def _prompt(self, shown: dict[str, Any], session: Session | None) -> str | None:
        """The system prompt that belongs on the screen, where its box is there."""
        if shown["prompt"] is None:
            return None
        kept = session.system_prompt if session is not None else None
        if kept is None:
            kept = self._client.settings.system_prompt
        draft = shown["drafts"].get(shown["conversation"], {}).get("settings") or {}
        return draft.get("system_prompt", kept)

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
        """Each text, and each file, is in the conversation that it was for, or in a draft of it, and nowhere else."""
        where: dict[str, set[str]] = {}
        for summary in self._client.sessions.list(owner=self.owner, limit=500):
            session = self._stored(summary.session_id)
            if session is None:
                continue
            for turn in session.turns:
                where.setdefault(turn.messages[0].content, set()).add(summary.session_id)
            for turn in (*session.turns, *self._client.sessions.set_aside(summary.session_id, owner=self.owner)):
                for name in _files(turn):
                    where.setdefault(name, set()).add(summary.session_id)
        for page in self.pages:
            shown = page.evaluate(SHOWN)
            for conversation, kept in shown["drafts"].items():
                for message in kept["unsent"]:
                    is_told = message["reason"] or conversation != shown["conversation"]
                    assert is_told, f"{message['text']!r} is neither sent nor refused"
                for text in (kept["box"], *(message["text"] for message in kept["unsent"])):
                    where.setdefault(text, set()).add(conversation)
                for file in itertools.chain(kept["files"], *(message["files"] for message in kept["unsent"])):
                    where.setdefault(file["name"], set()).add(conversation)
        for name, conversation in self.attached.items():
            is_there = where.get(name) == {conversation} or conversation in self.deleted
            assert is_there, f"{name!r} was attached in {conversation} and is in {where.get(name)}"
        for text, conversation in self.typed.items():
            places = where.get(text, set())
            assert places <= {conversation}, f"{text!r} was said in {conversation} and is in {places}"
            assert places or text in self.released or self._was_just_said(text), f"{text!r} is nowhere"

    def _was_just_said(self, text: str) -> bool:
        """Whether another tab may have replaced it: it came onto that screen between this walk's look and its press."""
        of, at = self.typed[text], self._typed_at[text]
        return any(of == conversation and abs(when - at) < MOMENT_SECONDS for conversation, when in self._replaced)


def _files(turn: Turn) -> list[str]:
    return [file.name for file in turn.messages[0].attachments or ()]


def _versions(turn: Turn) -> list[str]:
    """What stands at the message, then at the reply."""
    wordings: dict[str | None, list[str]] = {}
    for version in turn.versions:
        wordings.setdefault(version.question, []).append(version.stream_id)
    question = turn.messages[0].content
    mine = wordings.get(question, [])
    told = [([*wordings].index(question), len(wordings)), (mine.index(turn.stream_id), len(mine))] if mine else []
    return [f"{place + 1}/{count}" for place, count in told if count > 1]


def _reply(turn: Turn) -> str:
    return " ".join(" ".join(message.content for message in turn.messages[1:]).split())
