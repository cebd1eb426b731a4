"""The figures that are printed, each with what it is to reach where that has been said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal[
    "ratio", "seconds", "tokens/s", "tokens", "steps", "times", "MiB", "percent", "texts/s", "requests", "bytes"
]

OURS = frozenset({"engine", "app"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        key: Scenario and name of the figure. A `*` stands for any system's name.
        label: What it is; `{system}` is the name that `*` stood for.
        unit: How the number is written.
        at_least, at_most: What it is to reach. Of a figure with `*` only our own systems are held to it.
    """

    key: str
    label: str
    unit: Unit
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One measured figure, ready to be printed. `reached` is None where there is no target."""

    key: str
    label: str
    unit: Unit
    value: float
    target: str
    reached: bool | None

    @property
    def written(self) -> str:
        return written(self.value, self.unit)


def _dialect(name: str, label: str, *, targets: bool = True) -> tuple[Figure, ...]:
    """What a format costs beside chat completions."""
    first, cpu = (0.001, 1.0) if targets else (None, None)
    return (
        Figure(f"dialects.{name}.first_token_added", f"{label}: first token, more than that", "seconds", at_most=first),
        Figure(f"dialects.{name}.cpu_ratio", f"{label}: CPU for a token / chat completions", "ratio", at_most=cpu),
    )


def _against_llama_server(
    users: int,
    *,
    rate: float | None = None,
    first: float | None = None,
    later: float | None = None,
    gap: float | None = None,
) -> tuple[Figure, ...]:
    """The app's columns over llama-server's, for a number of users."""
    said, key = f"{users} {'user' if users == 1 else 'users'}, app / llama-server:", f"throughput.{users}_users"
    return (
        Figure(f"{key}.tokens_per_second", f"{said} tokens/s", "ratio", at_least=rate),
        Figure(f"{key}.first_turn_p95", f"{said} first token of the first turn, p95", "ratio", at_most=first),
        Figure(f"{key}.later_turn_p95", f"{said} of later turns, p95", "ratio", at_most=later),
        Figure(f"{key}.gap_p95", f"{said} gap p95", "ratio", at_most=gap),
    )


def _structured(form: str, name: str) -> tuple[Figure, ...]:
    key = f"structured.{form}"
    return (
        Figure(f"structured.*.{form}_rate", f"{{system}}: {name}", "tokens/s"),
        Figure(f"structured.*.{form}_seconds", f"{{system}}: {name}, as a whole", "seconds"),
        Figure(f"structured.*.{form}_holds", f"{{system}}: {name}, of them what was demanded", "percent"),
        Figure(f"{key}_to_without", f"{name}, tokens/s: app / app without drafts", "ratio"),
        Figure(f"{key}_rate_to_llama_server", f"{name}, tokens/s: app / llama-server", "ratio"),
        Figure(f"{key}_seconds_to_llama_server", f"{name}, as a whole: app / llama-server", "ratio"),
    )


def _restart(when: str, name: str, *, at_most: float | None = None) -> tuple[Figure, ...]:
    key = f"restart.*.{when}"
    return (
        Figure(key, f"{{system}}: {name}, first token", "seconds"),
        Figure(f"{key}_read", f"{{system}}: {name}, tokens read", "tokens"),
        Figure(f"{key}_to_cold", f"{{system}}: {name}, first token / that of the first", "ratio",
               at_most=at_most),
    )  # fmt: skip


# Ratios are between figures of one run; a bound on seconds would only measure the machine.
FIGURES = (
    Figure("single.bare_rate", "bare llama_decode loop", "tokens/s"),
    Figure("single.engine_rate", "engine", "tokens/s"),
    Figure("single.llama_rate", "Llama", "tokens/s"),
    Figure("single.engine_to_bare", "engine / bare loop", "ratio", at_least=0.97),
    Figure("single.engine_to_llama", "engine / Llama", "ratio", at_least=1.0),
    Figure("single.unprepared_rate", "engine, LLM_PREPARE=off", "tokens/s"),
    Figure("stop.decode_p50", "in a reply, median until the slot is free", "seconds"),
    Figure("stop.decode_max", "in a reply, longest", "seconds"),
    Figure("stop.decode_steps_max", "in a reply, most steps that passed", "steps", at_most=1),
    Figure("stop.prefill_p50", "in a long prompt, median until the slot is free", "seconds"),
    Figure("stop.prefill_max", "in a long prompt, longest", "seconds"),
    Figure("stop.prefill_steps_max", "in a long prompt, most steps that passed", "steps", at_most=1),
    Figure("stop.*.next_p50", "{system}: all slots taken, one stops: first token of who waited, median", "seconds"),
    Figure("stop.*.next_max", "{system}: longest", "seconds"),
    Figure("stop.next_p50_to_llama_server", "the median, app / llama-server", "ratio"),
    Figure("cold.*.seconds", "{system}: until all 8 have their first token", "seconds"),
    Figure("cold.engine.prompt_tokens", "engine: tokens of the 8 prompts", "tokens"),
    Figure("cold.engine.prefilled_tokens", "engine: of them computed", "tokens"),
    Figure("cold.engine.times_prefilled", "engine: how often the system prompt was computed", "times", at_most=1.1),
    Figure("throughput.tokens_per_second_ratio", "8 users, tokens/s: app / llama_cpp.server", "ratio", at_least=1.5),
    Figure(
        "throughput.later_turn_p95_ratio",
        "8 users, first token of later turns, p95: app / llama_cpp.server",
        "ratio",
        at_most=0.2,
    ),
    *_against_llama_server(1, rate=1.2, first=0.7, later=0.8, gap=1.1),
    *_against_llama_server(4),
    *_against_llama_server(8, rate=1.5, first=0.2, later=1.0, gap=1.2),
    *_against_llama_server(16, rate=2.0, later=0.5),
    Figure("arrival.*.gap_before_p95", "{system}: gap p95 of 4 streams before", "seconds"),
    Figure("arrival.*.gap_p95", "{system}: gap p95 while the prompt is computed", "seconds"),
    Figure("arrival.*.gap_max", "{system}: longest gap while the prompt is computed", "seconds"),
    Figure("arrival.*.gap_p95_to_step", "{system}: that gap p95 / target time of a step", "ratio", at_most=1.2),
    Figure("arrival.*.first_token_alone", "{system}: the prompt's first token when alone", "seconds"),
    Figure("arrival.*.first_token_among", "{system}: its first token among the 4 streams", "seconds"),
    Figure("arrival.*.first_token_ratio", "{system}: among / alone", "ratio", at_most=2.0),
    Figure("arrival.first_token_among_to_llama_server", "the prompt's, app / llama-server", "ratio", at_most=1.4),
    Figure("arrival.gap_max_to_llama_server", "longest gap, app / llama-server", "ratio", at_most=0.03),
    Figure("dropped.*.undisturbed", "{system}: first token of a short question, undisturbed", "seconds"),
    Figure("dropped.*.after_p50", "{system}: right after the prompt was dropped, median", "seconds"),
    Figure("dropped.*.after_p95", "{system}: right after the prompt was dropped, p95", "seconds"),
    Figure("dropped.*.after_less_a_step_ratio", "{system}: (p95 after - one step) / undisturbed", "ratio", at_most=2.0),
    Figure("dropped.after_p50_to_llama_server", "right after, median: app / llama-server", "ratio", at_most=0.05),
    Figure("dropped.after_p95_to_llama_server", "right after, p95: app / llama-server", "ratio"),
    *_structured("call", "a call"),
    *_structured("reply", "a reply"),
    Figure("echo.*.echo_rate", "{system}: a text once more", "tokens/s"),
    Figure("echo.*.free_rate", "{system}: nothing repeats", "tokens/s"),
    Figure("echo.*.copied", "{system}: of the first, words that stand in the text", "percent"),
    Figure("echo.echo_to_without", "a text once more, app / app without drafts", "ratio"),
    Figure("echo.free_to_without", "nothing repeats, app / app without drafts", "ratio"),
    Figure("echo.echo_rate_to_llama_server", "a text once more, app / llama-server", "ratio"),
    Figure("echo.free_rate_to_llama_server", "nothing repeats, app / llama-server", "ratio"),
    Figure("overflow.*.read", "{system}: tokens read for each turn", "tokens"),
    Figure("overflow.*.seen", "{system}: tokens that the model sees", "tokens"),
    Figure("overflow.*.first_token", "{system}: first token", "seconds"),
    Figure("overflow.read_to_llama_server", "tokens read, app / llama-server", "ratio", at_most=0.3),
    Figure("overflow.first_token_to_llama_server", "first token, app / llama-server", "ratio"),
    *_restart("cold", "a session that nobody has read"),
    *_restart("warm", "its next turn"),
    *_restart("after_restart", "its next turn after a restart", at_most=0.05),
    *_restart("after_kill", "its next turn after kill -9"),
    Figure("swa.*.first_read", "{system}: first turn, tokens read", "tokens"),
    Figure("swa.*.second_read", "{system}: second turn, tokens read", "tokens"),
    Figure("swa.*.second_first_token", "{system}: its first token", "seconds"),
    Figure("swa.*.edited_read", "{system}: that turn edited after a third, tokens read", "tokens"),
    Figure("swa.*.edited_first_token", "{system}: its first token", "seconds"),
    Figure("swa.second_read_to_llama_server", "second turn, tokens read: app / llama-server", "ratio"),
    Figure("swa.edited_read_to_llama_server", "edited turn, tokens read: app / llama-server", "ratio"),
    Figure("models.one_rate", "one model, 8 users", "tokens/s"),
    Figure("models.two_rate", "two models, 4 users each", "tokens/s"),
    Figure("models.two_to_one", "two / one", "ratio", at_least=0.9),
    Figure("models.beside_idle_to_one", "8 users of one beside an idle second / without it", "ratio", at_least=0.98),
    Figure("models.same_first_token", "first token of a short question, the same model as before", "seconds"),
    Figure("models.switch", "what it takes longer after the other model answered", "seconds", at_most=0.002),
    Figure("models.gap_before_p95", "gap p95 of 4 streams", "seconds"),
    Figure("models.gap_loading_p95", "while the other model is loaded", "seconds"),
    Figure("models.gap_loading_ratio", "loading / before", "ratio", at_most=1.5),
    Figure("embed.gap_without_p95", "gap p95 of 4 streams", "seconds"),
    Figure("embed.gap_beside_p95", "while vectors are made", "seconds"),
    Figure("embed.gap_ratio", "vectors / without", "ratio", at_most=3.0),
    Figure("embed.texts_beside", "paragraphs a second beside the streams", "texts/s"),
    Figure("embed.texts_alone", "paragraphs a second alone", "texts/s"),
    Figure("memory.first_mib", "resident memory at the first look", "MiB"),
    Figure("memory.last_mib", "resident memory at the last look", "MiB"),
    Figure("memory.growth", "growth between the two", "percent", at_most=0.05),
    Figure("mqtt.http.tokens_per_second", "over HTTP, 20 streams", "tokens/s"),
    Figure("mqtt.mqtt.tokens_per_second", "over MQTT, 20 streams", "tokens/s"),
    Figure("mqtt.rate_ratio", "over MQTT / over HTTP", "ratio", at_least=0.95),
    Figure("mqtt.alone.first_delta_p50", "first delta after the first text, one stream", "seconds", at_most=0.03),
    Figure("mqtt.alone.first_delta_p95", "one stream, p95", "seconds"),
    Figure("mqtt.among.first_delta_p50", "20 streams, median", "seconds", at_most=0.03),
    Figure("mqtt.among.first_delta_p95", "20 streams, p95", "seconds"),
    Figure("constraint.free_step", "a step of 8 free streams", "seconds"),
    Figure("constraint.between_free", "of it beside llama_decode", "seconds"),
    Figure("constraint.between_held", "the same of 8 streams that are held", "seconds"),
    Figure("constraint.cost", "what being held adds to a step", "percent", at_most=0.05),
    Figure("constraint.step_ratio", "whole steps, held / free", "ratio"),
    Figure("constraint.compile", "what 20 tools cost a request before it is queued", "seconds"),
    Figure("hop.engine.first_token", "the engine's own /v1: first token", "seconds"),
    Figure("hop.app.first_token", "through the app: first token", "seconds"),
    Figure("hop.first_token_added", "the app adds to the first token", "seconds", at_most=0.005),
    Figure("hop.engine.gap_p50", "the engine's own /v1: gap p50", "seconds"),
    Figure("hop.app.gap_p50", "through the app: gap p50", "seconds"),
    Figure("hop.gap_p50_ratio", "through the app / the engine's own", "ratio", at_most=1.03),
    Figure("dialects.base.first_token", "chat completions through the app: first token", "seconds"),
    Figure("dialects.base.cpu", "chat completions: the app's CPU for a token", "seconds"),
    *_dialect("native", "this app's own", targets=False),
    *_dialect("completions", "raw completions"),
    *_dialect("responses", "OpenAI's responses"),
    *_dialect("anthropic", "Anthropic's messages"),
    *_dialect("ollama", "Ollama's chat"),
    Figure("http.direct.beside_engine", "called directly: first token, less the engine's own part", "seconds"),
    Figure("http.http.beside_engine", "over HTTP: first token, less the engine's own part", "seconds"),
    Figure("http.first_token_added", "HTTP adds to the first token", "seconds", at_most=0.003),
    Figure("http.direct.gap_p50", "called directly: gap p50", "seconds"),
    Figure("http.http.gap_p50", "over HTTP: gap p50", "seconds"),
    Figure("http.gap_p50_ratio", "over HTTP / called directly", "ratio", at_most=1.02),
    Figure("http.refused_p50", "told that the queue is full, median", "seconds"),
    Figure("http.refused_max", "told that the queue is full, longest", "seconds", at_most=0.1),
    Figure("http.undisturbed_gap_p95", "gap p95 of 7 streams beside one more", "seconds"),
    Figure("http.stalled_gap_p95", "gap p95 of 7 streams beside a reader who stalls", "seconds"),
    Figure("http.stalled_gap_p95_ratio", "beside a reader who stalls / beside one more", "ratio", at_most=1.1),
    Figure("http.stalled_mib", "growth of the process meanwhile", "MiB", at_most=8),
    Figure("page.plain.behind", "plain text: seen after its last token", "seconds"),
    Figure("page.rich.behind", "formulas, tables, code: seen after the last token", "seconds"),
    Figure("page.plain.long_tasks", "plain text: long tasks in all", "seconds"),
    Figure("page.rich.long_tasks", "formulas, tables, code: long tasks in all", "seconds"),
    Figure("page.long_tasks_ratio", "long tasks, formulas, tables, code / plain", "ratio", at_most=2.0),
    Figure("page.after_few", "a reply of 3 s after 10 messages", "seconds"),
    Figure("page.after_many", "a reply of 3 s after many messages", "seconds"),
    Figure("page.after_ratio", "after many / after 10", "ratio", at_most=1.3),
    Figure("page_use.app.box", "a new visitor can type after", "seconds"),
    Figure("page_use.bare.box", "on Gradio's bare page", "seconds"),
    Figure("page_use.box_ratio", "the page / the bare one", "ratio", at_most=1.0),
    Figure("page_use.app.requests", "requests", "requests"),
    Figure("page_use.bare.requests", "of the bare page", "requests"),
    Figure("page_use.app.received", "bytes", "bytes"),
    Figure("page_use.bare.received", "of the bare page", "bytes"),
    Figure("page_use.app.again.box", "who comes back can type after", "seconds"),
    Figure("page_use.bare.again.box", "on the bare page", "seconds"),
    Figure("page_use.again.box_ratio", "the page / the bare one", "ratio"),
    Figure("page_use.app.again.received", "bytes", "bytes"),
    Figure("page_use.bare.again.received", "of the bare page", "bytes"),
    Figure("page_use.empty.tasks", "a reply of 3 s in an empty conversation: long tasks", "seconds"),
    Figure("page_use.grown.tasks", "with many messages on the screen", "seconds"),
    Figure("page_use.tasks_ratio", "many / none", "ratio", at_most=2.0),
    Figure("page_use.busy_ratio", "all work of the page's thread, many / none", "ratio"),
    Figure("page_use.listed.tasks", "with many conversations in the list", "seconds"),
    Figure("page_use.listed_tasks_ratio", "many / few", "ratio", at_most=2.0),
    Figure("page_use.listed_busy_ratio", "all work of the page's thread, many / few", "ratio"),
    Figure("page_use.received_ratio", "bytes received for the last reply / for the first", "ratio", at_most=3.0),
    Figure("page_use.sent_ratio", "bytes sent for the last reply / for the first", "ratio", at_most=3.0),
)


def lines(figures: Mapping[str, float]) -> list[Line]:
    """The measured figures that the report knows, in its order."""
    return [
        _line(figure, key, system, figures[key]) for figure in FIGURES for key, system in _matching(figure.key, figures)
    ]


def _matching(pattern: str, figures: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The keys that a pattern means, each with the system's name in it."""
    if "*" not in pattern:
        if pattern in figures:
            yield pattern, ""
        return
    start, end = pattern.split("*")
    for key in figures:
        if key.startswith(start) and key.endswith(end):
            yield key, key[len(start) : -len(end)]


def _line(figure: Figure, key: str, system: str, value: float) -> Line:
    label = figure.label.format(system=system)
    held_to_it = "*" not in figure.key or system in OURS
    if held_to_it and figure.at_least is not None:
        return Line(
            key, label, figure.unit, value, f"≥ {written(figure.at_least, figure.unit)}", value >= figure.at_least
        )
    if held_to_it and figure.at_most is not None:
        return Line(
            key, label, figure.unit, value, f"≤ {written(figure.at_most, figure.unit)}", value <= figure.at_most
        )
    return Line(key, label, figure.unit, value, "", None)


def written(value: float, unit: Unit) -> str:
    """A number with its unit, as short as it can be told apart."""
    match unit:
        case "ratio" | "times":
            return f"{value:.2f}"
        case "seconds":
            return seconds(value)
        case "tokens/s" | "texts/s":
            return f"{value:.1f} {unit}"
        case "percent":
            return f"{value:+.1%}" if value < 0 else f"{value:.1%}"
        case _:
            return f"{value:,.0f} {unit}"


def seconds(value: float) -> str:
    """Milliseconds below one second, with a tenth below ten of them."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.1f} ms" if abs(value) < 0.01 else f"{value * 1e3:.0f} ms"
