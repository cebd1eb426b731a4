"""`CompleteClient`: what programs can do with a model and a raw prompt. Sync and async methods are twins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any, Unpack

from llm_core.chat_client import acollect, collect
from llm_core.events import ChatEvent, ChatReply
from llm_core.options import CompleteOptions

RawPrompt = str | Sequence[int]
"""A text, or token ids."""


class CompleteClient(ABC):
    """The methods. A subclass says how a prompt becomes events.

    No template is applied: the model goes on from the very text, in which names of control tokens such as
    `<|im_start|>` are control tokens, or from token ids. `suffix` is what comes after the text that is wanted, for
    models that can fill in. `max_tokens`, `temperature` and others are as of every request.
    """

    @abstractmethod
    def _completion(self, prompt: RawPrompt, options: Mapping[str, Any]) -> Generator[ChatEvent]:
        """The completion's events; a bad prompt is refused here, not at the first event."""

    @abstractmethod
    def _acompletion(self, prompt: RawPrompt, options: Mapping[str, Any]) -> AsyncGenerator[ChatEvent]:
        """The same for event loops."""

    def complete(self, prompt: RawPrompt, **options: Unpack[CompleteOptions]) -> ChatReply:
        """The whole completion: its text is `content`, without the prompt's.

        Raises:
            InvalidRequest: The prompt or an option is not allowed; the message names it.
        """
        return collect(self._completion(prompt, options))

    async def acomplete(self, prompt: RawPrompt, **options: Unpack[CompleteOptions]) -> ChatReply:
        """`complete` for event loops."""
        return await acollect(self._acompletion(prompt, options))

    def complete_stream(self, prompt: RawPrompt, **options: Unpack[CompleteOptions]) -> Generator[ChatEvent]:
        """The completion's events: `Queued` first, then deltas, `Done` last."""
        return self._completion(prompt, options)

    def acomplete_stream(self, prompt: RawPrompt, **options: Unpack[CompleteOptions]) -> AsyncGenerator[ChatEvent]:
        """`complete_stream` for event loops."""
        return self._acompletion(prompt, options)
