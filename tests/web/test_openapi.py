"""Any request that the documentation allows, and many that it does not, gets an answer below 500."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from llm_core.client import LLMClient
from llm_core.settings import Settings
from llm_core.web.server import build_server
from tests.waiting import free_port


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.schemas.BaseSchema]:
    options = Settings(
        parallel=4,
        context_tokens=256,
        max_tokens=4,
        timeout=1,
        rate_limit="none",
        data_dir=tmp_path_factory.mktemp("data"),
        GRADIO_SERVER_PORT=free_port(),
    )
    with LLMClient(options) as client:
        client.wait_ready()
        yield schemathesis.openapi.from_asgi("/openapi.json", build_server(client), headers={"Host": "localhost"})


def test_no_request_makes_the_server_fail(api: schemathesis.schemas.BaseSchema) -> None:
    asked = set()
    for found in api.get_all_operations():
        operation = found.ok()
        asked.add(operation.label)
        few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        few(given(operation.as_strategy())(answers))()

    assert "POST /api/llm/chat/session/stream" in asked
    assert len(asked) > 12


def answers(case: schemathesis.Case) -> None:
    if isinstance(case.body, dict) and case.body.get("max_tokens"):
        case.body["max_tokens"] = 4
    response = case.call(headers={"Host": "localhost"})
    assert response.status_code < 500 or response.status_code == 503, f"{case.as_curl_command()}: {response.text}"
