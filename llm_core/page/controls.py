"""What a visitor can set for the replies: the inputs beside the message, with ranges and defaults from below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from annotated_types import Ge, Gt, Le

from llm_core.request import SamplingParams
from llm_core.settings import Settings
from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.tools.python_tool import PythonTool

MAX_TOKENS_SHOWN = 4096


@dataclass(frozen=True, slots=True)
class Controls:
    """The inputs, in the order in which the reply function takes them."""

    system_prompt: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider
    thinking: gr.Checkbox
    tools: gr.CheckboxGroup

    @classmethod
    def make(cls, settings: Settings) -> Controls:
        """The inputs, not on any page yet."""
        longest = max(settings.context_tokens or MAX_TOKENS_SHOWN, settings.max_tokens)
        return cls(
            system_prompt=gr.Textbox(
                settings.system_prompt,
                label="System prompt",
                info="Who the model is and how it answers",
                lines=2,
                max_lines=8,
                render=False,
            ),
            temperature=_slider("temperature", settings.temperature, "Temperature", "0: most predictable"),
            top_p=_slider("top_p", settings.top_p, "Top-p", "1: any word may come"),
            max_tokens=gr.Slider(
                1,
                longest,
                value=settings.max_tokens,
                step=1,
                label="Longest reply",
                info="In tokens",
                min_width=220,
                render=False,
            ),
            thinking=gr.Checkbox(
                True,
                label="Think first",
                info="Slower, and better at hard questions",
                elem_id="thinking",  # only shown where the conversation's model has the choice (models.js)
                render=False,
            ),
            tools=gr.CheckboxGroup(
                list(BUILTIN_TOOLS),
                value=[],
                label="Tools",
                info="The model may use them where it sees fit",
                elem_id="tools",
                render=False,
            ),
        )

    def inputs(self) -> list[gr.components.Component]:
        return [self.system_prompt, self.temperature, self.top_p, self.max_tokens, self.thinking, self.tools]

    @staticmethod
    def tools_named(labels: Sequence[str]) -> list[PythonTool] | None:
        """What the visitor has switched on; None for nothing."""
        return [BUILTIN_TOOLS[label] for label in labels if label in BUILTIN_TOOLS] or None

    def render(self) -> None:
        """Puts them on the page that is being built."""
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            _render(self.system_prompt)
            with gr.Row():
                _render(self.temperature, self.top_p, self.max_tokens)
            _render(self.thinking, self.tools)


def _render(*inputs: gr.components.Component) -> None:
    for component in inputs:
        component.render()  # type: ignore[no-untyped-call]


def _slider(name: str, value: float, label: str, info: str) -> gr.Slider:
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
    return gr.Slider(low, high, value=value, step=step, label=label, info=info, min_width=220, render=False)
