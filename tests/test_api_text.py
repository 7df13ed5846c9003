"""Tokens become the text that people read."""

import json
from pathlib import Path

import pytest

from pymoshi import InputError, ModelFormatError, ModelNotFoundError, Tokenizer


@pytest.fixture(scope="module")
def tokenizer(fixtures: Path) -> Tokenizer:
    return Tokenizer(fixtures / "personaplex" / "tokenizer.model")


def test_prompts_become_the_references_tokens(tokenizer: Tokenizer, fixtures: Path) -> None:
    for golden in json.loads((fixtures / "personaplex" / "tokenizer_golden.json").read_text(encoding="utf-8")):
        assert tokenizer.encode(golden["text"]) == golden["ids"]
        assert [tokenizer.piece(token) for token in golden["ids"]] == golden["pieces"]


def test_text_survives_the_way_there_and_back(tokenizer: Tokenizer) -> None:
    text = "Naïve café — 42! 日本 \N{GRINNING FACE}"
    assert tokenizer.decode(tokenizer.encode(text)).strip() == text


def test_character_of_several_bytes_appears_with_its_last_one(tokenizer: Tokenizer) -> None:
    tokens = [token for token in tokenizer.encode("☃") if tokenizer.byte(token) is not None]
    stream = tokenizer.stream()
    assert [stream.push(token) for token in tokens] == ["", "", "☃"]


def test_padding_between_the_bytes_of_a_character_does_no_harm(tokenizer: Tokenizer) -> None:
    tokens = [token for token in tokenizer.encode("☃") if tokenizer.byte(token) is not None]
    stream = tokenizer.stream()
    assert "".join(stream.push(token) for token in [tokens[0], 3, tokens[1], 0, tokens[2]]) == "☃"


def test_broken_character_is_shown_as_one(tokenizer: Tokenizer) -> None:
    first = next(token for token in tokenizer.encode("☃") if tokenizer.byte(token) is not None)
    word = tokenizer.encode("e")[-1]
    stream = tokenizer.stream()
    assert stream.push(first) + stream.push(word) == "\N{REPLACEMENT CHARACTER} e"
    assert stream.push(first) + stream.push(first) + stream.flush() == "\N{REPLACEMENT CHARACTER}" * 2


@pytest.mark.parametrize("token", [0, 1, 2, 3])
def test_special_tokens_are_silent(tokenizer: Tokenizer, token: int) -> None:
    assert tokenizer.stream().push(token) == ""


@pytest.mark.parametrize("token", [400, 10**9])
def test_tokens_outside_of_the_vocabulary_are_silent(tokenizer: Tokenizer, token: int) -> None:
    assert tokenizer.stream().push(token) == ""


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="Unicode"):
        tokenizer.encode("\ud800")


@pytest.mark.parametrize("content", [b"", b"GGUF" * 100, b"\x0a\x05hello", b"<html>not found</html>"])
def test_what_is_no_tokenizer_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"tokenizer\.model"):
        Tokenizer(path)


def test_truncated_tokenizer_is_refused(fixtures: Path, tmp_path: Path) -> None:
    whole = (fixtures / "personaplex" / "tokenizer.model").read_bytes()
    path = tmp_path / "tokenizer.model"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFormatError):
        Tokenizer(path)


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nowhere\.model"):
        Tokenizer(tmp_path / "nowhere.model")


def test_folder_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        Tokenizer(tmp_path)
