"""A conversation that goes on after it has outgrown its context: how much of it is read again for each turn.

Our app keeps the conversation and leaves out its oldest turns. Of llama-server's it is the client that does: here one
that counts tokens exactly and leaves out the fewest turns that make room for the reply.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from bench.lab import Findings, Lab
from bench.measure import Reply, median, timed, to_llama_server
from bench.servers import Server
from bench.systems import APP, LLAMA_SERVER, AppSessions, Messages, OpenAIServer, Piece
from bench.workload import SYSTEM_PROMPT, long_text
from llm_core.chat.template import CHATML, ChatTemplate
from llm_core.messages import Message

_REPLY_TOKENS = 24
_SYSTEM = {"role": "system", "content": SYSTEM_PROMPT}
_QUESTION = "{text}\n\nThis was note {number}. What could come after it? Answer in several long paragraphs."
# What a client's count may be off by: a BOS, a newline of the template.
_MARGIN_TOKENS = 4

Say = Callable[[Messages], AsyncGenerator[Piece]]
"""Asks for the reply to a conversation, whose last message is new."""


@dataclass
class Grown:
    """A conversation, and its replies since it has outgrown its context."""

    messages: list[dict[str, str]] = field(default_factory=lambda: [_SYSTEM])
    replies: list[Reply] = field(default_factory=list)


async def run(lab: Lab) -> Findings:
    """Prompt tokens that no cache had, for each turn, and how much of the conversation the model still saw."""
    figures: dict[str, float] = {}
    raw = {}
    context = lab.sizes.overflow_context
    async with lab.app_process("app-overflow", context_tokens=context) as server:
        sessions = AppSessions(server.url)
        name = f"overflow-{server.pid}"
        grown = await _converse(lab, APP, lambda said: sessions.stream(name, said[-1]["content"], _REPLY_TOKENS))
        await sessions.close()
    figures |= _figures(APP, grown)
    raw[APP] = [reply.tokens_read for reply in grown.replies]
    if lab.made is None:
        return Findings(figures, raw=raw, skipped="llama-server is measured with --peers.")
    async with lab.llama_server_process("llama-server-overflow", context_tokens=context) as server:
        grown = await _through_client(lab, server)
    figures |= _figures(LLAMA_SERVER, grown)
    raw[LLAMA_SERVER] = [reply.tokens_read for reply in grown.replies]
    return Findings(figures | to_llama_server(figures, "read", "first_token"), raw=raw)


async def _through_client(lab: Lab, server: Server) -> Grown:
    """The same conversation with a server that keeps none."""
    system = OpenAIServer(LLAMA_SERVER, server.url)
    grown = await _converse(lab, LLAMA_SERVER, lambda said: system.stream(fitting(lab, said)[0], _REPLY_TOKENS))
    await system.close()
    return grown


async def _converse(lab: Lab, name: str, say: Say) -> Grown:
    grown, number, left = Grown(), 0, lab.sizes.overflow_turns
    while left > 0:
        number += 1
        text = long_text(lab.vocabulary, lab.sizes.overflow_turn_tokens, series=f"overflow {number}")
        grown.messages.append({"role": "user", "content": _QUESTION.format(text=text, number=number)})
        outgrown = fitting(lab, grown.messages)[1] > 0
        lab.say(f"overflow: {name}, turn {number}{', outgrown' if outgrown else ''}")
        reply = await timed(say(grown.messages))
        grown.messages.append({"role": "assistant", "content": reply.text})
        if outgrown:
            grown.replies.append(reply)
            left -= 1
    return grown


def fitting(lab: Lab, messages: Messages) -> tuple[Messages, int]:
    """As much of a conversation as leaves room for the reply, its system message kept, and how many messages that
    leaves out. This is a client's doing: it must not change with how our app fits a conversation.
    """
    template = ChatTemplate(lab.vocabulary.chat_template or CHATML, lab.vocabulary)
    limit = lab.sizes.overflow_context - _REPLY_TOKENS - _MARGIN_TOKENS
    system, *said = map(Message.model_validate, messages)
    dropped = 0
    while len(template.render([system, *said[dropped:]]).tokens) > limit and dropped < len(said) - 1:
        dropped += 2
    return [messages[0], *messages[1 + dropped :]], dropped


def _figures(name: str, grown: Grown) -> dict[str, float]:
    replies = grown.replies
    return {
        f"{name}.read": sum(reply.tokens_read for reply in replies) / len(replies),
        f"{name}.seen": sum(reply.usage.prompt_tokens for reply in replies if reply.usage) / len(replies),
        f"{name}.first_token": median([reply.first_token for reply in replies]),
    }
