"""The only place for alerts on pages that are looked at from outside: reachable, in time, the certificate in force.

The series are those of Prometheus' blackbox exporter (collector/overlays/infra.yaml); `instance` is the page's address.
A probe that nobody makes any more tells nothing here: that is TargetDown.
"""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import Alert, Cause, Group, Look, Runbook, Threshold

_DAY: Final = 86_400

PROBE_SLOW: Final = Threshold(
    name="probe_slow",
    default=2,
    unit="seconds",
    about="mean duration of looking at a page from outside, over five minutes",
    observed="avg_over_time(probe_duration_seconds[5m])",
)
CERTIFICATE_SOON: Final = Threshold(
    name="certificate_soon",
    default=14 * _DAY,
    unit="seconds",
    about="how long before a certificate expires it warns",
    observed="probe_ssl_earliest_cert_expiry - time()",
    crossed="below",
)
CERTIFICATE_NOW: Final = Threshold(
    name="certificate_now",
    default=3 * _DAY,
    unit="seconds",
    about="how long before a certificate expires it pages",
    observed="probe_ssl_earliest_cert_expiry - time()",
    crossed="below",
)

_EXPORTER: Final = "the blackbox exporter and the Collector's overlay `infra`"
_PHASES: Final = Look(
    says="where the time goes: resolve (DNS), connect (network), tls, processing (the application), transfer",
    query='avg_over_time(probe_http_duration_seconds{instance="<instance>"}[5m])',
)
_SAID: Final = Look(
    says="what it answered: 0 is no answer at all, 5xx the proxy or the application, 404 a wrong address",
    query='probe_http_status_code{instance="<instance>"}',
)
_LEFT: Final = Look(
    says="days that are left, of each page",
    query="(probe_ssl_earliest_cert_expiry - time()) / 86400",
)

ENDPOINT_DOWN: Final = Alert(
    name="EndpointDown",
    group="uptime",
    severity="critical",
    lasting="30s",
    expr="probe_success == 0",
    feels="Users cannot reach the page.",
    summary="{{ $labels.instance }} cannot be reached from outside",
    runbook=Runbook(
        looks=(
            _SAID,
            _PHASES,
            Look(
                says="whether the service itself is there: seconds since each reported",
                query="time() - service:heartbeat:timestamp",
            ),
        ),
        causes=(
            Cause(
                what="The application is away.",
                sign="ServiceDown or HealthCheckFailing fires, or the status code is 503.",
                fix="Go on with the runbook of that alert.",
            ),
            Cause(
                what="What stands in front of it is away: proxy, load balancer, DNS.",
                sign="The service reports, and the status code is 0, 502 or 504.",
                fix="`dig <name>`; `curl -v <instance>` from outside, then past the proxy from inside.",
            ),
            Cause(
                what="The certificate is not valid.",
                sign="CertificateExpiresNow fires, or `curl -v` names the certificate.",
                fix="Renew it, and reload the proxy.",
            ),
            Cause(
                what="The place that looks has no network.",
                sign="All pages fail at once, those of others too.",
                fix="Look from another network before waking more people.",
            ),
        ),
        tell="The owners of the page. After five minutes, whoever speaks to customers: users see it.",
    ),
    drill="service-stopped",
    needs=_EXPORTER,
)

ENDPOINT_SLOW: Final = Alert(
    name="EndpointSlow",
    group="uptime",
    severity="warning",
    lasting="5m",
    expr="avg_over_time(probe_duration_seconds[5m]) > $probe_slow",
    thresholds=(PROBE_SLOW,),
    feels="Users wait for the page.",
    summary="Looking at {{ $labels.instance }} takes {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            _PHASES,
            Look(
                says="whether the services find themselves slow too",
                query="service:http_server_request_duration_seconds:p95_5m",
            ),
        ),
        causes=(
            Cause(
                what="The application is slow.",
                sign="Most of the time is `processing`; HighLatency or ElevatedLatency fires.",
                fix="Go on with the runbook of that alert.",
            ),
            Cause(
                what="Network, DNS or TLS.",
                sign="Most of the time is `resolve`, `connect` or `tls`, and the service itself is quick.",
                fix="Ask the resolver and the proxy: `curl -so /dev/null -w "
                "'%{time_namelookup} %{time_connect} %{time_appconnect}\\n' <instance>`.",
            ),
        ),
        tell="The owners of the page, in working hours.",
    ),
    drill="slow-requests",
    needs=_EXPORTER,
)

_RENEW: Final = (
    Cause(
        what="The job that renews did not run.",
        sign="Its last run is older than its schedule: `systemctl list-timers`, or the cert-manager's log.",
        fix="Run it by hand: `certbot renew`, or `cmctl renew <certificate>`; then mend its schedule.",
    ),
    Cause(
        what="It renewed, and the proxy serves the old one.",
        sign="`openssl x509 -enddate -noout -in <file>` is later than what is served: "
        "`openssl s_client -connect <host>:443 </dev/null | openssl x509 -enddate -noout`.",
        fix="Reload the proxy: `nginx -s reload`.",
    ),
    Cause(
        what="The authority refuses: a DNS record, a limit, an account.",
        sign="The log of the job names it.",
        fix="Mend that, or buy time with a certificate of another authority.",
    ),
)

CERTIFICATE_EXPIRES_SOON: Final = Alert(
    name="CertificateExpiresSoon",
    group="uptime",
    severity="warning",
    lasting="15m",
    expr="probe_ssl_earliest_cert_expiry - time() < $certificate_soon",
    thresholds=(CERTIFICATE_SOON,),
    feels="Nothing yet. Browsers will refuse the page when it expires.",
    summary="The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            _LEFT,
            Look(
                says="which certificate it is, and who issued it",
                query='probe_ssl_last_chain_info{instance="<instance>"}',
            ),
        ),
        causes=_RENEW,
        tell="Whoever owns the certificate, this week.",
        note="It is the certificate of the chain that expires first: an authority's own may be the one.",
    ),
    drill="certificate-expires",
    needs=_EXPORTER,
)

CERTIFICATE_EXPIRES_NOW: Final = Alert(
    name="CertificateExpiresNow",
    group="uptime",
    severity="critical",
    lasting="5m",
    # A page whose certificate has expired tells no date any more: the last one counts, while somebody looks.
    expr="last_over_time(probe_ssl_earliest_cert_expiry[1d]) - time() < $certificate_now\n"
    "and on (instance) probe_success",
    thresholds=(CERTIFICATE_NOW,),
    feels="Within days browsers refuse the page, and clients every call.",
    summary="The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            _LEFT,
            Look(says="whether the page can be reached at all", query='probe_success{instance="<instance>"}'),
        ),
        causes=_RENEW,
        tell="Whoever owns the certificate, now. Expired already: whoever speaks to customers.",
        note="Below zero it has expired.",
    ),
    drill="certificate-expires",
    needs=_EXPORTER,
    budget=(340, "days are left: five minutes keep a certificate that is being replaced from waking anybody"),
)

GROUP: Final = Group(
    name="uptime",
    about="Pages, looked at from outside.",
    alerts=(ENDPOINT_DOWN, ENDPOINT_SLOW, CERTIFICATE_EXPIRES_SOON, CERTIFICATE_EXPIRES_NOW),
)
