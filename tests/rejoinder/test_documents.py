"""Uploads: what can be read is read, what cannot is refused with the reason, and nothing runs away."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from reportlab.pdfgen.canvas import Canvas

from models.embedder import load_embedder
from operators.ports import SearchScope
from rejoinder.knowledge.cutting import cut
from rejoinder.knowledge.parsing import DocumentRefused, ParseLimits, parse_upload
from rejoinder.knowledge.store import KnowledgeStore


def pdf(pages: int, text: str = "The rotation lasts one week.") -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target)
    for _ in range(pages):
        canvas.drawString(72, 700, text)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def word(text: str) -> bytes:
    target = io.BytesIO()
    document = docx.Document()
    document.add_heading("Policy")
    document.add_paragraph(text)
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Paid", "400 euros"
    document.save(target)
    return target.getvalue()


def bomb() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 300_000_000)
    return target.getvalue()


def test_every_kind_is_read() -> None:
    assert "one week" in parse_upload("a.pdf", pdf(2))[0]
    text = parse_upload("a.docx", word("Nobody is on call twice."))[0]
    assert "# Policy" in text
    assert "Paid | 400 euros" in text
    assert parse_upload("a.md", "# Größe\r\nx\x00y".encode())[0] == "# Größe\nxy"
    assert parse_upload("a.txt", "żółw".encode("utf-16"))[0] == "żółw"
    assert parse_upload("a.txt", "caf\xe9 au lait".encode("latin-1"))[0] == "café au lait"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF-1.7 broken", "damaged"),
        ("a.pdf", b"no pdf", "no PDF"),
        ("a.docx", b"PK\x03\x04 broken", "damaged"),
        ("a.docx", bomb(), "unpacks"),
        ("a.exe", b"MZ", "only PDF"),
        ("a.txt", b"", "empty"),
        ("a.txt", b"\x00\x01\x02" * 50, "not a text"),
        ("a.json", b"[" * 100_000, "JSON"),
        ("a.txt", b"   \n ", "no text"),
        ("a.txt", b"x" * 10_000_001, "bytes"),
    ],
    ids=[
        "corrupt pdf",
        "false pdf",
        "corrupt docx",
        "zip bomb",
        "program",
        "empty",
        "binary",
        "deep json",
        "blank",
        "huge",
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(DocumentRefused, match=reason):
        parse_upload(name, content)


def test_too_many_pages_too_many_words_too_much_time_and_memory_are_refused() -> None:
    with pytest.raises(DocumentRefused, match="pages"):
        parse_upload("a.pdf", pdf(30), ParseLimits(most_pages=20))
    with pytest.raises(DocumentRefused, match="characters"):
        parse_upload("a.txt", b"word " * 100, ParseLimits(most_chars=100))
    with pytest.raises(DocumentRefused, match=r"allowed|long"):
        parse_upload("a.pdf", pdf(3), ParseLimits(memory_bytes=30_000_000))


def test_passages_stand_where_they_say_and_survive_a_restart(tmp_path: Path) -> None:
    text = "\n\n".join(
        f"Paragraph {n}. The team of number {n} owns its service and is on call. " * 6 for n in range(12)
    )
    store = KnowledgeStore(tmp_path, load_embedder())
    document = store.add("ann", "hr", "Teams", text)
    assert all(text[piece.start : piece.end] == piece.text for piece in cut(document))
    store.add("ann", "hr", "Leave", "Employees get 27 days of paid leave each year.")
    store.add("bob", "hr", "Other", "Employees of Bob get 3 days of paid leave each year.")
    store.close()
    store = KnowledgeStore(tmp_path, load_embedder())
    found = store.search_now("How many vacation days do people get?", SearchScope("ann"), 3)
    assert found[0].title == "Leave"
    assert {passage.title for passage in found} <= {"Leave", "Teams"}
    assert store.search_now("paid leave", SearchScope("ann", ("elsewhere",)), 3) == []
    store.add("ann", "hr", "Leave", "Employees get 30 days of paid leave each year.")
    texts = [passage.text for passage in store.search_now("paid leave", SearchScope("ann"), 9)]
    assert any("30 days" in one for one in texts)
    assert not any("27 days" in one for one in texts)
    assert not store.delete("bob", document.document_id)
    assert store.delete("ann", document.document_id)
    assert all(passage.title != "Teams" for passage in store.search_now("team on call", SearchScope("ann"), 9))
    store.close()
