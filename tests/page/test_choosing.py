"""Two models to choose from: what is chosen is for one conversation, and each reply says who made it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from llm_core.backends import making
from llm_core.client import LLMClient
from llm_core.events import ChatEvent
from llm_core.models.info import ModelInfo
from llm_core.request import ChatRequest
from llm_core.settings import Settings
from tests.engine.conftest import model_path as model_path
from tests.models.gguf_file import model_file
from tests.scripted_backend import INFO, ScriptedBackend
from tests.scripted_client import Signal
from tests.served import served
from tests.visitor import line, retry, send, wait_for_text, wait_until_done, wait_until_idle
from tests.waiting import free_port

from .screen import COMMANDS, USER, address, answering, held, holding, row

Open = Callable[..., Page]

TWO = """\
models:
  - {source: bundled, name: first}
  - {source: bundled, name: second, max_tokens: 77}
"""
HEAD = "#model .model"
PANEL = "#models"


class Thinking(ScriptedBackend):
    """Its model's thinking can be switched."""

    def start(self) -> Future[ModelInfo]:
        info: Future[ModelInfo] = Future()
        info.set_result(replace(INFO, can_switch_thinking=True))
        return info


@pytest.fixture
def go_on() -> Iterator[Signal]:
    """What is said to hold waits for it in the middle of the reply."""
    go_on = Signal()
    yield go_on
    go_on.give()


@pytest.fixture
def make(tmp_path: Path, go_on: Signal, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LLMClient]:
    """Makes a client whose models all say the same. Those of 77 tokens can think."""

    def say(request: ChatRequest, _stopped: threading.Event) -> Generator[ChatEvent]:
        return holding(go_on)() if request.messages[-1].content == "Hold" else answering()

    def make_one(models: str | None = TWO, **settings: Any) -> LLMClient:
        def backend(settings: Settings, *_: object, **__: object) -> ScriptedBackend:
            return (Thinking if settings.max_tokens == 77 else ScriptedBackend)(say)

        monkeypatch.setattr(making, "make_backend", backend)
        usual: dict[str, Any] = {"data_dir": tmp_path, "rate_limit": "none", "GRADIO_SERVER_PORT": free_port()}
        if models is not None:
            usual["models"] = tmp_path / "models.yaml"
            usual["models"].write_text(models)
        client = LLMClient(Settings(**(usual | settings)))
        client.start()
        return client

    return make_one


@pytest.fixture
def client(make: Callable[..., LLMClient]) -> Iterator[LLMClient]:
    with make() as client:
        yield client


@pytest.fixture
def two(client: LLMClient, open_page: Open) -> Iterator[Page]:
    with served(client) as url:
        page = open_page(url)
        expect(page.locator(HEAD)).to_be_visible()
        yield page


def choose(page: Page, name: str) -> None:
    page.locator(HEAD).click()
    page.locator(f"{PANEL} .choose", has_text=name).click()
    expect(page.locator(PANEL)).to_be_hidden()


def models_of(page: Page, client: LLMClient, conversation: str | None = None) -> tuple[str | None, list[str]]:
    """The model that a conversation goes on with, and who made its replies."""
    owner = next(f"browser:{each['value']}" for each in page.context.cookies() if each["name"] == "llm_core_browser")
    session = client.sessions.get(conversation or address(page), owner=owner)
    return session.model, [turn.done.model for turn in session.turns if turn.done is not None]


def test_the_chosen_model_answers_from_the_next_message_on_and_is_remembered(two: Page, client: LLMClient) -> None:
    expect(two.locator(HEAD)).to_contain_text("first")
    send(two, "To the first")
    wait_until_done(two)
    assert line(two).endswith("· first")
    choose(two, "second")
    expect(two.locator(HEAD)).to_contain_text("second")
    expect(two.locator(HEAD)).to_be_focused()
    assert models_of(two, client) == (None, ["first"]), "nothing has been said to the other one yet"

    send(two, "To the second")
    wait_until_done(two, 2)
    assert line(two).endswith("· second")
    assert models_of(two, client) == ("second", ["first", "second"])
    two.reload()
    expect(two.locator(HEAD)).to_contain_text("second")
    expect(two.locator(".reply-line")).to_contain_text(["· first", "· second"])
    retry(two)
    assert models_of(two, client) == ("second", ["first", "second"])
    client.models.remove("second")
    two.reload()
    expect(two.locator(HEAD)).to_contain_text("first")
    expect(two.locator(".reply-line")).to_contain_text(["· first", "· second"])


def test_each_conversation_keeps_its_own_and_a_new_one_begins_with_the_last_that_was_chosen(
    two: Page, client: LLMClient
) -> None:
    send(two, "One")
    wait_until_done(two)
    two.locator("#new-chat").click()
    choose(two, "second")
    send(two, "Two")
    wait_until_done(two)
    row(two, "One").click()
    expect(two.locator(USER)).to_have_text(["One"])
    expect(two.locator(HEAD)).to_contain_text("first")
    send(two, "One more")
    wait_until_done(two, 2)
    assert models_of(two, client) == (None, ["first", "first"])

    row(two, "Two").click()
    expect(two.locator(HEAD)).to_contain_text("second")
    two.locator("#new-chat").click()
    expect(two.locator(USER)).to_have_count(0)
    expect(two.locator(HEAD)).to_contain_text("second")


def test_what_is_chosen_and_not_sent_is_there_after_a_reload_and_in_no_other_conversation(two: Page) -> None:
    send(two, "One")
    wait_until_done(two)
    one = address(two)
    choose(two, "second")
    two.reload()
    expect(two.locator(HEAD)).to_contain_text("second")
    other = two.context.new_page()
    other.goto(f"{two.url.split('?')[0]}?c={one}")
    wait_until_idle(other)
    expect(other.locator(HEAD)).to_contain_text("first")
    other.close()


def test_what_is_chosen_while_a_message_is_on_its_way_is_for_the_next_one(two: Page, client: LLMClient) -> None:
    with held(two, "begin") as routes:
        send(two, "One")
        two.wait_for_function("() => document.body.dataset.chat === 'busy'")
        choose(two, "second")
        while not routes:
            two.wait_for_timeout(20)
        routes[0].continue_()
        wait_until_done(two)
    assert models_of(two, client) == (None, ["first"])
    expect(two.locator(HEAD)).to_contain_text("second")
    send(two, "Two")
    wait_until_done(two, 2)
    assert models_of(two, client) == ("second", ["first", "second"])


def test_another_tab_learns_of_the_choice_with_the_message(two: Page) -> None:
    send(two, "One")
    wait_until_done(two)
    other = two.context.new_page()
    other.goto(two.url)
    wait_until_idle(other)
    choose(two, "second")
    send(two, "Two")
    wait_until_done(two, 2)
    expect(other.locator(HEAD)).to_contain_text("second")
    choose(other, "first")
    send(other, "Three")
    wait_until_done(other, 3)
    expect(two.locator(HEAD)).to_contain_text("first")
    other.close()


def test_the_choice_to_think_is_there_where_the_conversation_s_model_has_it(two: Page, client: LLMClient) -> None:
    two.locator("#settings button", has_text="Settings").click()
    think = two.get_by_label("Think first")
    expect(think).to_be_hidden()
    choose(two, "second")
    send(two, "One")
    wait_until_done(two)
    two.reload()
    two.locator("#settings button", has_text="Settings").click()
    think.uncheck()
    send(two, "Two")
    wait_until_done(two, 2)
    choose(two, "first")
    expect(think).to_be_hidden()
    send(two, "Three")
    wait_until_done(two, 3)
    first, second = (member.backend for member in client.models.members)
    assert isinstance(first, ScriptedBackend)
    assert isinstance(second, ScriptedBackend)
    assert [each.thinking for each in second.requests] == [None, False]
    assert [each.thinking for each in first.requests] == [None]


def test_a_model_that_has_gone_refuses_the_message_which_can_be_sent_to_another(two: Page, client: LLMClient) -> None:
    choose(two, "second")
    client.models.remove("second")
    send(two, "Are you there?")
    expect(two.locator("#notes .unsent p")).to_contain_text("The model 'second' is not here any more.")
    two.locator(HEAD).click()
    two.locator(f"{PANEL} .choose", has_text="first").click()
    two.get_by_role("button", name="Send again").click()
    wait_until_done(two)
    assert models_of(two, client) == ("first", ["first"])


def test_it_is_chosen_with_the_keyboard_alone(two: Page, client: LLMClient) -> None:
    two.locator(HEAD).focus()
    two.keyboard.press("Enter")
    expect(two.get_by_role("dialog", name="Models")).to_be_visible()
    two.keyboard.press("Escape")
    expect(two.locator(PANEL)).to_be_hidden()
    expect(two.locator(HEAD)).to_be_focused()

    two.keyboard.press("Enter")
    for _ in range(20):
        if two.evaluate("() => document.activeElement.textContent.startsWith('second')"):
            break
        two.keyboard.press("Tab")
    two.keyboard.press("Enter")
    expect(two.locator(PANEL)).to_be_hidden()
    expect(two.locator(HEAD)).to_be_focused()
    expect(two.locator(HEAD)).to_contain_text("second")


def test_escape_closes_the_panel_and_does_not_stop_the_reply(two: Page, go_on: Signal) -> None:
    send(two, "Hold")
    wait_for_text(two, 5)
    two.locator(HEAD).click()
    two.keyboard.press("Escape")
    expect(two.locator(PANEL)).to_be_hidden()
    two.evaluate("() => new Promise((done) => setTimeout(done, 300))")  # a stop would be there by then
    go_on.give()
    assert wait_until_done(two) == "First half and the second."
    assert "Stopped" not in line(two)


def test_all_controls_of_the_panel_have_names_and_roles(two: Page) -> None:
    two.locator(HEAD).click()
    expect(two.locator(f"{PANEL} .choose")).to_have_count(2)
    for summary in ("Recommended for this machine", "Search the Hub"):
        two.locator(f"{PANEL} summary", has_text=summary).click()
    expect(two.locator(f"{PANEL} .recommended li").first).to_be_visible()
    nameless = two.evaluate(
        """() => [...document.querySelectorAll("#models :is(button, input, progress), #model button")]
            .filter((each) => !each.getAttribute("aria-label") && !each.textContent.trim())
            .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    hidden = two.evaluate(
        """() => [...document.querySelectorAll("#models button")].filter((each) => {
            const label = each.getAttribute("aria-label"), text = each.querySelector(".name") ?? each;
            return /[a-z]/i.test(text.textContent) && !label.includes(text.textContent.trim());
        }).map((each) => each.outerHTML)"""
    )
    assert hidden == [], "what is read stands in what is spoken (WCAG 2.5.3)"
    expect(two.get_by_role("button", name="second").first).to_be_visible()
    expect(two.locator(f"{PANEL} [aria-current]")).to_have_count(1)


def test_who_may_not_change_models_can_choose_and_nothing_else(make: Callable[..., LLMClient], open_page: Open) -> None:
    with make(admin_tokens="root:master") as client, served(client) as url:
        page = open_page(url)
        with page.expect_request(lambda request: '"models"' in (request.post_data or "")) as asked:
            page.reload()
        page.locator(HEAD).click()
        expect(page.locator(f"{PANEL} .choose")).to_have_count(2)
        expect(page.locator(f"{PANEL} .acts button")).to_have_count(0)
        expect(page.locator(f"{PANEL} .offered")).to_be_hidden()
        page.locator(f"{PANEL} .choose", has_text="second").click()
        send(page, "Hello")
        wait_until_done(page)
        assert models_of(page, client) == ("second", ["second"])

        told = asked.value.post_data_json
        for name, more in {
            "recommended_models": {},
            "search_models": {"query": ""},
            "files_of_repo": {"repo": "a/b"},
            "fetch_model": {"source": "hf:a/b:c.gguf"},
            "stop_fetching": {"model": "second"},
            "load_model": {"model": "second"},
            "unload_model": {"model": "second"},
            "remove_model": {"model": "second"},
        }.items():
            answer = page.request.post(
                asked.value.url, data={**told, "fn_name": name, "data": {**told["data"], **more}}
            )
            assert "Only who runs this server may change its models" in answer.json()["refused"], name
        assert [each.name for each in client.models.members] == ["first", "second"]


def test_who_signed_in_with_a_token_of_the_operator_s_may_change_models(
    make: Callable[..., LLMClient], open_page: Open, model_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "unserved.gguf").symlink_to(model_path)
    tokens = {"api_tokens": "ann:secret", "admin_tokens": "root:master"}
    with make(models_dir=folder, **tokens) as client, served(client) as url:
        for token, may in (("secret", False), ("master", True)):
            page = open_page(url, extra_http_headers={"Authorization": f"Bearer {token}"})
            page.locator(HEAD).click()
            expect(page.locator(f"{PANEL} .choose")).to_have_count(3 if may else 2)
            expect(page.locator(f"{PANEL} .offered")).to_be_visible(visible=may)


def test_with_one_model_and_no_right_to_change_it_its_name_is_plain_text(
    make: Callable[..., LLMClient], open_page: Open
) -> None:
    with make(models=None, public=True) as client, served(client) as url:
        page = open_page(url)
        expect(page.locator(f"p{HEAD.removeprefix('#model ')}")).to_be_visible()
        assert page.locator("#model button").count() == 0
        send(page, "Hello")
        wait_until_done(page)
        assert "scripted" not in line(page), "of one model nobody needs the name"


def test_a_model_that_makes_vectors_is_listed_and_cannot_be_chosen(
    make: Callable[..., LLMClient], open_page: Open, tmp_path: Path
) -> None:
    (tmp_path / "vectors.gguf").write_bytes(model_file("bert", pooling_type=1))
    models = f"models: [{{source: bundled, name: first}}, {{source: {tmp_path / 'vectors.gguf'}}}]"
    with make(models) as client, served(client) as url:
        page = open_page(url)
        page.locator(HEAD).click()
        expect(page.locator(f"{PANEL} .choose", has_text="makes vectors")).to_be_disabled()
        expect(page.locator(f"{PANEL} .choose", has_text="first")).to_be_enabled()
    with make(models, admin_tokens="root:master") as client, served(client) as url:
        page = open_page(url)
        expect(page.locator(f"p{HEAD.removeprefix('#model ')}")).to_be_visible()  # there is nothing to choose


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_can_be_read_in_light_and_dark_and_on_a_phone(
    client: LLMClient, open_page: Open, scheme: str
) -> None:
    from .test_page import contrast

    with served(client) as url:
        page = open_page(url, color_scheme=scheme, viewport={"width": 390, "height": 780})
        page.locator(HEAD).click()
        page.locator(f"{PANEL} summary").first.click()
        expect(page.locator(f"{PANEL} .recommended li").first).to_be_visible()
        texts = [f"{PANEL} h2", f"{PANEL} .hint", f"{PANEL} .name", f"{PANEL} .facts", f"{PANEL} .told", HEAD]
        contrasts = {text: contrast(page, text) for text in [*texts, f"{PANEL} .recommended button"]}
        assert min(contrasts.values()) >= 4.5, f"WCAG 2.2 AA asks for 4.5 : 1, and these have {contrasts}"
        box = page.locator(PANEL).bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= 390 - box["width"]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_names_of_models_are_text_and_never_markup(two: Page) -> None:
    def answer_with_markup(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        if "rows" in told and told["rows"] and "acts" in told["rows"][0]:
            hostile = "<img src=x onerror='window.hacked=1'>"
            told["rows"][0] |= {"name": hostile, "line": [hostile], "facts": [hostile], "told": [hostile]}
        route.fulfill(response=answer, json=told)

    two.route(COMMANDS, answer_with_markup)
    two.locator(HEAD).click()
    expect(two.locator(f"{PANEL} .name").first).to_have_text("<img src=x onerror='window.hacked=1'>")
    expect(two.locator(HEAD)).to_have_text("<img src=x onerror='window.hacked=1'>")
    assert two.evaluate("window.hacked") is None
