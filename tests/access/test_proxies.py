"""Behind a proxy: whom the server believes, and everything under a path of its own, through the real nginx."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio_client
import httpx
import pytest
from openai import OpenAI
from playwright.sync_api import Page, expect

from llm_core.access.proxies import BehindProxies, own_path
from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.nginx import nginx
from tests.served import loaded_client, served
from tests.visitor import REPLY, send, wait_until_done

DOCS = Path(__file__).parents[2] / "docs" / "remote.md"
QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 12}


# ── whom the server believes ─────────────────────────────────────────────────────────────────────────────────────────


async def seen(settings: Settings, caller: str, path: str = "/v1/models", **headers: str) -> dict[str, object]:
    """The scope behind the proxies of a request that `caller` sends."""
    found: dict[str, object] = {}

    async def app(scope: dict[str, object], _receive: object, _send: object) -> None:
        found.update(scope, own_path=own_path(scope))

    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": (caller, 1), "scheme": "http", "path": path, "raw_path": path.encode()}
    behind = BehindProxies(app, settings)  # type: ignore[arg-type]
    await behind(scope | {"root_path": "", "headers": sent}, None, None)  # type: ignore[arg-type]
    return found


SAID = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https", "x_forwarded_prefix": "/chat/"}


async def test_a_proxy_on_this_machine_is_believed() -> None:
    scope = await seen(Settings(), "127.0.0.1", **SAID)

    assert scope["client"] == ("203.0.113.9", 0)
    assert (scope["scheme"], scope["root_path"], scope["path"]) == ("https", "/chat", "/chat/v1/models")
    assert (scope["raw_path"], scope["own_path"]) == (b"/chat/v1/models", "/v1/models")


async def test_a_stranger_is_not_believed() -> None:
    scope = await seen(Settings(), "198.51.100.7", **SAID)

    assert (scope["client"], scope["scheme"], scope["root_path"]) == (("198.51.100.7", 1), "http", "")


async def test_proxies_elsewhere_are_believed_where_they_are_named() -> None:
    settings = Settings(trusted_proxies="10.0.0.7, 172.16.0.0/12")

    assert (await seen(settings, "172.18.0.3", **SAID))["root_path"] == "/chat"
    assert (await seen(settings, "127.0.0.1", **SAID))["root_path"] == ""


async def test_on_a_space_any_proxy_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")

    assert (await seen(Settings(), "10.1.2.3", **SAID))["client"] == ("203.0.113.9", 0)


@pytest.mark.parametrize("prefix", ["chat", "//evil.example", "/a;Path=/", "/a b", '/"><script>', "/", ""])
async def test_a_prefix_that_is_no_path_is_as_good_as_none(prefix: str) -> None:
    scope = await seen(Settings(), "127.0.0.1", x_forwarded_prefix=prefix)

    assert (scope["root_path"], scope["path"]) == ("", "/v1/models")


async def test_of_several_proxies_the_one_that_the_browser_sees_says_the_path() -> None:
    scope = await seen(Settings(), "127.0.0.1", x_forwarded_prefix="/chat, /inner")

    assert (scope["root_path"], scope["path"]) == ("/chat", "/chat/v1/models")


@pytest.mark.parametrize(("path", "own"), [("/chat/v1/models", "/v1/models"), ("/chatter", "/chatter"), ("/chat", "/")])
async def test_a_proxy_that_leaves_the_path_on_is_understood_too(path: str, own: str) -> None:
    assert (await seen(Settings(GRADIO_ROOT_PATH="/chat/"), "198.51.100.7", path))["own_path"] == own


# ── everything under a path of its own ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=["X-Forwarded-Prefix", "GRADIO_ROOT_PATH", "GRADIO_ROOT_PATH, path left on"])
def way(request: pytest.FixtureRequest) -> str:
    """How the app learns of the path."""
    return str(request.param)


@pytest.fixture(scope="module")
def client(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    settings = {} if way == "X-Forwarded-Prefix" else {"GRADIO_ROOT_PATH": "/chat"}
    with loaded_client(tmp_path_factory.mktemp("data"), **settings) as client:
        yield client


@pytest.fixture(scope="module")
def url(client: LLMClient, way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page behind nginx, which has it as the documentation says."""
    block = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    location = block[1]
    if way != "X-Forwarded-Prefix":
        location = re.sub(".*X-Forwarded-Prefix.*", "", location)
    if "left on" in way:
        location = location.replace("7860/;", "7860;")
    with served(client) as app:
        location = location.replace("http://127.0.0.1:7860", app.rstrip("/"))
        conf = f"server {{ listen 80; {location} location / {{ return 418; }} }}"
        with nginx(tmp_path_factory.mktemp("nginx"), conf, health="/chat/api/llm/health") as url:
            yield f"{url}/chat/"


@pytest.mark.slow
class TestUnderAPath:
    def test_a_browser_sends_reloads_and_finds_its_conversation(self, url: str, open_page: Callable[..., Page]) -> None:
        page = open_page(url)
        lost: list[str] = []
        page.on("response", lambda answer: lost.append(answer.url) if answer.status == 418 else None)
        send(page, "What is the capital of France?")
        expect(page.locator(REPLY).last).to_contain_text("Paris")
        wait_until_done(page)
        assert page.url.startswith(f"{url}?c=")

        page.reload()

        expect(page.locator(REPLY).last).to_contain_text("Paris")
        assert {cookie["path"] for cookie in page.context.cookies(url)} == {"/chat"}  # type: ignore[typeddict-item]
        assert [address for address in lost if not address.endswith("/favicon.ico")] == []

    def test_the_api_and_its_streams_are_there(self, url: str) -> None:
        with httpx.stream("POST", f"{url}api/llm/chat/stream", json=QUESTION, timeout=60) as answer:
            events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]

        assert events[-1]["done"]
        refused = httpx.post(f"{url}v1/chat/completions", json={}).json()
        assert set(refused["error"]) == {"message", "type", "param", "code"}
        assert httpx.post(f"{url}v1/chat/completions", json={}).status_code == 400, "as under /v1, not as under /api"

    def test_openais_client_finds_it(self, url: str) -> None:
        with OpenAI(base_url=f"{url}v1", api_key="none") as openai:
            reply = openai.chat.completions.create(model="any", **QUESTION)  # type: ignore[call-overload]

        assert "Paris" in reply.choices[0].message.content

    def test_gradios_client_finds_it(self, url: str) -> None:
        caller = gradio_client.Client(url, verbose=False)

        assert "Paris" in caller.predict(QUESTION["messages"], 0, 12, api_name="/chat_complete")

    def test_the_description_of_the_api_is_found_by_its_page(self, url: str) -> None:
        assert "/chat/openapi.json" in httpx.get(f"{url}docs").text
        assert httpx.get(f"{url}openapi.json").json()["openapi"]


@pytest.mark.slow
def test_signing_in_stays_under_the_path(tmp_path: Path) -> None:
    under = {"X-Forwarded-Prefix": "/chat", "Accept": "text/html"}
    with (
        loaded_client(tmp_path, api_tokens="ann:ann-secret") as client,
        served(client) as url,
        httpx.Client(base_url=url, headers=under) as browser,
    ):
        assert 'action="/chat/sign-in"' in browser.get("/").text
        answer = browser.post("/sign-in", data={"token": "ann-secret"})

    assert answer.headers["location"] == "/chat/"
    assert "Path=/chat;" in answer.headers["set-cookie"]
