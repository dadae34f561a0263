"""Every alert fires when it is to fire, with the labels and words that it is to have, and is silent when not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from rules import promtool
from rules.found import cases
from support import lanes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rules.case import Case

LANE = "rules"


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What promtool says of each case that is asked for, all at once."""
    if shutil.which("promtool") is None:
        lanes.skipped(LANE, "not on PATH: promtool")
        pytest.skip("rules: promtool is not on PATH")
    lanes.ran(LANE)
    wanted = [item.callspec.params["case"] for item in request.session.items if "verdicts" in item.fixturenames]  # type: ignore[attr-defined]
    jobs = promtool.jobs(wanted)
    found = zip(jobs, promtool.run(jobs), strict=True)
    return {str(case): said for job, verdicts in found for case, said in zip(job.cases, verdicts, strict=True)}


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_alert_does_what_the_case_says(case: Case, verdicts: Mapping[str, str]) -> None:
    if said := verdicts[str(case)]:
        pytest.fail(f"{case}\n{said}", pytrace=False)
