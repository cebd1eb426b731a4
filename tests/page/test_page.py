"""The page as people use it: headless Chromium, the real model, and a look at the engine behind it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.served import served
from tests.visitor import REPLY, STOP, UNSENT, line, retry, send, wait_for_text, wait_until_done, wait_until_idle
from tests.waiting import free_port, wait_until

Open = Callable[..., Page]

STORY = "Tell me a very long story about the sea, the ship and its captain."
QUESTION = "What is the capital of France?"


def running(client: LLMClient) -> int:
    stats = client.stats()
    assert stats is not None
    return stats.running + stats.waiting


def wait_until_engine_idle(client: LLMClient) -> None:
    wait_until(lambda: running(client) == 0, "the engine is idle")


def test_text_grows_while_it_is_made_and_ends_with_its_figures(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    send(page, STORY)
    length = 0
    for least in (10, 60, 120):
        length = len(wait_for_text(page, max(least, length + 1)))
    assert page.locator(STOP).is_visible(), "it is still being made"
    page.locator(STOP).click()
    send(page, QUESTION)
    assert "Paris" in wait_until_done(page, replies=2)
    assert "tokens/s" in line(page)
    assert "first token after" in line(page)
    assert "from the cache" in line(page), "the second turn finds the first one computed"


def test_stop_really_stops_the_engine_and_keeps_what_came(
    open_page: Open, page_url: str, page_client: LLMClient
) -> None:
    wait_until_engine_idle(page_client)
    page = open_page(page_url)
    send(page, STORY)
    wait_for_text(page, 40)
    assert running(page_client) == 1
    page.locator(STOP).click()
    wait_until_engine_idle(page_client)
    page.wait_for_function("() => [...document.querySelectorAll('.reply-line')].at(-1)?.innerText === 'Stopped'")
    assert len(page.locator(REPLY).last.inner_text()) >= 40
    expect(page.locator("#message textarea")).to_be_enabled()


def test_retry_answers_again_and_undo_takes_the_turn_back(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    send(page, QUESTION)
    wait_until_done(page)
    retry(page)
    wait_until_done(page)
    assert page.locator("#chat .user-row").count() == 1

    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("() => document.querySelectorAll('#chat .user-row').length === 0")
    assert page.locator("#message textarea").input_value() == QUESTION


def test_an_edited_message_is_answered_afresh(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    send(page, "What is the capital of Italy?")
    wait_until_done(page)
    page.get_by_label("Edit").first.click()
    expect(page.locator("#notes .editing")).to_be_visible()
    send(page, QUESTION)
    page.wait_for_function("text => document.querySelector('#chat .user-row')?.innerText.includes(text)", arg=QUESTION)
    page.wait_for_function("() => /Paris/.test([...document.querySelectorAll('#chat .bot-row')].at(-1)?.innerText)")
    assert "Paris" in wait_until_done(page)
    assert page.locator("#chat .user-row").count() == 1


def test_the_reply_to_an_edited_message_can_be_stopped(open_page: Open, page_url: str, page_client: LLMClient) -> None:
    page = open_page(page_url)
    send(page, QUESTION)
    wait_until_done(page)
    page.get_by_label("Edit").first.click()
    send(page, STORY)
    wait_for_text(page, 60)
    page.locator(STOP).click()
    wait_until_engine_idle(page_client)
    page.get_by_text("Stopped", exact=True).wait_for()


def test_an_empty_message_is_not_sent(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    send(page, "   ")
    expect(page.locator("#notes .notice")).to_have_text("Type a message first.")
    send(page, QUESTION)
    wait_until_done(page)
    expect(page.locator("#notes .notice")).to_have_count(0)
    assert page.locator("#chat .user-row").count() == 1


def test_two_browsers_stream_at_once(open_page: Open, page_url: str, page_client: LLMClient) -> None:
    wait_until_engine_idle(page_client)
    one, two = open_page(page_url), open_page(page_url)
    send(one, STORY)
    send(two, "Tell me a very long story about the mountains, the snow and a wolf.")
    first = [wait_for_text(one, 20), wait_for_text(two, 20)]
    assert running(page_client) == 2, "both are being made now"
    later = [wait_for_text(one, len(first[0]) + 40), wait_for_text(two, len(first[1]) + 40)]
    assert all(more.startswith(less[:20]) for less, more in zip(first, later, strict=True))
    assert later[0][:40] != later[1][:40]
    for page in (one, two):
        page.locator(STOP).click()
    wait_until_engine_idle(page_client)


def test_a_closed_tab_stops_the_generation_after_a_time(open_page: Open, page_url: str, page_client: LLMClient) -> None:
    wait_until_engine_idle(page_client)
    page = open_page(page_url)
    send(page, STORY)
    wait_for_text(page, 20)
    assert running(page_client) == 1
    page.close()
    wait_until_engine_idle(page_client)


def test_an_example_runs_when_it_is_clicked_and_what_is_typed_meanwhile_waits(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    box = page.locator("#message textarea")
    page.locator("button.example").first.click()
    assert wait_for_text(page, 20)
    assert "rainbow" in page.locator("#chat .user-row").inner_text()
    box.fill(QUESTION)
    box.press("Enter")
    expect(page.locator("#notes .notice")).to_contain_text("Wait for the reply, or stop it.")
    expect(box).to_have_value(QUESTION)
    page.locator(STOP).click()
    wait_until_idle(page)
    box.press("Enter")
    assert wait_until_done(page, replies=2)


def test_settings_reach_the_model(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    page.get_by_text("Settings").click()
    page.locator("#settings [type=number]").last.fill("7")
    page.keyboard.press("Tab")
    send(page, STORY)
    wait_until_done(page)
    assert "stopped at the length limit" in line(page)


@pytest.mark.parametrize("text", ["<img src=x onerror='window.hacked=1'>", "<script>window.hacked=1</script>"])
def test_markup_in_a_message_is_harmless(open_page: Open, page_url: str, text: str) -> None:
    page = open_page(page_url)
    send(page, f"Repeat this: {text}")
    wait_for_text(page, 20)
    assert page.evaluate("window.hacked") is None


def test_the_page_fits_a_phone(open_page: Open, page_url: str) -> None:
    page = open_page(page_url)
    page.set_viewport_size({"width": 390, "height": 780})
    send(page, "Write a Python function that adds two numbers.")
    wait_for_text(page, 150)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#message textarea").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_light_and_dark(open_page: Open, page_url: str, scheme: str) -> None:
    page = open_page(page_url, color_scheme=scheme)
    page.wait_for_selector("#header .model")
    send(page, QUESTION)
    wait_until_done(page)
    texts = ["#header h1", "#header .model", "#chat .user-row .typed", f"{REPLY} p", ".reply-line", "#message textarea"]
    contrasts = {text: contrast(page, text) for text in texts}

    assert min(contrasts.values()) >= 4.5, f"WCAG 2.2 AA asks for 4.5 : 1, and these have {contrasts}"
    assert (brightness(colours(page, "body")[1]) < 0.5) == (scheme == "dark")


def contrast(page: Page, css: str) -> float:
    """WCAG's contrast of a text with what is behind it, from 1 to 21."""
    text, behind = map(brightness, colours(page, css))
    return (max(text, behind) + 0.05) / (min(text, behind) + 0.05)


def colours(page: Page, css: str) -> list[list[float]]:
    """Red, green, blue of an element's text, and of the first background behind it that is not transparent."""
    return page.locator(css).first.evaluate(
        """element => {
            const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
            let behind = element;
            while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(numbers);
        }"""
    )


def brightness(colour: list[float]) -> float:
    """WCAG's relative luminance, from 0 to 1."""
    shares = [value / 255 for value in colour[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_says_that_the_model_loads_and_then_which_it_is(open_page: Open) -> None:
    settings = Settings(parallel=1, context_tokens=512, GRADIO_SERVER_PORT=free_port())
    with LLMClient(settings) as client, served(client) as url:
        page = open_page(url)
        page.get_by_text("The model is not loaded yet.").wait_for()
        client.start()
        page.get_by_text("SmolLM2-135M-Instruct · apache-2.0").wait_for()
        expect(page.locator("#header .notice")).to_have_count(0)


def test_the_page_says_why_the_model_cannot_be_loaded(open_page: Open) -> None:
    settings = Settings(model="missing.gguf", GRADIO_SERVER_PORT=free_port())
    with LLMClient(settings) as client, served(client) as url:
        client.start()
        page = open_page(url)
        page.locator("#header [role=alert]", has_text="missing.gguf").wait_for()
        send(page, QUESTION)
        page.locator(UNSENT, has_text="missing.gguf").wait_for()


def test_the_endpoint_of_the_chat_streams_plain_text_to_gradio_client(page_url: str) -> None:
    client = Client(page_url, verbose=False)
    job = client.submit(QUESTION, api_name="/chat")
    assert "Paris" in job.result(timeout=60)
    outputs = job.outputs()
    assert len(outputs) > 1
    assert outputs[-1] == job.result()
