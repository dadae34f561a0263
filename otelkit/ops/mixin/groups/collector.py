"""The only place for what is recorded of the Collector, and for its alerts: what it takes, sends, holds and loses."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.groups._grown import grown
from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Recording, Runbook, Threshold

_ITEMS: Final = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}
"""What each signal is counted in."""


def _of_receivers(outcome: str) -> tuple[Recording, ...]:
    return tuple(
        Recording(
            name=f"collector_signal:{outcome}_items:rate5m",
            expr=f"sum by (instance, receiver) (rate(otelcol_receiver_{outcome}_{items}_total[5m]))",
            labels={"signal": signal},
        )
        for signal, items in _ITEMS.items()
    )


RECORDINGS: Final = (
    *_of_receivers("accepted"),
    *_of_receivers("refused"),
    *(
        Recording(
            name="collector_signal:sent_items:rate5m",
            expr=f"sum by (instance, exporter) (rate(otelcol_exporter_sent_{items}_total[5m]))",
            labels={"signal": signal},
        )
        for signal, items in _ITEMS.items()
    ),
    *(
        Recording(
            name="collector_signal:lost_items:increase5m",
            expr=f"sum by (instance, exporter) ({grown(f'otelcol_exporter_{reason}_{items}_total')})",
            labels={"signal": signal, "reason": reason},
        )
        for signal, items in _ITEMS.items()
        for reason in ("send_failed", "enqueue_failed")
    ),
)

_MIB: Final = 2**20
MEMORY_MIB: Final = 768
"""`COLLECTOR_MEMORY_MIB` of deploy/.env: above it everything is refused."""
SPIKE_MIB: Final = 128
"""`spike_limit_mib` of collector/config.yaml: by so much earlier the Collector begins to refuse."""

QUEUE_FILL: Final = Threshold(
    name="queue_fill",
    default=0.5,
    unit="ratio",
    about="share of an exporter's queue that is taken",
    observed="max by (exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
)
# Not the resident set: it has the files of the queues in it, which the kernel takes back whenever it needs to.
COLLECTOR_HEAP: Final = Threshold(
    name="collector_heap",
    default=0.8 * (MEMORY_MIB - SPIKE_MIB) * _MIB,
    unit="bytes",
    about="the Collector's heap; at `COLLECTOR_MEMORY_MIB` less 128 MiB it begins to refuse",
    observed="max by (instance) (otelcol_process_runtime_heap_alloc_bytes)",
)

_QUEUES: Final = Look(
    says="how full each queue is; one that only grows has a store behind it that does not take",
    query="max by (exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
)
_STORE: Final = (
    "`otelkit stack status`, then `otelkit stack logs tempo` (or `loki`, `prometheus`). Free its disk, or start it "
    "again: `otelkit stack up` starts what does not run. What is queued is then sent by itself."
)


def _stuck(signal: str, items: str) -> str:
    # `unless`, not a rate of zero: of an exporter that has not sent anything yet there is no count.
    waiting = f'min_over_time(otelcol_exporter_queue_size{{data_type="{signal}"}}[1m]) > 0'
    sending = f"sum by (instance, exporter) (rate(otelcol_exporter_sent_{items}_total[1m])) > 0"
    return f"({waiting} unless on (instance, exporter) {sending})"


DOWN: Final = Alert(
    name="CollectorDown",
    group="collector",
    severity="critical",
    lasting="30s",
    expr='up{job="otelcol"} == 0 or absent(up{job="otelcol"})',
    feels="We are blind: no span, no metric and no log of any service arrives. Users notice nothing of it.",
    summary="The Collector{{ with $labels.instance }} at {{ . }}{{ end }} does not answer",
    runbook=Runbook(
        looks=(
            Look(
                says="which Collector is gone; no series at all: nobody is told to scrape it", query='up{job="otelcol"}'
            ),
            Look(
                says="what services hold for it, each until its own queue is full",
                query="sum by (service_name, otelkit_signal) (last_over_time(otelkit_telemetry_pending[15m]))",
            ),
        ),
        causes=(
            Cause(
                what="It ended: its memory, a configuration that it does not take, a queue's file that is damaged.",
                sign="`otelkit stack status` says so. The last line of `otelkit stack logs collector` names a key of "
                "the configuration, or `invalid database`, or is cut off (killed).",
                fix="Undo the last change of `collector/`. A damaged file: move it out of `queue/` "
                "(`collector/README.md`, Queues). Then `otelkit stack up`.",
            ),
            Cause(
                what="It runs and answers nobody.",
                sign="`otelkit stack status` says that it is not ready. Its log repeats `memory` or `no space left`.",
                fix="Free the disk of its queue; raise `COLLECTOR_MEMORY_MIB` in `deploy/.env`. Then start it again.",
            ),
            Cause(
                what="Prometheus cannot reach it.",
                sign="`otelkit doctor --prove` gets a canary through all stores.",
                fix="Correct the address in `deploy/prometheus/targets/collector.yaml`, or the network between the "
                "two.",
            ),
        ),
        tell="Whoever is on call for any service: until it is back no alert about a service can be believed.",
        note="Services keep what they could not send, 8 MiB a signal and process by default, and send it when the "
        "Collector is back. `ServiceDown` and what else follows from missing data is not told meanwhile.",
    ),
    drill="collector-down",
)

REFUSING: Final = Alert(
    name="CollectorRefusing",
    group="collector",
    severity="critical",
    lasting="1m",
    expr="sum by (instance, signal) (collector_signal:refused_items:rate5m) > 0",
    feels="Services are sent away and have to keep their telemetry; when their queues are full it is lost.",
    summary="The Collector at {{ $labels.instance }} refuses {{ $labels.signal }}: {{ $value | humanize }} a second",
    runbook=Runbook(
        looks=(
            Look(
                says="since when, and which signal",
                query="sum by (instance, signal) (collector_signal:refused_items:rate5m)",
            ),
            _QUEUES,
            Look(
                says="its heap: it refuses everything from `COLLECTOR_MEMORY_MIB` less 128 MiB on",
                query="otelcol_process_runtime_heap_alloc_bytes",
            ),
        ),
        causes=(
            Cause(
                what="A queue is full, since its store has not taken anything for long.",
                sign="One signal only; its queue stands at 1, and `CollectorQueueFilling` fires too.",
                fix=_STORE,
            ),
            Cause(
                what="Its memory is used up.",
                sign="All signals; the heap stands near the limit. The log says `data refused due to high memory "
                "usage`.",
                fix="Raise `COLLECTOR_MEMORY_MIB` in `deploy/.env` (at most 80 % of `COLLECTOR_MEMORY`), then `otelkit "
                "stack up`. Who sends so much: `topk(5, sum by (service_name) "
                "(rate(traces_span_metrics_calls_total[5m])))`.",
            ),
            Cause(
                what="The disk of its queues is full.",
                sign="The log says `no space left on device`; all signals.",
                fix="Make room. Nothing that it accepted is lost by that.",
            ),
        ),
        tell="The owners of the service that sends most, if one stands out.",
        note="It goes on for up to five minutes after the last refusal.",
    ),
    undrilled="it takes a full queue of 1 GiB, or a Collector short of memory",
)

DROPPING: Final = Alert(
    name="CollectorDropping",
    group="collector",
    severity="critical",
    expr="sum by (instance, exporter, signal, reason) (collector_signal:lost_items:increase5m) > 0",
    feels="Telemetry is lost: traces, metrics or logs of these minutes will have gaps that never close.",
    summary="The Collector at {{ $labels.instance }} could not hand {{ $labels.signal }} to {{ $labels.exporter }}: "
    '{{ $value | printf "%.0f" }} in five minutes ({{ $labels.reason }})',
    runbook=Runbook(
        looks=(
            Look(
                says="how much, of what, to whom, and how it went wrong",
                query="sum by (exporter, signal, reason) (collector_signal:lost_items:increase5m)",
            ),
            Look(
                says="why Loki refused, if the exporter is Loki's",
                query="sum by (reason) (loki_discarded_samples_total)",
            ),
            _QUEUES,
        ),
        causes=(
            Cause(
                what="A store refuses for good what it is sent: too old, too long, too many labels.",
                sign="`reason` is `send_failed`. `otelkit stack logs collector --lines 200` has `Permanent error` and "
                "the store's words.",
                fix="Mend what sends it (the words name the stream or the limit), or raise the limit in `deploy/loki/` "
                "or `deploy/tempo/`. What was refused is gone.",
            ),
            Cause(
                what="A queue is full.",
                sign="`reason` is `enqueue_failed`; `CollectorQueueFilling` fired before.",
                fix=f"{_STORE} Senders get it back and come again, as long as their own queues last; span metrics, and "
                "traces behind the `gateway` overlay, are lost.",
            ),
        ),
        tell="Who relies on these data for a report or an SLO: the gap stays.",
        note="Items count by whole requests: a store may have taken the good ones of a request that it refused. After "
        "an hour without Prometheus it tells, for five minutes, of all that was lost since the Collector began. What a "
        "network loses after it said that it has it nobody counts: see `TelemetryLossSuspected`.",
    ),
    late=(
        "collector_signal:lost_items:increase5m",
        *(
            f"otelcol_exporter_{reason}_{items}_total"
            for items in _ITEMS.values()
            for reason in ("send_failed", "enqueue_failed")
        ),
    ),
    drill="refused-logs",
)

QUEUE_FILLING: Final = Alert(
    name="CollectorQueueFilling",
    group="collector",
    severity="warning",
    lasting="2m",
    expr="max by (instance, exporter, data_type) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity) > "
    "$queue_fill",
    thresholds=(QUEUE_FILL,),
    feels="Nothing yet. When the queue is full, services are sent away, and lose what they cannot keep.",
    summary="The queue of {{ $labels.exporter }} ({{ $labels.data_type }}) at {{ $labels.instance }} is "
    "{{ $value | humanizePercentage }} full",
    runbook=Runbook(
        looks=(
            _QUEUES,
            Look(
                says="seconds until it is full, as it grew in the last ten minutes",
                query="(otelcol_exporter_queue_capacity - otelcol_exporter_queue_size) / "
                "(deriv(otelcol_exporter_queue_size[10m]) > 0)",
            ),
            Look(
                says="what is sent, and what comes in",
                query="sum by (signal) (collector_signal:sent_items:rate5m) / sum by (signal) "
                "(collector_signal:accepted_items:rate5m)",
            ),
        ),
        causes=(
            Cause(
                what="The store behind it is down, or refuses for a time.",
                sign="`BackendNotAccepting` or `TargetDown` fires, or what is sent is zero.",
                fix=_STORE,
            ),
            Cause(
                what="The store takes less than comes in.",
                sign="Something is sent, less than is accepted, for long.",
                fix="Find who sends so much, on the board Cost, and make it sample. Or give the store more: "
                "`docs/how-to/scale-out.md`.",
            ),
        ),
        tell="Nobody, as long as the seconds left are more than it takes to mend the store.",
    ),
    undrilled="it takes half a GiB of telemetry",
)

NOT_ACCEPTING: Final = Alert(
    name="BackendNotAccepting",
    group="collector",
    severity="warning",
    lasting="1m",
    expr="\nor ".join(_stuck(signal, items) for signal, items in _ITEMS.items()),
    feels="The newest traces, metrics or logs cannot be found. They wait in the Collector and come later.",
    summary="{{ $labels.exporter }} takes no {{ $labels.data_type }} from the Collector at {{ $labels.instance }}; "
    "{{ $value | humanize1024 }}B wait",
    runbook=Runbook(
        looks=(
            Look(says="what waits, in bytes", query="otelcol_exporter_queue_size > 0"),
            Look(says="which program of the stack does not answer at all", query="up == 0"),
            _QUEUES,
        ),
        causes=(
            Cause(
                what="The store is down.",
                sign="`up` is 0; `otelkit stack status` names it.",
                fix=_STORE,
            ),
            Cause(
                what="It is up and answers with errors: its disk is full, a limit is reached, it is starting.",
                sign="`otelkit stack logs collector --lines 50` has `Exporting failed. Will retry` and the store's "
                "words.",
                fix="Free its disk. A limit: raise it in `deploy/loki/` or `deploy/tempo/`.",
            ),
            Cause(
                what="Its address or its certificate is wrong.",
                sign="The same line says `connection refused`, `no such host` or `certificate`, since a change.",
                fix="Correct `STACK_TEMPO_OTLP_URL`, `STACK_LOKI_URL` or `STACK_PROMETHEUS_URL`.",
            ),
        ),
        tell="Whoever looks for these data now: they are late, not lost, until the queue is full.",
    ),
    drill="tempo-down",
)

MEMORY_HIGH: Final = Alert(
    name="CollectorMemoryHigh",
    group="collector",
    severity="warning",
    lasting="5m",
    expr="otelcol_process_runtime_heap_alloc_bytes > $collector_heap",
    thresholds=(COLLECTOR_HEAP,),
    feels="Nothing yet. A little more, and all telemetry is refused.",
    summary="The Collector at {{ $labels.instance }} has {{ $value | humanize1024 }}B on its heap",
    runbook=Runbook(
        looks=(
            Look(says="its heap, and since when it grows", query="otelcol_process_runtime_heap_alloc_bytes"),
            Look(
                says="how many traces wait for their decision, with the `gateway` overlay",
                query="otelcol_processor_tail_sampling_sampling_traces_on_memory",
            ),
            Look(
                says="series that it makes of spans, by service: names of spans with ids in them are many",
                query="topk(10, count by (service_name) (traces_span_metrics_calls_total))",
            ),
        ),
        causes=(
            Cause(
                what="More comes in than it was made for.",
                sign="`sum by (signal) (collector_signal:accepted_items:rate5m)` grew with the heap.",
                fix="Raise `COLLECTOR_MEMORY_MIB` in `deploy/.env`, with `COLLECTOR_MEMORY` and with `collector_heap` "
                "in the parameters. Or run another Collector: `docs/how-to/scale-out.md`.",
            ),
            Cause(
                what="A service puts ids into the names of its spans.",
                sign="One service has thousands of series of span metrics.",
                fix="Name spans after what is done, and put the id into an attribute.",
            ),
            Cause(
                what="Tail sampling holds too many traces.",
                sign="Traces in memory near `STACK_GATEWAY_TRACES`.",
                fix="Shorten `STACK_GATEWAY_WAIT`, or give it the memory.",
            ),
        ),
        tell="Nobody, unless `CollectorRefusing` follows.",
        note="Its heap, not what `top` shows: the files of the queues are counted there.",
    ),
    undrilled="it takes half a GiB of heap",
)

DROPPED_EARLY: Final = Alert(
    name="TailSamplingDroppedEarly",
    group="collector",
    severity="warning",
    lasting="5m",
    expr="rate(otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total[5m]) > 0",
    feels="Traces are missing, those of failed and slow requests among them.",
    summary="The Collector at {{ $labels.instance }} drops {{ $value | humanize }} traces a second before it has "
    "decided about them",
    runbook=Runbook(
        looks=(
            Look(
                says="since when, and how many",
                query="rate(otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total[5m])",
            ),
            Look(
                says="traces in memory: at `STACK_GATEWAY_TRACES`, 50000 unless set, the oldest has to go",
                query="otelcol_processor_tail_sampling_sampling_traces_on_memory",
            ),
        ),
        causes=(
            Cause(
                what="More new traces come than it may hold until it decides.",
                sign="Traces in memory stand at the limit.",
                fix="Raise `STACK_GATEWAY_TRACES`, and `COLLECTOR_MEMORY_MIB` with it (10 kB a trace), or shorten "
                "`STACK_GATEWAY_WAIT`.",
            ),
            Cause(
                what="Something makes a trace of each of very many small things: probes, polling.",
                sign="`topk(5, sum by (service_name, span_name) (rate(traces_span_metrics_calls_total{span_kind="
                '"SPAN_KIND_SERVER"}[5m])))` shows them.',
                fix="Leave them out where they begin: `OTELKIT_TRACES_SAMPLER_RULES`, "
                "`docs/how-to/sampling-and-trust.md`.",
            ),
        ),
        tell="Whoever is looking into a failure: its trace may be missing. Counts and durations stay right.",
        note="With the `gateway` overlay only.",
    ),
    undrilled="it takes the gateway overlay and 50,000 traces in ten seconds",
)

GROUP: Final = Group(
    name="collector",
    about="The Collector: what it takes, sends, holds and loses.",
    recordings=RECORDINGS,
    alerts=(DOWN, REFUSING, DROPPING, QUEUE_FILLING, NOT_ACCEPTING, MEMORY_HIGH, DROPPED_EARLY),
)
