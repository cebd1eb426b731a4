"""What the page leans on of Gradio that is not public: when Gradio is raised, these say what has changed."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr
import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.page.app import ENDPOINT, ChatPage, build_app
from llm_core.page.gradio_private import ChatFrame, said_to_a_program
from llm_core.page.languages import WIDGETS

HOOKS = ("_setup_events", "_render_header", "_render_footer", "_message_as_message_dict", "_stream_fn", "_api_wrapper")


@pytest.fixture(scope="module")
def app(page_client: LLMClient) -> gr.Blocks:
    return build_app(page_client)


def events(app: gr.Blocks) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.get_config_file()["dependencies"]
    return found


@pytest.mark.parametrize("hook", HOOKS)
def test_chat_interface_still_has_what_is_overridden_or_called(hook: str) -> None:
    assert callable(getattr(gr.ChatInterface, hook))


def test_the_queue_looks_for_work_as_seldom_as_it_is_told(app: gr.Blocks) -> None:
    fresh = gr.Blocks()._queue
    assert (fresh.sleep_when_free, fresh.progress_update_sleep_when_free) != (0.02, 0.02), "Gradio's own are quicker"
    assert (app._queue.sleep_when_free, app._queue.progress_update_sleep_when_free) == (0.02, 0.02)


def test_none_of_gradios_own_events_of_a_chat_is_left(app: gr.Blocks) -> None:
    """They would take what they do from the page's state at the time when they run."""
    assert isinstance(app, ChatPage)
    parts = {app.chatbot._id, app.textbox._id}
    on_chat_or_box = [event for event in events(app) if parts & {target for target, _ in event["targets"]}]
    assert {name for event in on_chat_or_box for _, name in event["targets"]} == {
        "submit",
        "stop",
        "retry",
        "undo",
        "example_select",
    }
    assert not any(event["backend_fn"] for event in on_chat_or_box), "the page's script alone deals with them"
    assert [event["api_name"] for event in events(app) if app.chatbot_state._id in event["outputs"]] == [ENDPOINT]


def test_the_state_that_gradio_keeps_for_each_tab_goes_into_nothing_of_the_page(app: gr.Blocks) -> None:
    states = {number for number, block in app.blocks.items() if isinstance(block, gr.State)}
    users = [event for event in events(app) if states & {*event["inputs"], *event["outputs"]}]

    assert {event["api_name"] for event in users} <= {ENDPOINT, *(f"{ENDPOINT}_{n}" for n in range(1, 3))}


def test_both_buttons_of_the_box_are_there_and_the_style_shows_one(app: gr.Blocks) -> None:
    assert isinstance(app, ChatPage)
    assert app.textbox.submit_btn
    assert app.textbox.stop_btn


def test_what_a_page_loads_has_the_texts_of_its_widgets(app: gr.Blocks) -> None:
    """And what Gradio does not translate by itself is marked in it, for the page's head to do it."""
    config = app.get_config_file()
    props = {name: each["props"] for each in config["components"] if (name := each["props"].get("elem_id"))}

    assert config["i18n_translations"] == WIDGETS.translations_dict
    assert "__i18n__" in str(props["tools"]["choices"])
    assert "__i18n__" in str(props["chat"]["examples"])
    assert [each["props"]["position"] for each in config["components"] if each["type"] == "sidebar"] == ["left"]


def test_a_text_of_a_program_keeps_its_indentation() -> None:
    message = ChatFrame._message_as_message_dict(None, "  a\n    b", "user")  # type: ignore[arg-type]

    assert said_to_a_program(message) == [{"role": "user", "content": "  a\n    b"}]
    assert said_to_a_program([{"role": "user", "content": "plain"}]) == [{"role": "user", "content": "plain"}]


def test_a_command_is_answered_and_a_wrong_one_refused_in_a_sentence(page_url: str) -> None:
    """The route of `server_functions`, and that it gives the functions the request."""
    with httpx.Client(base_url=page_url) as browser:
        browser.get("/")  # the cookie
        config = browser.get("/config").json()
        screen = next(each for each in config["components"] if each["props"].get("elem_id") == "screen")

        def call(name: str, data: Any) -> Any:
            body = {"data": data, "fn_name": name, "component_id": screen["id"], "session_hash": "walker"}
            return browser.post("/gradio_api/component_server/", json=body).json()

        key = "0" * 48
        assert call("open", {"key": key, "conversation": "one"})["version"] == 0
        found = call("list", {"key": key, "conversation": "one", "search": ""})
        assert found == {"rows": [], "more": False, "kept": True}
        for wrong in (None, 5, [], {}, {"key": key}, {"key": key, "conversation": "../x"}, {"key": key, "more": 1}):
            assert re.search(r"\w+", call("open", wrong)["refused"])
        for missing in ("0" * 32, "f" * 32):
            assert "refused" in call("stop", {"key": key, "conversation": "one", "stream": missing})
