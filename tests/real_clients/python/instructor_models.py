"""instructor: replies as objects of a class. It has tools only as a way to those."""

import asyncio

import instructor
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
    check_refused,
    run,
)
from instructor.core import InstructorRetryException
from pydantic import BaseModel

said = [{"role": "user", "content": QUESTION}]
asked = {"model": MODEL, "max_tokens": 100, "max_retries": 0}
plain = openai.OpenAI(base_url=V1, api_key=KEY)
client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
with_tools = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)


def parts_of(kind, said, tokens):
    """Objects that grow; only the client for event loops has them one by one."""
    awaited = openai.AsyncOpenAI(base_url=V1, api_key=KEY)
    streaming = instructor.from_openai(awaited, mode=instructor.Mode.JSON_SCHEMA)
    return streaming.create_partial(kind, said, **asked | {"max_tokens": tokens})


async def streamed():
    parts = [part async for part in parts_of(Trip, said, REPLY_TOKENS)]
    assert len(parts) > 1
    assert parts[-1].city in ("Oslo", "Rome")


def tools():
    assert isinstance(with_tools.create(Trip, said, **asked), Trip)


def structured():
    assert isinstance(client.create(Trip, said, **asked), Trip)


def error():
    long = [{"role": "user", "content": TOO_LONG}]
    check_refused(lambda: client.create(Trip, long, **asked), InstructorRetryException, openai.BadRequestError)


def cancel():
    class Story(BaseModel):
        """A story"""

        text: str

    async def leave():
        parts = parts_of(Story, [{"role": "user", "content": STORY}], STORY_TOKENS)
        async for part in parts:
            if part.text:
                break
        await parts.aclose()

    check_leaving(lambda: asyncio.run(leave()))


run(streamed, tools, structured, error, cancel)
