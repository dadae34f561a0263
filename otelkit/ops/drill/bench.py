"""The only place that starts what a drill breaks: a stack with its rules, exporters, and where wanted the example shop.

Everything is started here, in one folder, and ended with it. The shop runs on a PostgreSQL and a Redis of its own; its
customers come steadily. Programs are those on PATH; those that are missing are named, all at once.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from otelkit.errors import StackError
from otelkit.ops import _assets
from otelkit.ops.drill._customers import Customers
from otelkit.ops.drill._running import Program, Running
from otelkit.ops.drill.receiver import Receiver
from otelkit.ops.endpoints import Endpoints
from otelkit.ops.mixin import Inputs, alertmanager, render
from otelkit.ops.mixin.parameters import Parameters, Service, Slo
from otelkit.ops.stack import _processes, _programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ENVIRONMENT: Final = "drill"
"""`deployment.environment.name` of the shop, and of what its exporters look at."""
SERVICES: Final = ("api", "payment", "worker", "beat")

_HOST: Final = "127.0.0.1"
_POSTGRES: Final = "postgres"
_EXPORTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "node-exporter": ("prometheus-node-exporter", "node_exporter"),
    "postgres-exporter": ("prometheus-postgres-exporter", "postgres_exporter"),
    "redis-exporter": ("prometheus-redis-exporter", "redis_exporter"),
    "blackbox-exporter": ("prometheus-blackbox-exporter", "blackbox_exporter"),
}
"""Debian's names, and those of the publishers."""
_PROBER: Final = "blackbox-exporter"
"""Watches the page, which every bench has."""
_DATABASES: Final[Mapping[str, tuple[str, ...]]] = {
    "initdb": ("initdb",),
    "postgres": ("postgres",),
    "redis": ("redis-server", "valkey-server"),
}
_OFFSETS: Final = range(3_000, 18_000, 61)  # above what programs use, below what Linux hands out
_TAKEN: Final = ("is taken by", "address already in use")
_TRIES: Final = 3
_BUSY: Final = 120.0  # seconds that one command about the stack may take
_DAYS: Final = 90  # of a certificate that is all right
_VERSIONS: Final = Path("/usr/lib/postgresql")  # where Debian keeps PostgreSQL's own programs, out of PATH
_UNPRIVILEGED: Final = ("postgres", "nobody")  # PostgreSQL refuses to be root


def missing(programs: Path | None = None, *, shop: bool) -> list[str]:
    """Name what a bench needs and does not find, each with the names that it may have."""
    stack = {name: kind.executables for name, kind in _programs.KINDS.items() if name != "grafana"}
    beside = {**_EXPORTERS, **_DATABASES} if shop else {_PROBER: _EXPORTERS[_PROBER]}
    wanted = {**stack, **beside, "openssl": ("openssl",)}
    return [" or ".join(names) for names in wanted.values() if _find(names, programs) is None]


def chosen(shop: Path | None) -> Inputs:
    """Return what the bench's rules are made of: its services are named, and the API has two objectives."""
    if shop is None:
        return Inputs(parameters=Parameters(services={"drill": Service()}))
    of_shop = {name: Service(namespace="shop", environment=ENVIRONMENT) for name in SERVICES}
    objectives = (
        Slo(name="api-availability", service="api", namespace="shop", environment=ENVIRONMENT, objective=0.999),
        Slo(
            name="api-latency",
            service="api",
            namespace="shop",
            environment=ENVIRONMENT,
            objective=0.99,
            kind="latency",
            under=0.5,
        ),
    )
    return Inputs(parameters=Parameters(services={**of_shop, "drill": Service()}, slos=objectives))


@contextmanager
def bench(
    folder: Path,
    *,
    shop: Path | None = None,
    inputs: Inputs | None = None,
    programs: Path | None = None,
    offset: int | None = None,
    variables: Mapping[str, str] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[Bench]:
    """Run a bench for the time of the block.

    Args:
        folder: An empty folder; configuration, data and what was printed are in it.
        shop: The folder that holds the package `shop`; None does without it.
        inputs: What rules and boards are made of; None is `chosen(shop)`. Whoever can be told is switched on, and told
            is the bench's own receiver.
        programs: Folder to look for programs in, before PATH.
        offset: What is added to each port of the stack; None takes one that is free.
        variables: Variables for the stack and its Collector.
        tell: Called with a line on what is being done.

    Raises:
        StackError: A program is missing, ended, or was not ready in time.
    """
    if absent := missing(programs, shop=shop is not None):
        raise StackError(f"not found on PATH: {', '.join(absent)}")
    folder = folder.resolve()
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver.listening())
        _configure(folder, inputs or chosen(shop), receiver, jobs=None if shop else ("blackbox",))
        running = stack.enter_context(Running(folder))
        made = Bench(folder, running, receiver, shop=shop, programs=programs, variables=variables or {})
        stack.callback(made.down)
        made.prepare(stack)
        tell("starting the stack")
        made.up(offset)
        tell("starting what it looks at")
        made.open(stack)
        yield made


class Bench:
    """What runs, by the names of the drills.

    The stack's programs (collector, prometheus, alertmanager, tempo, loki), `emitter`, a service that tells neither
    namespace nor environment, `page` and its `blackbox-exporter`; with a shop also api, payment, worker, beat,
    postgres, redis, and the other three exporters.
    """

    def __init__(
        self,
        folder: Path,
        running: Running,
        receiver: Receiver,
        *,
        shop: Path | None,
        programs: Path | None,
        variables: Mapping[str, str],
    ) -> None:
        self.rendered = folder / "rendered"
        """What `otelkit render` writes for this bench."""
        self.heard = receiver.heard
        """What was told, by whom and when."""
        self.silent_for = receiver.silent_for
        """For how many seconds the dead man's switch has heard nothing."""
        self._receiver = receiver
        self._refused: dict[str, str] = {}
        self._folder = folder
        self._running = running
        self._shop = shop
        self._programs = programs
        self._variables = variables
        self._ports: dict[str, int] = {}
        self._offset = 0
        self._faults: dict[str, str] = {}

    @property
    def place(self) -> Path:
        """The folder of the running stack, with its copy of the configuration."""
        return self._folder / "state/otelkit/stack/default"

    @property
    def endpoints(self) -> Endpoints:
        """Where the stack's programs answer."""
        return Endpoints.at(offset=self._offset)

    @property
    def api(self) -> str:
        """The shop's URL."""
        return self._url("api")

    def start(self, name: str) -> None:
        """Start a program again, as it was, and return once it is ready."""
        if name in self._running:
            self._running.start(name)
        else:
            self._command("up", *self._arguments())

    def stop(self, name: str) -> None:
        """End a program in order, and return once it has ended."""
        if name in self._running:
            self._running.stop(name)
        else:
            _processes.end([_processes.running(self.place)[name]], within=20.0)

    def kill(self, name: str) -> None:
        """Kill a program."""
        self.signal(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Stop a program where it is: it keeps its ports and answers nobody."""
        self.signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self.signal(name, signal.SIGCONT)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program."""
        if name in self._running:
            self._running.signal(name, number)
        else:
            _processes.running(self.place)[name].send_signal(number)

    def fault(self, name: str, value: str = "on") -> None:
        """Turn a fault of the shop on; "on" is its usual value (examples/shop/faults.py)."""
        self._faults[name] = "" if value == "on" else value
        self._tell_faults()

    def mend(self, name: str) -> None:
        """Turn it off."""
        self._faults.pop(name, None)
        self._tell_faults()

    def refuse(self, receiver: str) -> None:
        """Refuse what one of the receivers is told, as where its secret was changed."""
        self._refused.setdefault(receiver, self._receiver.secrets[receiver])
        self._receiver.secrets[receiver] = ""

    def accept(self, receiver: str) -> None:
        """Take it again."""
        self._receiver.secrets[receiver] = self._refused.pop(receiver)

    def burst(self) -> None:
        """Make the emitter end more spans at once than its queue holds."""
        self._running.say("emitter", "burst")

    def set_redis(self, name: str, value: str) -> None:
        """Change a setting of Redis while it runs."""
        with socket.create_connection((_HOST, self._ports["redis"]), timeout=5.0) as connection:
            connection.sendall(f"CONFIG SET {name} {value}\r\n".encode())  # an inline command
            said = connection.recv(1024).decode()
        if said != "+OK\r\n":
            raise StackError(f"Redis does not take {name} {value}: {said.strip()}")

    def certify(self, days: int = _DAYS) -> None:
        """Give the page a certificate that is good for so many days, and start it again."""
        self._certificate(days)
        self._running.start("page")

    def log(self, name: str) -> str:
        """Return what a program printed."""
        return self._running.log(name).read_text(encoding="utf-8", errors="replace")

    def prepare(self, stack: ExitStack) -> None:
        """Choose ports, and start what the stack does not have to be there for.

        Args:
            stack: Is told what to clean up.
        """
        names = ["page", _PROBER]
        if self._shop is not None:
            names += ["api", "payment", "postgres", "redis", *(name for name in _EXPORTERS if name not in names)]
        self._ports = _free_ports(names)
        self._certificate(_DAYS)
        early = [self._page()]
        if self._shop is not None:
            early += [self._postgres(stack), self._redis()]
        early += [self._exporter(name) for name in _EXPORTERS if name in self._ports]
        for program in early:
            self._running.launch(program)

    def up(self, offset: int | None) -> None:
        """Bring the stack up."""
        for last in (*[False] * (_TRIES - 1), True):
            self._offset = _free_offset() if offset is None else offset
            try:
                self._command("up", *self._arguments())
            except StackError as error:
                if last or offset is not None or not any(text in str(error) for text in _TAKEN):
                    raise
                self.down()
            else:
                return

    def open(self, stack: ExitStack) -> None:
        """Start the emitter, and the shop with its customers.

        Args:
            stack: Is told what to end.
        """
        self._running.launch(self._emitter())
        if self._shop is None:
            return
        for name in SERVICES[:-1]:
            self._running.launch(self._service(name))
        self._running.wait("page", "postgres", "redis", *_EXPORTERS, *SERVICES[:-1])
        self._running.launch(self._service("beat"))  # the tables are there
        stack.enter_context(Customers(self.api))

    def down(self) -> None:
        """Take the stack down; what is left of it is ended with everything else."""
        with contextlib.suppress(StackError):
            self._command("down", "--timeout", "5")

    def _arguments(self) -> list[str]:
        found = ["--engine", "native", "--config", str(self._folder / "configuration")]
        found += ["--overlay", "infra", "--overlay", "gateway", "--port-offset", str(self._offset)]
        return found if self._programs is None else [*found, "--programs", str(self._programs)]

    def _command(self, action: str, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STACK_"))}
        ports = {f"STACK_{name.upper().replace('-', '_')}_PORT": str(self._ports[name]) for name in _EXPORTERS
                 if name in self._ports}  # fmt: skip
        pages = [f"https://{_HOST}:{self._ports['page']}/", *([f"{self.api}/health/ready"] if self._shop else [])]
        environment = {
            **kept,
            **ports,
            "XDG_STATE_HOME": str(self._folder / "state"),
            "STACK_PROBED_URLS": f"[{', '.join(pages)}]",
            "STACK_ENVIRONMENT": ENVIRONMENT,
            "STACK_GATEWAY_SHARE": "100",
            **self._variables,
        }
        command = [sys.executable, "-m", "otelkit.ops.cli", "stack", action, *arguments]
        with tempfile.TemporaryFile() as said:  # no pipe: what it starts would keep that open
            done = subprocess.run(command, env=environment, stdout=said, stderr=said, timeout=_BUSY, check=False)  # noqa: S603  this very package
            said.seek(0)
            if done.returncode:
                raise StackError(f"otelkit stack {action} failed:\n{said.read().decode(errors='replace')}")

    def _tell_faults(self) -> None:
        lines = "".join(f"{name} {value}".rstrip() + "\n" for name, value in self._faults.items())
        draft = self._folder / "faults.new"
        draft.write_text(lines, encoding="utf-8")
        draft.replace(self._folder / "faults")

    def _url(self, name: str, path: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{_HOST}:{self._ports[name]}{path}"

    def _found(self, *names: str) -> str:
        return str(_find(names, self._programs))

    def _page(self) -> Program:
        port = str(self._ports["page"])
        argv = [sys.executable, "-m", "otelkit.ops.drill._page", port, str(self._folder / "page.pem")]
        return Program(name="page", argv=argv, ready=lambda: _listens(int(port)))

    def _certificate(self, days: int) -> None:
        file = self._folder / "page.pem"
        command = [
            self._found("openssl"),
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]
        command += ["-days", str(days), "-subj", f"/CN={_HOST}", "-addext", f"subjectAltName=IP:{_HOST}"]
        made = subprocess.run([*command, "-keyout", "-", "-out", "-"], capture_output=True, check=False)  # noqa: S603  what PATH calls openssl
        if made.returncode:
            raise StackError(f"openssl made no certificate: {made.stderr.decode(errors='replace')}")
        file.write_bytes(made.stdout)

    def _postgres(self, stack: ExitStack) -> Program:
        data = Path(tempfile.mkdtemp(prefix="otelkit-drill-"))  # outside of folders that only root may enter
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        user = None
        if os.geteuid() == 0:
            user = next(name for name in _UNPRIVILEGED if _is_account(name))
            shutil.chown(data, user)
        argv = [
            self._found("initdb"),
            "-D",
            str(data / "data"),
            "-U",
            _POSTGRES,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        try:
            made = subprocess.run(argv, capture_output=True, check=False, user=user, cwd="/")  # noqa: S603  what PATH calls initdb
        except OSError as error:
            raise StackError(f"{argv[0]} cannot be started as {user or getpass.getuser()}: {error}") from error
        if made.returncode:
            raise StackError(f"initdb failed: {made.stderr.decode(errors='replace')}")
        port = self._ports["postgres"]
        argv = [self._found("postgres"), "-D", str(data / "data"), "-h", _HOST, "-p", str(port)]
        for setting in ("unix_socket_directories=", "fsync=off", "max_connections=60"):
            argv += ["-c", setting]
        # SIGTERM would wait until everybody has left.
        return Program(name="postgres", argv=argv, ready=lambda: _listens(port), ends_on=signal.SIGINT, user=user)

    def _redis(self) -> Program:
        port = self._ports["redis"]
        argv = [self._found(*_DATABASES["redis"]), "--port", str(port), "--bind", _HOST]
        argv += ["--dir", str(self._folder), "--save", "", "--appendonly", "no"]
        return Program(name="redis", argv=argv, ready=lambda: _listens(port))

    def _exporter(self, name: str) -> Program:
        port = self._ports[name]
        argv = [self._found(*_EXPORTERS[name]), f"--web.listen-address={_HOST}:{port}"]
        env: dict[str, str] = {}
        if name == "postgres-exporter":
            address = f"{_HOST}:{self._ports['postgres']}"
            env["DATA_SOURCE_NAME"] = f"postgresql://{_POSTGRES}@{address}/{_POSTGRES}?sslmode=disable"
        elif name == "redis-exporter":
            env["REDIS_ADDR"] = self._redis_url()
        elif name == _PROBER:
            modules = self._folder / "blackbox.yaml"
            http = "{preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}"
            modules.write_text(f"modules: {{http_2xx: {{prober: http, http: {http}}}}}\n", encoding="utf-8")
            argv.append(f"--config.file={modules}")
        return Program(name=name, argv=argv, env=env, ready=lambda: _listens(port))

    def _emitter(self) -> Program:
        argv = [sys.executable, "-m", "otelkit.ops.drill._emitter"]
        # A queue that a burst fills, whichever of the two is faster on this machine: who logs, or who sends.
        small = {"OTEL_BLRP_MAX_QUEUE_SIZE": "64", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "64"}
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoints.otlp_http, **small}
        return Program(name="emitter", argv=argv, env=env, ready=lambda: True)

    def _service(self, name: str) -> Program:
        app = f"shop.{name}:app"
        celery = [sys.executable, "-m", "celery", "-A", app]
        commands: dict[str, Sequence[str]] = {
            "worker": [*celery, "worker", "--concurrency", "2", "--without-mingle", "--without-gossip"],
            "beat": [*celery, "beat", "--schedule", str(self._folder / "schedule"), "--pidfile="],
        }
        ready: Callable[[], object] = lambda: True  # noqa: E731  one of two
        if name in self._ports:
            port = str(self._ports[name])
            commands[name] = [sys.executable, "-m", "uvicorn", app, "--host", _HOST, "--port", port]
            ready = lambda: _is_ready(self._url(name, "/health/ready"))  # noqa: E731  the other
        # In the environment of whoever started the bench: otelkit may be there, and nowhere else.
        path = os.pathsep.join(filter(None, [str(self._shop), os.environ.get("PYTHONPATH")]))
        database = f"postgresql+psycopg://{_POSTGRES}@{_HOST}:{self._ports['postgres']}/{_POSTGRES}"
        env = {
            "PYTHONPATH": path,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoints.otlp_http,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version=1.0.0,deployment.environment.name={ENVIRONMENT}",
            "SHOP_DATABASE_URL": database,
            "PAYMENT_DATABASE_URL": database,
            "PAYMENT_URL": self._url("payment"),
            "REDIS_URL": f"{self._redis_url()}/0",
            "BROKER_URL": f"{self._redis_url()}/1",
            "SHOP_REMIND_SECONDS": "5",
            "SHOP_FAULTS": str(self._folder / "faults"),
        }
        return Program(name=name, argv=commands[name], env=env, ready=ready)

    def _redis_url(self) -> str:
        return self._url("redis", scheme="redis")


def _find(names: Sequence[str], programs: Path | None) -> str | None:
    versions = sorted(_VERSIONS.glob("*/bin"), reverse=True)
    path = os.pathsep.join([*([str(programs)] if programs else []), os.environ.get("PATH", ""), *map(str, versions)])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def _configure(folder: Path, inputs: Inputs, receiver: Receiver, *, jobs: Sequence[str] | None) -> None:
    """Write what the stack runs: otelkit's own, with what is rendered for this bench, and secrets of its receiver.

    Args:
        folder: Of the bench.
        inputs: What is rendered.
        receiver: Who is told.
        jobs: Those of the overlay `infra` that are kept; None keeps all.
    """
    parameters = replace(inputs.parameters, notify=receiver.notify())
    rendered = render(replace(inputs, parameters=parameters, receivers=frozenset(alertmanager.ALL)))
    _write(folder / "rendered", rendered)
    runs = folder / "configuration"
    for name in _assets.FOLDERS:
        shutil.copytree(_assets.root() / name, runs / name)
    for rules in ("deploy/prometheus/rules", "deploy/loki/rules/fake"):
        for other in (runs / rules).glob("*.yaml"):
            other.unlink()
    _write(runs, rendered)
    receiver.write_secrets(runs / "deploy/alertmanager/secrets")
    if jobs is not None:
        file = runs / "collector/overlays/infra.yaml"
        overlay = yaml.safe_load(file.read_text(encoding="utf-8"))
        scraped = overlay["receivers"]["prometheus/infra"]["config"]
        scraped["scrape_configs"] = [job for job in scraped["scrape_configs"] if job["job_name"] in jobs]
        file.write_text(yaml.safe_dump(overlay, sort_keys=False), encoding="utf-8")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _free_ports(names: Sequence[str]) -> dict[str, int]:
    with ExitStack() as open_sockets:  # all open at the same time: all different
        found = {}
        for name in names:
            probe = open_sockets.enter_context(socket.socket())
            probe.bind((_HOST, 0))
            port: int = probe.getsockname()[1]
            found[name] = port
        return found


def _free_offset() -> int:
    ports = [int(value) for name, value in _assets.pins().items() if name.endswith("_PORT")]
    began = time.time_ns() % len(_OFFSETS)
    offsets: list[int] = [*_OFFSETS[began:], *_OFFSETS[:began]]
    for offset in offsets:
        if not any(_listens(port + offset) for port in ports):
            return offset
    raise StackError("no ports are left for a stack")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((_HOST, port)) == 0


def _is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def _is_account(name: str) -> bool:
    import pwd  # noqa: PLC0415  there is none on Windows

    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False
