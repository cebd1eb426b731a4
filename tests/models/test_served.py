"""The models that the operator names: in a variable, or in a file whose mistakes are told with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import SettingsError
from llm_core.models.served import BUNDLED_NAME, ServedModel, name_of, served_models
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


OWN = """\
models:
  - source: bundled
    lora:
      - {name: law, path: FOLDER/law.gguf}
      - {name: poems, path: FOLDER/poems.gguf, scale: 0}
    chat_template: FOLDER/plain.jinja
    logit_bias: {15: -100}
  - source: hf:Qwen/Qwen3-4B-GGUF
  - source: Llama
    server_url: [http://gpu:8000]
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    for name in ("law", "poems"):
        (tmp_path / f"{name}.gguf").touch()
    return OWN.replace("FOLDER", str(tmp_path))


def test_a_model_has_adapters_a_template_and_biases_of_its_own(tmp_path: Path, own: str) -> None:
    settings = of_file(tmp_path, own)
    first, *others = (model.settings(settings) for model in served_models(settings))

    assert [(each.name, each.path.name, each.scale) for each in first.lora] == [
        ("law", "law.gguf", 1),
        ("poems", "poems.gguf", 0),
    ]
    assert (first.chat_template, first.logit_bias) == (tmp_path / "plain.jinja", {15: -100})
    assert [(each.lora, each.chat_template, each.logit_bias) for each in others] == [((), None, {})] * 2


def test_what_the_settings_say_of_a_model_is_of_the_default_one_where_it_says_nothing_else(
    tmp_path: Path, own: str
) -> None:
    path = tmp_path / "law.gguf"
    said = {"lora": f"own={path}", "chat_template": path, "logit_bias": "3=1"}
    settings = Settings(model="bundled, hf:Qwen/Qwen3-4B-GGUF", **said)
    first, other = (model.settings(settings) for model in served_models(settings))
    assert (first.lora, first.chat_template, first.logit_bias) == (settings.lora, path, {3: 1})
    assert (other.lora, other.chat_template, other.logit_bias) == ((), None, {})

    (tmp_path / "models.yaml").write_text(
        own.replace("    logit_bias: {15: -100}\n", "").replace("name: law", "name: l")
    )
    settings = Settings(models=tmp_path / "models.yaml", **said)
    first, *_ = (model.settings(settings) for model in served_models(settings))
    assert ([each.name for each in first.lora], first.logit_bias) == (["l", "poems"], {3: 1})


def test_every_field_of_a_model_is_a_setting_or_known_to_have_none() -> None:
    """What is neither would be forgotten on the way to the engine."""
    assert set(ServedModel.model_fields) - set(Settings.model_fields) == {"source", "name", "aliases", "pinned"}


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("name: law", "name: poems", "line 3: lora: two adapters have the name 'poems'"),
        ("law.gguf}", "lawgguf}", "line 4: lora.0.path: there is no file .*lawgguf"),
        ("scale: 0", "scale: 9", "line 5: lora.1.scale: input should be less than or equal to 8"),
        ("scale: 0", "scael: 0", "line 5: lora.1.scael: there is no such field"),
        ("name: law, ", "", "line 4: lora.0.name: field required"),
        ("{15: -100}", "{15: -101}", "line 7: logit_bias.15: input should be greater than or equal to -100"),
        (
            "    server_url",
            "    chat_template: x.jinja\n    server_url",
            "lora and chat_template are of models that run",
        ),
    ],
)
def test_what_cannot_be_used_of_them_is_told_with_its_line(
    tmp_path: Path, own: str, wrong: str, right: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        served_models(of_file(tmp_path, own.replace(wrong, right, 1)))


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
