"""Downloads that go on where they stopped, also after the process was killed.

huggingface_hub starts each download over, since it cannot rely on locks everywhere. Here what came stays under the name
that it gives unfinished files; whole, it gets the name under which the library keeps a file's bytes, and so finds them.
Two writers at once, where locks do not hold, would spoil it: the bytes are compared with their hash afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # public, without a mark

from llm_core.models.damage import SHA256

_WAIT_SECONDS = 1.0  # for the lock, before it is said once more that somebody else has it


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one file of the Hub, and where the cache keeps them.

    Attributes:
        url: Where they are.
        path: Where they will be.
        lock: The file that whoever writes there locks, huggingface_hub too.
        size: How many they are.
    """

    url: str
    path: Path
    lock: Path
    size: int

    @classmethod
    def of(cls, repo: str, file: str, revision: str) -> Blob | None:
        """Asks the Hub; None where the library has to fetch the file: it has no hash, or is too large for HTTP."""
        facts = get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))
        if facts.etag is None or not SHA256.fullmatch(facts.etag) or facts.size is None:
            return None
        if facts.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            return None
        url = hf_hub_url(repo, file, revision=facts.commit_hash or revision)  # the branch may move meanwhile
        cache = Path(constants.HF_HUB_CACHE)
        folder = repo_folder_name(repo_id=repo, repo_type="model")
        path = cache / folder / "blobs" / facts.etag
        return cls(url, path, cache / ".locks" / folder / f"{facts.etag}.lock", facts.size)

    @property
    def done(self) -> int:
        """Bytes that came earlier."""
        try:
            size = self._unfinished.stat().st_size
        except FileNotFoundError:
            return 0
        return size if size <= self.size else 0

    def fetch(self, bar_class: type[Any], on_wait: Callable[[int], None]) -> None:
        """Downloads what is not here yet.

        Args:
            bar_class: As huggingface_hub wants it; it starts at what came earlier.
            on_wait: Called each second with the bytes that are here, while another download of the same file is waited
                for. What it raises ends the waiting.

        Raises:
            OSError, httpx2.HTTPError: The network, the Hub or the disk would not; what came stays.
        """
        for folder in (self.path.parent, self.lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with self._alone(on_wait):
            if self.path.exists():
                return
            done = self.done
            with self._unfinished.open("ab") as file:
                file.truncate(done)
                headers = build_hf_headers()
                http_get(
                    self.url, file, resume_size=done, headers=headers, expected_size=self.size, tqdm_class=bar_class
                )
            self._unfinished.replace(self.path)

    @contextmanager
    def _alone(self, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Nobody else writes there meanwhile."""
        with ExitStack() as held:
            while True:
                with suppress(TimeoutError):
                    held.enter_context(WeakFileLock(self.lock, timeout=_WAIT_SECONDS))
                    break
                on_wait(self.done)
            yield

    @property
    def _unfinished(self) -> Path:
        return self.path.with_name(f"{self.path.name}.incomplete")
