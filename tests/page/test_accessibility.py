"""For everyone: axe-core finds nothing in any state, size and theme; what is heard, what moves, where the focus is."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from llm_core.events import ChatEvent, ContentDelta, Queued
from tests.scripted_client import END, ScriptedClient, Signal
from tests.visitor import REPLY, send, wait_until_done, wait_until_idle

from .screen import BOX, Open, answering, holding
from .test_approvals import CARD
from .test_approvals import client as client
from .test_approvals import url as consent_url

__all__ = ["consent_url"]

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TWICE = {"width": 640, "height": 400}  # a laptop's at 200 %, for the page
WRITTEN = """# A title

Some **words** and a [link](https://example.org).

```python
print(1)
```

| a | b |
|---|---|
| 1 | 2 |

$x^2$
"""


def empty(_page: Page) -> None:
    """As it opens."""


def conversation(page: Page) -> None:
    send(page, "Show me something")
    wait_until_done(page)
    send(page, "Once more")
    wait_until_done(page, 2)


def settings(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Settings")).click()


def models(page: Page) -> None:
    page.locator("#model button").click()
    page.locator("#models summary").first.click()
    expect(page.locator("#models .recommended .rows li").first).to_be_visible()


STATES: dict[str, Callable[[Page], None]] = {each.__name__: each for each in (empty, conversation, settings, models)}

each_theme = pytest.mark.parametrize("theme", ["light", "dark"])
each_size = pytest.mark.parametrize("size", [LAPTOP, PHONE, TWICE], ids=["laptop", "phone", "twice the size"])


def axe_finds_nothing(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@each_theme
@each_size
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(
    page: Page, script: ScriptedClient, state: str, size: dict[str, int], theme: Literal["light", "dark"]
) -> None:
    script.script = lambda: answering(WRITTEN)
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    page.reload()
    wait_until_idle(page)
    STATES[state](page)

    axe_finds_nothing(page)


@each_theme
@each_size
def test_axe_finds_nothing_on_a_page_that_is_read_from_the_right(
    open_page: Open,
    scripted_page: tuple[ScriptedClient, str],
    script: ScriptedClient,
    size: ViewportSize,
    theme: Literal["light", "dark"],
) -> None:
    script.script = lambda: answering(f"{WRITTEN}\n\nمرحبا بك")
    page = open_page(scripted_page[1], locale="ar-EG", viewport=size, color_scheme=theme)
    conversation(page)

    axe_finds_nothing(page)


@each_theme
@each_size
def test_axe_finds_nothing_where_a_call_waits_for_consent(
    open_page: Open, consent_url: str, size: ViewportSize, theme: Literal["light", "dark"]
) -> None:
    page = open_page(consent_url, viewport=size, color_scheme=theme)
    page.locator("#settings button").first.click()
    page.get_by_label("Tools of this server").check()
    page.locator("#settings button").first.click()
    send(page, "Shout.")
    expect(page.locator(CARD)).to_have_count(1)

    axe_finds_nothing(page)


# ── what is heard ────────────────────────────────────────────────────────────────────────────────────────────────────

HEARD = """() => {
    globalThis.heardTexts = [];
    const region = document.querySelector(".heard");
    new MutationObserver(() => heardTexts.push(region.textContent)).observe(region, { childList: true });
}"""


def test_a_reply_is_heard_to_begin_and_once_at_its_end(page: Page, script: ScriptedClient) -> None:
    go_on = Signal()
    script.script = holding(go_on)
    page.evaluate(HEARD)
    send(page, "Hello")
    expect(page.locator(REPLY)).to_have_text("First half")
    assert page.evaluate("heardTexts") == ["A reply begins."]
    growing = page.locator(REPLY).evaluate("(text) => text.closest('[aria-live], [role=log], [role=status]').ariaLive")
    assert growing == "off", "what grows is not read out word for word"
    go_on.give()
    wait_until_done(page)

    page.wait_for_function("heardTexts.length > 1")
    assert page.evaluate("heardTexts") == ["A reply begins.", "First half and the second."]
    assert page.locator(".heard").evaluate("(region) => region.role") == "status"


def test_what_gradio_has_drawn_is_labelled_before_anybody_can_see_it(page: Page, script: ScriptedClient) -> None:
    page.evaluate("() => { globalThis.requestAnimationFrame = (then) => setTimeout(then, 400); }")
    send(page, "Hello")
    labels = page.wait_for_function(
        """() => document.querySelector("#chat .bot-row .prose")?.innerText &&
            [...document.querySelectorAll("#chat [aria-label]")].map((each) => each.ariaLabel)""",
        polling=10,
    ).json_value()
    assert {"Reply", "Your message: Hello"} <= set(labels)
    assert not [label for label in labels if label.startswith(("bot's", "user's"))]


def test_a_reply_that_looks_like_a_part_of_the_page_is_a_reply(page: Page, script: ScriptedClient) -> None:
    """Two rules for one element would take turns for ever."""
    html = '<pre class="typed">x</pre><div class="message-buttons"><button class="copy_code_button">y</button></div>'
    script.script = lambda: answering(f"{html}\n\nThe end.")
    send(page, "Hello")
    assert wait_until_done(page).endswith("The end.")
    expect(page.locator("#chat .user-row [aria-label^='Your message']")).to_have_count(1)
    expect(page.locator("#chat .bot-row [aria-label^='Your message']")).to_have_count(0)


def test_a_failure_is_an_alert_and_figures_are_silent(page: Page, script: ScriptedClient) -> None:
    send(page, "Hello")
    wait_until_done(page)
    line = page.locator(".reply-line").last
    assert line.get_attribute("role") is None

    def broken() -> Generator[ChatEvent]:
        yield Queued(0)
        yield ContentDelta("Half")
        raise RuntimeError("on purpose")
        yield END

    script.script = broken
    send(page, "Again")
    expect(page.locator(".reply-line.failed")).to_have_attribute("role", "alert")


# ── what moves, and where the focus is ───────────────────────────────────────────────────────────────────────────────


def test_nothing_moves_for_who_wants_that(page: Page, script: ScriptedClient) -> None:
    page.emulate_media(reduced_motion="reduce")
    go_on = Signal()

    def waiting() -> Generator[ChatEvent]:
        yield Queued(3)
        go_on.wait()
        yield END

    script.script = waiting
    send(page, "Hello")
    expect(page.locator(".reply-line.waiting")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    page.locator("#sidebar .toggle-button").click()
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") > 0
    go_on.give()
    wait_until_idle(page)


FOCUSED = """() => {
    const focused = document.activeElement;
    if (focused === document.body) return null;
    const style = getComputedStyle(focused);
    const isShown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const around = focused.closest("#message");
    const isOfBox = focused.localName === "textarea" && around !== null;
    return [focused.outerHTML.slice(0, 120), isShown || isOfBox];
}"""


@each_theme
def test_the_focus_is_seen_on_every_control(
    page: Page, script: ScriptedClient, theme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=theme)
    conversation(page)
    settings(page)
    page.locator(BOX).focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if (found := page.evaluate(FOCUSED)) is None or found in seen:
            continue
        seen.append(found)

    assert len(seen) > 20
    assert [control for control, is_shown in seen if not is_shown] == []
