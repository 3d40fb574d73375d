"""settings -> which flows run, and the operators with the options that the settings choose."""

from flows.wiring import FLOWS, Operators
from operators.memory import MemoryOperator
from operators.nudges import NudgesOperator
from rejoinder.phasing import load_phases
from rejoinder.settings import Settings

__all__ = ["flows_chosen", "operators_of"]


def operators_of(settings: Settings) -> Operators:
    """Give the operators as the settings choose them.

    Raises:
        ModelMissing: The folder of phases cannot be used.
    """
    return Operators(
        memory=MemoryOperator(phases=load_phases(settings.phases_dir)),
        nudges=NudgesOperator(needs_consent=settings.consent == "refuse"),
    )


def flows_chosen(settings: Settings) -> tuple[str, ...]:
    """Give the names of the flows that do not listen and run here."""
    return (*FLOWS, "nudges") if settings.nudges else tuple(FLOWS)
