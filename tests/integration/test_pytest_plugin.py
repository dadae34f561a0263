"""The plugin in suites of users: runs of pytest of their own, alone, in parallel, with asyncio, and switched off."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from support.processes import PYTHON, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

EMITTING = """
from opentelemetry import metrics, trace

import otelkit

tracer = trace.get_tracer("shop")
orders = metrics.get_meter("shop").create_counter("shop.orders")

def place(number):
    with tracer.start_as_current_span("place", attributes={"order.id": number}):
        otelkit.get_logger().info("order.placed", order_id=number)
        orders.add(1)
"""
CONFIGURED = """
import otelkit

telemetry = otelkit.configure(service_name="shop", integrations={"fastapi": False})
"""


def run(folder: Path, *arguments: str, environ: dict[str, str | None] | None = None, **files: str) -> tuple[int, str]:
    """Write files and run pytest on them, as a user does; return its exit status and what it printed."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    # An ini file ends the search for another one, and warnings are errors.
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -W error\n", encoding="utf-8")
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment({"PYTHONPATH": str(folder), **(environ or {})}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def passes(folder: Path, *arguments: str, environ: dict[str, str | None] | None = None, **files: str) -> str:
    """Run pytest on files that must pass, and return what it printed."""
    status, printed = run(folder, *arguments, environ=environ, **files)
    assert status == 0, printed
    return printed


def test_nothing_is_loaded_until_a_test_uses_it(tmp_path: Path) -> None:
    passes(
        tmp_path,
        test_plain="""
        import sys

        def test_plain():
            assert "otelkit._pytest" in sys.modules
            heavy = ("opentelemetry", "structlog", "google", "otelkit.testing", "otelkit._runtime", "otelkit.redact")
            assert [name for name in sys.modules if name.startswith(heavy)] == []

        def test_used(captel):
            assert "opentelemetry.sdk" in sys.modules
        """,
    )


def test_an_application_that_configures_when_imported_is_captured_and_sends_nothing(tmp_path: Path) -> None:
    passes(
        tmp_path,
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        shop=CONFIGURED + EMITTING,
        conftest="import shop  # before any hook of the plugin but the first",
        test_shop="""
        import socket, threading
        import pytest
        import otelkit, shop

        @pytest.mark.parametrize("number", [1, 2])
        def test_shop(captel, number, monkeypatch):
            monkeypatch.setattr(socket.socket, "connect", None)
            shop.place(number)
            assert captel.span("place").attributes["order.id"] == number
            assert captel.log("order.placed").service == "shop"
            assert captel.metric("shop.orders").value == 1
            assert threading.active_count() == 1
            assert shop.telemetry.force_flush() and shop.telemetry.shutdown()
            assert shop.telemetry.verdict("fastapi").choice == "skipped"

        def test_without_the_fixture():
            shop.place(3)
            assert threading.active_count() == 1
        """,
    )


def test_an_application_made_for_each_test_is_instrumented(tmp_path: Path) -> None:
    passes(
        tmp_path,
        test_shop="""
        import asyncio
        import fastapi, httpx, pytest
        import otelkit

        @pytest.fixture
        def get(captel):
            telemetry = otelkit.configure(service_name="shop")
            app = fastapi.FastAPI()

            @app.get("/orders/{number}")
            def read(number: int):
                otelkit.get_logger().info("order.read", number=number)
                return number

            async def get(path):
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
                    return (await client.get(path)).json()

            yield lambda path: asyncio.run(get(path))
            telemetry.shutdown()

        @pytest.mark.parametrize("number", [1, 2])
        def test_a_request(get, captel, number):
            assert get(f"/orders/{number}") == number
            span = captel.span("GET /orders/{number}", kind="SERVER", http_response_status_code=200)
            assert span.service == "shop"
            assert captel.log("order.read", number=number).span_id
            assert captel.metric("http.server.request.duration", http_route="/orders/{number}").count == 1
            captel.assert_one_trace()
        """,
    )


def test_a_statement_too_many_fails_with_what_was_asked(tmp_path: Path) -> None:
    status, printed = run(
        tmp_path,
        conftest="import otelkit; otelkit.configure(service_name='shop')",
        test_shop="""
        import pytest
        from sqlalchemy import create_engine, text

        engine = create_engine("sqlite://")

        def read(times):
            with engine.connect() as connection:
                for number in range(times):
                    connection.execute(text("SELECT :number"), {"number": number})

        @pytest.fixture
        def rows():
            read(5)

        @pytest.mark.telemetry_budget(statements=2)
        def test_within(rows):
            read(2)

        @pytest.mark.telemetry_budget(statements=2, spans=8, log_bytes=2000)
        def test_above():
            read(4)

        @pytest.mark.telemetry_budget(statement=2)
        def test_misspelt():
            pass

        @pytest.mark.telemetry_budget(statements=0)
        def test_own_failure_comes_first():
            read(1)
            assert False, "mine"
        """,
    )
    assert status == 1
    assert "1 passed" in printed
    assert "3 failed" in printed
    assert "telemetry budget exceeded\nstatements: 4, allowed 2\n  4 x SELECT ?" in printed
    assert "telemetry_budget has no limit 'statement'; there are spans, statements, logs" in printed
    assert "AssertionError: mine" in printed
    assert "allowed 0" not in printed


def test_a_failure_shows_the_line_of_the_test_and_what_was_captured(tmp_path: Path) -> None:
    status, printed = run(
        tmp_path,
        test_shop=EMITTING
        + """
def test_shop(captel):
    place(1)
    captel.span("place", order_id=2)
""",
    )
    assert status == 1
    assert (
        '>       captel.span("place", order_id=2)\n' in printed or '>   captel.span("place", order_id=2)\n' in printed
    )
    assert "expected one span 'place', order_id=2, there is none; captured:" in printed
    assert "order.id=1" in printed
    assert "_captel.py" not in printed


@pytest.mark.skipif(find_spec("xdist") is None, reason="needs pytest-xdist, of the dependency group test")
def test_workers_of_xdist_capture_each_for_itself(tmp_path: Path) -> None:
    printed = passes(
        tmp_path,
        "-n2",
        test_shop=EMITTING
        + """
import os
import pytest

@pytest.mark.parametrize("number", range(12))
@pytest.mark.telemetry_budget(spans=1)
def test_shop(captel, number):
    assert "PYTEST_XDIST_WORKER" in os.environ
    place(number)
    assert captel.span("place").attributes["order.id"] == number
    assert captel.log("order.placed").attributes["order_id"] == number
    assert captel.metric("shop.orders").value == 1
""",
    )
    assert "12 passed" in printed


def test_asyncio_tests_and_their_tasks(tmp_path: Path) -> None:
    passes(
        tmp_path,
        test_shop=EMITTING
        + """
import asyncio
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.telemetry_budget(spans=4)
@pytest.mark.parametrize("turn", [1, 2])
async def test_shop(captel, turn):
    async def work(number):
        await asyncio.sleep(0)
        place(number)
        await asyncio.to_thread(place, number)

    with tracer.start_as_current_span("request"):
        await asyncio.gather(work(1))
    assert [span.name for span in captel.assert_one_trace().children(captel.span("request"))] == ["place", "place"]
""",
    )


def test_unittest_without_fixtures(tmp_path: Path) -> None:
    text = dedent("""
    import unittest
    import otelkit.testing
    from shop import place

    class Orders(unittest.TestCase):
        def setUp(self):
            self.captel = self.enterContext(otelkit.testing.captured())

        def test_one(self):
            place(1)
            self.assertEqual(self.captel.metric("shop.orders").value, 1)

        def test_two(self):
            place(2)
            self.assertEqual(self.captel.span("place").attributes["order.id"], 2)
    """)
    passes(tmp_path, shop=EMITTING, test_orders=text)
    done = subprocess.run(
        [PYTHON, "-W", "error", "-m", "unittest", "-q", "test_orders"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_switched_off_there_is_no_fixture_and_configure_is_as_in_production(tmp_path: Path) -> None:
    passes(
        tmp_path,
        "-p",
        "no:otelkit",
        test_plain="""
        import sys
        import pytest

        def test_plain(request):
            assert "otelkit" not in sys.modules
            with pytest.raises(pytest.FixtureLookupError):
                request.getfixturevalue("captel")

        def test_production():
            import otelkit
            telemetry = otelkit.configure(otelkit.Settings(endpoint="http://127.0.0.1:9", shutdown_timeout=0.1))
            assert set(telemetry.stats()) == {"traces", "metrics", "logs"}
            telemetry.shutdown()
        """,
    )


@pytest.mark.parametrize(
    ("environ", "before", "reason"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "", "nothing can be captured: OTEL_SDK_DISABLED switches telemetry off"),
        (
            {},
            "import otelkit; otelkit.configure(otelkit.Settings(endpoint='http://127.0.0.1:9', shutdown_timeout=0.1))",
            "nothing can be captured: configure(), or the launcher, set this process up before",
        ),
    ],
)
def test_what_cannot_be_captured_says_why(tmp_path: Path, environ: dict[str, str], before: str, reason: str) -> None:
    code = f"{before}\nimport otelkit.testing\nwith otelkit.testing.captured(): pass\n"
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [PYTHON, "script.py"],
        cwd=tmp_path,
        env=clean_environment(dict(environ)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"RuntimeError: {reason}" in done.stderr
