"""consents + participants -> who agreed to what, and who objects to what is about to be done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.meeting import PURPOSES, Consent, Participant, Purpose

__all__ = ["NOTICE", "NOTICE_VERSION", "Agreed", "ConsentRule", "Ledger", "Objection", "PersonAgreed"]

Agreed = Literal["given", "withdrawn", "missing"]
ConsentRule = Literal["warn", "refuse"]
"""What happens to those who were not asked: it is only told, or nothing of theirs is taken."""
UNNAMED_USER = "me"
"""Who the user is where a session names nobody."""
NOTICE_VERSION = "1"
NOTICE = (
    "This talk is listened to by a computer program. It stores the sound, writes down what is said and by whom, "
    "finds questions and suggests answers to one of us. You may say no to any of it now, or later at any time."
)
"""What everybody in a session should be told; it may be read out or pasted."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Somebody without whose consent something may not be done."""

    participant_id: str
    purpose: Purpose
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class PersonAgreed:
    """What one person agreed to."""

    participant_id: str
    name: str
    is_user: bool
    purposes: Mapping[Purpose, Agreed]


@dataclass(slots=True)
class Ledger:
    """The consents of one session in the order in which they were recorded; the newest for a purpose holds.

    >>> Ledger().agreed("ann", "captions")
    'missing'
    """

    entries: list[Consent] = field(default_factory=list)
    newest: dict[tuple[str, Purpose], Consent] = field(default_factory=dict)

    def take(self, consent: Consent) -> None:
        """Add an entry; none is ever taken out."""
        self.entries.append(consent)
        self.newest.update({(consent.participant_id, purpose): consent for purpose in consent.purposes})

    def agreed(self, participant_id: str, purpose: Purpose) -> Agreed:
        """Say how somebody stands to a purpose now."""
        newest = self.newest.get((participant_id, purpose))
        return "missing" if newest is None else "given" if newest.given else "withdrawn"

    def objections(
        self, people: Iterable[str], purposes: Sequence[Purpose], rule: ConsentRule
    ) -> tuple[Objection, ...]:
        """Give who of these people objects: who withdrew, and by the rule "refuse" also who was not asked."""
        found = [Objection(one, purpose, self.agreed(one, purpose)) for one in people for purpose in purposes]
        return tuple(
            one for one in found if one.agreed == "withdrawn" or (rule == "refuse" and one.agreed == "missing")
        )

    def everybody(self, participants: Mapping[str, Participant]) -> list[str]:
        """Give the ids of all who are known: the participants, and whoever else said yes or no."""
        return list(dict.fromkeys([*participants, *(one.participant_id for one in self.entries)]))

    def people(self, participants: Mapping[str, Participant], heard: Mapping[str, str]) -> tuple[PersonAgreed, ...]:
        """Give how everybody stands to every purpose.

        Args:
            participants: Those the session names, by id.
            heard: Names of those who were heard, by id.
        """
        names = {one.participant_id: one.name for one in self.entries if one.name}
        found = []
        for one in dict.fromkeys([*self.everybody(participants), *heard]):
            known = participants.get(one)
            name = (known.name if known else "") or names.get(one) or heard.get(one) or one
            agreed = {purpose: self.agreed(one, purpose) for purpose in PURPOSES}
            found.append(PersonAgreed(one, name, known is not None and known.is_user, agreed))
        return tuple(found)
