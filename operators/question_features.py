"""What a caption looks like to the question scorer: names of features, made of words, their classes and timing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["FILLERS", "Heard", "line_features", "place_features", "place_offset", "word_class", "words_of"]

FILLERS = frozenset(
    ["so", "and", "but", "or", "okay", "ok", "well", "um", "uh", "erm", "er", "now", "then", "right", "alright", "yeah",
     "yes", "no", "great", "good", "lovely", "perfect", "cool", "sure", "also", "just", "maybe", "actually",
     "basically", "mm", "mhm", "hmm", "oh", "ah", "uhhuh", "like", "sorry"]
)  # fmt: skip
"""Words that may stand before a question without being part of it."""
_CLASSES = {
    "WH": "what what's whats how how's why why's where where's when who who's whose which whereabouts",
    "AUX": "do does did don't doesn't didn't are is was were am aren't isn't wasn't weren't have has had haven't "
    "hasn't can could can't couldn't would will wouldn't won't should shouldn't may might shall",
    "YOU": "you your yours you're you've you'd",
    "I": "i my me we us our i'm i've i'd we're we've i'll we'll let's",
    "THEY": "he she it they there that this these those it's that's there's they're its his her their",
    "DET": "the a an any some every all",
    "REQ": "tell walk talk describe explain give share take imagine suppose design show elaborate outline compare",
}
_CLASS_OF = {word: name for name, words in _CLASSES.items() for word in words.split()}
_CLASS_OF |= {word: "FIL" for word in FILLERS if word not in _CLASS_OF} | {mark: mark for mark in ".?!,"}
_TOKEN = re.compile(r"[\w'\-]+|[.?!,]")
_STEPS = (4, 6, 9, 14, 20)
_ENDS = frozenset(".?!")
PLACE_AHEAD = 7
"""How many words from a place on are looked at."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A caption with what was said just before it.

    Attributes:
        words: Its words and marks, lower case, after those of the sentence that it goes on with.
        carried: The last words of the same speaker before it, when the pause between was short.
        pause_s: That pause, seconds; large when the speaker said nothing lately.
        reply: What another speaker said last.
        reply_s: From the end of that to the start of the caption, seconds; negative when they overlap.
        asker: Whether the speaker's part in the meeting is to ask.
        written: Whether the text carries punctuation.
        before: The sentence that it goes on with, as far as it was heard; "" when there is none, and for raw text.
    """

    words: tuple[str, ...]
    carried: tuple[str, ...] = ()
    pause_s: float = 9.0
    reply: tuple[str, ...] = ()
    reply_s: float = 9.0
    asker: bool = False
    written: bool = False
    before: str = ""


def words_of(text: str) -> tuple[str, ...]:
    """Give the words and marks of a text in lower case.

    >>> words_of("Right. So why Kafka?")
    ('right', '.', 'so', 'why', 'kafka', '?')
    """
    return tuple(_TOKEN.findall(text.lower().replace("’", "'")))


def place_offset(text: str, place: int) -> int:
    """Give where in a text a word or mark begins, characters; the end of the text when it has no so many.

    >>> place_offset("Right. So why Kafka?", 2)
    7
    """
    for number, found in enumerate(_TOKEN.finditer(text)):
        if number == place:
            return found.start()
    return len(text)


def word_class(word: str) -> str:
    """Give the class of a word: WH, AUX, YOU, I, THEY, DET, REQ, FIL, a mark, or "o" for every other.

    >>> [word_class(word) for word in ("what", "did", "you", "build", "?")]
    ['WH', 'AUX', 'YOU', 'o', '?']
    """
    return _CLASS_OF.get(word, "o")


def _step(count: int) -> str:
    if count < _STEPS[0]:
        return str(count)
    return str(max(step for step in _STEPS if step <= count))


def place_features(heard: Heard) -> Iterator[list[str]]:
    """Give the features of each place in the caption at which a question may begin, one list per word, in order."""
    begin = len(heard.carried)
    words = ("<s>", "<s>", *heard.carried, *heard.words, *("</s>",) * PLACE_AHEAD)
    classes = ["^", "^", *map(word_class, heard.carried), *map(word_class, heard.words), *("$",) * PLACE_AHEAD]
    end = begin + len(heard.words)
    last = [words[end], words[end + 1]]
    pause = f"pause{min(3, int(heard.pause_s * 2))}"
    only_fillers = True
    stops = _next_stops(words, end + 2) if heard.written else []
    for place in range(begin + 2, end + 2):
        made = _around(words, classes, place)
        made += [f"b={word}" for word in words[place + 1 : min(place + PLACE_AHEAD, end + 2)]]
        first = classes[place]
        left = _step(end + 2 - place)
        lead = f"{only_fillers:d}"
        made += [f"left={left}", f"left={left}{first}", f"{pause if place == begin + 2 else 'in'}.{first}"]
        made += [f"lead={lead}{first}{classes[place + 1]}", f"leadw={lead}{words[place]}"]
        made += [f"end={last[1]}.{first}", f"end2={last[0]} {last[1]}"]
        if stops:
            made += _to_the_stop(words, classes, place, stops[place])
        only_fillers = only_fillers and (words[place] in FILLERS or words[place] in ".,")
        yield made


def _around(words: Sequence[str], classes: Sequence[str], place: int) -> list[str]:
    two, one, here, next_, third, fourth = words[place - 2 : place + 4]
    c2, c1, c0, n1, n2, n3 = classes[place - 2 : place + 4]
    return [
        f"0={here}",
        f"1={next_}",
        f"2={third}",
        f"01={here} {next_}",
        f"012={here} {next_} {third}",
        f"0123={here} {next_} {third} {fourth}",
        f"02={here} {third}",
        f"03={here} {fourth}",
        f"12={next_} {third}",
        f"p1={one}",
        f"p21={two} {one}",
        f"p10={one} {here}",
        f"p101={one} {here} {next_}",
        f"p210={two} {one} {here}",
        f"c01={c0}.{n1}",
        f"c012={c0}.{n1}.{n2}",
        f"c0123={c0}.{n1}.{n2}.{n3}",
        f"cp21={c2}.{c1}.{c0}.{n1}",
        f"cp1={c1}.{c0}",
        f"w0c={here}.{n1}.{n2}",
        f"cw1={c0}.{next_}.{n2}",
        f"p1c={one}.{c0}.{n1}",
    ]


def _next_stops(words: Sequence[str], end: int) -> list[int]:
    stops = [end] * (end + 1)
    for place in range(end - 1, -1, -1):
        stops[place] = place if words[place] in _ENDS else stops[place + 1]
    return stops


def _to_the_stop(words: Sequence[str], classes: Sequence[str], place: int, stop: int) -> list[str]:
    mark = words[stop] if words[stop] in _ENDS else "none"
    first = words[place - 1] in _ENDS or words[place - 1] == "<s>"
    return [
        f"sp={mark}",
        f"spc={mark}{classes[place]}{classes[place + 1]}",
        f"spn={mark}{_step(stop - place)}",
        f"spw={mark}{words[place]}",
        f"spp={mark}{words[place - 1]}",
        f"spl={mark}{words[stop - 1]}",
        f"spl2={mark}{words[stop - 2]} {words[stop - 1]}",
        f"spf={mark}{first:d}",
    ]


def line_features(heard: Heard) -> list[str]:
    """Give the features of the caption as a whole."""
    words, carried = heard.words, heard.carried
    asked = list(words)
    while asked and (asked[0] in FILLERS or asked[0] in ".,"):
        del asked[0]
    classes = [word_class(word) for word in asked[:4]]
    made = [f"len={_step(len(words))}", f"asker={heard.asker:d}"]
    made += [f"u={word}" for word in words]
    made += [f"bi={one} {two}" for one, two in pairwise(words)]
    made += [f"tri={one} {two} {three}" for one, two, three in zip(words, words[1:], words[2:], strict=False)]
    made += [f"st{count}={' '.join(asked[:count])}" for count in range(1, 5)]
    made += [f"stc={'.'.join(classes[:3])}", f"stc4={'.'.join(classes)}"]
    made += [f"en{count}={' '.join(words[-count:])}" for count in range(1, 4)]
    made += [f"car={' '.join(carried[-1:])}", f"car2={' '.join(carried[-2:])}"]
    made += [f"cb={word}" for word in carried[-6:]]
    made += [f"re={' '.join(heard.reply[:2])}", f"rel={_step(len(heard.reply))}"]
    made += [f"pause={min(6, int(heard.pause_s * 2))}", f"res={max(-3, min(6, int(heard.reply_s * 2)))}"]
    return made
