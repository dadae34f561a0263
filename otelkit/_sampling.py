"""The only place that decides which spans are recorded, which are exported, and what `tracestate` says about it.

One sampler for all of it (docs/decisions/0017): the ones that `OTEL_TRACES_SAMPLER` names, rules by kind and path, and
server spans that are recorded although they are not sampled, so that a failing request can be told after all.

Thresholds and randomness are those of the specification, trace/tracestate-probability-sampling.md: a span is kept where
R >= T, of 56 bits each. R is the end of the trace id, or what `rv` tells.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState, get_current_span

from otelkit._values import sampling_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link
    from opentelemetry.util.types import Attributes

    from otelkit.settings import Settings

FORCED = "otelkit.sampling.forced"
"""Attribute of a server span that is recorded although it is not sampled: it is exported if it fails, and not else."""

_BITS = 56
_DIGITS = _BITS // 4
_ALL = 1 << _BITS
_RANDOM = _ALL - 1
_PRECISION = 4  # digits, the specification's recommendation, beside the leading f of small ratios
_MOST_ENTRIES = 32  # of tracestate
_LONGEST = 256  # characters of its entry `ot` (trace/tracestate-handling.md)
_HEX = re.compile(r"[0-9a-f]+")

_SAMPLED, _DROPPED, _RECORDED = Decision.RECORD_AND_SAMPLE, Decision.DROP, Decision.RECORD_ONLY
_KINDS = {kind.name.lower(): kind for kind in SpanKind}


def threshold(ratio: float) -> int | None:
    """Return the rejection threshold of a ratio, with four significant digits; None where it rejects everything."""
    exact = _ALL - round(ratio * _ALL)
    if exact >= _ALL:
        return None
    digits = f"{exact:0{_DIGITS}x}"
    leading = len(digits) - len(digits.lstrip("f"))
    dropped = 4 * max(0, _DIGITS - leading - _PRECISION)
    if not dropped:
        return exact
    rounded = (exact + (1 << (dropped - 1))) >> dropped << dropped
    return rounded if rounded < _ALL else exact


def encoded(threshold: int) -> str:
    """Write a threshold as `th` wants it: without the zeros at its end."""
    return f"{threshold:0{_DIGITS}x}".rstrip("0") or "0"


@dataclass(frozen=True, kw_only=True)
class _Share:
    """How much of something is kept.

    Args:
        threshold: Of the randomness of a trace; None keeps nothing.
        told: Whether it stands in `tracestate`.
        forces: Whether a failing request among those that are not kept is of interest.
    """

    threshold: int | None
    told: bool = False
    forces: bool = True
    alone: TraceState | None = field(init=False, default=None, compare=False)

    def __post_init__(self) -> None:
        """Prepare what nearly every root span gets: nobody else has written to its `tracestate`."""
        if self.threshold is not None and self.told:
            object.__setattr__(self, "alone", TraceState([("ot", f"th:{encoded(self.threshold)}")]))


_NEVER = _Share(threshold=None, forces=False)
_ALWAYS = _Share(threshold=0)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A rule, ready to be asked.

    Args:
        share: How much of what it concerns is kept.
        kind: None for every kind.
        path: None for every path.
        firm: Whether it also holds where a caller has decided.
    """

    share: _Share
    kind: SpanKind | None
    path: re.Pattern[str] | None
    firm: bool

    def concerns(self, kind: SpanKind | None, path: str | None) -> bool:
        """Tell whether it holds for a span."""
        return (self.kind is None or self.kind is kind) and (
            self.path is None or (path is not None and self.path.fullmatch(path) is not None)
        )


class Sampling(Sampler):
    """Otelkit's sampler.

    Args:
        name: What it does in a few words.
        share: How much is kept of what no rule concerns.
        follows: Whether the decision of a remote parent holds.
        rules: Asked in their order for spans that begin a trace here.
        forces: Whether server spans are recorded although they are not sampled.
    """

    def __init__(
        self,
        name: str,
        share: _Share,
        *,
        follows: bool,
        rules: Sequence[str] = (),
        forces: bool = True,
    ) -> None:
        self._name, self._share, self._follows, self._forces = name, share, follows, forces
        self._rules = tuple(map(_compiled, rules))
        self._firm = tuple(rule for rule in self._rules if rule.firm)
        # What a rule has decided holds for the whole trace, also where the sampler asks nobody (specification,
        # TraceIdRatioBased: it ignores the parent).
        self._inherits = follows or bool(self._rules)

    def should_sample(  # noqa: PLR0917  the SDK's interface
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002  the same
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002  the same
        trace_state: TraceState | None = None,  # noqa: ARG002  the SDK never gives it, the parent has it
    ) -> SamplingResult:
        """Decide about a span that is about to start."""
        parent = get_current_span(parent_context).get_span_context()
        given, share = parent.trace_state, self._share
        state: TraceState | None = given
        local = parent.is_valid and not parent.is_remote
        decided = parent.is_valid and self._follows
        if local and self._inherits:
            kept = parent.trace_flags.sampled
        else:
            rules = self._firm if decided else self._rules
            asked = _asked(rules, kind, attributes) if rules else None
            if asked is None and decided:
                kept = parent.trace_flags.sampled
                state = _consistent(given, trace_id)
            else:
                share = asked or share
                kept = share.threshold is not None and share.threshold <= _randomness(given, trace_id)
                if kept and not local:
                    state = _with_share(given, share)
        if kept:
            return SamplingResult(_SAMPLED, attributes, state)
        if kind is SpanKind.SERVER and not local and share.forces and self._forces:
            return SamplingResult(_RECORDED, {**(attributes or {}), FORCED: True}, _without_threshold(given))
        return SamplingResult(_DROPPED, None, _without_threshold(given))

    def get_description(self) -> str:
        """Say in a few words what it does."""
        return self._name


def of(settings: Settings) -> Sampling:
    """Build the sampler that the settings describe."""
    name, ratio = settings.sampler, 1.0 if settings.sampler_arg is None else settings.sampler_arg
    shares = {
        "always_on": ("AlwaysOnSampler", _ALWAYS),
        "always_off": ("AlwaysOffSampler", _NEVER),
        "traceidratio": (f"TraceIdRatioBased{{{ratio!r}}}", _Share(threshold=threshold(ratio), told=True)),
    }
    follows = name.startswith("parentbased_")
    described, share = shares[name.removeprefix("parentbased_")]
    if follows:
        described = f"ParentBased{{root:{described}}}"
    if settings.sampling_rules:
        described = f"otelkit{{rules:{len(settings.sampling_rules)},else:{described}}}"
    return Sampling(
        described,
        share,
        follows=follows,
        rules=settings.sampling_rules,
        forces=settings.forced_per_second > 0,
    )


def _compiled(text: str) -> _Rule:
    rule = sampling_rule(text)
    return _Rule(
        share=_NEVER if rule.share is None else _Share(threshold=threshold(rule.share), told=True),
        kind=None if rule.kind is None else _KINDS[rule.kind],
        path=None if rule.path is None else re.compile(translate(rule.path)),
        firm=rule.firm,
    )


def _asked(rules: Sequence[_Rule], kind: SpanKind | None, attributes: Attributes) -> _Share | None:
    """Return what the first rule that concerns a span says; None where none does."""
    path = _path(attributes)
    return next((rule.share for rule in rules if rule.concerns(kind, path)), None)


def _path(attributes: Attributes) -> str | None:
    """Return the path of an HTTP request, under its stable name or, without the query, under the one before."""
    if not attributes:
        return None
    path = attributes.get("url.path")
    if path is None and isinstance(target := attributes.get("http.target"), str):
        path = target.partition("?")[0]
    return path if isinstance(path, str) else None


# -- tracestate --------------------------------------------------------------------------------------------------------


def _subkeys(state: TraceState) -> list[str]:
    """Return the parts of OpenTelemetry's own entry."""
    return [part for part in state.get("ot", "").split(";") if part]


def _read(parts: list[str], key: str) -> str:
    """Return the value of a part, "" where it is none of hexadecimal digits."""
    found = next((part[len(key) :] for part in parts if part.startswith(key)), "").lower()
    return found if len(found) <= _DIGITS and _HEX.fullmatch(found) else ""


def _randomness(state: TraceState, trace_id: int) -> int:
    """Return R: `rv` where it is explicit, else the end of the trace id."""
    if state and "ot" in state and len(explicit := _read(_subkeys(state), "rv:")) == _DIGITS:
        return int(explicit, 16)
    return trace_id & _RANDOM


def _consistent(state: TraceState, trace_id: int) -> TraceState:
    """Pass a sampled parent's state on; a threshold that would not have let it through is wrong, and erased."""
    if not state or "ot" not in state:
        return state
    given = _read(_subkeys(state), "th:")
    if given and _randomness(state, trace_id) >= int(given.ljust(_DIGITS, "0"), 16):
        return state
    return _without_threshold(state)


def _with_share(state: TraceState, share: _Share) -> TraceState | None:
    """Say how much is kept of what this span stands for."""
    return _with_threshold(state, share.threshold if share.told else None) if state else share.alone


def _without_threshold(state: TraceState) -> TraceState:
    return _with_threshold(state, None) if state and "th:" in state.get("ot", "") else state


def _with_threshold(state: TraceState, threshold: int | None) -> TraceState:
    """Write a threshold, or erase it; all else stays: `rv`, what is not known, and the entries of others.

    The entry goes to the front, as W3C Trace Context 3.5 asks of one that is changed; where there is no room for a new
    one, the last entry goes.
    """
    kept = [part for part in _subkeys(state) if not part.startswith("th:")]
    parts = kept if threshold is None else [f"th:{encoded(threshold)}", *kept]
    entry = ";".join(parts)
    if len(entry) > _LONGEST:  # specification, Setting values: then it is not set
        entry = ";".join(kept)
    others = [(key, value) for key, value in state.items() if key != "ot"]
    return TraceState([("ot", entry), *others][:_MOST_ENTRIES] if entry else others)


# -- what is told although it was not sampled --------------------------------------------------------------------------


class Allowance:
    """So many a second and no more, in any second; without a lock, which a fork or a signal could find held.

    Each of the tokens can be taken by one thread only, and is given back with the time from which it counts again.

    Args:
        per_second: How many.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._free: deque[float] = deque()
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child: a thread that it does not have may hold tokens."""
        self._free = deque([-math.inf] * self._per_second)

    def take(self) -> bool:
        """Take one; False where there is none left."""
        try:
            again = self._free.popleft()
        except IndexError:
            return False
        now = time.monotonic()
        if again > now:
            self._free.appendleft(again)
            return False
        self._free.append(now + 1.0)
        return True
