"""What Celery's own log lines say on the roads of otelkit and by Celery's own handlers; their formats are Celery's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from celery.app import trace
from celery.worker.consumer import consumer

from otelkit._retold import retold
from otelkit.integrations import _celery_lines
from otelkit.otlp.receiver import Receiver
from support.processes import PYTHON, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2"
BODY = f'[["{SECRET}"], {{}}, {{}}] (20b)'
TASK = {"id": "1", "name": "shop.mail", "args": f"('{SECRET}',)", "kwargs": f"{{'a': '{SECRET}'}}"}
LINES: list[tuple[str, str, Any, str]] = [
    (
        "celery.app.trace",
        trace.LOG_SUCCESS,
        {**TASK, "return_value": f"'{SECRET}'", "runtime": 0.5},
        "Task shop.mail[1] succeeded in 0.5s: [...]",
    ),
    ("celery.worker.strategy", trace.LOG_RECEIVED, TASK, "Task shop.mail[1] received"),
    (
        "celery.worker.strategy",
        "Couldn't convert ETA %r to timestamp: %r. Task: %r",
        ("soon", ValueError("wrong"), TASK),
        "Couldn't convert ETA 'soon' to timestamp: ValueError('wrong'). Task: [...]",
    ),
    (
        "celery.worker.consumer.consumer",
        consumer.UNKNOWN_TASK_ERROR,
        (KeyError("shop.gone"), BODY, {"argsrepr": SECRET}, {"routing_key": "celery"}),
        "Received unregistered task of type 'shop.gone'.",
    ),
    ("celery.worker.consumer.consumer", consumer.UNKNOWN_FORMAT, (BODY,), "the message body was: [...]"),
    (
        "celery.worker.consumer.consumer",
        consumer.INVALID_TASK_ERROR,
        ("no id", BODY),
        "Received invalid task message: no id",
    ),
    (
        "celery.worker.consumer.consumer",
        consumer.MESSAGE_DECODE_ERROR,
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "no"), "application/json", "utf-8", SECRET, BODY),
        "Can't decode message body: [...] [type:'application/json' encoding:'utf-8' headers:[...]]",
    ),
    (
        "celery.worker.request",
        f"Discarding revoked task: %s[%s] (revoked by header: {{'tenant': '{SECRET}'}})",
        ("shop.mail", "1"),
        "Discarding revoked task: shop.mail[1] (revoked by header: [...]",
    ),
    (
        "celery.pool",
        "TaskPool: Apply %s (args:%s kwargs:%s)",
        ("run", f"('{SECRET}',)", "{}"),
        "TaskPool: Apply run (args:[...] kwargs:[...])",
    ),
    (
        "celery.beat",
        f"Current schedule:\n<ScheduleEntry: stock shop.take('{SECRET}') <freq: 1.00 second>",
        (),
        "Current schedule:\n[...]",
    ),
    (
        "kombu.pidbox",
        "pidbox received method %s [reply_to:%s ticket:%s]",
        (f"revoke_by_stamped_headers(headers={{'tenant': '{SECRET}'}})", None, None),
        "pidbox received method [...] [reply_to:[...] ticket:[...]]",
    ),
]


@pytest.fixture
def told_otherwise() -> Iterator[None]:
    _celery_lines.install()
    yield
    _celery_lines.uninstall()


def record_of(logger: str, message: str, given: Any) -> logging.LogRecord:
    arguments = (given,) if isinstance(given, dict) else given
    record = logging.getLogger(logger).makeRecord(logger, logging.INFO, __file__, 1, message, arguments, None)
    assert logging.getLogger(logger).filter(record)
    return record


@pytest.mark.usefixtures("told_otherwise")
@pytest.mark.parametrize(("logger", "message", "given", "expected"), LINES, ids=[line[1][:30] for line in LINES])
def test_a_line_is_told_without_what_it_quotes(logger: str, message: str, given: Any, expected: str) -> None:
    instead = retold(record_of(logger, message, given))
    assert instead is not None
    assert expected in instead.message
    assert SECRET not in instead.message


@pytest.mark.usefixtures("told_otherwise")
def test_the_record_stays_as_it_is_for_handlers_of_the_application() -> None:
    record = record_of("celery.app.trace", trace.LOG_SUCCESS, {**TASK, "return_value": SECRET, "runtime": 1})
    assert record.getMessage() == f"Task shop.mail[1] succeeded in 1s: {SECRET}"


@pytest.mark.usefixtures("told_otherwise")
@pytest.mark.parametrize(
    ("logger", "message", "given"),
    [
        ("celery.worker.consumer.consumer", "Started consuming from %s", ("celery",)),
        ("celery.beat", "beat: Starting...", ()),
        ("celery.pool", "a line with {mapping} of %(one)s", {"one": 1}),
    ],
)
def test_other_lines_are_told_as_they_are(logger: str, message: str, given: Any) -> None:
    assert retold(record_of(logger, message, given)) is None


@pytest.mark.usefixtures("told_otherwise")
def test_arguments_that_do_not_fit_the_format_leave_the_format() -> None:
    instead = retold(record_of("celery.pool", "TaskPool: Apply %s %s %s %s", (SECRET, SECRET)))
    assert instead is not None
    assert instead.message == "TaskPool: Apply %s %s %s %s"


def test_without_the_integration_nothing_is_told_otherwise() -> None:
    assert retold(record_of("celery.worker.strategy", trace.LOG_RECEIVED, TASK)) is None


PROGRAM = """
import logging, sys
import otelkit
from celery.app import trace
from celery.utils.log import ColorFormatter
handler = logging.StreamHandler(sys.stderr)
handler.setFormatter({formatter})
logging.basicConfig(handlers=[handler], level="INFO")
otelkit.configure(service_name="shop")
task = {{"id": "1", "name": "shop.mail", "return_value": "hunter2", "runtime": 1, "args": "", "kwargs": ""}}
logging.getLogger("celery.app.trace").info(trace.LOG_SUCCESS, task)
logging.getLogger("shop").info("password=%s", "hunter2")
"""


@pytest.mark.parametrize(
    ("formatter", "expected"),
    [
        (
            'ColorFormatter("%(message)s")',
            "Task shop.mail[1] succeeded in 1s: [...]\npassword=[redacted:password]\n",
        ),
        ('logging.Formatter("%(message)s")', "Task shop.mail[1] succeeded in 1s: hunter2\npassword=hunter2\n"),
    ],
    ids=["Celery's own", "the application's"],
)
def test_lines_of_celery_s_handlers_are_redacted_and_those_of_the_application_s_are_not(
    formatter: str, expected: str, tmp_path: Path
) -> None:
    program = PROGRAM.format(formatter=formatter)
    with Receiver() as receiver:  # with nobody listening, otelkit would say so in between
        ended = run([PYTHON, "-c", program], folder=tmp_path, env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url})
    assert expected in ended.stderr
