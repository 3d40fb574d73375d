"""Records to bytes and back, across versions and damage."""

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audio import LAST_SAMPLE, AudioChunk
from schemas.base import derive_id
from schemas.codec import decode, encode
from schemas.errors import SchemaError, UnknownTopic
from schemas.speech import AudioGap, Caption, TranscriptionLag
from schemas.topics import TOPICS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def caption(**more: object) -> Caption:
    fields = {"caption_id": "c", "start_s": 1.0, "end_s": 2.0, "text": "hello"} | more
    return Caption.model_validate({"session_id": "s", "event_id": "e", "created_at": NOW, **fields})


@given(st.text(max_size=200), st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_caption_comes_back_as_it_went(text: str, one: float, other: float) -> None:
    try:
        record = caption(text=text, start_s=min(one, other), end_s=max(one, other))
        assert decode("captions", encode(record)) == record
    except UnicodeEncodeError:
        pytest.fail("text that a record holds must be writable")


@given(st.binary(max_size=400))
def test_audio_keeps_its_samples_raw(pcm: bytes) -> None:
    record = AudioChunk(session_id="s", event_id="e", created_at=NOW, track="mic", sequence=0, start_sample=0, pcm=pcm)
    value = encode(record)
    assert pcm in value
    assert decode("audio", value) == record


def test_an_older_reader_passes_over_what_a_newer_writer_added() -> None:
    fields = json.loads(encode(caption()))
    newer = json.dumps(fields | {"v": 2, "mood": "calm"}).encode()
    assert decode("captions", newer) == caption()


def test_an_unknown_field_of_our_own_version_is_an_error() -> None:
    fields = json.loads(encode(caption()))
    with pytest.raises(SchemaError, match="mood"):
        decode("captions", json.dumps(fields | {"mood": "calm"}).encode())


def test_the_reason_never_repeats_what_was_said() -> None:
    fields = json.loads(encode(caption())) | {"text": ["my secret"]}
    with pytest.raises(SchemaError) as caught:
        decode("captions", json.dumps(fields).encode())
    assert "secret" not in str(caught.value)


@given(st.sampled_from(sorted(TOPICS)), st.binary(max_size=300))
def test_damage_is_a_schema_error_and_nothing_else(topic: str, value: bytes) -> None:
    with pytest.raises(SchemaError):
        decode(topic, value)


@given(st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_is_read_or_refused(place: int, byte: int) -> None:
    value = bytearray(encode(caption()))
    value[place % len(value)] = byte
    with contextlib.suppress(SchemaError):
        decode("captions", bytes(value))


def test_a_topic_outside_the_table_is_named() -> None:
    with pytest.raises(UnknownTopic, match="captions"):
        decode("gossip", b"{}")


@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.text(max_size=20), max_size=5))
def test_ids_are_the_same_for_the_same_parts_only(one: list[str], other: list[str]) -> None:
    assert (derive_id(*one) == derive_id(*other)) == (one == other)


def test_the_records_of_the_captions_topic_are_told_apart_by_type() -> None:
    shared = {"session_id": "s", "event_id": "e", "created_at": "2026-01-01T00:00:00Z", "track": "mic"}
    gap = AudioGap(**shared, start_s=1.0, end_s=2.5)  # type: ignore[arg-type]
    lag = TranscriptionLag(**shared, behind_s=3.0)  # type: ignore[arg-type]
    assert [decode("captions", encode(one)) for one in (gap, lag)] == [gap, lag]


def test_sound_too_late_to_have_a_time_is_no_record() -> None:
    shared = {"session_id": "s", "event_id": "e", "created_at": NOW, "track": "mic", "sequence": 0, "pcm": b""}
    AudioChunk(**shared, start_sample=LAST_SAMPLE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="start_sample"):
        AudioChunk(**shared, start_sample=LAST_SAMPLE + 1)  # type: ignore[arg-type]


def test_a_caption_written_before_there_were_revisions_still_reads() -> None:
    fields = json.loads(encode(caption()))
    for newer in ("revision", "speaker_frozen"):
        del fields[newer]
    assert decode("captions", json.dumps(fields).encode()) == caption()
