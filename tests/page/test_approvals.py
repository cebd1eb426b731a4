"""Consent on the page: a card with what would be called, and two buttons. In a real browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm_core.errors import QueueFull
from llm_core.request import ChatRequest
from tests.scripted_backend import Script, ScriptedSubmission
from tests.scripted_client import Signal
from tests.served import served
from tests.tools.scripted import ScriptedClient, calling, saying
from tests.visitor import BUSY, REPLY, send, wait_until_done, wait_until_idle
from tests.waiting import free_port, wait_until

from .screen import BOX, COMMANDS, held

SERVER = Path(__file__).parent.parent / "tools" / "mcp_server.py"
FILE = f"servers: [{{name: t, command: {sys.executable}, args: [{SERVER}], tools: [shout]}}]"
MARKUP = '{"text": "<b>a</b>"}'
CARD = "#consent section"


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ScriptedClient]:
    """Of a page whose model wants to shout, once or as often as a test says, and then says what came of it."""
    (tmp_path / "servers.yaml").write_text(FILE)
    wanted = [("t.shout", MARKUP)] * getattr(request, "param", 1)
    steps = calling(*wanted, text="May I?"), saying("So be it.")
    client = ScriptedClient(
        *steps,
        mcp_servers=tmp_path / "servers.yaml",
        data_dir=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'sessions.db'}",
        GRADIO_SERVER_PORT=free_port(),
    )
    with client:
        yield client


@pytest.fixture
def url(client: ScriptedClient) -> Iterator[str]:
    with served(client) as url:
        yield url


@pytest.fixture
def page(open_page: Callable[..., Page], url: str) -> Page:
    page = open_page(url)
    wait_until_idle(page)
    page.locator("#settings button", has_text="Settings").click()
    page.get_by_label("Tools of this server").check()
    page.locator("#settings button", has_text="Settings").click()
    send(page, "Shout.")
    wait_until_done(page)
    return page


def test_a_call_that_waits_is_shown_as_text_also_after_a_reload(page: Page) -> None:
    for _ in ("at once", "after a reload"):
        expect(page.locator(CARD)).to_have_count(1)
        expect(page.locator(f"{CARD} b")).to_have_text("t.shout")
        expect(page.locator(f"{CARD} pre")).to_have_text(MARKUP)
        expect(page.locator("#chat .thought-group")).to_contain_text("waits for consent")
        page.reload()


@pytest.mark.parametrize(("button", "result"), [("Approve", "<B>A</B>"), ("Deny", "Error: the call was declined.")])
def test_a_press_decides_and_the_reply_goes_on(page: Page, button: str, result: str) -> None:
    page.locator(CARD).get_by_role("button", name=button).click()
    expect(page.locator(REPLY).last).to_contain_text("So be it.")
    expect(page.locator(CARD)).to_have_count(0)
    page.reload()
    expect(page.locator(REPLY).last).to_contain_text("So be it.")
    expect(page.locator(CARD)).to_have_count(0)
    page.locator("#chat .thought-group .title").first.click()
    expect(page.locator("#chat .thought-group").first).to_contain_text(result)


@pytest.mark.parametrize("client", [2], indirect=True)
def test_of_several_calls_each_decision_stays_while_the_page_is_looked_at_again(
    page: Page, client: ScriptedClient
) -> None:
    first, second = page.locator(CARD).nth(0), page.locator(CARD).nth(1)
    first.get_by_role("button", name="Approve").click()
    first.evaluate("card => card.id = 'before'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(f"{CARD}#before")).to_have_count(0)
    expect(first).to_contain_text("Approved")
    expect(first.get_by_role("button", name="Approve")).to_be_disabled()
    second.get_by_role("button", name="Deny").click()
    expect(page.locator(REPLY).last).to_contain_text("So be it.")
    told = [message.content for message in client.asked[-1].messages if message.role == "tool"]
    assert told == ["<B>A</B>", "Error: the call was declined."]


def test_a_reply_that_goes_on_has_the_settings_of_its_conversation(
    open_page: Callable[..., Page], url: str, client: ScriptedClient
) -> None:
    page = open_page(url)
    wait_until_idle(page)
    page.locator("#settings button", has_text="Settings").click()
    page.get_by_role("spinbutton", name="Temperature").fill("1.5")
    page.get_by_label("Tools of this server").check()
    page.get_by_label("Calculator").check()
    send(page, "Shout.")
    wait_until_done(page)
    page.locator(CARD).get_by_role("button", name="Approve").click()
    expect(page.locator(REPLY).last).to_contain_text("So be it.")
    first, last = client.asked[0], client.asked[-1]
    assert last is not first
    assert (last.sampling.temperature, first.sampling.temperature) == (1.5, 1.5)
    assert "calculate" in [tool.name for tool in last.tools]


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "late"])
def test_a_decision_that_the_engine_refuses_says_why_and_can_be_made_again(page: Page, is_late: bool) -> None:
    refuse = Signal()

    def refusing(submission: ScriptedSubmission, _script: Script, _request: ChatRequest) -> None:
        refuse.wait()
        submission.send(QueueFull("Everyone is busy."))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptedSubmission, "run", refusing)
        if not is_late:
            refuse.give()
        page.locator(CARD).get_by_role("button", name="Deny").click()
        if is_late:
            page.wait_for_selector(BUSY)
            refuse.give()
        expect(page.locator("#notes .notice")).to_have_text("Everyone is busy.")
    expect(page.locator(CARD).get_by_role("button", name="Deny")).to_be_enabled()
    page.locator(CARD).get_by_role("button", name="Deny").click()
    expect(page.locator(REPLY).last).to_contain_text("So be it.")
    expect(page.locator("#notes .notice")).to_have_count(0)


def test_a_call_that_was_looked_for_while_a_message_was_sent_is_offered_when_that_has_failed(page: Page) -> None:
    with held(page, "begin") as sent:
        with held(page, "waiting") as asked:
            page.reload()
            wait_until(lambda: page.evaluate("1") and asked, "it is looked for")
            page.fill(BOX, "Never mind.")
            page.press(BOX, "Enter")
            page.wait_for_selector(BUSY)
            with page.expect_response(COMMANDS):
                asked[0].continue_()
        wait_until(lambda: page.evaluate("1") and sent, "it is sent")
        sent[0].abort()
        expect(page.locator(CARD)).to_be_visible()


def test_no_call_is_offered_while_a_message_is_sent_or_another_conversation_is_opened(page: Page) -> None:
    with held(page, "begin") as sent:
        page.fill(BOX, "Never mind.")
        page.press(BOX, "Enter")
        page.wait_for_selector(BUSY)
        expect(page.locator(CARD)).to_be_hidden()
        wait_until(lambda: page.evaluate("1") and sent, "it is sent")
        sent[0].abort()
        expect(page.locator(CARD)).to_be_visible()
    with held(page, "open"):
        page.evaluate(
            "() => (history.replaceState(null, '', '?c=another'), dispatchEvent(new PopStateEvent('popstate')))"
        )
        page.wait_for_selector("body[data-chat=opening]")
        expect(page.locator(CARD)).to_be_hidden()
