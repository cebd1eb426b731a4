"""litellm: completion."""

import json

import litellm
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

said = [{"role": "user", "content": QUESTION}]
local = {"model": f"openai/{MODEL}", "api_base": V1, "api_key": KEY}
asked = local | {"max_tokens": REPLY_TOKENS}


def streamed():
    chunks = litellm.completion(messages=said, stream=True, **asked)
    check_pieces([chunk.choices[0].delta.content or "" for chunk in chunks])


def tools():
    message = litellm.completion(messages=said, tools=[WEATHER], tool_choice=FORCED, **asked).choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    result = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees and sunny"}
    reply = litellm.completion(messages=[*said, message, result], tools=[WEATHER], tool_choice="none", **asked)
    assert reply.choices[0].message.content


def structured():
    reply = litellm.completion(messages=said, response_format=Trip, **asked)
    assert Trip.model_validate_json(reply.choices[0].message.content)


def error():
    long = [{"role": "user", "content": TOO_LONG}]
    check_refused(lambda: litellm.completion(messages=long, **asked), litellm.ContextWindowExceededError)


def cancel():
    story = [{"role": "user", "content": STORY}]

    def leave():
        stream = litellm.completion(messages=story, stream=True, **asked | {"max_tokens": STORY_TOKENS})
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
