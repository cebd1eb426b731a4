"""The page in the reader's language: all of it from the tables, with numbers and plurals, from either side."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from llm_core.errors import QueueFull
from llm_core.events import ChatEvent, ContentDelta, Queued, ReasoningDelta, ToolCallDelta
from llm_core.page.languages import WIDGETS
from llm_core.texts.told import LANGUAGES, Forms, table
from tests.scripted_client import END, ScriptedClient, Signal
from tests.served import PATIENCE_MS
from tests.visitor import REPLY, send, wait_until_done, wait_until_idle

from .screen import BOX, ROWS, Open, answering, full, holding
from .test_approvals import CARD
from .test_approvals import client as client
from .test_approvals import url as consent_url

__all__ = ["consent_url"]
GRADIO = Path(str(gr.__file__)).parent / "templates" / "frontend" / "assets"
LOCALES = {"en": "en-GB", "de": "de-DE", "fr": "fr-FR", "es": "es-ES", "zh-CN": "zh-CN", "ja": "ja-JP", "ar": "ar-EG"}
# All texts of the widgets between marks, before Gradio reads them.
MARK_WIDGETS = """(() => {
    let config;
    Object.defineProperty(window, "gradio_config", {
        get: () => config,
        set(given) {
            const words = given.i18n_translations.de;
            for (const key of Object.keys(words)) words[key] = `⟦${words[key]}⟧`;
            config = given;
        },
    });
})();"""
# All that is seen or read out, apart from what is drawn as code and what stands in the boxes.
SEEN = """() => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const { data, parentElement } = walker.currentNode;
        if (parentElement.checkVisibility() && !parentElement.closest("script, style")) found.push(data.trim());
    }
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
        for (const element of document.querySelectorAll(`[${name}]`)) {
            if (element.checkVisibility()) found.push(element.getAttribute(name).trim());
        }
    }
    return [...new Set(found)].filter(Boolean);
}"""


def marked(forms: Forms) -> Forms:
    return f"⟦{forms}⟧" if isinstance(forms, str) else {name: f"⟦{form}⟧" for name, form in forms.items()}


@pytest.fixture
def open_marked(open_page: Open) -> Callable[[str], Page]:
    """Opens a page in German, whose texts stand between marks."""
    texts = json.dumps({key: marked(forms) for key, forms in table("de").items()})

    def opened(url: str) -> Page:
        page = open_page(url, locale="de-DE")
        page.add_init_script(MARK_WIDGETS)
        page.route("**/page/texts/de*", lambda route: route.fulfill(body=texts, content_type="application/json"))
        page.reload()
        wait_until_idle(page)
        return page

    return opened


def unmarked(page: Page, *data: str) -> list[str]:
    """What is seen and comes from no table, nor from Gradio's, and is no data of the test."""
    gradio = next(GRADIO.glob("de-*.js")).read_text(encoding="utf-8")
    literal = []
    for text in page.evaluate(SEEN):
        rest = text
        while (inner := re.sub(r"⟦[^⟦⟧]*⟧", "", rest)) != rest:
            rest = inner
        for known in sorted(data, key=len, reverse=True):
            rest = rest.replace(known, "")
        if re.search(r"[^\W\d_]", rest) and f"`{rest.strip()}`" not in gradio:
            literal.append(text)
    return literal


def all_is_told(page: Page, what: str, *data: str) -> None:
    """As soon as the page has said what Gradio has just drawn in its own words."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while (literal := unmarked(page, *data)) and time.monotonic() < until:
        page.wait_for_timeout(50)
    assert not literal, f"{what}: {literal}"


def thoughtful() -> Generator[ChatEvent]:
    yield Queued(0)
    yield ReasoningDelta("Hm.")
    yield ToolCallDelta(0, id="one", name="calculate", arguments="{}")
    yield ContentDelta("Fine.")
    yield END


MODEL = ("SmolLM2-135M-Instruct", "apache-2.0", "Q4_1", "Q8_0", "Q4_0")


def test_all_that_is_seen_comes_from_the_tables(
    open_marked: Callable[[str], Page], scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    page = open_marked(scripted_page[1])
    expect(page.locator("#model .model")).to_be_visible()
    if (offer := page.locator("#offer")).count():
        all_is_told(page, "the offer", *MODEL, "SmolLM2", "LFM2-1.2B")
        offer.locator(".close").click()
    all_is_told(page, "an empty page", *MODEL)

    script.script = thoughtful
    send(page, "Zoo")
    wait_until_done(page)
    page.locator("#chat .thought-group .title").last.click()
    all_is_told(page, "a reply that thinks and calls", *MODEL, "Zoo", "Hm.", "Fine.", "{}")

    go_on = Signal()
    script.script = holding(go_on)
    page.locator("#chat .message-buttons-left button").nth(2).click()
    expect(page.locator(REPLY).last).to_contain_text("First half")
    all_is_told(page, "a reply that is made", *MODEL, "Zoo", "First half")
    go_on.give()
    wait_until_done(page)
    said = "First half and the second."
    all_is_told(page, "its versions", *MODEL, "Zoo", said)

    script.script = full
    send(page, "Zoo")
    expect(page.locator("#notes .unsent")).to_have_count(1)
    page.locator("#chat .user-row").first.hover()
    page.locator("#chat .message-buttons-right button").last.click()
    expect(page.locator("#notes .editing")).to_have_count(1)
    page.locator(ROWS).first.hover()
    page.locator(f"{ROWS} .delete").first.click()
    all_is_told(page, "notes, and a question", *MODEL, "Zoo", said)
    page.wait_for_timeout(500)
    page.locator(f"{ROWS} .delete").first.click()
    expect(page.locator("#notes .deleted")).to_have_count(1)
    page.locator("#settings button").first.click()
    expect(page.locator("#tools")).to_be_visible()
    prompt = page.locator("#settings textarea").first.input_value()
    all_is_told(page, "the settings, and what was deleted", *MODEL, "Zoo", prompt, said)


def test_the_panel_of_models_comes_from_the_tables(
    open_marked: Callable[[str], Page], scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    """But for names, and for what speaks for a model, which the server says."""
    page = open_marked(scripted_page[1])
    page.locator("#model button").click()
    page.locator("#models summary").first.click()
    page.locator("#models summary").last.click()
    expect(page.locator("#models .recommended .rows li").first).to_be_visible()
    data = page.locator("#models .recommended :is(.name, .told)").all_inner_texts()
    licenses = ("apache-2.0", "lfm1.0", "mit", "gemma", "llama3.2")

    all_is_told(page, "the panel", *MODEL, *data, *licenses)


def test_the_calls_that_wait_come_from_the_tables(open_marked: Callable[[str], Page], consent_url: str) -> None:
    page = open_marked(consent_url)
    page.locator("#settings button").first.click()
    page.locator("#tools input").last.check()
    page.locator("#settings button").first.click()
    send(page, "Zoo")
    expect(page.locator(CARD)).to_have_count(1)
    said = ("Zoo", "t.shout", "t shout", "May I?", '{"text": "<b>a</b>"}', "scripted")

    all_is_told(page, "the calls", *MODEL, *said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_browser_s_language_chooses_and_numbers_are_written_as_there(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient, language: str
) -> None:
    page = open_page(scripted_page[1], locale=LOCALES[language])
    wait_until_idle(page)
    send(page, "Hello")
    wait_until_done(page)
    words = table(language)

    html = page.locator("html")
    expect(html).to_have_attribute("lang", language)
    expect(html).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    expect(page.locator("#new-chat")).to_have_text(str(words["widgets.new_chat"]))
    expect(page.locator("#conversations .day")).to_have_text(str(words["list.today"]))
    expect(page.locator(BOX)).to_have_attribute("placeholder", str(words["widgets.type_message"]))
    number = {"de": "0,1", "fr": "0,1", "es": "0,1", "ar": "٠٫١"}.get(language, "0.1")
    expect(page.locator(".reply-line")).to_contain_text(number)


@pytest.mark.parametrize("locale", ["zh", "zh-SG", "zh-Hans-CN"])
def test_simplified_chinese_is_known_by_its_other_names(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient, locale: str
) -> None:
    page = open_page(scripted_page[1], locale=locale)

    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#new-chat")).to_have_text(str(table("zh-CN")["widgets.new_chat"]))


@pytest.mark.parametrize("locale", ["pt-BR", "zh-TW", "zh-Hant-HK"])
def test_who_reads_a_language_that_the_page_has_not_reads_english(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient, locale: str
) -> None:
    page = open_page(scripted_page[1], locale=locale)

    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#new-chat")).to_have_text("New chat")


def test_a_page_whose_table_does_not_come_is_english(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    page = open_page(scripted_page[1], locale="de-DE")
    page.route("**/page/texts/de*", lambda route: route.abort())
    page.reload()
    wait_until_idle(page)

    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_refusal_is_said_in_the_reader_s_language_by_its_code(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    def busy() -> Generator[ChatEvent]:
        raise QueueFull("All 64 places are taken.", retry_after=30)
        yield END

    script.script = busy
    page = open_page(scripted_page[1], locale="de-DE")
    send(page, "Hallo")

    expect(page.locator("#notes .unsent p")).to_have_text(str(table("de")["errors.queue_full"]))
    expect(page.locator("#notes .unsent")).to_contain_text(re.compile(r"Erneut senden in \d+ s"))


@pytest.mark.parametrize(
    ("text", "direction"), [("Hello there", "ltr"), ("مرحبا بك", "rtl"), ("# عنوان\n\n```\nx = 1\n```", "rtl")]
)
@pytest.mark.parametrize("locale", ["en-GB", "ar-EG"])
def test_what_is_written_is_read_from_its_own_side_and_code_from_the_left(
    open_page: Open,
    scripted_page: tuple[ScriptedClient, str],
    script: ScriptedClient,
    locale: str,
    text: str,
    direction: str,
) -> None:
    script.script = lambda: answering(text)
    page = open_page(scripted_page[1], locale=locale)
    send(page, text)
    wait_until_done(page)
    page.fill(BOX, text)

    def side(selector: str) -> Any:
        return page.evaluate("(one) => getComputedStyle(document.querySelector(one)).direction", selector)

    assert side("#chat .bot-row .prose :is(p, h1)") == direction
    assert side("#chat .user-row [data-testid=user]") == direction
    assert side(BOX) == direction
    assert page.locator(f"{ROWS} .open").first.get_attribute("dir") == "auto"
    if "```" in text:
        assert side("#chat .bot-row pre code") == "ltr"


def test_the_list_stands_where_reading_begins(
    open_page: Open, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    page = open_page(scripted_page[1], locale="ar-EG")
    wait_until_idle(page)
    sidebar, chat = page.locator("#sidebar").bounding_box(), page.locator("#chat").bounding_box()

    assert sidebar is not None
    assert chat is not None
    assert sidebar["x"] >= chat["x"] + chat["width"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is out of sight at the side"


def test_gradio_translates_the_texts_of_widgets_on_a_mounted_page(
    open_page: Open, scripted_page: tuple[ScriptedClient, str]
) -> None:
    """What the page leans on: its config has them before it is mounted, and choices and examples are objects in it."""
    page = open_page(scripted_page[1])

    assert page.evaluate("gradio_config.i18n_translations") == WIDGETS.translations_dict
    assert "__i18n__" not in page.locator("body").inner_text()
