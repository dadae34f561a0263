"""Tasks that fail on real workers: one fingerprint on run span and log, and one count, whatever pool ran them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from otelkit.otlp.receiver import Receiver
from support.celery_workers import Cell, Worker, named, on_redis, publish, quiet_until_the_end, redis_broker, stop

if TYPE_CHECKING:
    from pathlib import Path

FINGERPRINT = "exception.fingerprint"
TASKS = {"broken": 3, "charge": 2, "spanned": 2}
ASK = f"""
for name, times in {TASKS | {"expected": 1}}.items():
    for _ in range(times):
        try: app.send_task(name, ("4111",)).get(timeout=60)
        except Exception: pass
"""


@pytest.mark.parametrize(
    "cell", [Cell(), Cell(launched=False, per_child=1), Cell(pool="solo"), Cell(pool="threads")], ids=str
)
def test_a_failed_task_has_one_fingerprint_and_counts_once(cell: Cell, tmp_path: Path) -> None:
    with redis_broker() as redis, Receiver() as receiver:
        settings = quiet_until_the_end(receiver) | on_redis(redis)
        with Worker(settings, tmp_path, cell, ["-I", "failing"]) as worker:
            publish(ASK, settings, tmp_path, launched=cell.launched)
            stop(worker)
        records = [record for record in receiver.logs() if FINGERPRINT in record.attributes]
        last = {
            (point.resource["service.instance.id"], point.attributes[FINGERPRINT]): point.value or 0
            for point in receiver.points()
            if point.metric == "otelkit.exceptions"
        }
    counted: Counter[str] = Counter()
    for (_, fingerprint), value in last.items():
        counted[str(fingerprint)] += int(value)
    fingerprints = {}
    for name, times in TASKS.items():
        runs = named(receiver, f"run/{name}")
        assert len(runs) == times
        (fingerprint,) = {span.attributes[FINGERPRINT] for span in runs}
        of_task = [record for record in records if record.attributes["celery.task.name"] == name]
        assert [record.attributes[FINGERPRINT] for record in of_task] == [fingerprint] * times, name
        fingerprints[fingerprint] = times
    (expected,) = named(receiver, "run/expected")
    assert FINGERPRINT not in expected.attributes  # the task says that it may raise this
    inside = named(receiver, "inside")
    assert {span.attributes[FINGERPRINT] for span in inside} == {
        span.attributes[FINGERPRINT] for span in named(receiver, "run/spanned")
    }
    assert counted == fingerprints
