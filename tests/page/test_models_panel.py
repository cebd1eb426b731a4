"""Models on the page: searched, fetched, stopped, chosen, removed. With a real engine and a hub on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from playwright.sync_api import Locator, Page, expect

from llm_core.client import LLMClient
from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.conftest import Hub, Repository
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub
from tests.served import loaded_client, served
from tests.visitor import line, send, wait_until_done

pytestmark = pytest.mark.local_engine

Open = Callable[..., Page]

REPO = "makers/tiny-GGUF"
HEAD, PANEL, OFFER = "#model .model", "#models", "#offer"
SAID = f"{PANEL} > .said"


@pytest.fixture
def tiny(hub: Hub, cache: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A real model with random weights, on the hub. It comes in small pieces."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    data = random_model.lfm2(model_path, tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").unlink()
    hub.repositories[REPO] = Repository({"tiny.gguf": data}, downloads=1200)
    return data


@pytest.fixture
def client(tiny: bytes, tmp_path: Path) -> Iterator[LLMClient]:
    with loaded_client(tmp_path / "data", max_tokens=8) as client:
        yield client


@pytest.fixture
def url(client: LLMClient) -> Iterator[str]:
    with served(client) as url:
        yield url


@pytest.fixture
def panel(open_page: Open, url: str) -> Page:
    page = open_page(url)
    page.locator(HEAD).click()
    expect(model(page, "SmolLM2")).to_contain_text("Ready")
    return page


def model(page: Page, name: str) -> Locator:
    return page.locator(f"{PANEL} > .rows > li", has_text=name)


def search(page: Page, words: str) -> None:
    page.locator(f"{PANEL} summary", has_text="Search the Hub").click()
    page.get_by_label("Words of a model's name").fill(words)
    page.keyboard.press("Enter")


def find_tiny(page: Page) -> Locator:
    """The button that fetches it."""
    search(page, "tiny")
    page.locator(f"{PANEL} .repos summary", has_text=REPO).click()
    return page.locator(f"{PANEL} .repo li", has_text="tiny.gguf").locator("button")


def test_a_model_is_searched_for_fetched_chosen_and_asked_and_a_reload_keeps_it(panel: Page, hub: Hub) -> None:
    hub.holds_after = 3_000_000
    fetch = find_tiny(panel)
    expect(panel.locator(f"{PANEL} .repos summary")).to_contain_text("1,200 downloads a month · mit")
    fetch.click()
    expect(panel.locator(SAID)).to_contain_text("is being fetched")
    expect(model(panel, "tiny")).to_contain_text("Downloading tiny.gguf")
    expect(fetch).to_have_text("Being fetched")
    panel.wait_for_function("() => document.querySelector('#models li[data-state=fetching] progress').value > 0.1")
    expect(model(panel, "tiny").locator(".choose")).to_be_disabled()
    hub.go_on.set()
    expect(panel.locator(SAID)).to_have_text("tiny is here.")
    expect(fetch).to_have_text("Here")
    expect(model(panel, "tiny").locator(".facts")).to_contain_text("fits this machine")

    model(panel, "tiny").locator(".choose").click()
    expect(panel.locator(HEAD)).to_contain_text("tiny")
    send(panel, "Hello")
    wait_until_done(panel)
    assert line(panel).endswith("· tiny")
    panel.reload()
    expect(panel.locator(HEAD)).to_contain_text("tiny")
    expect(panel.locator(".reply-line")).to_contain_text("· tiny")
    panel.locator(HEAD).click()
    expect(model(panel, "tiny")).to_contain_text("Answers here · Ready")


def test_a_download_is_stopped_and_goes_on(panel: Page, hub: Hub) -> None:
    hub.holds_after = 3_000_000
    find_tiny(panel).click()
    panel.wait_for_function("() => document.querySelector('#models li[data-state=fetching] progress')?.value > 0.1")
    model(panel, "tiny").get_by_role("button", name="Stop").click()
    expect(panel.locator(SAID)).to_contain_text("was stopped")
    hub.go_on.set()
    expect(model(panel, "tiny")).to_contain_text("what has come is kept")
    hub.holds_after = None
    model(panel, "tiny").get_by_role("button", name="Go on").click()
    expect(model(panel, "tiny")).to_contain_text("On this machine")


def test_a_model_is_unloaded_and_removed_once_that_was_pressed_twice(panel: Page, cache: Path) -> None:
    find_tiny(panel).click()
    expect(model(panel, "tiny")).to_contain_text("On this machine")
    model(panel, "tiny").locator(".choose").click()
    send(panel, "Hello")
    wait_until_done(panel)
    panel.locator(HEAD).click()
    model(panel, "tiny").get_by_role("button", name="Unload").click()
    expect(model(panel, "tiny")).to_contain_text("On this machine")

    remove = model(panel, "tiny").get_by_role("button", name="Remove")
    remove.dblclick()
    expect(remove).to_have_text("Remove?")
    assert list(cache.rglob("*.gguf")), "a double click is one press"
    expect(remove).not_to_have_attribute("aria-disabled", "true")
    remove.click()
    expect(panel.locator(SAID)).to_contain_text("tiny was removed")
    expect(model(panel, "tiny")).to_have_count(0)
    assert not list(cache.rglob("*.gguf"))


def test_without_the_hub_one_sentence_says_so_and_what_is_here_goes_on(panel: Page, hub: Hub) -> None:
    hub.broken_with = 503
    search(panel, "tiny")
    said = panel.locator(f"{PANEL} .search > .said")
    expect(said).to_contain_text("Hub")
    expect(said).not_to_contain_text("Asking")
    model(panel, "SmolLM2").locator(".choose").click()
    send(panel, "Hello")
    wait_until_done(panel)


def test_what_is_recommended_has_its_reason_and_is_fetched_with_one_press(panel: Page, hub: Hub) -> None:
    panel.locator(f"{PANEL} summary", has_text="Recommended for this machine").click()
    rows = panel.locator(f"{PANEL} .recommended li")
    expect(rows.first).to_contain_text("SmolLM2-135M-Instruct")
    expect(rows.first.locator("button")).to_have_text("Here")
    expect(rows.nth(1).locator(".told")).not_to_be_empty()
    rows.nth(1).locator("button").click()
    expect(panel.locator(SAID)).to_contain_text("ggml-org/gemma-3-270m-it-GGUF")  # the small hub does not have it
    expect(model(panel, "gemma-3-270m-it").get_by_role("button", name="Fetch")).to_be_visible()
    expect(rows.nth(1).locator("button")).to_have_text("Fetch")


def test_the_offer_of_a_better_model_is_made_once(open_page: Open, url: str) -> None:
    page = open_page(url)
    expect(page.locator(OFFER)).to_contain_text("SmolLM2 is small and often wrong.")
    expect(page.locator(OFFER)).to_contain_text("fits this machine")
    send(page, "Hello")
    wait_until_done(page)
    expect(page.locator(OFFER)).to_be_hidden()
    page.locator("#new-chat").click()
    page.locator(OFFER).get_by_role("button", name="Not now").click()
    expect(page.locator(OFFER)).to_have_count(0)
    page.reload()
    expect(page.locator(HEAD)).to_be_visible()
    expect(page.locator(OFFER)).to_have_count(0)


def test_what_the_offer_fetches_is_shown_in_the_panel(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.locator(OFFER).get_by_role("button", name="Fetch it").click()
    expect(page.locator(f"{PANEL} > .rows > li")).to_have_count(2)
    expect(page.locator(OFFER)).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(HEAD)).to_be_focused()
