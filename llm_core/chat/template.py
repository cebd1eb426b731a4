"""From messages to the tokens of a prompt, by the template in the model's file.

Rendering is in `sandbox`, and what keeps users' text from becoming control tokens in `escape`. Here is what lies
between: fitting messages to what the template understands, BOS, and what of the prompt is the operator's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from llm_core.chat.escape import SpecialTexts
from llm_core.chat.formats import reasoning_format
from llm_core.chat.sandbox import SandboxedTemplate
from llm_core.chat.tokenizer import Tokenizer
from llm_core.chat.tool_formats import HERMES, tool_format
from llm_core.chat.tool_prompt import in_words
from llm_core.errors import InvalidRequest
from llm_core.messages import Message, ToolCall
from llm_core.tool_spec import ToolSpec

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For files without a template: the most common format. A model trained on another one answers worse, but does."""

# The names that templates give to the switch: Qwen, GLM, Gemma and most say the first, DeepSeek and Granite the second.
_THINKING_SWITCHES = frozenset({"enable_thinking", "thinking"})

_SYSTEM_NEEDLE, _USER_NEEDLE = "needle of the system", "needle of the user"
_NOBODYS_TEXT = "\ufdd3"  # a noncharacter: no template knows it, and no user's text begins like it


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as the model gets it.

    Attributes:
        tokens: Token ids.
        shared_tokens: How many of the first ones are the operator's system prompt and the template's own text, the
            same for everyone who talks under that prompt.
        starts_in_reasoning: The prompt ends with the opener of a reasoning block.
    """

    tokens: tuple[int, ...]
    shared_tokens: int
    starts_in_reasoning: bool


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What a template understands.

    Attributes:
        typed_content: Contents are lists of `{"type": "text", "text": ...}`, not texts.
        folds_system: There is no system role, so the system's text goes before the first user message's.
    """

    typed_content: bool
    folds_system: bool


_DIALECTS = tuple(_Dialect(typed, folds) for typed in (False, True) for folds in (False, True))


class ChatTemplate:
    """One model's template.

    Args:
        source: Jinja source; `CHATML` where the model's file has none.
        tokenizer: The model's vocabulary.

    Attributes:
        reasoning: How the model marks its thinking.
        tool_format: How the model writes calls of tools.

    Raises:
        ModelError: The source does not compile, or does what the sandbox forbids.
    """

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        self.reasoning = reasoning_format(source)
        self._template = SandboxedTemplate(source)
        self._knows_tools = "tools" in self._template.variables
        self.tool_format = tool_format(source) if self._knows_tools else HERMES
        self._special = SpecialTexts(tokenizer, template_source=source, reasoning=self.reasoning)
        self._tokenizer = tokenizer
        # BOS by itself, since `add_special` on the whole prompt would put EOS behind it in some vocabularies.
        bos = tokenizer.tokenize("", add_special=True, parse_special=False) if tokenizer.add_bos else []
        self._bos = tuple(bos[:1])
        self._dialect = next((each for each in _DIALECTS if self._understands(each)), _DIALECTS[0])

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the template knows how to switch thinking on and off."""
        return bool(self._template.variables & _THINKING_SWITCHES)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool | None = None,
        shared_system: Collection[str] = (),
    ) -> Prompt:
        """The prompt that asks for the next reply.

        Args:
            messages: The conversation, at least one message.
            tools: What the model is told that it may call.
            thinking: Switches thinking, where the template can; None leaves it to the template.
            shared_system: System prompts of the operator's own.

        Raises:
            InvalidRequest: The template refuses the conversation; the message has its words.
            ModelError: The template does what the sandbox forbids.
        """
        text = self._text(messages, self._dialect, thinking, tools)
        tokens = self._tokens(text)
        return Prompt(
            tokens=tokens,
            shared_tokens=self._count_shared(tokens, messages[0], thinking, shared_system),
            starts_in_reasoning=text.rstrip().endswith(self.reasoning.opener),
        )

    def _count_shared(
        self, tokens: tuple[int, ...], first: Message, thinking: bool | None, shared_system: Collection[str]
    ) -> int:
        """Tokens that the prompt has in common with one under the same system prompt where nothing has been said yet.

        Such a prompt needs a user message, since many templates want one; its text is one that nobody writes, and
        counting ends before it.
        """
        if first.role != "system" or first.content not in shared_system:
            return 0
        try:
            text = self._text([first, Message(role="user", content=_NOBODYS_TEXT)], self._dialect, thinking)
        except InvalidRequest:
            return 0
        before, found, _ = text.partition(_NOBODYS_TEXT)
        return _common_length(tokens, self._tokens(before)) if found else 0

    def _text(
        self,
        messages: Sequence[Message],
        dialect: _Dialect,
        thinking: bool | None,
        tools: Sequence[ToolSpec] = (),
    ) -> str:
        names = {call.id: call.name for message in messages for call in message.tool_calls or ()}
        if not self._knows_tools:
            messages = in_words(messages, tools)
        if dialect.folds_system:
            messages = _fold_system(messages)
        shown_tools = [self._hidden(tool.as_openai()) for tool in tools] if self._knows_tools else []
        variables: dict[str, Any] = {
            "messages": [self._as_dict(message, dialect, names) for message in messages],
            "add_generation_prompt": True,
            "bos_token": self._tokenizer.bos_text,
            "eos_token": self._tokenizer.eos_text,
            "tools": shown_tools or None,  # Hugging Face always passes these two; templates ask whether they are none
            "documents": None,
        }
        if thinking is not None:
            variables |= dict.fromkeys(self._template.variables & _THINKING_SWITCHES, thinking)
        return self._template.render(variables)

    def _as_dict(self, message: Message, dialect: _Dialect, names: Mapping[str, str]) -> dict[str, Any]:
        content = self._special.hide(message.content, is_reply=message.role == "assistant")
        shown: dict[str, Any] = {
            "role": message.role,
            "content": [{"type": "text", "text": content}] if dialect.typed_content else content,
        }
        if message.reasoning is not None:
            shown["reasoning_content"] = self._special.hide(message.reasoning)
        if message.tool_calls:
            shown["tool_calls"] = [self._call_as_dict(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            shown["tool_call_id"] = self._call_id(message.tool_call_id)
            shown["name"] = self._special.hide(names[message.tool_call_id])
        return shown

    def _call_as_dict(self, call: ToolCall) -> dict[str, Any]:
        """A call as Hugging Face's templates expect it."""
        function = {"name": self._special.hide(call.name), "arguments": self._arguments(call)}
        return {"id": self._call_id(call.id), "type": "function", "function": function}

    def _arguments(self, call: ToolCall) -> Any:
        """A call's arguments as values, not JSON; as text where they are not whole, or nothing that can be written."""
        try:
            arguments = self._hidden(json.loads(call.arguments))
            json.dumps(arguments, ensure_ascii=False).encode()  # "\ud800" is JSON, and its value has no UTF-8 form
        except (ValueError, RecursionError):
            return self._special.hide(call.arguments)
        return arguments

    def _call_id(self, given: str) -> str:
        """An id in the form that the template wants; the same for the same."""
        length = self.tool_format.id_chars
        return hashlib.sha256(given.encode()).hexdigest()[:length] if length else self._special.hide(given)

    def _hidden(self, value: Any) -> Any:
        """A JSON value with all its texts hidden."""
        if isinstance(value, str):
            return self._special.hide(value)
        if isinstance(value, dict):
            return {self._special.hide(key): self._hidden(each) for key, each in value.items()}
        return [self._hidden(each) for each in value] if isinstance(value, list) else value

    def _tokens(self, text: str) -> tuple[int, ...]:
        tokens = tuple(self._special.tokens(text))
        return tokens if tokens[:1] == self._bos else self._bos + tokens

    def _understands(self, dialect: _Dialect) -> bool:
        """Whether what is said in this way arrives in the prompt."""
        system = Message(role="system", content=_SYSTEM_NEEDLE)
        user = Message(role="user", content=_USER_NEEDLE)
        try:
            text = self._text([system, user], dialect, None)
        except InvalidRequest:
            return False
        return _SYSTEM_NEEDLE in text and _USER_NEEDLE in text


def _fold_system(messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation with its leading system messages put before the text of the first user message."""
    system = list(takewhile(lambda message: message.role == "system", messages))
    if not system:
        return messages
    rest = list(messages[len(system) :])
    asked = rest.pop(0).content if rest and rest[0].role == "user" else None
    said = [message.content for message in system] + ([] if asked is None else [asked])
    return [Message(role="user", content="\n\n".join(said)), *rest]


def _common_length(one: Iterable[int], other: Iterable[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
