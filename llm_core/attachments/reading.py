"""From the bytes of a file to its text, within limits. What cannot be read is refused with what to do about it.

What a file is says its content, not its name. PDF and Word files are read by a process of their own (extract.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from llm_core.errors import InvalidRequest, TooLarge
from llm_core.messages import (
    MAX_ATTACHED_CHARS,
    MAX_ATTACHMENT_CHARS,
    MAX_ATTACHMENTS,
    MAX_FILE_NAME_CHARS,
    Attachment,
)

MAX_FILE_BYTES = 4 * 1024 * 1024
"""As much as is read of any request's body."""

_PDF, _ZIP = b"%PDF-", b"PK\x03\x04"
_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_KINDS = {"pdf": "application/pdf", "docx": _DOCX}
_TEXTS = {"md": "text/markdown", "markdown": "text/markdown", "csv": "text/csv", "json": "application/json"}
_EXTRACT = Path(__file__).with_name("extract.py")
_SECONDS = 30.0
_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "SYSTEMROOT")
_AT_ONCE = threading.BoundedSemaphore(2)  # more of them would take the cores from the engine
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HALVES = re.compile(r"[\ud800-\udfff]")
_MOST_CONTROL = 0.002  # of the characters of a text


def read_file(path: str | Path, others: Iterable[Attachment] = ()) -> Attachment:
    """The text of a file of this machine; `~` is the home of its user.

    Args:
        others: What goes with the same message.

    Raises:
        TooLarge, InvalidRequest: As `read_attachment`; there is no such file that this process may read; or the message
            has as many files, or as much text in them, as it may.
    """
    others = tuple(others)
    if len(others) >= MAX_ATTACHMENTS:
        raise InvalidRequest(f"No more than {MAX_ATTACHMENTS} files go with a message.", param="attachments")
    path = Path(path)
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:  # not only OSError: nobody's home, and a zero byte in a path
        why = getattr(error, "strerror", None) or str(error)
        raise _refused(_as_text(str(path)), f"cannot be read: {why}.") from None
    found = read_attachment(_as_text(path.name), data)
    if sum(len(each.text) for each in (*others, found)) > MAX_ATTACHED_CHARS:
        raise _refused(
            found.name, f"is too much: the files of a message have {MAX_ATTACHED_CHARS:,} characters at most."
        )
    return found


def _as_text(path: str) -> str:
    """A path with marks for the bytes in it that are no text, which Python has as halves of characters."""
    return _HALVES.sub("\ufffd", path)


def read_attachment(name: str, data: bytes) -> Attachment:
    """The text of a file. Takes up to half a minute; PDF and Word files take a third of a second at least.

    Args:
        name: Of the file. Only its last part is kept.

    Raises:
        TooLarge: The file has too many bytes.
        InvalidRequest: It has no text, too much text, or none that can be read.
    """
    name = _last_part(name)
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(f"“{name}” is larger than {MAX_FILE_BYTES // 2**20} MiB. Attach the part of it that matters.")
    kind = "pdf" if data[:1024].lstrip().startswith(_PDF) else "docx" if data.startswith(_ZIP) else None
    if kind:
        text, media_type = _extracted(name, kind, data), _KINDS[kind]
    else:
        text, media_type = _decoded(name, data), _TEXTS.get(Path(name).suffix[1:].lower(), "text/plain")
    if not text.strip():
        raise _refused(name, "is empty. Attach a file that has text.")
    if len(text) > MAX_ATTACHMENT_CHARS:
        most = f"{MAX_ATTACHMENT_CHARS:,}"
        raise _refused(name, f"has more than {most} characters of text. Attach the part of it that matters.")
    return Attachment(name=name, media_type=media_type, text=text)


def _refused(name: str, said: str) -> InvalidRequest:
    return InvalidRequest(f"“{name}” {said}", param="name")


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].strip()[-MAX_FILE_NAME_CHARS:] or "file"


def _extracted(name: str, kind: str, data: bytes) -> str:
    command = [sys.executable, "-P", str(_EXTRACT), kind, str(MAX_ATTACHMENT_CHARS)]
    try:
        with _AT_ONCE:
            ended = subprocess.run(
                command, input=data, capture_output=True, timeout=_SECONDS, check=True, env=_needed_variables()
            )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):  # its time or its memory was over
        raise _refused(name, "takes too long to read. Copy the text that matters, and paste it.") from None
    answer = json.loads(ended.stdout)
    if "refused" in answer:
        raise _refused(name, answer["refused"])
    return _clean(answer["text"])


def _needed_variables() -> dict[str, str]:
    """Without this process's secrets."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def _decoded(name: str, data: bytes) -> str:
    text = _text(data)
    if text is None or len(_CONTROL.findall(text)) > _MOST_CONTROL * len(text):
        raise _refused(name, "is no text. Attach text, PDF or Word (docx) files.")
    return _clean(text)


def _text(data: bytes) -> str | None:
    """The text in the first encoding that it can be in; None where that is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in data:  # Latin letters in UTF-16 are zeros at every other place
        encodings = ["utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            pass
    return None


def _clean(text: str) -> str:
    """Without what is no character of a text: control characters, and halves of one that a PDF may have."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", lines).encode("utf-8", "replace").decode("utf-8")
