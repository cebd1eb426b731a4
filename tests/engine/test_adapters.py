"""LoRA adapters change the sequences that ask for them, and no others: not beside them, not by what was computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

from llm_core.engine.draft import Drafter
from llm_core.engine.engine import Engine
from llm_core.engine.inbox import Job
from llm_core.engine.kv.prefix_cache import PrefixCache, Prompt
from llm_core.engine.kv.slot import Slot
from llm_core.engine.kv.state_path import state_path
from llm_core.engine.llama import context as context_module
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.library import lib
from llm_core.engine.llama.model import Model
from llm_core.errors import EngineFailed, InvalidRequest, ModelError
from llm_core.lora import AdapterSet
from llm_core.request import SamplingParams

from . import random_model
from .conftest import OPTIONS, Call, ask, prompt_of, said, user_turn
from .test_engine import NEAR_TIE, margin, tokens_of

A: AdapterSet = (("a", 1.0),)
B: AdapterSet = (("b", 1.0),)
LOOKING = SamplingParams(temperature=0, logprobs=2)
SYSTEM = "You are the guide of a small museum of clocks. " + "Every answer is short, kind and true. " * 12
QUESTION = "Tell me a story about a lighthouse and a storm. " * 8


@pytest.fixture(scope="module")
def model(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("adapters")
    model = Model.load(model_path)
    for seed, name in enumerate("ab"):
        model.load_adapter(name, random_model.lora(folder / f"{name}.gguf", seed=seed))
    yield model
    model.close()


@pytest.fixture(scope="module")
def shared_engine(model: Model) -> Iterator[Engine]:
    engine = Engine(model, OPTIONS)
    yield engine
    engine.close()


def assert_alike(one: Call, other: Call) -> None:
    """They say the same up to a place where the two likeliest tokens nearly tie: see test_engine."""
    first, second = tokens_of(one), tokens_of(other)
    at = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a.data != b.data), None)
    assert at is not None or len(first) == len(second)
    if at is not None:
        assert margin(first[at]) < NEAR_TIE
    assert most_apart(one, other) < 2 * NEAR_TIE


def most_apart(one: Call, other: Call) -> float:
    """By how much the probabilities of their tokens differ, as far as those are the same."""
    pairs = zip(tokens_of(one), tokens_of(other), strict=False)
    same = takewhile(lambda pair: pair[0].data == pair[1].data, pairs)
    return max((abs(margin(first) - margin(second)) for first, second in same), default=0)


# ── beside others ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("drafts", ["off", "auto"])
def test_an_adapter_changes_its_own_sequence_and_none_beside_it(
    model: Model, drafts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drafter, "_paying", lambda _self, most, _rate, _streams: most)
    engine = Engine(model, replace(OPTIONS, slots=4, context_tokens=512, drafts=drafts))
    sea, count = "Tell me about the sea.", "Say this again: one, two, one, two, one, two, one, two, one, two."
    wanted: list[tuple[str, AdapterSet]] = [(sea, ()), (sea, A), (count, ()), (count, (("a", 0.25), ("b", 0.25)))]

    mixed: list[tuple[AdapterSet, AdapterSet]] = []
    decode = Context.decode

    def looked_at(context: Context, batch: Batch) -> bool:
        slots = {engine._slots[index].adapters for index in batch._slot[: batch.size].tolist()}
        mixed.extend((each, context.adapters) for each in slots if each != context.adapters)
        return decode(context, batch)

    def asked(text: str, adapters: AdapterSet) -> Call:
        return ask(engine, text, adapters=adapters, sampling=LOOKING, max_tokens=16)

    monkeypatch.setattr(Context, "decode", looked_at)
    try:
        alone = [asked(*one).finish() for one in wanted]
        engine.clear_cache()
        all_here = threading.Event()
        engine._inbox.put(Job(lambda: bool(all_here.wait(60)) and None, Future()))
        calls = [asked(*one) for one in wanted]
        all_here.set()
        together = [call.finish() for call in calls]

        for one, beside in zip(alone, together, strict=True):
            assert_alike(one, beside)
        assert mixed == [], "each call is computed with what its sequences ask for"
        assert together[0].text != together[1].text
        for plain, adapted in (together[:2], together[2:]):
            assert most_apart(plain, adapted) > 2 * NEAR_TIE, "a batch moves them by less"
        tried = [call.done.usage.draft_tokens > 0 for call in together[2:]]
        assert tried == [drafts == "auto"] * 2
    finally:
        engine.close()


def test_a_call_has_one_set_of_adapters_and_it_changes_only_where_it_differs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    change = lib.llama_set_adapters_lora

    def noted(context: object, adapters: object, count: int, scales: object) -> int:
        counts.append(count)
        return int(change(context, adapters, count, scales))

    monkeypatch.setattr(context_module.lib, "llama_set_adapters_lora", noted)
    ask(engine, "Hello", max_tokens=8).finish()
    assert counts == [], "without adapters nothing is done for them"

    ask(engine, "Hello", max_tokens=8, adapters=A).finish()
    ask(engine, "Hello again", max_tokens=8, adapters=A).finish()
    assert counts == [1]

    steps = engine.stats().steps
    both = [ask(engine, "Tell me about the sea.", max_tokens=16, adapters=adapters) for adapters in (A, ())]
    for call in both:
        call.finish()
    assert len(counts) - 1 <= engine.stats().steps - steps, "of two sets one is the one that is in use"


def test_an_error_of_the_adapters_is_one_of_the_context(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(context_module.lib, "llama_set_adapters_lora", lambda *_: 1)
        engine._context.adapters = B  # so that they have to change
        assert isinstance(ask(engine, "Hello", adapters=A).finish().end, EngineFailed)
    assert ask(engine, "Hello", adapters=A, max_tokens=2).finish().done.usage.completion_tokens


def test_a_name_that_the_model_does_not_have_is_refused_before_it_queues(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="no adapter 'c'") as refused:
        ask(engine, "Hello", adapters=(("a", 1.0), ("c", 1.0)))
    assert refused.value.param == "lora"


# ── what is computed already ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_prefix_is_used_under_the_set_that_it_was_computed_with(engine: Engine) -> None:
    prompt = prompt_of(engine.model, QUESTION)
    cold = {adapters: ask(engine, prompt, adapters=adapters, sampling=LOOKING).finish() for adapters in ((), A, B)}
    half = ask(engine, prompt, adapters=(("a", 0.5),)).finish()
    warm = {adapters: ask(engine, prompt, adapters=adapters, sampling=LOOKING).finish() for adapters in ((), A, B)}

    assert [call.done.usage.cached_tokens for call in (*cold.values(), half)] == [0] * 4
    for adapters, call in warm.items():
        assert call.done.usage.cached_tokens == len(prompt) - 1
        assert_alike(cold[adapters], call)


def test_owners_share_the_operators_prompt_under_the_same_set_only(engine: Engine) -> None:
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    shared = len(engine.model.tokenize(head, add_special=False, parse_special=True))
    ask(engine, prompt_of(engine.model, "Hello", system=SYSTEM), owner="a", shared_tokens=shared, adapters=A).finish()
    prompt = prompt_of(engine.model, "What time is it?", system=SYSTEM)

    def cached(adapters: AdapterSet) -> int:
        asked = ask(engine, prompt, owner="b", shared_tokens=shared, adapters=adapters, max_tokens=1)
        return asked.finish().done.usage.cached_tokens

    assert (cached(()), cached(B), cached(A)) == (0, 0, shared)


def test_from_host_memory_too_a_prefix_comes_back_under_its_set(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=1024))
    prompt = prompt_of(model, QUESTION)
    try:
        for adapters in (A, (), B):
            assert ask(engine, prompt, adapters=adapters, max_tokens=1).finish().done.usage.cached_tokens == 0
        for adapters in (A, (), B):
            cached = ask(engine, prompt, adapters=adapters, max_tokens=1).finish().done.usage.cached_tokens
            assert cached == len(prompt) - 1
    finally:
        engine.close()


def test_nobody_waits_for_a_prompt_that_is_read_under_another_set() -> None:
    tokens = np.arange(100, dtype=np.int32)
    reading = Slot(0, 200, adapters=A)
    cache = PrefixCache([reading], [], host_bytes=0, can_trim=True)

    def waits(adapters: AdapterSet) -> bool:
        return cache.worth_waiting(Prompt(tokens, "", 0, adapters), 0, [(tokens, reading)], least=32)

    assert (waits(A), waits(()), waits(B)) == (True, False, False)


def test_what_another_set_lost_is_no_reason_of_this_one(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=1024, host_bytes=0))
    prompt = prompt_of(model, QUESTION)
    try:
        reasons = [
            ask(engine, prompt, adapters=adapters, max_tokens=1).finish().done.usage.cache_miss
            for adapters in (A, (), B, A)
        ]
        assert reasons == ["new", "new", "new", "evicted"]
    finally:
        engine.close()


def test_a_deleted_session_is_forgotten_under_whatever_set(engine: Engine) -> None:
    prompt = prompt_of(engine.model, QUESTION)
    ask(engine, prompt, owner="ann", session="trip", adapters=A).finish()
    engine.forget("ann", "trip")
    again = ask(engine, prompt, owner="ann", adapters=A, max_tokens=1).finish()
    assert again.done.usage.cached_tokens == 0


def test_after_a_restart_a_conversation_goes_on_under_its_set_and_with_the_same_files(
    model: Model, model_path: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, slots=2, context_tokens=1024, kv_folder=tmp_path / "kv", disk_bytes=1 << 28)
    engine = Engine(model, options)
    first = ask(engine, prompt_of(model, QUESTION), session="trip", adapters=A, max_tokens=8).finish()
    engine.close()
    assert state_path(tmp_path / "kv", "", "trip").exists()
    prompt = said(first) + user_turn(model, "And then?")

    def cached(model: Model, adapters: AdapterSet) -> int:
        """Of no session, so that nothing of it is written."""
        engine = Engine(model, options)
        try:
            return ask(engine, prompt, adapters=adapters, max_tokens=1).finish().done.usage.cached_tokens
        finally:
            engine.close()

    assert [cached(model, adapters) for adapters in ((), B, A)] == [0, 0, len(said(first)) - 1]
    other = Model.load(model_path)
    other.load_adapter("a", random_model.lora(tmp_path / "changed.gguf", seed=5))
    try:
        assert cached(other, A) == 0, "its name is the same, and its file another"
    finally:
        other.close()


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def refused(model: Model, path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        model.load_adapter("bad", path)
    assert "bad" not in model.adapters
    return refused.value.message


def test_an_adapter_of_another_architecture_is_refused_in_llama_cpps_words(model: Model, tmp_path: Path) -> None:
    path = random_model.lora(tmp_path / "x.gguf", architecture="qwen2")
    told = f"{path} is no adapter of {model.path.name}: model arch and LoRA arch mismatch."
    assert refused(model, path) == f"{told} Name one that was made for this model."


@pytest.mark.parametrize(("changed", "told"), [({"width": 64}, "incorrect shape"), ({"layers": 31}, "does not exist")])
def test_an_adapter_of_another_size_is_refused(
    model: Model, tmp_path: Path, changed: dict[str, int], told: str
) -> None:
    assert told in refused(model, random_model.lora(tmp_path / "x.gguf", **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"general__type": "model"}, "no LoRA adapter"),
        ({"general__type": 7}, "no LoRA adapter"),
        ({"adapter__type": "control_vector"}, "no LoRA adapter"),
        ({"general__architecture": 7}, "for which architecture"),
        ({"adapter__lora__alpha": 4}, "alpha"),
    ],
    ids=str,
)
def test_a_header_that_would_end_the_process_is_refused(
    model: Model, tmp_path: Path, entries: dict[str, int], told: str
) -> None:
    assert told in refused(model, random_model.lora(tmp_path / "x.gguf", **entries))  # type: ignore[arg-type]


def test_what_is_no_adapter_is_refused(model: Model, tmp_path: Path) -> None:
    assert "no LoRA adapter" in refused(model, model.path)
    assert "There is no file" in refused(model, tmp_path / "none.gguf")
    cut = random_model.lora(tmp_path / "cut.gguf")
    cut.write_bytes(cut.read_bytes()[:-5000])
    assert "is no adapter of" in refused(model, cut)


def test_an_activated_adapter_is_refused(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "llama_adapter_get_alora_n_invocation_tokens", lambda _pointer: 3)
    assert "activated LoRA" in refused(model, random_model.lora(tmp_path / "x.gguf"))


def test_a_context_begins_without_adapters(model: Model) -> None:
    context = Context(model, slots=1, context_tokens=256, batch_tokens=64, threads=1)
    try:
        assert context.adapters == ()
    finally:
        context.close()
