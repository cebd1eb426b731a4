"""One llama.cpp engine for every caller.

```python
from llm_core import get_llm_client

for piece in get_llm_client().generate_stream([{"role": "user", "content": "Hello"}]):
    print(piece, end="", flush=True)
```
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_core.client import LLMClient as LLMClient
    from llm_core.client import get_llm_client as get_llm_client
    from llm_core.embedding import Embeddings as Embeddings
    from llm_core.embedding import Ranked as Ranked
    from llm_core.embedding import Ranking as Ranking
    from llm_core.errors import LLMError as LLMError
    from llm_core.events import ChatEvent as ChatEvent
    from llm_core.events import ChatReply as ChatReply
    from llm_core.events import ContentDelta as ContentDelta
    from llm_core.events import Done as Done
    from llm_core.events import Loading as Loading
    from llm_core.events import Queued as Queued
    from llm_core.events import ReasoningDelta as ReasoningDelta
    from llm_core.events import Timings as Timings
    from llm_core.events import ToolApproval as ToolApproval
    from llm_core.events import ToolCallDelta as ToolCallDelta
    from llm_core.events import ToolResult as ToolResult
    from llm_core.events import ToolStarted as ToolStarted
    from llm_core.events import Usage as Usage
    from llm_core.messages import Message as Message
    from llm_core.messages import ToolCall as ToolCall
    from llm_core.tools.python_tool import PythonTool as PythonTool
    from llm_core.tools.python_tool import tool as tool

__version__ = "0.1.0"

# Each name is imported when it is asked for: loading llama.cpp's library would slow down every `--help`.
_HOMES = {
    "client": ("LLMClient", "get_llm_client"),
    "embedding": ("Embeddings", "Ranked", "Ranking"),
    "errors": ("LLMError",),
    "events": (
        "ChatEvent",
        "ChatReply",
        "ContentDelta",
        "Done",
        "Loading",
        "Queued",
        "ReasoningDelta",
        "Timings",
        "ToolApproval",
        "ToolCallDelta",
        "ToolResult",
        "ToolStarted",
        "Usage",
    ),
    "messages": ("Message", "ToolCall"),
    "tools.python_tool": ("PythonTool", "tool"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
