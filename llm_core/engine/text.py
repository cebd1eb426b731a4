"""From token bytes to text that may be shown: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs


class TextStream:
    """Turns one sequence's bytes into text, piece by piece.

    A character whose bytes are split over two tokens comes out once it is whole. Text that may be the start of a stop
    string is held back until it is clear whether it is one. Bytes that never become a character are replaced by U+FFFD,
    except at the very end, where an unfinished character is dropped: the reply ended in the middle of it.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """The text that may be shown now. Once a stop string was found, `stopped` is true and nothing more comes."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(data)
        if not self._stops:
            return text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = self._possible_stop(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
