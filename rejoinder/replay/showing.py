"""Shows a comparison: as a table for a terminal, or as one HTML file without scripts."""

from html import escape

from api.answers import AnswerShown
from rejoinder.replay.comparing import Comparison, Pair, Totals

__all__ = ["html_of", "table_of"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; table-layout: fixed; }
th, td { border: 1px solid #c9d1d9; padding: .5rem .7rem; text-align: left; vertical-align: top; }
th { background: #f2f4f7; }
td { overflow-wrap: anywhere; }
.missed { background: #fff3e0; }
.facts { color: #57606a; font-size: .87em; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
"""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _facts(row: AnswerShown) -> str:
    cited = ", ".join(f"[{one.marker}] {one.title}" for one in row.citations)
    tokens = f"{row.prompt_tokens}+{row.answer_tokens} tokens" if row.prompt_tokens is not None else ""
    parts = [row.status if row.status != "complete" else "", row.reason, row.model or (row.mode or "")]
    parts += [_ms(row.first_delta_ms), _ms(row.total_ms), tokens, cited]
    return " · ".join(part for part in parts if part)


_ROWS = (
    ("questions", "questions"),
    ("only here", "only_here"),
    ("answered", "answered"),
    ("failed", "failed"),
    ("answers with a citation", "cited"),
    ("first piece, p50 ms", "first_ms_p50"),
    ("whole answer, p50 ms", "total_ms_p50"),
    ("prompt tokens", "prompt_tokens"),
    ("answer tokens", "answer_tokens"),
)


def _cell(totals: Totals, name: str) -> str:
    value = getattr(totals, name)
    return "-" if value is None else f"{value:.0f}"


def table_of(found: Comparison, width: int = 48) -> str:
    """Give the comparison as plain text."""
    lines = [f"{'':26} {found.a:>24} {found.b:>24}"]
    for label, name in _ROWS:
        lines.append(f"{label:26} {_cell(found.totals_a, name):>24} {_cell(found.totals_b, name):>24}")
    same = f"{found.same_answer} with the same answer"
    lines += ["", f"{found.both} questions in both, {same}, {len(found.sessions)} sessions", ""]
    for pair in found.pairs:
        row = pair.a or pair.b
        assert row is not None  # noqa: S101 - a pair has a side
        lines.append(f"{row.start_s:8.1f} s  {row.question}")
        for name, side in ((found.a, pair.a), (found.b, pair.b)):
            if side is None:
                lines.append(f"    {name:>20}: not found")
                continue
            lines.append(f"    {name:>20}: {_cut(side.text or '(no text)', width * 3)}")
            lines.append(f"    {'':>20}  {_facts(side)}")
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def html_of(found: Comparison) -> str:
    """Give the comparison as one HTML page; everything that was said or written is escaped."""
    head = "".join(
        f"<tr><th scope=row>{escape(label)}</th><td>{_cell(found.totals_a, name)}</td>"
        f"<td>{_cell(found.totals_b, name)}</td></tr>"
        for label, name in _ROWS
    )
    rows = "".join(_html_row(pair) for pair in found.pairs)
    title = escape(f"{found.a} and {found.b}")
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>{found.both} questions in both, {found.same_answer} of them with the same answer, "
        f"over {len(found.sessions)} sessions.</p>"
        f"<table><caption>In numbers</caption><tr><th scope=col></th><th scope=col>{escape(found.a)}</th>"
        f"<th scope=col>{escape(found.b)}</th></tr>{head}</table>"
        f"<table><caption>Question by question</caption><tr><th scope=col>question</th>"
        f"<th scope=col>{escape(found.a)}</th><th scope=col>{escape(found.b)}</th></tr>{rows}</table></html>\n"
    )


def _html_row(pair: Pair) -> str:
    row = pair.a or pair.b
    assert row is not None  # noqa: S101 - a pair has a side
    cells = "".join(
        "<td class=missed>not found</td>"
        if side is None
        else f"<td>{escape(side.text)}<p class=facts>{escape(_facts(side))}</p></td>"
        for side in (pair.a, pair.b)
    )
    place = f"{escape(pair.session_id)} · {row.start_s:.1f} s"
    return f"<tr><td>{escape(row.question)}<p class=facts>{place}</p></td>{cells}</tr>"
