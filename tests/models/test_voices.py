"""The kept speaker models give what the models they were made from give; damaged ones are refused."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import voices
from models.mel import mel_spectrum
from models.pyannote_voices import check_pyannote
from models.voices import OnnxSegmenter, OnnxVoiceEncoder
from schemas.errors import ModelMissing

RATE = 16_000
LARGEST = [189, 82, 248, 146, 151, 111]
ENCODED = [0.23529, 0.20479, 0.18715, 0.18295, 0.16793, 0.15697]


def hum(pitch_hz: float, seconds: float) -> np.ndarray:
    """Give a buzz with the overtones of a voice."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch_hz * number * time_s) / number for number in range(1, 20))
    return (0.05 * tones * (1 + 0.3 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def test_mel_bands_are_those_of_the_library_the_encoder_was_trained_with() -> None:
    # Reference: librosa 0.11, melspectrogram(n_fft=400, hop_length=160, n_mels=40).
    mels = mel_spectrum(hum(120, 1.6))
    assert mels.shape == (161, 40)
    assert mels[50, :6] == pytest.approx([0.203047, 0.298092, 0.0969509, 0.0495921, 0.0424559, 0.0194447], rel=1e-4)
    assert float(mels.sum()) == pytest.approx(137.39934, rel=1e-4)


def test_the_encoder_gives_the_vector_of_the_original() -> None:
    # Reference: Resemblyzer 0.1.4 with torch on the same 161 frames, its largest parts.
    vector = OnnxVoiceEncoder().encode([hum(120, 1.6)])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    largest = np.argsort(-vector)[:6].tolist()
    assert vector[largest] == pytest.approx(ENCODED, abs=2e-4)
    assert largest == LARGEST


def test_stretches_of_any_length_are_encoded_as_if_alone() -> None:
    encoder = OnnxVoiceEncoder()
    stretches = [hum(120, 1.6), hum(210, 0.4), hum(150, 1.6), hum(120, 5.0), hum(90, 0.01)]
    together = encoder.encode(stretches)
    alone = np.concatenate([encoder.encode([one]) for one in stretches])
    assert together == pytest.approx(alone, abs=1e-5)
    assert encoder.encode([]).shape == (0, 256)


def test_quiet_speech_sounds_like_the_same_voice() -> None:
    loud, quiet = OnnxVoiceEncoder().encode([hum(120, 1.6), hum(120, 1.6) * np.float32(0.05)])
    assert float(loud @ quiet) > 0.95


def test_the_segmenter_gives_the_activities_of_the_original() -> None:
    # Reference: PyanNet of whisperx 3.8.6 through pyannote.audio 4.0.7, frames 10, 100, 146, 200 and 280 of 293.
    silence = np.zeros(RATE, np.float32)
    sound = np.concatenate([silence, hum(120, 1.5), silence[: RATE // 2], hum(210, 2.0)])[: 5 * RATE]
    activity = OnnxSegmenter().activity(sound)
    assert activity.shape == (250, 3)
    places = (np.array([10, 100, 146, 200, 280]) * 270 + 495) // 320
    assert activity[places, 0] == pytest.approx([0.6235, 0.9919, 0.9678, 0.2164, 0.1448], abs=0.05)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5, 5.0])
def test_windows_of_any_length_give_fifty_frames_a_second(seconds: float) -> None:
    activity = OnnxSegmenter().activity(hum(120, seconds))
    assert activity.shape == (round(seconds * 50), 3)
    assert np.isfinite(activity).all()


def test_damaged_and_missing_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Path(voices.KEPT)
    monkeypatch.setattr(voices, "KEPT", tmp_path)
    with pytest.raises(ModelMissing, match="not there"):
        OnnxSegmenter()
    shutil.copyfile(kept / voices.ENCODER, tmp_path / voices.ENCODER)
    OnnxVoiceEncoder()
    with (tmp_path / voices.ENCODER).open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02")
    with pytest.raises(ModelMissing, match="damaged"):
        OnnxVoiceEncoder()


def test_a_checkpoint_is_opened_only_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(b"anything")
    with pytest.raises(ModelMissing, match="SHA256"):
        check_pyannote(str(file), "")
    with pytest.raises(ModelMissing, match="not the one"):
        check_pyannote(str(file), "0" * 64)


def test_without_the_extra_the_command_that_adds_it_is_named() -> None:
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("the extra is installed here")
    with pytest.raises(ModelMissing, match="--extra diarization"):
        check_pyannote("pyannote/segmentation-3.0", "0" * 64)
