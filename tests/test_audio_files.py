"""Sound files: any of them in, WAV and FLAC out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pymoshi import AudioFileError, InputError
from pymoshi.audio import files


def tone(seconds: float, rate: int) -> NDArray[np.float64]:
    time: NDArray[np.float64] = np.arange(round(seconds * rate)) / rate
    return np.sin(time * (2 * np.pi * 440)) / 2


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000])
def test_any_rate_becomes_24_khz(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(3.01, rate), rate)
    heard = files.read(path)
    assert heard.dtype == np.float32
    assert heard.size == round(round(3.01 * rate) * 24000 / rate)
    expected = tone(3.01, 24000)[: heard.size]
    assert np.abs(heard[500:-500] - expected[500:-500]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "FLOAT"), ("a.wav", "PCM_24"), ("a.flac", None), ("a.ogg", None)]
)
def test_formats_are_told_by_their_content(name: str, subtype: str | None, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, tone(1, 24000), 24000, subtype)
    (tmp_path / name).rename(tmp_path / "sound.bin")
    assert files.read(tmp_path / "sound.bin").size == 24000


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(0.5, 24000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 24000, "FLOAT")
    np.testing.assert_allclose(files.read(tmp_path / "a.wav"), left / 2, atol=1e-6)


def test_16_bit_samples_keep_their_value(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([-32768, -1, 0, 1, 32767], np.int16), 24000)
    np.testing.assert_array_equal(files.read(tmp_path / "a.wav") * 32768, [-32768, -1, 0, 1, 32767])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"no file .*nowhere\.wav"):
        files.read(tmp_path / "nowhere.wav")


def test_folder_is_no_sound(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="folder"):
        files.read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a sound at all", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC" + b"\xff" * 100]
)
def test_what_is_no_sound_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioFileError, match=r"a\.wav"):
        files.read(tmp_path / "a.wav")


def test_empty_sound_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 24000)
    with pytest.raises(AudioFileError, match="no samples"):
        files.read(tmp_path / "a.wav")


def test_one_sample_of_48_khz_is_a_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1, np.float32), 48000)
    assert files.read(tmp_path / "a.wav").size == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 30000.0])
def test_samples_that_are_no_sound_are_refused(value: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, value, 0], np.float32), 24000, "FLOAT")
    with pytest.raises(AudioFileError, match=r"\[-1, 1\]"):
        files.read(tmp_path / "a.wav")


def test_truncated_wav_gives_what_it_has(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, 24000), 24000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: 44 + 2 * 12000])
    assert files.read(tmp_path / "a.wav").size == 12000


@pytest.mark.parametrize("name", ["a.wav", "a.FLAC"])
def test_written_file_is_16_bits_mono_24_khz(name: str, tmp_path: Path) -> None:
    with files.AudioWriter(tmp_path / name) as writer:
        writer.write(np.zeros(1920, np.float32))
        writer.write(np.array([0.5, 2.0, -2.0], np.float32))
        assert writer.samples_written == 1923
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (24000, 1, "PCM_16", 1923)
    np.testing.assert_allclose(soundfile.read(tmp_path / name)[0][-3:], [0.5, 1, -1], atol=1e-4)


def test_recording_that_is_interrupted_is_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.AudioWriter(tmp_path / "a.wav") as writer:
        writer.write(np.zeros(1920, np.float32))
        raise KeyboardInterrupt
    assert soundfile.info(tmp_path / "a.wav").frames == 1920


def test_existing_recording_is_replaced(tmp_path: Path) -> None:
    for n in (9, 3):
        with files.AudioWriter(tmp_path / "a.wav") as writer:
            writer.write(np.zeros(n, np.float32))
    assert soundfile.info(tmp_path / "a.wav").frames == 3


@pytest.mark.parametrize("name", ["a.mp3", "a", "a.wav.txt"])
def test_extension_that_is_not_written_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.wav or \.flac"):
        files.AudioWriter(tmp_path / name)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no folder"):
        files.AudioWriter(tmp_path / "nowhere" / "a.wav")


def test_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(AudioFileError, match="folder"):
        files.AudioWriter(tmp_path / "a.wav")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("/dev/full")
    with pytest.raises(AudioFileError, match=r"a\.wav"), files.AudioWriter(tmp_path / "a.wav") as writer:
        for _ in range(100):
            writer.write(np.zeros(1920, np.float32))
