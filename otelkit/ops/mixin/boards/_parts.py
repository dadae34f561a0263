"""The only place for what boards have in common: variables, selectors, the usual functions, ways to other boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otelkit.ops.mixin.boards.model import Link, Variable
from otelkit.ops.mixin.groups import GROUPS
from otelkit.ops.mixin.model import HEALTH, SERVICE

if TYPE_CHECKING:
    from otelkit.ops.mixin.model import Threshold

NS: Final = Variable(name="ns", label="Namespace", every=".*", query="label_values(target_info, service_namespace)")
ENV: Final = Variable(
    name="env",
    label="Environment",
    every=".*",
    query='label_values(target_info{service_namespace=~"$ns"}, deployment_environment_name)',
)
# Programs of the stack have no SDK: a board about applications does not list them.
SVC: Final = Variable(
    name="svc",
    label="Service",
    every=".+",
    query='label_values(target_info{service_namespace=~"$ns", deployment_environment_name=~"$env", '
    'telemetry_sdk_language!=""}, service_name)',
)
CHOICE: Final = (NS, ENV, SVC)
"""Which services a board is about."""

BY_SERVICE: Final = ", ".join(SERVICE)
"""What tells services apart."""
CHOSEN: Final = 'service_namespace=~"$ns", deployment_environment_name=~"$env", service_name=~"$svc"'
"""Matchers of the services that were chosen."""
SERVED: Final = f'{CHOSEN}, http_route!~"{HEALTH}"'
"""Of what they were asked for; probes are left out."""
STATEMENTS: Final = f'{CHOSEN}, db_system_name!~"redis|memcached"'
"""Of what they asked databases for."""
LINES: Final = f"{{{CHOSEN}}}"
"""Selects their log records."""

HTTP: Final = "http_server_request_duration_seconds"
CALLS: Final = "http_client_request_duration_seconds"
DB: Final = "db_client_operation_duration_seconds"
RATE: Final = "[$__rate_interval]"

_TRACES: Final = 'resource.service.name=~"${svc:percentencode}"'


def rate(by: str, metric: str, selected: str = CHOSEN) -> str:
    """Return the sum of a counter's rates, by labels."""
    return f"sum by ({by}) (rate({metric}{{{selected}}}{RATE}))"


def quantile(share: float, metric: str, selected: str = CHOSEN, *, by: str = "") -> str:
    """Return a quantile of a histogram, by labels."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{selected}}}{RATE})))"


def traces(where: str, title: str = "Traces") -> Link:
    """Return the way to the traces of the chosen services whose spans are as `where` says (TraceQL)."""
    return Link(title=title, source="tempo", query=f"{{{_TRACES} && {where}}}")


def records(title: str = "Logs", piped: str = "") -> Link:
    """Return the way to the log records of the chosen services."""
    chosen = CHOSEN.replace("$ns", "${ns:percentencode}").replace("$env", "${env:percentencode}")
    chosen = chosen.replace("$svc", "${svc:percentencode}")
    return Link(title=title, source="loki", query=f"{{{chosen}}}{piped}")


def to(board: str, title: str) -> Link:
    """Return the way to another board, with what was chosen on this one."""
    return Link(title=title, board=board)


def threshold(name: str) -> Threshold:
    """Return a number of an alert, by its name in parameters: what is drawn is what the alert compares with.

    Raises:
        KeyError: No alert has it.
    """
    return _THRESHOLDS[name]


_THRESHOLDS: Final = {each.name: each for group in GROUPS for alert in group.alerts for each in alert.thresholds}
