"""Files in GGUF format: whether one is such a file at all, and what its header says.

The header is read without llama.cpp, which takes long and says little where something is wrong. A file may be
anybody's, so that every count and length in it is bounded before it is believed.
The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llm_core.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)

MAX_ENTRIES = 10_000
MAX_TENSORS = 200_000
MAX_KEY_BYTES = 65_535
MAX_TEXT_BYTES = 4 << 20
MAX_HEADER_BYTES = 128 << 20
_KEPT_NUMBERS = 1024  # of an array: one for each layer; vocabularies are longer and of no use here
_READ_BYTES = 1 << 20

# GGUF's type codes, with their letters in the struct module's language.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

Number = int | float | bool


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before a file's tensors.

    Attributes:
        values: The entries that are numbers, texts or short arrays of numbers.
        lengths: How long every array is, also those that are not kept.
        parameters: Numbers in all tensors of the file together.
    """

    values: Mapping[str, Number | str | tuple[Number, ...]]
    lengths: Mapping[str, int]
    parameters: int


def check_gguf(path: Path) -> None:
    """Looks at how a file begins.

    Raises:
        ModelError: It cannot be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    if not magic:
        raise ModelError(f"{path} is not a GGUF file: it is empty. Download it again.")
    if magic != _MAGIC:
        raise ModelError(f"{path} is not a GGUF file: it begins with {magic!r}. Download the model in GGUF format.")


def read_header(path: Path) -> GgufHeader:
    """Reads a file's header: some 10 MB, a tenth of a second for a large vocabulary.

    Raises:
        ModelError: It cannot be read, is no GGUF file, is cut short, or claims what no model has.
    """
    check_gguf(path)
    try:
        with path.open("rb") as file:
            return _Reader(file).header()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except _Malformed as error:
        raise ModelError(f"{path} has a header that cannot be read: {error}. Download it again.") from None


class _Malformed(Exception):
    pass


class _Reader:
    """Reads on from where it stands, in pieces of a mebibyte."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        self._at = 0
        self._read = 0

    def header(self) -> GgufHeader:
        self._take(len(_MAGIC))
        if (version := self._number("I")) not in _VERSIONS:
            raise _Malformed(f"version {version} of the format is not one of {_VERSIONS}")
        tensors = self._count("Q", MAX_TENSORS, "tensors")
        entries = self._count("Q", MAX_ENTRIES, "entries")
        values: dict[str, Number | str | tuple[Number, ...]] = {}
        lengths: dict[str, int] = {}
        for _ in range(entries):
            key = self._text(MAX_KEY_BYTES)
            kind = self._count("I", 255, "a type")
            if kind == _ARRAY:
                kept, lengths[key] = self._array()
                if kept is not None:
                    values[key] = kept
            else:
                values[key] = self._text(MAX_TEXT_BYTES) if kind == _TEXT else self._number(self._letter(kind))
        return GgufHeader(values, lengths, sum(self._tensor_size() for _ in range(tensors)))

    def _tensor_size(self) -> int:
        self._text(MAX_KEY_BYTES)
        dimensions = [self._count("Q", 1 << 40, "a dimension") for _ in range(self._count("I", 8, "dimensions"))]
        self._take(12)  # its type, and where its numbers are
        return math.prod(dimensions)

    def _array(self) -> tuple[tuple[Number, ...] | None, int]:
        kind = self._count("I", 255, "a type")
        length = self._count("Q", MAX_HEADER_BYTES, "the length of an array")
        if kind == _TEXT:
            self._skip_texts(length)
            return None, length
        letter = self._letter(kind)
        if length > _KEPT_NUMBERS:
            self._skip(length * struct.calcsize(letter))
            return None, length
        layout = f"<{length}{letter}"
        return struct.unpack(layout, self._take(struct.calcsize(layout))), length

    def _letter(self, kind: int) -> str:
        if kind not in _NUMBERS:
            raise _Malformed(f"a value is of the unknown type {kind}")
        return _NUMBERS[kind]

    def _number(self, letter: str) -> Number:
        layout = f"<{letter}"
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        assert isinstance(number, int | float)
        return number

    def _count(self, letter: str, limit: int, what: str) -> int:
        count = int(self._number(letter))
        if count > limit:
            raise _Malformed(f"{count} for {what} is more than {limit}")
        return count

    def _text(self, limit: int) -> str:
        return self._take(self._count("Q", limit, "the bytes of a text")).decode("utf-8", "replace")

    def _skip_texts(self, count: int) -> None:
        """Passes over a vocabulary; written out, since it has up to a million texts."""
        unpack = struct.Struct("<Q").unpack_from
        data, at = self._data, self._at
        for _ in range(count):
            if at + 8 > len(data):
                self._at = at
                self._fill(8)
                data, at = self._data, self._at
            (length,) = unpack(data, at)
            if length > MAX_TEXT_BYTES:
                raise _Malformed(f"{length} for the bytes of a text is more than {MAX_TEXT_BYTES}")
            at += 8 + length
        self._at = at
        self._fill(0)

    def _skip(self, size: int) -> None:
        self._at += size
        self._fill(0)

    def _take(self, size: int) -> bytes:
        self._fill(size)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def _fill(self, size: int) -> None:
        """Reads until `size` bytes are there from where it stands, which may be behind what was read."""
        while self._at + size > len(self._data):
            piece = self._file.read(_READ_BYTES)
            self._read += len(piece)
            if not piece:
                raise _Malformed("the file is cut short")
            if self._read > MAX_HEADER_BYTES:
                raise _Malformed(f"it is longer than {MAX_HEADER_BYTES} bytes")
            kept = self._data[self._at :]
            self._at = max(0, self._at - len(self._data))
            self._data = kept + piece
