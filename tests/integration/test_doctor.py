"""`otelkit doctor`, on real programs and real endpoints: what it asks, what it hears, and what it leaves behind."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trustme

from otelkit._telling import Told, ask, shown
from otelkit.ops.doctor.findings import judge
from otelkit.otlp.receiver import Receiver
from otelkit.redact import Redactor
from otelkit.settings import Settings
from support.processes import HOST, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BIN = Path(sys.executable).parent

EXPLICIT = """
import otelkit
otelkit.configure(otelkit.Settings(service_name="shop", headers={"api-key": "hunter2"}, sampler="always_off"))
open("served", "w").close()
"""


def doctor(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "otelkit", "doctor", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env=clean_environment(
            {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "OTEL_EXPORTER_OTLP_ENDPOINT": silent()}
            | dict(env or {})
        ),
    )


def silent() -> str:
    """An endpoint where nobody listens."""
    return f"http://{HOST}:{free_port()}"


def answer(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    done = doctor("--json", *arguments, folder=folder, env=env)
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 1)
    return document


def ids(document: Mapping[str, Any]) -> set[str]:
    return {finding["id"] for finding in document["findings"]}


class TestAsking:
    """Whose settings they are."""

    def test_this_shell_is_asked_through_an_interpreter_of_its_own(self, tmp_path: Path) -> None:
        with Receiver() as receiver:
            document = answer(
                folder=tmp_path,
                env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, "OTEL_SERVICE_NAME": "billing"},
            )
            assert (receiver.spans(), receiver.logs(), receiver.points()) == ([], [], [])
        assert document["ok"]
        assert (document["service"], document["road"]) == ("billing", "configure()")
        assert document["settings"]["service_name"] == {"value": "billing", "origin": "OTEL_SERVICE_NAME"}
        assert [each["outcome"] for each in document["answers"]] == ["delivered"] * 3
        verdicts = {each["integration"]: each["choice"] for each in document["verdicts"]}
        assert verdicts["sqlalchemy"] == "ours"

    def test_a_program_tells_the_arguments_that_only_its_code_knows_and_ends_there(self, tmp_path: Path) -> None:
        (tmp_path / "shop.py").write_text(EXPLICIT)
        document = answer("--", "python", "shop.py", folder=tmp_path)
        assert (document["service"], document["road"]) == ("shop", "configure()")
        assert document["settings"]["sampler"] == {"value": "always_off", "origin": "argument"}
        assert document["settings"]["traces.headers"] == {"value": ["api-key"], "origin": "argument"}
        assert {"sampler-drops-all", "endpoint-silent"} <= ids(document)
        assert not (tmp_path / "served").exists()

    @pytest.mark.parametrize("launcher", ["otelkit run --", "opentelemetry-instrument"])
    def test_a_launched_program_tells_before_its_own_code_runs(self, launcher: str, tmp_path: Path) -> None:
        (tmp_path / "plain.py").write_text("open('served', 'w').close()")
        document = answer("--", *launcher.split(), "python", "plain.py", folder=tmp_path)
        assert document["road"] == "zero-code"
        assert not (tmp_path / "served").exists()

    def test_a_server_is_ended_once_its_worker_has_told(self, tmp_path: Path) -> None:
        (tmp_path / "api.py").write_text("import otelkit\notelkit.configure(service_name='api')\napp = None\n")
        command = ("gunicorn", "--workers", "2", "--bind", f"{HOST}:{free_port()}", "api:app")
        document = answer("--", *command, folder=tmp_path)
        assert document["service"] == "api"
        marks = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        assert not [mark for mark in marks if "api:app" in mark]

    def test_no_secret_is_shown(self, tmp_path: Path) -> None:
        secrets = {
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hunter2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:hunter2@{HOST}:{free_port()}/?key=hunter2",
            "OTEL_RESOURCE_ATTRIBUTES": "api.key=hunter2,contact=me@example.org",
        }
        for form in ((), ("--json",)):
            done = doctor(*form, folder=tmp_path, env=secrets)
            assert "hunter2" not in done.stdout + done.stderr
            assert "authorization" in done.stdout

    def test_lines_name_setting_library_endpoint_finding_and_fix(self, tmp_path: Path) -> None:
        done = doctor(folder=tmp_path, env={"OTEL_SERVICE_NAME": "billing", "OTEL_TRACE_SAMPLER": "always_off"})
        assert done.returncode == 1
        for line in (
            r"  service_name       billing  ",
            "  sqlalchemy  ours",
            "error   endpoint-silent    traces, metrics and logs to http",
            "fix: start the Collector",
            "warning variable-misspelt  OTEL_TRACE_SAMPLER: nothing reads it",
            "fix: did you mean OTEL_TRACES_SAMPLER?",
            "1 error, 1 warning",
        ):
            assert line in done.stdout, done.stdout


class TestSilence:
    """A program that tells nothing."""

    def test_one_that_configures_nothing_is_ended_in_time(self, tmp_path: Path) -> None:
        mark = f"{time.time_ns()}"
        document = answer("--timeout", "1", "--", "python", "-c", "import time; time.sleep(600)", mark, folder=tmp_path)
        (found,) = document["findings"]
        assert (found["id"], found["severity"]) == ("not-configured", "error")
        assert "otelkit run -- python" in found["fix"]
        assert not [each for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]

    def test_one_that_fails_is_told_from_one_that_forgot(self, tmp_path: Path) -> None:
        document = answer("--", "python", "-c", "raise SystemExit('no database password=hunter2')", folder=tmp_path)
        (found,) = document["findings"]
        assert found["id"] == "command-failed"
        assert "exit code 1 before it configured telemetry: no database" in found["what"]
        assert "hunter2" not in found["what"]
        document = answer("--", "python", "-c", "pass", folder=tmp_path)
        assert ids(document) == {"not-configured"}

    def test_wrong_arguments_of_configure_are_quoted(self, tmp_path: Path) -> None:
        code = "import otelkit; otelkit.configure(otelkit.Settings(protocol='pigeon'))"
        (found,) = answer("--", "python", "-c", code, folder=tmp_path)["findings"]
        assert found["id"] == "command-failed"
        assert "SettingsError" in found["what"]
        assert "pigeon" in found["what"]

    def test_another_version_of_otelkit_is_named(self, tmp_path: Path) -> None:
        code = "import os, json; open(os.environ['OTELKIT_DOCTOR_REPORT'], 'w').write(json.dumps({'otelkit': '9.9'}))"
        (found,) = answer("--", "python", "-c", code, folder=tmp_path)["findings"]
        assert found["id"] == "other-otelkit"

    def test_a_program_that_does_not_exist_is_named(self, tmp_path: Path) -> None:
        done = doctor("--", "no-such-program", folder=tmp_path)
        assert done.returncode == 127
        assert "'no-such-program'" in done.stderr

    def test_a_variable_that_was_left_behind_asks_for_nothing(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", "import otelkit; otelkit.configure(); print('served')"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=tmp_path,
            env=clean_environment(
                {"OTELKIT_DOCTOR_REPORT": str(tmp_path / "gone"), "OTEL_EXPORTER_OTLP_ENDPOINT": silent()}
            ),
        )
        assert done.stdout.endswith("served\n")


class TestInstalled:
    """What metadata says, of distributions made for the test."""

    def test_another_distro_that_wins_is_named(self, tmp_path: Path) -> None:
        entry = "[opentelemetry_configurator]\nconfigurator = acme_distro:Configurator\n"
        distribution(tmp_path, "acme-distro", "1.0", entry=entry)
        (tmp_path / "acme_distro.py").write_text(
            "class Configurator:\n    def configure(self, **kwargs):\n        pass\n"
        )
        found = {"PYTHONPATH": str(tmp_path)}
        document = answer(folder=tmp_path, env=found)
        assert document["distros"] == ["acme-distro", "otelkit"]
        assert "two-distros" in ids(document)
        command = ("opentelemetry-instrument", "python", "-c", "pass")
        document = answer("--", *command, folder=tmp_path, env=found)
        (first, *_) = document["findings"]
        assert first["id"] == "another-distro"
        assert "chose the distro acme-distro" in first["what"]
        assert "otelkit run -- python -c pass" in first["fix"]
        document = answer("--", "otelkit", "run", "--", "python", "-c", "pass", folder=tmp_path, env=found)
        assert document["road"] == "zero-code"
        assert not {"two-distros", "another-distro"} & ids(document)

    @pytest.mark.skipif(
        "TEST_OTHER_DISTRO" not in os.environ,
        reason="TEST_OTHER_DISTRO names no folder with opentelemetry-distro (`nox -s integration` makes one)",
    )
    def test_the_usual_other_distro_is_named(self, tmp_path: Path) -> None:
        off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
        env = {"PYTHONPATH": os.environ["TEST_OTHER_DISTRO"], **off}
        done = doctor("--", "opentelemetry-instrument", "python", "-c", "pass", folder=tmp_path, env=env)
        assert done.returncode == 1
        assert "chose the distro opentelemetry-distro" in done.stdout
        assert "Libraries" not in done.stdout

    def test_an_instrumentation_of_another_release_is_named(self, tmp_path: Path) -> None:
        needs = "Requires-Dist: opentelemetry-semantic-conventions==0.60b1\n"
        distribution(tmp_path, "opentelemetry-instrumentation-acme", "0.60b1", metadata=needs)
        document = answer(folder=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        (found,) = [each for each in document["findings"] if each["id"] == "versions-mixed"]
        assert (
            "opentelemetry-instrumentation-acme 0.60b1 needs opentelemetry-semantic-conventions==0.60b1"
            in found["what"]
        )

    def test_an_instrumentor_that_the_application_switched_on_is_named(self, tmp_path: Path) -> None:
        code = (
            "from opentelemetry.instrumentation.redis import RedisInstrumentor\n"
            "RedisInstrumentor().instrument()\nimport otelkit\notelkit.configure()\n"
        )
        document = answer("--", "python", "-c", code, folder=tmp_path)
        (found,) = [each for each in document["findings"] if each["id"] == "instrumented-twice"]
        assert "redis" in found["what"]

    def test_a_level_that_the_application_chose_is_named(self, tmp_path: Path) -> None:
        code = "import logging, otelkit\n{}\notelkit.configure()\n"
        for first, found in (
            ("logging.basicConfig()", True),
            ("logging.basicConfig(level='INFO')", False),
            ("pass", False),
        ):
            document = answer("--", "python", "-c", code.format(first), folder=tmp_path)
            assert ("root-level-hides" in ids(document)) is found, first

    def test_providers_of_others_are_named(self, tmp_path: Path) -> None:
        code = (
            "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
            "trace.set_tracer_provider(TracerProvider())\nimport otelkit\notelkit.configure()\n"
        )
        document = answer("--", "python", "-c", code, folder=tmp_path)
        assert document["providers"] == {"traces": "adopted", "metrics": "ours", "logs": "ours"}
        assert "adopted-provider" in ids(document)


def distribution(folder: Path, name: str, version: str, *, entry: str = "", metadata: str = "") -> None:
    """Make a distribution that importlib.metadata finds in a folder."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
    (info / "entry_points.txt").write_text(entry)


# -- endpoints ---------------------------------------------------------------------------------------------------------


def about(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is found about the endpoints of these variables: id, and what."""
    settings = Settings(environ={"OTEL_SERVICE_NAME": "shop", **environ})
    told = Told(
        otelkit="",
        python="",
        executable="",
        service="shop",
        road="configure()",
        settings=dict(shown(settings, Redactor())),
        problems=settings.problems,
        providers={},
        unseen={},
        versions={},
        answers=ask(settings),
    )
    return [(finding.id, finding.what) for finding in judge(told)]


@contextmanager
def web_server(status: int, headers: Mapping[str, str], *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A web server that is no receiver of OTLP; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(status)
            for name, value in ({"Content-Length": "0"} | dict(headers)).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def to(port: int, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}", **more}


class TestEndpoints:
    """Each with the transport that telemetry takes."""

    def test_a_receiver_answers_over_both_protocols(self) -> None:
        with Receiver(grpc_port=0) as receiver:
            assert about({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url}) == []
            grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint}
            assert about(grpc) == []
            assert (receiver.spans(), receiver.logs(), receiver.points()) == ([], [], [])

    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_nobody_listens(self, protocol: str) -> None:
        ((found, what),) = about(to(free_port(), OTEL_EXPORTER_OTLP_PROTOCOL=protocol))
        assert found == "endpoint-silent"
        assert "refused" in what.lower()

    def test_each_protocol_at_the_port_of_the_other(self) -> None:
        with Receiver(grpc_port=0) as receiver:
            grpc_port = int(receiver.grpc_endpoint.rpartition(":")[2])
            http_port = int(receiver.http_url.rpartition(":")[2])
            assert [found for found, _ in about(to(grpc_port))] == ["endpoint-speaks-else"]
            grpc = to(http_port, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
            assert [found for found, _ in about(grpc)] == ["endpoint-speaks-else"]

    @pytest.mark.parametrize(
        ("status", "headers", "id_"),
        [
            (404, {}, "endpoint-not-otlp"),
            (405, {}, "endpoint-not-otlp"),
            (302, {"Location": "https://login.example"}, "endpoint-not-otlp"),
            (200, {"Content-Type": "text/html; charset=utf-8"}, "endpoint-not-otlp"),
            (401, {}, "endpoint-denies"),
            (403, {}, "endpoint-denies"),
            (503, {}, "endpoint-busy"),
            (400, {}, "endpoint-refuses"),
        ],
    )
    def test_a_web_server_is_told_from_a_receiver(self, status: int, headers: dict[str, str], id_: str) -> None:
        with web_server(status, headers) as port:
            ((found, what),) = about(to(port))
        assert found == id_
        assert str(status) in what or "text/html" in what

    def test_tls_that_is_not_trusted_and_tls_that_is_not_there(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        with web_server(200, {}, tls=context) as port:
            ((found, what),) = about({"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{port}"})
            assert (found, "certificate verify failed" in what) == ("endpoint-tls", True)
        with web_server(200, {}) as port:
            ((found, what),) = about({"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{port}"})
            assert (found, "no TLS is spoken there" in what) == ("endpoint-tls", True)

    def test_an_endpoint_that_hangs_costs_its_time_out_once(self) -> None:
        with socket.create_server((HOST, 0)) as hole:
            ((found, _),) = about(to(hole.getsockname()[1], OTEL_EXPORTER_OTLP_TIMEOUT="1"))
        assert found == "endpoint-slow"

    def test_a_clock_that_is_off_is_told(self) -> None:
        with web_server(200, {"Date": formatdate(time.time() + 600, usegmt=True)}) as port:
            ((found, what),) = about(to(port))
        assert found == "clock-skew"
        assert "ahead of the one here" in what

    def test_a_package_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "grpc", None)
        ((found, what),) = about(to(free_port(), OTEL_EXPORTER_OTLP_PROTOCOL="grpc"))
        assert found == "package-missing"
        assert "grpc" in what


def test_every_argument_is_described(tmp_path: Path) -> None:
    arguments: Sequence[str] = ("--json", "--timeout", "CMD")
    text = doctor("--help", folder=tmp_path).stdout
    assert [word for word in arguments if word not in text] == []
