"""The only place for the alerts on the programs that store, evaluate and notify: who watches the watchmen."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups._grown import grown
from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook, Threshold

MAX_SERIES: Final = Threshold(
    name="max_series",
    default=500_000,
    unit="number",
    about="series that Prometheus holds; 3 kB of memory each",
    observed="max(prometheus_tsdb_head_series)",
)
# Requests over HTTP only: those between the parts of one process fail by design, and drown the others.
_REQUESTS: Final = '{__name__=~"(loki|tempo)_request_duration_seconds", method!="gRPC", route!~"ready|metrics"'
STACK_ERRORS: Final = Threshold(
    name="stack_errors",
    default=0.05,
    unit="ratio",
    about="share of the requests to Loki or Tempo that they answer with 5xx",
    observed=f'(histogram_count(sum by (job) (rate({_REQUESTS}, status_code=~"5.."}}[5m])))'
    f" or histogram_count(sum by (job) (rate({_REQUESTS}}}[5m]))) * 0)"
    f" / histogram_count(sum by (job) (rate({_REQUESTS}}}[5m])))",
)

# Each is published as zero from the start. All of it ends on the disk of Prometheus.
_STORAGE: Final = (
    "prometheus_tsdb_compactions_failed_total",
    "prometheus_tsdb_wal_corruptions_total",
    "prometheus_tsdb_wal_writes_failed_total",
    "prometheus_tsdb_head_truncations_failed_total",
)
_RELOADS: Final = (
    "prometheus_config_last_reload_successful",
    "alertmanager_config_last_reload_successful",
    "loki_ruler_config_last_reload_successful",
)
_FIREWALL: Final = "`otelkit stack status`; from Prometheus' machine `curl -sv http://<instance>/metrics`."

TARGET_DOWN: Final = Alert(
    name="TargetDown",
    group="stack",
    severity="warning",
    lasting="2m",
    expr='up{job!="otelcol"} == 0',
    feels="A program of the stack, or an exporter, is gone: what it stores cannot be seen, or what it watches.",
    summary="{{ $labels.job }} at {{ $labels.instance }} does not answer",
    runbook=Runbook(
        looks=(
            Look(says="what does not answer", query="up == 0"),
            Look(
                says="what the Collector holds for it meanwhile, in bytes",
                query="max by (exporter) (otelcol_exporter_queue_size)",
            ),
        ),
        causes=(
            Cause(
                what="The program ended.",
                sign="`otelkit stack status` says so; `otelkit stack logs <job>` ends in the reason, or in nothing "
                "where the kernel killed it.",
                fix="`otelkit stack up` starts what does not run. Killed: raise its memory in `deploy/.env`.",
            ),
            Cause(
                what="It runs, and cannot be reached, or takes longer than 10 s to tell its metrics.",
                sign="Prometheus' page Targets names the error.",
                fix=_FIREWALL,
            ),
            Cause(
                what="It was taken away on purpose.",
                sign="Nobody misses it.",
                fix="Take it out of `deploy/prometheus/targets/`.",
            ),
        ),
        tell="Whoever needs what it stores: logs (`loki`), traces (`tempo`). Nothing is lost while the Collector's "
        "queue holds, hours as a rule.",
    ),
    drill="loki-down",
)

RULES_FAILING: Final = Alert(
    name="PrometheusRulesFailing",
    group="stack",
    severity="critical",
    expr="sum by (job, instance, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0",
    feels="Some alerts cannot fire. Whatever they watch may be broken, and nobody is told.",
    summary="Rules of {{ $labels.rule_group }} fail in {{ $labels.job }} at {{ $labels.instance }}",
    runbook=Runbook(
        looks=(
            Look(
                says="which groups fail",
                query="sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0",
            ),
            Look(
                says="whether they take too long: seconds of the last evaluation; more than 15 is too long",
                query="topk(5, prometheus_rule_group_last_duration_seconds)",
            ),
        ),
        causes=(
            Cause(
                what="A rule meets two series where it expects one.",
                sign="`otelkit stack logs prometheus --lines 200` has `Evaluating rule failed` and `many-to-many` or "
                "`duplicate series`; the page Alerts of Prometheus names the rule.",
                fix="The rule of somebody's own: aggregate on both sides. One of otelkit's: switch it off in "
                "`parameters.toml` (`disable`), render, and report it.",
            ),
            Cause(
                what="The query is too large.",
                sign="The log says `query processing would load too many samples` or `query timed out`.",
                fix="See `CardinalityHigh`: fewer series. For now `disable` the rule.",
            ),
        ),
        tell="The owners of the services that the group watches: they are without these alerts.",
    ),
    undrilled="rules that promtool has accepted do not fail on data that can be made",
)

LOKI_RULES_FAILING: Final = Alert(
    name="LokiRulesFailing",
    group="stack",
    severity="warning",
    lasting="2m",
    expr="sum by (job, instance) (increase(loki_prometheus_rule_evaluation_failures_total[5m])) > 0"
    "\nor sum by (job, instance) (rate(loki_prometheus_notifications_errors_total[2m])) > 0\nor "
    "loki_prometheus_notifications_alertmanagers_discovered == 0",
    feels="Alerts on logs cannot fire, or reach nobody.",
    summary="Alerts on logs fail in {{ $labels.job }} at {{ $labels.instance }}",
    runbook=Runbook(
        looks=(
            Look(
                says="rules that could not be evaluated, by group",
                query="sum by (rule_group) (loki_prometheus_rule_evaluation_failures_total)",
            ),
            Look(
                says="alerts that could not be handed to Alertmanager",
                query="loki_prometheus_notifications_errors_total",
            ),
            Look(says="whether Alertmanager is there", query='up{job="alertmanager"}'),
        ),
        causes=(
            Cause(
                what="Alertmanager is down, or its address is wrong.",
                sign="The second look grows; `up` is 0, or `otelkit stack logs loki` names an address nobody listens "
                "at.",
                fix="`otelkit stack up`, or correct `STACK_ALERTMANAGER_URL`.",
            ),
            Cause(
                what="The rules ask for more than Loki gives.",
                sign="The first look grows; the log says `timeout`, `too many` or `maximum`.",
                fix="Shorten what they look back at, or `disable` the alert and render.",
            ),
        ),
        tell="Nobody, unless alerts on logs are all that a service has.",
    ),
    drill="alertmanager-down",
)

CANNOT_NOTIFY: Final = Alert(
    name="PrometheusCannotNotify",
    group="stack",
    severity="critical",
    lasting="1m",
    expr="prometheus_notifications_alertmanagers_discovered == 0\nor sum by (job, instance) "
    "(rate(prometheus_notifications_errors_total[2m])) > 0",
    feels="Alerts fire and nobody is told. This one neither, unless by Loki, or by the dead man's switch outside.",
    summary="Prometheus at {{ $labels.instance }} cannot hand alerts to Alertmanager",
    runbook=Runbook(
        looks=(
            Look(says="how many Alertmanagers it knows", query="prometheus_notifications_alertmanagers_discovered"),
            Look(
                says="which of them does not take",
                query="sum by (alertmanager) (rate(prometheus_notifications_errors_total[2m]))",
            ),
            Look(says="what has fired and was told to nobody", query='ALERTS{alertstate="firing", severity!="none"}'),
        ),
        causes=(
            Cause(
                what="Alertmanager is down.",
                sign='`up{job="alertmanager"}` is 0. `otelkit stack logs alertmanager` names the line of a '
                "configuration that it does not take.",
                fix="`amtool check-config deploy/alertmanager/alertmanager.yaml`, mend it, `otelkit stack up`.",
            ),
            Cause(
                what="Its address is wrong.",
                sign="None is known, or another one than `otelkit stack status` prints.",
                fix="Correct `deploy/prometheus/targets/alertmanager.yaml`.",
            ),
        ),
        tell="Everybody on call, by hand, until it is mended: read the third look every few minutes.",
    ),
    drill="alertmanager-down",
)

STORAGE_FAILING: Final = Alert(
    name="PrometheusStorageFailing",
    group="stack",
    severity="critical",
    expr="\nor ".join(f'increase({name}{{job="prometheus"}}[3h]) > 0' for name in _STORAGE),
    feels="Boards and alerts still work. The history is about to be lost, and with the next restart perhaps hours.",
    summary="Prometheus at {{ $labels.instance }} cannot keep what it has on its disk",
    runbook=Runbook(
        looks=(
            Look(
                says="what fails",
                query='sum by (__name__) ({__name__=~"prometheus_tsdb_(compactions_failed|wal_corruptions|'
                'wal_writes_failed|head_truncations_failed)_total", job="prometheus"}) > 0',
            ),
            Look(
                says="how much is in its blocks and in its log, in bytes",
                query="prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes",
            ),
        ),
        causes=(
            Cause(
                what="The disk is full.",
                sign="`df` on its data; its log says `no space left on device`.",
                fix="Make room, or shorten `PROMETHEUS_RETENTION` in `deploy/.env`; then start it again.",
            ),
            Cause(
                what="The disk, or what was on it when the power went, is damaged.",
                sign="`otelkit stack logs prometheus --lines 200` has `corruption`, `unexpected EOF` or `input/output "
                "error`.",
                fix="Copy its data first. It repairs a damaged log when it starts; move a damaged block aside, by the "
                "name in the log.",
            ),
        ),
        tell="Whoever reports from history: SLOs over 14 days count from it.",
        note="It stays for three hours after the last failure: compactions are that rare.",
    ),
    undrilled="it takes a disk that fails",
)

DROPPING_SAMPLES: Final = Alert(
    name="PrometheusDroppingSamples",
    group="stack",
    severity="warning",
    lasting="5m",
    expr="sum by (job, instance) (increase(prometheus_tsdb_too_old_samples_total[5m])) > 0\nor sum by (job, instance) "
    "(increase(prometheus_tsdb_out_of_bound_samples_total[5m])) > 0",
    feels="Boards and alerts of a service that sends with a wrong clock, or too late, have gaps.",
    summary="Prometheus at {{ $labels.instance }} refuses samples: too old",
    runbook=Runbook(
        looks=(
            Look(
                says="how many, and since when",
                query="sum(increase(prometheus_tsdb_too_old_samples_total[5m])) + "
                "sum(increase(prometheus_tsdb_out_of_bound_samples_total[5m]))",
            ),
            Look(
                says="services whose newest sample is old: seconds",
                query="topk(5, time() - max by (service_name, host_name) (timestamp(process_cpu_time_seconds_total)))",
            ),
        ),
        causes=(
            Cause(
                what="A Collector was cut off for more than twelve hours and sends its queue.",
                sign="It began when something came back; it ends by itself.",
                fix="Nothing. What is older is refused for good.",
            ),
            Cause(
                what="The clock of a host is wrong.",
                sign="One host only; `timedatectl` there, or `HostClockSkew`.",
                fix="Start its time synchronisation.",
            ),
        ),
        tell="The owners of the service.",
    ),
    undrilled="it takes samples that are half a day old",
)

NOTIFICATIONS_FAILING: Final = Alert(
    name="NotificationsFailing",
    group="stack",
    severity="critical",
    expr="sum by (job, instance, receiver_name, integration) "
    "(increase(alertmanager_notifications_failed_total[5m])) > 0",
    feels="Alerts fire, and who should hear of them does not.",
    summary="Alertmanager cannot notify{{ with $labels.receiver_name }} {{ . }}{{ end }} by {{ $labels.integration }}",
    runbook=Runbook(
        looks=(
            Look(
                says="which way fails, and how",
                query="sum by (receiver_name, integration, reason) "
                "(increase(alertmanager_notifications_failed_total[5m])) > 0",
            ),
            Look(
                says="which way still works",
                query="sum by (receiver_name, integration) (increase(alertmanager_notifications_total[5m]))",
            ),
            Look(says="what fires now, told or not", query='ALERTS{alertstate="firing", severity!="none"}'),
        ),
        causes=(
            Cause(
                what="A secret is wrong or has expired.",
                sign="`reason` is `clientError`; `otelkit stack logs alertmanager --lines 100` says 401, 403 or "
                "`invalid`.",
                fix="Put a valid one into its file in `deploy/alertmanager/secrets/`. It is read anew for each "
                "notification.",
            ),
            Cause(
                what="Who is notified is down, or nothing gets out of this network.",
                sign="`reason` is `serverError` or `other`; the log says `timeout` or `connection refused`.",
                fix="See its status page; `curl -sv` the address from Alertmanager's machine.",
            ),
        ),
        tell="Everybody on call, by hand: they hear nothing on this way until it is mended.",
        note="The other receivers carry this alert. With one receiver only, the dead man's switch is all there is.",
    ),
    drill="notifications-failing",
)

RELOAD_FAILED: Final = Alert(
    name="ConfigReloadFailed",
    group="stack",
    severity="warning",
    lasting="5m",
    expr="\nor ".join(f"{name} == 0" for name in _RELOADS),
    feels="Nothing yet: the old configuration is in force. After the next restart the program does not start.",
    summary="{{ $labels.job }} at {{ $labels.instance }} has not taken its new configuration",
    runbook=Runbook(
        looks=(
            Look(
                says="whose configuration is refused",
                query='{__name__=~"(prometheus|alertmanager|loki_ruler)_config_last_reload_successful"} == 0',
            ),
            Look(
                says="since when the configuration is in force that they run with",
                query='{__name__=~"(prometheus|alertmanager)_config_last_reload_success_timestamp_seconds"}',
            ),
        ),
        causes=(
            Cause(
                what="The last change has a mistake.",
                sign="`otelkit stack logs <job> --lines 50` names file and line.",
                fix="`promtool check config deploy/prometheus/prometheus.yaml`, `promtool check rules "
                "deploy/prometheus/rules/*.yaml`, `amtool check-config deploy/alertmanager/alertmanager.yaml`. Mend or "
                "undo it, then send SIGHUP.",
            ),
            Cause(
                what="A file that it names is not there, or may not be read.",
                sign="The same line says `no such file` or `permission denied`.",
                fix="Put it there, readable for the user that the program runs as.",
            ),
        ),
        tell="Whoever changed it last.",
    ),
    undrilled="it takes a configuration that is wrong",
)

CARDINALITY_HIGH: Final = Alert(
    name="CardinalityHigh",
    group="stack",
    severity="warning",
    lasting="10m",
    expr="prometheus_tsdb_head_series > $max_series",
    thresholds=(MAX_SERIES,),
    feels="Boards get slow; soon Prometheus runs out of memory, and with it all alerts.",
    summary="Prometheus at {{ $labels.instance }} holds {{ $value | humanize }} series",
    runbook=Runbook(
        looks=(
            Look(says="how many, and since when", query="prometheus_tsdb_head_series"),
            Look(
                says="of which service",
                query='topk(10, count by (service_name) ({service_name!=""}))',
            ),
            Look(
                says="of which metric",
                query='topk(10, count by (__name__) ({__name__!=""}))',
            ),
        ),
        causes=(
            Cause(
                what="A new version has an attribute with many values.",
                sign="One metric of one service grew with a deployment.",
                fix="Roll back, or take the attribute off by a view. Each metric of a process is cut at 2000 series: "
                "`OTELKIT_METRIC_CARDINALITY_LIMIT`.",
            ),
            Cause(
                what="Processes come and go, and each brings its series.",
                sign="`count by (service_name) (count by (service_name, service_instance_id) "
                "(process_cpu_time_seconds_total))` is large, or `ServiceRestarting` fires.",
                fix="Mend what restarts. Many short jobs: `docs/how-to/short-lived-processes.md`.",
            ),
            Cause(
                what="There is that much.",
                sign="It grew over weeks, with all services.",
                fix="Raise `PROMETHEUS_MEMORY` in `deploy/.env` and `max_series` in the parameters, or store "
                "elsewhere: `docs/how-to/scale-out.md`.",
            ),
        ),
        tell="The owners of the service that grew.",
    ),
    undrilled="it takes half a million series",
)

REQUESTS_FAILING: Final = Alert(
    name="StackRequestsFailing",
    group="stack",
    severity="warning",
    lasting="5m",
    # Native histograms: there is no `_count` of them.
    expr=f'histogram_count(sum by (job) (rate({_REQUESTS}, status_code=~"5.."}}[5m])))'
    f"\n/ histogram_count(sum by (job) (rate({_REQUESTS}}}[5m])))"
    "\n> $stack_errors",
    thresholds=(STACK_ERRORS,),
    feels="Searches for logs or traces fail, or what services send is late.",
    summary="{{ $labels.job }} answers {{ $value | humanizePercentage }} of its requests with 5xx",
    runbook=Runbook(
        looks=(
            Look(
                says="which requests fail",
                query="histogram_count(sum by (job, route, status_code) (rate("
                f'{_REQUESTS}, status_code=~"5.."}}[5m])))',
            ),
            Look(
                says="how long requests take, in seconds",
                query=f"histogram_quantile(0.95, sum by (job, route) (rate({_REQUESTS}}}[5m])))",
            ),
            Look(says="their memory, in bytes", query='process_resident_memory_bytes{job=~"loki|tempo"}'),
        ),
        causes=(
            Cause(
                what="It is at its limits: memory, disk, requests at a time.",
                sign="`otelkit stack logs loki --lines 100` (or `tempo`) has the reason with each failed request.",
                fix="Free its disk; raise `LOKI_MEMORY` or `TEMPO_MEMORY` in `deploy/.env`, and start it again.",
            ),
            Cause(
                what="Somebody's searches are too large.",
                sign="Searches fail, writes do not; they take seconds.",
                fix="Shorten their range, name the service in them; close the board that asks.",
            ),
            Cause(
                what="It has just been started.",
                sign="It ends within minutes.",
                fix="Wait.",
            ),
        ),
        tell="Whoever searches there; nobody else.",
    ),
    late=('loki_request_duration_seconds{status_code=~"5.."}',),
    undrilled="a store that answers 5xx for minutes has a full disk or no memory",
)


def _discarding(store: str, counter: str, what: str, *, drill: str = "", undrilled: str = "", limits: str) -> Alert:
    return Alert(
        name=f"{store}Discarding",
        group="stack",
        severity="warning",
        expr=f"sum by (job, reason) ({grown(counter)}) > 0",
        feels=f"Single {what} are missing; they are never stored.",
        summary=f'{store} throws {what} away: {{{{ $value | printf "%.0f" }}}} in five minutes, '
        "{{ $labels.reason }}",
        runbook=Runbook(
            looks=(
                Look(says="how many, and why", query=f"sum by (reason) ({counter})"),
                Look(
                    says="what the Collector could not hand over",
                    query="sum by (exporter, signal, reason) (collector_signal:lost_items:increase5m)",
                ),
            ),
            causes=(
                Cause(
                    what=f"A service makes {what} that are over a limit.",
                    sign=f"`reason` names the limit. `otelkit stack logs collector --lines 200`, or `{store.lower()}`, "
                    "names what was refused.",
                    fix=f"Make it smaller where it comes from; or raise the limit in `{limits}`.",
                ),
                Cause(
                    what="They came too late, or from a clock that is wrong.",
                    sign="`reason` speaks of age, time or order.",
                    fix="After an outage: nothing, it passes. Else see to the clock of the host.",
                ),
                Cause(
                    what="More came at once than is taken.",
                    sign="`reason` is `rate_limited`, or speaks of a rate.",
                    fix=f"Find who sends so much, on the board Cost; or raise the rate in `{limits}`.",
                ),
            ),
            tell="The owners of the service, if the log names one.",
        ),
        late=(counter,),
        drill=drill,
        undrilled=undrilled,
    )


LOKI_DISCARDING: Final = _discarding(
    "Loki", "loki_discarded_samples_total", "log records", drill="refused-logs", limits="deploy/loki/loki.yaml"
)
TEMPO_DISCARDING: Final = _discarding(
    "Tempo",
    "tempo_discarded_spans_total",
    "spans",
    undrilled="it takes a trace of more than 5 MB",
    limits="deploy/tempo/tempo.yaml",
)

GRAPH_FAILING: Final = Alert(
    name="ServiceGraphFailing",
    group="stack",
    severity="warning",
    lasting="5m",
    expr="sum by (job, instance) (" + grown("tempo_metrics_generator_registry_collections_failed_total") + ") > 0"
    '\nor sum by (job, instance) (increase(prometheus_remote_storage_samples_failed_total{job="tempo"}[5m])) > 0',
    feels="The map of services has holes, or stands still. Nothing else.",
    summary="Tempo at {{ $labels.instance }} cannot tell Prometheus its service graph",
    runbook=Runbook(
        looks=(
            Look(
                says="whether it still collects, and what it could not send",
                query="rate(tempo_metrics_generator_registry_collections_total[5m])",
            ),
            Look(
                says="samples that Prometheus refused",
                query='increase(prometheus_remote_storage_samples_failed_total{job="tempo"}[5m])',
            ),
        ),
        causes=(
            Cause(
                what="Prometheus does not take what is written to it.",
                sign="`otelkit stack logs tempo --lines 100` has `remote write` and a status; 404 says that it was "
                "started without `--web.enable-remote-write-receiver`.",
                fix="Start Prometheus with it, or correct `STACK_PROMETHEUS_URL`.",
            ),
            Cause(
                what="Native and classic histograms are made at once.",
                sign="The log says `out of order sample`.",
                fix="`generate_native_histograms: classic` in `deploy/tempo/tempo.yaml`.",
            ),
        ),
        tell="Nobody.",
    ),
    late=("tempo_metrics_generator_registry_collections_failed_total",),
    undrilled="it takes a Prometheus that refuses what Tempo writes, for five minutes",
)

GROUP: Final = Group(
    name="stack",
    about="The programs that store, evaluate and notify.",
    alerts=(
        TARGET_DOWN,
        RULES_FAILING,
        CANNOT_NOTIFY,
        LOKI_RULES_FAILING,
        NOTIFICATIONS_FAILING,
        STORAGE_FAILING,
        DROPPING_SAMPLES,
        RELOAD_FAILED,
        CARDINALITY_HIGH,
        REQUESTS_FAILING,
        LOKI_DISCARDING,
        TEMPO_DISCARDING,
        GRAPH_FAILING,
    ),
)
