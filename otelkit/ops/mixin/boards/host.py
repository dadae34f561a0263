"""The only place for the board of machines: what is left of processor, memory, disk and network, and who takes it."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import CHOICE, CHOSEN, RATE, rate, threshold, to
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_DISKS = 'fstype!~"tmpfs|overlay|squashfs|ramfs"'
_CARDS = 'device!~"lo|ifb.*|veth.*"'
_REQUESTS = to("red", "Requests")
_ALERTS = to("alerts", "Alerts")


def _by_machine(metric: str, selected: str = "") -> str:
    return f"sum by (instance) (rate({metric}{{{selected}}}{RATE}))"


_SYMPTOMS = (
    Panel(
        title="Pressure",
        about="Share of the time in which something waited for processor, disk or memory. The best sign of a machine "
        "that is too small: 0 is nobody waiting, however busy it is.",
        unit="percentunit",
        targets=tuple(
            Target(query=f"rate(node_pressure_{what}_waiting_seconds_total{RATE})", legend=f"{{{{instance}}}} {what}")
            for what in ("cpu", "io", "memory")
        ),
        link=_REQUESTS,
        width=12,
    ),
    Panel(
        title="Disk left",
        about="Share of each disk that is free. Writes fail when nothing is; red is what pages.",
        unit="percentunit",
        targets=(
            Target(
                query=f"node_filesystem_avail_bytes{{{_DISKS}}} / node_filesystem_size_bytes{{{_DISKS}}}",
                legend="{{instance}} {{mountpoint}}",
            ),
        ),
        link=_ALERTS,
        kind="bargauge",
        width=12,
        bad=threshold("disk"),
        low=True,
        most=1.0,
    ),
)

_RESOURCES = (
    Panel(
        title="Processor",
        about="Share of all processors that is busy. Flat at the top for long: more of them, or less work.",
        unit="percentunit",
        targets=(
            Target(
                query='1 - sum by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval])) / '
                'count by (instance) (node_cpu_seconds_total{mode="idle"})',
                legend="{{instance}}",
            ),
        ),
        link=_REQUESTS,
        warn=threshold("cpu"),
        most=1.0,
    ),
    Panel(
        title="Memory",
        about="Share of the memory that is taken, without what the kernel would give back.",
        unit="percentunit",
        targets=(
            Target(query="1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", legend="{{instance}}"),
        ),
        link=_REQUESTS,
        warn=threshold("mem"),
        most=1.0,
    ),
    Panel(
        title="Load for each processor",
        about="Programs that run or wait, for each processor. Above 1 something waits.",
        unit="short",
        targets=(
            Target(
                query='sum by (instance) (node_load1) / count by (instance) (node_cpu_seconds_total{mode="idle"})',
                legend="{{instance}}",
            ),
        ),
        link=_REQUESTS,
    ),
    Panel(
        title="Disk",
        about="Bytes read and written each second.",
        unit="Bps",
        targets=(
            Target(query=_by_machine("node_disk_read_bytes_total"), legend="read {{instance}}"),
            Target(query=_by_machine("node_disk_written_bytes_total"), legend="written {{instance}}"),
        ),
        link=to("database", "Database"),
        width=12,
    ),
    Panel(
        title="Network",
        about="Bytes received and sent each second, over real cards.",
        unit="Bps",
        targets=(
            Target(query=_by_machine("node_network_receive_bytes_total", _CARDS), legend="received {{instance}}"),
            Target(query=_by_machine("node_network_transmit_bytes_total", _CARDS), legend="sent {{instance}}"),
        ),
        link=to("stack", "Stack"),
        width=12,
    ),
)

_SERVICES = (
    Panel(
        title="Processor, by service",
        about="Processors that each service keeps busy: 1 is one whole.",
        unit="short",
        targets=(Target(query=rate("service_name", "process_cpu_time_seconds_total"), legend="{{service_name}}"),),
        link=_REQUESTS,
    ),
    Panel(
        title="Memory, by service",
        about="Memory of the largest process of each service. One that only rises is a leak.",
        unit="bytes",
        targets=(
            Target(query=f"max by (service_name) (process_memory_usage_bytes{{{CHOSEN}}})", legend="{{service_name}}"),
        ),
        link=_REQUESTS,
        warn=threshold("rss"),
    ),
    Panel(
        title="Open files, by service",
        about="Files and connections that the process with most of them has open. At its limit nothing can be opened.",
        unit="short",
        targets=(
            Target(
                query=f"max by (service_name) (process_unix_file_descriptor_count{{{CHOSEN}}})",
                legend="{{service_name}}",
            ),
        ),
        link=_REQUESTS,
        warn=threshold("fds"),
    ),
    Panel(
        title="Threads, by service",
        about="Threads of the process with most of them. A number that only rises is a pool that nobody ends.",
        unit="short",
        targets=(Target(query=f"max by (service_name) (process_thread_count{{{CHOSEN}}})", legend="{{service_name}}"),),
        link=_REQUESTS,
        width=12,
    ),
    Panel(
        title="Garbage collections, by service",
        about="Runs of Python's collector over its oldest objects each second: each one stops the process.",
        unit="ops",
        targets=(
            Target(
                query=rate("service_name", "cpython_gc_collections_total", f'{CHOSEN}, cpython_gc_generation="2"'),
                legend="{{service_name}}",
            ),
        ),
        link=_REQUESTS,
        width=12,
    ),
)

BOARD: Final = Board(
    name="host",
    title="Hosts",
    question="What is left of the machines, and who takes it?",
    rows={"Symptoms": _SYMPTOMS, "Resources": _RESOURCES, "By service": _SERVICES},
    variables=CHOICE,
)
