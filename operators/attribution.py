"""words + speaker turns -> who said which words, and again when a turn is corrected."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from schemas.speech import Caption, SpeakerTurn, Word

__all__ = ["Attribution", "AttributionState", "Part", "speakers_of"]

NEAR_S = 0.5
"""A word that no turn covers belongs to a turn this near: recognisers' word times are off by some tenths."""


@dataclass(frozen=True, slots=True)
class Part:
    """Words of one speaker that follow on each other.

    Attributes:
        first: The caption and the number of the word it begins with.
        speaker: As the turns name them; None when no turn is near.
        text: Words of final captions.
        tentative: Words of captions that may still change, after `text`.
        caption_ids: The final captions it has words of.
        settled: No correction can come any more.
    """

    first: tuple[str, int]
    speaker: str | None
    start_s: float
    end_s: float
    text: str = ""
    tentative: str = ""
    caption_ids: tuple[str, ...] = ()
    settled: bool = True


@dataclass(frozen=True, slots=True)
class _Track:
    """Captions and turns of one track that are still of use, oldest first.

    Attributes:
        heard_s: How far final captions came; turns after it wait for theirs.
    """

    captions: tuple[Caption, ...] = ()
    turns: tuple[SpeakerTurn, ...] = ()
    frozen_s: float = 0.0
    newest_s: float = 0.0
    heard_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AttributionState:
    """The tracks on which people are told apart, by name."""

    tracks: tuple[tuple[str, _Track], ...] = ()

    def track(self, name: str) -> _Track:
        """Give a track; an empty one when it is new."""
        return next((track for known, track in self.tracks if known == name), _Track())

    def having(self, name: str, track: _Track) -> "AttributionState":
        """Give the state in which a track is like this."""
        return AttributionState((*(one for one in self.tracks if one[0] != name), (name, track)))


def speakers_of(words: Sequence[Word], turns: Sequence[SpeakerTurn]) -> list[str | None]:
    """Give the speaker of each word: whose turn covers most of it.

    Where two talk at once, a word goes to the one who said the word before; a word in no turn to the nearest within
    half a second.

    >>> from datetime import datetime, UTC
    >>> said = [Word(text="yes", start_s=1.0, end_s=1.5), Word(text="no", start_s=1.6, end_s=2.0)]
    >>> turn = SpeakerTurn(session_id="s", event_id="e", created_at=datetime(2026, 1, 1, tzinfo=UTC), turn_id="t",
    ...                    speaker="a", start_s=0.5, end_s=1.55)
    >>> speakers_of(said, [turn, turn.model_copy(update={"speaker": "b", "start_s": 1.55, "end_s": 3.0})])
    ['a', 'b']
    """
    found: list[str | None] = []
    before: str | None = None
    for word in words:
        shares: dict[str, float] = {}
        for turn in turns:
            shared = min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)
            shares[turn.speaker] = max(shares.get(turn.speaker, -NEAR_S), shared)
        best = max(shares.values(), default=-NEAR_S)
        if best <= -NEAR_S:
            found.append(None)
            continue
        likely = [speaker for speaker, share in shares.items() if share >= best - 0.01]
        before = before if before in likely else likely[0]
        found.append(before)
    return found


@dataclass(frozen=True, slots=True)
class Attribution:
    """Joins the words of a track's captions to its turns, and cuts them into parts of one speaker.

    Attributes:
        gap_s: A pause longer than this begins a new part.
        longest_s: So does this much talk.
        most_words: Or so many words.
        freeze_s: A turn is corrected for so long.
        most_captions: Captions that are kept to be corrected, or to wait for their turns.
        most_turns: Turns that are kept to wait for their captions.
    """

    gap_s: float = 1.5
    longest_s: float = 30.0
    most_words: int = 80
    freeze_s: float = 5.0
    most_captions: int = 240
    most_turns: int = 2_000

    def takes(self, state: AttributionState, caption: Caption) -> bool:
        """Say whether a caption has words with times here, or had them as a guess that is taken back."""
        if caption.track is None:
            return False
        known = state.track(caption.track).captions
        return bool(caption.words) or any(one.caption_id == caption.caption_id for one in known)

    def hear(self, state: AttributionState, caption: Caption) -> AttributionState:
        """Take a caption that names no speaker; one without words takes back what was guessed."""
        name = caption.track or ""
        track = state.track(name)
        # A guess that was followed by other words, and not by its own final ones, is given up.
        kept = tuple(
            one
            for one in track.captions
            if one.caption_id != caption.caption_id and (one.final or one.start_s > caption.start_s)
        )
        if not caption.words:
            return state.having(name, replace(track, captions=kept))
        captions = tuple(sorted((*kept, caption), key=lambda one: (one.start_s, one.caption_id)))
        heard_s = max(track.heard_s, caption.end_s) if caption.final else track.heard_s
        return state.having(name, replace(track, captions=captions[-self.most_captions :], heard_s=heard_s))

    def turn(self, state: AttributionState, turn: SpeakerTurn) -> AttributionState:
        """Take a turn, new or corrected."""
        name = turn.track or ""
        track = state.track(name)
        if any(one.turn_id == turn.turn_id and one.revision > turn.revision for one in track.turns):
            return state
        kept = [one for one in track.turns if one.turn_id != turn.turn_id]
        newest_s = max(track.newest_s, turn.end_s)
        # Of a recording one may be far ahead of the other: turns wait until their captions have come.
        oldest_s = min([track.heard_s, newest_s, *(one.start_s for one in track.captions)]) - 2 * self.freeze_s
        if turn.end_s > turn.start_s:
            kept.append(turn)
        turns = tuple(sorted((one for one in kept if one.end_s >= oldest_s), key=lambda one: one.start_s))
        frozen_s = max(track.frozen_s, turn.end_s) if turn.frozen else track.frozen_s
        kept_turns = turns[-self.most_turns :]
        return state.having(name, replace(track, turns=kept_turns, frozen_s=frozen_s, newest_s=newest_s))

    def settled(self, track: _Track, end_s: float) -> bool:
        """Say whether the speaker of what ended then can no longer change."""
        return end_s <= max(track.frozen_s + NEAR_S, track.newest_s - self.freeze_s - 1.0)

    def parts(self, state: AttributionState, name: str) -> list[Part]:
        """Give what is said on a track, cut by speaker, pause and length; what is settled and left is not in it."""
        track = state.track(name)
        parts: list[Part] = []
        for caption, number, word, speaker in self._words(track):
            last = parts[-1] if parts else None
            settled = caption.final and self.settled(track, caption.end_s)
            if last is None or not self._goes_on(last, word, speaker):
                last = Part((caption.caption_id, number), speaker, word.start_s, word.end_s, settled=settled)
                parts.append(last)
            text, tentative = last.text, last.tentative
            ids = last.caption_ids
            if caption.final:
                text = f"{text} {word.text.strip()}".strip()
                ids = ids if caption.caption_id in ids else (*ids, caption.caption_id)
            else:
                tentative = f"{tentative} {word.text.strip()}".strip()
            end_s = max(last.end_s, word.end_s)
            parts[-1] = replace(
                last, end_s=end_s, text=text, tentative=tentative, caption_ids=ids, settled=last.settled and settled
            )
        return parts

    @staticmethod
    def _words(track: _Track) -> Iterator[tuple[Caption, int, Word, str | None]]:
        for caption in track.captions:
            speakers = speakers_of(caption.words, _around(track, caption))
            for number, (word, speaker) in enumerate(zip(caption.words, speakers, strict=True)):
                yield caption, number, word, speaker

    def _goes_on(self, part: Part, word: Word, speaker: str | None) -> bool:
        words = part.text.count(" ") + part.tentative.count(" ") + 2
        return (
            part.speaker == speaker
            and word.start_s - part.end_s <= self.gap_s
            and word.end_s - part.start_s <= self.longest_s
            and words <= self.most_words
        )

    def leave(self, state: AttributionState, name: str, parts: Sequence[Part]) -> AttributionState:
        """Forget the captions of which nothing can change: all of their words lie in settled parts before the last."""
        track = state.track(name)
        begins = {part.first for part in parts}
        leave = 0
        for number, caption in enumerate(track.captions[:-1]):
            following = track.captions[number + 1]
            if not (caption.final and self.settled(track, caption.end_s)):
                break
            if (following.caption_id, 0) in begins:
                leave = number + 1
        return state.having(name, replace(track, captions=track.captions[leave:])) if leave else state

    def speaker_of(self, state: AttributionState, caption: Caption) -> tuple[str | None, bool]:
        """Give who said most of a caption, and whether that is settled."""
        track = state.track(caption.track or "")
        speakers = speakers_of(caption.words, _around(track, caption))
        seconds: dict[str, float] = {}
        for word, speaker in zip(caption.words, speakers, strict=True):
            if speaker is not None:
                seconds[speaker] = seconds.get(speaker, 0.0) + word.end_s - word.start_s + 0.01
        who = max(seconds, key=lambda one: seconds[one]) if seconds else None
        return who, self.settled(track, caption.end_s)


def _around(track: _Track, caption: Caption) -> list[SpeakerTurn]:
    """Give the turns that may hold words of a caption; word times reach a little beyond it."""
    start_s, end_s = caption.start_s - 1.0, caption.end_s + 1.0
    return [one for one in track.turns if one.end_s > start_s and one.start_s < end_s]
