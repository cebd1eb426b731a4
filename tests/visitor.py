"""What a visitor does with the page, and what a visitor sees."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.served import PATIENCE_MS

REPLY = "#chat .bot-row .prose"
STOP = "#message button.stop-button"
DRAWN = "body:not([data-drawing])"
IDLE, BUSY = "body[data-chat=idle]", "body[data-chat=busy]"
UNSENT = "#notes .unsent"


def wait_until_idle(page: Page) -> None:
    """Until a conversation is open and no reply is being made in it."""
    page.wait_for_selector(IDLE, timeout=PATIENCE_MS)


def send(page: Page, text: str) -> None:
    """Types a message and sends it as soon as the reply before it has ended."""
    page.fill("#message textarea", text)
    wait_until_idle(page)
    page.press("#message textarea", "Enter")


def retry(page: Page) -> None:
    """Has the last reply made again, and waits until that has ended, however quick it is."""
    with page.expect_response(lambda answer: '"begin"' in (answer.request.post_data or ""), timeout=PATIENCE_MS):
        page.get_by_role("button", name="Retry", exact=True).click()
    wait_until_idle(page)
    page.wait_for_selector(DRAWN, timeout=PATIENCE_MS)


def wait_for_text(page: Page, length: int) -> str:
    """The last reply once it has at least `length` characters."""
    page.wait_for_function(
        "([reply, length]) => ([...document.querySelectorAll(reply)].at(-1)?.innerText ?? '').length >= length",
        arg=[REPLY, length],
        timeout=PATIENCE_MS,
    )
    return page.locator(REPLY).last.inner_text()


def wait_until_done(page: Page, replies: int = 1) -> str:
    """The last reply once there are so many and all have ended."""
    page.wait_for_function(
        "count => document.querySelectorAll('.reply-line.done:not(:empty)').length === count",
        arg=replies,
        timeout=PATIENCE_MS,
    )
    return page.locator(REPLY).last.inner_text()


def line(page: Page) -> str:
    """The quiet line under the last reply."""
    return page.locator(".reply-line").last.inner_text()
