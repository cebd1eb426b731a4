"""openai-agents: an agent on chat completions."""

import asyncio

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
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

set_tracing_disabled(True)


def agent(tokens=REPLY_TOKENS, choice=None, **options):
    client = openai.AsyncOpenAI(base_url=V1, api_key=KEY)
    model = OpenAIChatCompletionsModel(MODEL, client)
    if RESPONSES:
        model = OpenAIResponsesModel(MODEL, client)
    settings = ModelSettings(max_tokens=tokens, tool_choice=choice)
    return Agent("mine", model=model, model_settings=settings, **options)


def text_of(event):
    data = getattr(event, "data", None)
    return data.delta if getattr(data, "type", "") == "response.output_text.delta" else ""


async def streamed():
    reply = Runner.run_streamed(agent(), QUESTION)
    check_pieces([text_of(event) async for event in reply.stream_events()])
    if RESPONSES:
        await _take_back()


async def _take_back():
    """A session that is kept as a conversation: what was said last is taken back, and said again."""
    session = OpenAIConversationsSession(openai_client=openai.AsyncOpenAI(base_url=V1, api_key=KEY))
    await Runner.run(agent(), QUESTION, session=session)
    said = await session.get_items()
    assert [(await session.pop_item())["role"] for _ in said] == ["assistant", "user"]
    assert await session.pop_item() is None
    assert (await Runner.run(agent(), QUESTION, session=session)).final_output
    await session.clear_session()


async def tools():
    called = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather in a city, now"""
        called.append(city)
        return "12 degrees and sunny"

    reply = await Runner.run(agent(100, "required", tools=[get_weather]), QUESTION, max_turns=20)
    assert called
    assert reply.final_output


async def structured():
    reply = await Runner.run(agent(output_type=Trip), QUESTION)
    assert isinstance(reply.final_output, Trip)


def error():
    check_refused(lambda: asyncio.run(Runner.run(agent(), TOO_LONG)), openai.BadRequestError)


def cancel():
    async def leave():
        reply = Runner.run_streamed(agent(STORY_TOKENS), STORY)
        async for event in reply.stream_events():
            if text_of(event):
                reply.cancel()
                break

    check_leaving(lambda: asyncio.run(leave()))


run(streamed, tools, structured, error, cancel)
