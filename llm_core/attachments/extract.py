"""A process of its own that takes the text out of one PDF or Word file: `python extract.py pdf|docx MAX_CHARS`.

The file comes in, and `{"text": ...}` or `{"refused": ...}` goes out. What a file can do to its reader ends with the
process: it has so much memory and so much time, and holds no lock of the engine's. It imports nothing of ours, so that
it starts quickly.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import takewhile

MAX_PAGES = 500
MAX_UNPACKED_BYTES = 32 * 1024 * 1024
MAX_PARTS = 2_000
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20


class Refused(Exception):
    """The file has no text that could be taken. The message goes on after the file's name."""


def pdf_texts(data: bytes) -> Iterator[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(io.BytesIO(data))
    try:
        # Some have a password for changing them only: they open with an empty one.
        is_locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:
        is_locked = True
    if is_locked:
        raise Refused("is encrypted. Save a copy of it without a password, and attach that.")
    if len(reader.pages) > MAX_PAGES:
        raise Refused(f"has {len(reader.pages)} pages; {MAX_PAGES} can be read. Attach the pages that matter.")
    has_text = False
    for page in reader.pages:
        text = page.extract_text().strip()
        has_text = has_text or bool(text)
        yield text
    if not has_text:
        raise Refused("has no text, only pictures. Have its text recognised (OCR) first, and attach that copy.")


def docx_texts(data: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        infos = parts.infolist()
    # What is read of a part is never more than it says here.
    if len(infos) > MAX_PARTS or sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise Refused("unpacks to far more than it seems to be. Copy its text into a new document, and attach that.")
    if all(info.filename != "word/document.xml" for info in infos):
        raise Refused("is an archive and no Word document. Unpack it, and attach the files that matter.")
    import docx
    from docx.table import Table

    has_text = False
    for block in docx.Document(io.BytesIO(data)).iter_inner_content():
        if isinstance(block, Table):
            # Cells that were merged come once for each place.
            rows = (dict.fromkeys(cell.text.strip() for cell in row.cells) for row in block.rows)
            text = "\n".join(" | ".join(row) for row in rows)
        else:
            text = block.text
        has_text = has_text or bool(text.strip())
        yield text
    if not has_text:
        raise Refused("has no text. Attach a document that has some.")


READERS: dict[str, Callable[[bytes], Iterator[str]]] = {"pdf": pdf_texts, "docx": docx_texts}


def limit_this_process() -> None:
    """As far as the system can; whoever started it ends it after a time in any case."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS)):
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit of memory
            resource.setrlimit(limit, (most, most))


def text_of(kind: str, data: bytes, max_chars: int) -> str:
    """The text, cut off soon after `max_chars`: the caller refuses what is longer."""
    room = max_chars

    def is_room(text: str) -> bool:
        nonlocal room
        had_room, room = room >= 0, room - len(text)
        return had_room

    return "\n\n".join(takewhile(is_room, READERS[kind](data)))


def main() -> None:
    kind, max_chars = sys.argv[1], int(sys.argv[2])
    limit_this_process()
    logging.disable()  # what pypdf has to say of a damaged file is no one's business
    try:
        answer = {"text": text_of(kind, sys.stdin.buffer.read(), max_chars)}
    except Refused as refused:
        answer = {"refused": str(refused)}
    except Exception:  # the edge of the process: a damaged file fails its reader in any way
        answer = {"refused": "is damaged and cannot be read. Save it anew, or copy its text."}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
