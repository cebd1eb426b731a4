"""The models that the operator has named: in `LLM_MODEL`, or the file `LLM_MODELS`, with what each has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from llm_core.errors import ModelError, SettingsError
from llm_core.kv_type import KvType
from llm_core.lora import Adapters
from llm_core.messages import Text
from llm_core.models.choice import plain_name
from llm_core.models.quantization import without_quantization
from llm_core.models.source import BundledModel, FileModel, HubModel, ModelSource, parse_source
from llm_core.request import MaxTokens, Temperature, TopP
from llm_core.settings import Biases, ContextTokens, Engines, GpuLayers, Settings, Slots
from llm_core.yaml_file import check, line_of, read_yaml

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
BUNDLED_NAME = "SmolLM2-135M-Instruct"

# What fits one model and no other: of those that say nothing of it only the default one has what the settings say.
_NOTHING: dict[str, Any] = {"lora": (), "chat_template": None, "logit_bias": {}}

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class ServedModel(BaseModel):
    """One of them. What it does not say is as the settings have it.

    Attributes:
        source: As in `LLM_MODEL`; with `server_url` which of that engine's models is asked for.
        name: By which requests name it. None: what its source or its file says.
        aliases: Other names of it.
        pinned: It is loaded at the start, and not unloaded for another one.
        server_url, server_token: An engine elsewhere that serves it.
        context_tokens, parallel, kv_type, gpu_layers: As in the settings.
        system_prompt, temperature, top_p, max_tokens: As in the settings.
        lora, chat_template, logit_bias: As in the settings, which mean the default model alone with theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1, max_length=4096)] = ""
    name: Name | None = None
    aliases: tuple[Name, ...] = ()
    pinned: bool = False
    server_url: Engines | None = None
    server_token: SecretStr | None = None
    context_tokens: ContextTokens | None = None
    parallel: Slots | None = None
    kv_type: KvType | None = None
    gpu_layers: GpuLayers | None = None
    lora: Adapters | None = None
    chat_template: Path | None = None
    system_prompt: Text | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    logit_bias: Biases | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> ServedModel:
        if not self.source and self.server_url is None:
            raise ValueError("a model needs a source, or the server_url of an engine that has it")
        if self.server_url is not None and (self.lora or self.chat_template):
            raise ValueError("lora and chat_template are of models that run here; this one has a server_url")
        return self

    @property
    def short_name(self) -> str:
        """Its name for as long as nothing is known but its source."""
        if self.name or self.server_url is not None:
            return self.name or self.source or "default"
        return name_of(parse_source(self.source))

    @property
    def names(self) -> tuple[str, ...]:
        """All by which it can be asked for before it is loaded."""
        return (self.short_name, *self.aliases)

    def settings(self, base: Settings) -> Settings:
        """The settings with which it is served."""
        own = {name: value for name, value in self if name in Settings.model_fields and value is not None}
        return base.model_copy(update=_NOTHING | own | {"model": self.source or base.model})

    def as_default(self, settings: Settings) -> ServedModel:
        """The same as the first of all, with what the settings say of that one where it says nothing else."""
        given = {name: getattr(settings, name) for name in _NOTHING if getattr(self, name) is None}
        if self.server_url is not None:
            given = {name: value for name, value in given.items() if name == "logit_bias"}
        return self.model_copy(update=given)


def served_models(settings: Settings) -> tuple[ServedModel, ...]:
    """The models that the settings name, each with a name of its own; the first one is the default.

    Raises:
        SettingsError: The file cannot be used, a source has no form that is known, or two have one name.
    """
    first, *others = _named_in(settings)
    return (first.as_default(settings), *others)


def _named_in(settings: Settings) -> tuple[ServedModel, ...]:
    if settings.models is not None:
        return _distinct(_read(settings.models), f"LLM_MODELS={str(settings.models)!r}")
    if settings.server_url:
        return (ServedModel(server_url=settings.server_url),)
    sources = [settings.model] if _is_one(settings.model) else [each.strip() for each in settings.model.split(",")]
    place = f"LLM_MODEL={settings.model!r}"
    try:
        return _distinct([ServedModel(source=str(parse_source(each))) for each in sources if each], place)
    except ModelError as error:
        raise SettingsError(f"{place} cannot be used: {error.message}") from None


def name_of(source: ModelSource) -> str:
    """A short name for what a source means: `Qwen3-4B` for `hf:unsloth/Qwen3-4B-GGUF:*Q4_K_M*`."""
    match source:
        case BundledModel():
            return BUNDLED_NAME
        case FileModel(path=path):
            return _plain(path.name)
        case HubModel(repo=repo, file=file):
            named = file if file is not None and not source.is_glob else repo.partition("/")[2]
            return _plain(named.rpartition("/")[2])


def _plain(name: str) -> str:
    stem = without_quantization(plain_name(name).removesuffix(".gguf")).removesuffix("-GGUF").removesuffix("-gguf")
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem)
    return kept.lstrip("._-")[:100] or "model"


def _is_one(model: str) -> bool:
    """Whether it is one model, though it may have a comma in its name."""
    return "," not in model or Path(model).is_file()


def _distinct(models: list[ServedModel], place: str) -> tuple[ServedModel, ...]:
    seen: set[str] = set()
    for model in models:
        for name in model.names:
            if name in seen:
                raise SettingsError(f"{place} cannot be used: two models have the name {name!r}.")
            seen.add(name)
    if not models:
        raise SettingsError(f"{place} cannot be used: it names no model.")
    return tuple(models)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(path: Path) -> list[ServedModel]:
    place = f"LLM_MODELS={str(path)!r}"
    data, root = read_yaml(path, place, "models")
    models = data.get("models") if isinstance(data, dict) else None
    if not isinstance(models, list) or not models:
        raise SettingsError(f"{place} cannot be used: it has no `models:` with a list below it.")
    return [_model(place, root, number, fields) for number, fields in enumerate(models)]


def _model(place: str, root: yaml.Node | None, number: int, fields: Any) -> ServedModel:
    model = check(ServedModel, fields, root, ("models", number), place, "a model")
    try:
        if model.server_url is None:
            parse_source(model.source)
    except ModelError as error:
        line = line_of(root, ("models", number, "source"))
        raise SettingsError(f"{place}, line {line}: {error.message}") from None
    return model
