"""langchain-openai: ChatOpenAI."""

import openai
from harness import (
    KEY,
    MODEL,
    QUESTION,
    REPLY_TOKENS,
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
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(base_url=V1, api_key=KEY, model=MODEL)
chat.max_tokens = REPLY_TOKENS


@tool
def get_weather(city: str) -> str:
    """The weather in a city, now"""
    return f"12 degrees and sunny in {city}"


def streamed():
    check_pieces([chunk.text for chunk in chat.stream(QUESTION)])


def tools():
    said = [HumanMessage(QUESTION)]
    message = chat.bind_tools([get_weather], tool_choice="get_weather").invoke(said)
    (call,) = message.tool_calls
    result = get_weather.invoke(call)
    assert chat.invoke([*said, message, result]).text


def structured():
    assert isinstance(chat.with_structured_output(Trip).invoke(QUESTION), Trip)


def error():
    check_refused(lambda: chat.invoke(TOO_LONG), openai.BadRequestError)


def cancel():
    def leave():
        stream = chat.stream(STORY, max_tokens=STORY_TOKENS)
        for chunk in stream:
            if chunk.text:
                break
        stream.close()

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
