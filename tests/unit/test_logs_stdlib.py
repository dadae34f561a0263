"""stdlib logging on otelkit's roads: each record once, wherever its handlers are and whatever becomes of them."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

import pytest
import structlog
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider

from otelkit import logs
from otelkit.logs import _stdlib
from otelkit.redact import Redactor
from support.heard import hearing, own_handlers, untouched_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("shop.stock")
tracer = TracerProvider().get_tracer("tests")


SECRET = "hunter2-Correct-Horse"
WITH_PASSWORD = f"password={SECRET}"


def fail() -> None:
    secret = "local-value"  # noqa: F841  must not be told
    raise LookupError("sold out")


class TestOneRoad:
    def test_the_same_on_stdout_and_in_otlp(self) -> None:
        with hearing() as heard, tracer.start_as_current_span("work") as span:
            structlog.contextvars.bind_contextvars(request_id="r-1", tenant="t")
            log.warning("stock %s", "low", extra={"left": 3, "http.route": "/x"})
        ids = span.get_span_context()
        line, record = heard.line, heard.record
        fields = {"request_id": "r-1", "tenant": "t", "left": 3, "http.route": "/x"}
        assert line == {
            "timestamp": line["timestamp"],
            "level": "warning",
            "service": "shop",
            "event": "stock low",
            "logger": "shop.stock",
            "trace_id": format(ids.trace_id, "032x"),
            "span_id": format(ids.span_id, "016x"),
            **fields,
        }
        assert dict(record.attributes) == fields
        assert (record.body, record.severity_text, record.severity_number.value) == ("stock low", "WARNING", 13)
        assert (record.trace_id, record.span_id) == (ids.trace_id, ids.span_id)
        assert heard.scopes == ["shop.stock"]
        assert line["timestamp"].endswith("Z")
        assert record.timestamp // 1_000 % 1_000_000 == int(line["timestamp"][20:26])

    def test_outside_of_a_trace_there_are_no_ids(self) -> None:
        with hearing() as heard:
            log.warning("alone")
        assert {"trace_id", "span_id"}.isdisjoint(heard.line)
        assert heard.record.trace_id == 0

    def test_an_exception_and_its_cause(self) -> None:
        with hearing() as heard:
            try:
                fail()
            except LookupError:
                log.exception("order.failed")
        expected = {"exception.type": "LookupError", "exception.message": "sold out"}
        assert expected.items() <= heard.line.items()
        assert expected.items() <= heard.record.attributes.items()
        stack = heard.line["exception.stacktrace"]
        assert stack == heard.record.attributes["exception.stacktrace"]
        assert "in fail" in stack
        assert "local-value" not in heard.text.replace('secret = "local-value"', "").replace('\\"local-value\\"', "")

    def test_an_event_name_is_one_in_otlp_too(self) -> None:
        with hearing() as heard:
            log.warning("order.placed")
            log.warning("an order was placed.")
            log.warning("10.0.0.1")
        assert [record.event_name for record in heard.records] == ["order.placed", None, None]

    def test_none_and_nested_values_arrive(self) -> None:
        with hearing() as heard:
            log.warning("m", extra={"none": None, "nested": {"a": [{"b": None}], "c": [1, "x"]}})
        assert heard.line["nested"] == {"a": [{"b": None}], "c": ["1", "x"]}
        assert heard.record.attributes["none"] is None
        nested = heard.record.attributes["nested"]
        assert (nested["a"][0], list(nested["c"])) == ({"b": None}, ["1", "x"])

    def test_a_malformed_call_says_so_and_raises_nothing(self) -> None:
        with hearing() as heard:
            log.warning("user %d", "abc")
        assert heard.record.body == heard.line["event"] == "user %d"
        assert "TypeError" in heard.line["otelkit.log.malformed"]
        assert heard.err.getvalue() == ""

    def test_threads_keep_to_themselves(self) -> None:
        def work(number: int) -> None:
            with tracer.start_as_current_span(f"{number}") as span:
                structlog.contextvars.bind_contextvars(number=number)
                for _ in range(50):
                    log.warning("work", extra={"expected": format(span.get_span_context().trace_id, "032x")})

        with hearing() as heard:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(heard.lines) == len(heard.records) == 200
        assert all(line["trace_id"] == line["expected"] for line in heard.lines)
        assert sorted({line["number"] for line in heard.lines}) == [0, 1, 2, 3]


class TestRoads:
    @pytest.mark.parametrize(
        ("asked", "stdout", "otlp"),
        [(None, 1, 1), ("otlp", 0, 1), ("console", 1, 0), ("otlp,console", 1, 1), ("none", 1, 0)],
    )
    def test_the_variable_picks_them(self, asked: str | None, stdout: int, otlp: int) -> None:
        variables = {} if asked is None else {"OTEL_LOGS_EXPORTER": asked}
        with hearing(variables) as heard:
            log.warning("m")
        assert (len(heard.lines), len(heard.records)) == (stdout, otlp)
        assert (heard.roads.stdout, heard.roads.otlp) == (bool(stdout), bool(otlp))
        assert heard.err.getvalue() == ""
        assert ("OTEL_LOGS_EXPORTER" in heard.roads.reason) is not bool(stdout)

    def test_without_a_provider_lines_stay(self) -> None:
        with hearing(exporting=False) as heard:
            log.warning("m")
        assert heard.events == ["m"]
        assert not heard.roads.otlp

    def test_format_for_people(self) -> None:
        with hearing({"OTELKIT_LOG_FORMAT": "console"}) as heard:
            log.warning("stock", extra={"left": 3})
        assert "left=3" in heard.text
        assert not heard.text.startswith("{")
        assert "\x1b" not in heard.text, "not a terminal"
        assert heard.roads.reason == "text"

    def test_a_second_call_applies_anew(self) -> None:
        with hearing() as heard:
            with hearing({"OTEL_LOGS_EXPORTER": "otlp"}) as again:
                log.warning("m")
            assert (heard.text, again.text) == ("", "")
            assert again.bodies == ["m"]
            assert heard.bodies == []

    def test_closed_roads_leave_nothing_behind(self) -> None:
        before = logging.Logger.filter, logging.getLogger("otelkit").level
        out, err = io.StringIO(), io.StringIO()
        with untouched_root(out, err):
            with hearing():
                pass
            log.info("m")
            assert logging.getLogger().level == logging.WARNING
        assert (logging.Logger.filter, logging.getLogger("otelkit").level) == before
        assert "filter" not in vars(logging.Logger)
        assert out.getvalue() == err.getvalue() == ""


def basic(**options: Any) -> Any:
    """A `before` that configures the root logger."""
    return lambda: logging.basicConfig(format="plain %(message)s", **options)


class TestHandlersOfTheApplication:
    @pytest.mark.parametrize("name", ["stdout", "stderr"])
    def test_no_second_line_where_the_root_logger_writes_one(self, name: str) -> None:
        with hearing(
            before=lambda: logging.basicConfig(stream=getattr(sys, name), format="plain %(message)s")
        ) as heard:
            log.warning("m")
        assert heard.out.getvalue() + heard.err.getvalue() == "plain m\n"
        assert heard.bodies == ["m"]
        assert not heard.roads.stdout
        assert heard.roads.otlp
        assert f"writes to {name} already" in heard.roads.reason

    def test_the_same_when_it_is_configured_later(self) -> None:
        with hearing() as heard:
            log.warning("first")
            basic()()
            log.warning("second")
        assert heard.events == ["first"]
        assert heard.err.getvalue() == "plain second\n"
        assert heard.bodies == ["first", "second"]

    def test_basic_config_still_finds_a_root_logger_to_configure(self) -> None:
        with hearing():
            basic(level=logging.ERROR)()
            assert logging.getLogger().level == logging.ERROR
            assert len(logging.getLogger().handlers) == 1

    def test_force_loses_nothing(self) -> None:
        with hearing(before=basic()) as heard:
            logging.basicConfig(handlers=[logging.NullHandler()], force=True)
            log.warning("m")
        assert heard.events == ["m"]
        assert heard.bodies == ["m"]

    def test_dict_config_loses_nothing(self, tmp_path: Path) -> None:
        with hearing() as heard:
            logging.config.dictConfig(
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "handlers": {"file": {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log")}},
                    "root": {"handlers": ["file"], "level": "INFO"},
                }
            )
            log.info("m")
            for handler in logging.getLogger().handlers:
                handler.close()
        assert (tmp_path / "app.log").read_text() == "m\n"
        assert heard.events == heard.bodies == ["m"]

    def test_a_handler_without_propagation_loses_nothing(self) -> None:
        memory = logging.handlers.BufferingHandler(10)
        with own_handlers("shop.audit", memory, propagate=False) as audit, hearing() as heard:
            audit.warning("m")
        assert [record.getMessage() for record in memory.buffer] == ["m"]
        assert heard.events == heard.bodies == ["m"]

    def test_a_handler_of_its_own_that_prints_stays_the_only_one(self) -> None:
        stream = io.StringIO()
        with hearing() as heard:
            sys.stderr = stream
            with own_handlers("shop.audit", logging.StreamHandler(), propagate=False) as audit:
                audit.warning("m")
        assert stream.getvalue() == "m\n"
        assert heard.text == ""
        assert heard.bodies == ["m"]

    def test_filters_and_levels_count(self) -> None:
        with (
            hearing() as heard,
            own_handlers("shop.quiet", filters=[lambda record: "secret" not in record.msg]) as quiet,
        ):
            quiet.setLevel(logging.ERROR)
            quiet.warning("too low")
            quiet.error("secret")
            quiet.error("said")
            quiet.setLevel(logging.NOTSET)
        assert heard.events == heard.bodies == ["said"]

    def test_a_handler_fails_as_it_always_did(self) -> None:
        class Broken(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                try:
                    fail()
                except LookupError:
                    self.handleError(record)

        def printed() -> str:
            assert isinstance(sys.stderr, io.StringIO)
            with own_handlers("shop.broken", Broken()) as broken:
                broken.warning("m")
            return sys.stderr.getvalue()

        outputs = []
        for surroundings in (untouched_root(io.StringIO(), io.StringIO()), hearing()):
            with surroundings:
                outputs.append(printed())
        assert outputs[0] == outputs[1]
        assert "--- Logging error ---" in outputs[0]

    def test_nothing_of_ours_is_on_the_stack_of_a_handler(self) -> None:
        modules: list[str] = []

        class Looking(logging.Handler):
            def emit(self, _: logging.LogRecord) -> None:
                frame: Any = sys._getframe()
                while frame is not None:
                    modules.append(frame.f_globals["__name__"])
                    frame = frame.f_back

        with hearing(), own_handlers("shop.look", Looking()) as looked:
            looked.warning("m")
        assert "logging" in modules
        assert not [module for module in modules if module.startswith("otelkit")]

    def test_caplog_captures_as_before(self, caplog: pytest.LogCaptureFixture) -> None:
        with hearing() as heard:
            logging.getLogger().addHandler(caplog.handler)
            with caplog.at_level(logging.INFO):
                log.info("m %s", 1)
            logs.get_logger("shop.own").info("order.placed", order_id=42)
        assert [record.getMessage() for record in caplog.records] == ["m 1", "order.placed order_id=42"]
        assert caplog.records[1].order_id == 42  # type: ignore[attr-defined]  # an extra
        assert caplog.records[1].funcName == "test_caplog_captures_as_before"
        assert heard.events == heard.bodies == ["m 1", "order.placed"]

    def test_a_bridge_of_the_sdk_exports_alone(self) -> None:
        class LoggingHandler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                pass

        LoggingHandler.__module__ = "opentelemetry.sdk._logs"
        with hearing(before=lambda: logging.getLogger().addHandler(LoggingHandler())) as heard:
            log.warning("m")
            logs.get_logger("shop.own").info("n")
        assert heard.events == ["m", "n"]
        assert heard.bodies == []
        assert not heard.roads.otlp


class TestLevels:
    def test_info_arrives_where_nobody_configured_anything_and_debug_does_not(self) -> None:
        with hearing() as heard:
            log.debug("no")
            log.info("yes")
        assert heard.events == heard.bodies == ["yes"]

    def test_debug_is_for_our_own_loggers_not_for_third_parties(self) -> None:
        with hearing({"OTELKIT_LOG_LEVEL": "debug"}) as heard:
            log.debug("third party")
            logs.get_logger("shop").debug("ours")
        assert heard.events == ["ours"]

    def test_an_explicit_level_stays(self) -> None:
        with hearing(before=lambda: logging.getLogger().setLevel(logging.ERROR)) as heard:
            log.warning("no")
            assert logging.getLogger().level == logging.ERROR
            logs.get_logger("shop").info("ours")
        assert heard.events == ["ours"]

    def test_our_own_events_arrive_under_any_root_level(self) -> None:
        with hearing(before=lambda: logging.getLogger().setLevel(logging.ERROR)) as heard:
            logging.getLogger("otelkit.access").info("http.request.completed")
        assert heard.events == heard.bodies == ["http.request.completed"]

    def test_handlers_that_come_later_see_what_they_would_have_seen(self) -> None:
        with hearing() as heard:
            basic()()
            log.info("to OTLP only")
            log.warning("to both")
            logging.getLogger().setLevel(logging.INFO)
            log.info("wanted")
        assert heard.err.getvalue() == "plain to both\nplain wanted\n"
        assert heard.bodies == ["to OTLP only", "to both", "wanted"]


class TestServers:
    """uvicorn's own configuration, in either order; gunicorn's and hypercorn's handlers."""

    @pytest.mark.parametrize("later", [True, False])
    def test_uvicorn_lines_become_ours(self, *, later: bool) -> None:
        from uvicorn.config import LOGGING_CONFIG

        def configure() -> None:
            logging.config.dictConfig(LOGGING_CONFIG)

        as_new: dict[str, Any] = {"handlers": [], "propagate": True, "level": logging.NOTSET}
        with (
            own_handlers("uvicorn", **as_new),
            own_handlers("uvicorn.access", **as_new),
            hearing(before=None if later else configure) as heard,
        ):
            if later:
                configure()
            logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[1mStarted"})
        assert heard.err.getvalue() == ""
        assert heard.events == heard.bodies == ["Started"]
        assert "color_message" not in heard.line

    def test_a_persons_own_format_of_uvicorn_stays(self) -> None:
        with hearing() as heard:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("mine %(message)s"))
            with own_handlers("uvicorn", handler, propagate=False):
                logging.getLogger("uvicorn").warning("m")
        assert heard.err.getvalue() == "mine m\n"
        assert heard.text == ""
        assert heard.bodies == ["m"]

    @pytest.mark.parametrize("name", ["gunicorn.error", "hypercorn.error"])
    def test_other_servers(self, name: str) -> None:
        with hearing() as heard:
            handler = logging.StreamHandler()
            handler._gunicorn = True  # type: ignore[attr-defined]  # as gunicorn marks its handlers
            memory = logging.handlers.BufferingHandler(10)
            with own_handlers(name, handler, memory, propagate=False) as logger:
                logger.warning("Booting worker")
        assert heard.err.getvalue() == ""
        assert heard.events == heard.bodies == ["Booting worker"]
        assert len(memory.buffer) == 1

    def test_where_the_root_logger_prints_servers_print_too(self) -> None:
        with hearing(before=basic()) as heard:
            handler = logging.StreamHandler()
            handler._gunicorn = True  # type: ignore[attr-defined]  # as gunicorn marks its handlers
            with own_handlers("gunicorn.error", handler, propagate=False) as logger:
                logger.warning("Booting worker")
        assert heard.err.getvalue() == "Booting worker\n"
        assert heard.text == ""


class TestNoFeedback:
    def test_exporters_and_their_clients_are_not_heard(self) -> None:
        with hearing() as heard, suppress_instrumentation():
            logging.getLogger("urllib3.connectionpool").warning("retrying")
        assert heard.text == ""
        assert heard.bodies == []

    def test_any_logger_is_cut_off_in_an_exporters_thread(self) -> None:
        def export() -> None:
            with suppress_instrumentation():
                log.warning("exported")

        with hearing() as heard:
            thread = threading.Thread(target=export, name="OtelBatchLogRecordProcessor")
            thread.start()
            thread.join()
        assert heard.bodies == []

    def test_an_application_may_suppress_spans_and_log(self) -> None:
        with hearing() as heard, suppress_instrumentation():
            log.warning("m")
        assert heard.bodies == ["m"]

    def test_clients_are_heard_otherwise(self) -> None:
        with hearing() as heard:
            logging.getLogger("urllib3.connectionpool").warning("retrying")
        assert heard.bodies == ["retrying"]

    def test_what_a_processor_logs_is_not_exported_in_turn(self) -> None:
        from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor

        from otelkit import Settings

        class Chatty(LogRecordProcessor):
            seen = 0

            def on_emit(self, log_record: Any) -> None:  # noqa: ARG002  counts only
                Chatty.seen += 1
                log.warning("emitted")

            def shutdown(self) -> None:
                pass

            def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002  nothing waits
                return True

        provider = LoggerProvider()
        provider.add_log_record_processor(Chatty())
        with hearing() as heard:
            logs.install(Settings(environ={"OTELKIT_LOG_FORMAT": "json"}), provider)
            log.warning("m")
        assert Chatty.seen == 1
        assert sorted(heard.events) == ["emitted", "m"]

    def test_a_provider_that_fails_costs_the_record_only(self) -> None:
        class Failing:
            def get_logger(self, *_: object) -> Any:
                raise RuntimeError("provider")

        from otelkit import Settings

        with hearing() as heard:
            logs.install(Settings(environ={"OTELKIT_LOG_FORMAT": "json"}), Failing())  # type: ignore[arg-type]  # that is the point
            log.warning("m")
        assert heard.events == ["m"]


class TestConsole:
    """Who writes to the terminal already."""

    def test_through_queue_buffer_and_rich(self) -> None:
        plain = logging.StreamHandler(sys.stdout)
        with_listener = logging.handlers.QueueHandler(queue.SimpleQueue())
        with_listener.listener = logging.handlers.QueueListener(queue.SimpleQueue(), plain)  # type: ignore[attr-defined]  # 3.12 sets it
        from rich.logging import RichHandler

        handlers = [plain, with_listener, logging.handlers.MemoryHandler(10, target=plain), RichHandler()]
        assert [_stdlib.console(handler) for handler in handlers] == ["stdout"] * 4

    def test_by_file_descriptor_and_device(self) -> None:
        with open(2, "w", closefd=False) as stream:
            assert _stdlib.console(logging.StreamHandler(stream)) == "stderr"
        device = logging.FileHandler("/dev/stdout", delay=True)
        assert _stdlib.console(device) == "stdout"

    def test_not_by_anything_else(self, tmp_path: Path) -> None:
        with (tmp_path / "log").open("w") as stream:
            handlers = [
                logging.NullHandler(),
                logging.StreamHandler(stream),
                logging.StreamHandler(io.StringIO()),
                logging.FileHandler(tmp_path / "other", delay=True),
                logging.handlers.QueueHandler(queue.SimpleQueue()),
                logging.handlers.MemoryHandler(10),
            ]
            assert [_stdlib.console(handler) for handler in handlers] == [None] * 6
        assert _stdlib.console(handlers[1]) is None, "closed"

    def test_a_buffer_of_itself_ends(self) -> None:
        looped = logging.handlers.MemoryHandler(10)
        looped.target = looped
        assert _stdlib.console(looped) is None
        looped.target = None


class TestProductsThatReplaceCallHandlers:
    """Sentry hears records by replacing `Logger.callHandlers`; it goes on hearing them, and stderr stays empty."""

    @pytest.fixture
    def heard_there(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        heard: list[str] = []
        before = logging.Logger.callHandlers

        def replacement(self: logging.Logger, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())
            before(self, record)

        monkeypatch.setattr(logging.Logger, "callHandlers", replacement)
        return heard

    def test_records_without_a_handler(self, heard_there: list[str]) -> None:
        with hearing() as heard:
            log.error("m")
            log.info("exists only for us")
        assert heard_there == ["m"]
        assert heard.events == ["m", "exists only for us"]
        assert heard.err.getvalue() == ""

    def test_records_of_servers(self, heard_there: list[str]) -> None:
        with hearing() as heard:
            handler = logging.StreamHandler()
            handler._gunicorn = True  # type: ignore[attr-defined]  # as gunicorn marks its handlers
            with own_handlers("gunicorn.error", handler, propagate=False) as logger:
                logger.error("Worker failed")
        assert heard_there == ["Worker failed"]
        assert heard.events == ["Worker failed"]
        assert heard.err.getvalue() == ""


def test_the_last_resort_is_given_back() -> None:
    before = logging.lastResort
    with hearing() as heard, hearing():
        log.warning("m")
        assert logging.lastResort is not before
    assert logging.lastResort is before
    assert heard.err.getvalue() == ""


def test_a_servers_handler_prints_again_when_the_roads_are_closed() -> None:
    handler: logging.StreamHandler[TextIO] = logging.StreamHandler(stream := io.StringIO())
    handler._gunicorn = True  # type: ignore[attr-defined]  # as gunicorn marks its handlers
    with own_handlers("gunicorn.error", handler, propagate=False) as logger:
        with hearing():
            handler.stream = sys.stderr
            logger.warning("ours")
            handler.stream = stream
        logger.warning("its own")
    assert stream.getvalue() == "its own\n"


def fail_with_secret() -> None:
    local = SECRET
    try:
        raise ValueError(WITH_PASSWORD)  # noqa: TRY301  the cause is what is looked at
    except ValueError as error:
        raise LookupError(f"token={local}") from error


def servers(stream: Any = None) -> logging.Handler:
    """A handler as gunicorn sets it up."""
    handler = logging.StreamHandler(stream)
    handler._gunicorn = True  # type: ignore[attr-defined]  # as gunicorn marks its handlers
    return handler


class Keeping(logging.Handler):
    """Keeps the records that it gets, and what it would have printed."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.printed = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.printed += self.format(record) + "\n"

    @property
    def record(self) -> logging.LogRecord:
        (record,) = self.records
        return record


class TestWhatServersPrint:
    """The lines of a server's own handlers are redacted; handlers of the application get the record as it is."""

    def test_message_arguments_and_exception(self) -> None:
        mine = Keeping()
        with hearing(before=basic(), redactor=Redactor()) as heard:
            with own_handlers("gunicorn.error", servers(), mine, propagate=False) as logger:
                logger.warning("log-in with password=%s", SECRET)
                try:
                    fail_with_secret()
                except LookupError:
                    logger.exception("Exception in ASGI application")
            printed = heard.err.getvalue()
        assert "log-in with password=[redacted:" in printed
        assert "Exception in ASGI application\nTraceback" in printed
        assert "The above exception was the direct cause" in printed
        assert SECRET not in printed + heard.text + str(heard.bodies)
        assert mine.printed.count(SECRET) == 3
        assert mine.records[0].args == (SECRET,)

    def test_uvicorn(self) -> None:
        from uvicorn.config import LOGGING_CONFIG

        def configure() -> None:
            basic()()
            logging.config.dictConfig(LOGGING_CONFIG)

        with (
            own_handlers("uvicorn", handlers=[], propagate=True, level=logging.NOTSET),
            own_handlers("uvicorn.access", handlers=[], propagate=True, level=logging.NOTSET),
            hearing(before=configure, redactor=Redactor()) as heard,
        ):
            logging.getLogger("uvicorn.error").warning(WITH_PASSWORD, extra={"color_message": WITH_PASSWORD})
            path = f"/reset?token={SECRET}"
            logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1", "GET", path, "1.1", 200)
        printed = heard.out.getvalue() + heard.err.getvalue()
        assert "password=[redacted:" in printed
        assert "GET /reset?token=[redacted:" in printed
        assert SECRET not in printed

    def test_their_lines_are_their_own_again_when_the_roads_are_closed(self) -> None:
        with own_handlers("gunicorn.error", servers(stream := io.StringIO()), propagate=False) as logger:
            with hearing(before=basic(), redactor=Redactor()):
                logger.warning("redacted")
            logger.warning(WITH_PASSWORD)
        assert stream.getvalue().endswith(f"{WITH_PASSWORD}\n")

    def test_the_last_resort(self) -> None:
        with hearing(redactor=Redactor()) as heard:
            last = logging.StreamHandler()
            assert _stdlib._listener.last_resort is not None
            _stdlib._listener.last_resort.before = last
            with own_handlers("opentelemetry", handlers=[], propagate=True):
                logging.getLogger("opentelemetry.shop").warning(WITH_PASSWORD)
        assert "password=[redacted:" in heard.err.getvalue()


class TestUserHandlers:
    """With `Redaction(user_handlers=True)` every handler gets a redacted record, and nobody's record is changed."""

    def shown(self, log_it: Callable[[logging.Logger], None]) -> tuple[Keeping, logging.LogRecord]:
        """Return the handler, and the record as it was logged."""
        mine, kept = Keeping(), list[logging.LogRecord]()

        def keep(record: logging.LogRecord) -> bool:
            kept.append(record)
            return True

        with (
            hearing(redactor=Redactor(), user_handlers=True),
            own_handlers("shop.mine", mine, filters=[keep]) as logger,
        ):
            log_it(logger)
        (record,) = kept
        return mine, record

    def test_message_and_arguments(self) -> None:
        mine, record = self.shown(lambda logger: logger.warning("log-in with password=%s by %s", SECRET, "bob"))
        assert mine.printed.startswith("log-in with password=[redacted:")
        assert mine.printed.endswith(" by bob\n")
        assert record.getMessage() == f"log-in with password={SECRET} by bob"
        assert record.args == (SECRET, "bob")

    def test_arguments_keep_their_place_where_that_is_enough(self) -> None:
        mine, _ = self.shown(lambda logger: logger.warning("%s of %d: %s", WITH_PASSWORD, 3, {"token": SECRET}))
        assert mine.record.msg == "%s of %d: %s"
        assert isinstance(mine.record.args, tuple)
        assert mine.record.args[1] == 3
        assert SECRET not in mine.printed

    def test_innocent_arguments_stay_the_objects_they_are(self) -> None:
        given = object()
        mine, _ = self.shown(lambda logger: logger.warning("%s and %s", given, ("a", 1)))
        assert mine.record.args == (given, ("a", 1))

    def test_a_formatter_that_takes_arguments_apart_finds_all_of_them(self) -> None:
        from uvicorn.logging import AccessFormatter

        given = "::1", "GET", f"/token: {SECRET}?token={SECRET}", "1.1", 200
        mine = Keeping()
        mine.setFormatter(AccessFormatter("%(client_addr)s %(request_line)s %(status_code)s", use_colors=False))
        with hearing(redactor=Redactor(), user_handlers=True), own_handlers("uvicorn.access", mine) as logger:
            logger.warning('%s - "%s %s HTTP/%s" %d', *given)
        assert mine.printed.startswith("::1 GET /token: [redacted:")
        assert mine.printed.endswith("HTTP/1.1 200 OK\n")
        assert SECRET not in mine.printed

    def test_arguments_by_name(self) -> None:
        mine, _ = self.shown(lambda logger: logger.warning("%(user)s: %(secret)s", {"user": "bob", "secret": SECRET}))
        assert mine.printed.startswith("bob: [redacted:")

    def test_fields(self) -> None:
        fields = {"password": SECRET, "nested": {"all": [{"client_secret": SECRET}]}, "note": WITH_PASSWORD, "left": 3}
        mine, record = self.shown(lambda logger: logger.warning("m", extra=fields))
        assert SECRET not in str(vars(mine.record))
        assert vars(mine.record)["left"] == 3
        assert fields.items() <= vars(record).items()

    def test_an_exception_says_the_same_without_secrets_and_without_frames(self) -> None:
        def log_it(logger: logging.Logger) -> None:
            try:
                fail_with_secret()
            except LookupError:
                logger.exception("order.failed")

        mine, record = self.shown(log_it)
        assert "in fail_with_secret" in mine.printed
        assert "token=[redacted:" in mine.printed
        assert "password=[redacted:" in mine.printed
        assert mine.record.exc_info is not None
        kind, error, stack = mine.record.exc_info
        assert kind is not None
        assert (kind.__name__, stack) == ("LookupError", None)
        alone = logging.Formatter().formatException(mine.record.exc_info)  # as handlers that render it themselves
        assert alone.startswith("LookupError: token=[redacted:")
        assert "in fail_with_secret" in alone
        assert SECRET not in mine.printed + alone + str(vars(mine.record)) + repr(error)
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], LookupError)
        assert record.exc_info[2] is not None

    def test_a_malformed_call_fails_in_the_handler_as_ever(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Printing(logging.StreamHandler[TextIO]):
            pass

        with hearing(redactor=Redactor(), user_handlers=True) as heard:
            with own_handlers("shop.mine", Printing(sys.stderr)) as logger:
                logger.warning("user %d", WITH_PASSWORD)
            printed = heard.err.getvalue()
        assert "--- Logging error ---" in printed
        assert SECRET not in printed.replace(f'WITH_PASSWORD = "password={SECRET}"', "")
        assert capsys.readouterr().err == ""

    def test_what_cannot_be_redacted_is_not_told(self) -> None:
        class Odd(logging.LogRecord):
            def __copy__(self) -> Odd:
                raise RuntimeError("no copies")

        mine = Keeping()
        with hearing(redactor=Redactor(), user_handlers=True), own_handlers("shop.mine", mine) as logger:
            logger.handle(Odd("shop.mine", logging.WARNING, "", 1, WITH_PASSWORD, (), None))
        assert mine.printed == "log.redaction.failed\n"

    def test_events_of_our_own_loggers(self) -> None:
        mine = Keeping()
        with hearing(redactor=Redactor(), user_handlers=True) as heard, own_handlers("shop.mine", mine):
            logs.get_logger("shop.mine").warning("log-in", password=SECRET)
        assert mine.printed.startswith("log-in password=[redacted:")
        assert SECRET not in mine.printed + heard.text + str(vars(mine.record))

    def test_records_of_opentelemetry(self) -> None:
        mine = Keeping()
        with hearing(redactor=Redactor(), user_handlers=True), own_handlers("opentelemetry.shop", mine) as logger:
            logger.warning(WITH_PASSWORD)
        assert mine.printed.startswith("password=[redacted:")

    def test_a_handler_that_raises_does_so_as_ever(self) -> None:
        class Raising(logging.Handler):
            def emit(self, _: logging.LogRecord) -> None:
                raise LookupError("handler")

        with (
            hearing(redactor=Redactor(), user_handlers=True),
            own_handlers("shop.mine", Raising()) as logger,
            pytest.raises(LookupError, match="handler"),
        ):
            logger.warning("m")

    def test_a_servers_line_is_replaced_by_ours_as_ever(self) -> None:
        with (
            hearing(redactor=Redactor(), user_handlers=True) as heard,
            own_handlers("gunicorn.error", servers(), propagate=False) as logger,
        ):
            logger.warning(WITH_PASSWORD)
        assert heard.err.getvalue() == ""
        assert len(heard.events) == len(heard.bodies) == 1
