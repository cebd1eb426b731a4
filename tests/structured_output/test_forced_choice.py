"""The bundled model, asked for calls: whatever it makes of them, they have the form that was asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_core.chat.formats import DEFAULT_REASONING
from llm_core.chat.reply_syntax import ReplySyntax
from llm_core.chat.tool_formats import HERMES
from llm_core.engine.engine import Engine
from llm_core.engine.llama.model import Model
from llm_core.request import SamplingParams, build_request
from llm_core.structured_output.constraint import ConstraintCompiler
from llm_core.structured_output.grammar import reply_grammar
from tests.engine.conftest import OPTIONS, Call, ask
from tests.structured_output.schemas import bounded_objects

HEAD, END = '<tool_call>\n{"name": "', "}\n</tool_call>"
SYNTAX = ReplySyntax(HERMES, DEFAULT_REASONING, thinks=False, control_token=lambda _text: None)


class Caller:
    """Asks the model for calls of tools, in the form that its grammar has."""

    def __init__(self, model: Model) -> None:
        self.engine = Engine(model, OPTIONS)
        self.compiler = ConstraintCompiler(model)

    def ask(self, schemas: dict[str, dict[str, Any]], *, choice: Any, seed: int, tokens: int = 600) -> Call:
        tools = [{"name": name, "parameters": schema} for name, schema in schemas.items()]
        request = build_request(
            [{"role": "user", "content": "Hi"}],
            max_tokens=tokens,
            timeout=60,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=False,
        )
        grammar = reply_grammar(request, SYNTAX, starts_in_reasoning=False)
        assert grammar is not None
        return ask(
            self.engine,
            f"Call one of {', '.join(schemas)}. You may make up what you do not know.",
            constraint=grammar.compile(self.compiler),
            sampling=SamplingParams(temperature=1.0, seed=seed),
            max_tokens=tokens,
        )

    def close(self) -> None:
        self.engine.close()
        self.compiler.close()


@pytest.fixture(scope="module")
def caller(model: Model) -> Iterator[Caller]:
    caller = Caller(model)
    yield caller
    caller.close()


def read(call: Call) -> tuple[str, Any]:
    """Name and arguments of the call that a whole reply is."""
    text = call.finish().text
    assert call.done.finish_reason == "stop"
    assert text.startswith(HEAD)
    assert text.endswith(END)
    name, _, arguments = text.removeprefix(HEAD).removesuffix(END).partition('", "arguments": ')
    return name, json.loads(arguments)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=bounded_objects(), seed=st.integers(0, 2**31))
def test_a_forced_call_has_valid_arguments(caller: Caller, schema: dict[str, Any], seed: int) -> None:
    choice = {"type": "function", "function": {"name": "wanted"}}
    name, arguments = read(caller.ask({"other": {"type": "object"}, "wanted": schema}, choice=choice, seed=seed))

    assert name == "wanted"
    jsonschema.validate(arguments, schema)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas=st.lists(bounded_objects(), min_size=3, max_size=3), seed=st.integers(0, 2**31))
def test_required_calls_side_by_side_each_fit_their_own_tools(
    caller: Caller, schemas: list[dict[str, Any]], seed: int
) -> None:
    tools = [{f"first_{number}": schema, f"second_{number}": schema} for number, schema in enumerate(schemas)]
    calls = [caller.ask(each, choice="required", seed=seed) for each in tools]

    for call, each in zip(calls, tools, strict=True):
        name, arguments = read(call)
        jsonschema.validate(arguments, each[name])


def test_arguments_cut_by_max_tokens_are_the_beginning_of_valid_ones(caller: Caller) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "minLength": 400}}, "required": ["city"]}
    call = caller.ask({"go": schema}, choice="required", seed=1, tokens=40).finish()

    assert call.done.finish_reason == "length"
    assert call.text.startswith(f'{HEAD}go", "arguments": {{"city": "')


def test_compiling_does_not_hold_up_a_running_stream(caller: Caller) -> None:
    """Schemas near the limits are compiled on callers' threads, again and again, while a reply is made."""
    large = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(400)}}
    free = ask(caller.engine, "Count from 1 to 100, with a comma between the numbers.", max_tokens=60)
    threads = [
        threading.Thread(target=lambda: caller.ask({"large": large}, choice="required", seed=2, tokens=2).finish())
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()

    assert free.finish().done.finish_reason in ("length", "stop")
    assert "1, 2, 3, 4" in free.text
    for thread in threads:
        thread.join()
