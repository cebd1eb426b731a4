"""System prompts that somebody has published for one session each."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from llm_core.errors import InvalidRequest
from llm_core.messages import parse_messages

MOST = 1000  # sessions whose template is remembered; what a session has taken over is in the session


class Templates:
    """The newest ones, by project and session."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def put(self, project: str, data: dict[str, Any]) -> None:
        """Takes `{"session_id", "system_prompt", "client"?}`; without a client it is for this session of any client.

        Raises:
            InvalidRequest: It is not of this form.
        """
        session_id, prompt, client = (data.get(name) for name in ("session_id", "system_prompt", "client"))
        if not isinstance(session_id, str) or not isinstance(prompt, str) or not isinstance(client, str | None):
            raise InvalidRequest('A template is {"session_id": "...", "system_prompt": "..."}.')
        parse_messages([{"role": "system", "content": prompt}])
        key = (project, client or "", session_id)
        self._prompts[key] = prompt
        self._prompts.move_to_end(key)
        while len(self._prompts) > MOST:
            self._prompts.popitem(last=False)

    def get(self, project: str, client: str, session_id: str | None) -> str | None:
        """The prompt for a client's session, where there is one."""
        if session_id is None:
            return None
        return self._prompts.get((project, client, session_id)) or self._prompts.get((project, "", session_id))
