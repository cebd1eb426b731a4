"""One request inside the engine: what was asked, how far it is, and what is handed to its caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llm_core.engine.kv.entry import Fetch
from llm_core.engine.kv.slot import Slot
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.sampler import Sampler
from llm_core.engine.text import TextStream
from llm_core.errors import ContextOverflow, InvalidRequest, LLMError
from llm_core.events import CacheMiss, Done, FinishReason, Queued, Timings, TokenLogprob, Usage
from llm_core.lora import AdapterSet
from llm_core.request import SamplingParams

log = logging.getLogger(__name__)

FIRST_DRAFT_RATE = 0.6
"""The share of what is tried that is expected to hold, before there has been a trial."""


class Constraint(Protocol):
    """What a reply is held to. It serves one sequence; the engine's thread alone touches it."""

    @property
    def is_complete(self) -> bool:
        """Nothing may follow."""

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Sets the logits of tokens that must not come next to -inf, in place; shape (vocab_size,)."""

    def accept(self, token: int) -> None:
        """Takes the token that was chosen."""

    def forced(self) -> list[int]:
        """The tokens that must come next, as many as are sure; often none."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What the engine is asked: tokens to go on from.

    Attributes:
        prompt: Token ids.
        shared_tokens: How many of the first of them any owner may share: the operator's own prompt.
        new_tokens: About how many of the last of them are said just now, so that nobody can have computed them.
        max_tokens: The most tokens to generate.
        stop: Texts that end the reply.
        timeout: Seconds from submission.
        visible_tokens: Control tokens that are to be shown as text, for a parser that looks for them.
        constraint: What the reply is held to; it serves this one request.
        session: Whose turn this is, where it is a session's: what is computed is kept on disk, and deleted with it.
        adapters: What it is computed with beside the model.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParams
    max_tokens: int
    timeout: float
    shared_tokens: int = 0
    new_tokens: int = 0
    stop: tuple[str, ...] = ()
    owner: str = ""
    visible_tokens: frozenset[int] = frozenset()
    constraint: Constraint | None = None
    session: str = ""
    adapters: AdapterSet = ()

    def check(self, *, vocab_size: int, context_tokens: int, adapters: Container[str]) -> None:
        """Refuses what can never run.

        Raises:
            ContextOverflow: The prompt can never fit.
            InvalidRequest: A token id is not in the vocabulary, the prompt is empty, or there is no such adapter.
        """
        size, limit = len(self.prompt), context_tokens - 1
        if size > limit:
            raise ContextOverflow(
                f"The prompt has {size} tokens; at most {limit} fit, with room for one of the reply. Shorten it.",
                param="messages",
            )
        last = vocab_size - 1
        if not self.prompt or min(self.prompt) < 0 or max(self.prompt) > last:
            raise InvalidRequest(f"The prompt must be token ids from 0 to {last}, at least one.", param="messages")
        if any(token > last for token in self.sampling.logit_bias):
            raise InvalidRequest(f"logit_bias: token ids go from 0 to {last}.", param="logit_bias")
        if unknown := next((name for name, _ in self.adapters if name not in adapters), None):
            raise InvalidRequest(f"lora: there is no adapter {unknown!r}.", param="lora")


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of text, never empty unless it carries log probabilities.

    Attributes:
        generated: How many tokens the reply has up to here.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    generated: int = 0


EngineEvent = Queued | Piece | Done | LLMError
Sink = Callable[[EngineEvent], None]
"""Takes the events of one request, on the engine's thread: it must not block. `Done` or an error comes last, once."""


@dataclass(eq=False)
class Sequence:
    """A request on its way. Only the engine's thread changes it, but for `cancel_requested`, which anyone may set.

    Attributes:
        stops: Lengths of the prompt at which a checkpoint is taken.
        was_interrupted: The last call for its prompt was.
        draft_tokens, accepted_tokens: Tokens of the reply that were tried before they were known, and how many held.
        draft_rate: The share of them that is expected to hold.
        fetch: Its look at the disk, once it has had one.
    """

    request: GenerationRequest
    sink: Sink
    capacity: int
    cancel_requested: bool = False
    stops: tuple[int, ...] = ()
    was_interrupted: bool = False
    fetch: Fetch | None = None
    slot: Slot | None = None
    sampler: Sampler | None = None
    position: int = -1
    cached_tokens: int = 0
    cache_miss: CacheMiss | None = None
    generated: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    draft_rate: float = FIRST_DRAFT_RATE
    submitted_at: float = field(default_factory=time.monotonic)
    admitted_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float = 0.0

    def __post_init__(self) -> None:
        prompt = self.request.prompt
        self.tokens: Tokens = np.empty(self.capacity, np.int32)
        self.tokens[: len(prompt)] = prompt
        self.length = len(prompt)
        self.text = TextStream(self.request.stop)

    @property
    def owner(self) -> str:
        return self.request.owner

    @property
    def adapters(self) -> AdapterSet:
        return self.request.adapters

    @property
    def running_slot(self) -> Slot:
        """The slot of a sequence that has one, as every running sequence has."""
        assert self.slot is not None
        return self.slot

    @property
    def deadline(self) -> float:
        return self.submitted_at + self.request.timeout

    @property
    def uncomputed(self) -> int:
        """Tokens that are not in the KV memory yet: the rest of the prompt, or the one token sampled last."""
        return self.length - (self.slot.length if self.slot else 0)

    @property
    def uncached_tokens(self) -> int:
        """Tokens of the prompt that nobody had computed when it got its slot."""
        return len(self.request.prompt) - self.cached_tokens

    @property
    def is_prefilling(self) -> bool:
        return self.generated == 0

    @property
    def known(self) -> Tokens:
        return self.tokens[: self.length]

    def append(self, token: int) -> None:
        """Takes the token that was sampled; it is computed with the next batch."""
        self.last_token_at = time.monotonic()
        if self.first_token_at is None:
            self.first_token_at = self.last_token_at
        self.generated += 1
        if self.length < self.capacity:
            self.tokens[self.length] = token
            self.length += 1

    def emit(self, event: EngineEvent) -> None:
        """Gives an event to the caller. A caller whose sink fails is gone: its request is cancelled."""
        try:
            self.sink(event)
        except RuntimeError:  # an event loop that was closed says so with this
            self.cancel_requested = True
        except Exception:
            log.exception("a request's sink failed; the request is cancelled")
            self.cancel_requested = True

    def report_position(self, position: int) -> None:
        if position != self.position:
            self.position = position
            self.emit(Queued(position))

    def done(self, reason: FinishReason) -> Done:
        usage = Usage(
            prompt_tokens=len(self.request.prompt),
            cached_tokens=self.cached_tokens,
            completion_tokens=self.generated,
            cache_miss=self.cache_miss,
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
        )
        return Done(finish_reason=reason, usage=usage, timings=self._timings())

    def _timings(self) -> Timings:
        admitted = self.admitted_at if self.admitted_at is not None else time.monotonic()
        queue_ms = (admitted - self.submitted_at) * 1e3
        if self.first_token_at is None:
            return Timings(queue_ms=queue_ms)
        seconds = self.last_token_at - self.first_token_at
        return Timings(
            queue_ms=queue_ms,
            ttft_ms=(self.first_token_at - self.submitted_at) * 1e3,
            tokens_per_second=(self.generated - 1) / seconds if seconds > 0 else 0.0,
        )
