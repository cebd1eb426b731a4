"""A random walk over the page.

The engine is scripted, the rest is real: browser, page, server, store. What is drawn from the seed is what a person
does; how quickly things answer is not, so a seed is a likely way to a fault and not a certain one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page

from tests.visitor import wait_until_idle

from .visit import SHOWN, Visit

LONGEST_PAUSE_SECONDS = 0.8
STEPS_BETWEEN_RESTS = 8
SURE_MS = 450  # a press that asks first takes no second one before
PATIENCE_MS = 500  # what cannot be pressed within this is let be: it moves, or has gone
ROWS = "#conversations li"
BOX = "#message textarea"

TYPE = """([box, text]) => {
  const area = document.querySelector(box), before = area.value;
  area.value = text;
  area.dispatchEvent(new Event("input", { bubbles: true }));
  return before;
}"""
TICKED = """() => [...document.querySelectorAll("#conversations .tick:checked")]
  .map((tick) => tick.closest("li").dataset.id)"""


class Walk(Visit):
    """What a person does in two tabs, as the seed has it."""

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
            self.restore,
            self.choose,
            self.choose,
            self.pin,
            self.select,
            self.set,
            self.search,
            self.reload,
            self.back,
            self.again,
            self.change_weather,
            self.attach,
            self.attach,
        ]

    # ── what a person does ───────────────────────────────────────────────────────────────────────────────────────────

    def _press(self, page: Page, what: Any) -> None:
        what.click(timeout=PATIENCE_MS, delay=self._random.choice([0, 0, 30, 100]))

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

    def attach(self, page: Page) -> str:
        """A file for the conversation on the screen, which is sent with the next text."""
        name = f"file {next(self._numbers)}.txt"
        before = self._conversation(page)
        page.set_input_files("#attach-files", {"name": name, "mimeType": "text/plain", "buffer": name.encode()})
        if self._random.random() < 0.3:
            return f"attaches {name!r} in {before[:6]} and does not wait"
        page.wait_for_timeout(PATIENCE_MS)
        if name in page.evaluate(SHOWN)["attached"] and self._conversation(page) == before:
            self.attached[name] = before
        return f"attaches {name!r} in {before[:6]}"

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
        self._release_conversations({conversation})
        self._press(page, button)
        return f"deletes {conversation[:6]}"

    def restore(self, page: Page) -> str | None:
        button = page.locator("#notes .deleted button").last
        if not button.is_visible():
            return None
        self._press(page, button)
        return "takes a deletion back"

    def choose(self, page: Page) -> str | None:
        buttons = page.locator("#chat .versions button:not([aria-disabled])")
        count = buttons.count()
        if not count:
            return None
        button = buttons.nth(self._random.randrange(count))
        button.scroll_into_view_if_needed(timeout=PATIENCE_MS)
        # What is on the screen is one press away from then on, and no text of what was said.
        self._replaced.append((self._conversation(page), time.monotonic()))
        self.released |= set(page.evaluate(SHOWN)["questions"])
        self._press(page, button)
        return f"presses {button.get_attribute('aria-label', timeout=PATIENCE_MS)!r}"

    def pin(self, page: Page) -> str | None:
        count = page.locator(ROWS).count()
        if not count:
            return None
        row = page.locator(ROWS).nth(self._random.randrange(count))
        row.hover(timeout=PATIENCE_MS)
        self._press(page, row.locator(".pin"))
        return "pins, or no more"

    def select(self, page: Page) -> str | None:
        """Takes some rows at once, and deletes them, pins them or thinks better of it."""
        count = page.locator(ROWS).count()
        if not count:
            return None
        for place in self._random.sample(range(count), min(count, self._random.choice([1, 2, 3]))):
            page.locator(f"{ROWS} .open").nth(place).click(modifiers=["ControlOrMeta"], timeout=PATIENCE_MS)
        what = self._random.choice(["remove", "pin-all", "nothing"])
        chosen = set(page.evaluate(TICKED))
        if what != "nothing":
            page.locator(f"#conversations .selection .{what}").click(timeout=PATIENCE_MS)
        if what == "remove":
            page.wait_for_timeout(SURE_MS)
            chosen = set(page.evaluate(TICKED))
            self._release_conversations(chosen)
            page.locator("#conversations .selection .remove.asked").click(timeout=PATIENCE_MS)
        else:
            page.keyboard.press("Escape")
        return f"selects {len(chosen)} rows: {what}"

    def set(self, page: Page) -> str:
        """Another system prompt, for the conversation on the screen."""
        if not page.locator("#system-prompt textarea").is_visible():
            self._press(page, page.locator("#settings > .label-wrap"))
        prompt = f"prompt {next(self._numbers)}"
        page.evaluate(TYPE, ["#system-prompt textarea", prompt])
        return f"sets {prompt!r} in {self._conversation(page)[:6]}"

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
