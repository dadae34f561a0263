"""The only place for the board of containers and pods: what each takes of what it may have.

The names are those of the metadata of the receivers `docker_stats` and `kubelet_stats`, as Prometheus writes them.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import RATE, threshold, to
from otelkit.ops.mixin.boards.model import Board, Panel, Target

_CONTAINER: Final = "host_name, container_name"
_POD: Final = "k8s_namespace_name, k8s_pod_name"
_NAMED: Final = "{{host_name}} {{container_name}}"
_PODS: Final = "{{k8s_namespace_name}} {{k8s_pod_name}}"
_HOSTS: Final = to("host", "Hosts")
_ALERTS: Final = to("alerts", "Alerts")


def _rate(by: str, metric: str) -> str:
    return f"sum by ({by}) (rate({metric}{RATE}))"


BOARD: Final = Board(
    name="containers",
    title="Containers",
    question="Which container or pod takes too much, or is killed?",
    rows={
        "Symptoms": (
            Panel(
                title="Memory of the limit",
                about="Share of the memory that it may have. At 100 % it is killed, and what it did is lost.",
                unit="percentunit",
                targets=(
                    Target(
                        query=f"max by ({_CONTAINER}) "
                        "(container_memory_usage_total_bytes / (container_memory_usage_limit_bytes > 0))",
                        legend=_NAMED,
                    ),
                    Target(query=f"max by ({_POD}) (k8s_pod_memory_limit_utilization_ratio)", legend=_PODS),
                ),
                link=_ALERTS,
                width=12,
                warn=threshold("container_mem"),
            ),
            Panel(
                title="Restarts",
                about="Restarts in a quarter of an hour. More than one is a program that does not stay up.",
                unit="short",
                targets=(
                    Target(query=f"sum by ({_CONTAINER}) (increase(container_restarts_total[15m]))", legend=_NAMED),
                    Target(query=f"sum by ({_POD}) (increase(k8s_container_restarts[15m]))", legend=_PODS),
                ),
                link=_ALERTS,
                width=12,
                bad=threshold("container_restarts"),
            ),
        ),
        "Resources": (
            Panel(
                title="Processor",
                about="Processors that it keeps busy: 1 is one whole. Flat at a limit is too few.",
                unit="short",
                targets=(
                    Target(query=f"{_rate(_CONTAINER, 'container_cpu_usage_nanoseconds_total')} / 1e9", legend=_NAMED),
                    Target(query=f"sum by ({_POD}) (k8s_pod_cpu_usage)", legend=_PODS),
                ),
                link=_HOSTS,
            ),
            Panel(
                title="Memory",
                about="Memory that it uses. A line that only rises is a leak.",
                unit="bytes",
                targets=(
                    Target(query=f"sum by ({_CONTAINER}) (container_memory_usage_total_bytes)", legend=_NAMED),
                    Target(query=f"sum by ({_POD}) (k8s_pod_memory_working_set_bytes)", legend=_PODS),
                ),
                link=_HOSTS,
            ),
            Panel(
                title="Network",
                about="Bytes received and sent each second.",
                unit="Bps",
                targets=(
                    Target(
                        query=_rate(_CONTAINER, "container_network_io_usage_rx_bytes_total"),
                        legend=f"received {_NAMED}",
                    ),
                    Target(
                        query=_rate(_CONTAINER, "container_network_io_usage_tx_bytes_total"), legend=f"sent {_NAMED}"
                    ),
                    Target(query=_rate(f"{_POD}, direction", "k8s_pod_network_io_bytes_total"), legend=_PODS),
                ),
                link=_HOSTS,
            ),
            Panel(
                title="Disk",
                about="Bytes read and written each second. A full disk queue makes everything on the machine slow.",
                unit="Bps",
                targets=(
                    Target(
                        query=_rate(f"{_CONTAINER}, operation", "container_blockio_io_service_bytes_recursive_total"),
                        legend=f"{{{{operation}}}} {_NAMED}",
                    ),
                ),
                link=_HOSTS,
                width=12,
            ),
            Panel(
                title="Files of pods",
                about="Bytes that a pod keeps on the disk of its node. The node evicts who keeps too much.",
                unit="bytes",
                targets=(Target(query=f"sum by ({_POD}) (k8s_pod_filesystem_usage_bytes)", legend=_PODS),),
                link=_HOSTS,
                width=12,
            ),
        ),
    },
    unproven="no machine of the tests runs containers; names are those of the receivers' metadata",
)
