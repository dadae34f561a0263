"""Which spans are recorded and exported, what `tracestate` says about it, and which failing ones are told after all."""

from __future__ import annotations

import os
import random
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otelkit import _sampling
from otelkit.errors import SettingsError
from otelkit.otlp.receiver import Receiver
from otelkit.pipeline import Pipeline
from otelkit.settings import Settings
from support.processes import wait_until

SAMPLED, UNSAMPLED = TraceFlags(3), TraceFlags(2)
TRACE_ID = 0x0AF7651916CD43DD_80000000000000
"""Half of all randomness is below."""

trace_ids = st.integers(1, 2**128 - 1)
ratios = st.floats(2**-56, 1)


def sampler(name: str = "parentbased_always_on", arg: float | None = None, **chosen: Any) -> _sampling.Sampling:
    given = {"sampler": name, "sampler_arg": arg, **chosen}
    return _sampling.of(Settings(environ={}, **{key: value for key, value in given.items() if value is not None}))


def ratio(share: float, **chosen: Any) -> _sampling.Sampling:
    return sampler("parentbased_traceidratio", share, **chosen)


def parent(flags: TraceFlags = SAMPLED, state: str = "", *, remote: bool = True, trace_id: int = TRACE_ID) -> Context:
    entries = [tuple(entry.split("=", 1)) for entry in state.split(",") if entry]
    context = SpanContext(trace_id, 7, remote, flags, TraceState(entries))  # type: ignore[arg-type]  # pairs of texts
    return trace.set_span_in_context(NonRecordingSpan(context))


def ask(
    chosen: _sampling.Sampling,
    context: Context | None = None,
    *,
    trace_id: int = TRACE_ID,
    kind: SpanKind = SpanKind.SERVER,
    **attributes: Any,
) -> SamplingResult:
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return chosen.should_sample(context or Context(), trace_id, "GET", kind, named)


def sampled(result: SamplingResult) -> bool:
    return result.decision is Decision.RECORD_AND_SAMPLE


def told(result: SamplingResult) -> str:
    return result.trace_state.to_header() if result.trace_state else ""


class TestThresholds:
    @pytest.mark.parametrize(
        ("share", "th"),
        [  # specification, trace/tracestate-probability-sampling.md, the column of precision 4
            (1, "0"),
            (1 / 2, "8"),
            (1 / 3, "aaab"),
            (1 / 4, "c"),
            (1 / 5, "cccd"),
            (1 / 8, "e"),
            (1 / 10, "e666"),
            (1 / 16, "f"),
            (1 / 100, "fd70a"),
            (1 / 1000, "ffbe77"),
            (1 / 10_000, "fff9724"),
            (1 / 100_000, "ffff583a"),
            (1 / 1_000_000, "ffffef39"),
            (2**-56, "ffffffffffffff"),
        ],
    )
    def test_they_are_those_of_the_specification(self, share: float, th: str) -> None:
        found = _sampling.threshold(share)
        assert found is not None
        assert _sampling.encoded(found) == th

    @pytest.mark.parametrize("share", [0, 2**-60])
    def test_nothing_has_none(self, share: float) -> None:
        assert _sampling.threshold(share) is None

    @settings(deadline=None)  # on a machine that does other things
    @given(ratios)
    def test_they_keep_what_was_asked_for(self, share: float) -> None:
        found = _sampling.threshold(share)
        assert found is not None
        assert (2**56 - found) / 2**56 == pytest.approx(share, rel=0.002, abs=2**-56)
        assert len(_sampling.encoded(found).lstrip("f")) <= 4

    @settings(deadline=None)  # on a machine that does other things
    @given(st.lists(ratios, min_size=2, max_size=20), trace_ids)
    def test_a_lower_ratio_keeps_some_of_what_a_higher_one_keeps(self, shares: list[float], trace_id: int) -> None:
        kept = [sampled(ask(ratio(share), trace_id=trace_id)) for share in sorted(shares)]
        assert all(after or not before for before, after in pairwise(kept))

    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
    def test_the_share_is_kept_within_what_chance_allows(self, share: float) -> None:
        dice, chosen, number = random.Random(6), ratio(share), 20_000  # noqa: S311  no secret
        kept = sum(sampled(ask(chosen, trace_id=dice.getrandbits(128))) for _ in range(number))
        assert abs(kept - number * share) < 4 * (number * share * (1 - share)) ** 0.5


class TestTraceState:
    def test_a_sampled_root_says_how_much_it_stands_for(self) -> None:
        assert told(ask(ratio(0.25), trace_id=2**56 - 1)) == "ot=th:c"
        assert told(ask(sampler("traceidratio", 1.0))) == "ot=th:0"

    @pytest.mark.parametrize("name", ["always_on", "parentbased_always_on"])
    def test_without_a_ratio_nothing_is_said(self, name: str) -> None:
        assert told(ask(sampler(name))) == ""

    def test_what_is_not_sampled_stands_for_nothing(self) -> None:
        assert told(ask(ratio(0.25), trace_id=1)) == ""
        assert told(ask(sampler("traceidratio", 0.25), parent(state="a=1,ot=th:0;rv:00000000000001"))) == (
            "ot=rv:00000000000001,a=1"
        )

    def test_all_else_stays_and_ours_goes_to_the_front(self) -> None:
        context = parent(state="vendor=1,ot=p:8;th:0;rv:ffffffffffffff;x:y,tenant@other=2")
        assert told(ask(sampler("traceidratio", 0.25), context)) == (
            "ot=th:c;p:8;rv:ffffffffffffff;x:y,vendor=1,tenant@other=2"
        )

    @pytest.mark.parametrize(
        ("rv", "kept"), [("00000000000000", False), ("bfffffffffffff", False), ("c0000000000000", True)]
    )
    def test_explicit_randomness_decides_in_place_of_the_trace_id(self, rv: str, *, kept: bool) -> None:
        for trace_id in (1, 2**128 - 1):
            context = parent(state=f"ot=rv:{rv}", trace_id=trace_id)
            assert sampled(ask(sampler("traceidratio", 0.25), context, trace_id=trace_id)) is kept

    @pytest.mark.parametrize("rv", ["fff", "gggggggggggggg", ""])
    def test_malformed_randomness_is_none(self, rv: str) -> None:
        context = parent(state=f"ot=rv:{rv}")
        assert not sampled(ask(sampler("traceidratio", 0.25), context, trace_id=1))

    def test_a_root_may_bring_its_randomness(self) -> None:
        nobody = SpanContext(0, 0, is_remote=False, trace_state=TraceState([("ot", "rv:ffffffffffffff")]))
        context = trace.set_span_in_context(NonRecordingSpan(nobody))
        assert told(ask(ratio(0.25), context, trace_id=1)) == "ot=th:c;rv:ffffffffffffff"

    @pytest.mark.parametrize(
        ("state", "passed_on"),
        [
            ("a=1,ot=th:8", "a=1,ot=th:8"),  # untouched, its place too
            ("a=1,ot=th:8;rv:80000000000000", "a=1,ot=th:8;rv:80000000000000"),
            ("a=1,ot=th:8;rv:00000000000001", "ot=rv:00000000000001,a=1"),  # it would not have let the trace through
            ("ot=th:zz,a=1", "a=1"),
            ("a=1,b=2", "a=1,b=2"),
        ],
    )
    def test_a_sampled_parent_s_is_passed_on_unless_it_cannot_be_right(self, state: str, passed_on: str) -> None:
        assert told(ask(ratio(0.01), parent(state=state))) == passed_on

    def test_a_full_one_loses_its_last_entry(self) -> None:
        full = ",".join(f"k{number}=v" for number in range(32))
        found = told(ask(sampler("traceidratio", 1.0), parent(state=full))).split(",")
        assert (len(found), found[0], found[-1]) == (32, "ot=th:0", "k30=v")

    def test_an_entry_without_room_gets_no_threshold(self) -> None:
        long = f"x:{'y' * 253}"
        assert told(ask(sampler("traceidratio", 0.25), parent(state=f"ot={long}"), trace_id=2**56 - 1)) == f"ot={long}"

    def test_nothing_of_it_is_a_warning_of_the_api(self, caplog: pytest.LogCaptureFixture) -> None:
        full = ",".join(f"k{number}=v" for number in range(32))
        for state in (full, "ot=th:8", f"ot=x:{'y' * 254}", "ot=;;", "ot=th:"):
            for chosen in (sampler("traceidratio", 0.5), ratio(0.5), sampler("always_on")):
                ask(chosen, parent(state=state))
        assert caplog.records == []


class TestParents:
    @pytest.mark.parametrize("name", ["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"])
    @pytest.mark.parametrize("remote", [True, False])
    def test_their_decision_holds(self, name: str, *, remote: bool) -> None:
        chosen = sampler(name, 0.5 if "ratio" in name else None)
        for flags, kept in ((SAMPLED, True), (UNSAMPLED, False)):
            context = parent(flags, remote=remote)
            assert sampled(ask(chosen, context, kind=SpanKind.INTERNAL)) is kept

    def test_who_asks_no_parent_asks_none(self) -> None:
        assert sampled(ask(sampler("always_on"), parent(UNSAMPLED)))
        assert not sampled(ask(sampler("always_off"), parent()))
        for trace_id, kept in ((1, False), (2**56 - 1, True)):
            for context in (parent(UNSAMPLED, remote=False), parent(SAMPLED), parent(UNSAMPLED)):
                found = ask(sampler("traceidratio", 0.5), context, trace_id=trace_id, kind=SpanKind.INTERNAL)
                assert sampled(found) is kept

    def test_children_carry_what_their_parent_stands_for(self) -> None:
        for chosen in (ratio(1.0), sampler("traceidratio", 1.0)):
            tracer = TracerProvider(sampler=chosen, shutdown_on_exit=False).get_tracer("t")
            with tracer.start_as_current_span("root"), tracer.start_as_current_span("child") as child:
                assert child.get_span_context().trace_state.to_header() == "ot=th:0"


class TestForced:
    @pytest.mark.parametrize(
        ("chosen", "context"),
        [
            (sampler(), parent(UNSAMPLED)),
            (ratio(0.0), None),
            (ratio(0.0), parent(UNSAMPLED, "a=1")),
            (sampler("traceidratio", 0.0), parent()),
            (sampler(sampling_rules="0 server"), None),
        ],
    )
    def test_a_server_span_that_is_not_sampled_is_recorded(
        self, chosen: _sampling.Sampling, context: Context | None
    ) -> None:
        found = ask(chosen, context, url_path="/")
        assert found.decision is Decision.RECORD_ONLY
        assert dict(found.attributes) == {"url.path": "/", _sampling.FORCED: True}

    @pytest.mark.parametrize(
        ("chosen", "context", "kind"),
        [
            (sampler(), parent(UNSAMPLED), SpanKind.CONSUMER),
            (sampler(), parent(UNSAMPLED, remote=False), SpanKind.SERVER),
            (sampler(forced_per_second=0), parent(UNSAMPLED), SpanKind.SERVER),
            (sampler("always_off"), None, SpanKind.SERVER),
            (sampler("parentbased_always_off"), None, SpanKind.SERVER),
            (sampler(sampling_rules="drop server"), None, SpanKind.SERVER),
        ],
    )
    def test_anything_else_is_dropped(
        self, chosen: _sampling.Sampling, context: Context | None, kind: SpanKind
    ) -> None:
        assert ask(chosen, context, kind=kind).decision is Decision.DROP

    def test_it_has_no_threshold_and_tells_the_caller_s_decision_downstream(self) -> None:
        context = parent(UNSAMPLED, "ot=th:8;rv:00000000000001,a=1")
        tracer = TracerProvider(sampler=sampler(), shutdown_on_exit=False).get_tracer("t")
        span = tracer.start_span("GET", context, SpanKind.SERVER)
        assert span.is_recording()
        assert span.get_span_context().trace_state.to_header() == "ot=rv:00000000000001,a=1"
        assert not span.get_span_context().trace_flags.sampled
        child = tracer.start_span("below", trace.set_span_in_context(span))
        assert not child.is_recording()
        assert not child.get_span_context().trace_flags.sampled

    def test_it_is_exported_if_it_failed_so_many_a_second(self) -> None:
        with Receiver() as receiver:
            chosen = Settings(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url}, forced_per_second=3)
            pipeline = Pipeline(chosen)
            provider = TracerProvider(sampler=_sampling.of(chosen), shutdown_on_exit=False)
            for processor in pipeline.span_processors():
                provider.add_span_processor(processor)
            tracer = provider.get_tracer("t")
            for name in ("failed", "went well"):
                for _ in range(20):
                    span = tracer.start_span(name, parent(UNSAMPLED), SpanKind.SERVER)
                    span.set_status(StatusCode.ERROR if name == "failed" else StatusCode.OK)
                    span.end()
            assert provider.force_flush()
            found = receiver.spans()
            provider.shutdown()
        # A slow machine may take more than a second for the loop, and is then allowed more.
        assert len(found) >= 3
        assert {(span.name, span.attributes[_sampling.FORCED]) for span in found} == {("failed", True)}

    def test_another_s_sampler_forces_nothing(self) -> None:
        class RecordsAll(Sampler):
            def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
                return SamplingResult(Decision.RECORD_ONLY)

            def get_description(self) -> str:
                return "RecordsAll"

        with Receiver() as receiver:
            chosen = Settings(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url})
            pipeline = Pipeline(chosen)
            provider = TracerProvider(sampler=RecordsAll(), shutdown_on_exit=False)
            for processor in pipeline.span_processors():
                provider.add_span_processor(processor)
            span = provider.get_tracer("t").start_span("failed", kind=SpanKind.SERVER)
            span.set_status(StatusCode.ERROR)
            span.end()
            assert provider.force_flush()
            assert receiver.spans() == []
            provider.shutdown()


class TestAllowance:
    @staticmethod
    def _stop(monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    def test_so_many_in_any_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = self._stop(monkeypatch)
        allowance = _sampling.Allowance(2)
        assert [allowance.take() for _ in range(3)] == [True, True, False]
        now[0] += 0.9
        assert not allowance.take()
        now[0] += 0.1
        assert [allowance.take() for _ in range(3)] == [True, True, False]

    def test_none(self) -> None:
        assert not _sampling.Allowance(0).take()

    def test_threads_take_no_more_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stop(monkeypatch)
        allowance = _sampling.Allowance(50)
        taken: list[bool] = []
        together = threading.Barrier(8)

        def take() -> None:
            together.wait()
            taken.extend(allowance.take() for _ in range(200))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) <= 50
        allowance.renew()
        assert sum(allowance.take() for _ in range(200)) == 50

    def test_a_forked_child_has_one_of_its_own(self) -> None:
        with Receiver() as receiver:
            chosen = Settings(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url}, forced_per_second=1)
            pipeline = Pipeline(chosen)
            (processor,) = pipeline.span_processors()
            provider = TracerProvider(sampler=_sampling.of(chosen), shutdown_on_exit=False)
            provider.add_span_processor(processor)

            def fail(name: str) -> None:
                span = provider.get_tracer("t").start_span(name, parent(UNSAMPLED), SpanKind.SERVER)
                span.set_status(StatusCode.ERROR)
                span.end()

            fail("parent")
            assert provider.force_flush()
            child = os.fork()
            if not child:
                pipeline.after_fork_in_child()
                fail("child")
                provider.force_flush()
                os._exit(0)
            os.waitpid(child, 0)
            wait_until(lambda: len(receiver.spans()) == 2, within=10, what="both spans")
            assert {span.name for span in receiver.spans()} == {"parent", "child"}
            provider.shutdown()


class TestRules:
    RULES = "drop server /health*; 0 server /api/*/search; always consumer; 1 /api/*; 0"

    @pytest.mark.parametrize(
        ("kind", "path", "decision"),
        [
            (SpanKind.SERVER, "/healthz", Decision.DROP),
            (SpanKind.SERVER, "/health/deep/down", Decision.DROP),
            (SpanKind.CLIENT, "/healthz", Decision.DROP),  # the last one
            (SpanKind.SERVER, "/api/v1/search", Decision.RECORD_ONLY),
            (SpanKind.SERVER, "/api/v1/order", Decision.RECORD_AND_SAMPLE),
            (SpanKind.CLIENT, "/api/v1/search", Decision.RECORD_AND_SAMPLE),
            (SpanKind.CONSUMER, None, Decision.RECORD_AND_SAMPLE),
            (SpanKind.SERVER, "/", Decision.RECORD_ONLY),
            (SpanKind.INTERNAL, None, Decision.DROP),
        ],
    )
    def test_the_first_that_fits_decides(self, kind: SpanKind, path: str | None, decision: Decision) -> None:
        attributes: dict[str, Any] = {} if path is None else {"url_path": path}
        assert ask(sampler(sampling_rules=self.RULES), kind=kind, **attributes).decision is decision

    def test_the_sampler_decides_where_none_fits(self) -> None:
        chosen = ratio(0.5, sampling_rules="drop server /health*")
        assert sampled(ask(chosen, trace_id=2**56 - 1, url_path="/"))
        assert not sampled(ask(chosen, trace_id=1, url_path="/"))

    def test_a_path_is_also_found_under_its_old_name(self) -> None:
        chosen = sampler(sampling_rules="drop server /health")
        assert ask(chosen, http_target="/health?full=1").decision is Decision.DROP
        assert sampled(ask(chosen, http_target="/healthy"))
        assert sampled(ask(chosen, url_path=7))

    def test_what_a_rule_keeps_says_how_much_it_stands_for(self) -> None:
        assert told(ask(sampler(sampling_rules="0.5 server"), trace_id=2**56 - 1)) == "ot=th:8"
        assert told(ask(sampler(sampling_rules="always server"))) == "ot=th:0"

    @pytest.mark.parametrize("name", ["always_on", "parentbased_always_on", "traceidratio"])
    def test_what_is_dropped_has_no_children(self, name: str) -> None:
        chosen = sampler(name, 1.0 if name == "traceidratio" else None, sampling_rules="drop server /health*")
        tracer = TracerProvider(sampler=chosen, shutdown_on_exit=False).get_tracer("t")
        span = tracer.start_span("GET", kind=SpanKind.SERVER, attributes={"url.path": "/health"})
        assert not span.is_recording()
        for kind in SpanKind:
            child = tracer.start_span("below", trace.set_span_in_context(span), kind)
            assert not child.is_recording()

    def test_a_caller_s_decision_wins_unless_the_rule_is_firm(self) -> None:
        assert sampled(ask(sampler(sampling_rules="drop server"), parent()))
        assert ask(sampler(sampling_rules="drop! server"), parent()).decision is Decision.DROP
        assert ask(sampler(sampling_rules="always server"), parent(UNSAMPLED)).decision is Decision.RECORD_ONLY
        assert sampled(ask(sampler(sampling_rules="always! server"), parent(UNSAMPLED)))
        firm = sampler(sampling_rules="0.25! server")
        assert told(ask(firm, parent(state="ot=th:0"), trace_id=2**56 - 1)) == "ot=th:c"

    def test_a_wrong_one_in_the_variable_is_named_and_the_others_hold(self) -> None:
        rules = "drop server /health*; sometimes; 2 server; 0.1 somewhere; ; always consumer"
        found = Settings(environ={"OTELKIT_TRACES_SAMPLER_RULES": rules})
        assert found.sampling_rules == ("drop server /health*", "always consumer")
        (problem,) = found.problems
        assert problem == (
            'OTELKIT_TRACES_SAMPLER_RULES: rule 2: "sometimes" is not drop, always or a share from 0 to 1, '
            'rule 3: "2" is not a share from 0 to 1, rule 4: "somewhere" is neither server, consumer, client, producer '
            "or internal nor a path that begins with /; drop server /health*; always consumer is used."
        )

    @pytest.mark.parametrize("rules", ["drop server /health*; sometimes", ["sometimes"], 7, [7], "drop server /a /b"])
    def test_a_wrong_one_in_code_raises(self, rules: Any) -> None:
        with pytest.raises(SettingsError, match=r"^sampling_rules "):
            Settings(environ={}, sampling_rules=rules)

    @settings(deadline=None)  # on a machine that does other things
    @given(st.text())
    def test_no_text_makes_the_variable_raise(self, text: str) -> None:
        found = Settings(environ={"OTELKIT_TRACES_SAMPLER_RULES": text})
        chosen = _sampling.of(found)
        assert ask(chosen, url_path=text).decision in Decision
