"""What sending sound may cost."""

from dataclasses import dataclass, field

from api.audio_decoding import DecodeLimits

__all__ = ["AudioLimits"]


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """Bounds for sound that is sent.

    Attributes:
        frame_bytes: Largest frame of a connection, its header left out.
        frame_s: Longest sound of one frame of PCM, or one POST of a chunk.
        pace: How many times faster than real time live sound may come.
        burst_s: How much live sound may come at once on top of that, as after a lost connection.
        first_s: Longest wait for the first message of a connection.
        connections: Most connections at once.
        decoders: Most containers that are decoded at once; each is a process.
        idle_decoder_s: How long a decoder outlives a lost connection.
        upload_bytes: Largest file.
        files_at_once: Most files that are decoded at once.
        decode: What decoding one recording may cost.
    """

    frame_bytes: int = 256 * 1024
    frame_s: float = 10.0
    pace: float = 4.0
    burst_s: float = 300.0
    first_s: float = 10.0
    connections: int = 500
    decoders: int = 32
    idle_decoder_s: float = 60.0
    upload_bytes: int = 500_000_000
    files_at_once: int = 2
    decode: DecodeLimits = field(default_factory=DecodeLimits)
