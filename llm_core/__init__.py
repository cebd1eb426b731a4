"""One llama.cpp engine for every caller.

```python
from llm_core import get_llm_client

for piece in get_llm_client().generate_stream([{"role": "user", "content": "Hello"}]):
    print(piece, end="", flush=True)
```
"""

from llm_core.client import LLMClient, get_llm_client
from llm_core.errors import LLMError
from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, Queued, ReasoningDelta, Timings, Usage
from llm_core.messages import Message

__all__ = [
    "ChatEvent",
    "ChatReply",
    "ContentDelta",
    "Done",
    "LLMClient",
    "LLMError",
    "Message",
    "Queued",
    "ReasoningDelta",
    "Timings",
    "Usage",
    "get_llm_client",
]
