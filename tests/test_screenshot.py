"""The script that takes the pictures of the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.screenshot import DESK, PHONE, PHONE_SCALE, STATES, THEMES, WIDTHS, name_of

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 500


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 10)
def test_the_pictures_are_taken_from_the_running_app(chromium_path: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.screenshot", "--out", str(tmp_path)]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert ran.returncode == 0, ran.stderr
    pictures = {name_of(state, width, theme): width for state in STATES for width in WIDTHS for theme in THEMES}
    assert {each.name for each in tmp_path.iterdir()} == pictures.keys()
    assert {"chat.png", "models.png", "chat-phone.png"} <= pictures.keys()
    for name, width in pictures.items():
        scale = PHONE_SCALE if width == "phone" else 1
        assert size_of(tmp_path / name) == (WIDTHS[width]["width"] * scale, WIDTHS[width]["height"] * scale)


@pytest.mark.parametrize("name", ["chat.png", "models.png", "chat-phone.png"])
def test_the_stored_pictures_have_the_size_that_the_script_gives_them(name: str) -> None:
    wide, scale = (PHONE, PHONE_SCALE) if name == "chat-phone.png" else (DESK, 1)

    assert size_of(ROOT / "docs" / "images" / name) == (wide["width"] * scale, wide["height"] * scale)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height, of a picture that is more than one colour."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert colours is not None
        assert len(colours) > 10
        return image.size
