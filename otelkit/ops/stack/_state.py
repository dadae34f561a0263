"""The only place for what is known of a stack between two commands: its folder, its state file and its lock.

The folder is `${XDG_STATE_HOME:-~/.local/state}/otelkit/stack/<name>/`:

    state.json      what follows; there from `up` to `down`
    lock            held while a command changes the stack
    collector/ deploy/ otelkit-version    the configuration that runs, a copy
    data/<program>/ what the programs keep, unless --data says where; stays after `down`
    log/<program>.log, log/<program>.log.1    what a program printed since its start, and in the run before
    grafana-password    made at random where none was set, readable by its owner only

`state.json` is one object, `format` 1. Programs outside of otelkit may read it:

    name, engine ("native" or "compose"), otelkit (version), created (seconds since the epoch)
    source          the folder that the configuration was copied from, null for otelkit's own
    digest          SHA-256 over the files of the configuration
    host, ports     the address (OTLP and Grafana may have others, in `settings`) and, by variable of `deploy/.env`,
                    the ports that the programs listen on
    settings        the other variables of `deploy/.env`, as they were, without credentials
    overlays, data, programs_folder, secrets, rendered    what `up` was told
    programs        by name: pid, started (seconds since the epoch, with pid the guard against its reuse), argv,
                    log, ready (URL that answers 200), version
    missing         by name: why a program was not started
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otelkit.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

FORMAT = 1
Engine = Literal["native", "compose"]

_SECURE = "secure"
"""The overlay that gives OTLP an address of its own, and TLS."""
_BINDS = {"OTLP_HTTP_PORT": "OTLP_BIND", "OTLP_GRPC_PORT": "OTLP_BIND", "GRAFANA_PORT": "GRAFANA_BIND"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # what Compose takes for the name of a project
_PAUSE = 0.1  # seconds between two looks at a lock


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is noted of one program that was started natively; the fields are told above."""

    pid: int
    started: float
    argv: tuple[str, ...]
    log: str
    ready: str
    version: str | None


@dataclass(frozen=True, kw_only=True)
class State:
    """What `state.json` holds; the fields are told above."""

    name: str
    engine: Engine
    otelkit: str
    created: float
    source: str | None
    digest: str
    host: str
    ports: Mapping[str, int]
    settings: Mapping[str, str]
    overlays: tuple[str, ...]
    data: str
    programs_folder: str | None
    secrets: str | None = None
    rendered: str | None = None
    programs: Mapping[str, Record] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def listens_at(self, port: str) -> str:
        """Return the address that a port of `ports` is listened on, or published at."""
        own = _BINDS.get(port)
        # Without the overlay, the Collector's own file knows one address for all of its ports.
        if own == "OTLP_BIND" and self.engine == "native" and _SECURE not in self.overlays:
            own = None
        return (self.settings.get(own) if own else None) or self.host

    def url(self, port: str) -> str:
        """Return where this machine reaches a port of `ports`, as a base URL."""
        host = self.listens_at(port)
        scheme = "https" if _BINDS.get(port) == "OTLP_BIND" and _SECURE in self.overlays else "http"
        return f"{scheme}://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.ports[port]}"  # noqa: S104  compared only


def home() -> Path:
    """Return the folder of all stacks of this user."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local/state"
    return base.resolve() / "otelkit/stack"


def folder(name: str) -> Path:
    """Return the folder of one stack, which need not exist.

    Raises:
        StackError: No stack can have this name.
    """
    if not _NAME.fullmatch(name):
        raise StackError(
            f"{name!r} cannot name a stack: up to 40 of a-z, 0-9, _ and -, beginning with one of the first two"
        )
    return home() / name


def names() -> list[str]:
    """Return the names of the stacks that were brought up and not taken down."""
    return sorted(file.parent.name for file in home().glob("*/state.json"))


def read(place: Path) -> State | None:
    """Return the state noted in a stack's folder, None where none is.

    Raises:
        StackError: A newer otelkit wrote the file, or it is damaged.
    """
    file = place / "state.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise StackError(f"{file} is of another version of otelkit: take the stack down with that one")
        programs = {
            name: Record(**{**noted, "argv": tuple(noted["argv"])}) for name, noted in found["programs"].items()
        }
        return State(**{**found, "programs": programs, "overlays": tuple(found["overlays"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StackError(f"{file} is damaged ({error}): `otelkit stack down` ends what runs and removes it") from error


def write(place: Path, state: State) -> None:
    """Note the state; readers find the old or the new file, never half of one."""
    place.mkdir(parents=True, exist_ok=True)
    draft = place / "state.json.new"
    draft.write_text(json.dumps({"format": FORMAT, **asdict(state)}, indent=2) + "\n", encoding="utf-8")
    draft.replace(place / "state.json")


def forget(place: Path) -> None:
    """Remove the note; data and logs stay."""
    (place / "state.json").unlink(missing_ok=True)


def digest(folders: Iterable[tuple[Path, str]]) -> str:
    """Return a SHA-256 over names and contents of the files in these folders, each told as a root and what is in it."""
    found = hashlib.sha256()
    for root, name in folders:
        for file in sorted(path for path in (root / name).rglob("*") if path.is_file()):
            content = file.read_bytes()
            found.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
            found.update(content)
    return found.hexdigest()


@contextlib.contextmanager
def lock(place: Path, *, within: float, waits: Callable[[], None], check: Callable[[], None]) -> Iterator[None]:
    """Hold the stack's lock: one command at a time changes it. It goes with its process, however that ends.

    Args:
        place: The stack's folder.
        within: Seconds to wait for another command.
        waits: Called once where there is one to wait for.
        check: Called between two looks; what it raises ends the wait.

    Raises:
        StackError: The other command still holds it.
    """
    place.mkdir(parents=True, exist_ok=True, mode=0o700)  # a configuration may come with files of secrets
    if sys.platform == "win32":  # has no flock, and Compose guards its own projects
        yield
        return
    import fcntl  # noqa: PLC0415  there is none on Windows

    deadline = time.monotonic() + within
    with (place / "lock").open("a+", encoding="utf-8") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise StackError(
                        f"another otelkit command (pid {file.read().strip()}) works on stack {place.name}"
                    ) from None
                if not told:
                    waits()
                    told = True
            check()
            time.sleep(_PAUSE)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
