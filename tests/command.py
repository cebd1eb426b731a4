"""`python -m llm_core` in a process of its own, as people start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import environment_without

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 100


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine with an empty cache and no settings."""
    kept = environment_without("LLM_", "HF_")
    return kept | {"HF_HOME": str(tmp_path / "hf"), "LLM_PARALLEL": "1", "LLM_CONTEXT_TOKENS": "512"}


class Command:
    """Runs `python -m llm_core` in one environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llm_core", *arguments],
            cwd=ROOT,
            env=self.environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def llm_core(environment: dict[str, str]) -> Command:
    return Command(environment)
