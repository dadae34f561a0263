"""The only place for what is recorded of requests, and for the alerts on them: errors, durations, traffic, calls."""

from __future__ import annotations

from typing import Final

from otelkit.ops.mixin.model import HEALTH, Alert, Cause, Group, Look, Recording, Runbook, Threshold

_REQUESTS: Final = "http_server_request_duration_seconds"
_CALLS: Final = "http_client_request_duration_seconds"
_FAILED: Final = '{http_response_status_code=~"5..", $service, $route}'
_ALL: Final = "{$service, $route}"

# -- recordings --------------------------------------------------------------------------------------------------------


def _by_route(window: str) -> tuple[Recording, ...]:
    """Of each route, those of probes too: alerts leave these out, boards may ask for them."""
    return (
        Recording(
            name=f"service_route_status:http_server_requests:rate{window}",
            expr="sum by ($S, http_route, http_request_method, http_response_status_code) "
            f'(rate({_REQUESTS}_count{{service_name!=""}}[{window}]))',
        ),
        Recording(
            name=f"service_route_le:{_REQUESTS}_bucket:rate{window}",
            expr=f'sum by ($S, http_route, le) (rate({_REQUESTS}_bucket{{service_name!=""}}[{window}]))',
        ),
    )


_OF_SERVICES: Final = (
    Recording(
        name="service:http_server_requests:rate5m",
        expr=f'sum by ($S) (service_route_status:http_server_requests:rate5m{{http_route!~"{HEALTH}"}})',
    ),
    Recording(
        name="service:http_server_errors:rate5m",
        expr="sum by ($S) (service_route_status:http_server_requests:rate5m"
        f'{{http_response_status_code=~"5..", http_route!~"{HEALTH}"}})\n'
        # No failure yet is no series yet: zero where there are requests.
        "or service:http_server_requests:rate5m * 0",
    ),
    Recording(
        name="service:http_server_errors:ratio_rate5m",
        expr="service:http_server_errors:rate5m / (service:http_server_requests:rate5m > 0)",
    ),
    Recording(
        name=f"service:{_REQUESTS}:p95_5m",
        expr="histogram_quantile(0.95, sum by ($S, le) "
        f'(service_route_le:{_REQUESTS}_bucket:rate5m{{http_route!~"{HEALTH}"}}))',
    ),
)


def _as_elsewhere(name: str, of: str, *labels: str) -> Recording:
    """Give a series the name and the labels that other instrumentation for Python gives it (MET-03)."""
    known = {
        "method": "http_request_method",
        "handler": "http_route",
        "status": "http_response_status_code",
    }
    expr = f'{of}{{service_name!=""}}'
    for label in labels:
        if label in known:
            expr = f'label_replace({expr}, "{label}", "$$1", "{known[label]}", "(.*)")'
    return Recording(name=name, expr=f"sum by ($S, job, instance, {', '.join(labels)}) ({expr})")


_COMPATIBLE: Final = (
    _as_elsewhere("http_requests_total", f"{_REQUESTS}_count", "method", "handler", "status"),
    _as_elsewhere("http_request_duration_seconds_bucket", f"{_REQUESTS}_bucket", "method", "handler", "le"),
    _as_elsewhere("http_request_duration_seconds_count", f"{_REQUESTS}_count", "method", "handler"),
    _as_elsewhere("http_request_duration_seconds_sum", f"{_REQUESTS}_sum", "method", "handler"),
)

RECORDINGS: Final = (*_by_route("2m"), *_by_route("5m"), *_OF_SERVICES, *_COMPATIBLE)


def _rate(window: str, selected: str) -> str:
    return f"sum by ($S) (service_route_status:http_server_requests:rate{window}{selected})"


def _p95(window: str) -> str:
    return f"histogram_quantile(0.95, sum by ($S, le) (service_route_le:{_REQUESTS}_bucket:rate{window}{_ALL}))"


def _calls(part: str, selected: str, *labels: str) -> str:
    by = ", ".join(("$S", "server_address", "server_port", *labels))
    return f"sum by ({by}) (rate({_CALLS}_{part}{{{selected}}}[5m]))"


# What a caller did wrong (4xx) is not the upstream's failure; an exception has the name of its class there.
_CALLS_FAILED: Final = _calls("count", 'error_type=~"5..|.*[A-Za-z].*", $service')
_CALLS_ALL: Final = _calls("count", "$service")

# -- thresholds --------------------------------------------------------------------------------------------------------

_OBSERVED_ERRORS: Final = "service:http_server_errors:ratio_rate5m"
_OBSERVED_P95: Final = f"service:{_REQUESTS}:p95_5m"
_OBSERVED_RATE: Final = "service:http_server_requests:rate5m"

MIN_RPS: Final = Threshold(
    name="min_rps",
    default=0.1,
    unit="per_second",
    about="requests a second below which durations and a lack of traffic tell nothing",
    observed=_OBSERVED_RATE,
    crossed="guard",
)
ERROR_CRIT: Final = Threshold(
    name="error_crit",
    default=0.05,
    unit="ratio",
    about="share of requests answered with 5xx that pages",
    observed=_OBSERVED_ERRORS,
)
ERROR_WARN: Final = Threshold(
    name="error_warn",
    default=0.01,
    unit="ratio",
    about="share of requests answered with 5xx that warns",
    observed=_OBSERVED_ERRORS,
)
P95_CRIT: Final = Threshold(
    name="p95_crit",
    default=2,
    unit="seconds",
    about="duration that one request in twenty exceeds, and that pages",
    quantile_of="http.server.request.duration",
    observed=_OBSERVED_P95,
)
P95_WARN: Final = Threshold(
    name="p95_warn",
    default=0.5,
    unit="seconds",
    about="duration that one request in twenty exceeds, and that warns",
    quantile_of="http.server.request.duration",
    observed=_OBSERVED_P95,
)
ACTIVE: Final = Threshold(
    name="active",
    default=100,
    unit="number",
    about="requests of a service that are being answered at a time, over all its processes",
    observed="sum by (service_namespace, service_name, deployment_environment_name) "
    '(http_server_active_requests{service_name!=""})',
)
MAX_RPS: Final = Threshold(
    name="max_rps",
    default=100,
    unit="per_second",
    about="requests a second that a service was made for",
    observed=_OBSERVED_RATE,
)
UPSTREAM_ERRORS: Final = Threshold(
    name="upstream_errors",
    default=0.05,
    unit="ratio",
    about="share of calls to another service that fail: 5xx, or no answer",
    observed="sum by (service_namespace, service_name, deployment_environment_name) "
    f'(rate({_CALLS}_count{{service_name!="", error_type=~"5..|.*[A-Za-z].*"}}[5m])) / '
    "sum by (service_namespace, service_name, deployment_environment_name) "
    f'(rate({_CALLS}_count{{service_name!=""}}[5m]))',
)
UPSTREAM_SECONDS: Final = Threshold(
    name="upstream_slow",
    default=2,
    unit="seconds",
    about="duration that one call in twenty to another service exceeds",
    quantile_of="http.client.request.duration",
    observed="histogram_quantile(0.95, sum by (service_namespace, service_name, deployment_environment_name, le) "
    f'(rate({_CALLS}_bucket{{service_name!=""}}[5m])))',
)

# -- what several runbooks say -----------------------------------------------------------------------------------------

_FAILING_ROUTES: Final = Look(
    says="which route fails, and with which status",
    query="sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count"
    '{service_name="<service_name>", http_response_status_code=~"5.."}[5m]))',
)
_FAILING_LOGS: Final = Look(
    says="what the failing requests logged, and the fingerprint of the exception",
    query='{service_name="<service_name>"} | severity_number >= 17',
    source="loki",
)
_FAILING_TRACES: Final = Look(
    says="where in a request it fails: the deepest red span is the first to ask about",
    query='{resource.service.name="<service_name>" && kind=server && status=error}',
    source="tempo",
)
_SLOW_ROUTES: Final = Look(
    says="which routes are slow; all of them: something that they share",
    query="histogram_quantile(0.95, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket"
    '{service_name="<service_name>"}[5m])))',
)
_SLOW_STATEMENTS: Final = Look(
    says="which statement became slower",
    query="topk(5, sum by (db_system_name, db_operation_name, db_collection_name) "
    '(rate(db_client_operation_duration_seconds_sum{service_name="<service_name>"}[5m])))',
)
_NEW_VERSION: Final = Cause(
    what="A new version is broken.",
    sign="The board Release shows the errors on the new `service.version` only.",
    fix="Roll back first, understand later: `kubectl rollout undo deployment/<name>`, or the last image in Compose.",
)
_OUR_DATABASE: Final = Cause(
    what="A database statement is slow: no index, a lock, a table that has grown.",
    sign="SlowQueries or DbPoolHigh fires; in the slowest trace one `db.` span takes most of the time.",
    fix="`EXPLAIN` the statement; end what holds the lock: `select pg_terminate_backend(pid)`.",
)

# -- alerts ------------------------------------------------------------------------------------------------------------

HIGH_ERROR_RATE: Final = Alert(
    name="HighErrorRate",
    group="http",
    severity="critical",
    lasting="30s",
    # The second half leaves a single failure of a quiet night alone: five in the two minutes.
    expr=f"{_rate('2m', _FAILED)} / ({_rate('2m', _ALL)} > 0) > $error_crit\nand {_rate('2m', _FAILED)} * 120 >= 5",
    thresholds=(ERROR_CRIT,),
    feels="Pages fail: users see errors, and repeat what they did.",
    summary="{{ $labels.service_name }} answers {{ $value | humanizePercentage }} of its requests with 5xx",
    runbook=Runbook(
        looks=(_FAILING_ROUTES, _FAILING_LOGS, _FAILING_TRACES),
        causes=(
            _NEW_VERSION,
            Cause(
                what="Something that the service needs is away: database, Redis, another service.",
                sign="HealthCheckFailing, DatabaseDown, RedisDown or UpstreamFailing fires; the deepest failing span "
                "is a call to it.",
                fix="Go on with the runbook of that alert.",
            ),
            Cause(
                what="Connections of the pool are used up.",
                sign="DbPoolExhausted fires; the exception is a `TimeoutError` of the pool.",
                fix="Restart the service to free what leaked; then find the statements that hold connections.",
            ),
        ),
        tell="The owners of the service. After a quarter of an hour, whoever speaks to customers.",
    ),
    drill="failing-requests",
)

ELEVATED_ERROR_RATE: Final = Alert(
    name="ElevatedErrorRate",
    group="http",
    severity="warning",
    lasting="5m",
    expr=f"{_rate('5m', _FAILED)} / ({_rate('5m', _ALL)} > 0) > $error_warn\nand {_rate('5m', _FAILED)} * 300 >= 5",
    thresholds=(ERROR_WARN,),
    feels="One request in a hundred fails: some users see an error now and then.",
    summary="{{ $labels.service_name }} answers {{ $value | humanizePercentage }} of its requests with 5xx",
    runbook=Runbook(
        looks=(_FAILING_ROUTES, _FAILING_LOGS, _FAILING_TRACES),
        causes=(
            Cause(
                what="One route or one kind of input fails, always.",
                sign="A single `http_route`, a single fingerprint on the board Issues.",
                fix="Open a failing trace, reproduce it, mend it; a ticket is enough while it does not grow.",
            ),
            _NEW_VERSION,
            Cause(
                what="One process of several is broken.",
                sign="The errors, `by (service_instance_id)`, are those of one instance.",
                fix="Restart that instance.",
            ),
        ),
        tell="The owners of the service, in working hours.",
    ),
    drill="failing-requests",
)

HIGH_LATENCY: Final = Alert(
    name="HighLatency",
    group="http",
    severity="critical",
    lasting="30s",
    expr=f"{_p95('2m')} > $p95_crit\nand on ($S) {_rate('2m', _ALL)} > $min_rps",
    thresholds=(P95_CRIT, MIN_RPS),
    feels="Pages take seconds: users give up, clients time out and try again.",
    summary="One request in twenty to {{ $labels.service_name }} takes longer than {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            _SLOW_ROUTES,
            Look(
                says="what the slowest requests waited for: open one, look for the longest span, or for a gap",
                query='{resource.service.name="<service_name>" && kind=server && duration>2s}',
                source="tempo",
            ),
            _SLOW_STATEMENTS,
        ),
        causes=(
            _OUR_DATABASE,
            Cause(
                what="Requests wait for a connection of the pool.",
                sign="DbPoolHigh or DbPoolExhausted fires; in the trace a gap stands before the first `db.` span.",
                fix="Restart to free what leaked; then fewer statements a request, or a larger pool.",
            ),
            Cause(
                what="Another service is slow.",
                sign="UpstreamSlow fires; the longest span of the trace is a call.",
                fix="Set a timeout shorter than ours, or switch the feature off that needs it.",
            ),
            Cause(
                what="The event loop is blocked.",
                sign="EventLoopBlocked fires; all routes are slow at once, those of probes too.",
                fix="Go on with the runbook of EventLoopBlocked.",
            ),
        ),
        tell="The owners of the service. After a quarter of an hour, whoever speaks to customers.",
        note="Reports and exports may take longer on purpose: give their route a number of its own in the parameters.",
    ),
    drill="slow-requests",
)

ELEVATED_LATENCY: Final = Alert(
    name="ElevatedLatency",
    group="http",
    severity="warning",
    lasting="5m",
    expr=f"{_p95('5m')} > $p95_warn\nand on ($S) {_rate('5m', _ALL)} > $min_rps",
    thresholds=(P95_WARN, MIN_RPS),
    feels="Pages are sluggish.",
    summary="One request in twenty to {{ $labels.service_name }} takes longer than {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            _SLOW_ROUTES,
            Look(
                says="what slow requests waited for",
                query='{resource.service.name="<service_name>" && kind=server && duration>500ms}',
                source="tempo",
            ),
            _SLOW_STATEMENTS,
        ),
        causes=(
            _OUR_DATABASE,
            Cause(
                what="A new version asks the database more often.",
                sign="On the board Database, statements per request rose with the release.",
                fix="Load what a loop asks for one by one in one statement; roll back if it grows.",
            ),
            Cause(
                what="More load than the processes can take.",
                sign="The rate rose first; processor time of the service is at its limit on the board Host.",
                fix="More processes: `kubectl scale deployment/<name> --replicas=N`, or more workers of the server.",
            ),
        ),
        tell="The owners of the service, in working hours.",
    ),
    drill="slow-requests",
)

TRAFFIC_STOPPED: Final = Alert(
    name="TrafficStopped",
    group="http",
    severity="warning",
    lasting="3m",
    # It reports, and nobody asks. A process that is new has no series of requests yet: only the heartbeat is certain.
    # After an hour the hour before is as empty: what fires already goes on until somebody asks again.
    expr="(avg_over_time(service:http_server_requests:rate5m{$service}[1h] offset 10m) > $min_rps\n"
    '  or on ($S) max by ($S) (ALERTS{alertname="TrafficStopped", alertstate="firing", $service}))\n'
    "and on ($S) service:heartbeat:timestamp\n"
    "unless on ($S) service:http_server_requests:rate5m > 0",
    thresholds=(MIN_RPS,),
    feels="Users cannot reach the service, which itself is well.",
    summary="{{ $labels.service_name }} runs, and is asked nothing any more",
    runbook=Runbook(
        looks=(
            Look(
                says="when it stopped: at once (proxy, DNS, certificate), or bit by bit (clients, season)",
                query='service:http_server_requests:rate5m{service_name="<service_name>"}',
            ),
            Look(
                says="whether others lost their traffic at the same time: then it is in front of all of them",
                query="sum by (service_name) (service:http_server_requests:rate5m)",
            ),
            Look(says="whether it can be reached from outside", query="probe_success"),
        ),
        causes=(
            Cause(
                what="The proxy or load balancer in front sends nothing.",
                sign="Its own access log shows 502, 503 or nothing; a request past it is answered.",
                fix="`curl -v http://<address of the service>/health`; then the proxy's upstreams and its last change.",
            ),
            Cause(
                what="DNS or the certificate.",
                sign="EndpointDown or CertificateExpiresNow fires.",
                fix="`dig <name>`; go on with the runbook of that alert.",
            ),
            Cause(
                what="A release of the client, or the only caller, is broken.",
                sign="The calling service fires itself, or has just been released.",
                fix="Roll the caller back.",
            ),
        ),
        tell="The owners of the service and of what stands in front of it.",
        note="No fault where nobody works at night: raise `min_rps` of this service, or switch the alert off for it.",
    ),
    absence=True,
    late=('ALERTS{alertname="TrafficStopped"}',),
    undrilled="it compares with an hour of traffic; its cases play that hour",
)

REQUESTS_PILING_UP: Final = Alert(
    name="RequestsPilingUp",
    group="http",
    severity="warning",
    lasting="5m",
    expr="sum by ($S) (http_server_active_requests{$service}) > $active",
    thresholds=(ACTIVE,),
    feels="Requests queue up; soon they time out.",
    summary="{{ $labels.service_name }} is answering {{ $value }} requests at a time",
    runbook=Runbook(
        looks=(
            Look(
                says="how many are open, and in which processes",
                query='sum by (service_instance_id) (http_server_active_requests{service_name="<service_name>"})',
            ),
            _SLOW_ROUTES,
            Look(
                says="whether they wait for a connection",
                query="sum by (db_client_connection_pool_name) "
                '(db_client_connection_pending_requests{service_name="<service_name>"})',
            ),
        ),
        causes=(
            Cause(
                what="What requests wait for is slow: pool, statement, another service.",
                sign="The rate is as ever, durations rise.",
                fix="Go on with the runbook of DbPoolHigh, SlowQueries or UpstreamSlow, whichever fires.",
            ),
            Cause(
                what="More requests than the processes can take.",
                sign="The rate rose first.",
                fix="More processes, or a limit in the proxy.",
            ),
            Cause(
                what="Long answers: streams, downloads, long polling.",
                sign="Their route has many active requests and little traffic, and nothing else is slow.",
                fix="No fault: raise `active` for the service.",
            ),
        ),
        tell="The owners of the service.",
    ),
    undrilled="a hundred requests that wait are more than the example may cost a small machine",
)

HIGH_REQUEST_RATE: Final = Alert(
    name="HighRequestRate",
    group="http",
    severity="info",
    lasting="5m",
    off=True,
    expr=f"{_rate('5m', _ALL)} > $max_rps",
    thresholds=(MAX_RPS,),
    feels="Nothing yet. The service is asked more often than it was made for.",
    summary="{{ $labels.service_name }} gets {{ $value | humanize }} requests a second",
    runbook=Runbook(
        looks=(
            Look(
                says="which routes are asked for",
                query="topk(5, sum by (http_route, http_request_method) "
                '(rate(http_server_request_duration_seconds_count{service_name="<service_name>"}[5m])))',
            ),
            Look(
                says="whether it still answers in time",
                query=f'service:{_REQUESTS}:p95_5m{{service_name="<service_name>"}}',
            ),
        ),
        causes=(
            Cause(
                what="A campaign, a season, growth.",
                sign="All routes in their usual proportion.",
                fix="Add processes before durations rise; set `max_rps` to what was measured to work.",
            ),
            Cause(
                what="A client that repeats itself, or a crawler.",
                sign="One route; in the access events one client or one user agent.",
                fix="Limit it in the proxy; see that clients wait longer after each failure.",
            ),
        ),
        tell="Whoever plans capacity.",
        note="Load is no symptom: the alert is off unless it is enabled, and never pages.",
    ),
    undrilled="off by default, and load is no fault",
)

_CALLED: Final = "{{ $labels.server_address }}{{ with $labels.server_port }}:{{ . }}{{ end }}"

UPSTREAM_FAILING: Final = Alert(
    name="UpstreamFailing",
    group="http",
    severity="warning",
    lasting="5m",
    expr=f"{_CALLS_FAILED}\n/ ({_CALLS_ALL} > 0) > $upstream_errors\nand {_CALLS_FAILED} * 300 >= 5",
    thresholds=(UPSTREAM_ERRORS,),
    feels="Features that need the other service fail, or are missing.",
    summary="{{ $value | humanizePercentage }} of the calls of {{ $labels.service_name }} to " + _CALLED + " fail",
    runbook=Runbook(
        looks=(
            Look(
                says="how it fails: 5xx is theirs; a timeout or a refused connection may be the network",
                query="sum by (server_address, error_type) (rate(http_client_request_duration_seconds_count"
                '{service_name="<service_name>", error_type!=""}[5m]))',
            ),
            Look(
                says="which of our requests need it",
                query='{resource.service.name="<service_name>" && kind=client && status=error '
                '&& span.server.address="<server_address>"}',
                source="tempo",
            ),
        ),
        causes=(
            Cause(
                what="The other service is broken.",
                sign="`error_type` is 5xx; its own alerts fire, or its status page says so.",
                fix="Tell its owners; switch the feature off, or serve what is cached.",
            ),
            Cause(
                what="It cannot be reached: DNS, network, certificate.",
                sign="`error_type` is a class of exception, `ConnectError` or `ConnectTimeout`.",
                fix="From where the service runs: `curl -v https://<server_address>:<server_port>/`.",
            ),
            Cause(
                what="Our timeout is too short for what it does.",
                sign="`ReadTimeout`, and UpstreamSlow fires too.",
                fix="Ask for less at a time; a longer timeout only where users can wait for it.",
            ),
        ),
        tell="The owners of the service that is called; ours, since their users feel it.",
    ),
    late=(f'{_CALLS}_count{{error_type=~"5..|.*[A-Za-z].*"}}',),
    drill="upstream-failing",
)

UPSTREAM_SLOW: Final = Alert(
    name="UpstreamSlow",
    group="http",
    severity="warning",
    lasting="5m",
    # One call in a while tells nothing: five in the five minutes.
    expr=f"histogram_quantile(0.95, {_calls('bucket', '$service', 'le')}) > $upstream_slow\n"
    f"and on ($S, server_address, server_port) {_CALLS_ALL} * 300 >= 5",
    thresholds=(UPSTREAM_SECONDS,),
    feels="Pages that need the other service are slow.",
    summary="One call in twenty of {{ $labels.service_name }} to "
    + _CALLED
    + " takes longer than {{ $value | humanizeDuration }}",
    runbook=Runbook(
        looks=(
            Look(
                says="since when, and which of the services that are called",
                query="histogram_quantile(0.95, sum by (server_address, le) "
                '(rate(http_client_request_duration_seconds_bucket{service_name="<service_name>"}[5m])))',
            ),
            Look(
                says="what it did meanwhile, if it is traced too",
                query='{resource.service.name="<service_name>" && kind=client && duration>2s '
                '&& span.server.address="<server_address>"}',
                source="tempo",
            ),
        ),
        causes=(
            Cause(
                what="The other service is slow.",
                sign="Its own HighLatency fires, or the server span below the call is as long as the call.",
                fix="Tell its owners.",
            ),
            Cause(
                what="Calls wait for a connection of our client.",
                sign="The call is long, the server span below it is short.",
                fix="One client for the whole process, with limits above what runs at a time.",
            ),
            Cause(
                what="Large answers.",
                sign="Only some routes of the other service are slow.",
                fix="Ask for pages, or for fewer fields.",
            ),
        ),
        tell="The owners of the service that is called.",
    ),
    undrilled="the fault is the one of slow-requests, in another service; its cases play it",
)

GROUP: Final = Group(
    name="http",
    about="Requests that services answer, and calls that they make.",
    recordings=RECORDINGS,
    alerts=(
        HIGH_ERROR_RATE,
        ELEVATED_ERROR_RATE,
        HIGH_LATENCY,
        ELEVATED_LATENCY,
        TRAFFIC_STOPPED,
        REQUESTS_PILING_UP,
        HIGH_REQUEST_RATE,
        UPSTREAM_FAILING,
        UPSTREAM_SLOW,
    ),
)
