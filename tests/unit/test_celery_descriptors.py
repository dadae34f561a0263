"""What Celery closes in processes that it forks, and what gRPC needs there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.processes import PYTHON, run

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, select, sys
{first}
import celery.platforms
from otelkit.integrations import _celery_descriptors
_celery_descriptors.install()
epoll, file = select.epoll(), os.open("kept", os.O_CREAT | os.O_RDWR)
celery.platforms.close_open_fds([0, 1, 2])
def lives(number):
    try: os.fstat(number)
    except OSError: return False
    return True
print(lives(epoll.fileno()), lives(file))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there are event descriptors")
@pytest.mark.parametrize(("first", "expected"), [("import grpc", "True False"), ("", "False False")])
def test_event_descriptors_are_kept_where_grpc_is_in_use_and_all_else_is_closed(
    first: str, expected: str, tmp_path: Path
) -> None:
    ended = run([PYTHON, "-c", PROGRAM.format(first=first)], folder=tmp_path)
    assert ended.stdout == f"{expected}\n"
