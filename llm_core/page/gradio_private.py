"""What the page leans on of Gradio that is not public. It stands here, but for the import (lean_import.py) and the
scripts (bundle.py).

Gradio is pinned. When it is raised, test_gradio_private.py says what has changed. `ChatInterface` stays the page's
frame: its chat, its message box, its endpoint for programs. Its chain of events goes: each link of it reads the page's
state when it runs and not when the visitor pressed, so that what is pressed quickly is done to another conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import gradio as gr
from fastapi import APIRouter
from gradio.data_classes import CancelBody
from gradio.server_messages import ProcessCompletedMessage
from starlette.requests import HTTPConnection

# How often Gradio's queue looks for something to do, all the time. Its own 1 ms wakes the process a thousand times a
# second, and every time a thread of llama.cpp may lose its core while the others wait for it: prompts took 6 % longer.
_LOOK_SECONDS = 0.02

# What the browser does before Gradio chooses a language. Gradio knows Chinese by the names of two countries alone; who
# reads simplified characters reads those of one.
BEFORE_LANGUAGE = r"""<script>
if (/^zh(-(Hans|SG|MY)|$)/i.test(navigator.language)) Object.defineProperty(navigator, "language", { value: "zh-CN" });
</script>"""


# What it does before Gradio draws.
#
# Gradio's `BrowserState`, which `ChatInterface` always makes, fails where the browser denies storage: in the frame of
# another site, for those who block its cookies. Then it gets one that lasts as long as the page.
#
# Gradio says of each of its parts that it is read from left to right. They are as the page is; what people and models
# write is as it says itself. Svelte sets the direction of each message again at each update, to what it is. The
# browser takes that for a change, and works out the style of all that is in the chat anew: a third of the time that a
# long reply took.
BEFORE_GRADIO = """<script>
for (const name of ["localStorage", "sessionStorage"]) {
	try {
		window[name].length;
	} catch {
		const kept = new Map();
		const storage = {
			getItem: (key) => kept.get(String(key)) ?? null,
			setItem: (key, value) => void kept.set(String(key), String(value)),
			removeItem: (key) => void kept.delete(String(key)),
			clear: () => kept.clear(),
			key: (index) => [...kept.keys()][index] ?? null,
			get length() { return kept.size; },
		};
		Object.defineProperty(window, name, { value: storage, configurable: true });
	}
}
{
	const direction = Object.getOwnPropertyDescriptor(HTMLElement.prototype, "dir");
	Object.defineProperty(HTMLElement.prototype, "dir", {
		...direction,
		set() {
			const wanted = this.matches("textarea, input, [data-testid=user], [data-testid=bot]") ? "auto" : "";
			if (wanted !== direction.get.call(this)) direction.set.call(this, wanted);
		},
	});
}
</script>"""


# The same, once Gradio has chosen a language: its own translation leaves out labels of choices, and examples; and it
# does not turn the page round. VERSION is that of the tables.
TRANSLATE_CONFIG = r"""<script>
{
	const { components, i18n_translations: words } = window.gradio_config;
	const chosen = document.documentElement.lang;
	const language = [chosen, chosen.split("-")[0]].find((each) => each in words) ?? "en";
	document.documentElement.lang = language;
	const isFromTheRight = ["ar", "fa", "he", "ur"].includes(language);
	document.documentElement.setAttribute("dir", isFromTheRight ? "rtl" : "ltr");
	const inWords = (text) => text.replace(/__i18n__(\{.*?\})/g, (_, key) => words[language][JSON.parse(key).key]);
	const reviver = (_, each) => (typeof each === "string" ? inWords(each) : each);
	for (const { type, props } of components) {
		if (type === "sidebar" && isFromTheRight) props.position = "right";
		for (const name of ["choices", "examples"]) props[name] &&= JSON.parse(JSON.stringify(props[name]), reviver);
	}
	const texts = (window.pageTexts = { language, table: {}, isThere: language === "en" });
	if (!texts.isThere) {
		fetch(new URL(`page/texts/${language}?VERSION`, document.baseURI), { signal: AbortSignal.timeout(10_000) })
			.then((answer) => answer.json())
			.then((table) => (texts.table = table))
			.catch(() => {}) // then it is English
			.finally(() => (texts.isThere = true));
	}
}
</script>"""

CANCELLED = "This job was cancelled."


class ChatFrame(gr.ChatInterface):
    """`ChatInterface` without its chain of events."""

    def _setup_events(self) -> None:
        """Only the endpoint for programs, whose history Gradio keeps for as long as their session lasts."""
        self._queue.sleep_when_free = self._queue.progress_update_sleep_when_free = _LOOK_SECONDS
        self.saved_conversations.unrender()  # type: ignore[no-untyped-call]  # its scripts are an eighth of all that are loaded
        self.textbox.stop_btn = self.original_stop_btn  # the page's style shows it while a reply is made
        self.fake_api_btn.click(
            self._api_wrapper(self.fn, self._stream_fn),  # type: ignore[no-untyped-call]
            [self.textbox, self.chatbot_state, *self.additional_inputs],
            [self.api_response, self.chatbot_state],
            api_name=self.api_name,
            concurrency_limit=None,  # the engine's queue is the one gate
            postprocess=False,
        )
        self.setup_page()

    def setup_page(self) -> None:
        """The page's own events."""
        raise NotImplementedError

    def _render_header(self) -> None:
        self.render_head()

    def render_head(self) -> None:
        """What stands above the chat."""
        raise NotImplementedError

    def _render_footer(self) -> None:
        self.render_foot()

    def render_foot(self) -> None:
        """What stands below the message box."""
        raise NotImplementedError

    def _message_as_message_dict(self, message: Any, role: Literal["user", "assistant"]) -> list[Any]:
        """Keeps a text as it is: of a plain string Gradio would take away indentation (`inspect.cleandoc`)."""
        if isinstance(message, str):
            return [{"role": role, "content": [{"type": "text", "text": message}], "metadata": {}}]
        return super()._message_as_message_dict(message, role)


def translate(blocks: gr.Blocks, texts: gr.I18n) -> None:
    """Has Gradio translate a page that will be mounted. `mount_gradio_app(i18n=...)` comes too late: by then there is
    what the page loads."""
    blocks.i18n_instance = texts


def said_to_a_program(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What Gradio has kept of a program's conversation, as messages."""
    return [{"role": message["role"], "content": _text_of(message["content"])} for message in history]


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def data_of(event: gr.EventData) -> Any:
    """What the page's script gave with `trigger`."""
    return event._data


Call = Callable[[Any, HTTPConnection], Awaitable[Any]]


def server_function(name: str, call: Call) -> Callable[..., Awaitable[Any]]:
    """`call` as a function that the page's script can call as `server.<name>(data)`."""

    async def called(data: Any, request: gr.Request) -> Any:
        # Not a gr.Request, whatever Gradio asks for in the annotation: it is the request itself.
        return await call(data, request)  # type: ignore[arg-type]

    called.__name__ = name
    return called


def cancel_route(blocks: gr.Blocks) -> APIRouter:
    """Ends the one event of a program that it asks for, with an error.

    It has to stand before Gradio's own route, which ends all events of that program at that endpoint, and leaves the
    program waiting for the others for ever.
    """
    router = APIRouter()

    @router.post("/gradio_api/cancel", include_in_schema=False)
    async def cancel_event(body: CancelBody) -> dict[str, bool]:
        queue = blocks._queue
        event = queue.event_ids_to_events.get(body.event_id)
        if event is None or event.session_hash != body.session_hash:
            return {"success": True}
        name = f"{body.session_hash}_{body.fn_index}<gradio-sep>{body.event_id}"
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == name]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await queue.remove_from_queue(body.event_id)
        if all(task.cancelled() for task in tasks):  # else it has said itself how it ended
            queue.send_message(event, ProcessCompletedMessage(output={"error": CANCELLED}, success=False))
        return {"success": True}

    return router
