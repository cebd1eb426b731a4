"""How one model talks: its template, its markers, and how a request becomes a prompt and a parser for the reply."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llm_core.chat.fit import fit
from llm_core.chat.parser import ReplyParser
from llm_core.chat.reply_syntax import ReplySyntax
from llm_core.chat.template import CHATML, ChatTemplate, Prompt
from llm_core.chat.tokenizer import Tokenizer
from llm_core.conversation import said_now
from llm_core.messages import Message
from llm_core.request import ChatRequest


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A request, ready for the engine.

    Attributes:
        prompt: The token ids.
        parser: For the text that comes back; it serves this one reply.
        dropped: How many of the oldest messages were left out.
        has_moved: They are more than in the prompt before.
        new_tokens: About how many of the prompt's last tokens are said just now, after the last reply.
        visible_tokens: Control tokens that the parser looks for, so that the engine must show them as text.
    """

    prompt: Prompt
    parser: ReplyParser
    dropped: int
    has_moved: bool
    new_tokens: int
    visible_tokens: frozenset[int]


class Chat:
    """One model's way of talking. Safe from any thread.

    Args:
        tokenizer: The model's vocabulary and chat template.
        template: The operator's own in place of that one.

    Attributes:
        syntax: How the model writes its replies.

    Raises:
        ModelError: The model's template cannot be used.
    """

    def __init__(self, tokenizer: Tokenizer, template: str | None = None) -> None:
        source = template or tokenizer.chat_template or CHATML
        self.template = ChatTemplate(source, tokenizer)
        if template:
            self.template.check()
        reasoning, calls = self.template.reasoning, self.template.tool_format
        tokens = _control_tokens(tokenizer, reasoning.tags | calls.tags)
        self._visible = frozenset(token for tag, token in tokens.items() if tag in reasoning.tags)
        self._visible_with_tools = frozenset(tokens.values())
        self.syntax = ReplySyntax(calls, reasoning, thinks=reasoning.opener in source, control_token=tokens.get)

    def count_tokens(self, request: ChatRequest, *, shared_system: Collection[str]) -> int:
        """Tokens of the prompt of a whole conversation, however long.

        Raises:
            InvalidRequest: The template refuses the conversation.
        """
        tools, thinking = request.callable_tools, request.thinking
        prompt = self.template.render(request.messages, tools=tools, thinking=thinking, shared_system=shared_system)
        return len(prompt.tokens)

    def prepare(self, request: ChatRequest, *, limit_tokens: int, shared_system: Collection[str]) -> PreparedChat:
        """The prompt of a request and the parser of its reply.

        Args:
            request: What is asked.
            limit_tokens: Tokens that prompt and reply may have together.
            shared_system: System prompts of the operator's own, which the prefix cache may share between owners.

        Raises:
            ContextOverflow: The conversation does not fit.
            InvalidRequest: The template refuses the conversation.
        """
        tools = request.callable_tools

        def render(messages: Sequence[Message]) -> Prompt:
            return self.template.render(messages, tools=tools, thinking=request.thinking, shared_system=shared_system)

        fitted = fit(
            request.messages,
            render,
            self.template.measure,
            limit_tokens=limit_tokens - 1,  # the reply has at least one
            overflow=request.overflow,
            # Whoever has old turns dropped wants an answer and not one token of it: up to a quarter is the reply's.
            reply_tokens=max(0, min(request.max_tokens, limit_tokens // 4) - 1),
        )
        parser = ReplyParser(
            self.template.reasoning,
            fitted.prompt.starts_in_reasoning,
            self.template.tool_format if tools else None,
            {tool.name for tool in tools},
            goes_on=request.begun is not None,
        )
        visible = self._visible_with_tools if tools else self._visible
        new_tokens = sum(map(self.template.measure, said_now(request.messages)))
        return PreparedChat(fitted.prompt, parser, fitted.dropped, fitted.has_moved, new_tokens, visible)


def _control_tokens(tokenizer: Tokenizer, texts: Collection[str]) -> dict[str, int]:
    """The control tokens among `texts`, by their text."""
    control = [text for text in texts if text in tokenizer.control_texts]
    return {text: tokenizer.tokenize(text, add_special=False, parse_special=True)[0] for text in control}
