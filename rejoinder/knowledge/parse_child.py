"""Reads one uploaded file in a process of its own, under limits; run as ``python -m``, never imported.

Input: the file's bytes on standard input, kind and limits as arguments. Output: JSON with ``text`` or ``refused``.
"""

import io
import json
import re
import resource
import sys
import zipfile

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
MOST_UNZIPPED = 60_000_000


class Refused(Exception):
    """The file cannot be used; the message tells its owner why."""


def decoded(content: bytes) -> str:
    """Give the text of bytes: by its mark, else UTF-8, else Latin-1 when it looks like text."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            try:
                return content.decode(name)
            except UnicodeDecodeError:
                raise Refused("the text is damaged: it is not the encoding it says it is") from None
    if sum(byte < 9 for byte in content[:4096]) > min(len(content), 4096) * 0.1:
        raise Refused("this is not a text file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\x00" in content or sum(byte > 126 or byte < 9 for byte in content) > len(content) * 0.3:
            raise Refused("this is not a text file") from None
        return content.decode("latin-1")


def pdf_text(content: bytes, most_pages: int, most_chars: int) -> str:
    """Give the text of a PDF."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("the PDF is protected by a password")
        if len(reader.pages) > most_pages:
            raise Refused(f"the PDF has {len(reader.pages)} pages; at most {most_pages} are taken")
        texts, size = [], 0
        for page in reader.pages:
            texts.append(page.extract_text() or "")
            size += len(texts[-1])
            if size > most_chars:
                raise Refused(f"the PDF holds more than {most_chars} characters")
    except Refused:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, RecursionError):
        raise Refused("the PDF is damaged and cannot be read") from None
    text = "\n\n".join(texts)
    if not text.strip():
        raise Refused("the PDF holds no text (only pictures?)")
    return text


def docx_text(content: bytes) -> str:
    """Give the text of a DOCX: paragraphs and tables in order."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_UNZIPPED:
                raise Refused("the document unpacks to more than 60 MB")
    except (zipfile.BadZipFile, ValueError, OSError):
        raise Refused("the document is damaged or not a DOCX") from None
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table
    from lxml.etree import XMLSyntaxError

    try:
        document = docx.Document(io.BytesIO(content))
        lines = []
        for part in document.iter_inner_content():
            if isinstance(part, Table):
                lines += [" | ".join(cell.text.strip() for cell in row.cells) for row in part.rows]
            else:
                style = (part.style.name or "") if part.style is not None else ""
                lines.append(("# " if style.startswith(("Heading", "Title")) else "") + part.text)
    except (PackageNotFoundError, XMLSyntaxError, KeyError, ValueError, AttributeError, zipfile.BadZipFile, OSError):
        raise Refused("the document is damaged or not a DOCX") from None
    return "\n\n".join(lines)


def json_text(content: bytes) -> str:
    """Give a JSON document as it is, once it is sure to be one."""
    text = decoded(content)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("the file is not valid JSON, or nested too deeply") from None
    return text


def read(kind: str, content: bytes, most_pages: int, most_chars: int) -> str:
    """Give the text of a file of a kind.

    Raises:
        Refused: It cannot be used.
    """
    if kind == "pdf":
        text = pdf_text(content, most_pages, most_chars)
    elif kind == "docx":
        text = docx_text(content)
    elif kind == "json":
        text = json_text(content)
    else:
        text = decoded(content)
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(text) > most_chars:
        raise Refused(f"the document holds {len(text)} characters; at most {most_chars} are taken")
    if not text.strip():
        raise Refused("the document holds no text")
    return text


def main() -> None:
    """Set the limits, read, answer."""
    kind, most_pages, most_chars, cpu_s, memory = sys.argv[1], *map(int, sys.argv[2:6])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        answer = {"text": read(kind, sys.stdin.buffer.read(), most_pages, most_chars)}
    except Refused as refused:
        answer = {"refused": str(refused)}
    except MemoryError:
        answer = {"refused": "the file needs more memory than is allowed for one document"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
