"""The one seam where tokens come from: what `LLMClient` needs of a backend, and nothing that only one of them has."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from llm_core.backends.vocabulary import Vocabulary
from llm_core.completion_request import AnyRequest
from llm_core.embedding import VectorRequest
from llm_core.engine.facts import EngineStats
from llm_core.events import ChatEvent
from llm_core.models.info import ModelInfo
from llm_core.reading import Event, Sink
from llm_core.request import ChatRequest


@dataclass(frozen=True, slots=True)
class LoadStatus:
    """How far loading is.

    Attributes:
        state: What is going on.
        progress: 0 to 1, of this state.
        message: A sentence for people.
        notice: What people should know for as long as this model serves; empty where there is nothing to know.
    """

    state: Literal["idle", "downloading", "loading", "ready", "failed"]
    progress: float
    message: str
    notice: str = ""


Event_contra = TypeVar("Event_contra", contravariant=True)


class Submission(Protocol[Event_contra]):
    """A request on its way, in a backend whose own events are `Event_contra`."""

    def translate(self, event: Event_contra) -> list[ChatEvent]:
        """The caller's events for one that came to the sink, in order; called by whoever reads them.

        Raises:
            LLMError: The backend reported it in place of `Done`.
        """

    def cancel(self) -> None:
        """Ends the request soon, wherever it is; `Done` with the finish reason `cancelled` follows. From any thread."""


class Computing(Protocol[Event_contra]):
    """Texts on their way, as a `Submission` is."""

    def translate(self, event: Event_contra) -> list[Any]:
        """`Loading`, or at last `Computed` and `Done`; without `Computed` where they were stopped or late."""

    def cancel(self) -> None:
        """Drops those that are not computed yet. From any thread."""


class Backend(Protocol[Event]):
    """Makes replies. Safe from any thread."""

    def start(self) -> Future[ModelInfo]:
        """Begins to get ready, once, and returns at once; later calls return the same future."""

    def status(self) -> LoadStatus:
        """How far that is. Never waits."""

    def submit(self, request: AnyRequest, sink: Sink[Event]) -> Submission[Event]:
        """Hands in a request; waits until the backend is ready. `Done` or an `LLMError` comes to the sink last.

        Raises:
            LLMError: It is refused.
        """

    def embed(self, request: VectorRequest, sink: Sink[Event]) -> Computing[Event]:
        """Hands in texts; waits until the backend is ready. Something comes to the sink once they are computed.

        Raises:
            LLMError: It is refused.
        """

    def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of a request's prompt; waits until the backend is ready.

        Raises:
            LLMError: The request is refused, or the backend does not count.
        """

    def vocabulary(self, model: str = "") -> Vocabulary:
        """A model's texts and tokens; waits until the backend is ready.

        Args:
            model: Of several its name or an alias; empty: the first one.

        Raises:
            LLMError: It cannot be loaded.
        """

    def stats(self) -> EngineStats | None:
        """A look at the engine; None where there is none to look at."""

    def also_has(self) -> tuple[str, ...]:
        """Names of other models that it could be asked for, once it is ready: those of an engine elsewhere."""

    def clear_cache(self) -> None:
        """Forgets every cached prefix, where the backend keeps any."""

    def forget(self, owner: str, session: str) -> None:
        """Forgets what was kept for a session that is deleted. Never waits for the engine."""

    def close(self) -> None:
        """Ends running requests and frees what is held. Calling it again does nothing."""
