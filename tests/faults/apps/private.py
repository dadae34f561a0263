"""A service that strangers call, and that handles secrets in the places where services do."""

from __future__ import annotations

from faults.apps import kit

kit.configure()

import logging

from fastapi import FastAPI
from opentelemetry import metrics, trace

from faults.secrets import SECRETS

log = logging.getLogger("private")
log.setLevel(logging.INFO)
logins = metrics.get_meter("private").create_counter("private.logins")
app = FastAPI()


@app.get("/ready")
def ready() -> str:
    """Answer, for whoever waits for the start."""
    return "yes"


@app.get("/login")
def login() -> str:
    """Tell secrets to logs, spans and metrics, as code does that means no harm."""
    log.info("log-in with password=%s", SECRETS["log argument"])
    log.info("log-in", extra={"password": SECRETS["log field"], "note": f"mail to {SECRETS['log field, e-mail']}"})
    span = trace.get_current_span()
    statement = "SELECT * FROM users WHERE mail = '{}'"  # no database is asked
    span.set_attribute("db.statement", statement.format(SECRETS["SQL literal"]))
    span.set_attribute("user.token", SECRETS["attribute"])
    span.add_event("called", {"http.url": f"https://bob:{SECRETS['URL user']}@pay.example/?key={SECRETS['URL query']}"})
    logins.add(1, {"by": SECRETS["label"]})
    return "welcome"


@app.get("/fail")
def fail() -> None:
    """Fail, with secrets in the texts of two exceptions."""
    cause = ConnectionError(f"cannot reach postgresql://shop:{SECRETS['cause']}@db/shop")
    raise RuntimeError(f"card {SECRETS['exception, card']} declined, api_key={SECRETS['exception']}") from cause


@app.get("/flush")
def flush() -> str:
    """Send everything; answer when it was acknowledged."""
    kit.send()
    return "flushed"
