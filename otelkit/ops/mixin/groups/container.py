"""The only place for the alerts on containers: their memory, and restarts.

Docker's are told by the receiver `docker_stats` (with `container.restarts`), Kubernetes' by `kubelet_stats` (with
`k8s.pod.memory_limit_utilization`) and `k8s_cluster`. The names are those of the receivers' metadata, as Prometheus
writes them; no machine of the tests has containers. A container of a pod has no label of its own, so pods are watched.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook, Threshold

_DOCKER = "$S, host_name, container_name"
_POD = "$S, k8s_cluster_name, k8s_namespace_name, k8s_pod_name"
_SHARE = f"max by ({_DOCKER}) (container_memory_usage_total_bytes / (container_memory_usage_limit_bytes > 0))"
_POD_SHARE = f"max by ({_POD}) (k8s_pod_memory_limit_utilization_ratio)"

_UNPROVEN: Final = "no machine of the tests runs containers; names are those of the receivers' metadata"
_NAMED: Final = (
    "{{ with $labels.k8s_pod_name }}pod {{ . }}{{ else }}container {{ $labels.container_name }}{{ end }}"
    "{{ with $labels.k8s_namespace_name }} in {{ . }}{{ end }}{{ with $labels.host_name }} on {{ . }}{{ end }}"
)

CONTAINER_MEMORY_HIGH = Alert(
    name="ContainerMemoryHigh",
    group="container",
    severity="warning",
    lasting="10m",
    expr=f"{_SHARE} > $container_mem\nor {_POD_SHARE} > $container_mem",
    thresholds=(
        Threshold(
            name="container_mem",
            default=0.8,
            unit="ratio",
            about="share of its limit that a container or pod uses",
            observed=f"{_SHARE} or {_POD_SHARE}",
        ),
    ),
    feels="Nothing yet. At its limit it is killed, and what it was doing is lost.",
    summary=f"The {_NAMED} uses {{{{ $value | humanizePercentage }}}} of the memory it may have",
    runbook=Runbook(
        looks=(
            Look(
                says="how it grew, for Docker",
                query='container_memory_usage_total_bytes{container_name="<container_name>"}',
            ),
            Look(
                says="how it grew, for Kubernetes",
                query='k8s_pod_memory_limit_utilization_ratio{k8s_pod_name="<k8s_pod_name>"}',
            ),
            Look(
                says="which process of it",
                query="topk(5, sum by (service_name, service_instance_id) "
                '(process_memory_usage_bytes{service_name!=""}))',
            ),
        ),
        causes=(
            Cause(
                what="A leak.",
                sign="A straight line upwards since the last deploy.",
                fix="Restart it (`docker restart NAME`, `kubectl rollout restart`), roll back.",
            ),
            Cause(
                what="Its limit is too small for the number of its processes.",
                sign="High right after the start, and flat.",
                fix="Raise the limit, or start fewer workers.",
            ),
        ),
        tell="The owners of the service.",
        note="Docker tells of a container without a limit that its limit is the machine's memory.",
    ),
    undrilled="needs containers",
    needs="the Collector's receiver `docker_stats`, or `kubelet_stats`",
    unproven=_UNPROVEN,
)

CONTAINER_RESTARTING = Alert(
    name="ContainerRestarting",
    group="container",
    severity="warning",
    expr=f"sum by ({_DOCKER}) (increase(container_restarts_total[15m])) >= $container_restarts\n"
    f"or sum by ({_POD}) (increase(k8s_container_restarts[15m])) >= $container_restarts",
    thresholds=(
        Threshold(
            name="container_restarts",
            default=3,
            unit="number",
            about="restarts of a container or pod within 15 minutes",
        ),
    ),
    feels="Requests break off at each restart; it may be on its way to be down for good.",
    summary=f'The {_NAMED} was restarted {{{{ $value | printf "%.0f" }}}} times in 15 minutes',
    runbook=Runbook(
        looks=(
            Look(
                says="how often, for Docker",
                query='increase(container_restarts_total{container_name="<container_name>"}[15m])',
            ),
            Look(
                says="how often, for Kubernetes",
                query='increase(k8s_container_restarts{k8s_pod_name="<k8s_pod_name>"}[15m])',
            ),
            Look(
                says="what services logged last",
                query='{service_name=~".+"} | severity_number >= 17',
                source="loki",
            ),
        ),
        causes=(
            Cause(
                what="It fails at its start: a setting, a migration, something it cannot reach.",
                sign="`docker logs --tail 50 NAME`, `kubectl logs --previous POD`.",
                fix="Roll back; or set right what the last line names.",
            ),
            Cause(
                what="It is killed at its memory limit.",
                sign="`docker inspect -f '{{.State.OOMKilled}}' NAME`; `kubectl describe pod` says `OOMKilled`.",
                fix="See the runbook of ContainerMemoryHigh.",
            ),
            Cause(
                what="Its liveness probe fails while it works.",
                sign="`kubectl describe pod` says `Liveness probe failed`.",
                fix="Probe `/livez`, which asks no dependency; give it more time.",
            ),
        ),
        tell="The owners of the service.",
        note="In a pod of several containers one series tells of them all, the last one of each push: put "
        "`k8s.container.name` on the points by a `transform` to tell them apart.",
    ),
    undrilled="needs containers",
    needs="the Collector's receiver `docker_stats`, or `k8s_cluster`",
    unproven=_UNPROVEN,
)

GROUP = Group(name="container", about="Containers and pods.", alerts=(CONTAINER_MEMORY_HIGH, CONTAINER_RESTARTING))
