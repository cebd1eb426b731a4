"""What a visitor can set for the replies: the inputs beside the message, with ranges and defaults from below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from annotated_types import Ge, Gt, Le

from llm_core.page.languages import widget
from llm_core.request import SamplingParams
from llm_core.settings import Settings
from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.tools.python_tool import PythonTool

MAX_TOKENS_SHOWN = 4096
SERVED_TOOLS = "Tools of this server"
"""What the visitor switches on to have those of MCP servers."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The inputs, in the order in which the reply function takes them. settings.js finds each by its `elem_id`."""

    system_prompt: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider
    thinking: gr.Checkbox
    tools: gr.CheckboxGroup

    @classmethod
    def make(cls, settings: Settings) -> Controls:
        """The inputs, not on any page yet."""
        return cls(
            system_prompt=gr.Textbox(
                settings.system_prompt,
                label=widget("system_prompt"),
                info=widget("system_prompt_info"),
                lines=2,
                max_lines=8,
                elem_id="system-prompt",
                render=False,
            ),
            temperature=_slider("temperature", settings.temperature),
            top_p=_slider("top_p", settings.top_p),
            max_tokens=gr.Slider(
                1,
                longest_reply(settings),
                value=settings.max_tokens,
                step=1,
                label=widget("longest"),
                info=widget("longest_info"),
                min_width=220,
                elem_id="max-tokens",
                render=False,
            ),
            thinking=gr.Checkbox(
                True,
                label=widget("think"),
                info=widget("think_info"),
                elem_id="thinking",  # only shown where the conversation's model has the choice (models.js)
                render=False,
            ),
            tools=gr.CheckboxGroup(
                _choices(with_served=settings.mcp_servers is not None),
                value=[],
                label=widget("tools"),
                info=widget("tools_info"),
                elem_id="tools",
                render=False,
            ),
        )

    def names(self) -> dict[str, gr.components.Component]:
        """The inputs, by what they set."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def defaults(self) -> dict[str, Any]:
        """What new conversations begin with."""
        return {name: control.value for name, control in self.names().items()}

    def inputs(self) -> list[gr.components.Component]:
        return [*self.names().values()]

    @staticmethod
    def tools_named(labels: Sequence[str]) -> list[PythonTool] | None:
        """What the visitor has switched on; None for nothing."""
        return [BUILTIN_TOOLS[label] for label in labels if label in BUILTIN_TOOLS] or None

    def render(self) -> None:
        """Puts them on the page that is being built."""
        with gr.Accordion(widget("settings"), open=False, elem_id="settings"):
            _render(self.system_prompt)
            with gr.Row():
                _render(self.temperature, self.top_p, self.max_tokens)
            _render(self.thinking, self.tools)


def longest_reply(settings: Settings) -> int:
    """The longest that can be chosen, in tokens."""
    return max(settings.context_tokens or MAX_TOKENS_SHOWN, settings.max_tokens)


def _render(*inputs: gr.components.Component) -> None:
    for component in inputs:
        component.render()  # type: ignore[no-untyped-call]


def _choices(*, with_served: bool) -> list[tuple[str, str | int | float]]:
    """Each tool's label, in the reader's language, and its value, which programs name too."""
    choices: list[tuple[str, str | int | float]] = [
        (str(widget(f"tool_{tool.name}")), label) for label, tool in BUILTIN_TOOLS.items()
    ]
    return [*choices, (str(widget("tools_served")), SERVED_TOOLS)] if with_served else choices


def _slider(name: str, value: float) -> gr.Slider:
    """A slider over the range that `SamplingParams` allows for the field `name`."""
    step = 0.05
    low, high = 0.0, 1.0
    for bound in SamplingParams.model_fields[name].metadata:
        match bound:
            case Ge(ge=edge):
                low = float(edge)  # type: ignore[arg-type]
            case Gt(gt=edge):
                low = float(edge) + step  # type: ignore[arg-type]
            case Le(le=edge):
                high = float(edge)  # type: ignore[arg-type]
    return gr.Slider(
        low,
        high,
        value=value,
        step=step,
        label=widget(name),
        info=widget(f"{name}_info"),
        min_width=220,
        elem_id=name.replace("_", "-"),
        render=False,
    )
