"""The generated part of docs/analytics.md: every view with its columns."""

from rejoinder.analytics.views import VIEWS

__all__ = ["views_page"]


def views_page() -> str:
    """Give the tables of all views, as they stand in docs/analytics.md."""
    lines: list[str] = []
    for view in VIEWS.values():
        lines += [f"### `{view.name}`", "", f"A row is {view.note}.", "", "| Column | Meaning |", "|---|---|"]
        lines += [f"| `{name}` | {what} |" for name, what in view.columns.items()]
        lines.append("")
    return "\n".join(lines)
