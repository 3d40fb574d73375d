"""Runs the speaker-turns flow until it is killed: URL of the log, recovery folder, and "all" or "thinned"."""

import sys
from datetime import timedelta

from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from eventlog import open_log
from flows.speaker_turns import THINNED, Voices
from flows.voice_room import VoiceModels, VoiceRoom
from flows.wiring import Operators, Wiring
from tests.tones import ToneEncoder, ToneSegmenter


def main() -> None:
    """Run."""
    log = open_log(sys.argv[1])
    room = VoiceRoom(VoiceModels(ToneSegmenter, ToneEncoder))
    voices = Voices(room, thinned=() if sys.argv[3] == "all" else THINNED)
    wiring = Wiring(log, Operators(), None, 1, voices=voices)
    run_main(
        wiring.dataflow(("speaker_turns",)),
        epoch_interval=timedelta(milliseconds=50),
        recovery_config=RecoveryConfig(sys.argv[2]),
    )


if __name__ == "__main__":
    main()
