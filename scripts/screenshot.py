"""Takes the pictures of the page that the README and docs/ show, from the real app with the model that comes with it.

Run as `python -m scripts.screenshot [--out FOLDER]`. The app runs on a free port with its own database; a browser asks
what is in `TALKS`, and photographs each of `STATES` at three widths, in light and in dark.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from scripts.system_packages import CHROMIUM_ARGS, NO_BROWSER, find_chromium

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
DESK = {"width": 1200, "height": 760}
TABLET = {"width": 820, "height": 1080}
PHONE = {"width": 390, "height": 780}
PHONE_SCALE = 2
WIDTHS = {"desk": DESK, "tablet": TABLET, "phone": PHONE}
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
# What a picture's name leaves out: `chat.png` is in light on a desk, `chat-phone.png` in dark on a phone.
_USUAL_THEME = {"desk": "light", "tablet": "light", "phone": "dark"}
PATIENCE_MS = 120_000
_IDLE = "body[data-chat=idle]"
_IS_QUIET = """() => [...document.querySelectorAll('#message .eta-bar, #message .progress-text, #message .stop-button')]
    .every(each => each.offsetParent === null)"""
# The last one is shown; the others are in the list beside it. Things that a model of this size gets right.
TALKS = (
    ("List the months of the year.",),
    ("Write a short poem about the sea.", "Thank you. Give it a title."),
    ("What is the capital of France?", "Give me three tips for a good night's sleep."),
)


def take(out: Path) -> list[Path]:
    """Takes the pictures.

    Returns:
        The PNG files, of which `name_of` has the names.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _app() as url, _browser() as browser:
        visitor = browser.new_context(viewport=DESK)  # type: ignore[arg-type]
        page = _open(visitor, url)
        _decline_offer(page)
        for number, talk in enumerate(TALKS):
            if number:
                _leave(page)
            for count, question in enumerate(talk, start=1):
                _ask(page, question, count)
        _retry(page)
        return [
            picture
            for width in WIDTHS
            for theme in THEMES
            for picture in _states(browser, visitor, page.url, out, width, theme)
        ]


def name_of(state: str, width: str, theme: str) -> str:
    """The file of a picture."""
    parts = [state]
    if width != "desk":
        parts.append(width)
    if theme != _USUAL_THEME[width]:
        parts.append(theme)
    return f"{'-'.join(parts)}.png"


def _states(
    browser: Browser, visitor: BrowserContext, address: str, out: Path, width: str, theme: Literal["light", "dark"]
) -> Iterator[Path]:
    """The same conversation, by the same visitor, and what can be opened beside it."""
    context = browser.new_context(
        viewport=WIDTHS[width],  # type: ignore[arg-type]
        color_scheme=theme,
        device_scale_factor=PHONE_SCALE if width == "phone" else 1,
        storage_state=visitor.storage_state(),
    )
    page = _open(context, address)
    page.wait_for_function("() => document.querySelectorAll('.reply-line.done:not(:empty)').length === 2")
    for state, reach in STATES.items():
        reach(page)
        yield _photograph(page, out / name_of(state, width, theme))
    context.close()


def _chat(page: Page) -> None:
    """As it opens."""
    page.wait_for_selector("#chat .versions")


def _models(page: Page) -> None:
    """The panel of models, with what is recommended."""
    page.locator("#model .model").click()
    page.locator("#models .recommended summary").click()
    page.wait_for_selector("#models .recommended li")


def _settings(page: Page) -> None:
    """Below the conversation."""
    page.keyboard.press("Escape")
    page.locator("#models").wait_for(state="hidden")
    _fold_settings(page)
    page.get_by_label("Top-p").first.wait_for()


def _empty(page: Page) -> None:
    """A new conversation."""
    _fold_settings(page)
    if page.locator("#sidebar:not(.open) .toggle-button").count():
        page.locator("#sidebar .toggle-button").click()
    _leave(page)


# One after the other, each from where the one before has led.
STATES: dict[str, Callable[[Page], None]] = {"chat": _chat, "models": _models, "settings": _settings, "empty": _empty}


def _fold_settings(page: Page) -> None:
    """By its name: the gauge stands in the middle of a narrow one."""
    page.locator("#settings button", has_text="Settings").click(position={"x": 20, "y": 10})


def _leave(page: Page) -> None:
    page.get_by_role("button", name="New chat").click()
    page.wait_for_function("() => !document.querySelector('#chat .user-row')")


def _open(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector(_IDLE)
    return page


def _ask(page: Page, question: str, count: int) -> None:
    """Sends a message and waits for the end of its reply, the `count`th on the page."""
    page.wait_for_selector(_IDLE)
    page.fill("#message textarea", question)
    page.press("#message textarea", "Enter")
    page.wait_for_function(
        "count => document.querySelectorAll('.reply-line.done:not(:empty)').length === count", arg=count
    )


def _retry(page: Page) -> None:
    """A second reply to the last message: the first stays beside it."""
    page.wait_for_selector(_IDLE)
    page.get_by_role("button", name="Retry", exact=True).click()
    page.wait_for_selector("#chat .versions")
    page.wait_for_selector(_IDLE)


def _decline_offer(page: Page) -> None:
    """A machine with room for it is offered a better model, which not every picture has."""
    page.wait_for_selector("#model .model")
    if page.locator("#offer").count():
        page.locator("#offer .close").click()


def _photograph(page: Page, path: Path) -> Path:
    page.mouse.move(0, 0)
    page.wait_for_function(_IS_QUIET)
    page.evaluate("() => { document.activeElement?.blur(); return document.fonts.ready.then(() => true); }")
    page.screenshot(path=path, animations="disabled", caret="hide")
    return path


@contextmanager
def _app() -> Iterator[str]:
    """The app in this process, with nothing in its database; yields its URL."""
    from llm_core.client import LLMClient
    from llm_core.server.serve import listen, running
    from llm_core.server.server import build_server
    from llm_core.settings import SERVER_PORT_VARIABLE, Settings

    with tempfile.TemporaryDirectory() as folder:
        chosen: dict[str, Any] = {
            "model": "bundled",
            "temperature": 0,  # the same picture every time
            "max_tokens": 90,
            "parallel": 2,
            "rate_limit": "none",
            "data_dir": Path(folder),
            SERVER_PORT_VARIABLE: 0,
        }
        settings = Settings(**chosen)
        with LLMClient(settings) as client:
            client.wait_ready()
            with listen(settings) as listener, running(build_server(client), listener) as url:
                yield url


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS)
        yield browser
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshot", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures (default: docs/images)")
    options = parser.parse_args()
    if find_chromium() is None:
        print(f"No pictures: {NO_BROWSER}", file=sys.stderr)
        return 1
    for picture in take(options.out):
        print(picture.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
