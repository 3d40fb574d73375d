"""Records for tests of operators."""

from datetime import UTC, datetime

from schemas.questions import Question


def asked(text: str, *preceding: str) -> Question:
    """Give a question as a flow hands it on."""
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return Question(session_id="s", event_id="e", created_at=made, question_id="q", text=text, preceding=preceding)
