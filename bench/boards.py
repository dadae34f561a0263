"""The only place that measures how long the boards wait for Prometheus, with a day of a shop's data behind them.

The series are those of the example shop, which is started and visited for two minutes, or of a Prometheus that runs
(`--prometheus URL`). Their values go on for a day, every 15 seconds, and become blocks by `promtool tsdb
create-blocks-from openmetrics`. A Prometheus of its own then answers what Grafana would ask for the last day, one query
after the other, each board as a whole.

All boards together aim at 3 seconds. No gate: it is a machine's time. What asks Loki and Tempo is not in it, nor are
native histograms, which OpenMetrics cannot write.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from otelkit.ops.mixin._selected import selected
from otelkit.ops.mixin.boards import boards
from otelkit.ops.mixin.boards.model import MOST_POINTS, queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otelkit.ops.mixin.boards.model import Query

ROUNDS: Final = 3
AIM: Final = 3.0  # seconds, all boards together

_DAY: Final = 86_400
_EVERY: Final = 15  # seconds between two values
_BLOCK: Final = 7_200  # seconds: one call of promtool each, which reads its whole input for every block
# As Grafana does, which takes the next round number, and a rate over one value more.
_STEP: Final = -(-_DAY // MOST_POINTS // 60) * 60
_MACROS: Final = {"__rate_interval": f"{_STEP + _EVERY}s", "__range": f"{_DAY}s", "__auto": f"{_STEP}s"}
_READY: Final = 120.0  # seconds
_VISITED: Final = 120.0  # seconds: retries and beat have had their turn, and rates have several samples
_PAUSE: Final = 0.2
_CONFIG: Final = "global: {scrape_interval: 15s}\n"


def missing() -> list[str]:
    """Name the programs that PATH lacks."""
    return [name for name in ("prometheus", "promtool") if shutil.which(name) is None]


def measure(prometheus: str | None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the milliseconds that each board waits, and all of them.

    Args:
        prometheus: Whose series are taken: a URL; None is the example shop's.
        rounds: How often each query is asked.
    """
    asked = {
        board.name: [query for query in queries(board, macros=_MACROS) if query.source == "prometheus"]
        for board in boards()
        if not board.unproven
    }
    with nullcontext(prometheus) if prometheus else _shop() as url:
        series = list(_series(url, asked))
    end = int(time.time()) // _BLOCK * _BLOCK
    with tempfile.TemporaryDirectory(prefix="otelkit-bench-") as folder:
        began = time.perf_counter()
        for start in range(end - _DAY, end, _BLOCK):
            _backfill(Path(folder), series, start)
        print(f"  {len(series)} series, a day of them written in {time.perf_counter() - began:.0f} s", flush=True)
        with _running(Path(folder)) as url:
            variants = {name: _board(url, several, end, rounds) for name, several in asked.items()}
    figures = {f"all_boards_{key}": round(sum(each[key] for each in variants.values()), 1) for key in ("ms", "cpu_ms")}
    return {"variants": variants, "series": len(series), **figures, "aim_ms": AIM * 1000}


def _board(url: str, several: list[Query], end: int, rounds: int) -> dict[str, float]:
    """Return how long a board waits, and what Prometheus works for it: the second tells on a busy machine, too."""
    before = _cpu(url)
    took = [_wait(url, each, end, rounds) for each in several]
    worked = (_cpu(url) - before) / rounds
    return {
        "ms": round(sum(each for each, _ in took) * 1000, 1),
        "cpu_ms": round(worked * 1000, 1),
        "queries": len(took),
        "without_data": sum(not found for _, found in took),
        "slowest_ms": round(max((each for each, _ in took), default=0.0) * 1000, 1),
    }


def _cpu(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:  # noqa: S310  of our own program
        found = re.search(r"^process_cpu_seconds_total (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _series(url: str, asked: Mapping[str, list[Query]]) -> Iterator[tuple[str, float]]:
    """Yield what boards select, and what services have besides: the head of each line, and its value."""
    names = {name for several in asked.values() for query in several for name in selected(query.text)}
    found = _ask(url, "query", query=f'{{__name__=~"{"|".join(sorted(names))}"}} or {{service_name!=""}}')
    for one in found:
        if "value" in one:
            labels = dict(one["metric"])
            name = labels.pop("__name__")
            written = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(labels.items()))
            yield f"{name}{{{written}}}", float(one["value"][1])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _backfill(folder: Path, series: list[tuple[str, float]], start: int) -> None:
    """Write one block: counts go on growing as they did, everything else moves a little."""
    lines = folder / "block.txt"
    moments = range(start, start + _BLOCK, _EVERY)
    with lines.open("w", encoding="utf-8") as file:
        for head, value in series:
            grows = re.match(r"[^{]*(?:_total|_bucket|_count|_sum)\{", head) is not None
            # A day's worth of what there is, so that the counts of a young shop are not all there ever was.
            more = (max(value, 0.0) + 1.0) / 40 if grows else value / 1000
            file.write(
                "".join(
                    f"{head} {value + more * (moment // _EVERY if grows else moment % 7)} {moment}\n"
                    for moment in moments
                )
            )
        file.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(lines), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    lines.unlink()


@contextmanager
def _shop() -> Iterator[str]:
    """Run the example shop with its stack until it has said everything that it says, and yield its Prometheus."""
    from support import live_shop  # noqa: PLC0415  the tests' own, which only this needs

    if absent := live_shop.missing():
        raise SystemExit(f"boards: {absent}; or name a Prometheus that has the shop's series: --prometheus URL")
    with tempfile.TemporaryDirectory(prefix="otelkit-bench-") as folder, live_shop.live_shop(Path(folder)) as live:
        print("  the example shop is visited", flush=True)
        time.sleep(_VISITED)
        yield live.endpoints.prometheus


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    """Run a Prometheus on the blocks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "prometheus.yaml").write_text(_CONFIG, encoding="utf-8")
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            _until_ready(f"http://{address}")
            yield f"http://{address}"
        finally:
            process.terminate()


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + _READY
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):  # noqa: S310  of our own program
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _wait(url: str, query: Query, end: int, rounds: int) -> tuple[float, int]:
    """Return the seconds until the answer is there, and how many series it has."""
    taken, found = [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        if query.target.instant:
            found = len(_ask(url, "query", query=query.text, time=end - 1))
        else:
            found = len(_ask(url, "query_range", query=query.text, start=end - _DAY, end=end - 1, step=_STEP))
        taken.append(time.perf_counter() - began)
    return median(taken), found


def _ask(url: str, what: str, **parameters: str | int) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode(parameters).encode()
    with urllib.request.urlopen(f"{url}/api/v1/{what}", data=body, timeout=60) as answer:  # noqa: S310  as above
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found
