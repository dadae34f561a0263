"""FastAPI in every order of import, creation and configuration: fresh interpreters, because an import happens once."""

from __future__ import annotations

import os
import sys
import textwrap
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from support.processes import PYTHON, run

if TYPE_CHECKING:
    from pathlib import Path

IS_NATIVE = tuple(int(part) for part in version("fastapi").split(".")[:2]) >= (0, 142)

ORDERS = (
    "import, create, configure",
    "import, configure, create",
    "configure, import, create",
    "configure, import from inside, create",
)
STEPS = {
    "import": "from fastapi import FastAPI",
    "import from inside": "from fastapi.applications import FastAPI",
    "create": """
        app = FastAPI()
        @app.get("/orders/{order}")
        def read(order: int): return order
        @app.get("/probe")
        def probe(): return 1
        """,
    "configure": """
        loaded = "fastapi" in sys.modules
        from otelkit.integrations.fastapi import FastAPIIntegration, FastAPIOptions
        from support.calls import Telemetry, fetch
        telemetry = Telemetry().__enter__()
        options = FastAPIOptions(exclude=["/probe"], operation_spans=OPERATION_SPANS)
        FastAPIIntegration().install(telemetry.wiring(), options)
        assert ("fastapi" in sys.modules) is loaded, "installing imported the framework"
        """,
    "ask": """
        fetch(app, "/orders/7")
        fetch(app, "/probe")
        print(*sorted(span.name for span in telemetry.spans), sep=", ")
        print(*(event.fields["url.path"] for event in telemetry.events("otelkit.access")))
        """,
}


@pytest.mark.parametrize("operation_spans", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_order_of_imports_and_creation_does_not_matter(order: str, operation_spans: bool, tmp_path: Path) -> None:
    program = [f"import sys\nOPERATION_SPANS = {operation_spans}"]
    program += [textwrap.dedent(STEPS[step]) for step in (*order.split(", "), "ask")]
    done = run(
        [PYTHON, "-W", "error", "-c", "\n".join(program)],
        folder=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    operations = ["fastapi.dependencies", "fastapi.endpoint", "fastapi.serialization"]
    names = ["GET /orders/{order}", *(operations if operation_spans and IS_NATIVE else [])]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [", ".join(names), "/orders/7"]
