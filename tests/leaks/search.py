"""The only place that looks for secrets in what left a process, and says where each was found."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from leaks import plants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from otelkit.otlp.receiver import Receiver
    from support.processes import Process

SIGNALS = {"TraceService": "traces", "MetricsService": "metrics", "LogsService": "logs"}
THEIRS = "theirs"
"""The channel of what the application's own log handler prints on stdout."""
MARK = "theirs| "
"""What that handler begins every line with."""
_SHOWN = 40
_WINDOW = 8  # bytes


class Hit(NamedTuple):
    """A secret that was found.

    Args:
        place: Where it was planted.
        channel: What it left by: a signal of OTLP, "stdout", "stderr" or `THEIRS`.
        where: In which part of that.
    """

    place: str
    channel: str
    where: str


def exported(receiver: Receiver) -> dict[str, bytes]:
    """Return the bytes that arrived, by signal and in lower case."""
    found: dict[str, list[bytes]] = {}
    for request in receiver.raw():
        last = request.path.rpartition("/")[2]
        service = request.path.rpartition("/")[0].rpartition(".")[2]
        found.setdefault(SIGNALS.get(service, last), []).append(request.body.lower())
    return {signal: b"\n".join(bodies) for signal, bodies in found.items()}


def printed(*processes: Process) -> dict[str, bytes]:
    """Return what was printed, by channel and in lower case."""
    lines: dict[str, list[str]] = {"stdout": [], THEIRS: [], "stderr": []}
    for process in processes:
        lines["stderr"] += process.stderr.lower().splitlines()
        for line in process.stdout.lower().splitlines():
            lines[THEIRS if line.startswith(MARK) else "stdout"].append(line)
    return {channel: "\n".join(those).encode() for channel, those in lines.items()}


def hits(channels: Mapping[str, bytes], receiver: Receiver, places: Mapping[str, str]) -> list[Hit]:
    """Search what left processes, by channel and in lower case, for the plants of these places.

    Messages are searched as they arrived and decoded too: in the bytes of protobuf a number has no digits.
    """
    items: dict[str, Iterable[Any]] = {
        "traces": receiver.spans(),
        "metrics": receiver.points(),
        "logs": receiver.logs(),
    }
    found = []
    for channel, content in channels.items():
        texts = [(path, text.lower()) for item in items.get(channel, ()) for path, text in _strings(asdict(item))]
        everything = content + "\n".join(text for _, text in texts).encode()
        texts = texts or [("", line) for line in content.decode(errors="replace").splitlines()]
        # Thousands of spellings are looked for in megabytes: how each begins is looked up first.
        windows = {everything[at : at + _WINDOW] for at in range(len(everything))}
        for plant in plants.plants(places):
            spelled = (spelling for needle in plant.needles for spelling in plants.spellings(needle))
            begun = (each for each in spelled if len(each) < _WINDOW or each[:_WINDOW] in windows)
            if spelling := next((each for each in begun if each in everything), None):
                found.append(Hit(plant.place, channel, _where(spelling.decode(), texts)))
    return found


def note(folder: Path, found: Iterable[Hit]) -> None:
    """Write down what was found."""
    lines = [f"{hit.place} | {hit.channel} | {hit.where}\n" for hit in found]
    (folder / "hits").write_text("".join(lines), encoding="utf-8")


def sizes(channels: Mapping[str, bytes]) -> str:
    """Say how much was searched."""
    return " ".join(f"{name} {len(content):,} B" for name, content in channels.items())


def _where(word: str, texts: Iterable[tuple[str, str]]) -> str:
    """Say where a word stands: the paths of the fields, or what is printed before it."""
    found = ((path, text, text.index(word)) for path, text in texts if word in text)
    places = dict.fromkeys(path or repr(text[max(0, start - _SHOWN) : start + 8]) for path, text, start in found)
    return ", ".join(list(places)[:3]) or "in the bytes"


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give every text and number of a decoded item, with the way to it."""
    match value:
        case dict():
            for key, inner in value.items():
                yield f"{path} key".lstrip(), str(key)
                yield from _strings(inner, f"{path}.{key}".lstrip("."))
        case list() | tuple():
            for inner in value:
                yield from _strings(inner, path)
        case _:
            yield path, str(value)
