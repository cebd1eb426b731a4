"""What the page costs in requests and bytes, whatever the machine is like."""

from __future__ import annotations

from collections.abc import Generator

from playwright.sync_api import Browser, Page, expect

from llm_core.events import ChatEvent, ContentDelta, Queued
from tests.network import Network, Request
from tests.scripted_client import END, ScriptedClient
from tests.served import DESKTOP
from tests.visitor import IDLE, send, wait_until_done, wait_until_idle

from .screen import USER, talk, talk_elsewhere


def test_the_page_loads_in_eight_requests_and_the_next_time_in_a_few_bytes(
    browser: Browser, scripted_page: tuple[ScriptedClient, str]
) -> None:
    """Gradio's bare `ChatInterface` takes 57 requests and 421 kB, and 51 kB the next time."""
    _, url = scripted_page
    page = browser.new_context(viewport=DESKTOP).new_page()
    network = Network.of(page)
    loads = []
    for _ in range(2):
        page.goto(url)
        page.wait_for_selector(IDLE)
        loads.append(network.take())
    page.context.close()

    assert [len(load) <= 8 for load in loads] == [True, True], loads
    assert received(loads[0]) < 290_000
    assert received(loads[1]) < 6_000
    assert {request.url for load in loads for request in load if not request.url.startswith(url)} == set()


def test_the_first_message_takes_twelve_requests_at_most_and_each_later_one_four(
    page: Page, script: ScriptedClient
) -> None:
    network = Network.of(page)
    wait_until_idle(page)
    network.take()
    asked = []
    for number in range(1, 4):
        send(page, f"Message {number}")
        wait_until_done(page, number)
        wait_until_idle(page)
        asked.append(without_pace(network.take()))

    assert len(asked[0]) <= 12, asked[0]
    assert [len(requests) for requests in asked[1:]] == [4, 4], asked


def test_the_hundredth_reply_of_a_conversation_costs_the_network_what_the_first_did(
    page: Page, script: ScriptedClient
) -> None:
    script.script = of_some_length
    network = Network.of(page)
    wait_until_idle(page)
    network.take()
    talk(page, "Message 0")
    first = without_pace(network.take())
    talk_elsewhere(page, script, (f"Message {number}" for number in range(1, 99)))
    page.reload()
    for shown in (10, 30, 50, 70, 90, 99):
        expect(page.locator(USER)).to_have_count(shown)
        if shown < 99:
            page.get_by_role("button", name="Show earlier messages").click()
    wait_until_idle(page)
    network.take()
    send(page, "Message 99")
    wait_until_done(page, 11)
    wait_until_idle(page)
    hundredth = without_pace(network.take())

    assert received(hundredth) <= 3 * received(first)
    assert sent(hundredth) <= 3 * sent(first)


def of_some_length() -> Generator[ChatEvent]:
    yield Queued(0)
    for _ in range(40):
        yield ContentDelta("some more words of it ")
    yield END


def received(requests: list[Request]) -> int:
    return sum(request.received for request in requests)


def sent(requests: list[Request]) -> int:
    return sum(request.sent for request in requests)


def without_pace(requests: list[Request]) -> list[Request]:
    """A busy machine says how often it can draw, which takes a request each time."""
    return [request for request in requests if '"pace"' not in request.body]
