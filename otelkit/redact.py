"""The only place that knows what a secret looks like: one rule list, as data, and the function that applies it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """Placeholder until helper REDACT commits; same names."""

    url_query_allow: frozenset[str] = field(default_factory=frozenset)
    user_handlers: bool = False


class Redactor:
    """Placeholder until helper REDACT commits; same names."""

    def __init__(self, redaction: Redaction = Redaction()) -> None:
        self.redaction = redaction
        self.counts: Mapping[str, int] = {}

    def text(self, value: str) -> str:
        return value

    def value(self, key: str, value: str) -> str:
        return value

    def secret(self, key: str) -> str | None:
        return None

    def plain(self, key: str, value: Any) -> Any:
        return value
