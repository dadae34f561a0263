"""The only place that tests what `Settings` makes of arguments and variables, right and wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from otelkit.errors import SettingsError
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OTLP = "OTEL_EXPORTER_OTLP"


def from_variables(**variables: str) -> Settings:
    return Settings(environ=variables)


def value_of(settings: Settings, field: str) -> Any:
    head, _, tail = field.partition(".")
    return getattr(getattr(settings, head), tail) if tail else getattr(settings, head)


class TestPrecedence:
    """Argument > variable > default."""

    def test_argument_wins_over_variable_wins_over_default(self) -> None:
        assert Settings(environ={}).span_delay == 5.0
        assert from_variables(OTEL_BSP_SCHEDULE_DELAY="700").span_delay == 0.7
        assert Settings(span_delay=0.3, environ={"OTEL_BSP_SCHEDULE_DELAY": "700"}).span_delay == 0.3

    def test_origin_of_each(self) -> None:
        settings = Settings(span_delay=0.3, environ={"OTEL_BLRP_SCHEDULE_DELAY": "5", "OTEL_SERVICE_NAME": "shop"})
        assert settings.origin("span_delay") == "argument"
        assert settings.origin("log_delay") == "OTEL_BLRP_SCHEDULE_DELAY"
        assert settings.origin("metric_interval") == "default"
        assert settings.origin("service_name") == "OTEL_SERVICE_NAME"
        with pytest.raises(KeyError):
            settings.origin("nonsense")

    def test_each_attribute_has_an_origin(self) -> None:
        settings = Settings(environ={})
        for field in settings.differences(Settings(environ={})) or []:
            pytest.fail(f"{field} differs from itself")
        changed = from_variables(
            OTEL_EXPORTER_OTLP_ENDPOINT="http://c:1", OTEL_LOGS_EXPORTER="console", OTEL_SERVICE_NAME="x"
        )
        assert {changed.origin(field) for field in settings.differences(changed)} == {
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_LOGS_EXPORTER",
            "OTEL_SERVICE_NAME",
            "default",  # of resource_attributes, which the name is a part of
        }

    def test_a_signals_own_variable_wins_over_the_general_one(self) -> None:
        settings = from_variables(OTEL_EXPORTER_OTLP_TIMEOUT="7", OTEL_EXPORTER_OTLP_LOGS_TIMEOUT="3")
        assert (settings.traces.timeout, settings.metrics.timeout, settings.logs.timeout) == (7, 7, 3)
        assert settings.origin("traces.timeout") == "OTEL_EXPORTER_OTLP_TIMEOUT"
        assert settings.origin("logs.timeout") == "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"

    def test_a_wrong_own_variable_falls_back_to_the_general_one(self) -> None:
        settings = from_variables(OTEL_EXPORTER_OTLP_TIMEOUT="7", OTEL_EXPORTER_OTLP_LOGS_TIMEOUT="soon")
        assert settings.logs.timeout == 7
        assert settings.problems == (
            'OTEL_EXPORTER_OTLP_LOGS_TIMEOUT: "soon" is not a number of milliseconds; 7 s is used.',
        )

    def test_an_argument_wins_over_a_signals_own_variable(self) -> None:
        settings = Settings(endpoint="http://code:4318", environ={f"{OTLP}_TRACES_ENDPOINT": "http://env:4318/x"})
        assert settings.traces.endpoint == "http://code:4318/v1/traces"

    def test_a_variable_that_an_argument_overrules_is_nobodys_problem(self) -> None:
        assert Settings(span_delay=1, environ={"OTEL_BSP_SCHEDULE_DELAY": "abc"}).problems == ()

    def test_empty_and_blank_are_unset(self) -> None:
        blank = from_variables(OTEL_SERVICE_NAME="", OTEL_BSP_SCHEDULE_DELAY="  ", OTEL_LOGS_EXPORTER="")
        assert blank == Settings(environ={})
        assert blank.problems == ()

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "from-the-process")
        assert Settings().service_name == "from-the-process"
        monkeypatch.undo()


class TestValueObject:
    """Frozen, equal by value."""

    def test_equal_and_hashable_by_value_whatever_the_origin(self) -> None:
        one = Settings(span_delay=0.7, headers={"api-key": "x"}, environ={})
        two = from_variables(OTEL_BSP_SCHEDULE_DELAY="700", OTEL_EXPORTER_OTLP_HEADERS="api-key=x")
        assert one == two
        assert hash(one) == hash(two)
        assert one.differences(two) == []

    def test_differences_name_the_fields(self) -> None:
        one = Settings(service_name="a", headers={"k": "1"}, environ={})
        two = Settings(service_name="b", headers={"k": "2"}, log_delay=1, environ={})
        assert one.differences(two) == [
            "service_name",
            "resource_attributes",
            "traces.headers",
            "metrics.headers",
            "logs.headers",
            "log_delay",
        ]

    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Settings(environ={}).service_name = "x"  # type: ignore[misc]  # what is tested

    def test_an_argument_that_is_no_attribute_does_not_pass_for_one(self) -> None:
        assert not hasattr(Settings(endpoint="http://c:4318", environ={}), "endpoint")

    def test_nothing_is_mutable(self) -> None:
        settings = Settings(resource_attributes={"team": "a"}, headers={"k": "v"}, excluded_urls=["x"], environ={})  # type: ignore[arg-type]  # a list works too
        assert settings.excluded_urls == ("x",)
        with pytest.raises(TypeError):
            settings.resource_attributes["team"] = "b"  # type: ignore[index]  # what is tested
        with pytest.raises(TypeError):
            settings.traces.headers["k"] = "w"  # type: ignore[index]  # what is tested


class TestEndpoint:
    """Where OTLP goes."""

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, "http://localhost:4318/v1/traces"),
            ({f"{OTLP}_ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
            ({f"{OTLP}_ENDPOINT": "http://collector:4318/mine/"}, "http://collector:4318/mine/v1/traces"),
            ({f"{OTLP}_ENDPOINT": "HTTPS://collector"}, "https://collector/v1/traces"),
            ({f"{OTLP}_ENDPOINT": "https://c/base?tenant=7"}, "https://c/base/v1/traces?tenant=7"),
            ({f"{OTLP}_TRACES_ENDPOINT": "http://collector:4318/v1/traces/"}, "http://collector:4318/v1/traces/"),
            ({f"{OTLP}_TRACES_ENDPOINT": "http://collector:4318"}, "http://collector:4318/"),
            ({f"{OTLP}_ENDPOINT": "http://[::1]:4318"}, "http://[::1]:4318/v1/traces"),
        ],
    )
    def test_http(self, variables: Mapping[str, str], expected: str) -> None:
        settings = Settings(environ=variables)
        assert settings.traces.endpoint == expected
        assert settings.traces.insecure is None
        assert settings.problems == ()

    @pytest.mark.parametrize(
        ("endpoint", "insecure", "expected"),
        [
            (None, None, ("http://localhost:4317", True)),
            ("http://collector:4317", None, ("http://collector:4317", True)),
            ("http://collector:4317", "false", ("http://collector:4317", True)),
            ("https://collector:4317", "true", ("https://collector:4317", False)),
            ("https://collector:4317/ignored", None, ("https://collector:4317", False)),
            ("collector:4317", None, ("https://collector:4317", False)),
            ("collector:4317", "true", ("http://collector:4317", True)),
            ("[::1]:4317", "true", ("http://[::1]:4317", True)),
            ("unix:///run/collector.sock", "true", ("unix:///run/collector.sock", True)),
            ("dns:///collector:4317", None, ("dns:///collector:4317", False)),
        ],
    )
    def test_grpc_scheme_decides_before_insecure(
        self, endpoint: str | None, insecure: str | None, expected: tuple[str, bool]
    ) -> None:
        given = {f"{OTLP}_PROTOCOL": "grpc", f"{OTLP}_ENDPOINT": endpoint, f"{OTLP}_INSECURE": insecure}
        settings = Settings(environ={name: value for name, value in given.items() if value})
        assert (settings.logs.endpoint, settings.logs.insecure) == expected
        assert settings.problems == ()

    def test_user_and_password_become_a_header(self) -> None:
        signal = from_variables(OTEL_EXPORTER_OTLP_ENDPOINT="https://me:p%40ss@collector/x").traces
        assert signal.endpoint == "https://collector/x/v1/traces"
        assert signal.headers == {"authorization": "Basic bWU6cEBzcw=="}  # me:p@ss

    def test_an_authorization_header_wins_over_user_and_password(self) -> None:
        settings = Settings(endpoint="https://me:pass@collector", headers={"Authorization": "Bearer token"}, environ={})
        assert settings.traces.headers == {"authorization": "Bearer token"}

    def test_shown_endpoint_has_no_query(self) -> None:
        signal = from_variables(OTEL_EXPORTER_OTLP_ENDPOINT="https://collector?key=abc").traces
        assert signal.endpoint == "https://collector/v1/traces?key=abc"
        assert signal.shown_endpoint == "https://collector/v1/traces"

    @pytest.mark.parametrize(
        ("protocol", "endpoint", "line"),
        [
            (
                "http/protobuf",
                "http://collector:4317",
                (
                    "OTEL_EXPORTER_OTLP_ENDPOINT: port 4317 is for grpc, but the protocol is http/protobuf; "
                    "use port 4318, or set OTEL_EXPORTER_OTLP_PROTOCOL to grpc."
                ),
            ),
            (
                "grpc",
                "http://collector:4318",
                (
                    "OTEL_EXPORTER_OTLP_ENDPOINT: port 4318 is for http/protobuf, but the protocol is grpc; "
                    "use port 4317, or set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf."
                ),
            ),
        ],
    )
    def test_a_port_of_the_other_protocol_is_said_once(self, protocol: str, endpoint: str, line: str) -> None:
        settings = from_variables(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        assert settings.problems == (line,)
        assert settings.traces.exporters == ("otlp",)


class TestExporters:
    """Which exporters a signal has."""

    def test_logs_know_whether_anybody_asked(self) -> None:
        assert Settings(environ={}).logs_exporter_requested is None
        assert from_variables(OTEL_LOGS_EXPORTER="otlp,console").logs_exporter_requested == ("otlp", "console")
        assert Settings(logs_exporter="none", environ={}).logs_exporter_requested == ("none",)
        assert from_variables(OTEL_LOGS_EXPORTER="foo").logs_exporter_requested is None

    def test_logs_stay_on_stdout_when_the_only_exporter_is_broken(self) -> None:
        settings = from_variables(OTEL_LOGS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT="garbage")
        assert settings.logs_exporter_requested == ("none",)

    @pytest.mark.parametrize(("name", "protocol"), [("otlp_proto_http", "http/protobuf"), ("otlp_proto_grpc", "grpc")])
    def test_names_of_the_python_sdk_imply_a_protocol(self, name: str, protocol: str) -> None:
        settings = from_variables(OTEL_TRACES_EXPORTER=name)
        assert (settings.traces.exporters, settings.traces.protocol) == (("otlp",), protocol)
        assert settings.problems == ()
        overruled = from_variables(OTEL_TRACES_EXPORTER=name, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")
        assert overruled.traces.protocol == "http/protobuf"

    def test_a_part_of_a_list_can_be_wrong(self) -> None:
        settings = from_variables(OTEL_TRACES_EXPORTER="otlp,foo")
        assert settings.traces.exporters == ("otlp",)
        assert settings.problems == ('OTEL_TRACES_EXPORTER: "foo" is not otlp, console or none; otlp is used.',)

    def test_none_must_stand_alone(self) -> None:
        settings = from_variables(OTEL_METRICS_EXPORTER="none,otlp")
        assert settings.metrics.exporters == ("otlp",)
        assert settings.problems == ('OTEL_METRICS_EXPORTER: "none" must stand alone; otlp is used.',)

    def test_what_is_not_sent_needs_no_right_endpoint(self) -> None:
        settings = from_variables(
            OTEL_EXPORTER_OTLP_ENDPOINT="garbage",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="console",
            OTEL_LOGS_EXPORTER="console",
        )
        assert settings.problems == ()
        assert [settings.traces.degraded, settings.metrics.exporters] == [None, ("console",)]


class TestResource:
    """Attributes of everything that is sent."""

    def test_variables_are_percent_decoded(self) -> None:
        settings = from_variables(OTEL_RESOURCE_ATTRIBUTES="team=a%2Cb, service.version = 1%3D2 ,name=gr%C3%BCn")
        assert settings.resource_attributes == {"team": "a,b", "service.version": "1=2", "name": "grün"}
        assert settings.service_version == "1=2"
        assert settings.origin("service_version") == "OTEL_RESOURCE_ATTRIBUTES"

    def test_service_name_variable_wins_over_attributes_variable(self) -> None:
        settings = from_variables(OTEL_SERVICE_NAME="one", OTEL_RESOURCE_ATTRIBUTES="service.name=two")
        assert settings.service_name == "one"
        assert settings.resource_attributes == {"service.name": "one"}

    def test_arguments_are_merged_over_the_variable(self) -> None:
        settings = Settings(
            environment="prod",
            resource_attributes={"team": "mine", "service.name": "coded"},
            environ={"OTEL_RESOURCE_ATTRIBUTES": "team=theirs,zone=7", "OTEL_SERVICE_NAME": "env"},
        )
        assert settings.resource_attributes == {
            "team": "mine",
            "zone": "7",
            "service.name": "coded",
            "deployment.environment.name": "prod",
        }
        assert settings.origin("service_name") == "argument"

    def test_the_old_name_of_the_environment_is_understood(self) -> None:
        settings = from_variables(OTEL_RESOURCE_ATTRIBUTES="deployment.environment=prod")
        assert settings.environment == "prod"
        assert settings.resource_attributes["deployment.environment.name"] == "prod"

    def test_a_wrong_pair_costs_only_itself(self) -> None:
        settings = from_variables(OTEL_RESOURCE_ATTRIBUTES="service.name=shop,garbage,=x,k=%ff")
        assert settings.resource_attributes == {"service.name": "shop"}
        assert settings.problems == (
            (
                "OTEL_RESOURCE_ATTRIBUTES: pair 2 has no key=value, pair 3 has no key=value, "
                "pair 4 is not UTF-8 when decoded; service.name is used."
            ),
        )

    def test_bytes_that_are_not_utf8_are_replaced(self) -> None:
        name = b"caf\xe9".decode(errors="surrogateescape")
        assert from_variables(OTEL_SERVICE_NAME=name).service_name == "caf\ufffd"
        attributes = from_variables(OTEL_RESOURCE_ATTRIBUTES=f"place={name}").resource_attributes
        assert attributes == {"place": "caf\ufffd"}


class TestSampling:
    """Which traces are kept."""

    def test_a_share_belongs_to_a_ratio_sampler(self) -> None:
        settings = from_variables(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25")
        assert (settings.sampler, settings.sampler_arg) == ("traceidratio", 0.25)
        assert from_variables(OTEL_TRACES_SAMPLER="traceidratio").sampler_arg == 1.0

    def test_a_share_without_its_sampler_is_named(self) -> None:
        settings = from_variables(OTEL_TRACES_SAMPLER_ARG="0.1")
        assert settings.sampler_arg is None
        assert settings.problems == (
            "OTEL_TRACES_SAMPLER_ARG: means nothing to the sampler parentbased_always_on; it is not used.",
        )
        with pytest.raises(SettingsError, match=r"^sampler_arg means nothing to the sampler parentbased_always_on$"):
            Settings(sampler_arg=0.1, environ={})

    def test_an_operator_may_overrule_the_sampler_of_a_coded_share(self) -> None:
        settings = Settings(sampler_arg=0.1, environ={"OTEL_TRACES_SAMPLER": "always_on"})
        assert (settings.sampler, settings.sampler_arg, settings.problems) == ("always_on", None, ())

    def test_a_typo_never_means_everything_in_silence(self) -> None:
        settings = from_variables(OTEL_TRACES_SAMPLER="parentbased_traceidratoi", OTEL_TRACES_SAMPLER_ARG="0.01")
        assert settings.sampler == "parentbased_always_on"
        (line,) = settings.problems
        assert line.startswith('OTEL_TRACES_SAMPLER: "parentbased_traceidratoi" is not always_on, ')
        assert line.endswith("; parentbased_always_on is used: every new trace is kept.")


class TestNumbers:
    """Times, sizes and limits."""

    @pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("10000", 10), ("999", 999), ("1000", 1), ("0.5", 0.5)])
    def test_export_timeout_takes_both_units(self, text: str, seconds: float) -> None:
        variables = {
            f"{OTLP}_TIMEOUT": text,
            "OTEL_BSP_EXPORT_TIMEOUT": "0",
        }
        assert Settings(environ=variables).traces.timeout == seconds

    def test_a_timeout_of_zero_is_no_limit(self) -> None:
        settings = from_variables(OTEL_METRIC_EXPORT_TIMEOUT="0")
        assert settings.metric_timeout > 1_000_000

    def test_the_processors_timeout_bounds_the_exporters(self) -> None:
        settings = from_variables(OTEL_BSP_EXPORT_TIMEOUT="2000", OTEL_BLRP_EXPORT_TIMEOUT="20000")
        assert (settings.traces.timeout, settings.metrics.timeout, settings.logs.timeout) == (2, 10, 10)

    def test_a_default_batch_shrinks_with_its_queue(self) -> None:
        settings = from_variables(OTEL_BSP_MAX_QUEUE_SIZE="100")
        assert (settings.span_queue_size, settings.span_batch_size) == (100, 100)
        assert settings.problems == ()

    def test_limits_fall_back_to_the_general_ones(self) -> None:
        settings = from_variables(
            OTEL_ATTRIBUTE_COUNT_LIMIT="7", OTEL_LINK_ATTRIBUTE_COUNT_LIMIT="3", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="99"
        )
        assert settings.span_attribute_count_limit == settings.log_attribute_count_limit == 7
        assert settings.link_attribute_count_limit == 3
        assert settings.span_attribute_length_limit == settings.log_attribute_length_limit == 99
        assert settings.span_event_count_limit == 128


class TestInstrumentation:
    """What integrations are told."""

    def test_stable_names_are_always_opted_into(self) -> None:
        assert Settings(environ={}).semconv_opt_in == ("http", "database")
        chosen = from_variables(OTEL_SEMCONV_STABILITY_OPT_IN="gen_ai_latest_experimental,http/dup")
        assert chosen.semconv_opt_in == ("gen_ai_latest_experimental", "http/dup", "database")

    def test_excluded_urls_for_fastapi(self) -> None:
        general = from_variables(OTEL_PYTHON_EXCLUDED_URLS="health,ready")
        assert general.excluded_urls == general.fastapi_excluded_urls == ("health", "ready")
        own = from_variables(OTEL_PYTHON_EXCLUDED_URLS="health", OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="probe$")
        assert (own.excluded_urls, own.fastapi_excluded_urls) == (("health",), ("probe$",))
        assert Settings(
            excluded_urls=("a",), environ={"OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "b"}
        ).fastapi_excluded_urls == ("a",)

    def test_levels(self) -> None:
        settings = from_variables(OTELKIT_LOG_LEVEL="Warning", OTEL_LOG_LEVEL="error")
        assert (settings.log_level, settings.diagnostics_level) == (logging.WARNING, logging.ERROR)


WRONG_VARIABLES = [
    # Variables that people get wrong (S-03): variables, the field, what applies, the line
    (
        {f"{OTLP}_ENDPOINT": "garbage"},
        "traces.exporters",
        ("none",),
        '"garbage" does not begin with http:// or https://',
    ),
    ({f"{OTLP}_ENDPOINT": "collector:4318"}, "logs.exporters", ("none",), "does not begin with http:// or https://"),
    (
        {f"{OTLP}_ENDPOINT": "ftp://c"},
        "traces.exporters",
        ("none",),
        '"ftp://c" does not begin with http:// or https://',
    ),
    ({f"{OTLP}_ENDPOINT": "http://"}, "metrics.exporters", ("none",), '"http://" names no host'),
    (
        {f"{OTLP}_ENDPOINT": "http://http://c:4318"},
        "metrics.exporters",
        ("none",),
        "has a second // right behind the host",
    ),
    ({f"{OTLP}_ENDPOINT": "http://[::1"}, "metrics.exporters", ("none",), '"http://[::1" is not a URL'),
    (
        {f"{OTLP}_ENDPOINT": "http://h:notaport"},
        "logs.exporters",
        ("none",),
        "port that is not a number from 1 to 65535",
    ),
    ({f"{OTLP}_ENDPOINT": "http://h:70000"}, "logs.exporters", ("none",), "port that is not a number from 1 to 65535"),
    ({f"{OTLP}_ENDPOINT": "http://h:0"}, "logs.exporters", ("none",), "port that is not a number from 1 to 65535"),
    ({f"{OTLP}_ENDPOINT": "http://a b"}, "logs.exporters", ("none",), "has a space or control character inside"),
    ({f"{OTLP}_TRACES_ENDPOINT": "garbage"}, "logs.exporters", ("otlp",), "; traces are not exported."),
    (
        {f"{OTLP}_PROTOCOL": "foo"},
        "traces.protocol",
        "http/protobuf",
        '"foo" is not http/protobuf or grpc; http/protobuf is',
    ),
    ({f"{OTLP}_PROTOCOL": "http/json"}, "traces.protocol", "http/protobuf", '"http/json" is not http/protobuf or grpc'),
    (
        {f"{OTLP}_LOGS_COMPRESSION": "foo"},
        "logs.compression",
        "none",
        '"foo" is not none, gzip or deflate; none is used.',
    ),
    ({f"{OTLP}_TIMEOUT": "abc"}, "traces.timeout", 10, '"abc" is not a number of milliseconds; 10 s is used.'),
    ({f"{OTLP}_TIMEOUT": "-1"}, "traces.timeout", 10, "must not be negative; 10 s is used."),
    ({f"{OTLP}_TIMEOUT": "nan"}, "traces.timeout", 10, '"nan" is not a number'),
    ({f"{OTLP}_HEADERS": "garbage"}, "traces.headers", {}, "pair 1 has no key=value; no header is used."),
    (
        {f"{OTLP}_HEADERS": "X-Gr\xfcn=1,ok=2"},
        "traces.headers",
        {"ok": "2"},
        "pair 1 has a name that no header can have",
    ),
    ({f"{OTLP}_HEADERS": "API-Key=gr\xfcn"}, "traces.headers", {}, "pair 1 has a value outside printable ASCII"),
    ({f"{OTLP}_HEADERS": "api-key=a%0d%0aevil: b"}, "traces.headers", {}, "pair 1 has a value outside printable ASCII"),
    ({f"{OTLP}_HEADERS": "c2VjcmV0=="}, "traces.headers", {}, "pair 1 has no value"),
    ({f"{OTLP}_INSECURE": "maybe"}, "traces.insecure", None, '"maybe" is neither true nor false; false is used.'),
    ({"OTEL_TRACES_SAMPLER": "foo"}, "sampler", "parentbased_always_on", "is used: every new trace is kept."),
    ({"OTEL_TRACES_SAMPLER": "xray"}, "sampler", "parentbased_always_on", "is used: every new trace is kept."),
    (
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"},
        "sampler_arg",
        1.0,
        '"7" is not a share from 0 to 1; 1 is used: every new trace is kept.',
    ),
    (
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "abc"},
        "sampler_arg",
        1.0,
        '"abc" is not a share from 0 to 1; 1 is used: every new trace is kept.',
    ),
    (
        {"OTEL_TRACES_EXPORTER": "foo"},
        "traces.exporters",
        ("otlp",),
        '"foo" is not otlp, console or none; otlp is used.',
    ),
    ({"OTEL_TRACES_EXPORTER": "zipkin"}, "traces.exporters", ("otlp",), '"zipkin" is not otlp, console or none'),
    (
        {"OTEL_METRICS_EXPORTER": ","},
        "metrics.exporters",
        ("otlp",),
        "the list is not otlp, console, prometheus or none",
    ),
    ({"OTEL_PROPAGATORS": "foo"}, "propagators", ("tracecontext", "baggage"), "tracecontext, baggage is used."),
    ({"OTEL_PYTHON_ID_GENERATOR": "foo"}, "id_generator", "random", '"foo" is not random; random is used.'),
    (
        {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
        "span_queue_size",
        16384,
        '"-1" is not a whole number from 1 to 2147483647; 16384',
    ),
    (
        {"OTEL_BSP_MAX_QUEUE_SIZE": "9" * 99},
        "span_queue_size",
        16384,
        "the value (not shown) is not a whole number from 1",
    ),
    (
        {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512"},
        "span_batch_size",
        100,
        '"512" is more than the 100 that may wait; 100 is used.',
    ),
    ({"OTEL_BSP_SCHEDULE_DELAY": "abc"}, "span_delay", 5, '"abc" is not a number of milliseconds; 5 s is used.'),
    ({"OTEL_BLRP_SCHEDULE_DELAY": "0"}, "log_delay", 0.2, "must be more than 0; 0.2 s is used."),
    ({"OTEL_METRIC_EXPORT_INTERVAL": "0"}, "metric_interval", 15, "must be more than 0; 15 s is used."),
    ({"OTEL_METRIC_EXPORT_INTERVAL": "1_000"}, "metric_interval", 15, '"1_000" is not a number of milliseconds'),
    ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "abc"}, "span_attribute_length_limit", None, "no limit is used."),
    ({"OTEL_SPAN_EVENT_COUNT_LIMIT": "1.5"}, "span_event_count_limit", 128, '"1.5" is not a whole number'),
    (
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "99999"},
        "prometheus_port",
        9464,
        '"99999" is not a whole number from 1 to 65535',
    ),
    ({"OTEL_LOG_LEVEL": "loud"}, "diagnostics_level", logging.INFO, "; info is used."),
    ({"OTELKIT_LOG_LEVEL": "loud"}, "log_level", logging.INFO, "; info is used."),
    ({"OTELKIT_LOG_FORMAT": "xml"}, "log_format", "auto", '"xml" is not auto, json or console; auto is used.'),
    ({"OTELKIT_SHUTDOWN_TIMEOUT": "0"}, "shutdown_timeout", 5, "must be more than 0; 5 s is used."),
    (
        {"OTEL_RESOURCE_ATTRIBUTES": "garbage"},
        "resource_attributes",
        {"service.name": "shop"},
        "pair 1 has no key=value; nothing of it is used.",
    ),
    ({"OTEL_SDK_DISABLED": "maybe"}, "disabled", False, '"maybe" is neither true nor false; false is used.'),
    ({"OTEL_SDK_DISABLED": "1"}, "disabled", False, '"1" is neither true nor false; false is used.'),
    (
        {"OTEL_PYTHON_EXCLUDED_URLS": "ok,("},
        "excluded_urls",
        ("ok",),
        "number 2 is not a regular expression (error); 1 of",
    ),
    ({"OTEL_METRICS_EXEMPLAR_FILTER": "foo"}, "exemplar_filter", "trace_based", "; trace_based is used."),
]


@pytest.mark.parametrize(("variables", "field", "expected", "line"), WRONG_VARIABLES, ids=lambda case: str(case)[:60])
def test_a_wrong_variable_is_named_once_and_the_rest_works(
    variables: Mapping[str, str], field: str, expected: object, line: str
) -> None:
    settings = Settings(environ={**variables, "OTEL_SERVICE_NAME": "shop"})
    *_, wrong = variables
    assert value_of(settings, field) == expected
    (problem,) = settings.problems
    assert problem.startswith(f"{wrong}: ")
    assert line in problem
    assert problem.endswith(".")
    assert settings.service_name == "shop"


@pytest.mark.parametrize("part", ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"])
def test_a_missing_file_never_falls_back_to_other_certificates(part: str, tmp_path: Path) -> None:
    good = tmp_path / "good.pem"
    good.write_text("not read here")
    settings = Settings(
        environ={
            f"{OTLP}_ENDPOINT": "https://collector:4318",
            f"{OTLP}_CERTIFICATE": str(good),
            f"{OTLP}_CLIENT_KEY": str(good),
            f"{OTLP}_CLIENT_CERTIFICATE": str(good),
            f"{OTLP}_TRACES_{part}": "/nowhere/ca.pem",
        }
    )
    line = f'{OTLP}_TRACES_{part}: "/nowhere/ca.pem" is not a file'
    assert settings.traces.exporters == ("none",)
    assert settings.traces.degraded == line
    assert settings.logs.exporters == ("otlp",)
    assert settings.problems == (f"{line}; traces are not exported.",)


def test_a_missing_file_does_not_matter_without_tls() -> None:
    settings = from_variables(OTEL_EXPORTER_OTLP_CERTIFICATE="/nowhere/ca.pem")
    assert settings.traces.exporters == ("otlp",)
    assert settings.problems == (
        'OTEL_EXPORTER_OTLP_CERTIFICATE: "/nowhere/ca.pem" is not a file; a connection without TLS needs no file.',
    )


@pytest.mark.parametrize(
    ("protocol", "part", "missing"),
    [
        ("http/protobuf", "CLIENT_KEY", "certificate"),
        ("grpc", "CLIENT_KEY", "certificate"),
        ("grpc", "CLIENT_CERTIFICATE", "key"),
    ],
)
def test_half_an_identity_is_none(protocol: str, part: str, missing: str, tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    file.touch()
    settings = Settings(endpoint="https://collector", protocol=protocol, environ={f"{OTLP}_{part}": str(file)})
    assert value_of(settings, f"traces.{part.lower()}") is None
    assert settings.problems == (f"{OTLP}_{part}: has no client {missing} beside it; it is not used.",)
    half: dict[str, Any] = {part.lower(): str(file)}
    with pytest.raises(SettingsError, match=f"^{part.lower()} has no client {missing} beside it$"):
        Settings(endpoint="https://collector", protocol=protocol, environ={}, **half)


def test_a_misspelt_name_is_named() -> None:
    settings = from_variables(OTEL_EXPORTER_OLTP_ENDPOINT="http://c:4318", OTEL_METRICS_EXPORT_INTERVAL="5000")
    assert settings.problems == (
        "OTEL_EXPORTER_OLTP_ENDPOINT: nothing reads it; did you mean OTEL_EXPORTER_OTLP_ENDPOINT?",
        "OTEL_METRICS_EXPORT_INTERVAL: nothing reads it; did you mean OTEL_METRIC_EXPORT_INTERVAL?",
    )


@pytest.mark.parametrize(
    "name",
    [
        "OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION",
        "OTEL_PYTHON_FLASK_EXCLUDED_URLS",
        "OTEL_PYTHON_GRPC_EXCLUDED_SERVICES",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        "OTEL_EXPORTER_JAEGER_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT",
        "OTELLO",
    ],
)
def test_a_variable_of_somebody_else_is_left_alone(name: str) -> None:
    assert Settings(environ={name: "x"}).problems == ()


class TestWrongArguments:
    """A programming error raises, with everything that is wrong."""

    def test_all_of_them_at_once_by_name(self) -> None:
        with pytest.raises(SettingsError) as caught:
            Settings(
                endpoint="garbage",
                protocol="http/json",
                timeout="soon",  # type: ignore[arg-type]  # what is tested
                headers={"n\xfcll": "x"},
                span_queue_size=0,
                sampler="foo",
                log_level=True,
                environ={},
            )
        assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
            "sampler",
            "span_queue_size",
            "log_level",
            "protocol",
            "headers",
            "timeout",
            "endpoint",
        ]
        assert str(caught.value) == "; ".join(caught.value.problems)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"service_name": ""}, "service_name is empty"),
            ({"service_name": 7}, "service_name must be text, not int"),
            ({"disabled": "true"}, "disabled must be True or False, not str"),
            ({"timeout": -1}, "timeout must not be negative"),
            ({"timeout": float("nan")}, "timeout must be a number of seconds, neither endless nor undefined"),
            ({"timeout": 10**400}, "timeout must be a number of seconds, neither endless nor undefined"),
            ({"span_queue_size": 10**5000}, "span_queue_size the value is not a whole number from 1 to 2147483647"),
            ({"span_queue_size": 1.5}, "span_queue_size must be a whole number, not float"),
            ({"span_queue_size": 10, "span_batch_size": 11}, 'span_batch_size "11" is more than the 10 that may wait'),
            ({"metric_interval": 0}, "metric_interval must be more than 0"),
            ({"sampler": "traceidratio", "sampler_arg": 2}, 'sampler_arg "2" is not a share from 0 to 1'),
            ({"headers": "a=b"}, "headers must be a mapping, not str"),
            ({"headers": {"a": 1}}, "headers must map texts to texts"),
            ({"headers": {"a": "x\r\ny"}}, "headers has a value outside printable ASCII"),
            ({"resource_attributes": ["a"]}, "resource_attributes must be a mapping, not list"),
            ({"traces_exporter": ["otlp", "foo"]}, 'traces_exporter "foo" is not otlp, console or none'),
            ({"metrics_exporter": 5}, "metrics_exporter must be a list of texts, not int"),
            ({"excluded_urls": ["("]}, "excluded_urls number 1 is not a regular expression (error)"),
            ({"endpoint": "collector:4318"}, 'endpoint "collector:4318" does not begin with http:// or https://'),
            ({"certificate": "/nowhere"}, 'certificate "/nowhere" is not a file'),
            ({"log_level": -1}, "log_level must be a level such as logging.INFO"),
        ],
    )
    def test_each(self, arguments: dict[str, Any], problem: str) -> None:
        with pytest.raises(SettingsError) as caught:
            Settings(environ={}, **arguments)
        assert caught.value.problems == (problem,)

    def test_an_unknown_one_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="sevice_name"):
            Settings(sevice_name="typo")  # type: ignore[call-arg]  # what is tested
