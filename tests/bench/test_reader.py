"""The readers of the HTTP scenario: what they note, and what is made of it."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.reader import _made_out
from bench.scenarios.http import Heard, _gaps

ROOT = Path(__file__).resolve().parents[2]
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(number: int, data: str) -> bytes:
    event = f"id: {number}\ndata: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


class OneEvent(socketserver.StreamRequestHandler):
    """Answers with one event; under `/stays` with more of them, until the reader leaves."""

    def handle(self) -> None:
        path = self.rfile.readline().split()[1]
        while self.rfile.readline().strip():
            pass
        self.wfile.write(HEAD + chunk(1, json.dumps({"content": path.decode()})))
        with suppress(ConnectionError):
            while path == b"/stays":
                self.wfile.write(chunk(2, "{}"))


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OneEvent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def run(job: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "bench.reader"]
    return json.loads(subprocess.check_output(command, cwd=ROOT, input=json.dumps(job), text=True, timeout=60))


def test_an_event_came_when_its_last_byte_came() -> None:
    stream = HEAD + chunk(1, '{"a": 1}') + chunk(2, '{"b": 2}')
    middle = len(HEAD) + len(chunk(1, '{"a": 1}')) + 5
    found = _made_out([(1.0, stream[:10]), (2.0, stream[10:middle]), (3.0, stream[middle:])])

    assert found == {"status": 200, "answered_at": 1.0, "events": [(2.0, {"a": 1}), (3.0, {"b": 2})]}


def test_one_who_was_sent_nothing_has_no_status() -> None:
    assert _made_out([]) == {"status": 0, "answered_at": None, "events": []}


def test_readers_ask_for_one_reply_after_another(port: int) -> None:
    readers = [[{"path": f"/{reader}/{turn}", "body": {}} for turn in range(2)] for reader in range(3)]
    answers = run({"port": port, "readers": readers})

    said = [[answer["events"][0][1]["content"] for answer in reader] for reader in answers]
    assert said == [[request["path"] for request in reader] for reader in readers]
    assert all(first["answered_at"] <= second["asked_at"] for first, second in answers)


def test_streams_without_an_end_are_left_and_one_who_stalls_has_read_little_of_them(port: int) -> None:
    readers = [[{"path": "/stays", "body": {}, "stalls": stalls}] for stalls in (True, False)]
    (stalled,), (other,) = run({"port": port, "readers": readers, "seconds": 0.1})

    assert 0 < len(stalled["events"]) < len(other["events"])


def test_the_engines_part_is_taken_off_the_first_token() -> None:
    assert Heard(asked_at=1.0, arrivals=(1.5, 1.6), engine=0.4).beside_engine == pytest.approx(0.1)


def test_gaps_count_while_all_read() -> None:
    early, late = [Heard(0.0, (1.0, 2.0, 3.0, 4.0))], [Heard(0.0, (2.5, 3.0, 3.5))]
    assert sorted(_gaps([early, late])) == [0.5, 0.5, 1.0, 1.0]
