"""What is in a file comes out as text, or a sentence says why not and what to do."""

from __future__ import annotations

import random

import pytest

from llm_core.attachments import reading
from llm_core.attachments.reading import MAX_FILE_BYTES, read_attachment
from llm_core.errors import InvalidRequest, LLMError, TooLarge
from llm_core.messages import MAX_ATTACHMENT_CHARS

from .files import archive, pdf, pdf_bomb, word

BOMB = archive(**{"word/document.xml": b"\0" * (40 * 1024 * 1024)})
OTHER_PARTS = archive(**{f"word/{place}.xml": b"" for place in range(3_000)}, **{"word/document.xml": b"<x/>"})
PICTURE = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(4_000)


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("a.txt", "Grüße\naus Köln".encode(), "text/plain"),
        ("a.md", "\ufeffGrüße\r\naus Köln".encode(), "text/markdown"),
        ("a.csv", "Grüße\raus Köln".encode("latin-1"), "text/csv"),
        ("a.json", "Grüße\naus Köln".encode("utf-16"), "application/json"),
        ("a.py", "Grüße\naus Köln".encode("utf-16-le"), "text/plain"),
        ("a", "Grüße\naus Köln".encode("utf-16-be"), "text/plain"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_has(name: str, data: bytes, media_type: str) -> None:
    read = read_attachment(name, data)

    assert (read.name, read.media_type, read.text) == (name, media_type, "Grüße\naus Köln")


def test_a_pdf_is_read_page_by_page() -> None:
    read = read_attachment("report.pdf", pdf("The first page", "", "The last page"))

    assert read.media_type == "application/pdf"
    assert read.text.split("\n\n") == ["The first page", "", "The last page"]


def test_a_pdf_that_is_only_locked_against_changes_is_read() -> None:
    assert read_attachment("a.pdf", pdf("Look, but do not touch", owner_password="x")).text == "Look, but do not touch"


def test_a_word_document_is_read_with_its_tables() -> None:
    read = read_attachment("plan.docx", word("Before", "After", table=[["City", "Days"], ["Oslo", "3"]]))

    assert read.text == "Before\n\nAfter\n\nCity | Days\nOslo | 3"


def test_what_a_file_is_says_its_content_and_not_its_name() -> None:
    assert read_attachment("renamed.txt", pdf("Still a PDF")).media_type == "application/pdf"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pdf", pdf("Secret", password="x"), "“a.pdf” is encrypted. Save a copy of it without a password"),
        ("scan.pdf", pdf("", ""), "“scan.pdf” has no text, only pictures. Have its text recognised (OCR) first"),
        ("long.pdf", pdf(*[""] * 501), "has 501 pages; 500 can be read. Attach the pages that matter"),
        ("broken.pdf", b"%PDF-1.7\nand then nothing", "“broken.pdf” is damaged and cannot be read"),
        ("bomb.pdf", pdf_bomb(150_000_000), "“bomb.pdf” has no text"),
        ("bomb.docx", BOMB, "“bomb.docx” unpacks to far more than it seems to be"),
        ("parts.docx", OTHER_PARTS, "unpacks to far more"),
        ("a.zip", archive(a=b"text"), "is an archive and no Word document. Unpack it"),
        ("broken.docx", word("Text")[:-200], "is damaged"),
        ("empty.docx", word(), "has no text"),
        ("picture.txt", PICTURE, "“picture.txt” is no text. Attach text, PDF or Word (docx) files."),
        ("noise.txt", random.Random(1).randbytes(4_000).replace(b"\0", b"\1"), "is no text"),
        ("empty.txt", b" \n", "“empty.txt” is empty"),
        ("long.txt", b"x" * (MAX_ATTACHMENT_CHARS + 1), "has more than 200,000 characters of text"),
        ("long.docx", word(*["x" * 1_000] * 300), "has more than 200,000 characters of text"),
        ("large.txt", b"x" * (MAX_FILE_BYTES + 1), "“large.txt” is larger than 4 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and len(value) < 16 else "",
)
def test_what_cannot_be_read_is_refused_with_what_to_do(name: str, data: bytes, said: str) -> None:
    with pytest.raises((InvalidRequest, TooLarge)) as refused:
        read_attachment(name, data)

    assert said in refused.value.message


def test_a_file_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SECONDS", 0.001)

    with pytest.raises(LLMError, match="takes too long"):
        read_attachment("slow.pdf", pdf("Text"))


def test_what_reads_a_file_has_none_of_the_server_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_TOKENS", "ann:secret")

    assert "LLM_API_TOKENS" not in reading._needed_variables()


def test_of_a_path_the_name_of_the_file_is_kept_and_it_has_one_line() -> None:
    assert read_attachment("../../etc/a\nb.txt", b"text").name == "a b.txt"
    assert read_attachment("C:\\Users\\me\\notes.md", b"text").name == "notes.md"
    assert read_attachment("x" * 500 + ".md", b"text").name.endswith(".md")


def test_control_characters_are_left_out() -> None:
    assert read_attachment("log.txt", b"a\x01b\x1b[0mc" + b"." * 1_000).text.startswith("ab\x1b[0mc")
