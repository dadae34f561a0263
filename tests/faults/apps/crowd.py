"""A service that counts under as many labels as it is told to, and sends everything when it is told to."""

from __future__ import annotations

from faults.apps import kit

kit.configure()

from fastapi import FastAPI
from opentelemetry import metrics

adds = metrics.get_meter("crowd").create_counter("crowd.adds")
app = FastAPI()


@app.get("/ready")
def ready() -> str:
    """Answer, for whoever waits for the start."""
    return "yes"


@app.get("/known")
def known() -> str:
    """Answer, at the one route that is called in earnest."""
    return "yes"


@app.get("/labels/{count}")
def labels(count: int) -> int:
    """Count once under each of so many labels."""
    for number in range(count):
        adds.add(1, {"user": f"user-{number}"})
    return count


@app.get("/flush")
def flush() -> str:
    """Send everything; answer when it was acknowledged."""
    kit.send()
    return "flushed"
