"""structlog on otelkit's roads: its own loggers, and every way an application may have configured it."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import pickle
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from structlog.stdlib import LoggerFactory, ProcessorFormatter

import otelkit
from otelkit import logs
from otelkit.redact import Redactor
from support.heard import hearing, in_memory, own_handlers, provider, untouched_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import Processor

tracer = TracerProvider().get_tracer("tests")
SECRET = "hunter2-Correct-Horse"
FIELDS = {"order_id": 42, "paid": True, "ratio": 0.5, "tags": ["a"]}


class Unprintable:
    def __str__(self) -> str:  # noqa: D105  raising is all it does
        raise RuntimeError("no text")


def throw(error: BaseException) -> None:
    raise error


class TestOurLoggers:
    def test_the_same_on_stdout_and_in_otlp(self) -> None:
        log = otelkit.get_logger("shop", region="eu")
        with hearing() as heard, tracer.start_as_current_span("work") as span:
            structlog.contextvars.bind_contextvars(request_id="r-1")
            log.info("order.placed", **FIELDS)
        ids = span.get_span_context()
        line, record = heard.line, heard.record
        fields = {"request_id": "r-1", "region": "eu", **FIELDS}
        assert line == {
            "timestamp": line["timestamp"],
            "level": "info",
            "service": "shop",
            "event": "order.placed",
            "logger": "shop",
            "trace_id": format(ids.trace_id, "032x"),
            "span_id": format(ids.span_id, "016x"),
            **fields,
        }
        assert {**record.attributes, "tags": list(record.attributes["tags"])} == fields
        assert (record.body, record.event_name, record.trace_id) == ("order.placed", "order.placed", ids.trace_id)
        assert heard.scopes == ["shop"]

    def test_the_name_is_the_module_that_asks(self) -> None:
        with hearing() as heard:
            logs.get_logger().info("m")
            otelkit.get_logger().info("m")
            structlog.get_logger().info("m")
        assert [line["logger"] for line in heard.lines] == [__name__] * 3

    @pytest.mark.parametrize("method", ["info", "warning", "error", "critical", "exception", "warn", "fatal", "msg"])
    def test_methods(self, method: str) -> None:
        with hearing() as heard:
            getattr(logs.get_logger("shop"), method)("m")
        expected = {"exception": "error", "warn": "warning", "fatal": "critical", "msg": "info"}.get(method, method)
        assert heard.line["level"] == expected
        assert heard.record.severity_text == expected.upper()

    def test_level_by_number_and_in_coroutines(self) -> None:
        log = logs.get_logger("shop")

        async def work() -> None:
            with tracer.start_as_current_span("work"):
                await log.ainfo("a")
                await log.alog(logging.ERROR, "b")
                try:
                    throw(ValueError("bad"))
                except ValueError:
                    await log.aexception("c")

        with hearing() as heard:
            asyncio.run(work())
            log.log(logging.WARNING, "d %s", 1)
        assert [(line["event"], line["level"]) for line in heard.lines] == [
            ("a", "info"),
            ("b", "error"),
            ("c", "error"),
            ("d 1", "warning"),
        ]
        assert heard.lines[2]["exception.message"] == "bad"
        assert len({line.get("trace_id") for line in heard.lines[:3]}) == 1

    def test_bind_unbind_new_copy_and_pickle(self) -> None:
        log = logs.get_logger("shop", a=1)
        with hearing() as heard:
            log.bind(b=2).info("m")
            log.bind(b=2).unbind("a").info("m")
            log.new(c=3).info("m")
            copy.deepcopy(logs.get_logger("shop", a=1)).info("m")
            pickle.loads(pickle.dumps(logs.get_logger("shop", a=1))).info("m")  # noqa: S301  our own bytes
        own = [{key: line[key] for key in line.keys() & {"a", "b", "c"}} for line in heard.lines]
        assert own == [{"a": 1, "b": 2}, {"b": 2}, {"c": 3}, {"a": 1}, {"a": 1}]

    @pytest.mark.parametrize(
        "call",
        [
            lambda log: log.info("user %d", "abc"),
            lambda log: log.info("%s %s", *[1]),
            lambda log: log.info("m", value=Unprintable()),
            lambda log: log.info(Unprintable()),
            lambda log: log.info("m", exc_info="yes", stack_info=object()),  # noqa: LOG014  nothing is handled, on purpose
            lambda log: log.info(),
            lambda log: log.info("m", event="also", self=1, level=3),
            lambda log: log.info("\ud800", **{"\ud800": "\ud800"}),
            lambda log: log.info(None, *[None] * 3),
        ],
    )
    def test_no_call_raises_and_each_arrives(self, call: Callable[[Any], None]) -> None:
        with hearing() as heard:
            call(logs.get_logger("shop"))
        assert len(heard.lines) == len(heard.records) == 1
        assert heard.line["event"] == heard.record.body

    def test_a_malformed_call_says_so(self) -> None:
        with hearing() as heard:
            logs.get_logger("shop").info("user %d", "abc")
        assert heard.line["event"] == "user %d"
        assert "TypeError" in heard.line["otelkit.log.malformed"]
        assert heard.line["otelkit.log.arguments"] == ["abc"]

    def test_stack_info(self) -> None:
        with hearing() as heard:
            logs.get_logger("shop").info("m", stack_info=True)
        assert heard.line["code.stacktrace"].rstrip().endswith('.info("m", stack_info=True)')

    def test_levels_of_the_stdlib_logger_count(self) -> None:
        log = logs.get_logger("shop.noisy.part")
        with hearing() as heard:
            log.debug("no")
            with own_handlers("shop.noisy", level=logging.ERROR):
                log.warning("no")
                log.error("yes")
                assert not log.is_enabled_for(logging.INFO)
                assert log.get_effective_level() == logging.ERROR
            logging.disable(logging.CRITICAL)
            log.error("no")
            logging.disable(logging.NOTSET)
        assert heard.events == ["yes"]

    def test_handlers_of_the_application_hear_them(self) -> None:
        formatter = logging.Formatter("%(name)s %(levelname)s %(message)s %(order_id)s %(funcName)s")
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        with hearing() as heard, own_handlers("shop", handler):
            logs.get_logger("shop").info("order.placed", order_id=42)
        assert stream.getvalue() == "shop INFO order.placed order_id=42 42 test_handlers_of_the_application_hear_them\n"
        assert heard.events == heard.bodies == ["order.placed"]

    def test_they_go_through_the_applications_handler_where_that_is_the_way_to_the_terminal(self) -> None:
        with hearing(before=lambda: logging.basicConfig(format="plain %(message)s")) as heard:
            logs.get_logger("shop").info("order.placed", order_id=42)
        assert heard.err.getvalue() == "plain order.placed order_id=42\n"
        assert heard.text == ""
        assert heard.bodies == ["order.placed"]

    def test_a_product_that_replaced_call_handlers_hears_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heard_there: list[str] = []

        def replacement(_: logging.Logger, record: logging.LogRecord) -> None:
            heard_there.append(record.getMessage())

        monkeypatch.setattr(logging.Logger, "callHandlers", replacement)
        with hearing():
            logs.get_logger("shop").error("order.failed")
        assert heard_there == ["order.failed"]

    def test_before_configure_events_are_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        logs.get_logger("early").info("m", a=1, password=SECRET)
        logs.get_logger("early").debug("no")
        line = json.loads(capsys.readouterr().out)
        assert (line["event"], line["a"]) == ("m", 1)
        assert line["password"].startswith("[redacted:")

    def test_disable_existing_loggers_does_not_reach_them(self) -> None:
        log = logs.get_logger("shop.disabled")
        with hearing() as heard, own_handlers("shop.disabled", disabled=True):
            logging.getLogger("otelkit.access").disabled = True
            log.info("ours")
            logging.getLogger("otelkit.access").info("access")
        assert heard.events == heard.bodies == ["ours", "access"]

    def test_the_applications_configuration_of_structlog_is_used(self) -> None:
        log = logs.get_logger("shop", region="eu")
        with hearing() as heard:
            structlog.configure(
                processors=[structlog.processors.KeyValueRenderer()], logger_factory=printing(heard.out)
            )
            log.info("order.placed", order_id=42)
            log.info("user %d", "abc")
        assert heard.text.splitlines()[0] == "region='eu' order_id=42 event='order.placed'"
        assert "TypeError" in heard.text.splitlines()[1]
        assert heard.bodies == ["order.placed", "user %d"]

    def test_capture_logs_captures_them(self) -> None:
        log = logs.get_logger("shop")
        with hearing() as heard:
            with structlog.testing.capture_logs() as captured:
                log.info("m", a=1)
            log.info("n")
        assert captured == [{"event": "m", "a": 1, "log_level": "info"}]
        assert heard.events == ["n"]
        assert heard.bodies == ["m", "n"]


def printing(stream: io.StringIO) -> Callable[..., structlog.PrintLogger]:
    """A factory of loggers that print to a stream."""
    return lambda *_: structlog.PrintLogger(stream)


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
    structlog.processors.format_exc_info,
]


def stdlib_bound(renderer: Any, **options: Any) -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.add_logger_name, *SHARED, renderer],
        logger_factory=LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        **options,
    )


def formatter_root() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=SHARED))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)


class TestTheApplicationsConfiguration:
    def test_none_at_all_gives_our_lines(self) -> None:
        log = structlog.get_logger("shop")
        with hearing() as heard:
            log.info("order.placed", **FIELDS)
            log.debug("no")
            try:
                throw(ValueError("bad"))
            except ValueError:
                log.exception("order.failed")
        assert heard.events == heard.bodies == ["order.placed", "order.failed"]
        assert FIELDS.items() <= heard.lines[0].items()
        assert heard.lines[1]["exception.message"] == "bad"

    @pytest.mark.parametrize("order", ["before", "after"])
    @pytest.mark.parametrize("cached", [True, False])
    def test_a_print_logger(self, order: str, *, cached: bool) -> None:
        def configure() -> None:
            structlog.configure(
                processors=[*SHARED, structlog.processors.JSONRenderer()],
                logger_factory=printing(sys.stdout),  # type: ignore[arg-type]  # a StringIO in here
                cache_logger_on_first_use=cached,
            )
            if order == "before":
                log.info("warm.up")

        log = structlog.get_logger("shop")
        with hearing(before=configure if order == "before" else None) as heard:
            if order == "after":
                configure()
            with tracer.start_as_current_span("work") as span:
                structlog.contextvars.bind_contextvars(request_id="r-1")
                log.info("order.placed", **FIELDS)
        assert heard.events[-1] == "order.placed"
        assert len(heard.lines) == (2 if order == "before" else 1), "their line, and none of ours"
        record = heard.record
        assert {**record.attributes, "tags": list(record.attributes["tags"])} == {"request_id": "r-1", **FIELDS}
        assert record.trace_id == span.get_span_context().trace_id
        assert heard.scopes == [__name__]

    def test_the_lists_of_the_application_stay_as_they_are(self) -> None:
        chain: list[Processor] = [*SHARED, structlog.processors.JSONRenderer()]
        given = chain.copy()
        with hearing() as heard:
            structlog.configure(processors=given, logger_factory=printing(heard.out))
            bound = structlog.get_logger().bind()
            bound.info("m")
            assert structlog.get_config()["processors"] is given
            assert given == chain == bound._processors
            assert repr(bound._processors) == repr(chain)
            assert len(bound.bind(a=1)._processors) == len(chain)
            assert bound._processors[-1] is chain[-1]
            assert bound._processors.index(chain[0]) == 0
        assert vars(bound)["_processors"] is given
        assert bound._processors is given, "after the roads are closed"

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_chains_given_to_wrap_logger_and_tuples(self, kind: Callable[[Any], Any]) -> None:
        with hearing() as heard:
            processors = kind([structlog.processors.LogfmtRenderer()])
            log = structlog.wrap_logger(structlog.PrintLogger(heard.out), processors=processors)
            log.bind(a=1).bind(b=2).info("m")
        assert sorted(heard.text.split()) == ["a=1", "b=2", "event=m"]
        assert heard.bodies == ["m"]
        assert dict(heard.record.attributes) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("logger", ["WriteLogger", "BytesLogger"])
    def test_write_and_bytes_loggers(self, logger: str) -> None:
        stream: Any = io.BytesIO() if logger == "BytesLogger" else io.StringIO()
        with hearing() as heard:
            structlog.configure(
                processors=[
                    lambda _, __, event: json.dumps(event).encode() if logger == "BytesLogger" else json.dumps(event)
                ],
                logger_factory=lambda *_: getattr(structlog, logger)(stream),
            )
            structlog.get_logger().info("m", a=1)
        assert json.loads(stream.getvalue()) == {"a": 1, "event": "m"}
        assert heard.bodies == ["m"]
        assert heard.text == ""

    @pytest.mark.parametrize(
        "renderer",
        [
            structlog.processors.JSONRenderer(),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            structlog.stdlib.render_to_log_kwargs,
            ProcessorFormatter.wrap_for_formatter,
        ],
        ids=["json", "console", "log_kwargs", "formatter"],
    )
    @pytest.mark.parametrize("printed", [True, False])
    def test_bound_to_stdlib_logging(self, renderer: Any, *, printed: bool) -> None:
        log = structlog.get_logger("shop.bound")
        with hearing(before=formatter_root if printed else None) as heard, tracer.start_as_current_span("work") as span:
            stdlib_bound(renderer)
            structlog.contextvars.bind_contextvars(request_id="r-1")
            log.info("order.placed", **FIELDS)
            try:
                throw(ValueError("bad"))
            except ValueError:
                log.exception("order.failed", order_id=43)
        fields = {"request_id": "r-1", **FIELDS}
        placed, failed = heard.records
        assert (placed.body, failed.body) == ("order.placed", "order.failed")
        assert {**placed.attributes, "tags": list(placed.attributes["tags"])} == fields
        assert placed.trace_id == span.get_span_context().trace_id
        assert heard.scopes == ["shop.bound"] * 2
        assert failed.attributes["exception.type"] == "ValueError"
        assert failed.attributes["order_id"] == 43
        assert set(failed.attributes) == {
            "request_id",
            "order_id",
            "exception.type",
            "exception.message",
            "exception.stacktrace",
            "exception.fingerprint",
        }
        if printed:
            assert not heard.roads.stdout
            assert heard.text.count("order.placed") == heard.text.count("order.failed") == 1
        else:
            assert heard.events == ["order.placed", "order.failed"]
            assert {**fields, "logger": "shop.bound", "level": "info"}.items() <= heard.lines[0].items()

    def test_what_stdlib_filters_is_exported_by_nobody(self) -> None:
        def configure() -> None:
            structlog.configure(
                processors=[structlog.processors.JSONRenderer()],
                logger_factory=LoggerFactory(),
                wrapper_class=structlog.stdlib.BoundLogger,
            )

        with hearing(before=configure) as heard, own_handlers("shop.filtered", level=logging.ERROR):
            log = structlog.get_logger("shop.filtered")
            log.info("no")
            logging.getLogger("shop.filtered").error("no")
            log.error("yes")
            logging.getLogger("shop.filtered").error('{"event": "yes"}')
        assert heard.bodies == ["no", "yes", '{"event": "yes"}']

    def test_positional_arguments(self) -> None:
        with hearing() as heard:
            stdlib_bound(structlog.stdlib.render_to_log_kwargs)
            structlog.get_logger("shop").info("%s of %d", "a", 2)
        assert heard.bodies == ["a of 2"]

    def test_local_variables_never_leave_even_where_the_chain_shows_them(self) -> None:
        stream = io.StringIO()
        with hearing() as heard:
            structlog.configure(
                processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()],
                logger_factory=printing(stream),
            )
            try:
                secret = "s3cret-local"[::1]
                assert secret
                throw(ValueError("bad"))
            except ValueError:
                structlog.get_logger().exception("m")
        assert '"locals"' in stream.getvalue()
        told = {"exception.type", "exception.message", "exception.stacktrace", "exception.fingerprint"}
        assert set(heard.record.attributes) == told
        assert "'s3cret-local'" not in heard.record.attributes["exception.stacktrace"]

    def test_an_exception_given_outside_of_its_handler(self) -> None:
        with hearing() as heard:
            structlog.configure(
                processors=[*SHARED, structlog.processors.JSONRenderer()], logger_factory=printing(heard.out)
            )
            structlog.get_logger().error("m", exc_info=ValueError("bad"))
        assert heard.record.attributes["exception.message"] == "bad"

    def test_ids_that_the_application_adds_are_not_told_twice(self) -> None:
        def add_ids(_: Any, __: str, event: Any) -> Any:
            context = trace.get_current_span().get_span_context()
            event["trace_id"], event["span_id"] = format(context.trace_id, "032x"), format(context.span_id, "016x")
            return event

        with hearing() as heard, tracer.start_as_current_span("work"):
            structlog.configure(
                processors=[add_ids, structlog.processors.JSONRenderer()], logger_factory=printing(heard.out)
            )
            structlog.get_logger().info("m")
        assert dict(heard.record.attributes) == {}

    def test_what_the_chain_takes_out_stays_out(self) -> None:
        def drop(_: Any, __: str, event: Any) -> Any:
            event.pop("password", None)
            return event

        with hearing() as heard:
            structlog.contextvars.bind_contextvars(password="s3cret", request_id="r-1")
            structlog.configure(
                processors=[structlog.contextvars.merge_contextvars, drop, structlog.processors.JSONRenderer()],
                logger_factory=printing(heard.out),
            )
            structlog.get_logger().info("m", a=1)
        assert dict(heard.record.attributes) == {"request_id": "r-1", "a": 1}

    def test_a_dropped_event_is_dropped_and_an_error_of_the_chain_is_raised(self) -> None:
        def drop(_: Any, __: str, event: Any) -> Any:
            if "drop" in event:
                raise structlog.DropEvent
            raise RuntimeError("chain")

        with hearing() as heard:
            structlog.configure(
                processors=[drop, structlog.processors.JSONRenderer()], logger_factory=printing(heard.out)
            )
            structlog.get_logger().info("m", drop=True)
            with pytest.raises(RuntimeError, match="chain"):
                structlog.get_logger().info("m")
            logs.get_logger("shop").info("m")
        assert heard.bodies == []

    def test_callsite_parameters_are_the_applications(self) -> None:
        adder = structlog.processors.CallsiteParameterAdder(
            {structlog.processors.CallsiteParameter.FUNC_NAME, structlog.processors.CallsiteParameter.MODULE}
        )
        with hearing() as heard:
            structlog.configure(
                processors=[adder, structlog.processors.JSONRenderer()], logger_factory=printing(heard.out)
            )
            structlog.get_logger().info("m")
        expected = {"func_name": "test_callsite_parameters_are_the_applications", "module": "test_logs_structlog"}
        assert dict(heard.record.attributes) == expected
        assert expected.items() <= heard.line.items()

    def test_a_logger_of_their_own_that_ends_in_stdlib_is_exported_once(self) -> None:
        class Own:
            def info(self, message: str) -> None:
                logging.getLogger("shop.own").warning(message)

        with hearing() as heard:
            structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: Own())
            structlog.get_logger().info("m", a=1)
        assert heard.bodies == ["m"]
        assert heard.events == ["m"]

    @pytest.mark.filterwarnings("ignore:.*AsyncBoundLogger.*:DeprecationWarning")
    def test_async_bound_logger(self) -> None:
        with hearing() as heard:
            structlog.configure(
                processors=[structlog.stdlib.render_to_log_kwargs],
                logger_factory=LoggerFactory(),
                wrapper_class=structlog.stdlib.AsyncBoundLogger,
            )

            async def work() -> int:
                with tracer.start_as_current_span("work") as span:
                    await structlog.get_logger("shop").info("theirs")
                    logs.get_logger("shop").info("ours")
                return span.get_span_context().trace_id

            trace_id = asyncio.run(work())
        assert heard.bodies == ["theirs", "ours"]
        assert [record.trace_id for record in heard.records] == [trace_id] * 2

    def test_capture_logs_sees_what_it_always_saw(self) -> None:
        with hearing() as heard:
            with structlog.testing.capture_logs() as captured:
                structlog.get_logger().info("m", a=1)
            structlog.get_logger().info("n")
        assert captured == [{"event": "m", "a": 1, "log_level": "info"}]
        assert heard.events == ["n"]


class TestProcessor:
    def test_alone_in_a_chain(self) -> None:
        exporter, stream = in_memory(), io.StringIO()
        log = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[logs.OtlpProcessor(provider(exporter)), structlog.processors.JSONRenderer()],
        )
        with tracer.start_as_current_span("work") as span:
            log.info("m", a=1)
        (entry,) = exporter.get_finished_logs()
        assert (entry.log_record.body, dict(entry.log_record.attributes or {})) == ("m", {"a": 1})
        assert entry.log_record.trace_id == span.get_span_context().trace_id
        assert json.loads(stream.getvalue()) == {"event": "m", "a": 1}

    @pytest.mark.parametrize("bound", [True, False])
    def test_beside_configure_nothing_is_exported_twice(self, *, bound: bool) -> None:
        with hearing() as heard:
            structlog.configure(
                processors=[logs.OtlpProcessor(), structlog.processors.JSONRenderer()],
                logger_factory=LoggerFactory() if bound else printing(heard.out),
            )
            structlog.get_logger("shop").info("m", a=1)
        assert heard.bodies == ["m"]
        assert heard.line["a"] == 1

    def test_it_never_raises(self) -> None:
        class Failing:
            def get_logger(self, *_: object) -> Any:
                raise RuntimeError("provider")

        processor = logs.OtlpProcessor(Failing())  # type: ignore[arg-type]  # that is the point
        event = {"event": "m", "a": Unprintable()}
        assert processor(None, "info", event) is event


def test_closing_the_roads_gives_structlog_back() -> None:
    out = io.StringIO()
    with untouched_root(out, io.StringIO()):
        with hearing():
            pass
        assert "_processors" not in vars(structlog.BoundLoggerBase)
        log = structlog.wrap_logger(structlog.PrintLogger(out), processors=[structlog.processors.JSONRenderer()])
        log.info("m")
    assert json.loads(out.getvalue()) == {"event": "m"}


class TestUserHandlers:
    """With `Redaction(user_handlers=True)` renderers of the application get redacted events; without, what they got."""

    @pytest.mark.parametrize("user_handlers", [True, False])
    def test_a_chain_that_prints(self, *, user_handlers: bool) -> None:
        printed = io.StringIO()
        log = structlog.wrap_logger(
            structlog.PrintLogger(printed), processors=[structlog.processors.JSONRenderer()], tenant="t"
        )
        event = f"log-in with password={SECRET}"
        given = {"password": SECRET, "nested": [{"token": SECRET}], "left": 3}
        with hearing(redactor=Redactor(), user_handlers=user_handlers) as heard:
            log.info(event, **given)
        line = json.loads(printed.getvalue())
        assert (line["tenant"], line["left"]) == ("t", 3)
        assert (SECRET in printed.getvalue()) is not user_handlers
        assert line["event"].startswith("log-in with password=")
        assert SECRET not in str(heard.records)
        assert given["nested"] == [{"token": SECRET}]

    @pytest.mark.parametrize(
        "steps",
        [
            [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()],
            [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
            [structlog.dev.ConsoleRenderer(colors=False)],
        ],
        ids=["structured", "text", "console"],
    )
    def test_exceptions_whoever_renders_them(self, steps: list[Processor]) -> None:
        printed = io.StringIO()
        log = structlog.wrap_logger(structlog.PrintLogger(printed), processors=steps)
        with hearing(redactor=Redactor(), user_handlers=True) as heard:
            try:
                throw(ValueError(f"password={SECRET}"))
            except ValueError:
                log.exception("order.failed")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())  # older structlogs colour exceptions all the same
        assert "order.failed" in shown
        assert "ValueError" in shown
        assert "password=[redacted:" in shown
        assert SECRET not in shown + str(heard.records)

    def test_a_formatter_of_structlog_at_a_handler_of_stdlib_logging(self) -> None:
        printed = io.StringIO()
        handler = logging.StreamHandler(printed)
        handler.setFormatter(
            ProcessorFormatter(
                processors=[
                    ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ]
            )
        )
        structlog_log = structlog.wrap_logger(
            logging.getLogger("shop.formatted"),
            processors=[ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        with hearing(redactor=Redactor(), user_handlers=True), own_handlers("shop.formatted", handler) as stdlib_log:
            stdlib_log.warning("log-in with password=%s", SECRET)
            structlog_log.warning("log-in", password=SECRET)
            try:
                throw(ValueError(f"password={SECRET}"))
            except ValueError:
                structlog_log.exception("order.failed")
                stdlib_log.exception("order.failed")
        assert SECRET not in printed.getvalue()
        lines = [json.loads(line) for line in printed.getvalue().splitlines()]
        assert len(lines) == 4
        assert lines[1]["password"].startswith("[redacted:")
        assert all("in throw" in line["exception"] for line in lines[2:])

    def test_what_cannot_be_redacted_is_not_told(self) -> None:
        class Failing(Redactor):
            def plain(self, key: str, value: Any) -> Any:  # noqa: ARG002  fails for all
                raise RuntimeError("broken")

            value = plain

        printed = io.StringIO()
        log = structlog.wrap_logger(structlog.PrintLogger(printed), processors=[structlog.processors.JSONRenderer()])
        with hearing(redactor=Failing(), user_handlers=True):
            log.info("log-in", password=SECRET)
        assert json.loads(printed.getvalue()) == {"event": "log.redaction.failed"}


def test_the_processor_redacts_what_it_sends_to_a_provider_of_the_application() -> None:
    exporter = in_memory()
    chain: list[Processor] = [logs.OtlpProcessor(provider(exporter)), structlog.processors.JSONRenderer()]
    log = structlog.wrap_logger(structlog.PrintLogger(io.StringIO()), processors=chain)
    with hearing(redactor=Redactor()):
        log.info("log-in", password=SECRET)
    (entry,) = exporter.get_finished_logs()
    assert str(dict(entry.log_record.attributes or {})["password"]).startswith("[redacted:")
