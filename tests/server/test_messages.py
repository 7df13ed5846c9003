"""The pipes between the server and its worker carry messages, and notice everything else."""

import asyncio
import io

import pytest

from pymoshi.errors import InternalError
from pymoshi.server import messages
from pymoshi.server.messages import Kind


def test_messages_arrive_as_they_were_sent() -> None:
    pipe = io.BytesIO(messages.pack_json({"do": "stop", "call": 3}) + messages.pack_audio(b"\x00OggS"))
    kind, content = messages.read(pipe) or (None, b"")
    assert kind is Kind.JSON
    assert messages.unpack_json(content) == {"do": "stop", "call": 3}
    assert messages.read(pipe) == (Kind.AUDIO, b"\x00OggS")
    assert messages.read(pipe) is None


@pytest.mark.parametrize("cut", [1, 4, 5, 8])
def test_a_pipe_that_ends_in_the_middle_has_ended(cut: int) -> None:
    assert messages.read(io.BytesIO(messages.pack_audio(b"abcdef")[:cut])) is None


@pytest.mark.parametrize("said", [b"Segmentation fault\n", b"\x01\x00\x00\x00\x09x", b"\xff\xff\xff\xff\x00"])
def test_something_else_is_noticed(said: bytes) -> None:
    with pytest.raises(InternalError):
        messages.read(io.BytesIO(said))

    async def read() -> None:
        pipe = asyncio.StreamReader()
        pipe.feed_data(said)
        await messages.read_from(pipe)

    with pytest.raises(InternalError):
        asyncio.run(read())


def test_only_objects_are_news() -> None:
    with pytest.raises(InternalError):
        messages.unpack_json(b"[1]")
