"""`python -m bench.kv_state`: what a conversation's KV state costs to keep and to have again.

How many bytes a token takes; how long the engine's thread needs to copy the state out of a slot and to put it back,
which is all that a stream can wait for; how long other threads need to write it, and to read and hash it; and how long
the prompt would take to be computed afresh. Then the same through an engine: the longest gap between two tokens of a
stream while another conversation is fetched from the disk. With another KV type than f16 also how far the last tokens'
distributions are from those that f16 gives.
"""

from __future__ import annotations

import argparse
import queue
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from llm_core.engine.engine import Engine
from llm_core.engine.facts import EngineOptions
from llm_core.engine.kv.entry import HostEntry
from llm_core.engine.kv.state_folder import StateFolder
from llm_core.engine.kv.state_path import state_path
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import EngineEvent, GenerationRequest, Piece
from llm_core.errors import LLMError
from llm_core.events import Done
from llm_core.kv_type import KvType
from llm_core.models.resolve import resolve
from llm_core.models.source import parse_source
from llm_core.request import SamplingParams

_TEXT = "In {0} the keeper of the lighthouse told {1} captains about the storm that came last winter. "
_CHUNK = 512
_ROUNDS = 5
_COMPARED = 32  # tokens at the end


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kv_state", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="bundled", help="as LLM_MODEL")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kv-type", choices=get_args(KvType), default="f16")
    options = parser.parse_args(arguments)
    model = Model.load(resolve(parse_source(options.model), on_progress=lambda _done, _message: None).path)
    text = "".join(_TEXT.format(1700 + number, number * 7 % 23) for number in range(options.tokens // 10))
    tokens = np.array(model.tokenize(text, add_special=False, parse_special=False)[: options.tokens], np.int32)
    with tempfile.TemporaryDirectory() as folder:
        _measure_parts(model, tokens, options.threads, options.kv_type, Path(folder) / "parts")
        _measure_gap(model, tokens, options.threads, options.kv_type, Path(folder) / "engine")
    model.close()


def _measure_parts(model: Model, tokens: Tokens, threads: int, kv_type: KvType, path: Path) -> None:
    started = time.perf_counter()
    context, logprobs = _computed(model, tokens, threads, kv_type)
    print(f"computed afresh      {(time.perf_counter() - started) * 1e3:9.1f} ms for {len(tokens)} tokens, {kv_type}")
    if kv_type != "f16":
        plain, expected = _computed(model, tokens, threads, "f16")
        plain.close()
        divergence = float((np.exp(expected) * (expected - logprobs)).sum(axis=1).mean())
        print(f"divergence from f16  {divergence:9.5f} nats (Kullback-Leibler)")
    state, shortest = context.save(0)
    print(f"bytes of a token     {len(state) / len(tokens):9.0f}, {len(state) / 1e6:.1f} MB in all")
    _say("copied out of a slot", lambda: context.save(0))
    _say("put into a slot", lambda: context.restore(1, state))
    folder = StateFolder(path, limit=1 << 40, identity="bench", longest=1 << 20)
    entry = HostEntry(tokens, "", "bench", 0, shortest, (), state, 0, False)

    def write() -> None:
        folder.expect(entry)
        folder.write(entry, pause=lambda _bytes: None)

    _say("written", write)
    (found,) = folder.scan()
    _say("read and hashed", lambda: folder.read(found))
    _say("looked for at start", folder.scan)
    folder.close()
    context.close()


def _computed(model: Model, tokens: Tokens, threads: int, kv_type: KvType) -> tuple[Context, npt.NDArray[np.float32]]:
    """A context that holds the tokens in its first slot, and the log probabilities after each of the last ones."""
    context = Context(
        model, slots=2, context_tokens=len(tokens) + 256, batch_tokens=_CHUNK, threads=threads, kv_type=kv_type
    )
    batch, compared = Batch(_CHUNK), []
    ends = [*range(_CHUNK, len(tokens) - _COMPARED, _CHUNK), *range(len(tokens) - _COMPARED, len(tokens) + 1)]
    for start, end in zip([0, *ends], ends, strict=False):
        batch.clear()
        last = batch.add(0, start, tokens[start:end], wants_logits=True)
        context.decode(batch)
        compared.append(context.logits(last).copy())
    logits = np.array(compared[-_COMPARED:])
    logits -= logits.max(axis=1, keepdims=True)
    return context, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _say(what: str, work: Callable[[], object]) -> None:
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    print(f"{what:20} {min(seconds) * 1e3:9.1f} ms, at most {max(seconds) * 1e3:.1f}, of {_ROUNDS}")


def _measure_gap(model: Model, tokens: Tokens, threads: int, kv_type: KvType, path: Path) -> None:
    options = EngineOptions(
        slots=4,
        context_tokens=len(tokens) + 256,
        queue_limit=8,
        host_bytes=1 << 30,
        threads=threads,
        step_seconds=0.1,
        kv_type=kv_type,
        kv_folder=path,
        disk_bytes=1 << 40,
    )
    engine = Engine(model, options)
    _run(engine, tokens, session="bench", tokens_of_reply=1)
    engine.close()
    assert state_path(path, "", "bench").exists()
    engine = Engine(model, options)
    gaps: list[float] = []
    stream = _submit(engine, tokens[:40], session="", tokens_of_reply=240)
    last, fetched = 0.0, None
    while not isinstance(event := stream.get(), Done | LLMError):
        if isinstance(event, Piece):
            now = time.perf_counter()
            gaps += [now - last] if last else []
            last = now
            if len(gaps) == 60:
                fetched = _submit(engine, tokens, session="bench", tokens_of_reply=1)
    alone, beside = gaps[10:60], gaps[60:]
    assert fetched is not None
    while not isinstance(done := fetched.get(), Done | LLMError):
        pass
    assert isinstance(done, Done)
    first_ms, cached = done.timings.ttft_ms or 0, done.usage.cached_tokens
    print(f"fetched              {first_ms:9.1f} ms to the first token, {cached} of {len(tokens)} tokens cached")
    print(f"longest gap          {max(alone) * 1e3:9.1f} ms alone, {max(beside) * 1e3:.1f} while it is fetched")
    engine.close()


def _submit(engine: Engine, tokens: Tokens, *, session: str, tokens_of_reply: int) -> queue.SimpleQueue[EngineEvent]:
    events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
    never_ends = SamplingParams(temperature=0, logit_bias=dict.fromkeys(engine.model.end_tokens, -100.0))
    request = GenerationRequest(
        tuple(tokens.tolist()), sampling=never_ends, max_tokens=tokens_of_reply, timeout=600, session=session
    )
    engine.submit(request, events.put)
    return events


def _run(engine: Engine, tokens: Tokens, *, session: str, tokens_of_reply: int) -> None:
    events = _submit(engine, tokens, session=session, tokens_of_reply=tokens_of_reply)
    while not isinstance(events.get(), Done | LLMError):
        pass


if __name__ == "__main__":
    main()
