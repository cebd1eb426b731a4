"""openai: chat completions."""

import json

import openai
from harness import (
    FORCED,
    KEY,
    MODEL,
    QUESTION,
    REPLY_TOKENS,
    STORY,
    STORY_TOKENS,
    TOO_LONG,
    V1,
    WEATHER,
    Trip,
    check_leaving,
    check_pieces,
    check_refused,
    run,
)

client = openai.OpenAI(base_url=V1, api_key=KEY)
asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": REPLY_TOKENS}


def streamed():
    chunks = client.chat.completions.create(stream=True, **asked)
    check_pieces([chunk.choices[0].delta.content or "" for chunk in chunks])


def tools():
    message = client.chat.completions.create(tools=[WEATHER], tool_choice=FORCED, **asked).choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    result = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees and sunny"}
    again = asked | {"messages": [*asked["messages"], message, result]}
    assert client.chat.completions.create(tools=[WEATHER], tool_choice="none", **again).choices[0].message.content


def structured():
    reply = client.chat.completions.parse(response_format=Trip, **asked)
    assert isinstance(reply.choices[0].message.parsed, Trip)


def error():
    long = asked | {"messages": [{"role": "user", "content": TOO_LONG}]}
    check_refused(lambda: client.chat.completions.create(**long), openai.BadRequestError)


def cancel():
    story = asked | {"messages": [{"role": "user", "content": STORY}], "max_tokens": STORY_TOKENS}

    def leave():
        with client.chat.completions.create(stream=True, **story) as stream:
            for chunk in stream:
                if chunk.choices[0].delta.content:
                    break

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
