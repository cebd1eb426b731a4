"""What the engine promises to one caller and to many at once, on the real model."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.llama.context import Context, DecodeFailed
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.sampler import Sampler
from llm_core.engine.sequence import GenerationRequest, Sequence
from llm_core.errors import (
    ContextOverflow,
    EngineClosed,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    SequenceFailed,
)
from llm_core.events import TokenLogprob
from llm_core.request import SamplingParams

from .conftest import GREEDY, OPTIONS, Call, ask

STORY = "Tell a very long story about the sea. "
LONG = STORY * 3
BOOK = "The sea is wide and the ship is small. " * 120


def counting(engine: Engine) -> tuple[int, ...]:
    """A prompt whose continuation is sure, however it is cut into chunks: the model is small and often undecided."""
    return tuple(engine.model.tokenize("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,", add_special=False, parse_special=False))


def is_streaming(call: Call) -> bool:
    return len(call.pieces) >= 3


def slot_lengths(engine: Engine) -> list[tuple[int, int]]:
    """For each slot: tokens by our account, and by llama.cpp's. Only while the engine is idle."""
    return [(slot.length, engine._context.length(slot.index)) for slot in engine._slots]


def assert_nothing_left(engine: Engine) -> None:
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert engine._scheduler.all() == []
    assert all(slot.is_free for slot in engine._slots)
    assert all(ours == theirs for ours, theirs in slot_lengths(engine))
    engine.clear_cache()
    assert slot_lengths(engine) == [(0, 0)] * stats.slots
    assert engine.stats().host_bytes == 0


def test_a_reply_has_text_counts_and_times(engine: Engine) -> None:
    call = ask(engine, counting(engine)).finish()
    assert "12, 13" in call.text
    done = call.done
    assert done.usage.prompt_tokens == len(counting(engine))
    assert done.usage.completion_tokens >= len(call.pieces)
    assert 0 < done.timings.queue_ms < done.timings.ttft_ms
    assert done.timings.tokens_per_second > 0
    assert call.positions == [0]


def test_a_reply_ends_with_stop_at_the_models_end_token_and_with_length_at_max_tokens(engine: Engine) -> None:
    assert ask(engine, "Say only: yes", max_tokens=200).finish().done.finish_reason == "stop"
    call = ask(engine, LONG, max_tokens=5).finish()
    assert (call.done.finish_reason, call.done.usage.completion_tokens) == ("length", 5)


def test_greedy_text_is_the_same_alone_and_beside_seven_others(engine: Engine) -> None:
    """The rule: the batch that a token is computed in changes the last bits of its logits, no more. So the text is the
    same up to a place where the two likeliest tokens nearly tie; there either may be taken."""
    looking = SamplingParams(temperature=0, logprobs=2)
    questions = [f"Write one sentence about the number {n}." for n in range(8)]
    alone = [tokens_of(ask(engine, question, sampling=looking).finish()) for question in questions]
    calls = [ask(engine, question, sampling=looking) for question in questions]
    together = [tokens_of(call.finish()) for call in calls]

    for one, beside in zip(alone, together, strict=True):
        at = next((at for at, (a, b) in enumerate(zip(one, beside, strict=False)) if a.data != b.data), None)
        assert at is not None or len(one) == len(beside)
        if at is not None:
            assert margin(one[at]) < NEAR_TIE


NEAR_TIE = 0.2  # in natural logarithms: chunks and batches move the bundled model's logits by up to a tenth


def tokens_of(call: Call) -> list[TokenLogprob]:
    return [token for piece in call.pieces for token in piece.logprobs]


def margin(token: TokenLogprob) -> float:
    """How much likelier the likeliest token is than the next."""
    (_, _, first), (_, _, second), *_ = token.top
    return first - second


def test_two_prompts_never_mix(engine: Engine) -> None:
    continued = {
        "1 2 3 4 5 6 7 8 9 10 11": "12 13 14",
        "one, two, three, four,": "five, six",
        "a, b, c, d, e, f, g,": "h, i, j",
        "apple, apple, apple, apple, apple, apple, apple,": "apple, apple, apple",
    }
    calls = [
        (expected, ask(engine, tuple(engine.model.tokenize(start, add_special=False, parse_special=False))))
        for start, expected in continued.items()
        for _ in range(2)
    ]
    for expected, call in calls:
        assert expected in call.finish().text
        assert not any(other in call.text for other in continued.values() if other != expected)


def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine: Engine) -> None:
    def text(seed: int) -> str:
        sampling = SamplingParams(temperature=1.0, top_p=1.0, top_k=0, seed=seed)
        return ask(engine, LONG, sampling=sampling).finish().text

    text(1)  # from now on the prompt is cached for all three alike
    assert text(1) == text(1)
    assert text(1) != text(2)


def test_cancel_works_while_queued_in_prefill_and_in_decode(engine: Engine) -> None:
    running = [ask(engine, LONG, max_tokens=2000).wait_for(is_streaming) for _ in range(8)]
    queued = ask(engine, LONG)
    assert queued.wait_for(lambda call: bool(call.positions)).positions == [1]
    assert queued.cancel().finish().done.finish_reason == "cancelled"
    assert queued.done.usage.completion_tokens == 0

    for call in running:
        done = call.cancel().finish().done
        assert done.finish_reason == "cancelled"
        assert done.usage.completion_tokens > 0

    book = ask(engine, BOOK).wait_for(lambda call: bool(call.positions))
    before = engine.stats()
    done = book.cancel().finish().done
    assert (done.finish_reason, done.usage.completion_tokens) == ("cancelled", 0)
    after = engine.stats()
    assert after.running == 0
    assert after.steps - before.steps <= 2, "the slot is free within one step of the one under way"
    assert after.kv_cells_used < 1000
    assert_nothing_left(engine)


def test_a_deadline_ends_a_request_that_waits_and_one_that_runs(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1))
    try:
        running = ask(engine, LONG, max_tokens=2000).wait_for(is_streaming)
        waiting = ask(engine, LONG, timeout=0.3).finish()
        assert (waiting.done.finish_reason, waiting.done.usage.completion_tokens) == ("timeout", 0)
        assert running.sequence is not None
        running.sequence.submitted_at -= running.sequence.request.timeout  # as if that time had passed
        assert running.finish().done.finish_reason == "timeout"
        assert running.done.usage.completion_tokens >= 3
    finally:
        engine.close()


def test_fifty_requests_with_random_cancels_leave_nothing_behind(engine: Engine) -> None:
    chance = random.Random(7)
    calls: list[Call] = []
    for number in range(50):
        prompt = f"{number}: {STORY * chance.randint(1, 4)}"
        call = ask(engine, prompt, max_tokens=chance.randint(1, 12), owner=f"owner {number % 5}")
        calls.append(call)
        if chance.random() < 0.4:
            victim = chance.choice(calls)
            if chance.random() < 0.5:
                victim.wait_for(lambda one: bool(one.positions))
            victim.cancel()
    chance.shuffle(calls)
    reasons = {call.finish().done.finish_reason for call in calls}
    assert reasons <= {"stop", "length", "cancelled"}
    assert "cancelled" in reasons
    assert len(reasons) > 1
    assert_nothing_left(engine)


def test_the_ninth_waits_and_sees_its_position(engine: Engine) -> None:
    calls = [ask(engine, f"Tell me about the number {n}.", max_tokens=12) for n in range(11)]
    for call in calls:
        call.finish()
    assert all(call.positions == sorted(call.positions, reverse=True) for call in calls), "it only moves up"
    assert all(call.positions[-1] == 0 for call in calls), "everyone was served"
    assert calls[10].positions[0] >= 1, "the eleventh waited"


def test_no_owner_holds_all_slots_while_another_waits(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=2, context_tokens=512))
    try:
        greedy = [ask(engine, f"Tell me about {n}.", max_tokens=20, owner="greedy") for n in range(6)]
        modest = ask(engine, LONG, max_tokens=20, owner="modest")
        modest.finish()
        admitted = [call.finish().sequence.admitted_at for call in greedy]  # type: ignore[union-attr]
        assert sum(time < modest.sequence.admitted_at for time in admitted) <= 2  # type: ignore[union-attr, operator]
    finally:
        engine.close()


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, queue_limit=1, context_tokens=512))
    try:
        first, second = ask(engine, LONG, max_tokens=300), ask(engine, LONG, max_tokens=1)
        with pytest.raises(QueueFull) as refused:
            ask(engine, LONG)
        assert refused.value.retry_after
        first.cancel().finish()
        second.finish()
        assert ask(engine, LONG, max_tokens=1).finish().done.finish_reason == "length"
    finally:
        engine.close()


def test_a_prompt_that_can_never_fit_is_refused_before_it_queues(engine: Engine) -> None:
    with pytest.raises(ContextOverflow, match="at most 2047 fit"):
        ask(engine, (1,) * 2048)
    assert engine.stats().waiting == 0


@pytest.mark.parametrize("prompt", [(), (-1,), (10**6,)])
def test_tokens_outside_the_vocabulary_are_refused(engine: Engine, prompt: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest):
        ask(engine, prompt)
    with pytest.raises(InvalidRequest, match="logit_bias"):
        ask(engine, "Hello", sampling=SamplingParams(logit_bias={10**6: 1.0}))


def test_a_reply_ends_with_length_where_the_context_ends(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=256))
    try:
        call = ask(engine, (500,) * 240, max_tokens=100, sampling=SamplingParams(temperature=0, logit_bias={2: -100}))
        assert call.finish().done.finish_reason == "length"
        assert call.done.usage.completion_tokens == 16
    finally:
        engine.close()


def test_stop_strings_end_the_reply_and_are_not_part_of_it(engine: Engine) -> None:
    whole = ask(engine, LONG, max_tokens=40).finish().text
    stop = whole[30:45]
    call = ask(engine, LONG, max_tokens=40, stop=(stop, "never said")).finish()
    assert call.done.finish_reason == "stop"
    assert call.text == whole.split(stop)[0]


def test_emoji_and_chinese_stream_as_whole_characters(engine: Engine) -> None:
    """Each character is forced byte token by byte token, so that tokens really split characters."""
    text = "你好😀🎉龘"
    tokens = engine.model.tokenize(text, add_special=False, parse_special=False)
    assert len(tokens) > len(text), "some characters take several tokens"
    call = Call(engine)
    sequence = Sequence(GenerationRequest((1,), GREEDY, 99, 9), call.events.put, 64)
    shown = [sequence.text.feed(engine.model.token_bytes(token)) for token in tokens]
    assert "".join(shown) == text
    assert not any("\ufffd" in piece for piece in shown)

    reply = ask(engine, "Translate to Chinese: Hello, my friend! Add a rare emoji.", max_tokens=60).finish()
    assert any(ord(character) > 0x2E80 for character in reply.text)
    assert "\ufffd" not in reply.text


def test_logprobs_are_of_the_model_and_sorted(engine: Engine) -> None:
    call = ask(engine, "What is the capital of France?", sampling=GREEDY.model_copy(update={"logprobs": 3})).finish()
    tokens = [logprob for piece in call.pieces for logprob in piece.logprobs]
    assert "".join(each.token for each in tokens) == call.text
    for each in tokens:
        assert each.logprob <= 0
        assert each.logprob == pytest.approx(each.top[0][2]), "greedy takes the likeliest"
        assert sorted((top[2] for top in each.top), reverse=True) == [top[2] for top in each.top]
        assert sum(math.exp(top[2]) for top in each.top) <= 1.0001


def test_a_logit_bias_bans_and_forces_tokens(engine: Engine) -> None:
    (paris,) = engine.model.tokenize(" Paris", add_special=False, parse_special=False)
    question = "What is the capital of France?"
    banned = ask(engine, question, sampling=SamplingParams(temperature=0, logit_bias={paris: -100})).finish()
    assert " Paris" not in banned.text
    forced = ask(engine, question, max_tokens=3, sampling=SamplingParams(temperature=0, logit_bias={paris: 100}))
    assert forced.finish().text == " Paris" * 3


def test_a_frequency_penalty_breaks_a_loop(engine: Engine) -> None:
    prompt = tuple(engine.model.tokenize("ha ha ha ha ha ha ha ha ha", add_special=False, parse_special=False))
    plain = ask(engine, prompt).finish().text
    penalised = ask(engine, prompt, sampling=SamplingParams(temperature=0, frequency_penalty=2.0)).finish().text
    assert plain.count("ha") > penalised.count("ha")


def test_a_failure_inside_one_sequence_ends_that_request_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    good = ask(engine, LONG, max_tokens=30).wait_for(is_streaming)
    bad = ask(engine, "Hello", max_tokens=30, owner="bad")
    sample = Sampler.sample

    def fail_for_bad(sampler: Sampler, context: Context, index: int) -> int:
        if bad.sequence is not None and sampler is bad.sequence.sampler:
            raise ValueError("boom")
        return sample(sampler, context, index)

    monkeypatch.setattr(Sampler, "sample", fail_for_bad)
    assert isinstance(bad.finish().end, SequenceFailed)
    assert good.finish().done.usage.completion_tokens == 30
    assert_nothing_left(engine)


def test_a_failure_of_the_context_ends_what_runs_and_the_engine_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [ask(engine, LONG, max_tokens=500).wait_for(is_streaming) for _ in range(8)]
    waiting = ask(engine, counting(engine))
    rebuilds = engine.stats().rebuilds

    def fail(_context: Context, _batch: object) -> None:
        monkeypatch.undo()
        raise DecodeFailed("llama_decode returned -3")

    monkeypatch.setattr(Context, "decode", fail)
    for call in running:
        assert isinstance(call.finish().end, EngineFailed)
    assert "12, 13" in waiting.finish().text
    assert engine.stats().rebuilds == rebuilds + 1
    assert_nothing_left(engine)


def test_a_sink_that_fails_cancels_its_own_request(engine: Engine) -> None:
    call = ask(engine, LONG, max_tokens=500).wait_for(is_streaming)
    assert call.sequence is not None

    def gone(_event: object) -> None:
        raise RuntimeError("Event loop is closed")

    call.sequence.sink = gone
    other = ask(engine, counting(engine)).finish()
    assert "12, 13" in other.text
    assert_nothing_left(engine)


def test_closing_ends_running_and_waiting_requests_with_an_error(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=512))
    calls = [ask(engine, LONG, max_tokens=400) for _ in range(3)]
    calls[0].wait_for(is_streaming)
    engine.close()
    assert all(isinstance(call.finish().end, EngineClosed) for call in calls)
    with pytest.raises(EngineClosed):
        ask(engine, "Hello")
