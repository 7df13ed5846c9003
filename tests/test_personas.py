"""Personas give the model its role; a prompt is tagged once, whatever it came from."""

from pathlib import Path

import pytest

from pymoshi.errors import InputError, PersonaError
from pymoshi.personas import MAX_PROMPT, choose_prompt, find_persona, load_personas, personas_file, wrap_prompt
from pymoshi.voices import BUILTIN


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path))
    return tmp_path


def write_own(text: str) -> Path:
    personas_file().parent.mkdir(parents=True, exist_ok=True)
    personas_file().write_text(text, encoding="utf-8")
    return personas_file()


# ---- prompts ----


def test_prompts_are_tagged_once() -> None:
    wrapped = wrap_prompt("  You enjoy having a good conversation.\n")
    assert wrapped == "<system> You enjoy having a good conversation. <system>"
    assert wrap_prompt(wrapped) == wrapped


@pytest.mark.parametrize("text", ["", "  \n", "<system><system>", "<system>  <system>"])
def test_an_empty_prompt_is_none(text: str) -> None:
    assert wrap_prompt(text) is None


@pytest.mark.parametrize("text", ["<system> half", "half <system>", "<system>"])
def test_half_tagged_prompts_are_tagged_as_the_reference_does(text: str) -> None:
    assert wrap_prompt(text) == f"<system> {text} <system>"


def test_endless_prompts_are_refused() -> None:
    with pytest.raises(InputError, match=str(MAX_PROMPT)):
        wrap_prompt("x" * (MAX_PROMPT + 1))


def test_a_prompt_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffYou are Zoë.".encode())
    assert choose_prompt(prompt_file=tmp_path / "p.txt") == ("You are Zoë.", None)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * (2 << 20)])
def test_files_that_are_no_prompt_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.txt"):
        choose_prompt(prompt_file=tmp_path / "p.txt")


def test_a_missing_prompt_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        choose_prompt(prompt_file=tmp_path / "none")
    with pytest.raises(InputError):
        choose_prompt(prompt_file=tmp_path)


def test_only_one_prompt_can_be_given() -> None:
    with pytest.raises(InputError, match="--prompt and --persona"):
        choose_prompt(prompt="x", persona="teacher")
    assert choose_prompt() == (None, None)
    assert choose_prompt(prompt="") == ("", None)


# ---- personas ----


def test_every_preset_is_whole() -> None:
    personas = load_personas()
    assert {"teacher", "assistant", "casual", "customer-service", "interviewer", "storyteller"} <= set(personas)
    for persona in personas.values():
        assert persona.description and persona.voice in BUILTIN and persona.source == ""
        assert wrap_prompt(persona.prompt) == f"<system> {persona.prompt} <system>"


@pytest.mark.parametrize("name", ["customer-service", "customer_service", "Customer Service"])
def test_spelling_of_a_preset_does_not_matter(name: str) -> None:
    assert find_persona(name).name == "customer-service"


def test_unknown_personas_list_what_is_close() -> None:
    with pytest.raises(PersonaError, match="Did you mean teacher") as caught:
        find_persona("techer")
    assert str(personas_file()) in str(caught.value)


def test_own_personas_come_before_presets() -> None:
    write_own('[teacher]\nprompt = "You teach chess."\n[Pirate]\nprompt = "You are a pirate."\nvoice = "me.wav"\n')
    text, persona = choose_prompt(persona="teacher")
    assert text == "You teach chess." and persona is not None and persona.source == str(personas_file())
    assert find_persona("pirate").voice == "me.wav"
    assert "casual" in load_personas()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[a", "TOML"),
        ("a = 1", "table"),
        ("[a]\n", "no prompt"),
        ('[a]\nprompt = " "', "no prompt"),
        ("[a]\nprompt = 3", "text in quotes"),
        ('[a]\nprompt = "x"\nvoices = "y"', "unknown key 'voices'"),
        ('[a]\nprompt = "x"\n[a.b]\nc = 1', "unknown key 'b'"),
        (f'[a]\nprompt = "{"x" * 9000}"', "9000 characters"),
    ],
)
def test_wrong_persona_files_are_explained(content: str, message: str) -> None:
    file = write_own(content)
    with pytest.raises(PersonaError, match=message) as caught:
        find_persona("teacher")
    assert str(file) in str(caught.value)


def test_a_persona_file_in_another_encoding_is_refused() -> None:
    write_own("").write_bytes(b'[a]\nprompt = "\xe9"')
    with pytest.raises(PersonaError, match="UTF-8"):
        load_personas()
