"""text -> its content words in a form in which like words are the same."""

import re

__all__ = ["stems_of"]

_STOP = frozenset(
    re.findall(
        r"\S+",
        """
a about also an and any are as at be been bit but by can could describe did do does doing example explain for from
get give go going got had has have he her his how i i'm if in into is it its just kind know let like little make me
more most much my need of okay on or our please really right she should so some something sort talk tell than that
the their them then there these they thing things this through time to up us very walk want was we well were what
when where which who why will with would you your yours
""",
    )
)
_SAME = """
holiday vacation
salary wage pay paid compensation compensated remuneration
prices cost expensive cheap fee
hire hiring recruit recruiting recruitment
boss manager supervisor superior
job position role
staff employee colleague worker workforce
customer client
availability available uptime
outage downtime incident
fast quick rapid soon
begin start commence
end finish terminate
buy purchase
car vehicle
phone telephone mobile
doctor physician
injection shot jab
medicine medication drug
appointment booking slot
limit maximum cap most
fault bug defect
failure failed fail mistake error
problem challenge difficulty difficult hard
disagree disagreed argue argument conflict
achievement achieve accomplish accomplishment proud
reduce reduced lower decrease decreased cut save saved
increase increased raise raised grow grown growth
university college
hospital clinic
weekend saturday sunday
store stored storage keep kept retain retained lie
delete deleted erase erased remove removed
developer engineer programmer
allow allowed permit permitted may
course training learning
parental parents parent paternity maternity
child children kid kids
meal meals food lunch dinner
mile mileage
standby oncall
miss missed no-show no-shows
cancel cancelled cancels canceled
withdraw withdrawal withdrawn
degree msc bsc phd diploma
chief cto ceo
meeting call conversation
test testing tested tests
robot robots machine machines
stop stopped quit discontinue discontinued
"""
"""Words for one thing, a group to a line, for talk about work, products and care; only whole words are compared."""

_WORD = re.compile(r"[^\W_][\w'+#.-]*")
_ON_CALL = re.compile(r"\bon[ -]call\b")
_ENDINGS = tuple(["ation", "ing", "edly", "ed", "er", "ly", "e", "y"])


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


_REPRESENTATIVE = {
    _stem(word): _stem(group.split()[0]) for group in _SAME.strip().splitlines() for word in group.split()
}


def stems_of(text: str) -> list[str]:
    """Give the content words of a text, lower case, cut to a crude stem; words for one thing give the same stem.

    >>> stems_of("How often are the bandages changed?")
    ['often', 'bandag', 'chang']
    >>> stems_of("vacation") == stems_of("Holidays")
    True
    """
    stems = []
    for word in _WORD.findall(_ON_CALL.sub("oncall", text.lower().replace("’", "'"))):
        bare = word.strip(".'-").removesuffix("'s")
        if bare and bare not in _STOP:
            stem = _stem(bare)
            stems.append(_REPRESENTATIVE.get(stem, stem))
    return stems
