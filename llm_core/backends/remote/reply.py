"""One try of one request at one engine elsewhere: how it is asked, and what of its stream goes into the sink."""

from __future__ import annotations

import logging
from contextlib import aclosing

from llm_core.backends.remote.calls import as_json, as_text
from llm_core.backends.remote.engines import Engine, Engines
from llm_core.backends.remote.errors import EngineFault, Uncalled, broken_off, fault_of, uncalled
from llm_core.backends.remote.outbox import Outbox
from llm_core.backends.remote.reader import ChunkReader
from llm_core.backends.remote.stream import chunks_of
from llm_core.backends.remote.wire import wire_of
from llm_core.chat.tool_formats import HERMES, JSON
from llm_core.completion_request import AnyRequest, CompletionRequest
from llm_core.errors import InvalidRequest
from llm_core.events import FinishReason

log = logging.getLogger(__name__)


async def reply_of(
    engines: Engines, engine: Engine, request: AnyRequest, outbox: Outbox, reader: ChunkReader
) -> FinishReason:
    """One try; where a call is demanded and the engine ignores that, one more that holds it by a JSON schema.

    Tools are told in words where the engine would drop them.

    Raises:
        EngineFault: It failed.
    """
    if isinstance(request, CompletionRequest):
        return await _read(engines, engine, request, outbox, reader)
    if not engine.knows_tools and not reader.demands_call:
        reader.restart(HERMES if request.callable_tools else None)
        return await _read(engines, engine, as_text(request), outbox, reader)
    if not (reader.demands_call and engine.ignores_choice):
        try:
            return await _read(engines, engine, request, outbox, reader)
        except Uncalled:
            log.warning("the engine at %s ignores tool_choice; calls are asked for as JSON", engine.name)
            engine.ignores_choice = True
    reader.restart(JSON)
    try:
        return await _read(engines, engine, as_json(request), outbox, reader)
    except Uncalled:
        raise uncalled(engine.name) from None
    except EngineFault as fault:
        raise (uncalled(engine.name) if type(fault.error) is InvalidRequest else fault) from None


async def _read(
    engines: Engines, engine: Engine, request: AnyRequest, outbox: Outbox, reader: ChunkReader
) -> FinishReason:
    """Sends a request and reads the reply.

    Raises:
        EngineFault: It failed.
        Uncalled: It is not the call that was demanded.
    """
    try:
        async with (
            engines.request(engine, *wire_of(request, engine.model or "")) as response,
            aclosing(chunks_of(response)) as chunks,
        ):
            outbox.report_queued()
            async for chunk in chunks:
                for event in reader.read(chunk):
                    outbox.send(event)
    except Exception as error:
        raise fault_of(error, engine.name) from error
    if reader.finish_reason is None:
        raise EngineFault(broken_off(engine.name), try_again=True)
    for event in reader.finish():
        outbox.send(event)
    return reader.finish_reason
