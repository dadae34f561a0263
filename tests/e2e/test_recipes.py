"""Recipes that ask a store: what the page says to ask has the answer that it promises."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from otelkit.ops.query import wait_for
from support.processes import PYTHON, clean_environment, run

if TYPE_CHECKING:
    from otelkit.ops.query.lgtm import Lgtm
    from support.stack import Stack

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/recipes.md").read_text(encoding="utf-8")
DEADLINE = 30.0
SEEN = """
import sys
import otelkit

otelkit.configure(service_name=sys.argv[1], redaction=otelkit.Redaction(hash_key=b"of this test alone, no secret"))
log = otelkit.get_logger()
log.info("shop.opened")
for user in sys.argv[2:]:
    log.info("user.seen", **{"enduser.pseudo.id": user})
"""


def test_daily_active_users_are_counted_from_the_log_that_does_not_tell_who_they_are(
    running: Stack, query: Lgtm, tmp_path: Path
) -> None:
    service = f"users-{uuid.uuid4().hex[:8]}"
    environment = clean_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": running.otlp_http})
    seen = run([PYTHON, "-c", SEEN, service, "ada", "bob", "ada", "eve", "ada"], folder=tmp_path, env=environment)
    assert seen.returncode == 0, seen.stderr
    (logql,) = re.findall(r"```logql\n(.+)\n```", PAGE)
    logql = logql.replace('service_name="api"', f'service_name="{service}"')
    series = wait_for(lambda: query.loki.range(logql), lambda found: found and found[0].points[-1][1] == 3, DEADLINE)
    assert len(series) == 1
    ids = [str(record.attributes.get("enduser_pseudo_id", "")) for record in query.logs(service=service)]
    told = [each for each in ids if each]
    assert (len(told), len(set(told))) == (5, 3)
    assert all(re.fullmatch(r"hash:[0-9a-f]{16}", each) for each in told)
