"""On paper stands the conversation and nothing else, black on white; what is copied reads well."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.scripted_client import ScriptedClient
from tests.visitor import send, wait_until_done

from .screen import Open, answering, copied

LONG = "word_" * 60
WRITTEN = f"""## A title

Some **words** and a [link](https://example.org/a), with `code`.

- one
  - below it
- two

1. first
2. second

```python
def {LONG}():
    return 1
```

| a | b |
|---|---|
| 1 | 2 |
"""
PLAIN = f"""A title

Some words and a link (https://example.org/a), with code.

- one
  - below it
- two

1. first
2. second

def {LONG}():
    return 1

a\tb
1\t2"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_stands_the_conversation_alone_black_on_white(
    page: Page, script: ScriptedClient, theme: Literal["light", "dark"]
) -> None:
    script.script = lambda: answering(WRITTEN)
    page.emulate_media(color_scheme=theme)
    send(page, "Show me something")
    wait_until_done(page)
    page.emulate_media(media="print", color_scheme=theme)

    for away in ("#sidebar", "#header", "#message", "#settings", "#notes", "#gauge", "footer", ".message-buttons"):
        assert page.locator(f"{away}:visible").count() == 0, away
    assert page.locator("button:visible, input:visible, textarea:visible").count() == 0
    shown = page.locator("body").inner_text()
    assert shown.startswith("Show me something")
    assert "A title" in shown
    colours = page.evaluate("""() => [...document.querySelectorAll("#chat .prose *, body")].map((each) => {
        const { color, backgroundColor } = getComputedStyle(each);
        return `${color} on ${backgroundColor}`;
    })""")
    assert set(colours) == {"rgb(0, 0, 0) on rgba(0, 0, 0, 0)"}
    link = page.locator("#chat .prose a").evaluate("(each) => getComputedStyle(each, '::after').content")
    assert "https://example.org/a" in link
    code = page.locator("#chat .bot-row pre")
    assert code.evaluate("(each) => each.scrollWidth <= each.clientWidth"), "a long line of code goes on below"
    assert page.locator("#chat .user-row").evaluate("(row) => getComputedStyle(row).breakInside") == "avoid"
    assert page.locator("#chat .prose h2").evaluate("(title) => getComputedStyle(title).breakAfter") == "avoid"


def test_a_long_conversation_goes_over_several_sheets(page: Page, script: ScriptedClient) -> None:
    script.script = lambda: answering("A paragraph of some words.\n\n" * 80)
    send(page, "Much")
    wait_until_done(page)

    assert page.pdf(format="A4").count(b"/Type /Page\n") >= 2


def test_a_reply_is_copied_as_markdown_or_as_plain_text(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    script.script = lambda: answering(WRITTEN)
    page = open_page(scripted_page[1], permissions=["clipboard-read", "clipboard-write"])
    send(page, "Show me something")
    wait_until_done(page)
    for name, text in (("Copy as Markdown", WRITTEN), ("Copy as plain text", PLAIN)):
        assert copied(page, page.get_by_role("button", name=name, exact=True)) == text
        expect(page.locator("#chat .message-buttons button.copied")).to_have_count(0)
