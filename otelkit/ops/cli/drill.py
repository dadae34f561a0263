"""The only place for `otelkit drill`: break one thing on purpose, and see that the right people are told.

Exit codes: 0 each alert fired, was told, had its runbook, and resolved; 1 one did not; 2 the command line is wrong, or
something that a drill needs is missing; 128 plus the signal's number where Ctrl-C or SIGTERM interrupted it: the fault
is removed then too, and everything that was started is ended.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from otelkit._stderr import say
from otelkit.errors import StackError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from otelkit.ops.drill import Drill, Outcome

HELP = "Break one thing of a stack of its own, and prove that its alert fires, is told and resolves."

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 128


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `otelkit drill`."""
    parser.description = (
        "Start a stack, with --shop the example shop too, break one thing, follow its alert to those who are told, ask "
        "what its runbook asks first, mend it, and see it resolve. Nothing is touched that was not started here."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which drills, one after the other")
    parser.add_argument("--list", action="store_true", help="name them all")
    parser.add_argument("--all", action="store_true", help="every drill")
    parser.add_argument("--shop", type=Path, metavar="DIR", help="the folder of otelkit's examples, which holds `shop`")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="look for the programs there before PATH")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write what came of them as a page")


def main(options: argparse.Namespace) -> int:
    """Run the drills, as told above."""
    from otelkit.ops import drill  # noqa: PLC0415  what it needs is loaded by the command that needs it

    if options.list:
        _list(drill.DRILLS)
        return 0
    known = {each.name: each for each in drill.DRILLS}
    chosen = list(drill.DRILLS) if options.all else [known[name] for name in options.names if name in known]
    if wrong := _wrong(chosen, [name for name in options.names if name not in known], options.shop):
        say(f"drill: {wrong}")
        return _WRONG
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupted)
    try:
        outcomes = _run(chosen, options)
    except StackError as error:
        print(error, file=sys.stderr)
        return _WRONG
    except KeyboardInterrupt as interrupt:
        print("interrupted; what was broken is mended, and everything that was started has been ended", file=sys.stderr)
        return _INTERRUPTED + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    if options.table:
        options.table.write_text(drill.page(outcomes), encoding="utf-8")
    return _FAILED if any(outcome.problems for outcome in outcomes) else 0


def _wrong(chosen: Sequence[Drill], unknown: Sequence[str], shop: Path | None) -> str:
    """Say what keeps the drills from being run; "" where nothing does."""
    if unknown or not chosen:
        asked = f"there is no {', '.join(unknown)}" if unknown else "name one, or --all"
        return f"{asked}; `otelkit drill --list` names them"
    needing = ", ".join(each.name for each in chosen if each.shop)
    if needing and shop is None:
        return f"{needing}: needs the shop of otelkit's repository: --shop examples"
    if needing and shop is not None and not (shop / "shop" / "api.py").is_file():
        return f"--shop {shop}: holds no shop; name the folder examples of otelkit's repository"
    return ""


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(number)


def _list(drills: Sequence[Drill]) -> None:
    from otelkit.ops.drill import alerts  # noqa: PLC0415  what it needs is loaded by the command that needs it

    width = max(len(each.name) for each in drills)
    for each in drills:
        needs = " (needs --shop)" if each.shop else ""
        print(f"{each.name:{width}}  {each.about}{needs}: {', '.join(alerts(each))}")


def _run(chosen: Sequence[Drill], options: argparse.Namespace) -> list[Outcome]:
    """Run those that need the shop on one bench, the others on another: a bench takes longer than most of them."""
    from otelkit.ops import drill  # noqa: PLC0415  what it needs is loaded by the command that needs it

    outcomes: dict[str, Outcome] = {}
    for with_shop in (True, False):
        drills = [each for each in chosen if each.shop is with_shop]
        if not drills:
            continue
        shop = options.shop.resolve() if with_shop else None
        with (
            tempfile.TemporaryDirectory(prefix="otelkit-drill-") as folder,
            drill.bench(Path(folder), shop=shop, programs=options.programs, tell=_tell) as bench,
        ):
            outcomes |= {each.drill.name: each for each in drill.run(drills, bench, tell=_tell, ended=_ended)}
    return [outcomes[each.name] for each in chosen]


def _tell(line: str) -> None:
    print(line, flush=True)


def _ended(outcome: Outcome) -> None:
    name = outcome.drill.name
    for problem in outcome.problems:
        _tell(f"FAILED  {name}: {problem}")
    if not outcome.problems:
        _tell(f"proved  {name}: {outcome.drill.alert}")
