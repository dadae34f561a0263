"""The only place that proves by the real Prometheus that `increase()` counts tasks, however children come and go."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import pytest

from otelkit.ops.query import wait_for
from support.celery_workers import APPS, STARTS, Cell, Worker, on_redis, publish, redis_broker, stop

if TYPE_CHECKING:
    from pathlib import Path

    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

MAIN, CHILDREN = "celery_task_executions_total", "shop_done_total"
"""What the worker's main process counts, and what code of the application counts in its children."""


@pytest.mark.parametrize(("per_child", "tasks"), [(1, 15), (20, 45)])
def test_increase_over_a_steady_run_is_the_number_of_tasks(
    per_child: int, tasks: int, query: Lgtm, running: Stack, tmp_path: Path
) -> None:
    service = f"tasks-{uuid.uuid4().hex[:8]}"
    of = f'{{service_name="{service}"}}'

    def value(metric: str) -> float:
        return sum(sample.value for sample in query.prometheus.query(f"{metric}{of}"))

    def reaches(expected: int) -> None:
        for metric in (MAIN, CHILDREN):
            wait_for(lambda metric=metric: value(metric), lambda found: found == expected, STARTS)  # type: ignore[misc]  # bound

    with redis_broker() as redis:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http,
            # Prometheus stretches what it saw to the ends of the window, each by up to 1.1 intervals: of few seconds.
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "PYTHONPATH": str(APPS),
            **on_redis(redis),
        }
        with Worker(
            environment | {"OTEL_SERVICE_NAME": service}, tmp_path, Cell(per_child=per_child), children=4
        ) as worker:
            publisher = environment | {"OTEL_SERVICE_NAME": f"{service}-publisher"}
            publish("work.delay(0).get(timeout=60)", publisher, tmp_path)
            reaches(1)  # the series are there: Prometheus sees what they grow by from now on
            begun = time.monotonic()
            publish(
                f"import time\nfor number in range({tasks}): work.delay(number).get(timeout=60); time.sleep(0.3)",
                publisher,
                tmp_path,
            )
            reaches(1 + tasks)
            window = int(time.monotonic() - begun)  # not a second more: the first task was counted just before
            for metric in (MAIN, CHILDREN):
                (found,) = query.prometheus.query(f"sum(increase({metric}{of}[{window}s]))")
                assert found.value == pytest.approx(tasks, rel=0.05), metric
            stop(worker)
    for metric in (MAIN, CHILDREN, "process_cpu_time_seconds_total"):
        ever = f"count by (service_instance_id) (last_over_time({metric}{of}[10m]))"
        assert len(query.prometheus.query(ever)) == 1, f"{metric}: children are no instances"
