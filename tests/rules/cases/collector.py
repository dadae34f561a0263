"""Cases of the alerts on the Collector."""

from __future__ import annotations

from typing import Final

from rules.case import Case

_HERE: Final = {"instance": "collector:8888"}
_SCRAPED: Final = {**_HERE, "job": "otelcol"}
_OF: Final = 'instance="collector:8888", job="otelcol"'
_STORES: Final = {
    "traces": ("otlp_grpc/tempo", "spans"),
    "metrics": ("otlp_http/prometheus", "metric_points"),
    "logs": ("otlp_http/loki", "log_records"),
}
_REFUSED: Final = f'otelcol_receiver_refused_spans_total{{{_OF}, receiver="otlp", transport="http"}}'
_EARLY: Final = f"otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total{{{_OF}}}"
_HEAP: Final = f"otelcol_process_runtime_heap_alloc_bytes{{{_OF}}}"


def _queue(signal: str, values: str) -> dict[str, str]:
    return {f'otelcol_exporter_queue_size{{{_OF}, data_type="{signal}", exporter="{_STORES[signal][0]}"}}': values}


def _capacity(signal: str, values: str) -> dict[str, str]:
    return {f'otelcol_exporter_queue_capacity{{{_OF}, data_type="{signal}", exporter="{_STORES[signal][0]}"}}': values}


def _counted(outcome: str, signal: str, values: str) -> dict[str, str]:
    exporter, items = _STORES[signal]
    return {f'otelcol_exporter_{outcome}_{items}_total{{{_OF}, exporter="{exporter}", server_address="x"}}': values}


def _waits(signal: str) -> dict[str, str]:
    return {**_SCRAPED, "exporter": _STORES[signal][0], "data_type": signal}


def _lost(signal: str, reason: str) -> dict[str, str]:
    return {**_HERE, "exporter": _STORES[signal][0], "signal": signal, "reason": reason}


_DOWN = (
    Case(
        alert="CollectorDown",
        says="it does not answer any more",
        series={f"up{{{_OF}}}": "1x4 0x20"},
        at="1m45s",
        fires=(_SCRAPED,),
        summary="The Collector at collector:8888 does not answer",
    ),
    Case(
        alert="CollectorDown",
        says="it did not answer one scrape",
        series={f"up{{{_OF}}}": "1x4 0 1x20"},
        at="1m45s",
    ),
    Case(
        alert="CollectorDown",
        says="it has not answered for less than 30 s",
        series={f"up{{{_OF}}}": "1x4 0x20"},
        at="1m30s",
    ),
    Case(
        alert="CollectorDown",
        says="nobody is told to scrape it",
        series={'up{instance="loki:3100", job="loki"}': "1x20"},
        at="1m",
        fires=({"job": "otelcol"},),
        summary="The Collector does not answer",
    ),
    Case(
        alert="CollectorDown",
        says="another program is down",
        series={f"up{{{_OF}}}": "1x20", 'up{instance="loki:3100", job="loki"}': "0x20"},
        at="3m",
    ),
)

_REFUSING = (
    Case(
        alert="CollectorRefusing",
        says="spans are refused",
        series={_REFUSED: "0x10 30+30x20"},
        at="5m",
        fires=({**_HERE, "signal": "traces"},),
    ),
    Case(
        alert="CollectorRefusing",
        says="two spans a second are refused, all the time",
        series={_REFUSED: "0+30x40"},
        at="8m",
        fires=({**_HERE, "signal": "traces"},),
        summary="The Collector at collector:8888 refuses traces: 2 a second",
    ),
    Case(
        alert="CollectorRefusing",
        says="spans have been refused for less than a minute",
        series={_REFUSED: "0x10 30+30x20"},
        at="3m30s",
    ),
    Case(alert="CollectorRefusing", says="nothing was refused lately", series={_REFUSED: "7x60"}, at="8m"),
)

_REASONS: Final = ("send_failed", "enqueue_failed")
_EVERY_LOSS: Final = tuple(_lost(signal, reason) for signal in _STORES for reason in _REASONS)


def _losses(values: str) -> dict[str, str]:
    every = ((reason, signal) for reason in _REASONS for signal in _STORES)
    return {series: each for reason, signal in every for series, each in _counted(reason, signal, values).items()}


_DROPPING = (
    Case(
        alert="CollectorDropping",
        says="the first log records are lost",
        series=_counted("send_failed", "logs", "_x9 3x40"),
        at="3m",
        fires=(_lost("logs", "send_failed"),),
        summary="The Collector at collector:8888 could not hand logs to otlp_http/loki: 3 in five minutes "
        "(send_failed)",
    ),
    Case(
        alert="CollectorDropping",
        says="the first of each signal are lost, in either way",
        series=_losses("_x9 3x40"),
        at="3m",
        fires=_EVERY_LOSS,
    ),
    Case(
        alert="CollectorDropping",
        says="more of each signal are lost",
        series=_losses("3x39 4x40"),
        at="10m15s",
        fires=_EVERY_LOSS,
    ),
    Case(
        alert="CollectorDropping",
        says="a Collector that began anew loses fewer than before",
        series=_counted("send_failed", "logs", "7x40 _x8 3x40"),
        at="14m",
        fires=(_lost("logs", "send_failed"),),
        summary="The Collector at collector:8888 could not hand logs to otlp_http/loki: 3 in five minutes "
        "(send_failed)",
    ),
    Case(alert="CollectorDropping", says="the last were lost long ago", series=_losses("3x80"), at="15m"),
    Case(
        alert="CollectorDropping",
        says="nobody asked for twenty minutes, and no more were lost",
        series=_losses("3x40 _x80 3x40"),
        at="32m",
    ),
)

_FILLING = (
    Case(
        alert="CollectorQueueFilling",
        says="the queue is 55 % full",
        series=_capacity("traces", "1000x40") | _queue("traces", "550x40"),
        at="5m",
        fires=({**_HERE, "exporter": "otlp_grpc/tempo", "data_type": "traces"},),
        summary="The queue of otlp_grpc/tempo (traces) at collector:8888 is 55% full",
    ),
    Case(
        alert="CollectorQueueFilling",
        says="the queue is 45 % full",
        series=_capacity("traces", "1000x40") | _queue("traces", "450x40"),
        at="5m",
    ),
    Case(
        alert="CollectorQueueFilling",
        says="the queue has been half full for less than two minutes",
        series=_capacity("traces", "1000x40") | _queue("traces", "0x9 900x40"),
        at="4m15s",
    ),
)

_SENDING = {
    series: values
    for signal in _STORES
    for series, values in (_queue(signal, "100x40") | _counted("sent", signal, "0+30x40")).items()
}
_NOT_ACCEPTING = (
    *(
        Case(
            alert="BackendNotAccepting",
            says=f"{signal} wait, and none were sent for two minutes",
            series=_queue(signal, "0x9 100+100x40") | _counted("sent", signal, "0+30x9 300x40"),
            at="5m",
            fires=(_waits(signal),),
        )
        for signal in _STORES
    ),
    Case(
        alert="BackendNotAccepting",
        says="logs wait since the Collector began, and it has never sent any",
        series=_queue("logs", "2048x40"),
        at="3m",
        fires=(_waits("logs"),),
        summary="otlp_http/loki takes no logs from the Collector at collector:8888; 2kiB wait",
    ),
    Case(
        alert="BackendNotAccepting",
        says="spans have waited for less than two minutes",
        series=_queue("traces", "0x9 100+100x40") | _counted("sent", "traces", "0+30x9 300x40"),
        at="4m",
    ),
    Case(alert="BackendNotAccepting", says="something always waits, and all is sent", series=_SENDING, at="8m"),
    Case(
        alert="BackendNotAccepting",
        says="nothing is sent, and nothing waits",
        series=_queue("traces", "0x40") | _counted("sent", "traces", "300x40"),
        at="8m",
    ),
)

_FIVE_HUNDRED_MIB = 500 * 2**20
_MEMORY = (
    Case(
        alert="CollectorMemoryHigh",
        says="600 MiB are on the heap",
        series={_HEAP: f"{600 * 2**20}x40"},
        at="6m",
        fires=(_SCRAPED,),
        summary="The Collector at collector:8888 has 600MiB on its heap",
    ),
    Case(alert="CollectorMemoryHigh", says="500 MiB are", series={_HEAP: f"{_FIVE_HUNDRED_MIB}x40"}, at="8m"),
    Case(
        alert="CollectorMemoryHigh",
        says="1 GiB has been on the heap for less than five minutes",
        series={_HEAP: f"0x9 {2**30}x40"},
        at="7m15s",
    ),
)

_DROPPED_EARLY = (
    Case(
        alert="TailSamplingDroppedEarly",
        says="three traces a second are dropped undecided",
        series={_EARLY: "0+45x60"},
        at="12m",
        fires=(_SCRAPED,),
        summary="The Collector at collector:8888 drops 3 traces a second before it has decided about them",
    ),
    Case(
        alert="TailSamplingDroppedEarly",
        says="traces have been dropped for less than five minutes",
        series={_EARLY: "0x20 45+45x60"},
        at="10m",
    ),
    Case(alert="TailSamplingDroppedEarly", says="none was dropped lately", series={_EARLY: "45x60"}, at="12m"),
)

CASES: Final = (
    *_DOWN,
    *_REFUSING,
    *_DROPPING,
    *_FILLING,
    *_NOT_ACCEPTING,
    *_MEMORY,
    *_DROPPED_EARLY,
)
