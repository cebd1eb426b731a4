"""How the page looks: a quiet theme with one accent, in light and dark, from fonts that are already there."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_STATIC = Path(__file__).parent / "static"
ICON = _STATIC / "icon.svg"
_SHEETS = (
    "page.css",
    "list.css",
    "chat.css",
    "versions.css",
    "box.css",
    "models.css",
    "presets.css",
    "selection.css",
    "approvals.css",
    "attachments.css",
    "direction.css",
    "narrow.css",
    "print.css",
)
CSS = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SHEETS)

# Plain names: Gradio would fetch its own theme's fonts from a server on the Internet.
_SANS = ("Inter", "ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

# Light, then dark. Each text colour has a contrast of at least 4.5 : 1 on the page's background (WCAG 2.2, AA).
_COLOURS = {
    "body_background_fill": ("#fcfbf9", "#181716"),
    "background_fill_primary": ("#ffffff", "#201f1d"),
    "background_fill_secondary": ("#f6f4f0", "#262422"),
    "block_background_fill": ("#ffffff", "#201f1d"),
    "input_background_fill": ("#ffffff", "#181716"),
    "code_background_fill": ("#f6f4f0", "#201f1d"),
    "border_color_primary": ("#e6e2db", "#383531"),
    "block_border_color": ("#e6e2db", "#383531"),
    "input_border_color": ("#e6e2db", "#383531"),
    "body_text_color": ("#24211e", "#ebe7e0"),
    "body_text_color_subdued": ("#746d65", "#a49d94"),
    "block_info_text_color": ("#746d65", "#a49d94"),
    "block_title_text_color": ("#24211e", "#ebe7e0"),
    "color_accent_soft": ("#e8f1ef", "#22312f"),
    "button_primary_background_fill": ("#0f766e", "#2aa195"),
    "button_primary_background_fill_hover": ("#115e59", "#3bb5a8"),
    "button_primary_text_color": ("#ffffff", "#0c1413"),
    "link_text_color": ("#0f766e", "#5fcdc0"),
    "error_text_color": ("#a3271d", "#f2a099"),
    "error_border_color": ("#ecc4bf", "#6e3934"),
}


def page_theme() -> gr.themes.Base:
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        text_size=gr.themes.sizes.text_md,
        radius_size=gr.themes.sizes.radius_lg,
        font=_SANS,
        font_mono=_MONO,
    )
    variables: dict[str, str] = {}
    for name, (light, dark) in _COLOURS.items():
        variables |= {name: light, f"{name}_dark": dark}
    return theme.set(color_accent="#0f766e", **variables)
