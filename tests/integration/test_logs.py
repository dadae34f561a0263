"""Logs of real processes: what is on stdout, on stderr and in OTLP, under servers, forks and foreign configurations."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import HOST, PYTHON, Process, clean_environment, free_port, http_get, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def environment(receiver: Receiver) -> dict[str, str | None]:
    return {
        "OTEL_SERVICE_NAME": "speaking",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH", "")])),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "PYTHONUNBUFFERED": "1",
    }


def script(tmp_path: Path, code: str, receiver: Receiver, **variables: str) -> Process:
    """Run a program of a few lines to its end."""
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(code))
    done = run([PYTHON, file], folder=tmp_path, env=environment(receiver) | variables)
    assert done.returncode == 0, done.tail()
    return done


def events(process: Process) -> list[dict[str, Any]]:
    """What the application said on stdout; every line there must be JSON."""
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    return [line for line in lines if not line["logger"].startswith("otelkit")]


def bodies(receiver: Receiver) -> list[str]:
    """What the application said in OTLP."""
    return [record.body for record in receiver.logs() if not record.scope.name.startswith("otelkit")]


def test_the_modules_functions_give_the_root_logger_a_handler_of_its_own(tmp_path: Path, receiver: Receiver) -> None:
    done = script(
        tmp_path,
        """
        import logging, otelkit
        otelkit.configure()
        logging.info("calls basicConfig()")
        logging.getLogger("app").warning("stock %s", "low", extra={"left": 3})
        otelkit.get_logger().info("order.placed", order_id=42)
        """,
        receiver,
    )
    assert bodies(receiver) == ["calls basicConfig()", "stock low", "order.placed"]
    assert events(done) == []
    assert done.stderr.splitlines() == ["WARNING:app:stock low", "INFO:__main__:order.placed order_id=42"]


def test_the_last_resort_is_a_json_line(tmp_path: Path, receiver: Receiver) -> None:
    done = script(
        tmp_path,
        """
        import logging, otelkit
        otelkit.configure()
        logging.getLogger("app").warning("stock %s", "low", extra={"left": 3})
        logging.getLogger("app").info("fine")
        """,
        receiver,
    )
    first, second = events(done)
    assert (first["event"], first["left"], first["service"]) == ("stock low", 3, "speaking")
    assert second["event"] == "fine"
    assert done.stderr == ""
    assert bodies(receiver) == ["stock low", "fine"]


@pytest.mark.parametrize("kind", ["dictConfig", "fileConfig"])
def test_a_configuration_that_silences_what_exists(tmp_path: Path, receiver: Receiver, kind: str) -> None:
    (tmp_path / "logging.ini").write_text(
        textwrap.dedent(
            """
            [loggers]
            keys=root
            [handlers]
            keys=null
            [formatters]
            keys=
            [logger_root]
            level=INFO
            handlers=null
            [handler_null]
            class=NullHandler
            """
        )
    )
    configure = {
        "dictConfig": """logging.config.dictConfig({"version": 1, "root": {"level": "INFO", "handlers": []}})""",
        "fileConfig": """logging.config.fileConfig("logging.ini")""",
    }[kind]
    done = script(
        tmp_path,
        f"""
        import logging, logging.config, otelkit
        ours = otelkit.get_logger("app.ours")
        otelkit.configure()
        {configure}
        logging.getLogger("app.new").info("new")
        logging.getLogger("otelkit.access").info("http.request.completed")
        ours.info("ours")
        """,
        receiver,
    )
    assert [line["event"] for line in events(done)] == bodies(receiver) == ["new", "ours"]
    assert '"http.request.completed"' in done.stdout
    assert "http.request.completed" in [record.body for record in receiver.logs()]


def test_disabled_leaves_json_on_stdout_without_ids(tmp_path: Path, receiver: Receiver) -> None:
    done = script(
        tmp_path,
        """
        import logging, otelkit
        from opentelemetry import trace
        otelkit.configure()
        with trace.get_tracer("app").start_as_current_span("work"):
            otelkit.get_logger().info("order.placed", order_id=42)
            logging.getLogger("app").warning("stock")
        """,
        receiver,
        OTEL_SDK_DISABLED="true",
    )
    assert [line["event"] for line in events(done)] == ["order.placed", "stock"]
    assert not any("trace_id" in line for line in events(done))
    assert receiver.logs() == []


def test_a_person_at_a_terminal_reads_text(tmp_path: Path, receiver: Receiver) -> None:
    file = tmp_path / "program.py"
    file.write_text("import otelkit\notelkit.configure()\notelkit.get_logger().info('order.placed', order_id=42)\n")
    leader, follower = pty.openpty()
    env = clean_environment(environment(receiver))
    done = subprocess.run(
        [PYTHON, file], stdout=follower, stderr=subprocess.PIPE, env=env, cwd=tmp_path, check=True, timeout=60
    )
    os.close(follower)
    printed = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:  # EIO: nobody holds the other end
            break
        if not piece:
            break
        printed += piece
    os.close(leader)
    assert done.stderr == b""
    line = next(line for line in printed.decode().splitlines() if "order.placed" in line)
    assert not line.startswith("{")
    assert "\x1b[" in line
    assert "42" in line
    assert bodies(receiver) == ["order.placed"]


def test_children_forked_in_the_middle_of_a_line_can_log(tmp_path: Path, receiver: Receiver) -> None:
    done = script(
        tmp_path,
        """
        import os, threading, otelkit
        otelkit.configure()
        log = otelkit.get_logger("app")
        stop = threading.Event()
        def chatter():
            while not stop.is_set():
                log.info("parent")
        threads = [threading.Thread(target=chatter) for _ in range(2)]
        for thread in threads:
            thread.start()
        children = []
        for number in range(20):
            child = os.fork()
            if child == 0:
                log.info("child", number=number)
                os._exit(0)
            children.append(child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        """,
        receiver,
        OTEL_LOGS_EXPORTER="console",
    )
    said = events(done)
    assert sorted(line["number"] for line in said if line["event"] == "child") == list(range(20))
    assert {line["event"] for line in said} == {"parent", "child"}


UVICORN = ["uvicorn", "{app}", "--port", "{port}", "--no-access-log"]


@pytest.mark.parametrize(
    ("command", "application"),
    [
        (UVICORN, "explicit_speaking:app"),
        (["opentelemetry-instrument", *UVICORN], "speaking:app"),
        ([*UVICORN, "--workers", "2"], "explicit_speaking:app"),
    ],
    ids=["explicit", "launcher", "workers"],
)
def test_uvicorn_and_its_application_on_one_road(
    tmp_path: Path, receiver: Receiver, command: list[str], application: str
) -> None:
    port = free_port()
    argv = [part.format(app=application, port=port) for part in command]
    with Process([BIN / argv[0], *argv[1:]], folder=tmp_path, env=environment(receiver)) as server:
        server.wait_http(f"http://{HOST}:{port}/one")
        assert http_get(f"http://{HOST}:{port}/two").status == 200
        wait_until(lambda: bodies(receiver).count("structlog.said") >= 2, within=10, what="two events in OTLP")
        server.signal(signal.SIGTERM)
        server.wait()
    own = [line for line in server.stdout.splitlines() if line.startswith("{")]
    said = [json.loads(line) for line in own]
    counts = Counter(line["event"] for line in said)
    assert counts["stdlib said /two"] == 1
    assert [line["path"] for line in said if line["event"] == "structlog.said"].count("/two") == 1
    assert bodies(receiver).count("stdlib said /two") == 1
    processes = counts["Application startup complete."]
    assert processes == bodies(receiver).count("Application startup complete.") == (2 if "--workers" in argv else 1)
    assert all(line["logger"] == "uvicorn.error" for line in said if line["event"].startswith("Application"))
    # What stays in the server's own format was said before our code ran: by the parent of the workers, by nobody else.
    plain = [line for line in server.stderr.splitlines() if "Application startup complete" in line]
    assert plain == []


@pytest.mark.parametrize("preload", [True, False])
def test_gunicorn_and_its_application_on_one_road(tmp_path: Path, receiver: Receiver, *, preload: bool) -> None:
    port = free_port()
    options = ["--preload"] if preload else []
    argv = [str(BIN / "gunicorn"), "-k", "asgi", "-w", "1", "-b", f"{HOST}:{port}", *options, "explicit_speaking:app"]
    with Process(argv, folder=tmp_path, env=environment(receiver)) as server:
        server.wait_http(f"http://{HOST}:{port}/one")
        wait_until(lambda: "structlog.said" in bodies(receiver), within=10, what="an event in OTLP")
        server.signal(signal.SIGTERM)
        server.wait()
    said = [json.loads(line) for line in server.stdout.splitlines()]
    assert [line["event"] for line in said].count("stdlib said /one") == 1
    assert bodies(receiver).count("stdlib said /one") == 1
    listening = [line for line in said if line["event"].startswith("Listening at")]
    assert len(listening) == (1 if preload else 0), "before the application is loaded gunicorn prints by itself"
    assert server.stderr.count("Listening at") == (0 if preload else 1)
