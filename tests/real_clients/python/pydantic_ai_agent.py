"""pydantic-ai: an agent on OpenAI's chat completions."""

import asyncio

from harness import (
    KEY,
    MODEL,
    QUESTION,
    REPLY_TOKENS,
    RESPONSES,
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
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=V1, api_key=KEY)
model = OpenAIChatModel(MODEL, provider=provider)
if RESPONSES:
    model = OpenAIResponsesModel(MODEL, provider=provider)
short = {"max_tokens": REPLY_TOKENS}


async def streamed():
    async with Agent(model).run_stream(QUESTION, model_settings=short) as reply:
        check_pieces([piece async for piece in reply.stream_text(delta=True, debounce_by=None)])


def tools():
    called = []
    # The small model would call again and again, or never: the first step must, the second must not.
    agent = Agent(model, model_settings=lambda context: {"tool_choice": "none" if called else "required"})

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city, now"""
        called.append(city)
        return "12 degrees and sunny"

    assert agent.run_sync(QUESTION, model_settings={"max_tokens": 100}).output
    assert len(called) == 1


def structured():
    agent = Agent(model, output_type=NativeOutput(Trip))
    assert isinstance(agent.run_sync(QUESTION, model_settings=short).output, Trip)


def error():
    check_refused(lambda: Agent(model).run_sync(TOO_LONG), ModelHTTPError)


def cancel():
    async def leave():
        async with Agent(model).run_stream(STORY, model_settings={"max_tokens": STORY_TOKENS}) as reply:
            async for _ in reply.stream_text(delta=True, debounce_by=None):
                break
            await reply.cancel()

    check_leaving(lambda: asyncio.run(leave()))


run(streamed, tools, structured, error, cancel)
