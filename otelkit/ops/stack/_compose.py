"""The only place that brings a stack up, looks at it and takes it down with Docker Compose.

Thin on purpose: `deploy/compose.yaml` says what runs, and Compose itself starts, waits, restarts and ends it. Added
here: the name of the project, ports moved by the offset, and overlays.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from otelkit.errors import StackError
from otelkit.ops.stack import _files, _programs, _state
from otelkit.ops.stack._seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otelkit.ops.stack._progress import Progress
    from otelkit.ops.stack._state import State

_ANSWERS_WITHIN = 15.0  # seconds for a question
_STOPS_WITHIN = 90.0  # seconds beyond the grace periods of compose.yaml
_PAUSE = 0.1
_EXPORTERS = "infra"  # the overlay, and the profile with the exporters that it scrapes


def unavailable() -> str:
    """Tell why Docker Compose cannot be used; empty where it can."""
    docker = shutil.which("docker")
    if docker is None:
        return "there is no docker on PATH"
    for asked, lacking in ((("compose", "version"), "the Compose plugin"), (("info",), "a running engine")):
        try:
            done = subprocess.run(  # noqa: S603  the docker of this machine
                [docker, *asked], capture_output=True, timeout=_ANSWERS_WITHIN, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            return f"docker {' '.join(asked)} does not answer: it needs {lacking}"
        if done.returncode:
            return f"docker {' '.join(asked)} fails: it needs {lacking}"
    return ""


def up(
    place: Path, chosen: State, *, runs: State | None, source: Path, fresh: bool, within: float, progress: Progress
) -> State:
    """Start what does not run of a stack, and wait until every health check passes; the caller holds the stack's lock.

    Args:
        place: The stack's folder.
        chosen: What to start where nothing runs.
        runs: The note of a stack that runs: its containers and configuration stay, what is missing joins them.
        source: The folder to copy the configuration from.
        fresh: Remove the volumes first.
        within: Seconds until everything has to be healthy.
        progress: May end it all by raising; what was not there before is then taken down.

    Raises:
        StackError: Nothing was started.
    """
    state = runs or chosen
    if runs is None:
        if chosen.data != str(place / "data"):
            raise StackError("containers keep their data in volumes: --data is for --engine native")
        for doubt in _files.copy(place, chosen, source):
            progress.say(doubt)
        _state.write(place, chosen)
        if fresh:
            down(place, chosen, volumes=True)
            _state.write(place, chosen)
    user, password, told = _files.credentials(place)
    if told:
        progress.say(told)
    environment = {**_environment(state), "GRAFANA_ADMIN_USER": user, "GRAFANA_ADMIN_PASSWORD": password}
    profile = ["--profile", _EXPORTERS] if _EXPORTERS in state.overlays else []
    argv = [*_base(place, state), *profile, "up", "--detach", "--wait", "--wait-timeout", str(round(within))]
    try:
        _watched(argv, environment, progress)
    except BaseException:
        if runs is None:
            down(place, chosen)
        raise
    return state


def look(place: Path, state: State) -> list[Seen]:
    """Return what became of each container."""
    return [
        Seen(
            name=each["Service"],
            state=_became(each),
            url=_url(state, each["Service"]),
            reason=_reason(place, state, each),
        )
        for each in _containers(place, state)
    ]


def logs(place: Path, state: State, *, program: str | None, lines: int, follow: bool) -> int:
    """Print what containers wrote, as Compose does it, and return its exit code."""
    more = [*(["--follow"] if follow else []), *([program] if program else [])]
    argv = [*_base(place, state), "logs", "--tail", str(lines), *more]
    return subprocess.call(argv, env=_environment(state))  # noqa: S603  the docker of this machine


def down(place: Path, state: State, *, volumes: bool = False) -> list[str]:
    """End and remove all containers, and forget the stack; volumes stay unless `volumes` says so.

    Returns:
        The names of the services that ran.

    Raises:
        StackError: Compose could not.
    """
    names = [container["Service"] for container in _containers(place, state) if container["State"] == "running"]
    # All profiles: what an overlay started goes, too.
    _run(place, state, ["down", *(["--volumes"] if volumes else [])], profile="*", within=_STOPS_WITHIN)
    _state.forget(place)
    return names


def parsed(printed: str) -> list[dict[str, Any]]:
    """Return the containers that `docker compose ps --format json` printed: an object a line, one list before 2.21."""
    text = printed.strip()
    found: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else list(map(json.loads, text.splitlines()))
    return found


def _watched(argv: Sequence[str], environment: Mapping[str, str], progress: Progress) -> None:
    # In a session of its own: Ctrl-C reaches us alone, and we end what was started.
    with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, start_new_session=True) as child:  # noqa: S603  Docker
        try:
            while child.poll() is None:
                progress.check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_PAUSE)
        except BaseException:
            child.terminate()
            raise


def _base(place: Path, state: State) -> list[str]:
    deploy = place / "deploy"
    return [
        "docker",
        "compose",
        "--project-name",
        f"otelkit-{state.name}",
        "--project-directory",
        str(deploy),
        "--env-file",
        str(deploy / ".env"),
        "--file",
        str(deploy / "compose.yaml"),
    ]


def _environment(state: State) -> dict[str, str]:
    """Return the environment for Compose, where a variable wins over `.env`: what was chosen, not what it is now."""
    overlays = [f"--config=/etc/otelcol/overlays/{name}.yaml" for name in state.overlays]
    network = state.settings.get("STACK_NETWORK", "otelkit")
    return {
        **os.environ,
        **state.settings,
        **{name: str(port) for name, port in state.ports.items()},
        "COLLECTOR_OVERLAYS": " ".join([state.settings.get("COLLECTOR_OVERLAYS", ""), *overlays]).strip(),
        # Two stacks side by side must not share a network: each has a `collector` in it.
        "STACK_NETWORK": network if state.name == "default" else f"{network}-{state.name}",
        # Asked for by the file, whatever the command; only `up` uses it.
        "GRAFANA_ADMIN_PASSWORD": os.environ.get("GRAFANA_ADMIN_PASSWORD") or "unused",
    }


def _run(place: Path, state: State, arguments: Sequence[str], *, within: float, profile: str = "") -> str:
    argv = [*_base(place, state), *(["--profile", profile] if profile else []), *arguments]
    try:
        done = subprocess.run(  # noqa: S603  the docker of this machine
            argv, env=_environment(state), capture_output=True, timeout=within, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        if why := unavailable():
            note = place / "state.json"
            raise StackError(f"stack {state.name} is one of containers, and {why}; deleting {note} forgets it")
        raise StackError(f"{' '.join(argv)} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def _containers(place: Path, state: State) -> list[dict[str, Any]]:
    found = parsed(_run(place, state, ["ps", "--all", "--format", "json"], within=_ANSWERS_WITHIN))
    # What prepares a volume has done its work once it has ended.
    return [each for each in found if each["Service"] in _programs.KINDS or each["State"] == "running"]


def _became(container: Mapping[str, Any]) -> str:
    if container["State"] != "running":
        return "ended"
    return "ready" if container.get("Health", "") in ("", "healthy") else "not ready"


def _url(state: State, service: str) -> str:
    if service not in _programs.KINDS:
        return ""
    port, path = _programs.KINDS[service].ready
    return state.url(port) + path


def _reason(place: Path, state: State, container: Mapping[str, Any]) -> str:
    if _became(container) == "ready":
        return ""
    told = container.get("Status") or container["State"]
    lines = ["logs", "--no-log-prefix", "--tail", "8", container["Service"]]
    return f"{told}; its log's last lines:\n{_run(place, state, lines, within=_ANSWERS_WITHIN).rstrip()}"
