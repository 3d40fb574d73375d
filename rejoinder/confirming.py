"""The language model that is asked about unsure questions, as the settings choose it."""

from dataclasses import replace

from flows.confirming import ConfirmingRoom
from models.llm import ChatOptions, ChatServer
from operators.confirming import Confirming
from rejoinder.models import server_options
from rejoinder.settings import Settings
from schemas.errors import ModelMissing

__all__ = ["confirming_room"]

MOST_TOKENS = 8


def confirming_room(settings: Settings, options: ChatOptions | None = None) -> ConfirmingRoom | None:
    """Give the room in which the model is asked; None when `confirm_below` is 0.

    Args:
        settings: The settings.
        options: How this process calls the model that it has started or found already.

    Raises:
        ModelMissing: There is no model to ask.
    """
    if settings.confirm_below == 0:
        return None
    if options is None and settings.llm_chosen == "server":
        options = server_options(settings)
    if options is None:
        raise ModelMissing("REJOINDER_CONFIRM_BELOW wants a model: set REJOINDER_LLM_BASE_URL and REJOINDER_LLM_MODEL")
    seconds = settings.confirm_s
    brief = replace(
        options,
        temperature=0.0,
        max_tokens=MOST_TOKENS,
        first_piece_s=seconds,
        piece_s=seconds,
        deadline_s=seconds,
        attempts=1,
    )
    return ConfirmingRoom(ChatServer(brief), Confirming(settings.confirm_below, seconds))
