"""The only place that asks the real Prometheus what it sees of a process that is gone after one export."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit.ops.query import wait_for
from support.processes import PYTHON, run

if TYPE_CHECKING:
    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "short-lived-processes.md"
WITHIN = 60.0
LATER = "[5m] offset -1m"
"""As if asked a minute from now, when nothing more has come."""


def job(service: str, *, flushed_first: bool) -> str:
    """Return the page's job, that counts five."""
    code, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    zero = "SENT.add(0)\notelkit.configure().force_flush()\ntime.sleep(0.5)\n" if flushed_first else ""
    code = code.replace('"invoices"', f'"{service}"', 1).replace("with trace", f"{zero}with trace", 1)
    return f"due, send = lambda: range(5), print\n{code}"


@pytest.mark.parametrize(
    ("runs", "flushed_first", "instance", "increase", "summed"),
    [
        (2, False, None, None, 10),
        (1, True, None, 7.5, 5),
        (2, False, "always", 0, 5),
    ],
    ids=["sent once", "sent twice", "one instance"],
)
def test_what_increase_sees_of_a_job(
    runs: int,
    flushed_first: bool,
    instance: str | None,
    increase: float | None,
    summed: float,
    *,
    query: Lgtm,
    running: Stack,
    tmp_path: Path,
) -> None:
    service = f"job-{uuid.uuid4().hex[:8]}"
    series = f'invoices_sent_total{{service_name="{service}"}}'
    (tmp_path / "job.py").write_text(job(service, flushed_first=flushed_first), encoding="utf-8")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http}
    if instance is not None:
        env["OTEL_RESOURCE_ATTRIBUTES"] = f"service.instance.id={instance}"

    def asked(expression: str) -> list[float]:
        return [sample.value for sample in query.prometheus.query(expression)]

    def samples() -> int:
        return int(sum(asked(f"sum(count_over_time({series}{LATER}))")))

    for number in range(1, runs + 1):
        ended = run([PYTHON, "job.py"], folder=tmp_path, env=env)
        assert ended.returncode == 0, ended.tail()
        expected = 2 if flushed_first else number
        wait_for(samples, lambda found, expected=expected: found == expected, WITHIN)  # type: ignore[misc]  # bound
    assert asked(f"sum(increase({series}{LATER}))") == ([] if increase is None else [pytest.approx(increase, rel=0.01)])
    assert asked(f"sum(max_over_time({series}{LATER}))") == [summed]
    ago = f'time() - max(max_over_time(invoices_success_time_seconds{{service_name="{service}"}}[2d]))'
    assert 0 <= asked(ago)[0] < 3600
