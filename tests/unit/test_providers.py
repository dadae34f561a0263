"""What the SDK is built with: every value explicit, whatever the environment says."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from otelkit import _providers
from otelkit.settings import Settings


def settings(**variables: str) -> Settings:
    return Settings(environ=variables)


def test_the_resource_names_service_host_process_and_distro() -> None:
    attributes = _providers.resource(settings(OTEL_SERVICE_NAME="shop")).attributes
    assert attributes["service.name"] == "shop"
    assert attributes["telemetry.distro.name"] == "otelkit"
    for key in ("service.instance.id", "host.name", "os.type", "process.pid", "process.runtime.version"):
        assert attributes[key], key


def test_the_command_line_stays_out_of_the_resource() -> None:
    assert not [key for key in _providers.resource(settings()).attributes if "command" in key]


def test_an_unnamed_service_is_named_by_its_executable() -> None:
    assert str(_providers.resource(settings()).attributes["service.name"]).startswith("unknown_service:python")


def test_configured_attributes_win_over_detected_ones_and_code_over_both() -> None:
    found = _providers.resource(settings(OTEL_RESOURCE_ATTRIBUTES="host.name=box,team=red"), {"team": "blue"})
    assert (found.attributes["host.name"], found.attributes["team"]) == ("box", "blue")


def test_two_resources_have_two_instance_ids() -> None:
    first, second = (_providers.resource(settings()).attributes["service.instance.id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("0::/docker/" + "a" * 64, "/proc/self/cgroup"),
        ("0::/system.slice/docker-" + "a" * 64 + ".scope", "/proc/self/cgroup"),
        ("5:cpu:/kubepods/burstable/pod1/" + "a" * 64, "/proc/self/cgroup"),
        (
            "1 2 8:1 /var/lib/docker/containers/" + "a" * 64 + "/hostname /etc/hostname rw - ext4 /dev/sda rw",
            "/proc/self/mountinfo",
        ),
    ],
)
def test_the_container_id_is_found(monkeypatch: pytest.MonkeyPatch, line: str, path: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **_: line if str(self) == path else "0::/")
    assert _providers.resource(settings()).attributes["container.id"] == "a" * 64


def test_ids_of_image_layers_are_no_container_id(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = f"1 2 0:1 / / rw - overlay overlay lowerdir=/var/lib/docker/overlay2/{'b' * 64}/diff"
    monkeypatch.setattr(Path, "read_text", lambda _, **__: layer)
    assert "container.id" not in _providers.resource(settings()).attributes


def test_a_pod_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "payments\n" if "serviceaccount" in str(self) else "")
    monkeypatch.setattr(socket, "gethostname", lambda: "shop-7d9f-x2x")
    attributes = _providers.resource(settings()).attributes
    assert (attributes["k8s.namespace.name"], attributes["k8s.pod.name"]) == ("payments", "shop-7d9f-x2x")


def test_a_detector_that_fails_costs_its_own_attributes_only(capfd: pytest.CaptureFixture[str]) -> None:
    assert "process.pid" in _providers.detected(["no-such-detector", "process"])
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "no-such-detector" in said


def test_a_slow_detector_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    release = threading.Event()
    monkeypatch.setattr(_providers, "_entry_point", lambda *_: release.wait)
    monkeypatch.setattr(_providers, "_DETECTION_TIME", 0.1)
    assert _providers.detected(["cloud"]) == {}
    assert "cloud" in capfd.readouterr().err
    release.set()


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("always_on", "AlwaysOnSampler"),
        ("always_off", "AlwaysOffSampler"),
        ("parentbased_always_on", "ParentBased{root:AlwaysOnSampler}"),
        ("parentbased_always_off", "ParentBased{root:AlwaysOffSampler}"),
    ],
)
def test_the_sampler_is_the_one_that_is_named(name: str, described: str) -> None:
    assert _providers.sampler(settings(OTEL_TRACES_SAMPLER=name)).get_description() == described


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
def test_ratio_samplers_take_their_argument(name: str) -> None:
    found = _providers.sampler(settings(OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG="0.25"))
    assert "0.25" in found.get_description()


def test_limits_reach_the_spans() -> None:
    provider = _providers.tracer_provider(
        settings(
            OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="3", OTEL_SPAN_EVENT_COUNT_LIMIT="1"
        ),
        _providers.resource(settings()),
        None,
        [],
    )
    span: Any = provider.get_tracer("t").start_span("s", attributes={"a": "abcdef", "b": "x", "c": "y"})
    span.add_event("one")
    span.add_event("two")
    assert dict(span.attributes) == {"b": "x", "c": "y"}
    assert [event.name for event in span.events] == ["two"]


def test_the_sdk_s_own_reading_of_a_bad_variable_is_bypassed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_METRICS_EXEMPLAR_FILTER", "OTEL_TRACES_SAMPLER"):
        monkeypatch.setenv(name, "garbage")
    found = Settings()
    described = _providers.resource(found)
    made = _providers.tracer_provider(found, described, None, [])
    assert made.sampler.get_description() == "ParentBased{root:AlwaysOnSampler}"
    _providers.meter_provider(found, described, [], [])
    _providers.logger_provider(found, described, [])
