"""Settings come from the environment; what cannot be used is refused with the variable's name and its range."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm_core.broker import BrokerUrl
from llm_core.errors import SettingsError
from llm_core.settings import DEFAULT_SYSTEM_PROMPT, Settings, variable_of


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*map(variable_of, Settings.model_fields), "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_every_setting_has_its_documented_default() -> None:
    settings = Settings.load()

    assert settings.model == "bundled"
    assert settings.context_tokens is None
    assert (settings.parallel, settings.queue_limit, settings.step_ms) == (8, 64, 100.0)
    assert (settings.temperature, settings.top_p, settings.max_tokens, settings.timeout) == (0.7, 0.95, 512, 300.0)
    assert settings.system_prompt == DEFAULT_SYSTEM_PROMPT
    assert (settings.server_name, settings.server_port, settings.public) == ("127.0.0.1", 7860, False)


def test_a_variable_changes_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARALLEL", "3")
    monkeypatch.setenv("LLM_DATA_DIR", "/somewhere/else")
    monkeypatch.setenv("LLM_SYSTEM_PROMPT", "Antworte auf Deutsch. 🙂")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8080")

    settings = Settings.load()

    assert settings.parallel == 3
    assert settings.data_dir == Path("/somewhere/else")
    assert settings.system_prompt == "Antworte auf Deutsch. 🙂"
    assert settings.server_port == 8080


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LLM_TRUSTED_PROXIES", "10.0.0.7, proxy", "proxy is no address or network such as 10.0.0.7"),
        ("LLM_TRUSTED_PROXIES", "10.0.0.7/8", "10.0.0.7/8 is no address or network"),
        ("GRADIO_ROOT_PATH", "chat", "write a path such as /chat"),
        ("GRADIO_ROOT_PATH", "/a b", "write a path such as /chat"),
    ],
)
def test_what_is_no_proxy_and_no_path_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=re.escape(f"{variable}='{value}' cannot be used: {said}")):
        Settings.load()


def test_gradios_whole_url_counts_as_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", "https://example.org/chat/")

    assert Settings.load().root_path == "/chat"


@pytest.mark.parametrize(
    "variable", ["LLM_DATA_DIR", "LLM_MODELS", "LLM_MODELS_DIR", "LLM_PRESETS", "LLM_MCP_SERVERS", "MQTT_PROJECTS"]
)
def test_a_path_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv(variable, "~/llm")

    assert getattr(Settings.load(), variable.lower().removeprefix("llm_")) == Path("/home/ann/llm")


def test_a_home_folder_that_nobody_knows_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_DATA_DIR", "~nobody-of-this-name/llm")

    with pytest.raises(SettingsError, match="LLM_DATA_DIR='~nobody-of-this-name/llm' cannot be used: the home folder"):
        Settings.load()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARALLEL", "")
    monkeypatch.setenv("LLM_MODEL", "")

    settings = Settings.load()

    assert (settings.parallel, settings.model) == (8, "bundled")


OUT_OF_RANGE = [
    ("LLM_CONTEXT_TOKENS", "63", "at least 64 and at most 4194304"),
    ("LLM_CONTEXT_TOKENS", "4194305", "at least 64 and at most 4194304"),
    ("LLM_KV_HOST_MB", "-1", "at least 0 and at most 1048576"),
    ("LLM_PARALLEL", "0", "at least 1 and at most 64"),
    ("LLM_PARALLEL", "65", "at least 1 and at most 64"),
    ("LLM_QUEUE_LIMIT", "-1", "at least 0 and at most 10000"),
    ("LLM_THREADS", "0", "at least 1 and at most 512"),
    ("LLM_GPU_LAYERS", "-2", "at least -1 and at most 10000"),
    ("LLM_DRAIN_SECONDS", "-1", "at least 0 and at most 86400"),
    ("LLM_STEP_MS", "4.9", "at least 5 and at most 10000"),
    ("LLM_TEMPERATURE", "2.1", "at least 0 and at most 2"),
    ("LLM_TOP_P", "-0.1", "at least 0 and at most 1"),
    ("LLM_MAX_TOKENS", "0", "at least 1 and at most 1000000"),
    ("LLM_TIMEOUT", "0", "more than 0 and at most 86400"),
    ("GRADIO_SERVER_PORT", "65536", "at least 0 and at most 65535"),
    ("MQTT_DELTA_MS", "-1", "at least 0 and at most 10000"),
    ("MQTT_DELTA_BYTES", "0", "at least 1 and at most 65536"),
    ("MQTT_MAX_BYTES", "100", "at least 1024 and at most 16777216"),
]


@pytest.mark.parametrize(("variable", "value", "allowed"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_with_variable_value_and_range(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        Settings.load()

    assert refused.value.message.startswith(f"{variable}='{value}' cannot be used")
    assert f"Allowed: {allowed}." in refused.value.message


@pytest.mark.parametrize("variable", ["LLM_STEP_MS", "LLM_TEMPERATURE", "LLM_TOP_P", "LLM_TIMEOUT"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_not_a_finite_number_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=rf"^{variable}='{value}' cannot be used: .*Allowed: "):
        Settings.load()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LLM_PARALLEL", "many"), ("LLM_PARALLEL", "1.5"), ("LLM_TIMEOUT", "5 minutes"), ("LLM_PUBLIC", "perhaps")],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=rf"^{variable}='{value}' cannot be used"):
        Settings.load()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host", "begins with mqtt:// or mqtts://"),
        ("mqtt://user:hunter2@", "write mqtt://host:port"),
        ("mqtt://user:hunter2@host/llm", "with nothing behind"),
        ("mqtt://user:hunter2@host:99999", "the port must be a number from 1 to 65535"),
    ],
)
def test_a_brokers_url_that_cannot_be_used_is_refused_and_its_password_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("MQTT_URL", url)

    with pytest.raises(SettingsError) as refused:
        Settings.load()

    assert refused.value.message.startswith("MQTT_URL cannot be used: ")
    assert said in refused.value.message
    assert "hunter2" not in refused.value.message


def test_a_brokers_url_has_a_name_a_password_and_a_port_of_its_own_or_the_usual_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQTT_URL", "mqtts://worker:p%40ss@broker.example")

    broker = Settings.load().mqtt_url

    assert broker == BrokerUrl("broker.example", 8883, encrypted=True, username="worker", password="p@ss")
    assert "p@ss" not in f"{broker} {broker!r}"


@pytest.mark.parametrize("prefix", ["a//b", "/a", "a/", "a/#", "+", "$SYS"])
def test_a_prefix_of_topics_has_no_wildcards_and_no_empty_levels(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("MQTT_PREFIX", prefix)

    with pytest.raises(SettingsError, match="MQTT_PREFIX"):
        Settings.load()


def test_all_bad_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARALLEL", "0")
    monkeypatch.setenv("LLM_TOP_P", "7")

    with pytest.raises(SettingsError) as refused:
        Settings.load()

    assert [line.split("=")[0] for line in refused.value.message.splitlines()] == ["LLM_PARALLEL", "LLM_TOP_P"]
    assert refused.value.code == "bad_settings"


def test_a_system_prompt_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The shape in which Python hands over an environment variable's stray bytes.
    monkeypatch.setenv("LLM_SYSTEM_PROMPT", "caf\udce9")

    with pytest.raises(SettingsError, match=r"LLM_SYSTEM_PROMPT.*lone surrogate at character 3"):
        Settings.load()


def test_a_space_is_public_and_everything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.load().public

    monkeypatch.setenv("SPACE_ID", "someone/a-space")
    assert Settings.load().public

    monkeypatch.setenv("LLM_PUBLIC", "0")
    assert not Settings.load().public


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.parallel = 2


def test_the_settings_are_the_defaults_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_TEMPERATURE", "0.25")
    monkeypatch.setenv("LLM_TOP_P", "0.5")

    sampling = Settings.load().sampling()

    assert (sampling.temperature, sampling.top_p) == (0.25, 0.5)
