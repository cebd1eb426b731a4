"""anthropic: messages."""

import json

import anthropic
from harness import (
    DESCRIPTION,
    KEY,
    MODEL,
    PARAMETERS,
    QUESTION,
    REPLY_TOKENS,
    STORY,
    STORY_TOKENS,
    TOO_LONG,
    URL,
    Trip,
    check_leaving,
    check_pieces,
    check_refused,
    run,
)

client = anthropic.Anthropic(base_url=URL, api_key=KEY)
asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": REPLY_TOKENS}
WEATHER = {"name": "get_weather", "description": DESCRIPTION, "input_schema": PARAMETERS}


def streamed():
    with client.messages.stream(**asked) as stream:
        check_pieces(list(stream.text_stream))
    rules = {"type": "text", "text": "Be brief and kind. " * 60, "cache_control": {"type": "ephemeral"}}
    for number in range(2):  # as Claude Code, whose header is another one each time
        header = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.{number}; cch=a{number};"}
        usage = client.messages.create(system=[header, rules], **asked).usage
    assert usage.cache_read_input_tokens > 10 * usage.input_tokens


def tools():
    forced = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}}
    content = client.messages.create(**asked, **forced).content
    (call,) = [block for block in content if block.type == "tool_use"]
    assert call.input["city"] in ("Oslo", "Rome")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "12 degrees and sunny"}
    said = [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    again = asked | {"messages": [*asked["messages"], *said]}
    reply = client.messages.create(tools=[WEATHER], tool_choice={"type": "none"}, **again)
    assert reply.content[0].text
    ours = {"tool_choice": {"type": "tool", "name": "current_time"}, "extra_body": {"run_tools": ["current_time"]}}
    reply = client.messages.create(**asked | {"max_tokens": 120}, **ours)
    assert all(block.type == "text" for block in reply.content), "what the server runs is not the caller's to run"


def structured():
    form = {"format": {"type": "json_schema", "schema": Trip.model_json_schema()}}
    reply = client.messages.create(output_config=form, **asked)
    assert Trip.model_validate(json.loads(reply.content[0].text))


def error():
    long = asked | {"messages": [{"role": "user", "content": TOO_LONG}]}
    check_refused(lambda: client.messages.create(**long), anthropic.BadRequestError)


def cancel():
    story = asked | {"messages": [{"role": "user", "content": STORY}], "max_tokens": STORY_TOKENS}

    def leave():
        with client.messages.stream(**story) as stream:
            next(iter(stream.text_stream))

    check_leaving(leave)


run(streamed, tools, structured, error, cancel)
