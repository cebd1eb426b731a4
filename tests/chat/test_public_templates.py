"""Templates of public models take conversations of every shape, and lose nothing of them.

They are not here, since each has its model's licence. llama.cpp collects them: unpack the folder
`vendor/llama.cpp/models/templates` of llama-cpp-python's source distribution, and name it in `CHAT_TEMPLATES`. What
they need of us is tested by itself in `test_sandbox`, `test_dialect` and `test_hidden_names`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llm_core.chat.template import ChatTemplate
from llm_core.engine.llama.model import Model
from llm_core.messages import parse_messages
from llm_core.tool_spec import ToolSpec
from tests.chat.test_dialect import call, message
from tests.chat.test_template import text_of

FOLDER = Path(os.environ.get("CHAT_TEMPLATES", "."))
FILES = sorted(FOLDER.glob("*.jinja"))

SYSTEM, USER, REPLY = message("system", "Aye"), message("user", "Bee"), message("assistant", "Cee")
LATER, LAST, ASKED = message("system", "Dee"), message("user", "Eff"), message("assistant", tool_calls=[call("a")])
BOTH, RESULT = message("assistant", tool_calls=[call("a"), call("b")]), message("tool", "Sun", tool_call_id="a")
RAIN = message("tool", "Rain", tool_call_id="b")
SHAPES = {
    "a question": [USER],
    "a conversation": [SYSTEM, USER, REPLY, LAST],
    "a later system message": [SYSTEM, USER, REPLY, LATER, LAST],
    "a system message at the end": [SYSTEM, USER, LATER],
    "two users in a row": [SYSTEM, USER, LAST],
    "two replies in a row": [USER, REPLY, message("assistant", "Gee"), LAST],
    "a reply first": [REPLY, LAST],
    "a result": [USER, ASKED, RESULT],
    "a result and more": [SYSTEM, USER, ASKED, RESULT, REPLY, LAST],
    "a user after a result": [USER, ASKED, RESULT, LAST],
    "two calls": [USER, BOTH, RESULT, RAIN, REPLY, LAST],
    "a reply that was begun": [SYSTEM, USER, REPLY],
    "a reply that was begun after a result": [USER, ASKED, RESULT, REPLY],
    **{
        f"arguments {written!r}": [USER, message("assistant", tool_calls=[call("a", written)]), RESULT]
        for written in ("", "null", "{", "[1]", '"x"', "3", '{"city": "Ro')
    },
}
TOOL = ToolSpec(
    name="weather",
    description="The weather of a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name", "enum": ["Rome", "Oslo"]},
            "days": {"type": "array", "items": {"type": "integer"}},
            "name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["city"],
    },
)


@pytest.mark.skipif(not FILES, reason="CHAT_TEMPLATES names no folder of templates (*.jinja)")
@pytest.mark.parametrize("with_tools", [False, True], ids=["no tools", "tools"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_all_that_is_said_arrives(file: Path, shape: str, with_tools: bool, vocabulary: Model) -> None:
    messages: list[dict[str, Any]] = SHAPES[shape]
    template = ChatTemplate(file.read_text(), vocabulary)
    tokens = template.render(parse_messages(messages), tools=[TOOL] if with_tools else []).tokens
    prompt = text_of(tokens, vocabulary)

    assert [each["content"] for each in messages if each["content"] not in prompt] == []
    assert not with_tools or TOOL.description in prompt
    assert not shape.startswith("a reply that was begun") or prompt.endswith(REPLY["content"])
