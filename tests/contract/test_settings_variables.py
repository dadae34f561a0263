"""The only place that holds the table of variables against the specification, installed packages, and our own words."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelkit._resolution import fed_by
from otelkit._variables import OWN_DEFAULTS, VARIABLES, feeding, find
from otelkit.ops._settings_pages import render_settings_reference
from otelkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelkit._variables import Variable

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b(?:FASTAPI_)?(?:OTEL|OTELKIT)_[A-Z0-9_]*[A-Z0-9]\b")

# The specification 1.60: sdk-environment-variables.md, protocol/exporter.md, metrics/sdk_exporters/otlp.md.
SPECIFIED = {
    "OTEL_SDK_DISABLED",
    "OTEL_ENTITIES",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_LOG_LEVEL",
    "OTEL_PROPAGATORS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
    "OTEL_EXPORTER_ZIPKIN_PROTOCOL",
    "OTEL_EXPORTER_PROMETHEUS_HOST",
    "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_CONFIG_FILE",
    "OTEL_EXPERIMENTAL_CONFIG_FILE",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE",
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    *(
        f"OTEL_EXPORTER_OTLP_{signal}{suffix}"
        for signal in ("", "TRACES_", "METRICS_", "LOGS_")
        for suffix in (
            *("ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION"),
            *("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE", "INSECURE"),
        )
    ),
}

NO_VARIABLES = {
    "OTEL_TRACE_STATE_KEY": "a constant of the SDK: the key in the trace state",
    "OTEL_LIBRARY_NAME": "an attribute",
}

# For each field: a text that changes it (FILE stands for a file that exists), and a wrong one where there is one.
EXAMPLES: dict[str, tuple[str, str | None]] = {
    "disabled": ("True", "yes"),
    "propagators": ("none", "foo"),
    "diagnostics_level": ("debug", "loud"),
    "shutdown_timeout": ("2.5", "0"),
    "queue_bytes": ("1000000", "1"),
    "service_name": ("shop", None),
    "resource_attributes": (
        "service.name=a,service.version=b,service.namespace=c,service.instance.id=d,deployment.environment.name=e",
        "garbage",
    ),
    "resource_detectors": ("os,process", None),
    "exporters": ("console", "foo"),
    "sampler": ("always_off", "foo"),
    "sampler_arg": ("0.5", "1.5"),
    "id_generator": ("", "foo"),  # nothing but "random" is installed
    "span_delay": ("100", "0"),
    "span_export_timeout": ("40000", "-1"),
    "span_queue_size": ("4096", "0"),
    "span_batch_size": ("100", "-1"),
    "metric_interval": ("1000", "0"),
    "metric_timeout": ("40000", "-1"),
    "exemplar_filter": ("always_off", "foo"),
    "temporality": ("DELTA", "foo"),
    "histogram_aggregation": ("base2_exponential_bucket_histogram", "foo"),
    "prometheus_host": ("0.0.0.0", None),  # noqa: S104  a text, nothing listens
    "prometheus_port": ("9999", "0"),
    "log_delay": ("100", "abc"),
    "log_export_timeout": ("40000", "-1"),
    "log_queue_size": ("4096", "0"),
    "log_batch_size": ("100", "1e3"),
    "log_level": ("error", "loud"),
    "log_format": ("json", "xml"),
    "endpoint": ("https://collector.example:4318", "garbage"),
    "protocol": ("grpc", "http/json"),
    "headers": ("api-key=x", "garbage"),
    "timeout": ("3", "abc"),
    "compression": ("gzip", "zip"),
    "certificate": ("FILE", "/nowhere"),
    "client_key": ("FILE", "/nowhere"),
    "client_certificate": ("FILE", "/nowhere"),
    "insecure": ("true", "maybe"),
    "http_credentials": ("company", None),
    "grpc_credentials": ("company", None),
    "span_attribute_count_limit": ("7", "-1"),
    "span_attribute_length_limit": ("7", "-1"),
    "span_event_count_limit": ("7", "-1"),
    "span_link_count_limit": ("7", "-1"),
    "event_attribute_count_limit": ("7", "-1"),
    "link_attribute_count_limit": ("7", "-1"),
    "log_attribute_count_limit": ("7", "-1"),
    "log_attribute_length_limit": ("7", "-1"),
    "sampling_rules": ("drop server /health", "sometimes"),
    "forced_per_second": ("3", "-1"),
    "metric_cardinality_limit": ("100", "0"),
    "url_query_allow": ("page,limit", None),
    "baggage_keys": ("tenant", None),
    "http_public_endpoint": ("true", "perhaps"),
    "semconv_opt_in": ("gen_ai_latest_experimental", None),
    "known_http_methods": ("GET,POST", None),
    "disabled_instrumentations": ("redis,celery", None),
    "excluded_urls": ("health", "("),
    "fastapi_excluded_urls": ("health", "("),
}

# What must be set besides for a variable to matter.
BESIDES = {
    "sampler_arg": {"OTEL_TRACES_SAMPLER": "traceidratio"},
    "insecure": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
    "certificate": {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector"},
    "client_key": {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "FILE",
    },
    "client_certificate": {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector"},
}

# Fields that follow others.
FOLLOWERS = {"resource_attributes", "logs_exporter_requested"} | {
    f"{signal}.{part}" for signal in ("traces", "metrics", "logs") for part in ("endpoint", "insecure", "exporters")
}

READ = [row for row in VARIABLES if row.fields]
WRONG = [row for row in READ if EXAMPLES[row.fields[0].rpartition(".")[2]][1]]
REFUSED = [row for row in VARIABLES if row.refused]
ELSEWHERE = [row for row in VARIABLES if row.reader]


def by_name(row: Variable) -> str:
    return row.name


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "some.pem"
    path.touch()
    return str(path)


def example(row: Variable, file: str) -> tuple[str, str | None, dict[str, str]]:
    part = row.fields[0].rpartition(".")[2]
    right, wrong = EXAMPLES[part]
    besides = {name: text.replace("FILE", file) for name, text in BESIDES.get(part, {}).items() if name != row.name}
    return right.replace("FILE", file), wrong, besides


class TestEachVariable:
    """One test for each row of the table."""

    def test_every_row_is_read_or_refused_or_read_elsewhere(self) -> None:
        assert {row.name for row in (*READ, *REFUSED, *ELSEWHERE)} == {row.name for row in VARIABLES}
        assert len(READ) + len(REFUSED) + len(ELSEWHERE) == len(VARIABLES)
        assert len({row.name for row in VARIABLES}) == len(VARIABLES)

    @pytest.mark.parametrize("row", READ, ids=by_name)
    def test_an_honoured_one_changes_its_settings(
        self, row: Variable, file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right, _, besides = example(row, file)
        if row.name == "OTEL_PYTHON_ID_GENERATOR":
            right = "xray"
            entry = metadata.EntryPoint("xray", "some.module", "opentelemetry_id_generator")
            monkeypatch.setattr(metadata, "entry_points", lambda group: (entry,) if group == entry.group else ())
        before, after = Settings(environ=besides), Settings(environ=besides | {row.name: right})
        changed = set(before.differences(after))
        assert after.problems == ()
        assert set(row.fields) <= changed
        assert changed - set(row.fields) <= FOLLOWERS
        assert {after.origin(field) for field in row.fields} == {row.name}

    @pytest.mark.parametrize("row", WRONG, ids=by_name)
    def test_a_wrong_text_is_named_once(self, row: Variable, file: str) -> None:
        _, wrong, besides = example(row, file)
        assert wrong
        (problem,) = Settings(environ=besides | {row.name: wrong}).problems
        assert problem.startswith(f"{row.name}: ")
        assert problem.endswith((" used.", " kept.", " not exported.", " no file."))

    @pytest.mark.parametrize("row", REFUSED, ids=by_name)
    def test_a_refused_one_is_named_and_changes_nothing(self, row: Variable) -> None:
        settings = Settings(environ={row.name: "true"})
        assert settings.problems == (f"{row.name}: not supported; {row.note}.",)
        assert settings == Settings(environ={})

    @pytest.mark.parametrize(
        "row", [row for row in REFUSED if row.kind and row.kind.label == "true or false"], ids=by_name
    )
    def test_a_refused_switch_that_is_off_asks_for_nothing(self, row: Variable) -> None:
        assert Settings(environ={row.name: "False"}).problems == ()

    @pytest.mark.parametrize("row", ELSEWHERE, ids=by_name)
    def test_one_that_a_library_reads_is_read_there(self, row: Variable) -> None:
        text = source(row.reader)
        if text is None:
            pytest.skip(f"{row.reader} is not installed")
        assert row.name.rpartition(">")[2] in text
        assert Settings(environ={row.name.replace("<LIBRARY>", "HTTPX"): "x"}).problems == ()

    @pytest.mark.parametrize("row", VARIABLES, ids=by_name)
    def test_a_row_says_what_a_reader_needs(self, row: Variable) -> None:
        assert row.meaning[0].isupper() or row.meaning.startswith("`")
        assert not row.meaning.endswith(".")
        assert not row.note.endswith(".")
        assert row.note or row.honoured == "yes"
        assert not (row.reader and row.fields)

    def test_a_configuration_file_is_refused_by_name_and_not_half_honoured(self, tmp_path: Path) -> None:
        path = tmp_path / "otel.yaml"
        path.write_text("file_format: '1.0'\ndisabled: true\n")
        settings = Settings(environ={"OTEL_CONFIG_FILE": str(path), "OTEL_SERVICE_NAME": "shop"})
        assert settings.problems == (
            "OTEL_CONFIG_FILE: not supported; the file is not read; variables and arguments apply.",
        )
        assert (settings.disabled, settings.service_name) == (False, "shop")


def source(module: str) -> str | None:
    """The text of a module, of a package with everything in it; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    files = path.parent.rglob("*.py") if path.name == "__init__.py" else [path]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


class TestTheTableIsComplete:
    """Against what others define, and what we write."""

    def test_every_variable_of_the_specification_has_its_row(self) -> None:
        assert {row.name for row in VARIABLES if row.source == "specification"} == SPECIFIED

    def test_every_name_in_the_installed_packages_is_known(self) -> None:
        texts = dict(installed())
        assert len(texts) > 50
        attributes = "\n".join(text for path, text in texts.items() if "/semconv/" in path)
        conventions = set(re.findall(r"^(\w+)\b", attributes, re.MULTILINE))
        unknown = {
            f"{name} in {path}"
            for path, text in texts.items()
            if "/semconv/" not in path
            for name in set(NAME.findall(text)) - conventions - NO_VARIABLES.keys()
            if not find(name)
        }
        assert not unknown

    def test_every_name_that_we_write_is_known(self) -> None:
        unknown = {
            f"{name} in {path.relative_to(ROOT)}"
            for path in written()
            for name in NAME.findall(path.read_text(encoding="utf-8"))
            if not find(name)
        }
        assert not unknown

    def test_every_argument_and_attribute_has_a_variable(self) -> None:
        special = {"traces", "metrics", "logs", "logs_exporter_requested", "problems", "_origins"}
        assert [item.name for item in fields(Settings) if item.name not in special and not feeding(item.name)] == []
        arguments = set(Settings.__init__.__annotations__) - {"environ", "return"}
        assert [name for name in sorted(arguments) if not fed_by(name)] == []

    def test_our_own_defaults_are_one_list_with_reasons(self) -> None:
        assert {name: own.value for name, own in OWN_DEFAULTS.items()} == {
            "OTEL_BSP_MAX_QUEUE_SIZE": "16384",
            "OTEL_BLRP_MAX_QUEUE_SIZE": "16384",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "15000",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
            "OTELKIT_SHUTDOWN_TIMEOUT": "5",
        }
        for name, own in OWN_DEFAULTS.items():
            row = find(name)
            assert row
            assert row.specified != own.value
            assert own.reason.endswith(".")

    def test_every_default_can_be_read(self) -> None:
        for row in READ:
            if row.default:
                row.reading.parse(row.default)

    def test_the_reference_is_what_the_table_says(self) -> None:
        page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
        assert page == render_settings_reference()


def installed() -> Iterator[tuple[str, str]]:
    """Every module of OpenTelemetry and FastAPI here, by path."""
    for distribution in metadata.distributions():
        if distribution.name.startswith("opentelemetry") or distribution.name == "fastapi":
            for file in distribution.files or ():
                if file.suffix == ".py":
                    yield str(file), Path(str(file.locate())).read_text(encoding="utf-8")


def written() -> Iterator[Path]:
    """Every text of the project that names variables to its users."""
    for folder in ("otelkit", "docs", "examples", "collector", "deploy"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".env"} and path.is_file():
                yield path
    yield from ROOT.glob("*.md")
