"""How the demo model behaves in simulated conversations with voices and noise that it was not trained on.

    python benchmarks/demo_behaviour.py [--roots / UNPACKED] [--conversations 50] [--temperature 0 0.7] [--json]

Users react to what the model really does (closed loop), all through pymoshi's engine. demo_voices.py names the Debian
packages that the voices come from; those that are not there are left out, and said so. With pocketsphinx installed, the
model's words are recognised and compared with its text; --lines names the lines.npz of training, for the error rates of
the original voice and of the codec alone.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as package_files
from itertools import zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import numpy as np
from demo_score import Line, Said, Score, Trace, lines_said, score, spans
from demo_users import FRAME_SECONDS, Background, Manner, Scene, SimulatedUser, make_background, room
from demo_voices import Samples, Voice, folder_voice, music_files, read, recorded_voices, synthetic_voices
from demo_words import Recogniser, original_lines, through_codec, word_error_rate
from table import table

import pymoshi
from pymoshi.transcript import Transcript

# Of fifty conversations.
MANNERS: dict[Manner, int] = {"calm": 14, "quick": 6, "long": 6, "interrupting": 12, "early": 2, "nobody": 10}
BACKGROUNDS: tuple[Background, ...] = get_args(Background)


@dataclass
class Sounds:
    """What conversations are made of."""

    voices: list[Voice]
    music: list[Samples]


@dataclass
class Heard:
    """A conversation and what is kept of it."""

    manner: Manner
    background: Background
    voice: str
    level: float
    trace: Trace
    complete_lines: list[tuple[str, Samples]]
    """Utterances that nobody cut: text, and the model's voice."""
    frame_ms: list[float]


def main() -> None:
    options = _arguments()
    sounds = _sounds(options)
    script = read_script(options.script)
    with pymoshi.load(options.model, device="cpu", threads=1) as model:
        results = {
            f"temperature {temperature:g}": evaluate(model, sounds, script, options, temperature)
            for temperature in options.temperature
        }
        if options.lines:
            results["voice"] = voice(model, script, options.lines)
    print(json.dumps(results, indent=2) if options.json else report(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--script", type=Path, help="its lines; the bundled model's script.json by default")
    parser.add_argument("--conversations", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each (%(default)s)")
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 0.7], help="(0 and 0.7)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roots", type=Path, nargs="+", default=[Path("/")], help="where packages are unpacked (/)")
    parser.add_argument(
        "--voices", type=Path, nargs="+", default=[], help="more folders of WAV or OGG files, a voice each"
    )
    parser.add_argument("--lines", type=Path, help="lines.npz of training: the original voice")
    parser.add_argument("--recognise", type=int, default=60, help="utterances, at most (%(default)s)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _sounds(options: argparse.Namespace) -> Sounds:
    voices = [*recorded_voices(options.roots), *synthetic_voices(), *map(folder_voice, options.voices)]
    music = [read(path) for path in music_files(options.roots)]
    if not voices or not music:
        raise SystemExit(f"There are {len(voices)} voices and {len(music)} pieces of music; see demo_voices.py.")
    print(f"{len(music)} pieces of music; voices: {', '.join(one.name for one in voices)}", file=sys.stderr)
    return Sounds(voices, music)


def read_script(path: Path | None = None) -> list[Line]:
    """The lines that the model knows."""
    source = path or package_files("pymoshi").joinpath("models/demo/script.json")
    return [Line(str(line["id"]), line["kind"], line["text"]) for line in json.loads(source.read_text("utf-8"))]


def evaluate(
    model: pymoshi.Model, sounds: Sounds, script: list[Line], options: argparse.Namespace, temperature: float
) -> dict[str, Any]:
    """All conversations at one temperature; the same users at each."""
    started = perf_counter()
    total, rows = Score(), []
    manners, backgrounds = dict[str, Score](), dict[str, Score]()
    spoken: list[tuple[str, Samples]] = []
    times: list[float] = []
    for number, (manner, background) in enumerate(plan(options.conversations)):
        draw = np.random.default_rng([options.seed, number])
        user, kept = make_user(manner, background, options.seconds, sounds, draw)
        heard = converse(model, user, kept, script, temperature=temperature, seed=number)
        found = score(heard.trace)
        total.add(found)
        manners.setdefault(manner, Score()).add(found)
        backgrounds.setdefault(background, Score()).add(found)
        spoken += heard.complete_lines
        times += heard.frame_ms
        rows.append({"manner": manner, **kept, **found.as_json()})
        _tell(number, options.conversations)
    return {
        **total.as_json(),
        "by_manner": {name: group.as_json() for name, group in manners.items()},
        "by_background": {name: group.as_json() for name, group in backgrounds.items()},
        "speech_against_text": _agreement(spoken, options.recognise, options.seed),
        "frame_ms": {"median": round(float(np.median(times)), 2), "p99": round(float(np.quantile(times, 0.99)), 2)},
        "wall_seconds": round(perf_counter() - started, 1),
        "each": rows,
    }


def plan(conversations: int) -> Iterator[tuple[Manner, Background]]:
    """Manners in their proportions, each with every background in turn."""
    shares = [(manner, (index + 0.5) / count) for manner, count in MANNERS.items() for index in range(count)]
    order = [manner for manner, _ in sorted(shares, key=lambda share: share[1])]
    seen: dict[Manner, int] = {}
    for number in range(conversations):
        manner = order[number % len(order)]
        turn = seen[manner] = seen.get(manner, -1) + 1
        yield manner, BACKGROUNDS[turn % len(BACKGROUNDS)]


def make_user(
    manner: Manner, background: Background, seconds: float, sounds: Sounds, draw: np.random.Generator
) -> tuple[SimulatedUser, dict[str, Any]]:
    """A user somewhere, and what is remarkable about it."""
    n = int(seconds / FRAME_SECONDS) * 1920
    level = float(draw.uniform(-40, -14))
    nobody = manner == "nobody"
    speaker = None if nobody else sounds.voices[int(draw.integers(len(sounds.voices)))]
    noise = make_background(background, n, -26.0 if nobody else level - 12, draw, sounds.music, sounds.voices)
    echo = room(draw) if draw.random() < 0.5 else None
    user = SimulatedUser(manner, speaker, Scene(noise, level, echo), draw)
    about = {"background": background, "voice": speaker.name if speaker else None, "level_dbfs": round(level, 1)}
    return user, about


def converse(
    model: pymoshi.Model,
    user: SimulatedUser,
    about: dict[str, Any],
    script: list[Line],
    *,
    temperature: float,
    seed: int,
) -> Heard:
    """Until the user's sound ends."""
    transcript, frames, frame_ms = Transcript(model.tokenizer), [], []
    with model.session(seed=seed, temperature=temperature, text_temperature=temperature) as session:
        for _ in range(user.frames):
            frame = session.step(user.speak())
            user.hear(frame.audio)
            transcript.add(frame)
            frames.append(frame.audio)
            frame_ms.append(frame.encode_ms + frame.lm_ms + frame.decode_ms)
    voice = np.concatenate(frames)
    said = lines_said(transcript.words, script)
    trace = Trace(voice.size / 24_000, user.turns, spans(voice), said)
    return Heard(
        user.manner, about["background"], about["voice"] or "", about["level_dbfs"],
        trace, list(_complete(said, voice)), frame_ms,
    )  # fmt: skip


def _complete(said: list[Said], voice: Samples) -> Iterator[tuple[str, Samples]]:
    """Utterances of whole lines, with silence around them."""
    group: list[Said] = []
    for line, following in zip_longest(said, said[1:]):
        group.append(line)
        if following is not None and following.start - line.end < 1.2:
            continue
        if all(one.complete for one in group) and group[-1].end + 1.0 < voice.size / 24_000:
            start, end = round((group[0].start - 0.25) * 24_000), round((group[-1].end + 0.7) * 24_000)
            yield " ".join(one.line.text for one in group if one.line), voice[max(0, start) : end]
        group = []


def _agreement(spoken: list[tuple[str, Samples]], most: int, seed: int) -> dict[str, Any] | str:
    try:
        recogniser = Recogniser()
    except ImportError:
        return "not measured: pip install pocketsphinx"
    chosen = np.random.default_rng(seed).permutation(len(spoken))[:most]
    return word_error_rate([spoken[index] for index in sorted(chosen)], recogniser)


def voice(model: pymoshi.Model, script: list[Line], lines: Path) -> dict[str, Any]:
    """Word error rates of the original voice, and of what the codec makes of it."""
    recogniser = Recogniser()
    originals = original_lines(lines)
    texts = [line.text for line in script]
    return {
        "original": word_error_rate(zip(texts, originals, strict=True), recogniser),
        "codec": word_error_rate(
            ((text, through_codec(model, pcm)) for text, pcm in zip(texts, originals, strict=True)), recogniser
        ),
    }


def _tell(number: int, of: int) -> None:
    print(f"\r{number + 1} of {of} conversations", end="\n" if number + 1 == of else "", file=sys.stderr, flush=True)


def report(results: dict[str, Any]) -> str:
    """For people."""
    columns = [name for name in results if name.startswith("temperature")]
    rows = [[label, *(_cell(results[name], key) for name in columns)] for key, label in _ROWS.items()]
    parts = [table(["", *columns], rows)]
    for name in columns:
        for group in ("manner", "background"):
            parts.append("\n" + _breakdown(f"{name}, {group}", results[name][f"by_{group}"]))
    if "voice" in results:
        rates = {name: found["word_error_rate"] for name, found in results["voice"].items()}
        parts.append("\nword error rate of complete lines: " + ", ".join(f"{k} {v:.3f}" for k, v in rates.items()))
    return "\n".join(parts)


def _breakdown(title: str, groups: dict[str, Any]) -> str:
    return table(
        [title, *_COLUMNS.values()],
        [[name, *(_cell(found, key) for key in _COLUMNS)] for name, found in groups.items()],
    )


_ROWS = {
    "conversations": "conversations",
    "minutes": "minutes",
    "greeted": "greeted within 2 s",
    "answered": "turns answered within 1.5 s (median, p90)",
    "stopped": "interruptions obeyed within 0.6 s (median, p90)",
    "false_starts_while_the_user_speaks": "false starts a minute of the user's speech",
    "false_starts_otherwise": "false starts a minute of anything else",
    "nudges": "nudges",
    "lines_as_in_the_script": "lines as in the script",
    "speech_against_text": "word error rate, speech against own text",
    "frame_ms": "ms a frame of 80 ms, one thread (median, p99)",
    "wall_seconds": "seconds to compute",
}
_COLUMNS = {
    "greeted": "greeted",
    "answered": "answered",
    "stopped": "obeyed",
    "false_starts_while_the_user_speaks": "false/min in speech",
    "false_starts_otherwise": "else",
    "lines_as_in_the_script": "lines",
}


def _cell(result: dict[str, Any], key: str) -> str:
    match result[key]:
        case {"percent": percent, "count": count, "of": of, **rest}:
            seconds = f" ({rest['median_s']:.2f}, {rest['p90_s']:.2f} s)" if rest.get("median_s") else ""
            return f"{count}/{of} {percent:.0f} %{seconds}" if of else "-"
        case {"per_minute": None}:
            return "-"
        case {"per_minute": rate, "count": count}:
            return f"{rate:.2f} ({count})"
        case {"word_error_rate": rate, "utterances": count}:
            return f"{rate} ({count} utterances)"
        case {"median": median, "p99": p99}:
            return f"{median}, {p99}"
        case other:
            return str(other)


if __name__ == "__main__":
    main()
