"""The only place that tells exceptions apart: a fingerprint for whatever tells of one, and the count of them.

A fingerprint is made of names in the code: the type, and the functions of the application in which it was raised; the
same of what it was raised `from`, and of the members of a group. It has no text of a message, no line and no path in
it: the same failure has the same one on every machine, after an edit elsewhere in the file, wherever it is told.

An exception counts once per trace, when the first span or log tells of it (docs/decisions/0021).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import threading
from collections import deque
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from otelkit import _catalog
from otelkit._stderr import say_once
from otelkit.metrics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from opentelemetry.metrics import Counter, MeterProvider
    from opentelemetry.trace import Span

FINGERPRINT: Final = "exception.fingerprint"
"""Attribute of spans, of their events, and of log records."""

_DIGITS: Final = 12  # one more, and some would read as numbers of credit cards
_PLACES: Final = 3
_FRAMES: Final = 200
_OVERLAP: Final = 20  # frames of a context manager between the code that raised and the one that tells of it
_MEMBERS: Final = 10
_EXCEPTIONS: Final = 30  # looked at for one fingerprint: causes, members, causes of members
_MARK: Final = "__otelkit_told__"
"""Key in the dictionary of an exception: its fingerprint, and in which traces it was counted. A text, so that it can go
wherever the exception can."""
_TRACES: Final = 8  # that are remembered, of an object that is raised again and again

_INLINED: Final = re.compile(r"(?:\.<locals>\.|^)<(?:list|dict|set)comp>")
"""Functions of their own before Python 3.12 only."""
_STANDARD: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120  compared with names of files, as texts
_INSTALLED: Final = re.compile(r"^(.*[\\/](?:site|dist)-packages)[\\/]([^\\/]+)")


class _Counting(threading.local):
    """What one thread is counting, and what is left to count: a signal handler may come in between, and fail too."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[dict[str, str]] = deque()


_counting = _Counting()
_counter: list[tuple[Counter, Callable[[], str | None]]] = []


def install(meter_provider: MeterProvider, route: Callable[[], str | None]) -> None:
    """Count from now on.

    Args:
        meter_provider: Where to.
        route: Tells the route of the request that the running code belongs to; None outside of requests.
    """
    meter = meter_provider.get_meter("otelkit")
    _counter[:] = [(create(meter, _catalog.metric("otelkit.exceptions")), route)]


def told(exception: object, span: Span | None = None) -> dict[str, str]:
    """Return what is to be told of an exception beside its text, and count it. Never raises.

    Args:
        exception: Nothing is told of what is none, and nothing where its fingerprint cannot be made.
        span: What tells of it; None for the current one.
    """
    try:
        if not isinstance(exception, BaseException):
            return {}
        marks = vars(exception)
        made, *traces = str(marks.get(_MARK, "")).split(" ")
        number = (span or trace.get_current_span()).get_span_context().trace_id
        here = [f"{number:032x}"] if number else []
        fingerprint = made or _fingerprint(exception)
        if not made or not set(here) <= set(traces):
            marks[_MARK] = " ".join([fingerprint, *traces[1 - _TRACES :], *here])
            if not made or traces:  # one that was counted outside of any trace does not count again in one
                _count(fingerprint)
    except RecursionError:
        return {}  # where the stack is used up, nothing more can be called
    except Exception as error:  # noqa: BLE001  an exception may be of any shape
        say_once("exceptions", f"an exception has no fingerprint: {type(error).__name__}. Said once.")
        return {}
    return {FINGERPRINT: fingerprint}


def stands_for(copy: object, original: object) -> None:
    """Have the same told of an exception as of the one that it was made from. Never raises."""
    if copy is not original and isinstance(copy, BaseException) and told(original):
        with contextlib.suppress(Exception):  # an exception may be of any shape
            vars(copy)[_MARK] = vars(original)[_MARK]


def _count(fingerprint: str) -> None:
    """Add one. The SDK's locks are not reentrant: who comes in between leaves its count to whom it interrupted."""
    if not _counter:
        return
    counter, route = _counter[0]
    template = route()
    counting = _counting
    counting.waiting.append({FINGERPRINT: fingerprint} | ({} if template is None else {"http.route": template}))
    if counting.busy:
        return
    counting.busy = True
    try:
        while counting.waiting:
            counter.add(1, counting.waiting.popleft())
    finally:
        counting.busy = False


# -- the fingerprint ---------------------------------------------------------------------------------------------------


def _fingerprint(exception: BaseException) -> str:
    described = _described(exception, [_EXCEPTIONS], _frames(exception))
    return hashlib.sha256(described.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGITS]


def _described(error: BaseException, left: list[int], frames: list[FrameType]) -> str:
    """Describe an exception by names.

    Args:
        error: It.
        left: How many more exceptions may be looked at.
        frames: Where it was raised, the innermost first.
    """
    left[0] -= 1
    kind = type(error)
    lines = [f"{_module(kind.__module__)}.{kind.__qualname__}", *_places(frames, recursive=kind is RecursionError)]
    if isinstance(error, BaseExceptionGroup):
        # As a set: which member fails first, and how many do, is chance.
        members = [_described(each, left, _raised(each)) for each in error.exceptions[:_MEMBERS] if left[0] > 0]
        lines += [f"with ({member})" for member in sorted(set(members))]
    # Not what happened to be handled at the time (`__context__`): a second try would look like another failure.
    if error.__cause__ is not None and left[0] > 0:
        lines.append(f"from ({_described(error.__cause__, left, _raised(error.__cause__))})")
    return "\n".join(lines)


def _raised(error: BaseException) -> list[FrameType]:
    """Return the frames that an exception has passed, the innermost first."""
    passed: deque[FrameType] = deque(maxlen=_FRAMES)
    stack = error.__traceback__
    while stack is not None:
        passed.append(stack.tb_frame)
        stack = stack.tb_next
    passed.reverse()
    return list(passed)


def _frames(error: BaseException) -> list[FrameType]:
    """Return the frames that an exception has passed, and those that called them as far as these are known.

    So the way is as long for a span that ends deep inside as for a log further out.
    """
    passed = _raised(error)
    caller = passed[-1].f_back if passed else sys._getframe(2)  # noqa: SLF001  the documented way to look at the stack
    # A context manager that looks on, `start_as_current_span`, is called from a frame that the exception has passed:
    # its own frames are none of the way.
    known = {id(frame): index for index, frame in enumerate(passed)}
    look = caller
    for _ in range(_OVERLAP):
        if look is None:
            break
        if (index := known.get(id(look))) is not None:
            passed, caller = passed[: index + 1], look.f_back
            break
        look = look.f_back
    while caller is not None and len(passed) < _FRAMES:
        passed.append(caller)
        caller = caller.f_back
    return passed


def _places(frames: list[FrameType], *, recursive: bool = False) -> list[str]:
    """Name the functions of the application that an exception came through first, without a gap.

    Up to the next frame of a library, which everybody who tells of it sees: beyond may be another task or thread. Where
    there is none of the application's, those of the library.

    Args:
        frames: The innermost first.
        recursive: Whether the stack was used up: where that happened is chance.
    """
    own: dict[str, None] = {}
    for frame in frames:
        if _is_librarys(frame):
            if own and not recursive:
                break
        else:
            own[_place(frame)] = None
            if len(own) == _PLACES and not recursive:
                break
    if recursive:
        return sorted(own)[:_MEMBERS]
    return list(own) or list(dict.fromkeys(_named(frames)))


def _named(frames: list[FrameType]) -> Iterator[str]:
    ours = ("otelkit", "opentelemetry", "contextlib")
    others = (frame for frame in frames if str(frame.f_globals.get("__name__")).partition(".")[0] not in ours)
    for frame, _ in zip(others, range(_PLACES), strict=False):
        yield _place(frame)


def _place(frame: FrameType) -> str:
    name = _INLINED.sub("", frame.f_code.co_qualname) or "<module>"
    return f"{_module(frame.f_globals.get('__name__'))}:{name}"


def _module(name: object) -> str:
    """Name a module as others import it, also the one that was started."""
    if name in ("__main__", "__mp_main__"):
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        name = getattr(spec, "name", None) or "__main__"
    return str(name)


# -- whose code it is --------------------------------------------------------------------------------------------------


def _is_librarys(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    if isinstance(name, str) and (name == "otelkit" or name.startswith("otelkit.")):
        return True
    file = frame.f_code.co_filename
    if file.startswith("<") and not file.startswith("<frozen "):
        file = frame.f_globals.get("__file__") or file  # code that a library wrote while it ran
    return _is_library(file)


@lru_cache(maxsize=4096)
def _is_library(file: str) -> bool:
    """Tell whether a file is of the standard library, or of a package that came from an index.

    What was installed from a directory, a repository or a file (PEP 610 keeps which) is the application's own.
    """
    if (installed := _INSTALLED.match(file)) is not None:
        folder, top = installed.groups()
        return top not in _own_of(folder)
    return file.startswith(("<frozen ", _STANDARD))


@lru_cache(maxsize=64)
def _own_of(folder: str) -> frozenset[str]:
    """Return what lies in a folder of packages and came from no index, by its names there."""
    own: set[str] = set()
    for distribution in distributions(path=[folder]):
        # Conda's packages were all installed from a directory, on the machine that built them.
        if distribution.read_text("direct_url.json") and (distribution.read_text("INSTALLER") or "").strip() != "conda":
            own.update(Path(str(file)).parts[0] for file in distribution.files or ())
    return frozenset(own)


def _forget() -> None:
    """Count on in a forked child, whatever its parent was counting."""
    _counting.busy = False
    _counting.waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
