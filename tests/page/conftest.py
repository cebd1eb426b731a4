"""A page whose model answers as the test says."""

from __future__ import annotations

import pytest

from tests.scripted_client import ScriptedClient

from .screen import answering


@pytest.fixture
def script(scripted: ScriptedClient) -> ScriptedClient:
    scripted.script = answering
    return scripted
