"""Whether an index has llama-cpp-python compiled for a Space, which would else spend its build compiling it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import httpx2

TIMEOUT_SECONDS = 10.0

# A Space is Linux on x86-64 with glibc. Wheels tagged musllinux are for Alpine.
_FILE = r"llama_cpp_python-{version}-[\w.]+-[\w.]+-(?:\w+\.)*(?:many)?linux\w*_x86_64(?:\.\w+)*\.whl"


def listed(index: str, version: str) -> bool | None:
    """Whether the index lists a wheel of this version for a Space; None where the index cannot be asked from here."""
    try:
        answer = httpx2.get(f"{index.rstrip('/')}/llama-cpp-python/", timeout=TIMEOUT_SECONDS, follow_redirects=True)
        answer.raise_for_status()
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return None
    # A build's mark, as in 0.3.36+cu124, belongs to the same version.
    pattern = _FILE.format(version=rf"{re.escape(version)}(?:\+\w+)?")
    return any("musllinux" not in file for file in re.findall(pattern, unquote(answer.text)))
