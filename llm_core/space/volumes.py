"""Volumes: buckets and repositories of the Hub that a Space sees as folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import Volume


def parse(text: str) -> Volume:
    """Reads `hf://buckets/OWNER/NAME:/data[:ro]`, as the Hub's own command takes it.

    Raises:
        ValueError: It is no such thing; the message says why.
    """
    # Imported here since it takes a while, and most Spaces have no volume.
    from huggingface_hub import Volume
    from huggingface_hub.errors import HfUriError
    from huggingface_hub.utils import parse_hf_mount  # type: ignore[attr-defined]  # public, but exported without a mark

    try:
        mount = parse_hf_mount(text)
    except HfUriError as error:
        raise ValueError(
            f"{text!r} is no volume such as hf://buckets/OWNER/NAME:/data ({error.msg.rstrip('.')})"
        ) from None
    source = mount.source
    return Volume(
        type=source.type,
        source=source.id,
        mount_path=mount.mount_path,
        revision=source.revision,
        read_only=mount.read_only,
        path=source.path_in_repo or None,
    )


def shown(volume: Volume) -> str:
    """The one way to write a volume, so that two can be compared: what is left open means what the Hub makes of it."""
    read_only = volume.type != "bucket" if volume.read_only is None else volume.read_only
    revision = f"@{volume.revision}" if volume.revision not in (None, "main") else ""
    path = f"/{volume.path}" if volume.path else ""
    mode = ":ro" if read_only else ":rw"
    return f"hf://{volume.type}s/{volume.source}{revision}{path}:{volume.mount_path}{mode}"
