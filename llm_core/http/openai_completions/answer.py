"""Completions of raw prompts in OpenAI's shapes: whole, or chunk by chunk, which are of one shape."""

from __future__ import annotations

import codecs
import time
import uuid
from collections.abc import Sequence
from typing import Any

from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, TokenLogprob, Usage
from llm_core.http.choices import total
from llm_core.http.openai_chat.completions import FINISH_REASONS, usage_of
from llm_core.http.timeout import check_time

Completion = dict[str, Any]


class Answer:
    """One answer.

    Args:
        echoes: Of each choice the text that comes before it, "" for none.
        n: How many choices each prompt has.
    """

    def __init__(self, model: str, echoes: Sequence[str], n: int) -> None:
        self._head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
        self._head |= {"model": model}
        self._echoes, self._n = echoes, n
        self._logprobs = [_Logprobs(len(echo)) for echo in echoes]
        self._usages: dict[int, Usage] = {}
        self._begun: set[int] = set()

    def whole(self, replies: Sequence[ChatReply]) -> Completion:
        """The whole completion.

        Raises:
            TimedOut: There is nothing of a choice. OpenAI has no finish reason for that.
        """
        choices = []
        for index, reply in enumerate(replies):
            check_time(reply, has_begun=bool(reply.content))
            text = self._echoes[index] + reply.content
            choices.append(self._choice(index, text, reply.logprobs, FINISH_REASONS[reply.finish_reason]))
        usage = total([reply.usage for reply in replies], n=self._n)
        return self._head | {"choices": choices, "usage": usage_of(usage)}

    def begin(self, *, with_usage: bool) -> list[Completion]:
        """What stands before the completions."""
        return [self._chunk(self._choice(at, echo), with_usage) for at, echo in enumerate(self._echoes) if echo]

    def chunks(self, index: int, event: ChatEvent, *, with_usage: bool) -> list[Completion]:
        """The chunks of one event of a choice; none for what OpenAI has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a completion that never began.
        """
        match event:
            case ContentDelta(text=text, logprobs=logprobs):
                self._begun.add(index)
                return [self._chunk(self._choice(index, text, logprobs), with_usage)]
            case Done():
                check_time(event, has_begun=index in self._begun)
                self._usages[index] = event.usage
                last = self._choice(index, "", finish_reason=FINISH_REASONS[event.finish_reason])
                return [self._chunk(last, with_usage), *(self._totals() if with_usage else [])]
        return []

    def _totals(self) -> list[Completion]:
        """The usage, once the last choice has ended."""
        if len(self._usages) < len(self._echoes):
            return []
        usages = [self._usages[index] for index in range(len(self._echoes))]
        return [self._head | {"choices": [], "usage": usage_of(total(usages, n=self._n))}]

    def _chunk(self, choice: dict[str, Any], with_usage: bool) -> Completion:
        # OpenAI: with include_usage every chunk has the field, and it is null in all but the last.
        return self._head | {"choices": [choice]} | ({"usage": None} if with_usage else {})

    def _choice(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob] = (), finish_reason: str | None = None
    ) -> dict[str, Any]:
        told = self._logprobs[index].told(logprobs) if logprobs else None
        return {"index": index, "text": text, "logprobs": told, "finish_reason": finish_reason}


class _Logprobs:
    """Those of one choice, in OpenAI's old form: lists side by side.

    Args:
        at: Where its first token begins in its text, in characters.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def told(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        offsets = []
        for each in logprobs:
            offsets.append(self._at)
            self._at += len(self._decoder.decode(each.data))  # a part of a character counts where its end is
        return {
            "tokens": [each.token for each in logprobs],
            "token_logprobs": [each.logprob for each in logprobs],
            "top_logprobs": [{text: other for text, _, other in each.top} for each in logprobs],
            "text_offset": offsets,
        }
