"""What a page asks of the network, by Chromium's own account of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import CDPSession, Page


@dataclass(slots=True)
class Request:
    """One request over the network.

    Attributes:
        sent, received: Bytes, head and body; of what came from the browser's cache none are received.
        read: Bytes of the answer as the page has them, which may have come compressed.
        is_over: Whether its answer is there.
    """

    url: str
    body: str
    sent: int
    received: int = 0
    read: int = 0
    is_over: bool = False


@dataclass  # without slots: Playwright notes something in who listens
class Network:
    """The requests of a page from now on."""

    _page: Page
    _session: CDPSession
    _requests: dict[str, Request] = field(default_factory=dict)

    @classmethod
    def of(cls, page: Page) -> Network:
        found = cls(page, page.context.new_cdp_session(page))
        found._session.on("Network.requestWillBeSent", found._note_sent)
        found._session.on("Network.dataReceived", found._note_data)
        found._session.on("Network.loadingFinished", found._note_end)
        found._session.on("Network.loadingFailed", found._note_break)
        found._session.send("Network.enable")
        return found

    def take(self) -> list[Request]:
        """Those since the last time, as soon as all are over but the one that says that the page is there."""
        while any(not each.is_over and "/heartbeat/" not in each.url for each in self._requests.values()):
            self._page.wait_for_timeout(20)
        taken = [*self._requests.values()]
        self._requests.clear()
        return taken

    def _note_sent(self, event: dict[str, Any]) -> None:
        asked = event["request"]
        if not asked["url"].startswith("http"):
            return  # what the page has in itself
        body = asked.get("postData", "")
        head = sum(len(name) + len(value) + 4 for name, value in asked["headers"].items())
        self._requests[event["requestId"]] = Request(asked["url"], body, len(asked["url"]) + head + len(body.encode()))

    def _note_data(self, event: dict[str, Any]) -> None:
        """As it comes: a stream has no end for as long as its reader stays."""
        if request := self._requests.get(event["requestId"]):
            request.received += event["encodedDataLength"]
            request.read += event["dataLength"]

    def _note_end(self, event: dict[str, Any]) -> None:
        if request := self._requests.get(event["requestId"]):
            request.received = max(request.received, event.get("encodedDataLength", 0))
            request.is_over = True

    def _note_break(self, event: dict[str, Any]) -> None:
        """Of a stream that the page ends, Chromium may not have said what came over the network."""
        if request := self._requests.get(event["requestId"]):
            request.received = max(request.received, request.read)
            request.is_over = True
