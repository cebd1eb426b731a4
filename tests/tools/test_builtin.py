"""What is offered to anyone."""

from __future__ import annotations

import json

import pytest

from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.tools.python_tool import PythonTool

from .scripted import ScriptedClient, ask, calling, results, saying


@pytest.mark.parametrize("tool", BUILTIN_TOOLS.values(), ids=lambda tool: str(tool.name))
def test_each_tool_and_each_of_its_parameters_is_described(tool: PythonTool) -> None:
    assert tool.description
    assert all(parameter["description"] for parameter in tool.parameters["properties"].values())
    assert len(json.dumps(tool.as_openai())) < 1500, "it is in every prompt"


def test_they_are_run_like_any_function() -> None:
    arguments = '{"expression": "6 * 7"}'
    client = ScriptedClient(calling(("calculate", arguments), ("calculate", '{"expression": "1/0"}')), saying("42."))
    answered, failed = results(ask(client, tools=list(BUILTIN_TOOLS.values())))
    assert answered.content == "42"
    assert failed.content == "Error: ValueError: division by zero"
