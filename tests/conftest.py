"""What all tests share: the browser, or the reason why there is none, the page, and the order: fast tests first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

import httpx
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, BrowserContext, Error, Page, WebError, sync_playwright

from llm_core.client import LLMClient
from llm_core.settings import Settings
from scripts.system_packages import CHROMIUM_ARGS, NO_BROWSER, find_chromium
from tests.missing import skip_unless_ci
from tests.scripted_client import ScriptedClient
from tests.served import DESKTOP, PATIENCE_MS, loaded_client, served
from tests.waiting import free_port

if TYPE_CHECKING:
    from llm_core.engine.engine import Engine

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

# Where tests run in several processes, threads of each engine would wait at every layer for a core that others have.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")

# A busy machine may stand still for as long as httpx waits where nothing else is said.
for each in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, each, 60.0)

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

BROWSER_FIXTURE = "chromium_path"
QUICK = "--quick"
# What a test's file has by name where it starts something, or loads a model.
_STARTS = frozenset(
    (
        "subprocess",
        "socket",
        "multiprocessing",
        "served",
        "LLMClient",
        "Engine",
        "Model",
        "Page",
        "Broker",
        "FakeEngine",
        "Hub",
        "SETTINGS",
    )
)
ELSEWHERE = "--engine-elsewhere"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        QUICK, action="store_true", help="only tests that start no browser, broker, server, process or model"
    )
    parser.addoption(
        ELSEWHERE,
        action="store_true",
        help="run with LLM_SERVER_URL set: the engine of every client is another copy of the app, behind its /v1",
    )


@pytest.fixture(scope="session", autouse=True)
def _data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sessions of tests, and of the programs that tests start, are not those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setenv("LLM_DRAFT", "sure")  # what it tries depends on the clock, and the last bits of logits on that
        patch.setenv("LLM_PREPARE", "off")  # else each new data folder would have its model prepared first
        yield


@pytest.fixture(scope="session", autouse=True)
def engines() -> Iterator[WeakSet[Engine]]:
    """The engines of this process. They check themselves when they go idle, as do those of programs that are run."""
    from llm_core.engine.engine import Engine  # here, since what is set above must be set before llama.cpp is loaded

    engines: WeakSet[Engine] = WeakSet()
    begin = Engine.__init__

    def noted(engine: Engine, *args: Any, **options: Any) -> None:
        begin(engine, *args, **options)
        engines.add(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "__init__", noted)
        patch.setenv("LLM_SELF_CHECK", "1")
        yield engines


@pytest.fixture(autouse=True)
def _engines_agree_with_themselves(engines: WeakSet[Engine]) -> Iterator[None]:
    """After a test the slots, the cache and the queue of each engine that it used fit each other."""
    before = {id(engine): engine.stats().steps for engine in engines}
    yield
    for engine in [*engines]:
        if engine.stats().steps != before.get(id(engine)):
            engine.check_integrity()


@pytest.fixture(scope="session", autouse=True)
def _engine_elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """What `--engine-elsewhere` says. The tests' settings read the variable as anybody's do."""
    if not request.config.getoption(ELSEWHERE):
        yield
        return
    from tests.elsewhere import engine_behind_v1

    with engine_behind_v1() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_SERVER_URL", url)
        yield


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    """The bundled model, with the settings that the file of the tests names as `SETTINGS`."""
    settings = getattr(request.module, "SETTINGS", {})
    with loaded_client(tmp_path_factory.mktemp("data"), **settings) as client:
        yield client


@pytest.fixture(scope="module")
def url(client: LLMClient) -> Iterator[str]:
    """Where all doorways of the file's client are."""
    with served(client) as url:
        yield url


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Path of the browser that the page tests drive. Without one they skip, but never in CI."""
    path = find_chromium()
    if path:
        return path
    skip_unless_ci("the browser tests", NO_BROWSER)


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """One for a file: as long as Playwright runs, its event loop lets no other run in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


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
    """Opens a URL as a new visitor, with nothing in common with other visitors but what the browser has compiled. A
    script that fails on any of the pages fails the test."""
    opened: dict[Page, str] = {}
    errors: list[str] = []

    def hear(error: WebError) -> None:
        errors.append(f"{error.error}\n{error.error.stack}" if isinstance(error.error, Error) else str(error.error))

    def open_one(url: str, **options: Any) -> Page:
        is_first = not opened and not options
        context = first_context if is_first else browser.new_context(**({"viewport": DESKTOP} | options))
        context.on("weberror", hear)
        page = context.new_page()
        opened[page] = url
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.wait_for_selector("#message textarea")
        page.wait_for_selector("body[data-chat]")  # the page's script is there
        return page

    yield open_one
    for page, url in opened.items():
        if page.context is first_context:
            forget_visitor(first_context, url)
        else:
            page.context.close()
    first_context.remove_listener("weberror", hear)
    assert not errors


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A wrong setting should show in a second, not after the browser tests."""
    items.sort(key=_slowness)
    if config.getoption(QUICK):
        config.hook.pytest_deselected(items=[item for item in items if not _is_quick(item)])
        items[:] = [item for item in items if _is_quick(item)]
    for item in items:
        if item.get_closest_marker("local_engine") and item.config.getoption(ELSEWHERE):
            item.add_marker(pytest.mark.skip(reason="it needs the engine in its own process"))


def _slowness(item: pytest.Item) -> int:
    """0: in this process, 1: starts a process of its own (a notebook, a README example) or takes minutes, 2: drives a
    browser. The many of those come last, so that the processes that share the tests end together."""
    if item.get_closest_marker("slow") or not isinstance(item, pytest.Function):
        return 1
    return 2 if BROWSER_FIXTURE in getattr(item, "fixturenames", ()) else 0


def _is_quick(item: pytest.Item) -> bool:
    """Whether it starts nothing, as can be seen from what its file has by name."""
    if _slowness(item) or not isinstance(item, pytest.Function):
        return False
    return not _STARTS & vars(item.module).keys() and "postgresql" not in item.name
