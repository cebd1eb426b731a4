"""Whatever a visitor does, and however quickly: what is on the screen is what is stored, and nothing typed is lost.

Longer walks, and others: `WALK_STEPS=5000 WALK_SEEDS=7,8 make test ARGS=tests/page/test_walk.py`.
"""

from __future__ import annotations

import os
import random

import pytest
from playwright.sync_api import Browser

from llm_core.client import LLMClient
from llm_core.server import server
from tests.served import DESKTOP, served
from tests.waiting import free_port

from .walk import Walk
from .walked import Limit, WalkedClient

STEPS = int(os.environ.get("WALK_STEPS", "300"))
SEEDS = [int(seed) for seed in os.environ.get("WALK_SEEDS", "1,2,3").split(",")]


@pytest.mark.slow
@pytest.mark.timeout(2 * STEPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk_finds_the_page_true(
    browser: Browser, page_client: LLMClient, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    limit = Limit()
    monkeypatch.setattr(server, "CallerLimit", lambda *_settings: limit)
    client = WalkedClient(page_client, free_port(), random.Random(seed))
    with served(client) as url, browser.new_context(viewport=DESKTOP) as context:
        Walk(context, url, client, limit, seed).run(STEPS)
