"""ollama: chat."""

import ollama
from harness import (
    MODEL,
    QUESTION,
    REPLY_TOKENS,
    SHOTS,
    STORY,
    STORY_TOKENS,
    TOO_LONG,
    URL,
    WEATHER,
    Trip,
    check_leaving,
    check_pieces,
    check_refused,
    run,
)

client = ollama.Client(host=URL)
asked = {"messages": [{"role": "user", "content": QUESTION}], "options": {"num_predict": REPLY_TOKENS}}


def streamed():
    parts = client.chat(MODEL, stream=True, **asked)
    check_pieces([part.message.content or "" for part in parts])


def tools():
    said = []
    for city, weather in SHOTS:
        call = {"function": {"name": "get_weather", "arguments": {"city": city}}}
        said += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_name": "get_weather", "content": weather},
            {"role": "assistant", "content": f"In {city}: {weather}."},
        ]
    said.append({"role": "user", "content": "What is the weather in Rome?"})
    message = client.chat(MODEL, messages=said, tools=[WEATHER], options={"num_predict": 100}).message
    (call,) = message.tool_calls
    assert call.function.arguments["city"] in ("Oslo", "Rome")
    result = {"role": "tool", "tool_name": "get_weather", "content": "12 degrees and sunny"}
    assert client.chat(MODEL, messages=[*said, message, result], options={"num_predict": 50}).message.content


def structured():
    reply = client.chat(MODEL, format=Trip.model_json_schema(), **asked)
    assert Trip.model_validate_json(reply.message.content)


def error():
    long = [{"role": "user", "content": TOO_LONG}]
    check_refused(lambda: client.chat(MODEL, messages=long), ollama.ResponseError)


def cancel():
    story = [{"role": "user", "content": STORY}]

    def leave():
        stream = client.chat(MODEL, messages=story, stream=True, options={"num_predict": STORY_TOKENS})
        next(stream)
        stream.close()

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
