"""Replay bundles: a conversation in one file, which comes out bit by bit the same, or says where it does not."""

import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from frames import record_of
from pymoshi.replay import ReplayWriter, model_of, read_head, replay
from pymoshi.replay_file import MAGIC, BundleReader, BundleWriter
from pymoshi.session import Frame
from pymoshi.voices import Voice

FRAMES = 30


Talk = Callable[..., Path]


@pytest.fixture
def talk(model: pymoshi.Model, speech: NDArray[np.float32], tmp_path: Path) -> Talk:
    """Holds a conversation of 30 frames and writes its bundle."""

    def hold(change: Callable[[pymoshi.Session, int], None] | None = None, name: str = "talk.replay") -> Path:
        path = tmp_path / name
        with (
            model.session(seed=7, temperature=0.9, text_temperature=1.5) as session,
            ReplayWriter(path, session) as out,
        ):
            for index in range(FRAMES):
                if change is not None:
                    change(session, index)
                heard = speech[index * 1920 : (index + 1) * 1920] * np.float32(0.7)
                out.add(record_of(session.step(heard), heard))
        return path

    return hold


def test_conversation_comes_out_bit_by_bit_the_same(talk: Talk, model: pymoshi.Model) -> None:
    frames: list[Frame] = []
    result = replay(talk(), model, on_frame=lambda heard, frame: frames.append(frame))
    assert result.equal
    assert result.frames == len(frames) == FRAMES
    assert result.differing == {"user_codes": 0, "text": 0, "codes": 0, "audio": 0}
    assert result.text == "".join(frame.text for frame in frames)
    assert (result.reason, result.notes) == ("ended", [])


def test_what_the_model_heard_is_kept_to_the_bit(talk: Talk, speech: NDArray[np.float32]) -> None:
    with BundleReader(talk()) as bundle:
        heard = [entry.heard for entry in bundle.entries() if not isinstance(entry, dict)]
    assert np.array_equal(np.concatenate(heard), speech[: FRAMES * 1920] * np.float32(0.7))


def test_sampling_that_changed_in_the_middle_changes_again(talk: Talk, model: pymoshi.Model) -> None:
    def cool(session: pymoshi.Session, index: int) -> None:
        if index == 15:
            session.set_sampling(temperature=0.1, text_temperature=0)

    assert replay(talk(cool), model).equal


def test_forced_text_is_forced_again(model: pymoshi.Model, speech: NDArray[np.float32], tmp_path: Path) -> None:
    path = tmp_path / "talk.replay"
    with model.session(seed=7) as session, ReplayWriter(path, session) as out:
        for index in range(FRAMES):
            heard = speech[index * 1920 : (index + 1) * 1920]
            forced = 40 + index if 10 <= index < 20 else None
            session.force_text(forced)
            out.add(record_of(session.step(heard), heard, forced))
    result = replay(path, model)
    assert result.equal, result
    with BundleReader(path) as bundle:
        tokens = [entry.text_token for entry in bundle.entries() if not isinstance(entry, dict)]
    assert set(range(40 + 10, 40 + 20)) <= set(tokens)


def test_other_sound_in_one_frame_is_found(talk: Talk, model: pymoshi.Model, tmp_path: Path) -> None:
    path = talk()
    with BundleReader(path) as bundle:
        head, shape = bundle.head, bundle.shape
        frames = [entry for entry in bundle.entries() if not isinstance(entry, dict)]
    with BundleWriter(tmp_path / "other.replay", shape, head) as out:
        for index, frame in enumerate(frames):
            out.add(replace(frame, heard=-frame.heard[::-1]) if index == 20 else frame)
    result = replay(tmp_path / "other.replay", model)
    assert not result.equal
    assert result.first_difference is not None
    assert 20 <= result.first_difference < 24
    assert result.differing["user_codes"] > 0


def test_voice_and_prompt_travel_in_the_bundle(
    plex: pymoshi.Model, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, plex.info.card, (plex.info.n_agent, 20), dtype=np.int32)
    voice, prompt = Voice("mine", "mine.wav", codes=codes), "You are wise."
    path = tmp_path / "talk.replay"
    with (
        plex.session(voice=voice, prompt=prompt, seed=3) as session,
        ReplayWriter(path, session, voice=voice, prompt=prompt) as out,
    ):
        for index in range(10):
            heard = speech[index * 1920 : (index + 1) * 1920]
            out.add(record_of(session.step(heard), heard))
    result = replay(path, plex)
    assert result.equal, result
    head = read_head(path)
    assert (head["voice"], head["prompt"], head["settings"]["seed"]) == ("mine", prompt, 3)
    with plex.session(seed=3) as other:  # the same without voice and prompt says something else
        tokens = [other.step(speech[i * 1920 : (i + 1) * 1920]).codes for i in range(10)]
    with BundleReader(path) as bundle:
        kept = [entry.codes for entry in bundle.entries() if not isinstance(entry, dict)]
    assert any(now is not None and not np.array_equal(now, then) for now, then in zip(tokens, kept, strict=True))


def test_another_model_is_refused(talk: Talk, plex: pymoshi.Model) -> None:
    with pytest.raises(pymoshi.ReplayError, match=r"fingerprint .* --model"):
        replay(talk(), plex)


def test_another_kind_of_device_is_refused(talk: Talk, model: pymoshi.Model) -> None:
    path = rewrite_head(talk(), lambda head: head | {"device": "abacus:1"})
    with pytest.raises(pymoshi.ReplayError, match=r"written on abacus:1.*--device abacus"):
        replay(path, model)


def test_another_version_or_processor_is_noted(talk: Talk, model: pymoshi.Model) -> None:
    path = rewrite_head(talk(), lambda head: head | {"pymoshi": "0.0.1", "processor": "Z80\x1b[2J"})
    notes = replay(path, model).notes
    assert [note.split(":")[0] for note in notes] == ["pymoshi", "processor"]
    assert "\x1b" not in "".join(notes)


def test_session_that_has_begun_has_no_replay(session: pymoshi.Session, tmp_path: Path) -> None:
    session.step(np.zeros(1920, np.float32))
    with pytest.raises(pymoshi.ReplayError, match="computed frames already"):
        ReplayWriter(tmp_path / "a.replay", session)


def test_bundle_without_its_end_says_so_and_runs_as_far_as_it_goes(talk: Talk, model: pymoshi.Model) -> None:
    path = talk()
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"FRMS") + 200])
    with pytest.raises(pymoshi.ReplayError, match=r"cut short after 24 frames.*--partial"):
        replay(path, model)
    result = replay(path, model, partial=True)
    assert (result.frames, result.reason, result.equal) == (24, "cut short", True)


@pytest.mark.parametrize("size", [0, 1, 17, 30, 200])
def test_bundle_cut_short_in_its_head_is_refused(size: int, talk: Talk) -> None:
    path = talk()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(pymoshi.ReplayError):
        read_head(path)


def test_any_changed_byte_is_an_error_or_a_bundle_without_its_end(talk: Talk) -> None:
    path = talk()
    sound = path.read_bytes()
    chance = random.Random(5)
    for position in [*range(60), *chance.sample(range(len(sound)), 150)]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 + chance.randrange(255)
        path.write_bytes(damaged)
        try:
            with BundleReader(path) as bundle:
                for _ in bundle.entries():
                    pass
                assert bundle.tail is None, position
        except pymoshi.ReplayError:
            pass


def chunk(tag: bytes, payload: bytes) -> bytes:
    return struct.pack("<4sII", tag, len(payload), zlib.crc32(payload, zlib.crc32(tag))) + payload


def rewrite_head(path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> Path:
    content = path.read_bytes()
    start = len(MAGIC) + 12
    size = int.from_bytes(content[len(MAGIC) + 4 : len(MAGIC) + 8], "little")
    head = json.dumps(change(json.loads(content[start : start + size]))).encode()
    path.write_bytes(MAGIC + chunk(b"HEAD", head) + content[start + size :])
    return path


def with_frames(path: Path, payload: bytes) -> Path:
    """The bundle with one part of frames that is this."""
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"FRMS")] + chunk(b"FRMS", payload))
    return path


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "0 frames"),
        (b"\x01\x00\x00", "1 frames"),
        (struct.pack("<I", 2**32 - 1) + zlib.compress(b"x"), "4294967295 frames"),
        (struct.pack("<I", 1) + b"no zlib", "decompressed"),
        (struct.pack("<I", 1) + zlib.compress(b"short"), "size of its frames"),
        (struct.pack("<I", 12) + zlib.compress(bytes(1 << 28)), "size of its frames"),
    ],
    ids=["empty", "no count", "too many", "no zlib", "short", "bomb"],
)
def test_frames_that_lie_are_refused(payload: bytes, words: str, talk: Talk) -> None:
    with BundleReader(with_frames(talk(), payload)) as bundle, pytest.raises(pymoshi.ReplayError, match=words):
        list(bundle.entries())


def test_part_of_enormous_length_is_refused_before_it_is_read(talk: Talk) -> None:
    path = talk()
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"FRMS")] + struct.pack("<4sII", b"FRMS", 2**32 - 1, 0))
    with pytest.raises(pymoshi.ReplayError, match="4294967295 bytes"):
        BundleReader(path)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": []},
        {"device": 3},
        {"shape": None},
        {"shape": {"frame_size": 2**40, "n_agent": 8, "n_user": 8}},
        {"shape": {"frame_size": 1920, "n_agent": True, "n_user": 8}},
        {"shape": {"frame_size": 1919, "n_agent": 8, "n_user": 8}},
        {"settings": None},
        {"settings": {"taps": True}},
        {"settings": {"seed": -1}},
        {"settings": {"temperature": "hot"}},
        {"settings": {"context": 2**60}},
        {"settings": {"kv_type": ["f16"]}},
        {"settings": {"seed": 8}, "prompt": "You are wise."},
    ],
)
def test_head_that_lies_is_a_typed_error(change: dict[str, object], talk: Talk, model: pymoshi.Model) -> None:
    path = rewrite_head(talk(), lambda head: head | change)
    with pytest.raises(pymoshi.PymoshiError):
        replay(path, model)


@pytest.mark.parametrize("head", [b"", b"[]", b"{", b"[" * 100_000, b'{"shape": NaN}', b"\xff"])
def test_head_that_is_no_json_object_is_refused(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.replay"
    path.write_bytes(MAGIC + chunk(b"HEAD", head))
    with pytest.raises(pymoshi.ReplayError, match="damaged"):
        read_head(path)


@pytest.mark.parametrize("voice", [b"", b"\xff" * 64, (2**63).to_bytes(8, "little") + b"{}"])
def test_voice_that_is_none_is_refused(voice: bytes, talk: Talk, model: pymoshi.Model) -> None:
    path = talk()
    content = path.read_bytes()
    at = content.index(b"FRMS")
    path.write_bytes(content[:at] + chunk(b"VOIC", voice) + content[at:])
    with pytest.raises(pymoshi.ReplayError, match="The voice in"):
        replay(path, model)


@pytest.mark.parametrize("sampling", [{"seed": 1}, {"temperature": [1]}, "hot"])
def test_change_of_sampling_that_is_none_is_a_typed_error(sampling: object, talk: Talk, model: pymoshi.Model) -> None:
    path = talk()
    content = path.read_bytes()
    at = content.index(b"FRMS")
    change = json.dumps({"frame": 0, "sampling": sampling}).encode()
    path.write_bytes(content[:at] + chunk(b"SETS", change) + content[at:])
    with pytest.raises(pymoshi.PymoshiError):
        replay(path, model)


def test_other_files_are_no_bundles(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(pymoshi.ReplayError, match="no replay bundle"):
        read_head(fixtures / "mimi" / "input.wav")
    with pytest.raises(pymoshi.ReplayError, match="cannot be read"):
        read_head(tmp_path / "nowhere")
    with pytest.raises(pymoshi.ReplayError, match="cannot be read"):
        read_head(tmp_path)


def test_bundle_that_cannot_be_written_is_refused_at_once(session: pymoshi.Session, tmp_path: Path) -> None:
    with pytest.raises(pymoshi.ReplayError, match="cannot be written"):
        ReplayWriter(tmp_path / "nowhere" / "a.replay", session)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "a\nb"])
def test_bundle_cannot_choose_a_file_of_this_machine(name: str, talk: Talk) -> None:
    path = rewrite_head(talk(), lambda head: head | {"model": {"name": name}})
    with pytest.raises(pymoshi.ReplayError, match="--model"):
        model_of(path)
