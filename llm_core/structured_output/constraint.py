"""Replies held to a grammar, by llguidance: which tokens may come next.

A grammar is compiled on the caller's thread, under limits; the engine's thread only asks a `Constraint` for masks. Its
language is llguidance's Lark; what it says (`grammar`) is not known here.
"""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from llm_core.engine.llama.model import Model
from llm_core.errors import EngineClosed, InvalidRequest, ModelError, SequenceFailed
from llm_core.structured_output.wording import no_panics, reason

log = logging.getLogger(__name__)


# What one grammar may cost. llguidance counts work in "fuel"; the times are of the bundled model's vocabulary on one
# core. 128 tools of 8 parameters take 58 ms to compile. An enum of 10,000 words needs 200,000 of the first fuel, 30 ms.
# Steps take 0.02 to 0.5 ms and less than 5,000 fuel with ordinary schemas; one that uses up its fuel ends the reply,
# after 20 ms at most. A string with `maxLength` makes 18 lexer states a token, so 250,000 are enough for 13,600 tokens;
# they are 100 MB.
def _limits(step_fuel: int) -> LLParserLimits:
    return LLParserLimits(
        initial_lexer_fuel=300_000,
        max_grammar_size=200_000,
        max_items_in_row=10_000,
        step_lexer_fuel=step_fuel,
        step_max_items=50_000,
        max_lexer_states=250_000,
        verbose_errors=False,
    )


_LIMITS = _limits(step_fuel=100_000)

# What is rehearsed is counted in work, so that it is the same on a busy machine: steps, and the fuel that one may need.
_REHEARSED_TOKENS = 32


@dataclass(frozen=True, slots=True)
class _Rehearsal:
    limits: LLParserLimits
    cost: int


_REHEARSALS = (_Rehearsal(_limits(step_fuel=20_000), cost=1), _Rehearsal(_LIMITS, cost=2))
"""1 is 1 to 15 ms, 2 is 13 to 80 ms."""

_KEPT_REHEARSALS = 1_000  # the same patterns come with every request

_CONTROL = b"\xff"  # how llguidance tells a control token's name from text: no UTF-8 has this byte


def complaint(grammar: str) -> str | None:
    """What is wrong with a grammar as such, whatever the vocabulary; None where nothing is. Takes a millisecond."""
    with no_panics(InvalidRequest):
        message = LLMatcher.validate_grammar(grammar, limits=_LIMITS)
    return reason(message) if message else None


class Constraint:
    """What one reply may still say. It serves one sequence; one thread at a time may touch it."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    @property
    def is_complete(self) -> bool:
        """The reply has all that its form asks for, and nothing may follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Sets the logits of what must not come next to -inf, in place. Where the reply may end, the tokens that end it
        are left as they are.

        Args:
            logits: Shape (vocab_size,), float32.

        Raises:
            SequenceFailed: The grammar turned out too costly, or nothing can follow that fits it.
        """
        np.copyto(logits, -np.inf, where=self.forbidden())

    def forbidden(self) -> npt.NDArray[np.bool_]:
        """Which tokens must not come next, shape (vocab_size,); raises as `mask` does."""
        with no_panics(SequenceFailed):
            allowed = self._matcher.compute_bitmask()
        self._check()
        bits = np.unpackbits(~np.frombuffer(allowed, np.uint8), count=self._vocab_size, bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int) -> None:
        """Takes the token that was chosen.

        Raises:
            SequenceFailed: It does not fit the grammar.
        """
        with no_panics(SequenceFailed):
            self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """The tokens that the grammar leaves no choice about, such as a key and its quotes; none where there is one.

        Raises:
            SequenceFailed: The grammar turned out too costly.
        """
        with no_panics(SequenceFailed):
            tokens = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise SequenceFailed(f"The reply cannot be held to its form any more: {reason(self._matcher.get_error())}")


class ConstraintCompiler:
    """Makes constraints for one model. Safe from any thread.

    Grammars are compiled one at a time: each takes a core, and the streams that run need the others. None is kept: a
    copy of a compiled grammar shares its lexer, whose states only grow, until each sequence on it fails.

    The tables of the vocabulary take 0.2 to 2 s, in which no other thread of Python runs. `make_tables` is for a moment
    when nobody waits; else they are made for the first grammar.

    Args:
        model: The model, whose vocabulary is read here. The caller closes this before the model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lock = threading.RLock()
        self._tables: list[LLTokenizer | None] = []  # one, once they are made
        self._closed = False
        self.rehearse = lru_cache(_KEPT_REHEARSALS)(self._rehearse)

    def make_tables(self) -> LLTokenizer | None:
        """Makes the tables, once. None where this vocabulary can have none."""
        with self._lock:
            if self._closed:
                raise EngineClosed("The engine has been shut down.")
            if not self._tables:
                self._tables.append(_readable(self._model))
            return self._tables[0]

    def compile(self, grammar: str, limits: LLParserLimits = _LIMITS) -> Constraint:
        """Makes the constraint of one reply.

        Args:
            grammar: Lark, with llguidance's extensions.
            limits: What it may cost.

        Raises:
            InvalidRequest: It is no grammar, nothing fits it, or it is too large.
            EngineClosed: The model is gone.
        """
        with self._lock, no_panics(InvalidRequest):
            tables = self.make_tables()
            if tables is None:
                raise InvalidRequest("This model's vocabulary is not one that replies can be held to a form with.")
            matcher = LLMatcher(tables, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise InvalidRequest(reason(matcher.get_error()))
        return Constraint(matcher, self._model.vocab_size)

    def _rehearse(self, grammar: str) -> int:
        """Compiles a grammar and follows it a few tokens at random, to learn here, and not in the middle of a reply,
        whether it can be followed and at which cost.

        Returns:
            The cost, the same wherever and whenever it is asked: 1 where each step is cheap, 2 where one is not.

        Raises:
            InvalidRequest: It cannot be compiled or followed, or costs too much.
        """
        with self._lock:
            for rehearsal in _REHEARSALS:
                try:
                    self._follow(self.compile(grammar, rehearsal.limits))
                except SequenceFailed as error:
                    failed = error
                else:
                    return rehearsal.cost
        raise InvalidRequest(failed.message.partition(": ")[2])

    def close(self) -> None:
        """Waits for what is being compiled; nothing is from then on."""
        with self._lock:
            self._closed = True

    def _follow(self, constraint: Constraint) -> None:
        draw = random.Random(0)
        for _ in range(_REHEARSED_TOKENS):
            allowed = np.flatnonzero(~constraint.forbidden())
            token = int(allowed[draw.randrange(len(allowed))])
            if token in self._model.end_tokens:
                return
            constraint.accept(token)
            if constraint.is_complete:
                return


def _readable(model: Model) -> LLTokenizer | None:
    """The tables, None where they cannot be made: such a model can still chat."""
    try:
        with no_panics(ModelError):
            return _tokenizer(model)
    except (ModelError, ValueError) as error:
        log.error("no reply of this model can be held to a form: %s", error)
        return None


def _tokenizer(model: Model) -> LLTokenizer:
    """llguidance's tables of a vocabulary.

    Its own `llamacpp.lltokenizer_from_vocab` takes user-defined tokens such as Qwen's `<tool_call>` for control tokens,
    which are no text. Here they are text, as for `Model.token_bytes`.
    """
    vocabulary = model.native_vocabulary()
    made: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]  # left out of the package's stubs
        tokens=[_CONTROL + name if is_control else name for name, is_control in vocabulary.tokens],
        vocab_ptr=vocabulary.address,
        tokenize_fptr=vocabulary.tokenize_address,
        eos_token=sorted(model.end_tokens),
        slices=None,
    )
    return made
