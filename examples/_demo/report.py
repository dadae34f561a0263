"""Prints what the demo did, for a terminal of 80 columns; plain when piped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from _demo import hops
from _demo.customers import KINDS
from _demo.services import HOST
from otelkit.ops import story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _demo.customers import Visit
    from _demo.hops import Count, Hop
    from _demo.services import Service, Services
    from otelkit.otlp.receiver import Receiver

_MOST_PROBLEMS = 5
# Columns of the tables: what is counted, and one service.
_LABELS, _SERVICE = 45, 8


class Report:
    """Everything that the demo prints on stdout."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False)
        unicode = self._console.encoding.lower().startswith("utf")
        self._good, self._bad, self._arrow = ("✓", "✗", "→") if unicode else ("+", "x", ">")

    def _mark(self, *, right: bool) -> Text:
        return Text(self._good, "green") if right else Text(self._bad, "bold red")

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Print one line, whatever its length."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.line()
        self._console.print(Rule(Text(text, "bold"), align="left", style="dim"))
        self.line()

    def opening(self) -> None:
        """Say what will be seen."""
        self.line("otelkit: a shop of four processes, real orders, and all that they tell", "bold")
        self.line()
        self.line("Starting the receiver, Redis and the shop ...", "dim")

    def places(self, receiver: Receiver, services: Services) -> None:
        """Say what runs where."""
        rows = [("receiver", receiver.http_url, "OTLP, in this process")]
        rows += [("redis", f"redis://{HOST}:{services.redis}", "cache and broker")]
        rows += [(name, service.url, service.command) for name, service in services.all.items()]
        self.line()
        for name, url, what in rows:
            self.line(Text.assemble((f"  {name:<10}", "bold"), f"{url:<26}", (what, "dim")))

    def visits(self, visits: Sequence[Visit]) -> None:
        """Say what customers wanted and how the shop answered."""
        self.heading(f"{len(visits)} visits of customers")
        for kind in KINDS:
            answers = sorted({visit.status for visit in visits if visit.kind is kind})
            mark = self._mark(right=answers == [kind.status])
            shown = (f"{' '.join(map(str, answers)):<5}", "bold")
            self.line(Text.assemble("  ", mark, f" {kind.times} {kind.outcome:<10}", shown, (kind.why, "dim")))

    def story(self, receiver: Receiver, trace_id: str) -> None:
        """Tell what has arrived of one trace."""
        spans = [span for span in receiver.spans() if span.trace_id == trace_id]
        logs = [record for record in receiver.logs() if record.trace_id == trace_id]
        if spans or logs:
            story.tell(spans, logs, self._console)
        else:
            self.line(f"Nothing arrived of trace {trace_id or '(none was named)'}.", "bold red")

    def table(self, counts: Sequence[Count]) -> None:
        """Put what was sent beside what arrived, by service: one number where both are the same."""
        self.heading("What was sent, and what of it arrived")
        services = list(dict.fromkeys(count.service for count in counts))
        self.line(" " * _LABELS + "".join(f"{service:>{_SERVICE}}" for service in services), "bold")
        before = ""
        for sent_as, arrived_as in dict.fromkeys((count.sent_as, count.arrived_as) for count in counts):
            row = {
                count.service: count for count in counts if (count.sent_as, count.arrived_as) == (sent_as, arrived_as)
            }
            label = f"  {'' if sent_as == before else sent_as:<11}{self._arrow} {arrived_as}"
            line = Text(f"{label:<{_LABELS}}")
            for service in services:
                line.append_text(_cell(row[service]))
            self.line(line.append(" ").append_text(self._mark(right=all(count.right for count in row.values()))))
            before = sent_as

    def business(self, counts: Sequence[Count]) -> None:
        """Put what the customers know beside what the shop has counted."""
        self.heading("What the customers know, and what the shop counted")
        for count in counts:
            line = Text(f"  {count.arrived_as:<24}{count.sent_as:<{_LABELS + _SERVICE - 26}}")
            line.append_text(Text(f"{count.service:>{_SERVICE}}", "dim")).append_text(_cell(count, 2 * _SERVICE))
            self.line(line.append(" ").append_text(self._mark(right=count.right)))

    def verdict(self, broken: tuple[Hop, list[str]] | None) -> None:
        """List the hops up to the first broken one, and say what is wrong there."""
        self.heading("Every hop of every visit")
        for hop in hops.HOPS:
            good = broken is None or hop is not broken[0]
            told = (hop.right, "dim") if good else ("broken", "bold red")
            self.line(Text.assemble("  ", self._mark(right=good), f" {hop.name:<31}", told))
            if not good:
                break
        self.line()
        if broken is None:
            self.line("All of it arrived, once, and in its place.", "bold green")
            return
        hop, problems = broken
        self.line(f"First broken hop: {hop.name}", "bold red")
        for problem in problems[:_MOST_PROBLEMS]:
            self.line(f"  {problem}")
        if len(problems) > _MOST_PROBLEMS:
            self.line(f"  ... and {len(problems) - _MOST_PROBLEMS} more like these")

    def errors(self, service: Service) -> None:
        """Show what a service said beside its log."""
        if words := service.errors():
            self.line()
            self.line(f"{service.name} on stderr:", "bold")
            self.line(words)

    def running_on(self, services: Services) -> None:
        """Say what the user can do now."""
        shop = services.all["api"]
        order = """-H 'content-type: application/json' -d '{"sku": "teapot"}'"""
        self.heading("Your turn: the shop runs on until Ctrl-C")
        self.line(f"  curl -i {shop.url}/orders \\")
        self.line(f"       {order}")
        self.line()
        for name, service in services.all.items():
            if service.url:
                self.line(Text.assemble((f"  {name:<10}", "bold"), f"{service.url}/docs"))
        self.line(Text.assemble(("  logs      ", "bold"), f"{shop.folder}/*.log"))
        self.line()
        self.line("What you order is told here. Try 100 samovars, or the cards mastercard, amex, diners.", "dim")


def _cell(count: Count, width: int = _SERVICE) -> Text:
    """Write what was counted: nothing where there was nothing, both sides where they differ."""
    if count.right:
        return Text(f"{count.sent or '':>{width}}")
    return Text(f"{f'{count.sent}/{count.arrived}':>{width}}", "bold red")
