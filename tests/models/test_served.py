"""The models that the operator names: in a variable, or in a file whose mistakes are told with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import SettingsError
from llm_core.models.served import BUNDLED_NAME, name_of, served_models
from llm_core.models.source import parse_source
from llm_core.settings import Settings

GOOD = """\
models:
  - source: hf:Qwen/Qwen3-4B-GGUF:*Q4_K_M.gguf
    name: qwen
    aliases: [gpt-4o]
    pinned: true
    temperature: 0.2
  - source: bundled
    context_tokens: 512
    system_prompt: Be brief.
"""


def of_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    return Settings(models=path, top_p=0.5)


def test_a_variable_names_several_and_the_first_one_is_the_default() -> None:
    models = served_models(Settings(model="bundled, hf:Qwen/Qwen3-4B-GGUF"))

    assert [model.short_name for model in models] == [BUNDLED_NAME, "Qwen3-4B"]


def test_a_file_with_a_comma_in_its_name_is_one_model(tmp_path: Path) -> None:
    path = tmp_path / "a, b.gguf"
    path.touch()

    assert [model.source for model in served_models(Settings(model=str(path)))] == [str(path)]


def test_a_file_gives_names_and_what_each_has_of_its_own(tmp_path: Path) -> None:
    settings = of_file(tmp_path, GOOD)
    qwen, bundled = served_models(settings)

    assert (qwen.names, qwen.pinned) == (("qwen", "gpt-4o"), True)
    assert bundled.names == (BUNDLED_NAME,)
    own = bundled.settings(settings)
    assert (own.model, own.context_tokens, own.system_prompt, own.top_p) == ("bundled", 512, "Be brief.", 0.5)
    assert qwen.settings(settings).temperature == 0.2


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("temperature: 0.2", "temperature: 3", "line 6: temperature: input should be less than or equal to 2"),
        ("pinned: true", "pined: true", "line 5: pined: there is no such field. Allowed: source, name, aliases"),
        ("source: bundled", "source: 'hf:x'", "line 7: .*OWNER/REPO"),
        ("    aliases: [gpt-4o]", "    aliases: [ok, '!']", "line 4: aliases.1: "),
        ("name: qwen", f"name: {BUNDLED_NAME}", f"two models have the name '{BUNDLED_NAME}'"),
        ("models:\n", "model:\n", "no `models:`"),
        ("models:\n", "models: [\n", "cannot be read: .*line 2"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        served_models(of_file(tmp_path, GOOD.replace(wrong, right, 1)))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("bundled", BUNDLED_NAME),
        ("/models/Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B"),
        ("/models/My model (new).gguf", "My-model--new-"),
        ("hf:unsloth/Qwen3-4B-GGUF:*Q4_K_M*", "Qwen3-4B"),
        ("hf:o/r:sub/Llama-3-8B-Q8_0-00001-of-00002.gguf", "Llama-3-8B"),
        ("/models/.gguf", "model"),
    ],
)
def test_a_source_has_a_short_name(spec: str, name: str) -> None:
    assert name_of(parse_source(spec)) == name
