"""What must not be answered like any other question: a person in danger; and what of third persons is masked."""

import re

__all__ = ["HELP", "in_danger", "masked"]

HELP = (
    "This sounds as if you may be in danger yourself. Please talk to somebody now: your local emergency number "
    "(112, 911, 999), or a crisis line (988 in the USA and Canada, 116 123 in the UK and Ireland, 0800 111 0 111 in "
    "Germany). No answer is suggested here."
)
_INTENT = (
    r"(?:want(?:ed)? to|going to|thinking (?:of|about)|plan(?:ning)? to|about to|might|will|could|"
    r"keep thinking (?:of|about))"
)
_DEED = (
    r"(?:kill(?:ing)? myself|end(?:ing)? (?:my life|it all)|(?:hurt|harm)(?:ing)? myself|"
    r"commit(?:ting)? suicide|suicide|die\b|tak(?:e|ing) my (?:own )?life)"
)
_SELF = re.compile(
    rf"\bi(?:'m| am|'ve been| have been)?\s+(?:really\s+|just\s+|seriously\s+)?{_INTENT}\s+{_DEED}"
    r"|\bi (?:don't|do not) want to (?:live|be alive|be here)(?: any ?more)?\b|\bbetter off without me\b"
    r"|\bich (?:will|möchte) (?:nicht mehr leben|mich umbringen|sterben)\b",
    re.IGNORECASE,
)
_OUT_OF_ROLE = re.compile(
    r"\b(?:this is (?:really )?me|not (?:acting|the role|role[- ]?play(?:ing)?)|out of role|for real|"
    r"stop the (?:role ?play|session))\b",
    re.IGNORECASE,
)
_CONTACT = re.compile(
    r"\b(?:e-?mail|address|phone|telephone|number|contact|call|reach|write to|extension)\b", re.IGNORECASE
)
_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_PHONE = re.compile(r"(?<![\w.,])(?:\+\d{1,3}[ -]?)(?:\(?\d{1,5}\)?[ -]?){2,5}\d{2,4}(?!\w)")
_IDENTITY = re.compile(r"\b(?:\d{3}-\d{2}-\d{4}|\d{3} \d{3} \d{4})\b")


def in_danger(text: str, kind: str, *, by_user: bool) -> bool:
    """Say whether the user seems to speak of harming themselves.

    In practice sessions a patient is played, and talk of death belongs to the scene unless the user says that it is
    them. What others in a meeting say is not the user's.

    >>> in_danger("I want to kill myself", "meeting", by_user=True)
    True
    >>> in_danger("I do not want to live any more, nurse", "practice", by_user=True)
    False
    """
    if not by_user or not _SELF.search(text):
        return False
    return kind != "practice" or _OUT_OF_ROLE.search(text) is not None


def masked(text: str, question: str) -> str:
    """Give a text without e-mail addresses, telephone and identity numbers, unless the question asks for them.

    >>> masked("Ask ann@example.org.", "Who knows?"), masked("Ask ann@example.org.", "What is her e-mail?")
    ('Ask (address left out).', 'Ask ann@example.org.')
    """
    if _CONTACT.search(question):
        return text
    text = _EMAIL.sub("(address left out)", text)
    return _IDENTITY.sub("(number left out)", _PHONE.sub("(number left out)", text))
