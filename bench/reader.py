"""Readers over HTTP in a process of their own: `python -m bench.reader`, which takes a job and gives answers, as JSON.

Real readers are elsewhere and cost the server nothing; on one machine they share its cores. So these do the least that
a reader can do while the clock runs, which is to wait for bytes and note the time. What the bytes say is made out
afterwards. Only the standard library is imported, for the same reason.
"""

from __future__ import annotations

import json
import math
import re
import socket
import sys
import threading
import time
from bisect import bisect_left
from typing import Any

STALLED_BUFFER_BYTES = 4096
"""What a reader who does not read takes all the same. As the system sets it up, that is more than a long reply."""
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_EVENT = re.compile(rb"data: (\{.*\})\n\n")
_TEXT = b'"content"'
_MOST_BYTES = 65536

Answer = dict[str, Any]
"""`status`, `asked_at`, `answered_at`, and `events`, each as the time when its last byte came and its JSON. Seconds of
`time.perf_counter`."""


def main() -> None:
    """Runs the job: `port`, and `readers` as lists of requests made one after another, each of `path` and `body`.

    With `seconds` the streams are left after that time, counted from when all of them have text. Who asks with `stalls`
    reads no more after the first text.
    """
    job = json.load(sys.stdin)
    clock = _Clock(len(job["readers"]), job.get("seconds"))
    answers: list[list[Answer]] = [[] for _ in job["readers"]]
    threads = [
        threading.Thread(target=_read_all, args=(job["port"], requests, clock, answers[number]))
        for number, requests in enumerate(job["readers"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(answers, sys.stdout)


class _Clock:
    """When the streams are left."""

    def __init__(self, readers: int, seconds: float | None) -> None:
        self._seconds = seconds
        self._waited_for = readers
        self._lock = threading.Lock()
        self._running = threading.Event()
        self.ends_at = math.inf

    def has_text(self) -> None:
        """One more reader has."""
        with self._lock:
            self._waited_for -= 1
            if self._seconds is not None and self._waited_for == 0:
                self.ends_at = time.perf_counter() + self._seconds
                self._running.set()

    def sit_out(self) -> None:
        """Waits for the end."""
        self._running.wait()
        time.sleep(max(0.0, self.ends_at - time.perf_counter()))


def _read_all(port: int, requests: list[dict[str, Any]], clock: _Clock, answers: list[Answer]) -> None:
    for request in requests:
        answers.append(_read(port, request, clock))  # noqa: PERF401 - what was read before a failure is kept


def _read(port: int, request: dict[str, Any], clock: _Clock) -> Answer:
    stalls = bool(request.get("stalls"))
    body = json.dumps(request["body"]).encode()
    head = f"POST {request['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    asked_at = time.perf_counter()
    with socket.socket() as connection:
        if stalls:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER_BYTES)
        connection.connect(("127.0.0.1", port))
        connection.sendall(head.encode() + body)
        chunks = _receive(connection, clock, stalls=stalls)
    return {"asked_at": asked_at} | _made_out(chunks)


def _receive(connection: socket.socket, clock: _Clock, *, stalls: bool) -> list[tuple[float, bytes]]:
    chunks: list[tuple[float, bytes]] = []
    waits_for_text = True
    while time.perf_counter() < clock.ends_at and (chunk := connection.recv(_MOST_BYTES)):
        chunks.append((time.perf_counter(), chunk))
        if waits_for_text and _TEXT in chunk:
            waits_for_text = False
            clock.has_text()
            if stalls:
                clock.sit_out()
    return chunks


def _made_out(chunks: list[tuple[float, bytes]]) -> Answer:
    """The status and the events, each with the time of the chunk that its end came with."""
    text = b"".join(chunk for _, chunk in chunks)
    ends: list[int] = []
    for _, chunk in chunks:
        ends.append((ends[-1] if ends else 0) + len(chunk))
    found = _STATUS.match(text)
    moments = [chunks[bisect_left(ends, event.end())][0] for event in _EVENT.finditer(text)]
    return {
        "status": int(found[1]) if found else 0,
        "answered_at": chunks[0][0] if chunks else None,
        "events": list(zip(moments, map(json.loads, _EVENT.findall(text)), strict=True)),
    }


if __name__ == "__main__":
    main()
