"""Runs the speaker-turns flow until it is killed: ``python -m tests.flows.speaker_turns_child URL DIR``."""

import sys
from datetime import timedelta

from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from eventlog import open_log
from flows.speaker_turns import Voices
from flows.voice_room import VoiceModels, VoiceRoom
from flows.wiring import Operators, Wiring
from tests.tones import ToneEncoder, ToneSegmenter


def main() -> None:
    """Run."""
    log = open_log(sys.argv[1])
    wiring = Wiring(log, Operators(), None, 1, voices=Voices(VoiceRoom(VoiceModels(ToneSegmenter, ToneEncoder))))
    run_main(
        wiring.dataflow(("speaker_turns",)),
        epoch_interval=timedelta(milliseconds=50),
        recovery_config=RecoveryConfig(sys.argv[2]),
    )


if __name__ == "__main__":
    main()
