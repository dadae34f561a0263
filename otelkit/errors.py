"""The only place for the exceptions otelkit raises.

OtelkitError
├── SettingsError      configure(), Settings() or a declared metric got arguments that cannot work
├── MeasurementError   a measurement does not fit the declaration of its metric; in tests only
├── QueryError         a store of telemetry did not answer a question (otelkit.ops.query)
├── StackError         the stack of Collector and stores cannot be started or told about (otelkit.ops.stack)
└── ParametersError    what people chose of rules and boards cannot be rendered (otelkit.ops.mixin)
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SERVER_ERRORS = 500


class OtelkitError(Exception):
    """Base of every exception that otelkit raises on purpose."""


class SettingsError(OtelkitError):
    """Arguments given in code cannot work; every problem is listed, not only the first.

    Raised by `otelkit.configure()`, `otelkit.Settings()` and the declarations of `otelkit.Catalog` only. Environment
    variables never raise: they are named on stderr and fall back to a safe default.

    Args:
        problems: One sentence per wrong argument, each naming the argument; secrets are already masked.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class MeasurementError(OtelkitError):
    """A measurement does not fit the declaration of its metric.

    Raised in tests only, within `otelkit.metrics.strict()`; elsewhere what does not fit is left out and said once.
    """


class QueryError(OtelkitError):
    """A store of telemetry did not answer a question. Raised by `otelkit.ops.query` only, never in an application.

    Args:
        backend: The store, for example "Tempo".
        url: What was asked, without user and password.
        status: The HTTP status; None where no answer came.
        reason: The store's own words, or what went wrong on the way.
    """

    def __init__(self, *, backend: str, url: str, status: int | None, reason: str) -> None:
        self.backend = backend
        self.url = url
        self.status = status
        self.reason = reason
        answered = "no answer" if status is None else f"HTTP {status}"
        super().__init__(f"{backend}: {answered} from {url}: {reason}")

    @property
    def passing(self) -> bool:
        """True where asking again may help: nothing answered, too many questions, or the store's own fault."""
        return self.status is None or self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= _SERVER_ERRORS


class StackError(OtelkitError):
    """The stack of Collector and stores cannot be started, or told about; the message says why, and what to do.

    Raised by `otelkit.ops.stack`, which an application never imports. A program that does not become ready is no such
    error: it is told as what became of it.
    """


class ParametersError(OtelkitError):
    """What people chose of rules and boards cannot be rendered; every problem is listed, not only the first.

    Raised by `otelkit.ops.mixin` only, which an application never imports.

    Args:
        problems: One line each, which begins with file and line: `deploy/parameters.toml:12: unknown key ...`.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
