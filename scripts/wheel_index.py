"""Asks whether llama-cpp-python's own index of prebuilt wheels can be reached and has the version that is needed.

The package index itself has only its source, which takes minutes to compile. The answer never takes more than a few
seconds and is never an error: where the index cannot be used, pip compiles.
"""

from __future__ import annotations

import threading
import urllib.request
from urllib.error import URLError

INDEX = "https://abetlen.github.io/llama-cpp-python/whl/cpu"  # from the README of llama-cpp-python
TIMEOUT_SECONDS = 3.0
MAX_PAGE_BYTES = 2_000_000


def usable_index(version: str, index: str = INDEX, timeout: float = TIMEOUT_SECONDS) -> str | None:
    """The index, if it lists wheels of `version` and says so within `timeout` seconds; else None."""
    pages: list[str] = []
    # In a thread, because a look-up of the host's name has no time limit of its own.
    asking = threading.Thread(target=lambda: pages.append(_page(index, timeout)), daemon=True)
    asking.start()
    asking.join(timeout)
    listed = any(f"llama_cpp_python-{version}-" in page for page in list(pages))
    return index if listed else None


def _page(index: str, timeout: float) -> str:
    """The index's page of files, empty where it cannot be had."""
    try:
        with urllib.request.urlopen(f"{index}/llama-cpp-python/", timeout=timeout) as answer:
            page: bytes = answer.read(MAX_PAGE_BYTES)
    except (URLError, OSError, ValueError):
        return ""
    return page.decode("utf-8", errors="replace")
