"""llm: a model of extra-openai-models.yaml."""

import gc
import os
import tempfile
from pathlib import Path

from harness import (
    KEY,
    MODEL,
    QUESTION,
    REPLY_TOKENS,
    SHOTS,
    STORY,
    STORY_TOKENS,
    TOO_LONG,
    V1,
    Trip,
    check_leaving,
    check_pieces,
    check_refused,
    run,
)

folder = tempfile.mkdtemp()
os.environ["LLM_USER_PATH"] = folder  # before it is imported
Path(folder, "extra-openai-models.yaml").write_text(f"""
- model_id: local
  model_name: {MODEL}
  api_base: {V1}
  supports_tools: true
  supports_schema: true
""")

import llm  # noqa: E402
from llm.parts import ToolCallPart, ToolResultPart  # noqa: E402

model = llm.get_model("local")
model.key = KEY


def get_weather(city: str) -> str:
    """The weather in a city, now"""
    return f"12 degrees and sunny in {city}"


def streamed():
    check_pieces(list(model.prompt(QUESTION, max_tokens=REPLY_TOKENS)))


def tools():
    said = []
    for number, (city, weather) in enumerate(SHOTS):
        call = {"name": "get_weather", "tool_call_id": f"call_{number}"}
        said += [
            llm.user(f"What is the weather in {city}?"),
            llm.assistant(ToolCallPart(arguments={"city": city}, **call)),
            llm.tool_message(ToolResultPart(output=weather, **call)),
            llm.assistant(f"In {city}: {weather}."),
        ]
    said.append(llm.user("What is the weather in Rome?"))
    first = model.prompt(messages=said, tools=[get_weather], max_tokens=100)
    (call,) = first.tool_calls()
    second = first.reply(tool_results=first.execute_tool_calls(), max_tokens=50)
    assert call.arguments == {"city": "Rome"}
    assert second.text()


def structured():
    assert Trip.model_validate_json(model.prompt(QUESTION, schema=Trip, max_tokens=REPLY_TOKENS).text())


def error():
    check_refused(lambda: model.prompt(TOO_LONG).text(), Exception)


def cancel():
    def leave():
        for _ in model.prompt(STORY, max_tokens=STORY_TOKENS):
            break
        gc.collect()

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
