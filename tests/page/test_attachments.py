"""Files go with a message: seen in the box, told the model, kept with the conversation, and lost in no case."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from tests.attachments.files import pdf
from tests.scripted_client import ScriptedClient
from tests.visitor import UNSENT, retry, send, wait_until_done, wait_until_idle

from .screen import BOX, USER, address, full, row, stored, talk

CHIPS = "#message .attached .chip:has(.remove)"  # which have been read
SENT = "#chat .user-row .attached .chip"
NOTE = "#notes .note.notice"
NOTES = {"name": "notes.md", "mimeType": "text/markdown", "buffer": b"The code word is heron."}
TOLD = "Attached file: notes.md\n```md\nThe code word is heron.\n```\n\n"

DROP = """([name, text]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([text], name));
    for (const kind of ["dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""
PASTE = """([name, text]) => {
    const carried = new DataTransfer();
    if (name) carried.items.add(new File([text], name));
    else carried.setData("text/plain", text);
    const area = document.querySelector("#message textarea");
    const event = new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true });
    return area.dispatchEvent(event);
}"""


def attach(page: Page, *files: Any) -> None:
    wait_until_idle(page)
    page.set_input_files("#attach-files", list(files))


def chip(page: Page, name: str, where: str = CHIPS) -> Locator:
    return page.locator(where, has_text=name)


def told(script: ScriptedClient) -> str:
    """The last message that the model was told."""
    return script.asked[-1][-1].content


def test_a_file_is_attached_by_the_button_and_told_before_the_text(page: Page, script: ScriptedClient) -> None:
    wait_until_idle(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files([NOTES, {"name": "report.pdf", "mimeType": "application/pdf", "buffer": pdf("Sales grew")}])
    expect(page.locator(CHIPS)).to_have_count(2)
    expect(chip(page, "notes.md")).to_have_text(re.compile(r"notes\.mdabout \d+ tokens"))
    chip(page, "report.pdf").get_by_role("button", name="Remove").click()
    expect(page.locator(CHIPS)).to_have_count(1)

    send(page, "What is the code word?")
    wait_until_done(page)

    assert told(script) == f"{TOLD}What is the code word?"
    assert stored(page, script) == [("What is the code word?", "Fine.")]
    expect(page.locator(CHIPS)).to_have_count(0)
    expect(page.locator(SENT)).to_have_count(1)
    expect(row(page, "What is the code word?")).to_have_count(1)


def test_files_are_dropped_and_pasted(page: Page, script: ScriptedClient) -> None:
    wait_until_idle(page)
    page.evaluate(DROP, ["dropped.txt", "from the desk"])
    expect(chip(page, "dropped.txt")).to_have_count(1)
    page.evaluate(PASTE, ["pasted.csv", "a,b"])
    expect(chip(page, "pasted.csv")).to_have_count(1)
    expect(page.locator(".drop.over")).to_have_count(0)


def test_a_long_text_that_is_pasted_becomes_a_file_and_can_be_text_again(page: Page, script: ScriptedClient) -> None:
    wait_until_idle(page)
    assert page.evaluate(PASTE, ["", "short"]), "the browser's own way"
    long = "word " * 1_000
    page.fill(BOX, "Sum up: ")
    assert not page.evaluate(PASTE, ["", long])
    expect(chip(page, "Pasted text.txt")).to_contain_text("1,250 tokens")
    expect(page.locator(BOX)).to_have_value("Sum up: ")

    page.get_by_role("button", name="Put Pasted text.txt into the message").click()

    expect(page.locator(CHIPS)).to_have_count(0)
    expect(page.locator(BOX)).to_have_value(f"Sum up: {long}")


def test_what_was_attached_is_there_after_a_reload_and_its_text_can_be_seen(page: Page, script: ScriptedClient) -> None:
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    page.fill(BOX, "Read it.")
    page.reload()
    wait_until_idle(page)
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "Read it.")
    wait_until_done(page)
    page.reload()

    chip(page, "notes.md", SENT).get_by_role("button").click()

    expect(page.locator("#preview pre")).to_have_text("The code word is heron.")
    page.keyboard.press("Escape")
    expect(page.locator("#preview")).to_be_hidden()
    expect(page.locator(USER)).to_have_text(["Read it."])


def test_edit_retry_and_undo_keep_what_was_attached(page: Page, script: ScriptedClient) -> None:
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "One")
    wait_until_done(page)
    page.reload()
    wait_until_done(page)
    retry(page)
    assert told(script) == f"{TOLD}One"

    page.get_by_label("Edit").first.click()
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "Two")
    expect(page.locator(USER)).to_have_text(["Two"])
    wait_until_idle(page)
    assert told(script) == f"{TOLD}Two"
    expect(page.locator(SENT)).to_have_count(1)

    page.get_by_role("button", name="Undo").click()
    expect(page.locator(BOX)).to_have_value("Two")
    expect(chip(page, "notes.md")).to_have_count(1)
    expect(page.locator(USER)).to_have_count(0)
    send(page, "Three")
    wait_until_done(page)
    assert told(script) == f"{TOLD}Three"


def test_a_message_edited_only_in_its_files_is_another_wording(page: Page, script: ScriptedClient) -> None:
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "One")
    wait_until_done(page)
    page.get_by_label("Edit").first.click()
    chip(page, "notes.md").get_by_role("button", name="Remove").click()
    page.press(BOX, "Enter")
    expect(page.locator(SENT)).to_have_count(0)
    wait_until_idle(page)
    assert told(script) == "One"

    page.get_by_role("button", name="Earlier version of your message").click()
    expect(page.locator(SENT)).to_have_count(1)


def test_a_file_that_is_refused_says_why_and_nothing_typed_is_lost(page: Page, script: ScriptedClient) -> None:
    page.fill(BOX, "Look at this")
    attach(page, {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": pdf("")}, NOTES)

    expect(page.locator(NOTE)).to_contain_text("“scan.pdf” has no text, only pictures. Have its text recognised (OCR)")
    expect(page.locator(CHIPS)).to_have_count(1)
    expect(page.locator(BOX)).to_have_value("Look at this")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    large.write_bytes(b"x" * (4 * 1024 * 1024 + 1))
    wait_until_idle(page)
    page.set_input_files("#attach-files", [large])

    expect(page.locator(NOTE)).to_contain_text("“large.txt” is larger than 4.2 MB")


def test_no_more_files_are_taken_than_can_be_sent(page: Page, script: ScriptedClient) -> None:
    attach(page, *[NOTES | {"name": f"{place}.txt"} for place in range(11)])

    expect(page.locator(CHIPS)).to_have_count(10)
    expect(page.locator(NOTE)).to_contain_text("10 files can go with one message")


def test_a_message_needs_words(page: Page, script: ScriptedClient) -> None:
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    page.press(BOX, "Enter")

    expect(page.locator(NOTE)).to_have_text("Say what to do with what you have attached.")
    expect(page.locator(CHIPS)).to_have_count(1)


@pytest.mark.parametrize("press", ["Send again", "Edit"])
def test_a_message_that_is_refused_keeps_its_files(page: Page, script: ScriptedClient, press: str) -> None:
    answering = script.script
    script.script = full
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "Hello")
    expect(page.locator(UNSENT).locator(".chip")).to_contain_text("notes.md")
    page.reload()
    script.script = answering
    wait_until_idle(page)
    page.locator(UNSENT).get_by_role("button", name=press, exact=True).click()
    if press == "Edit":
        expect(page.locator(CHIPS)).to_have_count(1)
        page.press(BOX, "Enter")
    wait_until_done(page)
    assert told(script) == f"{TOLD}Hello"


def saying_much() -> Generator[ChatEvent]:
    yield Queued(0)
    yield ContentDelta("Fine.")
    yield Done("stop", Usage(500, 0, 10), Timings(0, 100, 50))


def test_the_gauge_tells_beforehand_what_will_not_fit(page: Page, script: ScriptedClient) -> None:
    script.script = saying_much
    talk(page, "One")
    attach(page, NOTES | {"buffer": b"a b c d " * 40})
    expect(page.locator("#gauge")).to_have_text("590 of 1,024 tokens · 434 free")
    attach(page, NOTES | {"buffer": b"a b c d " * 100})
    expect(page.locator("#gauge")).to_have_text("790 of 1,024 tokens · 234 freethe oldest turns will be left out")
    attach(page, NOTES | {"buffer": b"a b c d " * 300})
    expect(page.locator("#gauge")).to_have_text("1,024 of 1,024 tokens · 0 freemore than fits: remove a file")


ASK_FOR_THE_TEXT = """async ({ conversation, stream }) => {
    const { id } = gradio_config.components.find((each) => each.props?.elem_id === "screen");
    const data = { key: "0".repeat(48), conversation, stream, place: 0 };
    const answer = await fetch("gradio_api/component_server/", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ data, component_id: id, fn_name: "attached_text", session_hash: "any" }),
    });
    return await answer.text();
}"""


def test_what_was_attached_is_for_its_owner_alone(
    page: Page, open_page: Any, scripted_page: tuple[ScriptedClient, str], script: ScriptedClient
) -> None:
    attach(page, NOTES)
    expect(chip(page, "notes.md")).to_have_count(1)
    send(page, "Secret")
    wait_until_done(page)
    conversation, owner = address(page), f"browser:{page.context.cookies()[0]['value']}"
    asked = {"conversation": conversation, "stream": script.sessions.get(conversation, owner=owner).turns[0].stream_id}
    assert "heron" in page.evaluate(ASK_FOR_THE_TEXT, asked)

    other = open_page(scripted_page[1])
    wait_until_idle(other)

    answer = other.evaluate(ASK_FOR_THE_TEXT, asked)
    assert "refused" in answer
    assert "heron" not in answer
