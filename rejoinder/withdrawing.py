"""What lies outside the log and is forgotten when its consent is withdrawn: enrolled voices, remembered minutes."""

from collections.abc import Callable

from rejoinder.enrolled import VoiceStore
from rejoinder.knowledge.remember import remembered_of
from rejoinder.knowledge.store import KnowledgeStore
from schemas.meeting import Consent

__all__ = ["withdrawing"]


def withdrawing(knowledge: KnowledgeStore, voices: VoiceStore) -> Callable[[str, Consent], None]:
    """Give what is done when somebody withdraws; the session's own data stays and is used no further."""

    def forget(owner_id: str, consent: Consent) -> None:
        if "voice" in consent.purposes:
            for name in {consent.participant_id, consent.name} - {""}:
                voices.remove(owner_id, name)
        if "remembering" in consent.purposes:
            document = remembered_of(knowledge, owner_id, consent.session_id)
            if document is not None:
                knowledge.delete(owner_id, document.document_id)

    return forget
