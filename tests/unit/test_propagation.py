"""What callers send along: bounded and well-formed before anyone reads it, and not continued at a public endpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Request  # noqa: TC002  FastAPI evaluates annotations
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import default_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelkit import _propagation, _stderr
from otelkit.integrations.asgi import TelemetryMiddleware
from otelkit.integrations.fastapi import FastAPIIntegration
from otelkit.logs import _event
from otelkit.otlp.decode import decode_traces
from otelkit.otlp.encode import CALLERS, HEADER_LIMIT, Encoder, request
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Pipeline
from otelkit.settings import Settings
from support.calls import Telemetry, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave propagators, and what was chosen and said, as they were."""
    before = propagate.get_global_textmap()
    monkeypatch.setattr(_stderr, "_said", {})
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    _propagation.install(baggage_keys=(), public_endpoint=False)
    yield
    _propagation.install(baggage_keys=(), public_endpoint=False)
    propagate.set_global_textmap(before)


def extracted(**headers: str) -> Context:
    return propagate.extract(headers)


class TestBounds:
    @pytest.mark.parametrize(
        "header",
        [
            "secret=" + "x" * 60_000,
            ",".join(f"secret{number}={'x' * 290}" for number in range(180)),
            ",".join(f"s{number}=e" for number in range(8000)),
        ],
        ids=["60 kB", "180 of 300 B", "8000 members"],
    )
    def test_baggage_beyond_them_is_refused_in_one_line(
        self, header: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            assert not baggage.get_all(extracted(baggage=header, traceparent=TRACEPARENT))
        said = capfd.readouterr().err
        assert (said.count("\n"), "secret" in said, "xxx" in said) == (1, False, False)
        assert f"{len(header)} bytes" in said
        assert caplog.records == []

    def test_baggage_within_them_arrives_whole(self) -> None:
        header = ",".join(f"k{number}={'v' * 35}" for number in range(180))
        assert len(header) < _propagation.MOST_BYTES
        assert len(baggage.get_all(extracted(baggage=header))) == 180

    def test_members_that_are_malformed_are_left_out_and_not_echoed(
        self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        header = 'a=1, secret ,=secret,"secret"=1,b=se cret,s\u00e9cret=1, c = %20x;p=1; q ,d=' + "secret" * 800
        assert dict(baggage.get_all(extracted(baggage=header))) == {"a": "1", "c": "x;p=1; q"}
        assert "secret" not in capfd.readouterr().err
        assert caplog.records == []

    @settings(deadline=None)  # on a machine that does other things
    @given(st.text(st.characters(codec="latin-1"), max_size=300) | st.text('a=;, \t%"é', max_size=60))
    def test_the_api_has_nothing_to_warn_of(self, header: str) -> None:
        heard: list[logging.LogRecord] = []
        listener = logging.Handler()
        listener.emit = heard.append  # type: ignore[method-assign,assignment]  # all it does
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(listener)
        try:
            propagate.extract({"baggage": header, "traceparent": TRACEPARENT, "tracestate": header})
            propagate.extract({"baggage": header, "traceparent": header})
        finally:
            logger.removeHandler(listener)
        assert heard == []

    @pytest.mark.parametrize(
        "header",
        [
            "secret",
            "secret=a=b",
            "Secret=1",
            "secret=1,secret=2",
            ",".join(f"secret{number}=1" for number in range(33)),
            "a=" + "x" * 257,
            "secret=\u00e9",
        ],
    )
    def test_a_malformed_tracestate_is_refused_as_a_whole_and_not_echoed(
        self, header: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        context = trace.get_current_span(extracted(traceparent=TRACEPARENT, tracestate=header)).get_span_context()
        assert (f"{context.trace_id:032x}", dict(context.trace_state)) == (TRACE_ID, {})
        said = capfd.readouterr().err
        assert (said.count("\n"), "secret" in said.lower()) == (1, False)
        assert caplog.records == []

    def test_a_foreign_tracestate_is_passed_on_in_full(self) -> None:
        state = ",".join(f"vendor{number}=" + "v" * 200 for number in range(32))
        context = extracted(traceparent=TRACEPARENT, tracestate=state)
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
        span = tracer.start_span("GET", context, SpanKind.SERVER)
        sent: dict[str, str] = {}
        propagate.inject(sent, trace.set_span_in_context(span))
        assert sent["tracestate"] == state

    def test_whatever_propagator_the_application_sets_later_is_bounded_at_the_next_request(self) -> None:
        propagate.set_global_textmap(W3CBaggagePropagator())
        _propagation.keep()
        assert propagate.get_global_textmap().fields == {"baggage"}
        assert not baggage.get_all(extracted(baggage="a=" + "x" * 9000))
        sent: dict[str, str] = {}
        propagate.inject(sent, baggage.set_baggage("a", "b"))
        assert sent == {"baggage": "a=b"}

    def test_a_propagator_that_raises_costs_the_context_only(self, capfd: pytest.CaptureFixture[str]) -> None:
        class Raises(W3CBaggagePropagator):
            def extract(self, *_: Any, **__: Any) -> Context:
                raise RuntimeError("secret")

            inject: Any = extract

        propagate.set_global_textmap(Raises())
        _propagation.keep()
        assert extracted(baggage="a=b") == Context()
        propagate.inject({})
        said = capfd.readouterr().err
        assert (said.count("\n"), "secret" in said) == (2, False)


class TestListedBaggage:
    CONTEXT = baggage.set_baggage("tenant", "acme", baggage.set_baggage("secret", "s", Context()))

    def test_none_is_copied_unless_its_key_is_listed(self) -> None:
        assert _propagation.listed(self.CONTEXT) == {}
        _propagation.install(baggage_keys=("tenant", "absent"), public_endpoint=False)
        assert _propagation.listed(self.CONTEXT) == {"tenant": "acme"}

    def test_values_are_cut(self) -> None:
        _propagation.install(baggage_keys=("a", "b"), public_endpoint=False)
        context = baggage.set_baggage("a", "x" * 300, baggage.set_baggage("b", "y" * 256, Context()))
        assert _propagation.listed(context) == {"a": "x" * 256 + "… (44 more characters)", "b": "y" * 256}

    def test_spans_have_it_from_their_start_and_keep_what_they_say_themselves(self) -> None:
        _propagation.install(baggage_keys=("tenant", "http.route"), public_endpoint=False)
        context = baggage.set_baggage("http.route", "/forged", self.CONTEXT)
        with Receiver() as receiver:
            pipeline = Pipeline(Settings(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url}))
            provider = TracerProvider(shutdown_on_exit=False)
            for processor in pipeline.span_processors():
                provider.add_span_processor(processor)
            tracer = provider.get_tracer("t")
            tracer.start_span("a", context, attributes={"http.route": "/orders"}).end()
            assert provider.force_flush()
            provider.shutdown()
            (span,) = receiver.spans()
        assert span.attributes == {"http.route": "/orders", "tenant": "acme"}

    def test_log_records_have_it(self) -> None:
        _propagation.install(baggage_keys=("tenant",), public_endpoint=False)
        token = otel_context.attach(self.CONTEXT)
        try:
            event = _event.Event.start("shop", logging.INFO, "order.placed", {})
        finally:
            otel_context.detach(token)
        assert event.fields == {"tenant": "acme"}


def echoing(found: list[Mapping[str, Any]]) -> FastAPI:
    """Build an application that notes what it sees of its caller, and of a message that it received."""
    app = FastAPI()

    @app.get("/orders")
    def orders(request: Request) -> str:
        message = propagate.extract({"traceparent": OTHER, "baggage": "inside=yes"})
        again = propagate.extract(request.headers)
        found.append(
            {
                "header": request.headers.get("traceparent"),
                "baggage": dict(baggage.get_all()),
                "trace": f"{trace.get_current_span().get_span_context().trace_id:032x}",
                "message": f"{trace.get_current_span(message).get_span_context().trace_id:032x}",
                "message baggage": dict(baggage.get_all(message)),
                "again": trace.get_current_span(again).get_span_context().is_valid,
            }
        )
        return "ok"

    return app


def made_by(telemetry: Telemetry) -> dict[str, Any]:
    return {"tracer_provider": telemetry.tracer_provider, "meter_provider": telemetry.meter_provider}


SENT = (("traceparent", TRACEPARENT), ("baggage", "tenant=acme"))


class TestPublicEndpoint:
    @staticmethod
    def _check(seen: Mapping[str, Any], span: Any) -> None:
        assert seen["header"] == TRACEPARENT
        assert seen["baggage"] == {}
        assert seen["trace"] == f"{span.context.trace_id:032x}" != TRACE_ID
        assert (seen["message"], seen["message baggage"]) == (OTHER.split("-")[1], {"inside": "yes"})
        assert seen["again"] is False
        assert span.parent is None

    def test_fastapi_begins_the_trace_and_keeps_what_the_application_does(self) -> None:
        found: list[Mapping[str, Any]] = []
        integration = FastAPIIntegration()
        with Telemetry() as telemetry:
            integration.install(telemetry.wiring({"OTELKIT_HTTP_PUBLIC_ENDPOINT": "true"}), None)
            try:
                assert fetch(echoing(found), "/orders", headers=SENT).status == 200
            finally:
                integration.uninstall()
            (span,) = [span for span in telemetry.spans if span.kind is SpanKind.SERVER]
        (seen,) = found
        self._check(seen, span)

    def test_the_middleware_begins_the_trace_with_a_link(self) -> None:
        seen: list[Any] = []

        async def app(_: Any, __: Any, send: Any) -> None:
            message = propagate.extract({"traceparent": OTHER})
            seen.append((dict(baggage.get_all()), trace.get_current_span(message).get_span_context().is_valid))
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        with Telemetry() as telemetry:
            providers = made_by(telemetry)
            wrapped = TelemetryMiddleware(app, **providers, public_endpoint=True)
            fetch(wrapped, "/", headers=SENT)
            fetch(wrapped, "/")
            linked, alone = telemetry.spans
        assert seen == [({}, True), ({}, True)]
        assert (linked.parent, alone.parent, alone.links) == (None, None, ())
        (link,) = linked.links
        assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (TRACE_ID, SPAN_ID)

    @pytest.mark.parametrize(("argument", "configured", "joined"), [(None, True, False), (False, True, True)])
    def test_the_middleware_takes_what_configure_was_told_unless_told_itself(
        self, argument: bool | None, *, configured: bool, joined: bool
    ) -> None:
        async def app(_: Any, __: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        with Telemetry() as telemetry:
            providers = made_by(telemetry)
            wrapped = TelemetryMiddleware(app, **providers, public_endpoint=argument)
            _propagation.install(baggage_keys=(), public_endpoint=configured)
            fetch(wrapped, "/", headers=SENT)
            (span,) = telemetry.spans
        assert (span.parent is not None) is joined

    @pytest.mark.parametrize(
        ("carrier", "joined"),
        [
            ({"wsgi.version": (1, 0), "traceparent": TRACEPARENT}, False),
            ({"asgi": {}, "type": "http", "traceparent": TRACEPARENT}, False),
            ({"asgi": {}, "type": "lifespan", "traceparent": TRACEPARENT}, True),
            ({"traceparent": TRACEPARENT}, True),  # a message, say of a task
        ],
    )
    def test_what_a_server_hands_over_is_not_continued_whoever_reads_it(
        self, carrier: dict[str, Any], *, joined: bool
    ) -> None:
        _propagation.install(baggage_keys=(), public_endpoint=True)
        context = propagate.extract(carrier)
        assert trace.get_current_span(context).get_span_context().is_valid is joined
        caller = _propagation.caller(context)
        assert (caller is None) is joined
        assert caller is None or f"{caller.trace_id:032x}" == TRACE_ID

    def test_nothing_of_it_is_left_behind_the_request(self) -> None:
        async def app(_: Any, __: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        with Telemetry() as telemetry:
            providers = made_by(telemetry)
            fetch(TelemetryMiddleware(app, **providers, public_endpoint=True), "/", headers=SENT)
        assert trace.get_current_span(extracted(traceparent=TRACEPARENT)).get_span_context().is_valid
        assert _propagation.caller(get_current()) is None

    def test_our_processor_links_the_server_span_of_any_instrumentation_once(self) -> None:
        with Receiver() as receiver:
            pipeline = Pipeline(Settings(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url}))
            provider = TracerProvider(shutdown_on_exit=False)
            for processor in pipeline.span_processors():
                provider.add_span_processor(processor)
            tracer = provider.get_tracer("t")
            headers = {"traceparent": TRACEPARENT}
            token = _propagation.begin_request(headers, default_getter, public=True)
            try:
                context = propagate.extract(headers)
            finally:
                _propagation.end_request(token)
            caller = _propagation.caller(context)
            assert caller is not None
            with tracer.start_as_current_span("bare", context, SpanKind.SERVER):
                tracer.start_span("inside", kind=SpanKind.SERVER).end()
            tracer.start_span("linked", context, SpanKind.SERVER, links=[Link(caller)]).end()
            assert provider.force_flush()
            provider.shutdown()
            links = {span.name: [link.span_id for link in span.links] for span in receiver.spans()}
        assert links == {"bare": [SPAN_ID], "linked": [SPAN_ID], "inside": []}


class TestWhatCallersWrite:
    @staticmethod
    def _told(attributes: dict[str, Any]) -> Mapping[str, Any]:
        provider = TracerProvider(shutdown_on_exit=False)
        span: Any = provider.get_tracer("t").start_span("GET", attributes=attributes)
        span.end()
        data = request([(span.resource, span.instrumentation_scope, [Encoder().span(span)])])
        (found,) = decode_traces(data)
        return found.attributes

    @pytest.mark.parametrize("key", sorted(CALLERS))
    def test_it_is_cut(self, key: str) -> None:
        told = self._told({key: "x" * 60_000})[key]
        assert CALLERS[key] < len(told) < CALLERS[key] + 40
        assert self._told({key: "x" * CALLERS[key]})[key] == "x" * CALLERS[key]

    def test_recorded_headers_are_cut_however_often_they_come(self) -> None:
        key = "http.request.header.x_name"
        told = self._told({key: ["x" * 60_000] * 50})[key]
        assert sum(map(len, told)) < 3 * HEADER_LIMIT
        assert self._told({key: ["a", "b"]})[key] == ("a", "b")

    def test_what_the_application_writes_is_told_whole(self) -> None:
        assert self._told({"order.note": "x" * 60_000}) == {"order.note": "x" * 60_000}
