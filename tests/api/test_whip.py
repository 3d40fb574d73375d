"""WHIP with a real WebRTC client (aiortc) and with a real Chromium."""

import asyncio
import fractions
import math
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from rejoinder.settings import Settings
from tests.sound import chunks, give_up_storing, loud_s, tone, whole
from tests.support import open_session, running, wait_for


class Tone(MediaStreamTrack):
    """A tone, paced by the clock as a microphone is; from `until_s` on silence."""

    kind = "audio"

    def __init__(self, until_s: float = math.inf) -> None:
        super().__init__()
        self._until = until_s * 48_000
        self._sound = np.frombuffer(tone(10.0, 48_000), "<i2")
        self._at = 0
        self._began: float | None = None

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        self._began = self._began if self._began is not None else loop.time()
        await asyncio.sleep(max(0.0, self._began + self._at / 48_000 - loop.time()))
        part = self._sound[np.arange(self._at, self._at + 960) % len(self._sound)] * np.int16(self._at < self._until)
        frame = av.AudioFrame.from_ndarray(part[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._at, fractions.Fraction(1, 48_000)
        self._at += 960
        return frame


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("whip"), port=0, qa_port=0)


@pytest.fixture(scope="module")
def client(place: Settings) -> Iterator[httpx.Client]:
    with running(place) as opened:
        yield opened


def _is_the_tone(pcm: bytes) -> bool:
    sound = np.frombuffer(pcm, "<i2").astype(float)[8_000:24_000]
    return bool(abs(np.abs(np.fft.rfft(sound)).argmax() - 440) <= 1 and sound.std() > 2_000)


async def _published(
    client: httpx.Client, session: str, *, video: bool = False, sound: Tone | None = None
) -> tuple[RTCPeerConnection, str]:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(sound or Tone())
    if video:
        peer.addTransceiver("video", direction="sendonly")
    await peer.setLocalDescription(await peer.createOffer())
    reply = await asyncio.to_thread(
        client.post,
        f"/api/sessions/{session}/whip",
        params={"participant": "ann", "track": "obs"},
        content=peer.localDescription.sdp,
        headers={"content-type": "application/sdp"},
    )
    assert reply.status_code == 201, reply.text
    assert reply.headers["content-type"].startswith("application/sdp")
    await peer.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
    return peer, reply.headers["location"]


@pytest.mark.parametrize("video", [False, True])
def test_a_peer_publishes_its_sound_and_ends_it(client: httpx.Client, place: Settings, *, video: bool) -> None:
    session = open_session(client)

    async def publish() -> None:
        peer, location = await _published(client, session, video=video)

        def stored_s() -> float:
            return sum(len(one.pcm) for one in chunks(place.log_url, session)) / 32_000

        await asyncio.to_thread(wait_for, lambda: stored_s() > 2)
        assert (await asyncio.to_thread(client.patch, location)).status_code == 405
        assert (await asyncio.to_thread(client.delete, location)).status_code == 200
        assert (await asyncio.to_thread(client.delete, location)).status_code == 404
        await peer.close()

    asyncio.run(publish())
    found = chunks(place.log_url, session)
    assert found[-1].last
    assert {(one.track, one.participant) for one in found} == {("obs", "ann")}
    assert _is_the_tone(whole(found))


def test_a_peer_that_goes_away_ends_its_track(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)

    async def publish() -> None:
        peer, _ = await _published(client, session)
        await asyncio.to_thread(wait_for, lambda: len(chunks(place.log_url, session)) > 5)
        await peer.close()
        await asyncio.to_thread(wait_for, lambda: chunks(place.log_url, session)[-1].last)

    asyncio.run(publish())


def test_a_session_that_ends_ends_its_peers(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)

    async def publish() -> None:
        peer, location = await _published(client, session)
        await asyncio.to_thread(wait_for, lambda: len(chunks(place.log_url, session)) > 2)
        await asyncio.to_thread(client.post, f"/api/sessions/{session}/end")
        await asyncio.to_thread(wait_for, lambda: client.delete(location).status_code == 404)
        await peer.close()

    asyncio.run(publish())


def test_a_peer_whose_voice_may_not_be_stored_any_more_is_ended(client: httpx.Client, place: Settings) -> None:
    session = open_session(client)
    body = {"consents": [{"participant_id": "ann", "purposes": ["audio"], "given": False}]}

    async def publish() -> int:
        peer, location = await _published(client, session)
        await asyncio.to_thread(wait_for, lambda: len(chunks(place.log_url, session)) > 2)
        reply = await asyncio.to_thread(client.post, f"/api/sessions/{session}/consents", json=body)
        stored = len(whole(chunks(place.log_url, session)))
        assert reply.status_code == 201
        await asyncio.to_thread(wait_for, lambda: client.delete(location).status_code == 404)
        await peer.close()
        return stored

    stored = asyncio.run(publish())
    # What was on its way to the log when it was recorded may still come: a piece of 0.1 s.
    assert len(whole(chunks(place.log_url, session))) <= stored + 3_200
    offer = client.post(
        f"/api/sessions/{session}/whip",
        params={"participant": "ann"},
        content=b"v=0",
        headers={"content-type": "application/sdp"},
    )
    assert offer.status_code == 403


def test_sound_whose_storing_was_given_up_and_that_arrived_is_stored_once(
    client: httpx.Client, place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(client)

    async def publish() -> None:
        peer, location = await _published(client, session, sound=Tone(until_s=5.0))
        await asyncio.to_thread(wait_for, lambda: loud_s(chunks(place.log_url, session)) > 1)
        await asyncio.to_thread(give_up_storing, place.data_dir / "log.sqlite3", monkeypatch)

        def silent() -> bool:
            return np.frombuffer(whole(chunks(place.log_url, session))[-16_000:], "<i2").std() < 10

        await asyncio.to_thread(wait_for, silent)
        assert (await asyncio.to_thread(client.delete, location)).status_code == 200
        await peer.close()

    asyncio.run(publish())
    found = chunks(place.log_url, session)
    assert found[-1].last
    # A machine that is busy may lose sound on its way, which is told as gaps.
    lost_s = sum(one.gap_samples for one in found) / 16_000
    assert loud_s(found) + lost_s == pytest.approx(5.0, abs=0.06)


WRONG = {
    "no SDP": ("application/sdp", b"hello", 400),
    "empty": ("application/sdp", b"", 400),
    "bytes": ("application/sdp", bytes(range(256)), 400),
    "half a line": ("application/sdp", b"v=0\r\no=- 1 1 IN IP4 0\r\nm=audio", 400),
    "JSON": ("application/json", b"{}", 415),
    "large": ("application/sdp", b"a" * 200_000, 413),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_offer_gets_a_clear_problem(client: httpx.Client, name: str) -> None:
    kind, content, status = WRONG[name]
    session = open_session(client)
    reply = client.post(f"/api/sessions/{session}/whip", content=content, headers={"content-type": kind})
    assert reply.status_code in {status, 422 if status == 400 else status}, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert 'rejoinder_audio_open{way="webrtc"} 1.0' not in client.get("/metrics").text


def test_an_offer_for_a_session_that_is_over_is_refused(client: httpx.Client) -> None:
    session = open_session(client)
    client.post(f"/api/sessions/{session}/end")
    headers = {"content-type": "application/sdp"}
    assert client.post(f"/api/sessions/{session}/whip", content=b"v=0", headers=headers).status_code == 409


PUBLISH = """async (session) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const peer = window.peer = new RTCPeerConnection();
  stream.getTracks().forEach((one) => peer.addTrack(one, stream));
  await peer.setLocalDescription(await peer.createOffer());
  if (peer.iceGatheringState !== "complete") await new Promise((done) =>
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && done()));
  const reply = await fetch(`/api/sessions/${session}/whip`, { method: "POST", body: peer.localDescription.sdp,
    headers: { "Content-Type": "application/sdp" } });
  await peer.setRemoteDescription({ type: "answer", sdp: await reply.text() });
  return [reply.status, reply.headers.get("Location")];
}"""


@pytest.mark.browser
def test_a_real_browser_publishes_its_microphone(client: httpx.Client, place: Settings, tmp_path: Path) -> None:
    import shutil

    from playwright.sync_api import sync_playwright

    from tests.sound import recording

    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("no chromium; add it with: apt-get install chromium")
    file = tmp_path / "tone.wav"
    file.write_bytes(recording("wav", 10.0))
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={file}", "--disable-features=WebRtcHideLocalIpsWithMdns"]  # fmt: skip
    session = open_session(client)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_context(permissions=["microphone"]).new_page()
        page.goto(str(client.base_url))
        status, location = page.evaluate(PUBLISH, session)
        assert status == 201
        wait_for(lambda: sum(len(one.pcm) for one in chunks(place.log_url, session)) > 64_000, 30)
        assert client.delete(location).status_code == 200
        browser.close()
    sound = np.frombuffer(whole(chunks(place.log_url, session)), "<i2").astype(float)
    assert abs(np.abs(np.fft.rfft(sound[16_000:32_000])).argmax() - 440) <= 2
