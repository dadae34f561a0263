"""Cases of the alerts on the programs that store, evaluate and notify."""

from __future__ import annotations

from typing import Final

from rules.case import Case

_PROMETHEUS: Final = {"job": "prometheus", "instance": "prometheus:9090"}
_LOKI: Final = {"job": "loki", "instance": "loki:3100"}
_TEMPO: Final = {"job": "tempo", "instance": "tempo:3200"}
_ALERTMANAGER: Final = {"job": "alertmanager", "instance": "alertmanager:9093"}


def _of(program: dict[str, str], name: str, values: str, **more: str) -> dict[str, str]:
    """Return the values of one series of a program."""
    labels = ", ".join(f'{label}="{value}"' for label, value in {**program, **more}.items())
    return {f"{name}{{{labels}}}": values}


_TARGETS = (
    Case(
        alert="TargetDown",
        says="Loki has not answered for two minutes",
        series=_of(_LOKI, "up", "1x8 0x40"),
        at="4m15s",
        fires=(_LOKI,),
        summary="loki at loki:3100 does not answer",
    ),
    Case(
        alert="TargetDown",
        says="Loki has not answered for less than two minutes",
        series=_of(_LOKI, "up", "1x8 0x40"),
        at="4m",
    ),
    Case(
        alert="TargetDown",
        says="the Collector, which has an alert of its own, does not answer",
        series=_of({"job": "otelcol", "instance": "collector:8888"}, "up", "0x40") | _of(_LOKI, "up", "1x40"),
        at="6m",
    ),
)

_FAILED: Final = "prometheus_rule_evaluation_failures_total"
_GROUP: Final = {"rule_group": "/etc/prometheus/rules/http.yaml;http"}
_RULES = (
    Case(
        alert="PrometheusRulesFailing",
        says="rules of a group fail",
        series=_of(_PROMETHEUS, _FAILED, "0x9 1x40", **_GROUP),
        at="3m",
        fires=({**_PROMETHEUS, **_GROUP},),
        summary="Rules of /etc/prometheus/rules/http.yaml;http fail in prometheus at prometheus:9090",
    ),
    Case(
        alert="PrometheusRulesFailing",
        says="the last failure was long ago",
        series=_of(_PROMETHEUS, _FAILED, "3x60", **_GROUP),
        at="10m",
    ),
)

_LOKI_FAILED: Final = "loki_prometheus_rule_evaluation_failures_total"
_LOKI_NOTIFIED: Final = "loki_prometheus_notifications_errors_total"
_LOKI_KNOWS: Final = "loki_prometheus_notifications_alertmanagers_discovered"
_LOKI_RULES = (
    Case(
        alert="LokiRulesFailing",
        says="a rule fails",
        series=_of(_LOKI, _LOKI_FAILED, "0x9 1x40", user="fake", rule_group="logs") | _of(_LOKI, _LOKI_KNOWS, "1x60"),
        at="5m",
        fires=(_LOKI,),
        summary="Alerts on logs fail in loki at loki:3100",
    ),
    Case(
        alert="LokiRulesFailing",
        says="Alertmanager does not take its alerts",
        series=_of(_LOKI, _LOKI_NOTIFIED, "0x9 1+1x60", user="fake"),
        at="6m",
        fires=(_LOKI,),
    ),
    Case(
        alert="LokiRulesFailing",
        says="Alertmanager has not taken its alerts for less than two minutes",
        series=_of(_LOKI, _LOKI_NOTIFIED, "0x9 1+1x60", user="fake"),
        at="4m",
    ),
    Case(
        alert="LokiRulesFailing",
        says="it knows no Alertmanager",
        series=_of(_LOKI, _LOKI_KNOWS, "0x60"),
        at="3m",
        fires=(_LOKI,),
    ),
    Case(
        alert="LokiRulesFailing",
        says="it failed long ago, and all is well since",
        series=_of(_LOKI, _LOKI_FAILED, "3x80", user="fake", rule_group="logs")
        | _of(_LOKI, _LOKI_NOTIFIED, "3x80", user="fake")
        | _of(_LOKI, _LOKI_KNOWS, "1x80"),
        at="15m",
    ),
)

_KNOWS: Final = "prometheus_notifications_alertmanagers_discovered"
_ERRORS: Final = "prometheus_notifications_errors_total"
_TOLD: Final = {"alertmanager": "http://alertmanager:9093/api/v2/alerts"}
_NOTIFIES = (
    Case(
        alert="PrometheusCannotNotify",
        says="it knows no Alertmanager",
        series=_of(_PROMETHEUS, _KNOWS, "1x8 0x40"),
        at="3m15s",
        fires=(_PROMETHEUS,),
        summary="Prometheus at prometheus:9090 cannot hand alerts to Alertmanager",
    ),
    Case(
        alert="PrometheusCannotNotify",
        says="it has known none for less than a minute",
        series=_of(_PROMETHEUS, _KNOWS, "1x8 0x40"),
        at="3m",
    ),
    Case(
        alert="PrometheusCannotNotify",
        says="Alertmanager does not take what it sends",
        series=_of(_PROMETHEUS, _KNOWS, "1x40") | _of(_PROMETHEUS, _ERRORS, "0x9 1+0.25x40", **_TOLD),
        at="5m",
        fires=(_PROMETHEUS,),
    ),
    Case(
        alert="PrometheusCannotNotify",
        says="it did not take some long ago",
        series=_of(_PROMETHEUS, _KNOWS, "1x60") | _of(_PROMETHEUS, _ERRORS, "4x60", **_TOLD),
        at="8m",
    ),
)

_DISK: Final = (
    "prometheus_tsdb_compactions_failed_total",
    "prometheus_tsdb_wal_corruptions_total",
    "prometheus_tsdb_wal_writes_failed_total",
    "prometheus_tsdb_head_truncations_failed_total",
)
_STORAGE = (
    *(
        Case(
            alert="PrometheusStorageFailing",
            says=f"{name} grows",
            series=_of(_PROMETHEUS, name, "0x9 1x40"),
            at="4m",
            fires=(_PROMETHEUS,),
            summary="Prometheus at prometheus:9090 cannot keep what it has on its disk",
        )
        for name in _DISK
    ),
    *(
        Case(
            alert="PrometheusStorageFailing",
            says=f"{name} grows in a Loki, which has such a log too",
            series=_of(_LOKI, name, "0x9 1x40") | _of(_PROMETHEUS, name, "2x50"),
            at="4m",
        )
        for name in _DISK
    ),
)

_REFUSED: Final = ("prometheus_tsdb_too_old_samples_total", "prometheus_tsdb_out_of_bound_samples_total")
_SAMPLES = (
    *(
        Case(
            alert="PrometheusDroppingSamples",
            says=f"{name} grows",
            series=_of(_PROMETHEUS, name, "0+7x60", type="float"),
            at="6m",
            fires=(_PROMETHEUS,),
            summary="Prometheus at prometheus:9090 refuses samples: too old",
        )
        for name in _REFUSED
    ),
    Case(
        alert="PrometheusDroppingSamples",
        says="for less than five minutes",
        series=_of(_PROMETHEUS, _REFUSED[0], "0x20 7+7x60", type="float"),
        at="9m45s",
    ),
    Case(
        alert="PrometheusDroppingSamples",
        says="none for long",
        series=_of(_PROMETHEUS, _REFUSED[0], "7x80", type="float") | _of(_PROMETHEUS, _REFUSED[1], "7x80"),
        at="15m",
    ),
)

_NOT_TOLD: Final = "alertmanager_notifications_failed_total"
_BY: Final = {"receiver_name": "chat", "integration": "slack"}
_NOTIFICATIONS = (
    Case(
        alert="NotificationsFailing",
        says="a notification fails",
        series=_of(_ALERTMANAGER, _NOT_TOLD, "0x9 1x40", reason="clientError", **_BY)
        | _of(_ALERTMANAGER, _NOT_TOLD, "0x50", reason="other", integration="email"),
        at="4m",
        fires=({**_ALERTMANAGER, **_BY},),
        summary="Alertmanager cannot notify chat by slack",
    ),
    Case(
        alert="NotificationsFailing",
        says="the last failure was long ago",
        series=_of(_ALERTMANAGER, _NOT_TOLD, "3x60", reason="clientError", **_BY),
        at="10m",
    ),
)

_TAKEN: Final = {
    "prometheus_config_last_reload_successful": _PROMETHEUS,
    "alertmanager_config_last_reload_successful": _ALERTMANAGER,
    "loki_ruler_config_last_reload_successful": _LOKI,
}
_RELOADS = (
    *(
        Case(
            alert="ConfigReloadFailed",
            says=f"{program['job']} refuses its configuration",
            series=_of(program, name, "1x8 0x60"),
            at="8m",
            fires=(program,),
            summary=f"{program['job']} at {program['instance']} has not taken its new configuration",
        )
        for name, program in _TAKEN.items()
    ),
    Case(
        alert="ConfigReloadFailed",
        says="for less than five minutes",
        series=_of(_PROMETHEUS, "prometheus_config_last_reload_successful", "1x8 0x60"),
        at="7m",
    ),
    Case(
        alert="ConfigReloadFailed",
        says="all take theirs",
        series={key: "1x60" for name, program in _TAKEN.items() for key in _of(program, name, "")},
        at="10m",
    ),
)

_SERIES = (
    Case(
        alert="CardinalityHigh",
        says="600,000 series",
        series=_of(_PROMETHEUS, "prometheus_tsdb_head_series", "600000x60"),
        at="11m",
        fires=(_PROMETHEUS,),
        summary="Prometheus at prometheus:9090 holds 600k series",
    ),
    Case(
        alert="CardinalityHigh",
        says="400,000 series",
        series=_of(_PROMETHEUS, "prometheus_tsdb_head_series", "400000x60"),
        at="13m",
    ),
    Case(
        alert="CardinalityHigh",
        says="600,000 series for less than ten minutes",
        series=_of(_PROMETHEUS, "prometheus_tsdb_head_series", "600000x60"),
        at="9m45s",
    ),
)


def _requests(
    program: dict[str, str],
    status: str,
    each: int,
    *,
    route: str = "otlp_v1_logs",
    method: str = "POST",
    before: str = "",
) -> dict[str, str]:
    """Return a native histogram that grows by so many requests every 15 s."""
    name = f"{program['job']}_request_duration_seconds"
    step = f"{{{{schema:0 sum:{each} count:{each} buckets:[{each}]}}}}"
    return _of(program, name, f"{before}{step}+{step}x80", route=route, method=method, status_code=status)


_REQUESTS = (
    *(
        Case(
            alert="StackRequestsFailing",
            says=f"{program['job']} answers 6 % of its requests with 503",
            series=_requests(program, "204", 94) | _requests(program, "503", 6),
            at="7m",
            fires=({"job": program["job"]},),
            summary=f"{program['job']} answers 6% of its requests with 5xx",
        )
        for program in (_LOKI, _TEMPO)
    ),
    Case(
        alert="StackRequestsFailing",
        says="4 % of the requests fail",
        series=_requests(_LOKI, "204", 96) | _requests(_LOKI, "503", 4),
        at="10m",
    ),
    Case(
        alert="StackRequestsFailing",
        says="all requests of a client are wrong",
        series=_requests(_LOKI, "204", 50) | _requests(_LOKI, "400", 50),
        at="10m",
    ),
    Case(
        alert="StackRequestsFailing",
        says="all fail, for less than five minutes",
        series=_requests(_LOKI, "503", 100, before="_x20 "),
        at="9m45s",
    ),
    Case(
        alert="StackRequestsFailing",
        says="6 % fail, and between its parts all goes well",
        series=_requests(_LOKI, "204", 94)
        | _requests(_LOKI, "503", 6)
        | _requests(_LOKI, "success", 900, method="gRPC", route="/logproto.Pusher/Push")
        | _requests(_LOKI, "200", 100, method="GET", route="metrics"),
        at="7m",
        fires=({"job": "loki"},),
    ),
    Case(
        alert="StackRequestsFailing",
        says="it is not ready, and asked so all the time",
        series=_requests(_LOKI, "204", 94) | _requests(_LOKI, "503", 50, method="GET", route="ready"),
        at="10m",
    ),
    Case(
        alert="StackRequestsFailing",
        says="its parts answer each other with 500",
        series=_requests(_LOKI, "204", 94) | _requests(_LOKI, "500", 50, method="gRPC", route="/tempopb.Next"),
        at="10m",
    ),
)


def _discarded(alert: str, program: dict[str, str], name: str, what: str) -> tuple[Case, ...]:
    store = alert.removesuffix("Discarding")
    told = {"job": program["job"], "reason": "too_large"}
    return (
        Case(
            alert=alert,
            says="the first are thrown away",
            series=_of(program, name, "_x9 4x40", reason="too_large", tenant="fake"),
            at="4m",
            fires=(told,),
            summary=f"{store} throws {what} away: 4 in five minutes, too_large",
        ),
        Case(
            alert=alert,
            says="more are",
            series=_of(program, name, "4x39 5x40", reason="too_large", tenant="fake"),
            at="10m15s",
            fires=(told,),
        ),
        Case(
            alert=alert,
            says="the last were long ago",
            series=_of(program, name, "4x80", reason="too_large", tenant="fake"),
            at="15m",
        ),
    )


_COLLECTIONS: Final = "tempo_metrics_generator_registry_collections_failed_total"
_WRITTEN: Final = "prometheus_remote_storage_samples_failed_total"
_GRAPH = (
    Case(
        alert="ServiceGraphFailing",
        says="collections fail, and never failed before",
        series=_of(_TEMPO, _COLLECTIONS, "_x9 1+1x60", tenant="single-tenant"),
        at="7m30s",
        fires=(_TEMPO,),
        summary="Tempo at tempo:3200 cannot tell Prometheus its service graph",
    ),
    Case(
        alert="ServiceGraphFailing",
        says="collections go on failing",
        series=_of(_TEMPO, _COLLECTIONS, "1+1x80", tenant="single-tenant"),
        at="16m",
        fires=(_TEMPO,),
    ),
    Case(
        alert="ServiceGraphFailing",
        says="Prometheus refuses what it writes",
        series=_of(_TEMPO, _WRITTEN, "0+9x60", remote_name="1"),
        at="6m",
        fires=(_TEMPO,),
    ),
    Case(
        alert="ServiceGraphFailing",
        says="for less than five minutes",
        series=_of(_TEMPO, _WRITTEN, "0+9x60", remote_name="1"),
        at="5m",
    ),
    Case(
        alert="ServiceGraphFailing",
        says="somebody else's writes fail, and its own failed long ago",
        series=_of(_PROMETHEUS, _WRITTEN, "0+9x80", remote_name="1")
        | _of(_TEMPO, _WRITTEN, "9x80", remote_name="1")
        | _of(_TEMPO, _COLLECTIONS, "3x80", tenant="single-tenant"),
        at="16m",
    ),
)

CASES: Final = (
    *_TARGETS,
    *_RULES,
    *_LOKI_RULES,
    *_NOTIFIES,
    *_STORAGE,
    *_SAMPLES,
    *_NOTIFICATIONS,
    *_RELOADS,
    *_SERIES,
    *_REQUESTS,
    *_discarded("LokiDiscarding", _LOKI, "loki_discarded_samples_total", "log records"),
    *_discarded("TempoDiscarding", _TEMPO, "tempo_discarded_spans_total", "spans"),
    *_GRAPH,
)
