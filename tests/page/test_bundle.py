"""All scripts in one file, all styles in another: what is leaned on of Gradio's build, and what is sent."""

from __future__ import annotations

import json
import re

import gradio as gr
import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.page import bundle
from llm_core.page.app import build_app
from llm_core.page.bundle import FRONTEND, PLACE, Bundle
from llm_core.server.server import page_options


@pytest.fixture(scope="module")
def blocks(page_client: LLMClient) -> gr.Blocks:
    app = build_app(page_client)
    gr.mount_gradio_app(gr.routes.FastAPI(), app, path="/", **page_options(page_client.settings))
    return app


@pytest.fixture(scope="module")
def made(blocks: gr.Blocks) -> Bundle:
    return Bundle.of(blocks)


def scripts(made: Bundle) -> dict[str, str]:
    found: dict[str, str] = next(json.loads(content) for content, kind in made.files.values() if "json" in kind)
    return found


def test_what_every_page_begins_with_and_the_components_of_this_one_are_in_it(made: Bundle) -> None:
    stems = {name.rsplit("-", 1)[0] for name in scripts(made)}
    assert made.entry in scripts(made)
    assert {"index", "core", "Blocks", "HTML", "markdown-code", "runtime"} <= stems
    assert 30 < len(scripts(made)) < 60


def test_what_a_module_of_it_imports_is_in_it_too(made: Bundle) -> None:
    found = scripts(made)
    imported = {name for text in found.values() for name in re.findall(r'\b(?:from|import)"gradio/([\w.-]+)"', text)}
    assert imported <= found.keys()


def test_no_module_of_it_looks_for_another_beside_itself(made: Bundle) -> None:
    for name, text in scripts(made).items():
        assert not re.search(r"""\b(from|import\(?)["'`]\./""", text), name
        assert "import.meta" not in text, name


def test_gradios_scripts_find_a_link_to_each_part_and_do_not_fetch_it(made: Bundle) -> None:
    assert {*re.findall(r'rel="bundled" href="\./assets/([^"]+)"', made.markers)} == scripts(made).keys()
    for name in re.findall(r'rel="stylesheet" disabled href="\./assets/([^"]+)"', made.markers):
        assert (FRONTEND / PLACE / name).exists()


def test_gradios_page_is_as_it_is_known_here() -> None:
    page = (FRONTEND / "index.html").read_text()
    for known in (bundle._ENTRY, bundle._SHEET, bundle._BASE, bundle._SOCIAL):
        assert known.search(page), known
    assert page.count(bundle._FRAME_SCRIPT) == 1


def test_where_gradios_page_is_another_nothing_is_bundled_and_the_page_still_has_its_name(
    blocks: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "_ENTRY", re.compile("there is no such thing"))
    page = Bundle.of(blocks).page("<head></head><script src='its.js'></script>", title="Chat")
    assert "<script src='its.js'></script>" in page
    assert "<title>Chat</title>" in page


@pytest.mark.parametrize("accepted", ["br", "gzip", ""])
def test_the_page_comes_compressed_and_only_where_it_has_changed(page_url: str, accepted: str) -> None:
    headers = {"accept-encoding": accepted}
    answer = httpx.get(page_url, headers=headers)
    assert answer.headers.get("content-encoding", "") == accepted
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "<title>Chat</title>" in answer.text
    again = httpx.get(page_url, headers={**headers, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_named_after_what_is_in_them_are_kept_for_ever_and_no_others(page_url: str) -> None:
    page = httpx.get(page_url).text
    ours = re.findall(r"page-[0-9a-f]{12}\.(?:json|css)", page)
    theirs = next((FRONTEND / PLACE).glob("auto-render-*.js")).name
    assert len({*ours}) == 2
    for name in (*ours, theirs):
        answer = httpx.get(f"{page_url}{PLACE}/{name}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    for other in (f"{PLACE}/page-0.css", "theme.css"):
        assert "immutable" not in httpx.get(f"{page_url}{other}").headers.get("cache-control", "")
