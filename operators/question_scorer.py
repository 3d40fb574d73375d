"""How likely a caption asks for something: two linear models over hashed features, joined with the rules."""

import math
import operator
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from operators.ports import Score
from operators.question_cues import cue_of
from operators.question_features import FILLERS, Heard, line_features, place_features

__all__ = ["MIXED", "LinearScorer", "Weights", "hashed", "mixed"]

MOST_WORDS = 60
"""Of a longer caption only the last words are looked at: the cost of a caption stays bounded."""
MIXED = 9
"""How many numbers `mixed` gives."""
NOWHERE = -9.0


@dataclass(frozen=True, slots=True)
class Weights:
    """One trained scorer.

    Attributes:
        place: Weight of each hashed feature of a place; a power of two of them. A list: a caption needs few of them,
            which are had from a list faster than from an array.
        place_bias: Added to their sum.
        line: The same for the caption as a whole.
        line_bias: Added to their sum.
        mix: Weights of the numbers that `mixed` gives.
        mix_bias: Added to their sum.
    """

    place: Sequence[float]
    place_bias: float
    line: Sequence[float]
    line_bias: float
    mix: Sequence[float]
    mix_bias: float


def hashed(features: Iterable[str], buckets: int) -> list[int]:
    """Give the buckets of features, each once, in no particular order.

    >>> hashed(["0=what", "1=is", "0=what"], 1 << 16) == hashed(["0=what", "1=is"], 1 << 16)
    True
    """
    crc32, mask = zlib.crc32, buckets - 1
    return list({crc32(feature.encode()) & mask for feature in features})


def mixed(heard: Heard, places: Sequence[float], line: float, rule: float) -> list[float]:
    """Give the numbers that decide: the best places, the whole caption, the rules.

    Args:
        heard: The caption.
        places: Score of each word as a beginning.
        line: Score of the caption as a whole.
        rule: Confidence of the rules, 0 when they see nothing.
    """
    asker = float(heard.asker)
    if not places:
        return [NOWHERE, NOWHERE, line, rule, 0.0, asker, 0.0, 1.0, NOWHERE * asker]
    ranked = sorted(places, reverse=True)
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else NOWHERE
    left = len(places) - places.index(best)
    total = math.log1p(sum(math.exp(min(place, 20.0)) for place in places))
    return [best, max(second, NOWHERE), line, rule, total, asker, min(left, 6) / 6, float(left <= 2), best * asker]


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """Scores captions; one set of weights for raw text and one for punctuated."""

    raw: Weights
    written: Weights

    def score(self, heard: Heard, text: str) -> Score:
        """Give how likely a caption asks for something that deserves an answer.

        Args:
            heard: The caption's words with what was said before.
            text: The same words as heard, for the rules.
        """
        skipped = max(0, len(heard.words) - MOST_WORDS)
        if skipped:
            heard = Heard(
                heard.words[skipped:], (), 0.0, heard.reply, heard.reply_s, asker=heard.asker, written=heard.written
            )
        if not heard.words:
            return Score(0.0, 0)
        weights = self.written if heard.written else self.raw
        buckets, place, line_weights = len(weights.place), weights.place, weights.line
        places = [
            sum(map(place.__getitem__, hashed(made, buckets))) + weights.place_bias for made in place_features(heard)
        ]
        line = sum(map(line_weights.__getitem__, hashed(line_features(heard), buckets))) + weights.line_bias
        cue = cue_of(text[-2_000:], punctuated=heard.written)
        numbers = mixed(heard, places, line, cue.confidence if cue is not None else 0.0)
        odds = sum(map(operator.mul, weights.mix, numbers)) + weights.mix_bias
        at = places.index(max(places))
        while at > 0 and heard.words[at - 1] in FILLERS:
            at -= 1
        return Score(1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))), skipped + at)
