"""`pymoshi talk` with a voice and a role, and `pymoshi cache`, as people run them."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pymoshi
from pymoshi.audio import files
from pymoshi.personas import find_persona

Run = Callable[..., subprocess.CompletedProcess[str]]

PROMPT = "You enjoy having a good conversation."
GREEDY = ("--temperature", "0", "--text-temperature", "0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def talk(run_pymoshi: Run, personaplex_folder: Path, fixtures: Path, device: str) -> Run:
    """`pymoshi talk` of the tiny PersonaPlex with its user, to reply.wav."""
    fixture = fixtures / "personaplex"

    def run(*arguments: str | Path, model: Path = personaplex_folder, code: int = 0) -> Any:
        done = run_pymoshi(
            "talk", "--model", model, "-i", fixture / "user.wav", "-o", "reply.wav", "--device", device,
            "--threads", "1", *arguments,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def voice(fixtures: Path) -> Path:
    return fixtures / "personaplex" / "voice.wav"


def prompts_kept(run_pymoshi: Run) -> list[str]:
    listed = run_pymoshi("cache", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return [entry["prompt"] for entry in json.loads(listed.stdout)]


def tokens_of(report: Path) -> list[int]:
    return list(json.loads(report.read_text(encoding="utf-8"))["tokens"])


def test_command_says_what_the_api_says(
    talk: Run, plex: pymoshi.Model, voice: Path, fixtures: Path, tmp_path: Path
) -> None:
    done = talk("--voice", voice, "--prompt", PROMPT, *GREEDY, "--transcript", "t.json")
    report = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    heard = files.read(fixtures / "personaplex" / "user.wav").reshape(-1, 1920)
    with plex.session(voice=voice, prompt=PROMPT, temperature=0, text_temperature=0, cache=False) as session:
        frames = list(session.run(heard))
    assert report["tokens"] == [frame.text_token for frame in frames]
    expected = np.concatenate([frame.audio for frame in frames])
    written = files.read(tmp_path / "reply.wav")
    assert written.shape == expected.shape
    assert np.abs(written - np.clip(expected, -1, 1)).max() < 1e-4
    assert (report["settings"]["voice"], report["settings"]["prompt"]) == ("voice.wav", PROMPT)
    assert done.stdout.startswith("[00:")


def test_text_has_one_piece_a_frame_as_nvidia_s_script_writes_it(
    talk: Run, plex: pymoshi.Model, voice: Path, tmp_path: Path
) -> None:
    talk("--voice", voice, "--prompt", PROMPT, *GREEDY, "--output-text", "text.json", "--transcript", "t.json")
    pieces = json.loads((tmp_path / "text.json").read_text(encoding="utf-8"))
    assert plex.tokenizer is not None
    names = {0: "EPAD", 1: "BOS", 2: "EOS", 3: "PAD"}
    expected = [
        names.get(token) or plex.tokenizer.piece(token).replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
        for token in tokens_of(tmp_path / "t.json")
    ]
    assert pieces == expected
    assert len(pieces) == 40
    assert pieces[0] == "PAD"
    assert any(piece.startswith(" ") for piece in pieces)


def test_moshi_s_text_begins_when_its_delays_are_filled(
    run_pymoshi: Run, moshi_folder: Path, fixtures: Path, tmp_path: Path, device: str
) -> None:
    done = run_pymoshi(
        "talk", "--model", moshi_folder, "-i", fixtures / "mimi" / "input.wav", "-o", "reply.wav", "--device", device,
        "--threads", "1", "--output-text", "text.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pieces = json.loads((tmp_path / "text.json").read_text(encoding="utf-8"))
    assert len(pieces) == 49
    assert all(isinstance(piece, str) for piece in pieces)


def test_second_conversation_repeats_the_first(talk: Run, run_pymoshi: Run, voice: Path, tmp_path: Path) -> None:
    arguments = ("--voice", voice, "--prompt", PROMPT, "--seed", "8")
    talk(*arguments)
    first = (tmp_path / "reply.wav").read_bytes()
    assert prompts_kept(run_pymoshi) == [PROMPT]
    talk(*arguments)
    assert (tmp_path / "reply.wav").read_bytes() == first
    talk(*arguments, "--no-cache")
    assert (tmp_path / "reply.wav").read_bytes() == first


def test_no_cache_keeps_nothing(talk: Run, run_pymoshi: Run, home: Path) -> None:
    talk("--prompt", PROMPT, "--no-cache")
    assert not home.exists()
    assert prompts_kept(run_pymoshi) == []


def test_without_options_it_is_a_teacher_and_says_which_voice_is_missing(talk: Run, run_pymoshi: Run) -> None:
    done = talk()
    assert "NATF2" in done.stderr
    assert "pymoshi pull personaplex" in done.stderr
    assert prompts_kept(run_pymoshi) == [find_persona("teacher").prompt]


def test_default_voice_is_taken_where_it_is(talk: Run, run_pymoshi: Run, voiced_folder: Path) -> None:
    done = talk("--prompt", PROMPT, model=voiced_folder)
    assert "NATF2" not in done.stderr
    assert json.loads(run_pymoshi("cache", "list", "--json").stdout)[0]["voice"] == "NATF2"


def test_persona_is_a_prompt_and_a_voice(talk: Run, run_pymoshi: Run, home: Path, fixtures: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "personas.toml").write_text(
        f"[pirate]\nprompt = 'You are a pirate.'\nvoice = '{fixtures / 'personaplex' / 'voice.pt'}'\n", encoding="utf-8"
    )
    talk("--persona", "pirate")
    (entry,) = json.loads(run_pymoshi("cache", "list", "--json").stdout)
    assert (entry["prompt"], entry["voice"]) == ("You are a pirate.", "voice")


def test_voice_of_an_own_persona_must_be_there(talk: Run, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "personas.toml").write_text("[me]\nprompt = 'You are me.'\nvoice = 'mine'\n", encoding="utf-8")
    assert "no voice 'mine'" in talk("--persona", "me", code=2).stderr


def test_prompt_comes_from_a_file(talk: Run, run_pymoshi: Run, tmp_path: Path) -> None:
    (tmp_path / "role.txt").write_text(f"{PROMPT}\n", encoding="utf-8")
    talk("--prompt-file", "role.txt")
    assert prompts_kept(run_pymoshi) == [PROMPT]


def test_empty_prompt_is_none_at_all(talk: Run, run_pymoshi: Run) -> None:
    talk("--prompt", "")
    assert prompts_kept(run_pymoshi) == [""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--voice", "NATF9"], "no voice 'NATF9'"),
        (["--voice", "nowhere/me.wav"], "no file nowhere/me.wav"),
        (["--voice", "broken.pt"], "broken.pt"),
        (["--voice", "noise.wav"], "noise.wav"),
        (["--voice", ""], "empty"),
        (["--prompt", "x" * 9000], "9000 characters"),
        (["--prompt", "x", "--persona", "teacher"], "only one of them"),
        (["--prompt-file", "nowhere.txt"], "Cannot read nowhere.txt"),
        (["--persona", "nobody"], "no persona 'nobody'"),
        (["--output-text", "reply.wav"], "named twice"),
        (["--output-text", "nowhere/t.json"], "no folder nowhere"),
    ],
)
def test_wrong_request_ends_with_code_2_and_one_line(
    arguments: list[str], words: str, talk: Run, tmp_path: Path
) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "noise.wav").write_bytes(b"RIFF, it says")
    done = talk(*arguments, code=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "reply.wav").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--voice", "NATF0"], ["--prompt", "You listen."], ["--prompt-file", "role.txt"], ["--persona", "teacher"]],
)
def test_moshi_takes_no_role(arguments: list[str], talk: Run, moshi_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "role.txt").write_text("You listen.", encoding="utf-8")
    done = talk(*arguments, model=moshi_folder, code=2)
    assert f"leave out {arguments[0]}, or choose a PersonaPlex model" in done.stderr


def test_text_needs_the_tokenizer(talk: Run, personaplex_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plex"
    shutil.copytree(personaplex_folder, folder)
    (folder / "tokenizer.model").unlink()
    assert "--output-text needs" in talk("--prompt", "", "--output-text", "t.json", model=folder, code=2).stderr
    assert "cannot be given a prompt without its tokenizer" in talk("--prompt", PROMPT, model=folder, code=2).stderr


# ---- pymoshi cache ----


def test_cache_is_listed_and_cleared(talk: Run, run_pymoshi: Run, home: Path, voice: Path) -> None:
    assert "No persona is kept ready" in run_pymoshi("cache", "list").stderr
    talk("--voice", voice, "--prompt", f"{PROMPT} \x1b[31m" + "You talk a lot. " * 9)
    listed = run_pymoshi("cache", "list")
    assert listed.returncode == 0
    (heading, line) = listed.stdout.splitlines()
    assert heading.split() == ["Model", "Voice", "Prompt", "Frames", "MB", "Last", "used"]
    assert "voice.wav" in line
    assert f"{PROMPT}  [31mYou talk" in line
    assert "\x1b" not in listed.stdout
    assert Path(run_pymoshi("cache", "path").stdout.strip()) == home / "cache" / "primed"
    assert run_pymoshi("cache", "clear").stderr.startswith("1 persona removed")
    assert list((home / "cache" / "primed").iterdir()) == []
    assert run_pymoshi("cache", "clear").stderr.startswith("0 personas removed")


def test_limit_that_is_no_number_ends_with_code_2(run_pymoshi: Run) -> None:
    done = run_pymoshi("cache", "list", env={"PYMOSHI_CACHE_MB": "a lot"})
    assert done.returncode == 2
    assert "PYMOSHI_CACHE_MB" in done.stderr
