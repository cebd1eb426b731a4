"""The page's conversations: kept in the session store, seen by their own browser only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, Request, Route, expect

from llm_core.client import LLMClient
from llm_core.events import ContentDelta, Done, Timings, ToolCallDelta, ToolResult, Usage
from llm_core.messages import FunctionCall, Message, ToolCall
from llm_core.page.transcript import ShownMessage, ShownReply
from llm_core.page.view import shown_turns
from llm_core.sessions.records import Turn, TurnStatus
from llm_core.settings import Settings
from llm_core.texts.told import english, english_line
from tests.served import DESKTOP, PATIENCE_MS, served
from tests.visitor import IDLE, REPLY, STOP, line, retry, send, wait_for_text, wait_until_done, wait_until_idle
from tests.waiting import free_port, is_idle, wait_until

Open = Callable[..., Page]

STORY = "Tell me a very long story about the sea, the ship and its captain."
QUESTION = "What is the capital of France?"
ROWS = "#conversations li"
SEARCH = "#search :is(textarea, input)"


NOTE_NUMBERS_OF_ROWS = """(rows) => {
  window.numbersOfRows = [];
  const note = () => numbersOfRows.push(document.querySelectorAll(rows).length);
  new MutationObserver(note).observe(document.querySelector("#conversations"), { childList: true, subtree: true });
}"""


def row(page: Page, title: str) -> Any:
    return page.locator(ROWS, has_text=title)


SETTINGS: dict[str, Any] = {"parallel": 4, "resume_seconds": 10}


def test_a_conversation_is_listed_found_opened_renamed_and_deleted(open_page: Open, url: str) -> None:
    page = open_page(url)
    expect(page.locator("#conversations")).to_contain_text("will be listed here")
    send(page, QUESTION)
    expect(row(page, QUESTION)).to_be_visible()
    wait_until_done(page)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#chat .user-row")).to_have_count(0)
    send(page, "Name a large animal.")
    wait_until_done(page)
    expect(page.locator(ROWS).first).to_contain_text("Name a large animal.")

    page.fill(SEARCH, "capital of FRANCE")
    expect(page.locator(ROWS)).to_have_count(1)
    row(page, QUESTION).locator(".open").click()
    expect(page.locator("#chat .user-row")).to_contain_text(QUESTION)
    assert "Paris" in page.locator(REPLY).last.inner_text()
    assert "tokens/s" in line(page), "figures are kept too"
    page.fill(SEARCH, "")
    expect(page.locator(ROWS)).to_have_count(2)

    row(page, QUESTION).hover()
    row(page, QUESTION).get_by_label("Rename").click()
    page.get_by_label("Title").fill("About <b>France</b>")
    page.keyboard.press("Enter")
    page.reload()
    expect(page.locator("#chat .user-row")).to_contain_text(QUESTION)
    expect(row(page, "About <b>France</b>")).to_be_visible()

    row(page, "About").hover()
    row(page, "About").get_by_label("Delete").click()
    row(page, "About").get_by_text("Delete?").click()
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator("#chat .user-row")).to_have_count(0)


def test_an_answer_to_an_earlier_search_does_not_stay(open_page: Open, url: str) -> None:
    page = open_page(url)
    for question in (QUESTION, "Name a large animal."):
        page.get_by_role("button", name="New chat").click()
        send(page, question)
        wait_until_done(page)
    expect(page.locator(ROWS)).to_have_count(2)
    held: list[Route] = []
    page.route(
        "**/component_server/", lambda route: held.append(route) if is_search(route.request) else route.continue_()
    )
    with page.expect_request(is_search):
        page.locator(SEARCH).fill("capital")
    page.fill(SEARCH, "large")
    expect(page.locator(ROWS)).to_have_count(1)

    page.evaluate(NOTE_NUMBERS_OF_ROWS, ROWS)
    with page.expect_response("**/component_server/"):
        held[0].continue_()
    expect(page.locator(ROWS)).to_contain_text(["Name a large animal."])
    assert page.evaluate("numbersOfRows") == []


def is_search(request: Request) -> bool:
    return '"capital"' in (request.post_data or "")


def test_a_reply_goes_on_over_a_reload_and_can_be_stopped_then(open_page: Open, url: str, client: LLMClient) -> None:
    page = open_page(url)
    send(page, STORY)
    before = wait_for_text(page, 40)
    expect(row(page, "Tell me a very long story")).to_be_visible()
    page.wait_for_function("() => location.search.includes('c=')")
    page.reload()
    page.wait_for_selector("#message textarea")
    after = wait_for_text(page, len(before) + 40)
    assert after.startswith(before[:30])
    assert not is_idle(client)
    page.locator(STOP).click()
    wait_until(lambda: is_idle(client), "the engine is idle")
    page.get_by_text("Stopped", exact=True).wait_for()


def test_leaving_for_another_conversation_does_not_mix_them(open_page: Open, url: str, client: LLMClient) -> None:
    page = open_page(url)
    send(page, QUESTION)
    wait_until_done(page)
    page.get_by_role("button", name="New chat").click()
    send(page, STORY)
    wait_for_text(page, 40)
    row(page, QUESTION).locator(".open").click()
    expect(page.locator("#chat .user-row")).to_have_text([QUESTION])
    wait_until_idle(page)
    assert not is_idle(client), "the story goes on"
    row(page, "Tell me a very long story").locator(".open").click()
    wait_for_text(page, 80)
    expect(page.locator("#chat .user-row")).to_contain_text([STORY])
    page.locator(STOP).click()
    wait_until(lambda: is_idle(client), "the engine is idle")


def test_what_is_taken_back_is_gone_after_a_reload(open_page: Open, url: str) -> None:
    page = open_page(url)
    for replies, question in enumerate((QUESTION, "And of Italy?"), start=1):
        send(page, question)
        wait_until_done(page, replies)
    wait_until_idle(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chat .user-row")).to_have_count(1)
    retry(page)
    wait_until_done(page)
    page.reload()
    expect(page.locator("#chat .user-row")).to_have_text([QUESTION])
    expect(page.locator(REPLY)).to_have_count(1)


def test_a_message_that_is_sent_before_the_page_knows_what_to_show_stays(browser: Browser, url: str) -> None:
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        held: list[Route] = []
        has_sent = False
        page.route("**/component_server/", lambda route: route.continue_() if has_sent else held.append(route))
        page.goto(url)
        page.wait_for_selector("#message textarea")
        page.wait_for_selector(IDLE)
        has_sent = True
        send(page, QUESTION)
        wait_until_done(page)
        assert held, "the page asked what to show"
        for request in held:
            request.continue_()
        expect(row(page, QUESTION)).to_be_visible()
        expect(page.locator("#chat .user-row")).to_have_text([QUESTION])
        page.wait_for_function("() => location.search.includes('c=')")

        page.reload()

        expect(page.locator("#chat .user-row")).to_have_text([QUESTION])


def test_another_browser_sees_nothing_of_it(open_page: Open, url: str) -> None:
    one = open_page(url)
    send(one, QUESTION)
    wait_until_done(one)
    one.wait_for_function("() => location.search.includes('c=')")
    other = open_page(one.url)
    expect(other.locator("#conversations")).to_contain_text("will be listed here")
    expect(other.locator("#chat .user-row")).to_have_count(0)


def test_conversations_outlive_the_server(open_page: Open, tmp_path: Path) -> None:
    settings = Settings(parallel=1, context_tokens=512, max_tokens=8, data_dir=tmp_path, GRADIO_SERVER_PORT=free_port())
    with LLMClient(settings) as client, served(client) as url:
        page = open_page(url)
        send(page, QUESTION)
        wait_until_done(page)
        page.wait_for_function("() => location.search.includes('c=')")
    with LLMClient(settings) as client, served(client):
        client.start()
        page.reload()
        expect(page.locator("#chat .user-row")).to_contain_text(QUESTION)


def test_the_key_is_unguessable_and_out_of_reach_of_scripts(url: str) -> None:
    keys = set()
    for _ in range(3):
        answer = httpx.get(url)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        keys.add(answer.cookies["llm_core_browser"])
    assert len(keys) == 3
    assert min(map(len, keys)) == 32, "24 random bytes"
    assert "set-cookie" not in httpx.get(url, cookies={"llm_core_browser": keys.pop()}).headers
    assert "set-cookie" in httpx.get(url, cookies={"llm_core_browser": "guess"}).headers
    assert "set-cookie" not in httpx.get(f"{url}api/llm/health").headers


# ── calls of tools ───────────────────────────────────────────────────────────────────────────────────────────────────


def turn(*messages: Message, status: TurnStatus = "complete") -> Turn:
    figures = {"usage": asdict(Usage(1, 0, 1)), "timings": asdict(Timings())}
    return Turn("a", status, messages, "stop" if status == "complete" else None, figures, None, 0.0, 0.0)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str, *calls: str) -> Message:
    """What the model said, and the ids of what it called."""
    made = tuple(
        ToolCall(id=call, function=FunctionCall(name="calculate", arguments='{"expression": "6 * 7"}'))
        for call in calls
    )
    return Message(role="assistant", content=text, tool_calls=made or None)


def result(call: str, content: str) -> Message:
    return Message(role="tool", tool_call_id=call, content=content)


def outline(messages: Iterable[ShownMessage]) -> list[str]:
    """Of each message of a reply the text or, where it folds, what is on its line."""
    lines = []
    for message in messages:
        metadata = message["metadata"]
        folded = "title" in metadata
        on_its_line = f"[{english(metadata.get('title', ''))}: {english_line(metadata.get('log', ()))}]"
        lines.append(on_its_line if folded else message["content"][0]["text"])
    return lines


def test_a_stored_conversation_shows_its_calls_as_they_were_shown_when_made() -> None:
    stored = turn(
        user("6 * 7?"), said("Let me see.", "one", "two"), result("one", "42"), result("two", "Error: no"), said("42.")
    )
    live = ShownReply()
    live.add(ContentDelta("Let me see."))
    for index, call in enumerate(("one", "two")):
        live.add(ToolCallDelta(index, call, "calculate", '{"expression": "6 * 7"}'))
    live.add(ToolResult("one", "calculate", "42"))
    live.add(ToolResult("two", "calculate", "Error: no", failed=True))
    live.add(ContentDelta("42."))
    live.add(Done("stop", Usage(1, 0, 1), Timings()))

    (shown,) = shown_turns([stored])
    assert shown["question"] == "6 * 7?"
    assert shown["reply"] == live.messages()


def test_results_that_a_program_gave_later_are_shown_at_their_calls() -> None:
    turns = shown_turns(
        [
            turn(user("6 * 7?"), said("", "one")),
            turn(result("one", "42"), said("It is 42.")),
            turn(user("Thanks."), said("Welcome.")),
        ]
    )

    assert [each["question"] for each in turns] == ["6 * 7?", None, "Thanks."]
    assert [outline(each["reply"]) for each in turns] == [["[Calculator: 6 * 7]", ""], ["It is 42."], ["Welcome."]]
    assert turns[0]["reply"][0]["metadata"]["called"]["result"] == "```text\n42\n```"


def test_a_call_without_a_result_is_shown_as_not_run() -> None:
    first, _ = shown_turns([turn(user("6 * 7?"), said("", "one")), turn(user("Well?"), said("Hm."))])
    assert "[Calculator: not run]" in outline(first["reply"])
