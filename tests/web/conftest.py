"""The real page over a real port, in this process so that tests can look at the engine, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from llm_core.client import LLMClient
from llm_core.settings import SERVER_PORT_VARIABLE, Settings
from llm_core.web import serve
from llm_core.web.serve import listen, running
from llm_core.web.server import build_server
from tests.waiting import free_port

from .scripted_client import ScriptedClient

PATIENCE_MS = 60_000
DESKTOP = {"width": 1180, "height": 820}
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def served(client: LLMClient) -> Iterator[str]:
    """All doorways of `client` on its port; yields the URL. Whoever is still connected at the end is not waited for."""
    with listen(client.settings) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "GOODBYE_SECONDS", 0)
        with running(build_server(client), listener) as url:
            yield url


@contextmanager
def loaded_client(folder: Path, **settings: Any) -> Iterator[LLMClient]:
    """A client with the bundled model in memory, its sessions in `folder`, and a port of its own to be served on.

    Where `settings` say nothing else it has two slots, is greedy and counts no requests.
    """
    usual = {"parallel": 2, "context_tokens": 1024, "temperature": 0, "rate_limit": "none"}
    where = {"data_dir": folder, SERVER_PORT_VARIABLE: free_port()}
    with LLMClient(Settings(**(usual | settings | where))) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="session")
def page_client() -> Iterator[LLMClient]:
    settings = Settings(
        parallel=4,
        context_tokens=1024,
        temperature=0,
        rate_limit="none",
        resume_seconds=1,
        GRADIO_SERVER_PORT=free_port(),
    )
    with LLMClient(settings) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="session")
def page_url(page_client: LLMClient) -> Iterator[str]:
    with served(page_client) as url:
        yield url


@pytest.fixture(scope="module")
def first_context(browser: Browser) -> Iterator[BrowserContext]:
    """The context of each test's first visitor: one for a file, as in a new one all scripts are fetched and compiled
    again. An empty page of the same site stays open in it, else its process would end with a test's last page."""
    with browser.new_context(viewport=DESKTOP) as context:
        keeper = context.new_page()
        keeper.route("**/*", lambda route: route.fulfill(body=""))
        keeper.goto("http://127.0.0.1/")
        yield context


@pytest.fixture
def open_page(browser: Browser, first_context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Opens a URL as a new visitor, with nothing in common with other visitors but what the browser has compiled."""
    opened: dict[Page, str] = {}

    def open_one(url: str, **options: Any) -> Page:
        if opened or options:
            page = browser.new_context(**({"viewport": DESKTOP} | options)).new_page()
        else:
            page = first_context.new_page()
        opened[page] = url
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.wait_for_selector("#message textarea")
        return page

    yield open_one
    for page, url in opened.items():
        if page.context is first_context:
            forget_visitor(first_context, url)
        else:
            page.context.close()


def forget_visitor(context: BrowserContext, url: str) -> None:
    """Closes the visitor's pages, and takes all that they left in the browser."""
    keeper, *pages = context.pages
    for page in pages:
        page.close()
    context.clear_cookies()
    site = urlsplit(url)
    storage = {"origin": f"{site.scheme}://{site.netloc}", "storageTypes": "all"}
    context.new_cdp_session(keeper).send("Storage.clearDataForOrigin", storage)


@pytest.fixture(scope="module")
def scripted_page(page_client: LLMClient) -> Iterator[tuple[ScriptedClient, str]]:
    """A client whose generations the test writes, and the URL of its page."""
    client = ScriptedClient(page_client, free_port())
    with served(client) as url:
        yield client, url


@pytest.fixture
def scripted(scripted_page: tuple[ScriptedClient, str]) -> ScriptedClient:
    client, _ = scripted_page
    client.requests.clear()
    return client


@pytest.fixture
def page(open_page: Callable[..., Page], scripted_page: tuple[ScriptedClient, str]) -> Page:
    _, url = scripted_page
    return open_page(url)
