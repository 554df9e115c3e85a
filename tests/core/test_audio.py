from __future__ import annotations

import gc
import io
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.audio import SAMPLE_RATE, Recording, decode_recording
from app.core.errors import (
    AudioNotFinite,
    AudioTooShort,
    ElocuteError,
    SilentAudio,
    TooLarge,
    UnsupportedAudio,
)
from tests.core.clips import ENCODINGS, Signal, encode, tone, voice


def decode(data: bytes, max_seconds: float = 30) -> Recording:
    return decode_recording(data, max_seconds=max_seconds)


def level_at(recording: Recording, hz: float) -> float:
    """Peak of the tone at ``hz`` in the middle of a recording."""
    middle = recording.waveform[SAMPLE_RATE // 8 : -SAMPLE_RATE // 8]
    window = np.hanning(middle.size)
    wave = np.exp(-2j * np.pi * hz * np.arange(middle.size) / SAMPLE_RATE)
    return float(2 * abs(np.sum(window * middle * wave)) / window.sum())


@pytest.fixture(autouse=True)
def _no_temporary_files_no_noise(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "_get_candidate_names", refuse)
    yield
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name, e in ENCODINGS.items() for rate in e.rates])
def test_every_format_and_rate_keeps_length_level_and_content(name: str, rate: int) -> None:
    recording = decode(encode(name, voice(rate), rate))
    assert recording.waveform.dtype == np.float32
    assert recording.waveform.ndim == 1
    assert recording.format == ENCODINGS[name].container
    assert recording.source_channels == 1
    # AAC in ADTS cannot say where it ends: its last frame is padded.
    slack = 1024 / rate if name == "adts-aac" else 0
    assert recording.duration == pytest.approx(1.0, abs=0.05 + slack)

    expected = voice(SAMPLE_RATE)
    size = max(expected.size, recording.waveform.size)
    spectrum = np.fft.rfft(recording.waveform, 2 * size) * np.fft.rfft(expected, 2 * size).conj()
    correlation = np.fft.irfft(spectrum)
    lag = int(np.argmax(correlation))
    assert min(lag, 2 * size - lag) <= 0.01 * SAMPLE_RATE
    likeness = correlation.max() / np.linalg.norm(recording.waveform) / np.linalg.norm(expected)
    assert likeness > (0.98 if rate >= 16_000 else 0.95)

    steady = decode(encode(name, tone(rate), rate))
    assert level_at(steady, 1000) == pytest.approx(0.5, rel=0.08)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg-vorbis", "mp4-aac", "webm-opus"])
def test_a_tone_above_8_khz_vanishes_and_is_not_aliased(name: str) -> None:
    quiet, loud = tone(48_000, hz=1000, peak=0.1), tone(48_000, hz=15_000, peak=0.5)
    recording = decode(encode(name, quiet + loud, 48_000))
    assert level_at(recording, 1000) > 0.09  # 15 kHz would alias to 1 kHz, and add 0.5 there
    assert level_at(recording, 1000) < 0.11


def test_the_source_is_described() -> None:
    stereo = np.stack([voice(44_100), voice(44_100)], axis=1)
    recording = decode(encode("flac", stereo, 44_100))
    assert (recording.source_sample_rate, recording.source_channels, recording.format) == (44_100, 2, "FLAC")
    assert recording.clipping_ratio == 0


def test_clipping_is_measured_before_mixing_and_resampling() -> None:
    left = np.clip(tone(48_000, peak=2), -1, 1)  # beyond half its peak two thirds of the time
    stereo = np.stack([left, np.zeros_like(left)], axis=1)
    assert decode(encode("wav", stereo, 48_000)).clipping_ratio == pytest.approx(1 / 3, abs=0.03)


def test_a_stream_is_read_from_its_start_and_left_open() -> None:
    stream = io.BytesIO(encode("wav", voice(16_000), 16_000))
    stream.seek(1000)
    assert decode_recording(stream, max_seconds=5).duration == 1.0
    assert not stream.closed
    view = memoryview(encode("mp4-aac", voice(16_000), 16_000))
    assert decode_recording(view, max_seconds=5).duration == pytest.approx(1, abs=0.05)


def test_a_recording_of_many_blocks_is_whole_and_in_order() -> None:
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SAMPLE_RATE).astype(np.float32)
    for channels in (1, 2):
        waveform = decode(encode("wav-float", np.stack([signal] * channels, axis=1), SAMPLE_RATE)).waveform
        np.testing.assert_allclose(waveform, signal, atol=1e-6)


class TestChannels:
    def test_they_are_averaged(self) -> None:
        stereo = np.stack([tone(16_000, hz=500), tone(16_000, hz=1500)], axis=1)
        recording = decode(encode("wav", stereo, 16_000))
        assert level_at(recording, 500) == pytest.approx(0.25, rel=0.01)
        assert level_at(recording, 1500) == pytest.approx(0.25, rel=0.01)

    @pytest.mark.parametrize("name", ["wav", "flac", "mp4-aac"])
    def test_an_inverted_one_does_not_cancel_the_other(self, name: str) -> None:
        stereo = np.stack([0.9 * tone(44_100), -tone(44_100)], axis=1)
        assert level_at(decode(encode(name, stereo, 44_100)), 1000) == pytest.approx(0.5, rel=0.05)

    def test_one_of_many_in_use_is_as_loud_as_alone(self) -> None:
        many = np.zeros((16_000, 8), np.float32)
        many[:, 5] = tone(16_000)
        assert level_at(decode(encode("wav", many, 16_000)), 1000) == pytest.approx(0.5, rel=0.01)

    def test_more_than_any_recorder_has_are_refused(self) -> None:
        with pytest.raises(UnsupportedAudio, match="channels"):
            decode(encode("wav", np.ones((4000, 40), np.float32), 16_000))


class TestLimits:
    @pytest.mark.parametrize(
        "name", ["wav", "flac", "ogg-vorbis", "ogg-opus", "mp3", "webm-opus", "mp4-aac", "adts-aac"]
    )
    def test_longer_than_the_limit_is_too_large(self, name: str) -> None:
        with pytest.raises(TooLarge, match=r"2\.5 s") as caught:
            decode(encode(name, voice(16_000, 3), 16_000), max_seconds=2.5)
        assert caught.value.field == "audio"

    @pytest.mark.parametrize("name", ["wav", "flac"])
    def test_exactly_the_limit_is_not(self, name: str) -> None:
        assert decode(encode(name, voice(44_100, 2), 44_100), max_seconds=2).duration == 2

    @pytest.mark.parametrize("name", ["flac", "ogg-vorbis", "mp3", "adts-aac"])
    def test_hours_of_silence_in_few_bytes_stop_at_the_limit(self, name: str) -> None:
        bomb = _repeated(name, hours=3)
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge):
                decode(bomb, max_seconds=20)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8e6  # 20 s are 1.3 MB; 3 h would be 690

    def test_a_header_that_claims_hours_but_holds_seconds_is_decoded(self) -> None:
        data = bytearray(encode("wav", voice(16_000, 2), 16_000))
        data[40:44] = struct.pack("<I", 2 * 16_000 * 3600 * 5)
        assert decode(bytes(data)).duration == pytest.approx(2, abs=0.01)

    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
    @pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
    def test_a_wav_whose_sizes_were_never_written_is_decoded(self, size: int, riff: int) -> None:
        data = bytearray(encode("wav", voice(16_000, 2), 16_000))
        data[4:8], data[40:44] = struct.pack("<I", riff), struct.pack("<I", size)
        assert decode(bytes(data)).duration == pytest.approx(2, abs=0.01)

    @pytest.mark.parametrize("claimed", [10, 1_000_000])
    def test_the_header_of_an_mp3_is_not_believed(self, claimed: int) -> None:
        data = bytearray(encode("mp3", voice(16_000, 4), 16_000))
        place = max(data.find(b"Info"), data.find(b"Xing"))
        assert place > 0
        data[place + 8 : place + 12] = struct.pack(">I", claimed)  # how many frames there are
        assert decode(bytes(data)).duration == pytest.approx(4, abs=0.15)

    def test_a_flac_header_that_claims_less_than_it_holds_gives_what_it_claims(self) -> None:
        data = _flac_claiming(encode("flac", voice(16_000, 10), 16_000), 16_000)
        assert decode(data, max_seconds=3).duration == 1
        with pytest.raises(TooLarge):
            decode(data, max_seconds=0.5)

    @pytest.mark.parametrize("rate", [1, 100, 3_000_000])
    def test_an_absurd_rate_is_refused(self, rate: int) -> None:
        data = bytearray(encode("wav", voice(16_000), 16_000))
        data[24:28] = struct.pack("<I", rate)
        with pytest.raises(UnsupportedAudio):
            decode(bytes(data))

    @pytest.mark.parametrize("table", ["stsz", "stts", "trun"])
    def test_a_tiny_mp4_that_claims_a_thousand_million_samples_is_refused_before_it_is_opened(
        self, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts = {"stsz": struct.pack(">III", 0, 4, 10**9), "stts": struct.pack(">IIII", 0, 1, 10**9, 1)}
        body = counts.get(table, struct.pack(">II", 0, 10**9))
        box = struct.pack(">I4s", 8 + len(body), table.encode()) + body
        moov = struct.pack(">I4s", 8 + len(box), b"moov") + box
        monkeypatch.setattr(av, "open", None)
        with pytest.raises(UnsupportedAudio, match="samples"):
            decode(struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + moov)


def _repeated(name: str, hours: float) -> bytes:
    """Hours of silence, quickly: one second's packets again and again."""
    if name in ("flac", "ogg-vorbis"):
        out = io.BytesIO()
        hours /= 1 if name == "flac" else 10  # its encoder takes its time
        with soundfile.SoundFile(out, "w", 8_000, 1, format=ENCODINGS[name].container) as file:
            for _ in range(int(hours * 60)):
                file.write(np.zeros(60 * 8_000, np.float32))
        return out.getvalue()
    second = encode(name, np.zeros(8000, np.float32), 8000)
    return second * int(hours * 3600)


def _flac_claiming(data: bytes, samples: int) -> bytes:
    """Rewrite the 36 bits of STREAMINFO that hold the number of samples."""
    changed = bytearray(data)
    changed[21] = changed[21] & 0xF0 | samples >> 32
    changed[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(changed)


class TestRefused:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"This is a text, not a recording.\n" * 100,
            b"\x89PNG\r\n\x1a\n" + bytes(500),
            b"%PDF-1.7\n" + bytes(500),
            b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"RIFF\x00\x00\x00\x00WAVE",
            b"RIFF\x24\x00\x00\x00AVI LIST",
            b"fLaC",
            b"OggS" + bytes(100),
            b"ID3\x03\x00\x00\x00\x00\x00\x10" + bytes(500),
            b"\xff\xfb\x90\x00" + bytes(500),
            b"\x1a\x45\xdf\xa3" + bytes(500),
            b"\x00\x00\x00\x18ftypmp42" + bytes(500),
            np.random.default_rng(1).bytes(20_000),
        ],
        ids=lambda data: repr(data[:12]),
    )
    def test_what_is_no_audio(self, data: bytes) -> None:
        with pytest.raises(UnsupportedAudio) as caught:
            decode(data)
        assert caught.value.field == "audio"
        assert caught.value.detail.endswith(".")

    @pytest.mark.parametrize("muxer", ["mp4", "webm", "matroska"])
    def test_video_without_sound(self, muxer: str) -> None:
        with pytest.raises(UnsupportedAudio, match="no sound"):
            decode(_video(muxer))

    def test_but_the_sound_of_a_video_is_decoded(self) -> None:
        assert decode(_video("mp4", voice(48_000))).duration == pytest.approx(1, abs=0.05)

    def test_a_flac_cut_off_midway_says_where(self) -> None:
        data = encode("flac", voice(16_000, 4), 16_000)
        with pytest.raises(UnsupportedAudio, match=r"after [123]\.\d+ s"):
            decode(data[: len(data) // 2])

    def test_a_flac_corrupt_midway_says_where(self) -> None:
        data = bytearray(encode("flac", voice(16_000, 4), 16_000))
        middle = len(data) // 2
        data[middle : middle + 200] = bytes(200)
        with pytest.raises(UnsupportedAudio, match=r"after [0123]\.\d+ s"):
            decode(bytes(data))

    def test_an_mp4_cut_off_midway_says_where(self) -> None:
        data = _fast_start_mp4(voice(16_000, 4))
        assert decode(data).duration == pytest.approx(4, abs=0.05)
        with pytest.raises(UnsupportedAudio, match=r"after [123]\.\d+ s"):
            decode(data[: int(0.6 * len(data))])

    @pytest.mark.parametrize("name", ["wav", "ogg-vorbis", "mp3", "webm-opus", "adts-aac"])
    def test_a_stream_that_ends_early_is_taken_as_far_as_it_goes(self, name: str) -> None:
        data = encode(name, voice(16_000, 4), 16_000)
        assert 1 < decode(data[: int(0.7 * len(data))]).duration < 3.8

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("subtype", ["wav-float", "wav-double"])
    def test_samples_that_are_not_finite(self, subtype: str, bad: float) -> None:
        signal = voice(44_100)
        signal[22_000] = bad
        with pytest.raises(AudioNotFinite) as caught:
            decode(encode(subtype, signal, 44_100))
        assert caught.value.field == "audio"

    def test_a_double_too_large_for_a_float(self) -> None:
        out = io.BytesIO()
        soundfile.write(out, np.full(16_000, 1e300), 16_000, format="WAV", subtype="DOUBLE")
        with pytest.raises(AudioNotFinite):
            decode(out.getvalue())

    @pytest.mark.parametrize("frames", [0, 1, 1599])
    def test_less_than_a_tenth_of_a_second(self, frames: int) -> None:
        with pytest.raises(AudioTooShort, match=f"{frames / 16_000:.3f} s") as caught:
            decode(encode("wav", voice(16_000)[:frames], 16_000))
        assert caught.value.field == "audio"

    @pytest.mark.parametrize("name", ["wav", "flac", "mp3", "webm-opus", "mp4-aac"])
    def test_silence(self, name: str) -> None:
        with pytest.raises(SilentAudio) as caught:
            decode(encode(name, np.zeros(32_000, np.float32), 16_000))
        assert caught.value.field == "audio"

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
    def test_a_constant_offset_is_silence(self, rate: int) -> None:
        with pytest.raises(SilentAudio):
            decode(encode("wav", np.full(rate, 0.4, np.float32), rate))

    def test_a_quiet_voice_is_not_silence(self) -> None:
        assert decode(encode("wav", tone(16_000, peak=0.003), 16_000)).duration == 1


def test_floats_in_the_scale_of_integers_are_brought_to_full_scale() -> None:
    recording = decode(encode("wav-float", 20_000 * tone(44_100), 44_100))
    assert np.abs(recording.waveform).max() == pytest.approx(1)


def test_a_rate_that_changes_midway_keeps_both_parts() -> None:
    both = encode("adts-aac", tone(16_000), 16_000) + encode("adts-aac", tone(44_100), 44_100)
    assert decode(both).duration == pytest.approx(2, abs=0.2)


def _video(muxer: str, sound: Signal | None = None) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=muxer) as container:
        video = container.add_stream("libvpx" if muxer != "mp4" else "mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else container.add_stream("aac", rate=48_000, layout="mono")
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            for packet in video.encode(frame):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
        if audio is not None and sound is not None:
            samples = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
            samples.sample_rate = 48_000
            for packet in [*audio.encode(samples), *audio.encode(None)]:
                container.mux(packet)
    return out.getvalue()


def _fast_start_mp4(signal: Signal) -> bytes:
    """An MP4 with its tables in front, as the ones made for streaming have."""
    data = encode("mp4-aac", signal, 16_000)
    boxes: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        boxes[kind] = data[position : position + size]
        position += size
    moov = bytearray(boxes[b"moov"])
    entry = moov.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", moov, entry)
    for offset in range(entry + 4, entry + 4 + 4 * count, 4):
        struct.pack_into(">I", moov, offset, struct.unpack_from(">I", moov, offset)[0] + len(moov))
    return boxes[b"ftyp"] + bytes(moov) + boxes.get(b"free", b"") + boxes[b"mdat"]


@pytest.fixture(scope="module")
def encoded() -> dict[str, bytes]:
    signal = np.stack([voice(16_000, 0.4), 0.5 * voice(16_000, 0.4)], axis=1)
    return {name: encode(name, signal, 16_000) for name in ENCODINGS}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(ENCODINGS)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    front=st.booleans(),
)
def test_damaged_bytes_give_a_recording_or_an_error_of_ours(
    encoded: dict[str, bytes], name: str, cut: float, changes: list[tuple[float, bytes]], front: bool
) -> None:
    data = bytearray(encoded[name])
    for place, content in changes:
        start = int(place * (min(len(data), 400) if front else len(data) - 1))
        data[start : start + len(content)] = content
    if cut > 0.3:
        data = data[: int(cut * len(data))]
    try:
        recording = decode(bytes(data), max_seconds=5)
    except ElocuteError as error:
        assert error.field == "audio"  # noqa: PT017
        return
    assert 0.1 <= recording.duration <= 5.1
    assert np.isfinite(recording.waveform).all()
    assert 0 <= recording.clipping_ratio <= 1


@given(data=st.binary(max_size=300), magic=st.sampled_from([b"", b"RIFF0000WAVE", b"OggS", b"fLaC", b"caff", b"ID3"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_an_error_of_ours(data: bytes, magic: bytes) -> None:
    with pytest.raises(ElocuteError):
        decode(magic + data)


@pytest.mark.parametrize("name", ["mp4-aac", "webm-opus", "mp3", "flac"])
def test_whatever_was_opened_is_closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode(name, voice(16_000, 2), 16_000)
    opened: list[object] = []
    gc.collect()
    gc.disable()  # nothing may wait for the collector
    try:
        original = av.open

        def remember(*args: object, **kwargs: object) -> object:
            container = original(*args, **kwargs)  # type: ignore[call-overload]
            opened.append(container)
            return container

        monkeypatch.setattr(av, "open", remember)
        for data, limit in ((good, 5.0), (good, 0.5), (good[: len(good) // 2], 5.0)):
            try:
                decode(data, max_seconds=limit)
            except ElocuteError:
                continue
        for container in opened:
            with pytest.raises(AssertionError, match="not open"):
                list(container.demux())  # type: ignore[attr-defined]
    finally:
        gc.enable()


def test_importing_it_is_light() -> None:
    code = "import sys, app.core.audio; print(any(name in sys.modules for name in ('torch', 'av', 'scipy')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
