"""Takes the pictures of the page that the README and docs/ show, from the real app with the model that comes with it.

Run as `python -m scripts.screenshot [--out FOLDER]`. The app runs on a free port with its own database; a browser asks
what is in `TALKS`, and photographs the conversation in light on a desk and in dark on a phone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from scripts.system_packages import CHROMIUM_ARGS, NO_BROWSER, find_chromium

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
DESK = {"width": 1200, "height": 760}
PHONE = {"width": 390, "height": 780}
PHONE_SCALE = 2
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
        The PNG files: `chat.png`, `models.png` and `chat-phone.png`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _app() as url, _browser() as browser:
        visitor = browser.new_context(viewport=DESK, color_scheme="light")  # type: ignore[arg-type]
        page = _open(visitor, url)
        _decline_offer(page)
        for number, talk in enumerate(TALKS):
            if number:
                page.get_by_role("button", name="New chat").click()
                page.wait_for_function("() => !document.querySelector('#chat .user-row')")
            for count, question in enumerate(talk, start=1):
                _ask(page, question, count)
        pictures = [_photograph(page, out / "chat.png"), _photograph_models(page, out / "models.png")]
        pictures.append(_on_a_phone(browser, visitor, page.url, out / "chat-phone.png"))
        return pictures


def _on_a_phone(browser: Browser, visitor: BrowserContext, address: str, path: Path) -> Path:
    """The same conversation, by the same visitor on a phone in the dark."""
    phone = browser.new_context(
        viewport=PHONE,  # type: ignore[arg-type]
        color_scheme="dark",
        device_scale_factor=PHONE_SCALE,
        storage_state=visitor.storage_state(),
    )
    page = _open(phone, address)
    page.wait_for_function("() => document.querySelectorAll('.reply-line.done:not(:empty)').length === 2")
    return _photograph(page, path)


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


def _decline_offer(page: Page) -> None:
    """A machine with room for it is offered a better model, which not every picture has."""
    page.wait_for_selector("#model .model")
    if page.locator("#offer").count():
        page.locator("#offer .close").click()


def _photograph_models(page: Page, path: Path) -> Path:
    """The panel of models, with what is recommended."""
    page.locator("#model .model").click()
    page.locator("#models .recommended summary").click()
    page.wait_for_selector("#models .recommended li")
    return _photograph(page, path)


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
