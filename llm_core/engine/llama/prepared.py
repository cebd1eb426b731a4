"""Weights in the form that this processor computes fastest: a copy of a model's file, made once and kept.

llama.cpp has fast kernels for some forms of weights only. On x86 they are Q4_0, Q4_K, IQ4_NL, MXFP4 and Q8_0; with the
others a prompt takes twice as long. So a small model's file in such a form gets a copy in Q8_0, which keeps what the
file knew. Whether the copy is faster depends on the machine too: a reply's speed is that of memory where there are many
cores, and the copy is larger. So both are timed once, and the verdict is kept beside the copy.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from llm_core.engine.fast_form import FORM as FORM
from llm_core.engine.fast_form import LARGEST_COPY, copy_bytes
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.library import lib
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.quantizer import quantize_to_q8_0
from llm_core.errors import ModelError

log = logging.getLogger(__name__)

KEPT_BYTES = 4 * LARGEST_COPY
_ASIDE = "tmp"  # what the names of folders begin with in which copies are written
_STALE_SECONDS = 3600  # after which nobody writes into a folder any more; the largest copy takes some minutes
_PROMPT_TOKENS = 64
_REPLY_TOKENS = 8
_ROUNDS = 2


def folder_of(data_dir: Path) -> Path:
    """Where the copies are, in the folder for what outlives the process."""
    return data_dir / "prepared"


@dataclass(frozen=True, slots=True)
class Speed:
    """What one file does on this machine: seconds for 64 tokens of a prompt, and for one token of a reply."""

    prompt: float
    token: float

    @property
    def turn(self) -> float:
        """Seconds of a turn as chats have them: as many tokens of a reply as of a prompt."""
        return self.prompt + _PROMPT_TOKENS * self.token


def is_worth_it(source: Speed, copy: Speed) -> bool:
    """A copy has to win a turn by more than what timings scatter, and must not make replies slower."""
    return copy.turn < 0.95 * source.turn and copy.token < 1.05 * source.token


def prepared_file(model: Model, folder: Path, *, threads: int, on_start: Callable[[], None]) -> Path | None:
    """The file to compute with in place of the model's own; None where that one is best.

    Args:
        model: The loaded model.
        folder: Where copies and verdicts are kept.
        threads: CPU threads.
        on_start: Called where there is work to do first: writing and timing take about 20 s for each GB.
    """
    is_split = model.metadata.get("split.count", "1") not in ("0", "1")
    size = copy_bytes(model.metadata.get("general.file_type"), model.parameters, is_split=is_split)
    if size is None or model.on_gpu:
        return None
    verdict_file = folder / f"{_key(model.path, threads)}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_up(folder)
        if (verdict := _verdict(verdict_file)) is not None:
            if (copy := _copy_of(verdict, folder)) is not None:
                os.utime(copy)  # used last
            return copy
        _check_room(folder, size)
        on_start()
        return _decide(model, folder, verdict_file, threads)
    except (OSError, ModelError) as error:
        log.warning("the model runs as it is, without a copy that is faster here: %s", error)
        return None


def known_copy(path: Path, folder: Path, *, threads: int) -> Path | None:
    """The copy that is computed with in place of a model's file; None where there is none, or nobody has looked yet."""
    verdict = _verdict(folder / f"{_key(path, threads)}.json")
    return _copy_of(verdict, folder) if verdict else None


def _key(path: Path, threads: int) -> str:
    """What a verdict is about: a file, and who computes it."""
    facts = path.stat()
    about = (str(path.resolve()), facts.st_size, facts.st_mtime_ns, threads, platform.processor(), os.cpu_count())
    return hashlib.sha256(repr((*about, lib.__version__, lib.llama_print_system_info())).encode()).hexdigest()[:32]


def _verdict(file: Path) -> dict[str, Any] | None:
    """What was decided earlier; None where nothing was, or its copy is gone."""
    try:
        verdict = json.loads(file.read_text())
        copy = _copy_of(verdict, file.parent)
        if copy is None or copy.stat().st_size == verdict["size"]:
            return dict(verdict)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _copy_of(verdict: dict[str, Any], folder: Path) -> Path | None:
    return folder / Path(verdict["copy"]).name if verdict["copy"] else None


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.5 * size:
        raise ModelError(f"{folder} has {free / 1e9:.1f} GB left, and the copy needs {size / 1e9:.1f} GB.")
    memory = psutil.virtual_memory().available
    if memory < 2 * size:
        raise ModelError(f"{memory / 1e9:.1f} GB of memory are left, too few for a copy of {size / 1e9:.1f} GB.")


def _clear_up(folder: Path) -> None:
    """Removes what processes have left behind that were killed while they wrote a copy."""
    for aside in folder.glob(f"{_ASIDE}*"):
        with suppress(FileNotFoundError):  # another process is done with it
            if time.time() - aside.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)


def _decide(model: Model, folder: Path, verdict_file: Path, threads: int) -> Path | None:
    with model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    copy = folder / f"{digest}-{FORM}.gguf"
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=folder) as aside:
        written = Path(aside) / copy.name
        quantize_to_q8_0(model.path, written, threads=threads)
        candidate = Model.load(written, gpu_layers=0)
        try:
            source_speed, copy_speed = time_both(model, candidate, threads)
        finally:
            candidate.close()
        wins = is_worth_it(source_speed, copy_speed)
        size = written.stat().st_size
        if wins:
            _make_room(folder, size)
            written.replace(copy)
        verdict = {
            "of": model.path.name,
            "copy": copy.name if wins else None,
            "size": size,
            "source_seconds": asdict(source_speed),
            "copy_seconds": asdict(copy_speed),
        }
        (Path(aside) / "verdict").write_text(json.dumps(verdict, indent=1))
        (Path(aside) / "verdict").replace(verdict_file)
    log.info("%s runs %s on this machine: %s", model.path.name, f"as {FORM}" if wins else "as it is", verdict)
    return copy if wins else None


def _make_room(folder: Path, size: int) -> None:
    """Removes the copies that were used least recently until one more fits."""
    kept = sorted(folder.glob("*.gguf"), key=lambda file: file.stat().st_mtime)
    while kept and sum(file.stat().st_size for file in kept) + size > KEPT_BYTES:
        kept.pop(0).unlink()


def time_both(source: Model, copy: Model, threads: int) -> tuple[Speed, Speed]:
    """Times two loaded models in turns, so that other work of the machine meets both."""
    rounds = [(_time(source, threads), _time(copy, threads)) for _ in range(_ROUNDS)]
    return _best([first for first, _ in rounds]), _best([second for _, second in rounds])


def _best(speeds: list[Speed]) -> Speed:
    return Speed(min(each.prompt for each in speeds), min(each.token for each in speeds))


def _time(model: Model, threads: int) -> Speed:
    batch = Batch(_PROMPT_TOKENS)
    context = Context(model, slots=1, context_tokens=256, batch_tokens=_PROMPT_TOKENS, threads=threads)
    tokens = np.arange(_PROMPT_TOKENS, dtype=np.int32) % model.vocab_size
    position = 0

    def decode(count: int) -> float:
        nonlocal position
        batch.clear()
        batch.add(0, position, tokens[:count], wants_logits=True)
        position += count
        started = time.monotonic()
        context.decode(batch)
        return time.monotonic() - started

    try:
        decode(1)  # reads the weights' pages
        prompt = decode(_PROMPT_TOKENS)
        return Speed(prompt, min(decode(1) for _ in range(_REPLY_TOKENS)))
    finally:
        context.close()
