"""Runs one flow over the records that lie in a log now, to their end, as fast as it goes."""

from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import run_main

from eventlog.base import EventLog
from flows.answering_room import AnsweringRoom
from flows.answers import AnswersOptions
from flows.captions import Hearing
from flows.wiring import Operators, Wiring
from operators.answering import Answering
from schemas.errors import LogUnavailable

__all__ = ["run_once"]


def run_once(
    log: EventLog,
    name: str,
    operators: Operators,
    answering: Answering | None = None,
    at_once: int = 4,
    hearing: Hearing | None = None,
) -> None:
    """Read the flow's topics to their end and append what follows; timers fire by the times of the records.

    The whole input lies there before the first record is read, so several topics are read in the order in which
    they were made, and the same input gives the same output every time.

    Args:
        log: Read from and appended to; nobody else may append to it meanwhile.
        name: The flow.
        operators: The operators with their options.
        answering: Needed for the flow `answers`.
        hearing: Needed for the flow `captions`; made for topics that end.
        at_once: Questions answered together; few, so that a model's times are not those of a queue.

    Raises:
        LogUnavailable: The flow failed.
    """
    room = AnsweringRoom(answering, at_once) if answering is not None else None
    wiring = Wiring(log, operators, room, attempt=1, answers=AnswersOptions(finishing=True), finishing=True)
    wiring.hearing = hearing
    try:
        run_main(wiring.dataflow((name,)))
    except (BytewaxRuntimeError, RuntimeError, ValueError) as error:
        raise LogUnavailable(f"the flow {name} failed: {type(error).__name__}: {error}") from error
    finally:
        wiring.close()
        if room is not None:
            room.close()
