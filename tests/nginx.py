"""A real nginx for tests: it writes into a folder of the test's, as the test's user, and ends with the test."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from scripts.system_packages import NO_NGINX, find_nginx
from tests.missing import skip_unless_ci
from tests.waiting import free_port, wait_until

_MAIN = """
user {user};
daemon off;
pid nginx.pid;
error_log error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include app.conf;
}}
"""


@contextmanager
def nginx(folder: Path, conf: str, health: str = "/api/llm/health") -> Iterator[str]:
    """Runs nginx with the servers of `conf`, in which `listen 80;` becomes a free port; yields its URL without a slash
    at the end.

    Args:
        health: The path that answers when what is behind nginx can be reached.
    """
    program = find_nginx()
    if program is None:
        skip_unless_ci("nginx", NO_NGINX)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "app.conf").write_text(conf.replace("listen 80;", f"listen 127.0.0.1:{port};"))
    (folder / "nginx.conf").write_text(_MAIN.format(user=getpass.getuser()))
    process = subprocess.Popen([program, "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(url + health), f"nginx answers: {folder / 'error.log'}")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False
