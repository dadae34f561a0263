"""Every alert fires when it is to fire, with the labels and words that it is to have, and is silent when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rules import lane, promtool
from rules.case import Case
from rules.found import cases

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What promtool says of each case that is asked for, all at once."""
    lane.promtool()
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    given = (item.callspec.params.get("case") for item in items if hasattr(item, "callspec"))
    wanted = [case for case in given if isinstance(case, Case)]
    said = {str(case): _wrong(case) for case in wanted}
    jobs = promtool.jobs(case for case in wanted if not said[str(case)])
    for job, verdicts in zip(jobs, promtool.run(jobs), strict=True):
        said |= {str(case): verdict for case, verdict in zip(job.cases, verdicts, strict=True)}
    return said


def _wrong(case: Case) -> str:
    """Return why a case cannot be asked at all."""
    try:
        promtool.expected(case, promtool.needed(case))
    except promtool.CaseError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_alert_does_what_the_case_says(case: Case, verdicts: Mapping[str, str]) -> None:
    if said := verdicts[str(case)]:
        pytest.fail(f"{case}\n{said}", pytrace=False)
