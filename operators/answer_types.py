"""What kind of thing a question asks for, and whether a sentence holds one: an amount, a date, a person, a place."""

import re

from operators.words import stems_of

__all__ = ["counts", "fits"]

_NUMBER = (
    r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half|third|"
    r"twice|once|none|no)"
)
_MONTH = (
    "january|february|march|april|june|july|august|september|october|november|december|"
    "jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec"
)
_UNIT = r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|quarters?|years?|nights?)"
_I = re.IGNORECASE

_AMOUNT = re.compile(rf"\b{_NUMBER}\b", _I)
_MONEY = re.compile(
    r"[€£$]\s?\d|\b\d[\d.,]*\s*(?:million |thousand )?(?:pounds?|euros?|dollars?|pence|cents?|percent)\b|\bfree\b|"
    r"\bnothing\b|\bno (?:fee|charge)\b|\bper cent\b|%",
    _I,
)
_DATE = re.compile(
    rf"\b(?:(?:19|20)\d\d|{_MONTH}|may (?=\d)|(?:mon|tues|wednes|thurs|fri|satur|sun)days?|noon|midnight|spring|summer|"
    rf"autumn|winter|christmas|present|\d{{1,2}}:\d\d)\b|"
    rf"\b(?:at|until|before|after|from|by) (?:half past )?{_NUMBER}\b|"
    rf"\b{_NUMBER} (?:in the (?:morning|evening|afternoon)|{_UNIT} (?:before|after|ahead|ago))|"
    rf"\b(?:after|within|until) {_NUMBER} (?:\w+ )?{_UNIT}",
    _I,
)
_DURATION = re.compile(
    rf"\b{_NUMBER}(?: and a half| or \w+| to \w+| and \w+|-)? ?(?:\w+ )?{_UNIT}\b|\b(?:every|each) \w+|"
    r"\b(?:once|twice|daily|weekly|monthly|yearly|until|overnight|at once)\b|\bfrom \w+ to \w+",
    _I,
)
_PERSON = re.compile(
    r"(?<![.!?] )(?<!^)\b[A-Z][a-z]+ [A-Z][a-z]+|\b(?:Mr|Mrs|Ms|Dr|Prof)\.? [A-Z]\w+|"
    r"\b(?:everybody|everyone|nobody|somebody|whoever|members?|staff|colleagues?|captain|managers?|director|desk|team|"
    r"board|officer|technicians?|people|customers?|company|vote|government|trust|parents?)\b|"
    r"\b[A-Z][a-z]+(?= (?:leads?|decides?|runs?|owns?))"
)
_PLACE = re.compile(
    r"\b(?:in|at|near|from|to|of|through|around|behind|under|with) (?:the |an? )?"
    r"(?:[A-Z][a-z]+|\w+ (?:lounge|room|hall|branch|office|cellar|garage|desk|centre|center))|"
    r"University|School|College|\b(?:lounge|quay|cellar|basement)\b"
)
_REASON = re.compile(r"\b(?:because|since|so that|due to|therefore|reason|to|for)\b", _I)

_CLOSED = re.compile(
    r"^\W*(?:and |so |but )?(?:is|are|was|were|do|does|did|can|could|may|will|would|has|have|had|should)\b"
)
_WANTED = (
    (re.compile(r"\bwhy\b|\bhow come\b|\bwhat caused\b"), _REASON),
    (re.compile(r"\bhow many\b"), _AMOUNT),
    (re.compile(r"\bhow (?:long|late|soon|quickly|fast|often|early|frequently)\b"), _DURATION),
    (
        re.compile(
            r"\bhow expensive\b|\bhow much (?:does|do|is|are|would|will|did|money|compensation)\b|"
            r"\b(?:what|how much)\b.*\b(?:costs?|prices?|salary|fees?|earn|rent|budget|revenue|fare|pays?|paid)\b|"
            r"\bwhat (?:is|are|was) the (?:\w+ )*(?:prices?|cost|fee|budget|rate|allowance|salary)\b"
        ),
        _MONEY,
    ),
    (re.compile(r"\bwhen\b|\bwhat (?:year|time|day|date)\b|\bon which days?\b"), _DATE),
    (
        re.compile(
            r"\bhow (?:much|old|big|large|heavy|loud|deep|high|tall|far|wide)\b|"
            r"\bwhat (?:share|percentage|proportion)\b|\bdose\b|\bin percent\b"
        ),
        _AMOUNT,
    ),
    (re.compile(r"\b(?:who|whose|whom)\b"), _PERSON),
    (re.compile(r"\bwhere\b"), _PLACE),
)
"""The first that matches counts: "how many days" wants an amount before it wants a time."""
_COUNTED = re.compile(r"\bhow many (\w+)")
_NUMBERED = re.compile(rf"\b{_NUMBER}\b((?: \w+){{1,2}})", _I)


def fits(question: str, sentence: str) -> bool | None:
    """Say whether a sentence holds the kind of thing a question asks for; None when the question names no kind.

    >>> fits("When does it open?", "It opens at nine."), fits("When does it open?", "The hall is large.")
    (True, False)
    >>> fits("Is it open?", "It opens at nine.") is None
    True
    """
    text = question.lower()
    if _CLOSED.match(text):
        return None
    kind = next((kind for cue, kind in _WANTED if cue.search(text)), None)
    return None if kind is None else kind.search(sentence) is not None


def counts(question: str, sentence: str) -> bool | None:
    """Say whether a number of a sentence counts what "how many" asks about; None when nothing of that is to be said.

    >>> counts("How many rooms are there?", "It has three rooms."), counts("How many beds?", "It has three rooms.")
    (True, False)
    """
    asked = _COUNTED.search(question.lower())
    if asked is None or _AMOUNT.search(sentence) is None:
        return None
    wanted = set(stems_of(asked.group(1))) or {asked.group(1)}
    return any(wanted & set(stems_of(match.group(1))) for match in _NUMBERED.finditer(sentence))
