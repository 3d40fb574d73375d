"""What every report that comes as JSON or as Markdown shares."""

from typing import Annotated, Any, Literal

from fastapi import Query, Response

__all__ = ["MARKDOWN_TOO", "Form", "markdown", "plain"]

Form = Annotated[Literal["json", "markdown"], Query(alias="format")]
"""The query parameter `format`."""
MARKDOWN_TOO: dict[int | str, dict[str, Any]] = {200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}}
"""Says in OpenAPI that a route gives Markdown as well."""


def markdown(text: str) -> Response:
    """Give a reply of Markdown."""
    return Response(text, media_type="text/markdown")


def plain(text: str) -> str:
    r"""Give text in which what people said cannot become markup.

    >>> plain("*so*\n<b>")
    '\\*so\\* \\<b\\>'
    """
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|!" else char for char in text.replace("\n", " "))
