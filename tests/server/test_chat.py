"""/api/chat as a client sees it that knows nothing but the protocol."""

from contextlib import suppress

import numpy as np
import pytest
import sphn
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from server.running import RunningServer
from server.spec_client import SpecClient


def test_a_client_from_the_specification_converses(client: SpecClient, question: NDArray[np.float32]) -> None:
    client.converse(6.0, question)

    assert client.text.strip(), "the model wrote nothing"
    assert np.sqrt(np.mean(client.heard**2)) > 0.01, "the model was not heard"


def test_the_model_hears_the_client(quiet: RunningServer, question: NDArray[np.float32]) -> None:
    with quiet.events() as events, SpecClient(quiet.connect("/api/chat")) as client:
        client.wait_until_ready()
        client.converse(8.0, question)
        span = events.until(lambda event: event["type"] == "speech" and event["who"] == "user" and event["end"])

    assert 2 < span["start"] < span["end"] < 8
    frames = [event for event in events.seen if event["type"] == "levels"]
    assert max(frame["user_db"] for frame in frames) > -40


def test_sound_before_the_handshake_is_decoded_and_forgotten(
    quiet: RunningServer, question: NDArray[np.float32]
) -> None:
    """As Kyutai's client does it: its stream begins before the server is ready, and goes on from there."""
    with quiet.events() as events, SpecClient(quiet.connect("/api/chat")) as client:
        for frame in question[: 20 * 1920].reshape(-1, 1920):
            client.say(frame)
        client.wait_until_ready()
        client.converse(2.0)
        events.until(lambda event: event["type"] == "frame" and event["index"] == 10)

    heard = [event["user_db"] for event in events.seen if event["type"] == "levels"]
    assert max(heard) < -60


@pytest.mark.parametrize("name", ["NATF2.pt", "unheard-of"])
def test_parameters_that_a_model_has_no_use_for_are_ignored(quiet: RunningServer, name: str) -> None:
    path = f"/api/chat?voice_prompt={name}&text_prompt=You+are+a+friend.&pad_mult=2&text_seed=-1&audio_seed=3&email=x"
    with SpecClient(quiet.connect(path)) as client:
        client.wait_until_ready()
        assert quiet.status()["settings"]["seed"] == 3


def test_the_same_seed_gives_the_same_words(quiet: RunningServer) -> None:
    texts = []
    for _ in range(2):
        with SpecClient(quiet.connect("/api/chat?seed=11&text_temperature=2&text_topk=200")) as client:
            client.wait_until_ready()
            client.converse(3.0)
            texts.append(client.text[:8])
    assert texts[0].strip()
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("text_temperature=hot", "text_temperature"),
        ("audio_temperature=nan", "audio_temperature"),
        ("audio_temperature=1e9", "audio_temperature"),
        ("text_topk=-1", "text_topk"),
        ("audio_topk=2.5", "audio_topk"),
        ("seed=99999999999999999999999", "seed"),
        ("voice_prompt=../../etc/passwd", "voice_prompt"),
        ("voice_prompt=%2Fetc%2Fpasswd", "voice_prompt"),
        ("voice_prompt=..%5C..%5Csecret.pt", "voice_prompt"),
        ("voice_prompt=a%00b", "voice_prompt"),
        (f"text_prompt={'x' * 9000}", "text_prompt"),
    ],
)
def test_a_wrong_parameter_is_named_and_refused(quiet: RunningServer, query: str, field: str) -> None:
    with SpecClient(quiet.connect(f"/api/chat?{query}")) as client:
        client.drain()
    assert client.error.startswith(f"{field}: ")
    assert client.code == 1008
    assert quiet.status()["state"] == "ready"


def test_a_busy_server_says_so_at_once(quiet: RunningServer, client: SpecClient) -> None:
    with SpecClient(quiet.connect("/api/chat")) as second:
        second.drain()
    assert "one at a time" in second.error
    assert second.code == 1013

    client.converse(0.5)  # the first has noticed nothing


def test_a_client_that_calls_again_need_not_wait(quiet: RunningServer) -> None:
    for _ in range(3):
        with SpecClient(quiet.connect("/api/chat")) as client:
            client.wait_until_ready()


def test_stop_ends_the_connection(quiet: RunningServer, client: SpecClient) -> None:
    assert quiet.http.post("/stop").status_code == 202
    client.drain()
    assert client.code == 1000
    assert client.error == ""


def test_garbage_instead_of_sound_is_refused(quiet: RunningServer, client: SpecClient) -> None:
    client.socket.send(b"\x01" + bytes(range(256)) * 8)
    client.drain()
    assert "Ogg-Opus" in client.error


def test_unknown_and_empty_messages_change_nothing(client: SpecClient) -> None:
    for message in (b"\x06", b"\x03\x00", b"\x04{}", b"\xff?", b"", b"\x01", "text"):
        client.socket.send(message)
    client.converse(0.5)


def test_an_oversized_message_is_refused(quiet: RunningServer, client: SpecClient) -> None:
    client.socket.send(b"\x01" + bytes(100_000))
    client.drain()
    assert client.code == 1009


def test_sound_faster_than_speech_is_refused(quiet: RunningServer) -> None:
    encoder = sphn.OpusStreamWriter(24_000)
    minute = b"".join(bytes(encoder.append_pcm(np.zeros(1920, np.float32))) for _ in range(750))
    with SpecClient(quiet.connect("/api/chat")) as client:
        client.wait_until_ready()
        with suppress(ConnectionClosed):
            for at in range(0, len(minute), 30_000):
                client.socket.send(b"\x01" + minute[at : at + 30_000])
        client.drain()
    assert "faster" in client.error
