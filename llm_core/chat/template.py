"""From messages to the tokens of a prompt, by the template in the model's file.

Rendering is in `sandbox`, and what keeps users' text from becoming control tokens in `escape`. Here is what lies
between: fitting messages to what the template understands, BOS, and what of the prompt is the operator's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

from llm_core.chat.begun import is_in_thought, with_mark, with_open_thought, with_reply
from llm_core.chat.dialect import FALLBACKS, Dialect, NoTools, SystemPlaces, place_system
from llm_core.chat.escape import SpecialTexts
from llm_core.chat.formats import reasoning_format
from llm_core.chat.sandbox import SandboxedTemplate
from llm_core.chat.tokenizer import Tokenizer
from llm_core.chat.tool_formats import HERMES, tool_format
from llm_core.chat.tool_prompt import in_words
from llm_core.common_prefix import common_prefix
from llm_core.conversation import begun_reply
from llm_core.errors import InvalidRequest, ModelError
from llm_core.messages import FunctionCall, Message, ToolCall
from llm_core.tool_spec import ToolSpec

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For files without a template: the most common format. A model trained on another one answers worse, but does."""

# The names that templates give to the switch: Qwen, GLM, Gemma and most say the first, DeepSeek and Granite the second.
_THINKING_SWITCHES = frozenset({"enable_thinking", "thinking"})

_NO_TOOLS: tuple[NoTools, ...] = ("null", "empty")
_SYSTEM_PLACES: tuple[SystemPlaces, ...] = ("anywhere", "first", "nowhere")
_NOBODYS_TEXT = "\ufdd3"  # a noncharacter: no template knows it, and no user's text begins like it


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as the model gets it.

    Attributes:
        tokens: Token ids.
        shared_tokens: How many of the first ones are the operator's system prompt and the template's own text, the
            same for everyone who talks under that prompt.
        starts_in_reasoning: The prompt ends with the opener of a reasoning block, or in one that was begun.
    """

    tokens: tuple[int, ...]
    shared_tokens: int
    starts_in_reasoning: bool


# What a template is tried with. Of several system messages some templates take the first for all, or the last.
_TRIED = (
    Message(role="system", content="needle of the system"),
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello"),
    Message(role="system", content="needle of a later system"),
    Message(role="user", content="needle of the user"),
)
_TRIED_CALL = ToolCall(
    id="call00001", function=FunctionCall(name="needle", arguments='{"needle of names": "of values"}')
)
_TRIED_CALLS = (
    Message(role="user", content="Hi"),
    Message(role="assistant", content="", tool_calls=(_TRIED_CALL,)),
    Message(role="tool", content="Yes", tool_call_id=_TRIED_CALL.id),
    Message(role="assistant", content="Done"),
    Message(role="user", content="Thanks"),
)
_TRIED_THOUGHT = (
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello", reasoning="needle of thought"),
    Message(role="user", content="Thanks"),
)


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
        self._special = SpecialTexts(
            tokenizer, template_source=source, literals=self._template.literals, reasoning=self.reasoning
        )
        self._tokenizer = tokenizer
        # BOS by itself, since `add_special` on the whole prompt would put EOS behind it in some vocabularies.
        bos = tokenizer.tokenize("", add_special=True, parse_special=False) if tokenizer.add_bos else []
        self._bos = tuple(bos[:1])
        self._dialect = self._find_dialect()
        self._keeps_reasoning = "needle of thought" in self._tried(_TRIED_THOUGHT, self._dialect)
        self._frame_tokens = self._count_frame()

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the template knows how to switch thinking on and off."""
        return bool(self._template.variables & _THINKING_SWITCHES)

    def check(self) -> None:
        """Whether what a user says arrives in a prompt at all.

        Raises:
            ModelError: It does not; the message says why.
        """
        said = next(message for message in _TRIED if message.role == "user" and "needle" in message.content)
        try:
            text = self._text([said], None)
        except InvalidRequest as error:
            raise ModelError(error.message) from None
        if said.content not in text:
            raise ModelError("The model's chat template leaves out what the user says.")

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool | None = None,
        shared_system: Collection[str] = (),
    ) -> Prompt:
        """The prompt that asks for the next reply, or for more of the one that the conversation ends with.

        Args:
            messages: The conversation, at least one message.
            tools: What the model is told that it may call.
            thinking: Switches thinking, where the template can; None leaves it to the template.
            shared_system: System prompts of the operator's own.

        Raises:
            InvalidRequest: The template refuses the conversation; the message has its words.
            ModelError: The template does what the sandbox forbids.
        """
        text, starts_in_reasoning = self._prompt(messages, thinking, tools)
        tokens = self._tokens(text)
        return Prompt(
            tokens=tokens,
            shared_tokens=self._count_shared(tokens, messages[0], thinking, shared_system),
            starts_in_reasoning=starts_in_reasoning,
        )

    def write(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), thinking: bool | None = None
    ) -> str:
        """The prompt as text, without BOS. Text of a message that reads like a control token is told apart no more."""
        text = self._special.shown(self._prompt(messages, thinking, tools)[0])
        return text.removeprefix(self._tokenizer.bos_text) if self._bos else text

    def _prompt(
        self, messages: Sequence[Message], thinking: bool | None, tools: Sequence[ToolSpec]
    ) -> tuple[str, bool]:
        """The rendered prompt, and whether it ends in the model's thinking."""
        if (begun := begun_reply(messages)) is None:
            text = self._text(messages, thinking, tools)
            return text, self._opens_thought(text)
        begun = with_open_thought(begun, self.reasoning)
        return self._begun_text([*messages[:-1], begun], thinking, tools), is_in_thought(begun)

    def _opens_thought(self, text: str) -> bool:
        return text.rstrip().endswith(self.reasoning.opener)

    def _begun_text(self, messages: Sequence[Message], thinking: bool | None, tools: Sequence[ToolSpec]) -> str:
        """The conversation as the template writes it, up to the end of its last reply's text; where the template takes
        no reply there, or leaves something out, the words in which it asks for one, and the text behind them."""
        *before, last = messages
        thought = self._special.hide(last.reasoning or "")
        said = self._special.hide(last.content, is_reply=True)
        try:
            text = self._text([*before, with_mark(last, _NOBODYS_TEXT)], thinking, tools, asks=False)
        except InvalidRequest:
            text = ""
        written, found, _ = text.rpartition(_NOBODYS_TEXT)
        has_system = all(self._special.hide(each.content).strip() in text for each in before if each.role == "system")
        if found and has_system and not (said and self._opens_thought(written.removesuffix(said))):
            return written
        asked = self._text(before or [Message(role="user", content="")], thinking, tools)
        return with_reply(asked, thought, said, self.reasoning)

    def measure(self, message: Message) -> int:
        """About how many tokens a message has in a prompt, once another turn has come after it.

        Nothing else of the conversation counts, so it stays the same while that grows.
        """
        texts = [message.content, *(call.model_dump_json() for call in message.tool_calls or ())]
        if self._keeps_reasoning and message.reasoning:
            texts.append(message.reasoning)
        return self._frame_tokens + sum(map(self._count_plain, texts))

    def _count_plain(self, text: str) -> int:
        return len(self._tokenizer.tokenize(text, add_special=False, parse_special=False))

    def _count_frame(self) -> int:
        """Tokens that the template puts around a message, on average of a user's and a reply's."""
        said = [message.model_copy(update={"reasoning": None}) for message in _TRIED_THOUGHT]
        whole, last = (self._tokens(self._tried(messages, self._dialect)) for messages in (said, said[2:]))
        words = sum(self._count_plain(message.content) for message in said[:2])
        return max(0, len(whole) - len(last) - words + 1) // 2

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
            text = self._text([first, Message(role="user", content=_NOBODYS_TEXT)], thinking)
        except InvalidRequest:
            return 0
        before, found, _ = text.partition(_NOBODYS_TEXT)
        return common_prefix(tokens, self._tokens(before)) if found else 0

    def _text(
        self,
        messages: Sequence[Message],
        thinking: bool | None,
        tools: Sequence[ToolSpec] = (),
        *,
        asks: bool = True,
    ) -> str:
        """The conversation as the template writes it, in another form where it refuses the one that was given.

        Args:
            asks: With the words that ask for a reply.
        """
        if not self._knows_tools:
            messages = in_words(messages, tools)
        placed = place_system(messages, self._dialect.system)
        try:
            return self._rendered(placed, self._dialect, thinking, tools, asks=asks)
        except InvalidRequest:
            for fallback in FALLBACKS:
                if (adapted := fallback(placed)) == placed:
                    continue
                try:
                    return self._rendered(adapted, self._dialect, thinking, tools, asks=asks)
                except InvalidRequest:
                    continue
            raise

    def _rendered(
        self,
        messages: Sequence[Message],
        dialect: Dialect,
        thinking: bool | None = None,
        tools: Sequence[ToolSpec] = (),
        *,
        asks: bool = True,
    ) -> str:
        names = {call.id: call.name for message in messages for call in message.tool_calls or ()}
        shown_tools = [self._special.hide_tool(tool.as_openai()) for tool in tools] if self._knows_tools else []
        now = datetime.now()
        variables: dict[str, Any] = {
            "messages": [self._as_dict(message, dialect, names) for message in messages],
            "add_generation_prompt": asks,
            "bos_token": self._tokenizer.bos_text,
            "eos_token": self._tokenizer.eos_text,
            # Hugging Face always passes these two; templates ask whether they are none.
            "tools": shown_tools or (None if dialect.no_tools == "null" else []),
            "documents": None,
            # llama.cpp's, in the forms that Llama 3 and FireFunction were trained with.
            "date_string": now.strftime("%d %b %Y"),
            "datetime": now.strftime("%b %d %Y"),
            "functions": "",  # tools are told in words to those who ask for them by this name
        }
        if thinking is not None:
            variables |= dict.fromkeys(self._template.variables & _THINKING_SWITCHES, thinking)
        return self._template.render(variables)

    def _as_dict(self, message: Message, dialect: Dialect, names: Mapping[str, str]) -> dict[str, Any]:
        content = self._special.hide(message.content, is_reply=message.role == "assistant")
        shown: dict[str, Any] = {
            "role": message.role,
            "content": [{"type": "text", "text": content}] if dialect.typed_content else content,
        }
        if message.reasoning is not None:
            shown["reasoning_content"] = self._special.hide(message.reasoning)
        if message.tool_calls:
            shown["tool_calls"] = [self._call_as_dict(call, dialect) for call in message.tool_calls]
        if message.tool_call_id is not None:
            shown["tool_call_id"] = self._call_id(message.tool_call_id)
            shown["name"] = self._special.hide(names[message.tool_call_id])
        return shown

    def _call_as_dict(self, call: ToolCall, dialect: Dialect) -> dict[str, Any]:
        """A call as Hugging Face's templates expect it."""
        arguments = call.arguments.strip() or "{}"
        shown = self._special.hide(arguments) if dialect.text_arguments else self._arguments(arguments)
        function = {"name": self._special.hide(call.name), "arguments": shown}
        return {"id": self._call_id(call.id), "type": "function", "function": function}

    def _arguments(self, written: str) -> dict[str, Any]:
        """A call's arguments as an object, whatever the model wrote: templates walk through it."""
        try:
            arguments = json.loads(written)
            json.dumps(arguments, ensure_ascii=False).encode()  # "\ud800" is JSON, and its value has no UTF-8 form
        except (ValueError, RecursionError):
            arguments = written
        if arguments is None:
            return {}
        if not isinstance(arguments, dict):
            return {"arguments": self._special.hide(written)}
        shown: dict[str, Any] = self._special.hide_value(arguments)
        return shown

    def _call_id(self, given: str) -> str:
        """An id in the form that the template wants; the same for the same."""
        length = self.tool_format.id_chars
        return hashlib.sha256(given.encode()).hexdigest()[:length] if length else self._special.hide(given)

    def _tokens(self, text: str) -> tuple[int, ...]:
        tokens = tuple(self._special.tokens(text))
        return tokens if tokens[:1] == self._bos else self._bos + tokens

    def _find_dialect(self) -> Dialect:
        """What arrives in the prompt when it is said so; what templates mostly take is tried first."""
        dialects = (
            Dialect(typed, no_tools, system)
            for typed, no_tools, system in product((False, True), _NO_TOOLS, _SYSTEM_PLACES)
        )
        found = next((each for each in dialects if self._understands(each)), Dialect())
        if not self._knows_tools or self._takes_objects(found):
            return found
        as_text = replace(found, text_arguments=True)
        return as_text if _TRIED_CALL.arguments in self._tried(_TRIED_CALLS, as_text) else found

    def _understands(self, dialect: Dialect) -> bool:
        """Whether what is said in this way arrives in the prompt."""
        text = self._tried(place_system(_TRIED, dialect.system), dialect)
        return all(message.content in text for message in _TRIED if "needle" in message.content)

    def _takes_objects(self, dialect: Dialect) -> bool:
        """Whether a call's arguments arrive, and not in Python's way of writing a dict."""
        arguments = json.loads(_TRIED_CALL.arguments)
        text = self._tried(_TRIED_CALLS, dialect)
        return str(arguments) not in text and all(value in text for value in arguments.values())

    def _tried(self, messages: Sequence[Message], dialect: Dialect) -> str:
        """What the template writes, "" where it refuses."""
        tools = [ToolSpec(name=_TRIED_CALL.name)] if messages is _TRIED_CALLS else []
        try:
            return self._rendered(messages, dialect, tools=tools)
        except InvalidRequest:
            return ""
