"""One list of options: what every door takes is in `llm_core.options`, by the same names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

from llm_core.http.bodies import Options, SessionBody
from llm_core.http.openai_chat.routes import CompletionBody
from llm_core.mqtt.payloads import Ask, parse_ask
from llm_core.mqtt.worker.legacy import _NAMES as LEGACY_NAMES
from llm_core.options import WIRE_OPTIONS, ChatOptions, RequestOptions, TurnOptions, WireOptions, given
from llm_core.page import commands
from llm_core.page.controls import Controls
from llm_core.request import ChatRequest, SamplingParams

ROOT = Path(__file__).resolve().parent.parent
QUESTION = [{"role": "user", "content": "Hi"}]
OF_A_TURN = {"attachments", "tool_results", "approvals", "system_prompt"}
OF_A_BRANCH = {"replaces", "after"}
OPENAIS_OWN = {"stream", "stream_options", "n", "max_completion_tokens", "top_logprobs"}
VLLMS_OWN = {"continue_final_message", "add_generation_prompt"}
OPENAIS_OLD = {"functions", "function_call"}


def test_a_request_has_the_options_as_its_fields_and_no_others() -> None:
    fields = {*ChatRequest.model_fields, *SamplingParams.model_fields} - {"messages", "sampling"}
    assert set(get_type_hints(RequestOptions)) == fields


def test_the_options_of_a_conversation_and_of_a_turn_are_those_of_a_request_and_a_few() -> None:
    assert set(get_type_hints(ChatOptions)) - set(get_type_hints(RequestOptions)) == {"cancellation"}
    assert set(get_type_hints(TurnOptions)) - set(get_type_hints(RequestOptions)) == OF_A_TURN


def test_http_takes_every_option_of_a_wire() -> None:
    assert set(Options.model_fields) == WIRE_OPTIONS == set(get_type_hints(WireOptions))
    assert set(SessionBody.model_fields) - WIRE_OPTIONS == {"session_id", "message", *OF_A_TURN, *OF_A_BRANCH}


def test_openais_door_takes_every_option_of_a_wire_beside_openais_own() -> None:
    beside = set(CompletionBody.model_fields) - WIRE_OPTIONS
    assert beside == {"messages", "logprobs"} | OPENAIS_OWN | OPENAIS_OLD | VLLMS_OWN
    assert set(CompletionBody.model_validate({"messages": QUESTION}).options()) == WIRE_OPTIONS | {"logprobs"}


def test_mqtt_takes_every_option_of_a_wire() -> None:
    asked = {"request_id": "1", "messages": QUESTION}
    assert set(parse_ask(asked | dict.fromkeys(WIRE_OPTIONS, 1)).options) == WIRE_OPTIONS
    assert not set(Ask.model_fields) & WIRE_OPTIONS
    assert set(LEGACY_NAMES.values()) <= WIRE_OPTIONS | OF_A_TURN


def test_the_page_s_controls_are_options() -> None:
    controls = set(Controls.__dataclass_fields__)
    assert controls == set(commands.Options.model_fields)
    assert controls <= WIRE_OPTIONS | OF_A_TURN


def test_the_page_about_python_has_every_option() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \|", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(get_type_hints(RequestOptions)) <= told


def test_an_option_that_is_none_is_as_good_as_absent() -> None:
    assert given({"temperature": 0.0, "stop": None, "owner": ""}) == {"temperature": 0.0, "owner": ""}


def test_options_are_typed_wherever_they_are_taken() -> None:
    """So an editor completes them and mypy sees a misspelling."""
    files = [file for file in (ROOT / "llm_core").rglob("*.py") if file.name != "metered.py"]  # its options are Jinja's
    assert [file.name for file in files if "**options: Any" in file.read_text()] == []
