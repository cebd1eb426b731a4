"""The example page of the TypeScript client in a real browser, built as for production, on the running app."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.waiting import free_port

from .conftest import App, process

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
STORY = "Tell me a very long story about the sea, with many chapters."
REPLY = ".assistant .text"


def vite(client_folder: Path) -> str:
    """The program itself: npx would start it as a child, which outlives npx when that is killed."""
    return str(client_folder / "node_modules" / ".bin" / "vite")


def built(client_folder: Path, to: Path, **variables: str) -> Path:
    command = [vite(client_folder), "build", "example", "--outDir", str(to), "--logLevel", "warn"]
    ran = subprocess.run(
        command, cwd=client_folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return to


@pytest.fixture(scope="module")
def page_url(client_folder: Path, app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The built page on a server of its own, which passes on what is asked below /api, as Vite does in development."""
    files = built(client_folder, tmp_path_factory.mktemp("page"))
    command = [vite(client_folder), "preview", "example", "--outDir", str(files)]
    port = free_port()
    command += ["--host", "127.0.0.1", "--port", str(port), "--strictPort"]
    environment = os.environ | {"LLM_URL": app.url, "NO_COLOR": "1"}
    with process(command, client_folder, "127.0.0.1", environment):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser: Browser, page_url: str) -> Iterator[Page]:
    """The page as a new visitor sees it; afterwards nothing that it began goes on."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(page_url)
    expect(page.get_by_text("What would you like to know?")).to_be_visible(timeout=PATIENCE_MS)
    yield page
    stop = page.get_by_role("button", name="Stop")
    if stop.is_visible():
        stop.click()
        expect(stop).to_be_hidden(timeout=PATIENCE_MS)
    context.close()


def send(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def wait_for_text(page: Page, longer_than: int = 0) -> str:
    """The reply's text, once there is more of it than that."""
    page.wait_for_function(
        "([selector, length]) => (document.querySelector(selector)?.textContent.length ?? 0) > length",
        arg=[REPLY, longer_than],
    )
    return page.inner_text(REPLY)


def test_text_grows_and_stop_ends_it(page: Page) -> None:
    send(page, STORY)
    first = wait_for_text(page)
    second = wait_for_text(page, longer_than=len(first))
    page.get_by_role("button", name="Stop").click()

    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert second.startswith(first)
    assert page.inner_text(".assistant footer").startswith("Stopped")


def test_a_reload_in_the_middle_of_a_reply_loses_nothing_and_afterwards_the_history_is_there(page: Page) -> None:
    send(page, STORY)
    before = wait_for_text(page, longer_than=20)
    page.reload()
    after = wait_for_text(page, longer_than=len(before))
    assert after.startswith(before)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    whole = page.inner_text(REPLY)

    page.reload()

    expect(page.locator(REPLY)).to_have_text(whole)
    assert page.inner_text(".user .text") == STORY


def test_a_message_that_cannot_be_sent_comes_back_and_the_page_says_why(page: Page) -> None:
    page.context.set_offline(True)
    send(page, "Hello")

    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Message")).to_have_value("Hello")
    expect(page.locator("article")).to_have_count(0)

    page.context.set_offline(False)
    page.get_by_label("Message").press("Enter")
    wait_for_text(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_message_whose_answer_is_lost_before_it_begins_is_answered_and_said_once(page: Page) -> None:
    asked: list[str | None] = []

    def lose(route: Route, request: Request) -> None:
        asked.append(request.header_value("Idempotency-Key"))
        if len(asked) > 1:
            route.continue_()
            return
        route.fetch()  # the server has it
        route.abort("connectionreset")

    page.route("**/chat/session/stream", lose)
    send(page, "What is the capital of France?")
    whole = wait_for_text(page)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.reload()

    expect(page.locator(REPLY)).to_contain_text(whole)
    expect(page.locator(".user .text")).to_have_count(1)
    assert len(asked) == 2
    assert asked[0] == asked[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in_both_color_schemes(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    send(page, "supercalifragilistic" * 10)
    wait_for_text(page)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in (".user .text", REPLY, ".empty, footer, header .quiet"):
        assert contrast(page, selector) >= 4.5, selector


def test_a_page_of_another_origin_may_call_where_the_app_allows_it(
    browser: Browser, client_folder: Path, app: App, tmp_path: Path
) -> None:
    files = built(client_folder, tmp_path, VITE_LLM_URL=app.url)
    for port, is_allowed in ((app.allowed_port, True), (free_port(), False)):
        with serving(files, port), browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"http://127.0.0.1:{port}")
            if is_allowed:
                send(page, "Hello")
                wait_for_text(page)
            else:
                expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


@contextmanager
def serving(files: Path, port: int) -> Iterator[None]:
    """A server of files and nothing else: what their page asks for goes to the app itself."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(QuietFiles, directory=files)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


CONTRAST = """(selector) => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let box = element;
  while (getComputedStyle(box).backgroundColor === "rgba(0, 0, 0, 0)") box = box.parentElement;
  const [ink, paper] = [getComputedStyle(element).color, getComputedStyle(box).backgroundColor].map(luminance);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


def contrast(page: Page, selector: str) -> float:
    """How much the text of an element stands out, after WCAG 2; 4.5 is what people need."""
    ratio: float = page.evaluate(CONTRAST, selector)
    return ratio
