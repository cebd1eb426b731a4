"""A conversation's KV state as a file: what is in it, whose it is, which model's, and hashes of all of that.

The layout: magic, SHA-256 of the head, how long the head's two parts are, its JSON, its token ids; then the state and
the checkpoints' states. The JSON has their sizes and the SHA-256 of them all: nothing is believed of a file that is not
exactly as it was written. That is no protection from those who may write files here.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from llm_core.engine.kv.checkpoint import Checkpoint
from llm_core.engine.llama.arrays import State, Tokens
from llm_core.lora import AdapterSet

_MAGIC = b"LLMKV\x00\x00\x01"
_PREFIX = struct.Struct("<8s32sII")
_MOST_JSON = 1 << 20
_MOST_TOKENS = 1 << 23
_CHUNK = 1 << 20


class BadState(Exception):
    """A file that is not, or not any more, a state that was written here. The text says what is wrong with it."""


@dataclass(frozen=True, eq=False)
class StateHead:
    """What can be said of a state without reading it.

    Attributes:
        identity: Of whatever has to be the same for llama.cpp to go on from it: model, KV type, release.
        owner: Whose conversation it is.
        session: Which.
        known: The tokens that are in it.
        shared_tokens: As of a slot.
        shortest: As of a slot.
        checkpoints: Lengths of those that come with it.
        adapters: As of a slot.
    """

    identity: str
    owner: str
    session: str
    known: Tokens
    shared_tokens: int
    shortest: int
    checkpoints: tuple[int, ...]
    adapters: AdapterSet = ()


def write_state(
    file: BinaryIO, head: StateHead, state: State, checkpoints: tuple[State, ...], *, pause: Callable[[int], None]
) -> None:
    """Writes a state.

    Args:
        pause: Called with the number of bytes after each piece; may wait, so that the disk is there for others too.

    Raises:
        OSError: It cannot be written.
    """
    states = (state, *checkpoints)
    text = json.dumps(
        {
            "identity": head.identity,
            "owner": head.owner,
            "session": head.session,
            "shared_tokens": head.shared_tokens,
            "shortest": head.shortest,
            "checkpoints": head.checkpoints,
            "adapters": head.adapters,
            "sizes": [each.nbytes for each in states],
            "sha256": _hash_of(states),
        }
    ).encode()
    tokens = head.known.astype("<i4").tobytes()
    file.write(_PREFIX.pack(_MAGIC, hashlib.sha256(text + tokens).digest(), len(text), len(head.known)) + text + tokens)
    for each in states:
        data = each.data
        for start in range(0, len(data), _CHUNK):
            piece = data[start : start + _CHUNK]
            file.write(piece)
            pause(len(piece))


def read_head(path: Path) -> StateHead:
    """The head of a file, which is as long as its head says.

    Raises:
        BadState: It is no such file.
        OSError: It cannot be read.
    """
    with _opened(path) as file:
        return _read_head(file)[0]


def read_state(path: Path) -> tuple[StateHead, State, tuple[Checkpoint, ...]]:
    """A whole file; takes as long as the disk and a hash of it all do.

    Raises:
        BadState: It is no such file, or not as it was written.
        OSError: It cannot be read.
    """
    with _opened(path) as file:
        head, sizes, digest = _read_head(file)
        states = []
        for size in sizes:
            state = np.empty(size, np.uint8)
            if file.readinto(state.data) != size:
                raise BadState("it is cut short")
            states.append(state)
    if _hash_of(states) != digest:
        raise BadState("its hash is another")
    first, *rest = states
    return head, first, tuple(Checkpoint(*pair) for pair in zip(head.checkpoints, rest, strict=True))


def _hash_of(states: list[npt.NDArray[np.uint8]] | tuple[State, ...]) -> str:
    digest = hashlib.sha256()
    for each in states:
        digest.update(each.data)
    return digest.hexdigest()


def _opened(path: Path) -> BufferedReader:
    """A regular file of this user's; not what a link leads to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        file.close()
        raise BadState("it is no file of this user")
    return file


def _read_head(file: BufferedReader) -> tuple[StateHead, list[int], str]:
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise BadState("it is cut short")
    magic, digest, length, count = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > _MOST_JSON or count > _MOST_TOKENS:
        raise BadState("it begins as no state does")
    text, tokens = file.read(length), file.read(4 * count)
    if hashlib.sha256(text + tokens).digest() != digest:
        raise BadState("its head is not as it was written")
    fields = json.loads(text)
    sizes = list(fields["sizes"])
    if os.fstat(file.fileno()).st_size != file.tell() + sum(sizes):
        raise BadState("it is cut short")
    head = StateHead(
        identity=fields["identity"],
        owner=fields["owner"],
        session=fields["session"],
        known=np.frombuffer(tokens, "<i4").astype(np.int32),
        shared_tokens=fields["shared_tokens"],
        shortest=fields["shortest"],
        checkpoints=tuple(fields["checkpoints"]),
        adapters=tuple((name, scale) for name, scale in fields.get("adapters", ())),
    )
    return head, sizes, fields["sha256"]
