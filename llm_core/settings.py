"""The settings: environment variables, read once, each with a default and a range that an error message can name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from llm_core.errors import SettingsError
from llm_core.messages import Text
from llm_core.request import MAX_TIMEOUT_SECONDS, MAX_TOKENS_LIMIT, Finite, SamplingParams

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant. Answer clearly and briefly."

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
SERVER_NAME_VARIABLE = "GRADIO_SERVER_NAME"
SERVER_PORT_VARIABLE = "GRADIO_SERVER_PORT"


class Settings(BaseSettings):
    """What the operator decided. Every field is the environment variable `LLM_` and its name in capitals.

    Attributes:
        model: `bundled`, the path of a `.gguf` file, or `hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]`.
        context_tokens: Tokens that one request, prompt and reply, may use. None: 4096, or what the model was trained
            for where that is less.
        kv_host_mb: Host memory for the KV state of idle conversations, in MiB; 0 keeps them in the slots only.
        parallel: Slots: sequences decoded together.
        queue_limit: Requests that may wait for a slot; one more is refused at once.
        threads: CPU threads of the engine. None: as many as physical cores.
        gpu_layers: Layers of the model put on a GPU, -1 for all. It does nothing in a build without a GPU backend.
        step_ms: Target time of one engine step while prompts are prefilled, in milliseconds.
        system_prompt: Put before conversations that bring no system message of their own.
        temperature, top_p, max_tokens, timeout: Defaults of a request; the timeout is in seconds.
        data_dir: Folder for what outlives the process.
        public: Allows the server to listen beyond loopback although anyone may then use it.
        server_name, server_port: Gradio's own `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`.
    """

    model_config = SettingsConfigDict(env_prefix="LLM_", env_ignore_empty=True, frozen=True, extra="ignore")

    model: Annotated[str, Field(min_length=1, max_length=4096)] = "bundled"
    context_tokens: Annotated[int, Field(ge=64, le=4_194_304)] | None = None
    kv_host_mb: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    parallel: Annotated[int, Field(ge=1, le=64)] = 8
    queue_limit: Annotated[int, Field(ge=0, le=10_000)] = 64
    threads: Annotated[int, Field(ge=1, le=512)] | None = None
    gpu_layers: Annotated[int, Field(ge=-1, le=10_000)] = -1
    step_ms: Annotated[float, Field(ge=5, le=10_000), Finite] = 100.0
    system_prompt: Text = DEFAULT_SYSTEM_PROMPT
    temperature: Annotated[float, Field(ge=0, le=2), Finite] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1), Finite] = 0.95
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT)] = 512
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS), Finite] = 300.0
    data_dir: Path = Field(default_factory=lambda: user_data_path("llm_core", appauthor=False))
    public: bool = Field(default_factory=lambda: "SPACE_ID" in os.environ)
    server_name: Annotated[str, Field(validation_alias=SERVER_NAME_VARIABLE)] = "127.0.0.1"
    server_port: Annotated[int, Field(ge=0, le=65_535, validation_alias=SERVER_PORT_VARIABLE)] = 7860

    @classmethod
    def load(cls) -> Settings:
        """Reads the environment.

        Raises:
            SettingsError: A variable's value is not usable; the message names the variable and the allowed range.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_sentence(complaint) for complaint in error.errors())) from None

    def sampling(self) -> SamplingParams:
        """The defaults of a request's sampling."""
        return SamplingParams(temperature=self.temperature, top_p=self.top_p)


_BOUNDS: dict[str, str] = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _sentence(complaint: object) -> str:
    """One complaint of pydantic in the operator's words: variable, value, allowed range."""
    assert isinstance(complaint, dict)
    name = str(complaint["loc"][0])
    variable = name if name in (SERVER_NAME_VARIABLE, SERVER_PORT_VARIABLE) else f"LLM_{name.upper()}"
    field = Settings.model_fields.get(name) or Settings.model_fields["server_port"]
    bounds = [
        f"{word} {value:.15g}"
        for item in _constraints(field)
        for attribute, word in _BOUNDS.items()
        if (value := getattr(item, attribute, None)) is not None
    ]
    allowed = f" Allowed: {' and '.join(bounds)}." if bounds else ""
    said = complaint["msg"].removeprefix("Value error, ")
    return f"{variable}={complaint.get('input')!r} cannot be used: {said[:1].lower()}{said[1:]}.{allowed}"


def _constraints(field: object) -> list[object]:
    """The bounds on a field, also where they sit inside `Annotated[...] | None`."""
    found = list(getattr(field, "metadata", ()))
    for option in getattr(getattr(field, "annotation", None), "__args__", ()):
        found.extend(m for item in getattr(option, "__metadata__", ()) for m in getattr(item, "metadata", ()))
    return found
