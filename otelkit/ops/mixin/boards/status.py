"""The only place for the board that the public may see: whether the service works, with no name of anything inside."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.boards._parts import HTTP, threshold, to
from otelkit.ops.mixin.boards.model import Board, Panel, Target
from otelkit.ops.mixin.model import HEALTH

_WORKS: Final = {1.0: ("works", "green"), 0.0: ("does not work", "red")}
_MORE: Final = to("overview", "Overview")
_CRITICAL: Final = 'otelkit_health_check_status{otelkit_health_critical="true"}'
_OTHER: Final = 'otelkit_health_check_status{otelkit_health_critical="false"}'
_ANSWERED: Final = f'{HTTP}_count{{service_name!="", http_route!~"{HEALTH}"'

BOARD: Final = Board(
    name="status",
    title="Status",
    question="Does the service work, and how well did it lately?",
    rows={
        "Now": (
            Panel(
                title="Reached from outside",
                about="Whether all its pages answer a visitor who is not one of us.",
                unit="short",
                targets=(Target(query="min(probe_success)", legend="All pages"),),
                link=_MORE,
                kind="states",
                width=12,
                colours=_WORKS,
            ),
            Panel(
                title="What it needs",
                about="Whether everything works that it depends on. Without what is critical it is closed; without the "
                "rest some of it is missing.",
                unit="short",
                targets=(
                    Target(query=f"min({_CRITICAL})", legend="Critical"),
                    Target(query=f"min({_OTHER} or {_CRITICAL})", legend="All"),
                ),
                link=_MORE,
                kind="states",
                width=12,
                colours=_WORKS,
            ),
        ),
        "Lately": (
            Panel(
                title="Uptime in a day",
                about="Share of the last 24 hours in which its pages answered.",
                unit="percentunit",
                targets=(Target(query="avg(avg_over_time(probe_success[1d]))", legend="1 day"),),
                link=_MORE,
                kind="stat",
                width=6,
            ),
            Panel(
                title="Uptime in a week",
                about="Share of the last seven days in which its pages answered.",
                unit="percentunit",
                targets=(Target(query="avg(avg_over_time(probe_success[7d]))", legend="7 days"),),
                link=_MORE,
                kind="stat",
                width=6,
            ),
            Panel(
                title="Requests answered",
                about="Share of what visitors asked for that was answered without a fault of ours, in five minutes.",
                unit="percentunit",
                targets=(
                    Target(
                        query=f'1 - (sum(rate({_ANSWERED}, http_response_status_code=~"5.."}}[5m])) or vector(0)) / '
                        f"(sum(rate({_ANSWERED}}}[5m])) > 0)",
                        legend="Answered",
                    ),
                ),
                link=_MORE,
                kind="stat",
                width=6,
            ),
            Panel(
                title="Certificate",
                about="Time until the first certificate ends: renewed long before, or browsers warn.",
                unit="s",
                targets=(Target(query="min(probe_ssl_earliest_cert_expiry) - time()", legend="Left"),),
                link=_MORE,
                kind="stat",
                width=6,
                warn=threshold("certificate_soon"),
                bad=threshold("certificate_now"),
                low=True,
            ),
            Panel(
                title="Response time",
                about="How long a page takes, seen from outside: name, connection, encryption and answer.",
                unit="s",
                targets=(
                    Target(query="avg(probe_duration_seconds)", legend="Average"),
                    Target(query="max(probe_duration_seconds)", legend="Slowest page"),
                ),
                link=_MORE,
                width=24,
                warn=threshold("probe_slow"),
            ),
        ),
    },
    range="now-24h",
)
