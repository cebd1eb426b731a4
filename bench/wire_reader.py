"""Readers of streams, over MQTT or HTTP, as a process of their own: `python -m bench.wire_reader`, job in, answers out.

Real readers are elsewhere and cost the server nothing. Here they share its cores, so over both ways they do the least
that a reader can do while the clock runs: wait for bytes and note the time. What the bytes say is made out afterwards.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

_EVENT = re.compile(rb"data: (\{.*\})\n\n")
_MOST_BYTES = 65536
_PUBLISH, _SUBACK = 3, 9  # kinds of packets

Answer = dict[str, Any]
"""`asked_at`, and `events`, each as the time when its last byte came and its JSON. Seconds of `time.perf_counter`."""
Chunks = list[tuple[float, bytes]]


def main() -> None:
    """Runs the job: `way`, `port`, and `readers`, each a name and the requests that it makes one after another."""
    job = json.load(sys.stdin)
    read = {"http": _read_http, "mqtt": _read_mqtt}[job["way"]]
    answers: list[list[Answer]] = [[] for _ in job["readers"]]
    ready = threading.Barrier(len(answers))
    threads = [
        threading.Thread(target=read, args=(job["port"], name, requests, ready, answers[number]))
        for number, (name, requests) in enumerate(job["readers"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(answers, sys.stdout)


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_http(port: int, _name: str, requests: list[Any], ready: threading.Barrier, answers: list[Answer]) -> None:
    ready.wait()
    for request in requests:
        body = json.dumps(request).encode()
        head = "POST /api/llm/chat/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        asked_at = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body)
            chunks: Chunks = []
            while chunk := connection.recv(_MOST_BYTES):
                chunks.append((time.perf_counter(), chunk))
        text, ends = _joined(chunks)
        events = [(chunks[bisect_left(ends, found.end())][0], json.loads(found[1])) for found in _EVENT.finditer(text)]
        answers.append({"asked_at": asked_at, "events": events})


# ── MQTT ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_mqtt(port: int, name: str, requests: list[Any], ready: threading.Barrier, answers: list[Answer]) -> None:
    """Speaks 3.1.1, and subscribes with QoS 0: nothing of what comes has to be answered."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x00" + _text(f"bench-{name}")))
        connection.sendall(_packet(0x82, b"\x00\x01" + _text(f"llm/bench/reply/{name}/#") + b"\x00"))
        _until(connection, _SUBACK)
        ready.wait()
        for number, request in enumerate(requests):
            payload = json.dumps({"request_id": f"r{number}-{time.time_ns()}"} | request).encode()
            message = _packet(0x32, _text(f"llm/bench/request/{name}") + b"\x00\x02" + payload)
            asked_at = time.perf_counter()
            connection.sendall(message)
            chunks: Chunks = []
            while not chunks or b'"type":"done"' not in chunks[-1][1]:
                chunk = connection.recv(_MOST_BYTES)
                chunks.append((time.perf_counter(), chunk))
                if not chunk or b'"type":"error"' in chunk:
                    break
            text, ends = _joined(chunks)
            events = [
                (chunks[bisect_left(ends, end)][0], json.loads(payload))
                for kind, payload, end in _packets(text)
                if kind == _PUBLISH
            ]
            answers.append({"asked_at": asked_at, "events": events})


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(kind: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, digit = left >> 7, left & 127
        length.append(digit | (128 if left else 0))
        if not left:
            return bytes([kind]) + bytes(length) + body


def _packets(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind, payload and place of the end of each packet; the payload without the topic where one is published."""
    at = 0
    while at < len(data):
        kind, at, length, shift = data[at] >> 4, at + 1, 0, 0
        while True:
            digit, at = data[at], at + 1
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                break
        body = data[at : at + length]
        at += length
        yield kind, body[2 + int.from_bytes(body[:2], "big") :] if kind == _PUBLISH else body, at


def _until(connection: socket.socket, kind: int) -> None:
    data = b""
    while kind not in {found for found, _, _ in _packets(data)}:
        data += connection.recv(_MOST_BYTES)


def _joined(chunks: Chunks) -> tuple[bytes, list[int]]:
    """All bytes, and where each chunk ends in them."""
    ends: list[int] = []
    for _, chunk in chunks:
        ends.append((ends[-1] if ends else 0) + len(chunk))
    return b"".join(chunk for _, chunk in chunks), ends


if __name__ == "__main__":
    main()
