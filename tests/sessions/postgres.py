"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on loopback, that lasts as long as they do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from scripts.system_packages import find_postgres
from tests.waiting import free_port

START_SECONDS = 60
USER = "llm"


class Postgres:
    """A server that runs."""

    def __init__(self, port: int) -> None:
        self._port, self._made = port, 0

    def make_database(self) -> str:
        """A new, empty database; its URL as `LLM_DATABASE_URL` has it."""
        self._made += 1
        name = f"sessions_{self._made}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self._port}/{name}"

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=self._port, user=USER, dbname="postgres", autocommit=True)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs = find_postgres()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="llm-postgres-", ignore_cleanup_errors=True) as folder:
        # The server refuses to run as root; Debian's package brings a user for it.
        as_user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        data = Path(folder) / "data"
        made = subprocess.run(
            [f"{programs}/initdb", "-D", data, "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **as_user,
        )
        assert made.returncode == 0, made.stderr
        port = free_port()
        # Nothing here has to survive a power cut.
        options = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=200"]
        server = subprocess.Popen(
            [f"{programs}/postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_user,
        )
        try:
            postgres = Postgres(port)
            _wait(postgres, server)
            yield postgres
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(20)


def _wait(postgres: Postgres, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            postgres.connect().close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise
        time.sleep(0.05)
