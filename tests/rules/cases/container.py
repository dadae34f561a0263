"""Cases of the alerts on containers."""

from __future__ import annotations

from rules.case import Case

_API = {"container_name": "shop-api"}
_POD = {"k8s_namespace_name": "shop", "k8s_pod_name": "api-1"}
_LABELS = 'k8s_namespace_name="shop", k8s_pod_name="api-1"'


def _docker(used: str, limit: str = "100e6x100") -> dict[str, str]:
    return {
        'container_memory_usage_total_bytes{container_name="shop-api"}': used,
        'container_memory_usage_limit_bytes{container_name="shop-api"}': limit,
    }


def _pod(share: str) -> dict[str, str]:
    return {f"k8s_pod_memory_limit_utilization_ratio{{{_LABELS}}}": share}


CASES = (
    Case(
        alert="ContainerMemoryHigh",
        says="a container uses 85 %",
        series=_docker("85e6x100"),
        at="11m",
        fires=(_API,),
        summary="The container shop-api uses 85% of the memory it may have",
    ),
    Case(alert="ContainerMemoryHigh", says="a container uses 75 %", series=_docker("75e6x100"), at="11m"),
    Case(
        alert="ContainerMemoryHigh",
        says="a container uses 85 %, for not yet ten minutes",
        series=_docker("85e6x100"),
        at="9m45s",
    ),
    Case(
        alert="ContainerMemoryHigh",
        says="a container has no limit",
        series=_docker("85e6x100", "0x100"),
        at="11m",
    ),
    Case(
        alert="ContainerMemoryHigh",
        says="a pod uses 85 %",
        series=_pod("0.85x100"),
        at="11m",
        fires=(_POD,),
        summary="The pod api-1 in shop uses 85% of the memory it may have",
    ),
    Case(alert="ContainerMemoryHigh", says="a pod uses 75 %", series=_pod("0.75x100"), at="11m"),
    Case(
        alert="ContainerRestarting",
        says="a container was restarted four times",
        series={'container_restarts_total{container_name="shop-api", host_name="web-1"}': "7x8 8x8 9x8 10x8 11x60"},
        at="15m",
        fires=({**_API, "host_name": "web-1"},),
        summary="The container shop-api on web-1 was restarted 4 times in 15 minutes",
    ),
    Case(
        alert="ContainerRestarting",
        says="a container was restarted twice",
        series={'container_restarts_total{container_name="shop-api"}': "7x8 8x8 9x60"},
        at="15m",
    ),
    Case(
        alert="ContainerRestarting",
        says="a pod was restarted four times",
        series={f"k8s_container_restarts{{{_LABELS}}}": "0x8 1x8 2x8 3x8 4x60"},
        at="15m",
        fires=(_POD,),
        summary="The pod api-1 in shop was restarted 4 times in 15 minutes",
    ),
    Case(
        alert="ContainerRestarting",
        says="a pod was restarted twice",
        series={f"k8s_container_restarts{{{_LABELS}}}": "0x8 1x8 2x60"},
        at="15m",
    ),
)
