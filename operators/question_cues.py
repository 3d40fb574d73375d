"""Which sentences ask for something: rules over the words, for punctuated text and for raw lowercase speech-to-text."""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Cue", "cue_of", "is_tagged", "is_trap", "is_written", "sentences_of"]

Kind = Literal["wh", "yes_no", "choice", "request", "other"]

_FILLER = (
    r"(?:(?:so|and|but|or|okay|ok|well|um|uh|erm|er|now|then|right|alright|all right|yeah|yes|no|great|good|lovely|"
    r"perfect|cool|sure|also|just|maybe|actually|basically|i guess|i mean|you know|let's see|first|firstly|next|"
    r"lastly|finally|sorry|thanks|thank you|mm|mhm|hmm|oh|ah|great stuff|fair enough|i see|got it|and then)[,.]?\s+)*"
)
_SUBJECT = r"(?:you|your|yours|he|she|it|its|they|there|that|this|these|those|we|i|the|a|an|any|anyone|anybody|anything|someone|somebody|my|his|her|their|our|all|both|everything|everyone)"
_AUX = (
    r"(?:do|does|did|don't|doesn't|didn't|are|is|was|were|am|aren't|isn't|wasn't|weren't|have|has|had|haven't|hasn't|"
    r"can|could|can't|couldn't|would|will|wouldn't|won't|should|shouldn't|may|might|shall)"
)
_WH_AUX = rf"(?:'s|'re|'d|s|\s+{_AUX})"

_WH = re.compile(
    rf"\b(?:what(?:{_WH_AUX}|\s+(?:kind|sort|type|about|time|if|else|exactly|made|brings|brought|happens|happened|makes|"
    rf"colou?r|sorts|kinds|part|parts|role|steps?|year|age|dose|medications?|tools?)\b)|"
    rf"how(?:{_WH_AUX}|\s+(?:long|many|much|often|old|far|bad|about|come|big|severe|frequently|soon|well|quickly|"
    rf"comfortable|confident|exactly|badly)\b)|"
    rf"why(?:{_WH_AUX}|\s+not\b)|"
    rf"where(?:{_WH_AUX}|\s+(?:exactly|abouts)\b)|whereabouts\b|when{_WH_AUX}|"
    rf"who(?:{_WH_AUX}|\s+(?:else|lives|owns|decides)\b)|whose\b|whom\b|"
    rf"which(?:{_WH_AUX}|\s+(?:one|ones|of|part|side|way|parts|kind|type|tools?|leg|arm|day|team)\b))",
    re.IGNORECASE,
)
_WH_START = re.compile(
    rf"^{_FILLER}(?:what|how|why|where|when|who|whose|which|whereabouts|in what|at what|to what|for how|since when)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(rf"^{_FILLER}{_AUX}\s+(?:\w+\s+)?{_SUBJECT}\b", re.IGNORECASE)
_YES_NO_INSIDE = re.compile(
    r"\b(?:do you|did you|have you|are you|were you|can you|could you|would you|will you|had you|is there|are there|"
    r"was there|were there|has there|does it|did it|is it|was it|do they|does he|does she|is he|is she|has he|has she|"
    r"have they|should i|can i|could i|do i|will i|am i|is that|are your|is your|does your|has your|did your|"
    r"does that|shall i|must i|would it|will it|any other|anything else)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    rf"^{_FILLER}(?:please\s+)?(?:(?:can|could|would|will) you\s+(?:please\s+|just\s+|maybe\s+|perhaps\s+|also\s+|briefly\s+)*|"
    r"(?:i'd|i would|we'd|we would)\s+(?:like|love)\s+(?:you\s+)?to\s+(?:hear\s+(?:about|how|what|more|why)|know|understand|ask|"
    r"learn|tell|walk)|i'?m (?:curious|interested|wondering)|i (?:was |am )?wonder(?:ing)?|i want (?:you )?to (?:hear|know|understand|ask|tell)|"
    r"let's (?:talk|hear|start|go through) |start by |begin by |maybe (?:just )?start |just )?\s*"
    r"(?:tell (?:me|us)|walk (?:me|us)|talk (?:me|us) through|describe|explain|give (?:me|us)|share|take (?:me|us) through|"
    r"go through|run (?:me|us) through|elaborate|show (?:me|us)|help me understand|let me know|remind me|introduce yourself|"
    r"say (?:a bit |a little )?more|talk (?:a bit |a little )?about|outline|summari[sz]e|compare|sketch|estimate|design|"
    r"(?:i'm|i am) (?:curious|wondering|interested)|walking me through|telling (?:me|us))\b",
    re.IGNORECASE,
)
_REQUEST_SOFT = re.compile(
    rf"^{_FILLER}(?:(?:i'd|i would|we'd|we would) (?:like|love) to (?:hear|know|understand|learn|see)|"
    r"i'?m (?:curious|wondering|interested)|i (?:was |am )?wonder(?:ing)?|i want to (?:hear|know|understand)|"
    r"i wanted to ask|i was going to ask|my question is|the question is|i need to know|i don't understand (?:why|how|what))\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\b(?:\w+ or \w+)\b", re.IGNORECASE)
_TRAP = re.compile(
    rf"^{_FILLER}(?:right|okay|ok|yeah|yes|really|is it|is that so|is that right|is that okay|does that make sense|"
    r"make sense|makes sense|you know(?: what i mean)?|do you know what i mean|know what i mean|isn't it|wasn't it|"
    r"don't you|didn't you|aren't you|haven't you|do you|did you|are you|have you|no|hm+|huh|eh|what|sorry|pardon|"
    r"can you hear me(?: okay| ok| now| all right)?|can you see (?:me|my screen)(?: okay| now)?|how are you(?: doing)?(?: today)?|"
    r"how's it going|how are things|you all right|are you there|hello|who knows|who cares|why not|what do you call it|"
    r"what's the word|what else|what can i say|how do i put (?:it|this)|how shall i (?:put|say) (?:it|this)|you see|see|"
    r"guess what|do you mind|may i|can i just|shall we(?: start| begin| get started)?|are we (?:good|ready|set)|"
    r"(?:what|is there anything|anything|do you have any questions?)(?: would| you'd| you would)?(?: you)? like to (?:know|ask)(?: from| about)? us|"
    r"(?:do you have )?any (?:other )?questions(?: for (?:me|us))?|how about that|what about that|okay so|got it|fair enough|all right|alright)[\s,.?!]*$",
    re.IGNORECASE,
)
_RHETORICAL = re.compile(
    r"\b(?:who knows|who cares|what's the point of|how hard can|do you know what i mean|isn't that (?:funny|something)|"
    r"what do i know|guess what|why would anyone|as to (?:why|how|what)|that's (?:why|what|how|where|when)|this is (?:why|what|how|where)|"
    r"i know (?:what|how|why|where)|i don't know (?:what|how|why|where|if|when|who)|depending on|no matter (?:what|how)|"
    r"i think that's|you can see (?:what|how|why)|i'll (?:tell|show|explain|describe|walk|give|take)|i will (?:tell|explain)|"
    r"let me (?:tell|explain|describe|walk|show|give)|i can (?:tell|explain|describe)|remember (?:what|how|when))\b",
    re.IGNORECASE,
)
_TAG = re.compile(
    r",?\s(?:right|okay|ok|alright|all right|yeah|yes|no|huh|eh|you know|(?:is|are|was|were|do|does|did|has|have|had|can|could|"
    r"will|would|should)(?:n't)? (?:it|they|he|she|you|we|i|that))\?$",
    re.IGNORECASE,
)
_WORD_TAG = re.compile(r",?\s(?:right|okay|ok|alright|all right|yeah|yes|no|huh|eh|you know)\?$", re.IGNORECASE)
_SPLIT = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Cue:
    """What a sentence asks for, how sure that is (0-1), and where in the sentence it begins, characters."""

    kind: Kind
    confidence: float
    at: int = 0


def sentences_of(text: str) -> list[str]:
    """Cut text after full stops, question and exclamation marks.

    >>> sentences_of("Right. So why Kafka? Go on")
    ['Right.', 'So why Kafka?', 'Go on']
    """
    return [sentence for sentence in _SPLIT.split(text.strip()) if sentence]


def is_written(text: str) -> bool:
    """Say whether text carries punctuation or capitals, so that a missing "?" means something.

    >>> is_written("so what happened next"), is_written("and what happened next?")
    (False, True)
    """
    return any(mark in text for mark in ".?!") or text != text.lower()


def is_trap(sentence: str) -> bool:
    """Say whether a sentence is a tag, small talk or another form that looks like a question and wants no answer.

    >>> is_trap("Can you hear me okay?"), is_trap("Can you tell me why?")
    (True, False)
    """
    return _TRAP.match(sentence.strip()) is not None


def is_tagged(text: str) -> bool:
    """Say whether punctuated text ends with a statement that one word turns into a question.

    >>> is_tagged("We met last year, right?"), is_tagged("When did we meet?")
    (True, False)
    """
    sentences = sentences_of(text)
    last = sentences[-1] if sentences else ""
    return _WORD_TAG.search(last) is not None and cue_of(last, punctuated=True) is None


def cue_of(sentence: str, *, punctuated: bool) -> Cue | None:
    """Say whether a sentence asks for something that deserves an answer.

    Args:
        sentence: One sentence, or a raw stretch of speech-to-text.
        punctuated: Whether this speaker's text carries punctuation, so that a missing "?" means something.

    >>> cue_of("what would you do differently", punctuated=False).kind
    'wh'
    >>> cue_of("that is what I did last year.", punctuated=True) is None
    True
    >>> cue_of("Right?", punctuated=True) is None
    True
    """
    text = sentence.strip()
    cue = _looks_like(text, punctuated=punctuated)
    # Most sentences look like no question, so what only looks like one is told last.
    return None if cue is None or is_trap(text) else cue


def _looks_like(text: str, *, punctuated: bool) -> Cue | None:
    asked = text.rstrip("\"') ").endswith("?")
    words = text.count(" ") + 1
    if asked:
        return _asked(text, words)
    request = _REQUEST.match(text) or _REQUEST_SOFT.match(text)
    if request and words >= 3 and not _RHETORICAL.search(text[: request.end() + 1]):
        return Cue("request", 0.85)
    if punctuated:
        return None
    cue = _raw(text, words)
    return None if cue is None or _RHETORICAL.search(text) else cue


def _asked(text: str, words: int) -> Cue | None:
    if words == 1:
        return None
    if _REQUEST.match(text):
        return Cue("request", 0.95)
    if _WH_START.match(text) or (_WH.search(text) and not _TAG.search(text)):
        return Cue("wh", 0.95 if words > 2 else 0.6)
    if _YES_NO.match(text) or (_YES_NO_INSIDE.search(text) and not _TAG.search(text)):
        return Cue("choice" if _CHOICE.search(text) else "yes_no", 0.9)
    if _TAG.search(text):
        return None
    # A statement said with a rising tone ("You live alone?") checks more than it asks; long ones are often real.
    return Cue("other", 0.65) if words >= 3 else None


def _raw(text: str, words: int) -> Cue | None:
    if words < 3:
        return None
    wh = _WH.search(text)
    if wh is not None and (_WH_START.match(text) or wh.start() == 0):
        return Cue("wh", 0.8)
    if _YES_NO.match(text):
        return Cue("yes_no", 0.75)
    inside = _YES_NO_INSIDE.search(text)
    if wh is not None and text[wh.start() :].count(" ") >= 3:
        return Cue("wh", 0.55, wh.start())
    if inside is not None and text[inside.start() :].count(" ") >= 2:
        return Cue("yes_no", 0.55, inside.start())
    return None
