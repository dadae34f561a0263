"""`configure()` in processes of its own: neighbours, second calls, the disabled SDK, wrong variables."""

from __future__ import annotations

import json
import sys
import textwrap
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.otlp.receiver import Receiver
from support.processes import PYTHON, Process, free_port, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def script(
    folder: Path,
    receiver: Receiver | None,
    code: str,
    *,
    env: Mapping[str, str] | None = None,
    argv: list[str] | None = None,
) -> Process:
    """Run a program to its end; its exit code must be 0."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(code))
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url} if receiver else {}
    process = run([*(argv or []), PYTHON, path], folder=folder, env=endpoint | dict(env or {}))
    assert process.returncode == 0, process.tail()
    return process


def answer(process: Process) -> Any:
    """Return what the program printed last, as JSON."""
    return json.loads(process.stdout.splitlines()[-1])


def started(process: Process) -> dict[str, Any]:
    """Return the start-up event, which is exactly one line of stdout."""
    lines = [json.loads(line) for line in process.stdout.splitlines() if '"otelkit.started"' in line]
    assert len(lines) == 1
    event: dict[str, Any] = lines[0]
    return event


def test_a_plain_sdk_set_up_before_is_adopted(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import json
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        theirs = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
        provider.add_span_processor(SimpleSpanProcessor(theirs))
        trace.set_tracer_provider(provider)

        import otelkit
        telemetry = otelkit.configure(service_name="ours")
        trace.get_tracer("t").start_span("both").end()
        telemetry.meter_provider.get_meter("t").create_counter("c").add(1)
        telemetry.force_flush()
        print(json.dumps({
            "same": trace.get_tracer_provider() is provider,
            "theirs": [span.name for span in theirs.get_finished_spans()],
            "providers": telemetry.providers,
        }))
        """,
    )
    told = answer(process)
    assert told["same"]
    assert told["theirs"] == ["both"]
    assert told["providers"] == {"traces": "adopted", "metrics": "ours", "logs": "ours"}
    assert "unredacted" in started(process)["providers"]["traces"]  # what cannot be done there is said
    assert [(span.name, span.resource["service.name"]) for span in receiver.spans()] == [("both", "theirs")]
    assert {point.resource["service.name"] for point in receiver.points()} == {"theirs"}


def test_a_plain_sdk_set_up_after_changes_nothing_and_does_not_fail(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import otelkit
        otelkit.configure(service_name="ours")

        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer("t").start_span("still").end()
        """,
    )
    assert [span.resource["service.name"] for span in receiver.spans()] == ["ours"]
    assert process.stderr.count("\n") == 1  # upstream's own warning, said by us once
    assert "Overriding of current TracerProvider" in process.stderr


def test_what_cannot_apply_to_an_adopted_provider_is_named(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider, sampling
        trace.set_tracer_provider(TracerProvider())
        import otelkit
        otelkit.configure(sampler=sampling.ALWAYS_OFF, resource={"a": "b"})
        """,
    )
    assert "configure(sampler=...) has no effect" in process.stderr
    assert "configure(resource=...) has no effect" in process.stderr


@pytest.mark.parametrize("first", ["sentry", "otelkit"])
@pytest.mark.skipif(find_spec("sentry_sdk") is None, reason="sentry-sdk is not installed")
def test_sentry_s_otlp_integration_and_otelkit_share_one_provider(
    tmp_path: Path, receiver: Receiver, first: str
) -> None:
    sentry = f"""
        import sentry_sdk
        from sentry_sdk.integrations.otlp import OTLPIntegration
        sentry_sdk.init(dsn="http://key@{receiver.http_url.removeprefix("http://")}/1",
            integrations=[OTLPIntegration()], default_integrations=False, auto_enabling_integrations=False)
        """
    ours = """
        import otelkit
        telemetry = otelkit.configure(service_name="ours")
        """
    order = [sentry, ours] if first == "sentry" else [ours, sentry]
    last = """
        import json
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        trace.get_tracer("t").start_span("both").end()
        provider = trace.get_tracer_provider()
        print(json.dumps([type(p).__name__ for p in provider._active_span_processor._span_processors]))
        """
    process = script(tmp_path, receiver, "".join(textwrap.dedent(part) for part in [*order, last]))
    assert [span.name for span in receiver.spans()] == ["both"]
    assert len(answer(process)) >= 2


@pytest.mark.skipif(find_spec("ddtrace") is None, reason="ddtrace is not installed")
def test_ddtrace_s_provider_is_left_alone_and_said(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        from ddtrace.opentelemetry import TracerProvider
        from opentelemetry import trace
        trace.set_tracer_provider(TracerProvider())
        import otelkit
        telemetry = otelkit.configure(service_name="ours")
        otelkit.get_logger().info("hello")
        telemetry.force_flush()
        """,
        env={
            "DD_TRACE_OTEL_ENABLED": "true",
            "DD_TRACE_ENABLED": "false",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        },
    )
    assert started(process)["providers"]["traces"] == "foreign"
    assert receiver.spans() == []
    assert "hello" in [record.body for record in receiver.logs()]


def test_a_second_call_returns_the_first_result_and_names_what_differs(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import json, threading
        import otelkit
        first = otelkit.configure(service_name="one")
        threads = threading.active_count()
        again = [otelkit.configure(), otelkit.configure(service_name="one"), otelkit.configure(service_name="two")]
        print(json.dumps({"same": all(one is first for one in again), "threads": threading.active_count() - threads}))
        """,
    )
    assert answer(process)["same"]
    assert answer(process)["threads"] <= 0
    assert process.stderr.count("\n") == 1, process.stderr
    assert "service_name" in process.stderr


def test_the_first_explicit_call_is_merged_into_the_launcher_s(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import json
        import otelkit
        from opentelemetry import trace
        from opentelemetry.sdk.trace import sampling
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        seen = InMemorySpanExporter()
        telemetry = otelkit.configure(
            span_processors=[SimpleSpanProcessor(seen)],
            sampler=sampling.ALWAYS_OFF,
            integrations={"sqlalchemy": False},
        )
        trace.get_tracer("t").start_span("both").end()
        print(json.dumps({
            "seen": [span.name for span in seen.get_finished_spans()],
            "sqlalchemy": telemetry.verdict("sqlalchemy").choice,
        }))
        """,
        argv=[str(_bin("otelkit")), "run", "--"],
    )
    assert answer(process) == {"seen": ["both"], "sqlalchemy": "skipped"}
    assert process.stderr.count("\n") == 1, process.stderr
    assert "ignored here: sampler" in process.stderr
    assert [span.name for span in receiver.spans()] == ["both"]


@pytest.mark.parametrize("launcher", ["", "opentelemetry-instrument"])
def test_rules_of_the_application_hold_from_its_first_call_on(
    tmp_path: Path, receiver: Receiver, launcher: str
) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import json
        import otelkit
        from opentelemetry import metrics, trace

        NOTE = "order CASE-1234-5678"
        calls = metrics.get_meter("t").create_counter("calls")

        def work(name):
            trace.get_tracer("t").start_span(name, attributes={"note": NOTE, "password": "x"}).end()
            calls.add(1, {"note": NOTE})

        work("before")  # under the launcher these values pass, and are found clean
        rule = otelkit.Rule(name="case", about="cases", pattern="CASE-[0-9-]{9}")
        telemetry = otelkit.configure(redaction=otelkit.Redaction(extra=[rule]))
        for _ in range(3):
            work("after")
            otelkit.get_logger().info("told", note=NOTE, password="x")
        telemetry.force_flush()
        print(json.dumps({name: dict(stats.redacted) for name, stats in telemetry.stats().items()}))
        """,
        argv=[str(_bin(launcher))] if launcher else [],
    )
    counts = answer(process)
    assert counts["traces"] == {"case": 3, "password": 4 if launcher else 3}
    assert counts["logs"] == {"case": 3, "password": 3}
    assert counts["metrics"]["case"] >= 1
    notes = [span.attributes["note"] for span in receiver.spans() if span.name == "after"]
    assert notes == ["order [redacted:case]"] * 3
    assert {point.attributes["note"] for point in receiver.points() if point.metric == "calls"} == set(notes)
    assert "CASE" not in process.stdout


def _bin(name: str) -> Path:
    from pathlib import Path

    return Path(sys.executable).parent / name


def test_a_disabled_sdk_costs_nothing_and_logs_go_on_in_json(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import sys, threading
        import otelkit
        telemetry = otelkit.configure(service_name="quiet")
        loaded = [name for name in ("opentelemetry.sdk.trace", "requests", "google.protobuf") if name in sys.modules]
        threads = threading.active_count()
        otelkit.get_logger().info("hello", loaded=loaded, threads=threads, providers=telemetry.providers)
        assert telemetry.force_flush() and telemetry.shutdown()
        """,
        env={"OTEL_SDK_DISABLED": "true"},
    )
    event = answer(process)
    assert (event["event"], event["service"], event["loaded"], event["threads"]) == ("hello", "quiet", [], 1)
    assert set(event["providers"].values()) == {"disabled"}
    assert receiver.requests == {}
    assert process.stderr == ""


def test_a_wrong_variable_costs_its_signal_only(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import otelkit
        from opentelemetry import trace
        telemetry = otelkit.configure()
        with trace.get_tracer("t").start_as_current_span("lost"):
            otelkit.get_logger().info("hello")
        telemetry.meter_provider.get_meter("t").create_counter("c").add(1)
        """,
        env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "garbage"},
    )
    assert process.stderr.count("\n") == 1
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in process.stderr
    assert receiver.spans() == []
    assert "c" in {point.metric for point in receiver.points()}
    assert "hello" in {record.body for record in receiver.logs()}


def test_a_logger_may_speak_before_a_wrong_propagator_was_put_right(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        """
        import otelkit
        otelkit.get_logger().info("early")
        otelkit.configure()
        otelkit.get_logger().info("late")
        """,
        env={"OTEL_PROPAGATORS": "foo"},
    )
    assert [json.loads(line)["event"] for line in process.stdout.splitlines()] == ["early", "otelkit.started", "late"]
    assert "OTEL_PROPAGATORS" in process.stderr
    assert {record.body for record in receiver.logs()} == {"otelkit.started", "late"}


def test_a_wrong_resource_attribute_is_named_once_and_never_shown(tmp_path: Path, receiver: Receiver) -> None:
    process = script(
        tmp_path,
        receiver,
        "import otelkit; otelkit.configure()",
        env={"OTEL_RESOURCE_ATTRIBUTES": "s3cret-without-a-key,service.name=shop"},
    )
    assert process.stderr.count("\n") == 1, process.stderr
    assert process.stderr.startswith("otelkit: OTEL_RESOURCE_ATTRIBUTES")
    assert "s3cret" not in process.stderr
    assert {point.resource["service.name"] for point in receiver.points()} == {"shop"}


def test_wrong_arguments_are_named_all_at_once(tmp_path: Path) -> None:
    process = script(
        tmp_path,
        None,
        """
        import json, otelkit
        problems = []
        for wrong in (lambda: otelkit.configure(integrations={"fastapy": False}),
                      lambda: otelkit.configure(otelkit.Settings(endpoint="garbage", sampler="foo"))):
            try:
                wrong()
            except otelkit.SettingsError as error:
                problems.append(error.problems)
        print(json.dumps(problems))
        """,
    )
    unknown, two = answer(process)
    assert "fastapy" in unknown[0]
    assert len(two) == 2


@pytest.mark.parametrize("kind", ["refused", "unresolvable", "not found"])
def test_a_wrong_endpoint_is_named_within_five_seconds(tmp_path: Path, receiver: Receiver, kind: str) -> None:
    endpoint = {
        "refused": f"http://127.0.0.1:{free_port()}",
        "unresolvable": "http://no-such-host.invalid:4318",
        "not found": f"{receiver.http_url}/elsewhere",
    }[kind]
    path = tmp_path / "program.py"
    path.write_text("import otelkit, time\notelkit.configure()\ntime.sleep(30)\n")
    with Process([PYTHON, path], folder=tmp_path, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as process:
        process.wait_output("otelkit.started", within=10)
        process.wait_output(endpoint, within=5)
        process.wait_output("Said once", within=5)


def test_the_resource_says_who_where_and_what(tmp_path: Path, receiver: Receiver) -> None:
    script(
        tmp_path,
        receiver,
        "import otelkit; otelkit.configure(resource={'team': 'blue'})",
        env={
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2,deployment.environment.name=test,"
            "service.namespace=ns,host.name=box",
        },
    )
    resource = receiver.logs()[0].resource
    expected = {
        "service.name": "shop",
        "service.version": "1.2",
        "service.namespace": "ns",
        "deployment.environment.name": "test",
        "host.name": "box",
        "team": "blue",
        "telemetry.distro.name": "otelkit",
        "process.runtime.name": sys.implementation.name,
    }
    assert {key: resource.get(key) for key in expected} == expected
    assert resource["service.instance.id"]
    assert isinstance(resource["process.pid"], int)


def test_the_start_up_event_says_where_to_and_what_was_done(tmp_path: Path, receiver: Receiver) -> None:
    process = script(tmp_path, receiver, "import otelkit; otelkit.configure(service_name='shop')")
    event = started(process)
    assert event["service"] == "shop"
    assert event["endpoints"]["traces"] == f"{receiver.http_url}/v1/traces"
    assert event["verdicts"]["fastapi"] in {"native", "contrib", "ours"}
    assert event["verdicts"]["sqlalchemy"] == "ours"
    series = {
        point.attributes["otelkit.integration"]: point.value
        for point in receiver.points()
        if point.metric == "otelkit.integration.status"
    }
    assert series["sqlalchemy"] == 1
