"""Replies held to a grammar: what may follow, what it costs the others, and what happens when it cannot be held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.sampler import Sampler
from llm_core.errors import EngineClosed, InvalidRequest, SequenceFailed
from llm_core.request import SamplingParams
from llm_core.structured_output import constraint as module
from llm_core.structured_output.constraint import Constraint, ConstraintCompiler, complaint
from tests.engine.conftest import GREEDY, Call, ask

COLOUR = 'start: "red" | "green" | "blue"\n'
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_grammar(schema: dict[str, object]) -> str:
    return f"start: %json {json.dumps(schema | {'x-guidance': COMPACT})}\n"


CITY = json_grammar(
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}, "warm": {"type": "boolean"}},
        "required": ["city", "warm"],
        "additionalProperties": False,
    }
)


FORM = json_grammar(
    {
        "type": "object",
        "properties": {
            "departure_airport": {"enum": ["Frankfurt", "Heathrow"]},
            "number_of_passengers": {"type": "integer", "minimum": 1, "maximum": 9},
            "needs_wheelchair_assistance": {"type": "boolean"},
        },
        "required": ["departure_airport", "number_of_passengers", "needs_wheelchair_assistance"],
        "additionalProperties": False,
    }
)


@pytest.fixture(scope="module")
def compiler(model: Model) -> Iterator[ConstraintCompiler]:
    compiler = ConstraintCompiler(model)
    yield compiler
    compiler.close()


def tokens(model: Model, text: str) -> list[int]:
    return model.tokenize(text, add_special=False, parse_special=True)


def allowed(model: Model, constraint: Constraint) -> set[int]:
    logits = np.zeros(model.vocab_size, np.float32)
    constraint.mask(logits)
    return set(np.flatnonzero(logits == 0).tolist())


def after(model: Model, constraint: Constraint, text: str) -> Constraint:
    for token in tokens(model, text):
        constraint.accept(token)
    return constraint


class TestMask:
    def test_it_leaves_exactly_the_tokens_that_fit(self, model: Model, compiler: ConstraintCompiler) -> None:
        left = allowed(model, compiler.compile(COLOUR))

        assert left == {token for token in range(model.vocab_size) if begins_a_colour(word(model, token))}

    def test_it_leaves_the_logits_of_what_fits_as_they_were(self, model: Model, compiler: ConstraintCompiler) -> None:
        logits = np.arange(model.vocab_size, dtype=np.float32)
        given = logits.copy()
        compiler.compile(COLOUR).mask(logits)

        assert (logits[np.isfinite(logits)] == given[np.isfinite(logits)]).all()
        assert np.isneginf(logits[~np.isfinite(logits)]).all()

    def test_a_whole_reply_may_end_with_every_token_that_ends_a_turn(
        self, model: Model, compiler: ConstraintCompiler
    ) -> None:
        constraint = after(model, compiler.compile("start: /[a-z]+/\n"), "red")

        assert model.end_tokens <= allowed(model, constraint)
        assert not constraint.is_complete

    def test_a_half_reply_may_not_end(self, model: Model, compiler: ConstraintCompiler) -> None:
        constraint = compiler.compile('start: "red" "green"\n')

        assert not model.end_tokens & allowed(model, after(model, constraint, "red"))

    def test_a_reply_after_which_nothing_may_follow_is_complete(
        self, model: Model, compiler: ConstraintCompiler
    ) -> None:
        assert after(model, compiler.compile(COLOUR), "green").is_complete

    def test_control_tokens_are_no_text(self, model: Model, compiler: ConstraintCompiler) -> None:
        (control,) = tokens(model, "<file_sep>")

        assert control not in allowed(model, compiler.compile("start: /(?s:.+)/\n"))
        assert allowed(model, compiler.compile(f"start: <[{control}]>\n")) == {control}

    def test_user_defined_tokens_are_text(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        (token,) = tokens(model, "<file_sep>")
        vocabulary = model.native_vocabulary()
        changed = tuple((name, control and at != token) for at, (name, control) in enumerate(vocabulary.tokens))
        fake = replace(vocabulary, tokens=changed)
        monkeypatch.setattr(model, "native_vocabulary", lambda: fake)

        assert token in allowed(model, ConstraintCompiler(model).compile("start: /<file_sep>x|<file_y/\n"))

    def test_what_was_chosen_in_spite_of_it_is_an_error(self, model: Model, compiler: ConstraintCompiler) -> None:
        with pytest.raises(SequenceFailed, match="form"):
            after(model, compiler.compile(COLOUR), "yellow")


def word(model: Model, token: int) -> str:
    return model.token_bytes(token, special=True).decode("utf-8", "replace")


def begins_a_colour(text: str) -> bool:
    return text != "" and any(colour.startswith(text) for colour in ("red", "green", "blue"))


class TestCompile:
    @pytest.mark.parametrize(
        "grammar",
        ["", "start: %json {", 'start: "a" missing\n', "start: /(/\n", json_grammar({"enum": []})],
        ids=["empty", "half JSON", "unknown rule", "bad pattern", "nothing fits"],
    )
    def test_what_is_no_grammar_is_refused(self, compiler: ConstraintCompiler, grammar: str) -> None:
        with pytest.raises(InvalidRequest):
            compiler.compile(grammar)
        assert complaint(grammar) is not None

    def test_a_complaint_is_a_line_without_the_grammar(self) -> None:
        assert complaint(json_grammar({"type": "string", "minLength": 2, "maxLength": 1})) == (
            "nothing can fit it: minLength (2) is greater than maxLength (1)"
        )
        assert complaint(json_grammar({"type": "string", "pattern": "(?=a)"})) == (
            "regex parse error: look-around, including look-ahead and look-behind, is not supported"
        )
        assert complaint(CITY) is None

    def test_a_grammar_too_large_is_refused(self, compiler: ConstraintCompiler) -> None:
        words = [f"word {number}" for number in range(50_000)]
        with pytest.raises(InvalidRequest, match="too large"):
            compiler.compile(json_grammar({"enum": words}))

    def test_many_threads_may_compile_at_once(self, model: Model, compiler: ConstraintCompiler) -> None:
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(compiler.compile, [COLOUR, CITY] * 8))

        assert len({id(constraint) for constraint in made}) == 16
        assert all(allowed(model, constraint) for constraint in made)

    def test_a_panic_of_the_library_is_an_error_like_any_other(
        self, compiler: ConstraintCompiler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class PanicException(BaseException):
            """As PyO3 raises it."""

        def panic(*_arguments: object, **_options: object) -> None:
            raise PanicException("index out of bounds")

        monkeypatch.setattr(module, "LLMatcher", panic)
        with pytest.raises(InvalidRequest, match="index out of bounds"):
            compiler.compile(COLOUR)

    def test_the_vocabulary_is_read_when_it_suits_and_only_once(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiler = ConstraintCompiler(model)
        compiler.make_tables()
        monkeypatch.setattr(model, "native_vocabulary", None)

        assert allowed(model, compiler.compile(COLOUR))

    @pytest.mark.parametrize("kind", [ValueError, type("PanicException", (BaseException,), {})])
    def test_a_vocabulary_that_cannot_be_read_refuses_grammars_and_nothing_else(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
    ) -> None:
        def fail() -> None:
            raise kind("token 7 is odd")

        monkeypatch.setattr(model, "native_vocabulary", fail)
        compiler = ConstraintCompiler(model)

        with pytest.raises(InvalidRequest, match="vocabulary"):
            compiler.compile(COLOUR)

    def test_nothing_is_compiled_once_the_compiler_is_closed(self, model: Model) -> None:
        compiler = ConstraintCompiler(model)
        compiler.close()
        with pytest.raises(EngineClosed):
            compiler.compile(COLOUR)


class TestRehearse:
    @pytest.mark.parametrize(
        ("pattern", "cost"), [("^[a-z]+(-[a-z]+)*$", 1), ("^[0-9]{4}$", 1), ("(.*)" * 30, 2), ("[^@]+@[^@]+", 2)]
    )
    def test_what_it_costs_is_counted_in_work_and_the_same_each_time(
        self, compiler: ConstraintCompiler, pattern: str, cost: int
    ) -> None:
        grammar = json_grammar({"type": "string", "pattern": pattern, "maxLength": 200})

        assert [compiler._rehearse(grammar) for _ in range(3)] == [cost] * 3

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            {"$ref": "#"},
            {"type": "string", "pattern": "(.*)" * 100},
        ],
        ids=["contains itself", "is itself", "too costly"],
    )
    def test_what_cannot_be_followed_is_refused(self, compiler: ConstraintCompiler, schema: dict[str, object]) -> None:
        with pytest.raises(InvalidRequest):
            compiler.rehearse(json_grammar(schema))


def held(engine: Engine, compiler: ConstraintCompiler, grammar: str, **fields: object) -> Call:
    """Asks for something else than the grammar allows."""
    return ask(engine, "Write a poem about the sea.", constraint=compiler.compile(grammar), **fields)


class TestInTheEngine:
    def test_the_reply_fits_and_ends_when_it_is_complete(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        call = held(engine, compiler, CITY, max_tokens=80).finish()

        assert set(json.loads(call.text)) == {"city", "warm"}
        assert call.done.finish_reason == "stop"
        assert call.done.usage.completion_tokens == len(call.pieces), "no token was spent on ending it"

    @pytest.mark.parametrize(
        "sampling",
        [
            {"temperature": 2.0, "top_k": 0, "top_p": 1.0},
            {"temperature": 1.5, "typical_p": 0.5},
            {"temperature": 1.5, "min_p": 0.2},
            {"temperature": 1.0, "repeat_penalty": 2.0, "presence_penalty": 2.0, "frequency_penalty": 2.0},
            {"temperature": 0, "logit_bias": {44: 100.0}},
        ],
        ids=["hot", "typical", "min_p", "penalties", "bias"],
    )
    def test_it_fits_however_it_is_sampled(
        self, engine: Engine, compiler: ConstraintCompiler, sampling: dict[str, object]
    ) -> None:
        params = SamplingParams(seed=7, **sampling)  # type: ignore[arg-type]
        call = held(engine, compiler, COLOUR, sampling=params).finish()

        assert call.text in ("red", "green", "blue")

    def test_log_probabilities_are_the_models_own(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        params = SamplingParams(temperature=0, logprobs=5)
        free = ask(engine, "Write a poem about the sea.", sampling=params, max_tokens=1).finish()
        call = held(engine, compiler, COLOUR, sampling=params).finish()

        first = call.pieces[0].logprobs[0]
        assert [token for token, _, _ in first.top] == [token for token, _, _ in free.pieces[0].logprobs[0].top]
        assert first.token not in [token for token, _, _ in first.top]
        assert first.logprob < min(logprob for _, _, logprob in first.top) < 0

    def test_held_and_free_replies_side_by_side_are_as_they_are_alone(
        self, engine: Engine, compiler: ConstraintCompiler
    ) -> None:
        count = "Count from 1 to 20, with a comma between the numbers."
        alone = ask(engine, count, max_tokens=40).finish().text
        engine.clear_cache()
        free = ask(engine, count, max_tokens=40)
        calls = [held(engine, compiler, grammar, max_tokens=80) for grammar in (CITY, 'start: "a"{30}\n')]

        assert free.finish().text == alone
        assert set(json.loads(calls[0].finish().text)) == {"city", "warm"}
        assert calls[1].finish().text == "a" * 30

    @pytest.mark.parametrize(
        "grammar", [CITY, FORM, 'start: "Yours faithfully, the undersigned"\n', 'start: "a"{30}\n']
    )
    def test_what_leaves_no_choice_is_not_sampled(
        self, engine: Engine, compiler: ConstraintCompiler, grammar: str
    ) -> None:
        sampled = held(engine, compiler, grammar, max_tokens=80, sampling=SamplingParams(temperature=0, logprobs=0))
        sampled.finish()
        before = engine.stats()
        call = held(engine, compiler, grammar, max_tokens=80).finish()
        after = engine.stats()

        assert call.text == sampled.text
        assert call.done.finish_reason == "stop"
        assert after.generated_tokens - before.generated_tokens == call.done.usage.completion_tokens
        assert after.steps - before.steps < 0.7 * call.done.usage.completion_tokens

    def test_what_leaves_no_choice_counts_for_the_penalties(
        self, engine: Engine, compiler: ConstraintCompiler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remembered: list[int] = []
        monkeypatch.setattr(Sampler, "accept", lambda _self, token: remembered.append(token))
        call = held(engine, compiler, 'start: "Yours faithfully, the " ("captain" | "cook")\n').finish()

        said = b"".join(engine.model.token_bytes(token) for token in remembered).decode()
        assert call.text in ("Yours faithfully, the captain", "Yours faithfully, the cook")
        assert said.startswith("Yours faithfully, the")

    def test_a_reply_cut_by_max_tokens_ends_with_length(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        call = held(engine, compiler, CITY, max_tokens=3).finish()

        assert call.done.finish_reason == "length"
        assert '{"city": "'.startswith(call.text) or call.text.startswith('{"city": "')

    def test_a_stop_string_ends_it_where_it_stands(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        call = held(engine, compiler, CITY, max_tokens=80, stop=('": ',)).finish()

        assert (call.text, call.done.finish_reason) == ('{"city', "stop")

    def test_a_cancel_ends_it(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        call = held(engine, compiler, "start: /[ab]{1000}/\n", max_tokens=500).wait_for(
            lambda call: len(call.pieces) > 2
        )

        assert call.cancel().finish().done.finish_reason == "cancelled"

    def test_a_constraint_that_fails_ends_its_request_alone(self, engine: Engine, compiler: ConstraintCompiler) -> None:
        costly = json_grammar({"type": "string", "pattern": "(.*)" * 100})
        failing = held(engine, compiler, costly, max_tokens=80)
        other = held(engine, compiler, CITY, max_tokens=80)
        free = ask(engine, "Count from 1 to 20.", max_tokens=8, sampling=GREEDY)

        assert isinstance(failing.finish().end, SequenceFailed)
        assert json.loads(other.finish().text)
        assert free.finish().done.finish_reason == "length"
