"""The one tree of errors that callers see.

Each says what happened and what to do about it, in a sentence that may be shown to a person. `code` is stable and is
what programs should test; a doorway turns it into its own protocol's status.
"""

from __future__ import annotations

from typing import ClassVar


class LLMError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        code: Stable, machine-readable name of the kind of error.
        retry_after: Seconds after which the same call may succeed, where that is known.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class SettingsError(LLMError):
    """An environment variable has a value that cannot be used; the message names it and the allowed range."""

    code = "bad_settings"


class InvalidRequest(LLMError):
    """The request cannot be served as it stands. `param` names the field that is wrong, where one is."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


SERVER_FAILED = "The server failed; its log says why."
"""What is told of an error that nobody raised on purpose."""

OVERFLOW_CODE = "context_length_exceeded"
"""OpenAI's code of the following. It stands in the text too, where clients look for it."""


class ContextOverflow(InvalidRequest):
    """The prompt can never fit into the context that one request may use."""

    code = "context_overflow"


class QueueFull(LLMError):
    """All slots are busy and as many requests wait as are allowed to. Nothing was queued."""

    code = "queue_full"


class ModelError(LLMError):
    """The model cannot be found, fetched or loaded; the message says which and what to do."""

    code = "model_error"


class HubError(ModelError):
    """The Hub cannot be reached, or does not answer as it should."""

    code = "hub_error"


class EngineFailed(LLMError):
    """The engine failed under the running requests, or a remote one broke off: the same request may be sent again."""

    code = "engine_failed"


class EngineUnreachable(LLMError):
    """No engine of `LLM_SERVER_URL` answers. They are tried again and again: the same call may work in a while."""

    code = "engine_unreachable"


class SequenceFailed(LLMError):
    """This one request failed inside the engine; the others were not touched."""

    code = "sequence_failed"


class EngineClosed(LLMError):
    """The engine has been shut down."""

    code = "engine_closed"


class ModelLoading(LLMError):
    """The model is still being loaded; the same call will work in a while."""

    code = "model_loading"


class ShuttingDown(LLMError):
    """The server is about to end and takes no new work."""

    code = "shutting_down"


class Unauthorized(LLMError):
    """The call has no token, or one that nobody has."""

    code = "unauthorized"


class Forbidden(LLMError):
    """Whoever calls may not do this."""

    code = "forbidden"


class RateLimited(LLMError):
    """This owner has sent as many requests as are allowed in the time. Nothing was queued."""

    code = "rate_limited"


class TooLarge(LLMError):
    """The request's body is larger than is read."""

    code = "request_too_large"


class TimedOut(LLMError):
    """The request's time was over before there was anything of the reply."""

    code = "timed_out"


class SessionBusy(LLMError):
    """A reply is already being made in this session; one turn at a time."""

    code = "session_busy"


class SessionChanged(LLMError):
    """Turns have come or gone in this session since the caller has seen it. Nothing was done."""

    code = "session_changed"


class KeyReused(LLMError):
    """A key that has named one turn came with another one. Nothing was said."""

    code = "idempotency_key_reused"


class SessionNotFound(LLMError):
    """There is no such session, or it belongs to somebody else."""

    code = "session_not_found"


class StreamNotFound(LLMError):
    """There is no such stream any more, or it belongs to somebody else."""

    code = "stream_not_found"


class ModelNotFound(LLMError):
    """There is no model of that name here."""

    code = "model_not_found"


class PresetNotFound(LLMError):
    """There is no preset of that name, or it belongs to somebody else."""

    code = "preset_not_found"


class PresetExists(LLMError):
    """There is a preset of that name already. Nothing was kept."""

    code = "preset_exists"


class ProjectNotFound(LLMError):
    """There is no such project, or this client is not among its clients. The two are told alike."""

    code = "project_not_found"


class ToolServerFailed(LLMError):
    """A server whose tools were asked for cannot be used; the message says which and why."""

    code = "tool_server_failed"


class RequestExpired(LLMError):
    """The request was to be answered by a time that had passed before it could be started."""

    code = "expired"


class BrokerError(LLMError):
    """The MQTT broker cannot be reached, or nobody answers there."""

    code = "broker_error"


class ReplyInterrupted(LLMError):
    """The server ended while it made this reply; what had been saved of it is kept."""

    code = "interrupted"


class StorageError(LLMError):
    """The session store cannot be read or written; the message says why."""

    code = "storage_error"


class StorageFull(StorageError):
    """The disk of the session store is full, or the store may not grow."""

    code = "storage_full"


class StorageReadOnly(StorageError):
    """The session store may be read and not written."""

    code = "storage_read_only"


class SpaceError(LLMError):
    """The Space cannot be checked, built or deployed; the message says why, and what to do."""

    code = "space_error"


def error_of(code: str, message: str) -> LLMError:
    """The error that has this code; a plain `LLMError` where none has."""
    kinds: list[type[LLMError]] = [LLMError]
    for kind in kinds:
        if kind.code == code:
            return kind(message)
        kinds.extend(kind.__subclasses__())
    return LLMError(message)
