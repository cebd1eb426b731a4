"""A conversation that began over MQTT goes on over HTTP and on the page, for whoever has the token of that name."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from llm_core.client import LLMClient
from llm_core.mqtt import MQTTChatClient
from llm_core.server.serve import listen, running
from llm_core.server.server import build_server
from tests.served import DESKTOP
from tests.waiting import free_port

from .conftest import Broker, Device, serving, settings_for, wait_until

TOKENS = "robot:robots-own-token,stranger:another-token"
SAID = "My name is Bo, and I live by the sea."


@pytest.fixture(scope="module")
def house(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LLMClient, str]]:
    """The whole app with a broker beside it, and its URL."""
    settings = settings_for(
        broker,
        tmp_path_factory.mktemp("house"),
        api_tokens=TOKENS,
        MQTT_PREFIX="house",
        GRADIO_SERVER_PORT=free_port(),
    )
    with serving(settings) as client, listen(settings) as listener, running(build_server(client), listener) as url:
        yield client, url


@pytest.fixture(scope="module")
def begun(broker: Broker, house: tuple[LLMClient, str]) -> str:
    """The session that a device has begun."""
    with MQTTChatClient(broker.url, name="robot", prefix="house") as robot:
        robot.chat_session("sea", SAID, max_tokens=8)
    return "sea"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_it_goes_on_over_http_and_then_over_mqtt_again(
    broker: Broker, house: tuple[LLMClient, str], begun: str
) -> None:
    _, url = house
    body = {"session_id": begun, "message": "What is my name?", "max_tokens": 8}
    answer = httpx.post(f"{url}api/llm/chat/session", json=body, headers=bearer("robots-own-token"), timeout=60).json()
    with MQTTChatClient(broker.url, name="robot", prefix="house") as robot:
        reply = robot.chat_session(begun, "Where do I live?", max_tokens=8)

    history = httpx.get(f"{url}api/llm/chat/session/{begun}/history", headers=bearer("robots-own-token")).json()[
        "messages"
    ]
    said = [message["content"] for message in history if message["role"] == "user"]
    assert said == [SAID, "What is my name?", "Where do I live?"]
    assert (history[3]["content"], history[5]["content"]) == (answer["content"], reply.content)
    assert answer["usage"]["cached_tokens"] > 0


def test_nobody_else_sees_it(house: tuple[LLMClient, str], begun: str) -> None:
    _, url = house
    path = f"{url}api/llm/chat/session/{begun}/history"

    assert httpx.get(path, headers=bearer("another-token")).status_code == 404
    assert httpx.get(path).status_code == 401


def test_it_is_in_the_list_on_the_page_and_goes_on_there(
    broker: Broker, house: tuple[LLMClient, str], begun: str, browser: Browser
) -> None:
    client, url = house
    context = browser.new_context(viewport=DESKTOP)
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(url)
        page.fill("input[name=token]", "robots-own-token")
        page.keyboard.press("Enter")
        page.wait_for_selector("#message textarea")
        page.get_by_text(SAID[:20]).first.click()
        expect(page.locator("#chat")).to_contain_text(SAID, timeout=60_000)
        before = len(client.session_history(begun, owner="name:robot"))
        page.fill("#message textarea", "Say hello.")
        page.keyboard.press("Enter")
        wait_until(lambda: len(client.session_history(begun, owner="name:robot")) == before + 2, "the page's turn ends")
    finally:
        context.close()

    history = client.session_history(begun, owner="name:robot")
    assert history[-2].content == "Say hello."


def test_without_tokens_a_device_is_an_owner_of_its_own(device: Device, worker: LLMClient) -> None:
    device.ask("r1", session_id="mine", message="Hello", max_tokens=2)
    device.reply("r1")

    assert [each.session_id for each in worker.sessions.list(owner=f"name:{device.name}")] == ["mine"]
    assert "mine" not in [each.session_id for each in worker.sessions.list(owner="")]
