"""The only task runner: every check and the demo, `nox -l` lists them.

    python3 noxfile.py [ARGUMENTS]    the same as `nox [ARGUMENTS]`, on a machine with nothing but Python >= 3.11

Run as a script, it keeps a nox of its own in `.nox/bootstrap`. Tests run against the built wheel, from a folder outside
the checkout, without the caller's `OTEL_*` variables.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BOOTSTRAP = ROOT / ".nox" / "bootstrap"
NOX = "nox>=2025.5.1"
UV = "uv>=0.8"


def start_own_nox(arguments: list[str]) -> None:
    """Replace this process by a nox that needs nothing installed beforehand."""
    if sys.version_info < (3, 11):
        sys.exit(f"otelkit needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})")
    python = BOOTSTRAP / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made_of = f"{sys.version}\n{sys.base_prefix}\n{NOX}\n{UV}\n"
    stamp = BOOTSTRAP / "made-of"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != made_of or not python.exists():
        print(f"installing nox into {BOOTSTRAP.relative_to(ROOT)}", flush=True)
        install_nox(python)
        stamp.write_text(made_of, encoding="utf-8")
    os.environ.update(uv_settings(python))
    os.execv(python, [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *arguments])


def install_nox(python: Path) -> None:
    """Make the environment of `start_own_nox`, also where `ensurepip` is missing, which Debian packages apart."""
    shutil.rmtree(BOOTSTRAP, ignore_errors=True)
    has_ensurepip = works([sys.executable, "-c", "import ensurepip"])
    make = [sys.executable, "-m", "venv", *([] if has_ensurepip else ["--without-pip"]), str(BOOTSTRAP)]
    outer_pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "pip"]
    if not works(make) or not (has_ensurepip or works(outer_pip)):
        sys.exit(
            f"{sys.executable} can make no virtual environment: install its venv package (python3-venv), try again"
        )
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*install, NOX], check=False).returncode:
        sys.exit(f"nox could not be installed, pip says why above: {shlex.join([*install, NOX])}")
    # uv makes the sessions' environments ten times as fast as pip; where there is no wheel of it, pip does it too.
    works([*install, "--only-binary", "uv", UV])


def works(command: list[str]) -> bool:
    """Tell whether a command ends well."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def uv_settings(python: Path) -> dict[str, str]:
    """Translate pip's configuration for uv, which reads none of it: the caller has set up pip and never heard of uv."""
    command = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    pip: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if name.startswith(("global.", "install.", ":env:.")):
            pip[name.rpartition(".")[2]] = shlex.split(value)[0]
    wanted = {
        "UV_SYSTEM_CERTS": "1",  # companies that look into TLS put their certificate into the system's store
        "SSL_CERT_FILE": pip.get("cert"),
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": pip.get("extra-index-url", "").replace("\n", " "),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
    }
    return {name: value for name, value in wanted.items() if value and name not in os.environ}


if __name__ == "__main__":
    start_own_nox(sys.argv[1:])

# ruff: noqa: E402  as a script, this file ends above; what follows runs under nox, which may just have been installed
import atexit
import functools
import re
import tempfile
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import nox

sys.path.insert(0, str(ROOT / "tests"))
from support import lanes
from support.closing import COUNTS, REQUIRED, Closing

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
CORES = max(2, os.cpu_count() or 2)
# Files of tests in as many processes as there are cores; `-- -n0` for one.
SIDE_BY_SIDE = (f"--numprocesses={CORES}", "--dist=loadfile")
# In one more: they also wait for servers. Twice as many were seen to miss deadlines on a machine that did much else.
WAITING = (f"--numprocesses={CORES + 1}", "--dist=loadfile")
# What the programs of tests are found by, which drive the example shop.
TESTS_AND_EXAMPLES = {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("tests", "examples"))}
UNLISTED = {"wheel", "demo"}  # no lanes; they are named only where they failed
CLOSING = Closing(Path(tempfile.mkdtemp(prefix="otelkit-nox-")), required=os.environ.get(REQUIRED, ""))

nox.needs_version = NOX.removeprefix("nox")
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "unit", "contract", "rules", "integration", "e2e", "faults", "leaks"]


@atexit.register
def _close() -> None:
    """Print the lanes and the totals after everything that nox says."""
    for line in CLOSING.lines():
        print(line, flush=True)
    shutil.rmtree(CLOSING.folder, ignore_errors=True)


def lane(run: Callable[Concatenate[nox.Session, P], None]) -> Callable[Concatenate[nox.Session, P], None]:
    """Count a session in the lines at the end."""

    @functools.wraps(run)
    def session_function(session: nox.Session, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            run(session, *args, **kwargs)
        except BaseException:
            CLOSING.done(session.name, ok=False)
            raise
        if session.name not in UNLISTED:
            CLOSING.done(session.name, ok=True)

    return session_function


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *requirements: str) -> None:
    """Install into the session's environment, compiled: else every started program compiles what it imports."""
    session.install(*requirements, env={"UV_COMPILE_BYTECODE": "1"})


def built_wheel(session: nox.Session) -> str:
    """Return the path of the wheel that the session `wheel` built in this run."""
    return str(next((session.cache_dir / "wheel").glob("otelkit-*.whl")))


def leave_checkout(session: nox.Session) -> None:
    """Go where the checkout's `otelkit/` cannot be imported by anyone, without the caller's variables."""
    session.env.update({name: None for name in os.environ if name.startswith(("OTEL_", "OTELKIT_", "PYTHONPATH"))})
    session.env[lanes.VARIABLE] = str(CLOSING.lanes_file)
    session.env[COUNTS] = str(CLOSING.counts_file(session.name))
    session.chdir(session.create_tmp())


def refuse_skipped(session: nox.Session) -> None:
    """Fail where a lane was skipped and must not be."""
    if refused := CLOSING.refused():
        session.error(f"{REQUIRED}=require: {'; '.join(refused)}")


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest against the installed wheel."""
    leave_checkout(session)
    session.run(
        "python",
        "-m",
        "pytest",
        f"--rootdir={ROOT}",
        f"--config-file={ROOT / 'pyproject.toml'}",
        "--installed",
        *arguments,
    )
    refuse_skipped(session)


def run_folder(session: nox.Session, name: str, *requirements: str, options: tuple[str, ...] = ()) -> None:
    """Run the tests of one folder, with the arguments for pytest that the caller gave after `--`."""
    install(session, f"{built_wheel(session)}[all]", *group("test"), *requirements)
    pytest(session, str(ROOT / "tests" / name), *options, *session.posargs)


def run_outages(session: nox.Session) -> None:
    """Run the outage tests in an environment that is made and left, with the arguments that the caller gave."""
    session.run("python", "-m", "outages", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})
    refuse_skipped(session)


def add_other_distro(session: nox.Session) -> None:
    """Put another distro into a folder of its own, which a test may set before the installed packages."""
    folder = Path(session.create_tmp()).resolve() / "other-distro"
    session.install("--no-deps", "--target", str(folder), *group("other-distro"))
    session.env["TEST_OTHER_DISTRO"] = str(folder)


@nox.session(default=False, reuse_venv=True)
@lane
def wheel(session: nox.Session) -> None:
    """Build the wheel that all tests of this run use."""
    session.install(*group("build"))
    folder = session.cache_dir / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), silent=True)


@nox.session(requires=["wheel"])
@lane
def lint(session: nox.Session) -> None:
    """Check style, formatting, the layers, and that generated files are up to date."""
    session.install(f"{built_wheel(session)}[ops]", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    session.run("otelkit", "render", "--check")


@nox.session(requires=["wheel"])
@lane
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    session.install(f"{built_wheel(session)}[all]", *group("types"))
    session.run("mypy")


@nox.session(requires=["wheel"])
@lane
def unit(session: nox.Session) -> None:
    """Test each module by itself."""
    run_folder(session, "unit", options=SIDE_BY_SIDE)


@nox.session(requires=["wheel"])
@lane
def contract(session: nox.Session) -> None:
    """Test that facts with one home are the same wherever else they stand."""
    run_folder(session, "contract", options=SIDE_BY_SIDE)


@nox.session(requires=["wheel"])
@lane
def rules(session: nox.Session) -> None:
    """Test that every alert fires when it is to fire, and is silent when not; `-- -k HighErrorRate` chooses."""
    run_folder(session, "rules")


@nox.session(default=False, requires=["wheel"])
@lane
def mutation(session: nox.Session) -> None:
    """Spoil every alert, one thing at a time, and fail where no case notices; `-- http HighLatency` chooses."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    leave_checkout(session)
    session.run("python", "-m", "rules.mutation", *session.posargs, env=TESTS_AND_EXAMPLES)


@nox.session(requires=["wheel"])
@lane
def integration(session: nox.Session) -> None:
    """Test with real servers, launchers and databases."""
    add_other_distro(session)
    run_folder(session, "integration", *group("neighbours"), options=WAITING)


@nox.session(default=False, requires=["wheel"])
@lane
def celery(session: nox.Session) -> None:
    """Give 200 tasks to a worker of every sort, on both brokers: a quarter of an hour; `-- -k rabbitmq` chooses."""
    session.env["CELERY_CELLS"] = "all"
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    pytest(session, str(ROOT / "tests" / "integration" / "test_celery.py"), *session.posargs)


@nox.session(requires=["wheel"])
@lane
def e2e(session: nox.Session) -> None:
    """Test through the real Collector, Prometheus, Tempo and Loki, and take each of them away for some seconds."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    if not session.posargs:
        leave_checkout(session)
        run_outages(session)
    pytest(session, str(ROOT / "tests" / "e2e"), *WAITING, *session.posargs)


@nox.session(default=False, requires=["wheel"])
@lane
def outages(session: nox.Session) -> None:
    """Take stores and the Collector away under load: 6 minutes with `-- --full`, `-- Tempo` chooses."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    leave_checkout(session)
    run_outages(session)


@nox.session(default=False, requires=["wheel"])
@lane
def drills(session: nox.Session) -> None:
    """Break each thing that an alert watches, and follow who is told: two hours; `-- database-down` chooses."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    leave_checkout(session)
    session.run("python", "-m", "drills", *session.posargs, env=TESTS_AND_EXAMPLES)


@nox.session(requires=["wheel"])
@lane
def faults(session: nox.Session) -> None:
    """Prove the guarantees against receivers with faults; `-- --full`, `-- --kit vanilla` and `-- G4` choose."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    if not session.posargs:
        pytest(session, str(ROOT / "tests" / "faults"))
    compared = {"vanilla", "all"} & set(session.posargs)
    arguments = ["--vanilla", str(vanilla_programs(session))] if compared else []
    leave_checkout(session)
    session.run("python", "-m", "faults", *session.posargs, *arguments, env={"PYTHONPATH": str(ROOT / "tests")})
    refuse_skipped(session)


@nox.session(default=False, requires=["wheel"])
@lane
def soak(session: nox.Session) -> None:
    """Load a service for minutes while its receiver fails and its workers are recycled; `-- --minutes 30 --seed 2`."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    leave_checkout(session)
    session.run("python", "-m", "faults.soak", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})


@nox.session(requires=["wheel"])
@lane
def leaks(session: nox.Session) -> None:
    """Search what leaves services and workers for secrets; `-- --full`, `-- --kit vanilla`, `-- celery` choose."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    older = Path(session.create_tmp()).resolve() / "sqlalchemy-2.0"  # to be set before the newest, which is installed
    session.install("--no-deps", "--target", str(older), *CELLS["sqlalchemy-2.0"])
    arguments = ["--sqlalchemy-2-0", str(older)]
    if {"vanilla", "all"} & set(session.posargs):
        arguments += ["--vanilla", str(vanilla_programs(session, "vanilla-leaks"))]
    leave_checkout(session)
    session.run("python", "-m", "leaks", *session.posargs, *arguments, env={"PYTHONPATH": str(ROOT / "tests")})
    refuse_skipped(session)


@nox.session(default=False, requires=["wheel"])
@lane
def collector(session: nox.Session) -> None:
    """Build the slim Collector with Go and hold every configuration against it; `-- --update` writes its sources."""
    install(session, f"{built_wheel(session)}[all]", *group("test"))
    folder = (session.cache_dir / "collector").resolve()
    leave_checkout(session)
    tests = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "distribution", str(folder), *session.posargs, env=tests)
    program = folder / "bin" / "otelcol-contrib"
    session.log(f"the slim Collector has {program.stat().st_size / 1e6:.0f} MB: {program}")
    session.env.update({"PATH": os.pathsep.join((str(program.parent), os.environ["PATH"])), "OVERLAYS": "all"})
    names = ("contract/test_collector_programs.py", *(f"integration/test_overlays_{name}.py" for name in OVERLAYS))
    pytest(session, *(str(ROOT / "tests" / name) for name in names))


@nox.session(default=False, requires=["wheel"])
@lane
def settings(session: nox.Session) -> None:
    """Give every variable every sort of wrong value, one process each: some minutes; `-- -k BSP` chooses."""
    run_folder(session, "settings")


def vanilla_programs(session: nox.Session, requirements: str = "vanilla") -> Path:
    """Make an environment with opentelemetry-distro and the session's versions; return the folder of its programs."""
    folder = Path(session.create_tmp()).resolve() / "vanilla"
    session.run("python", "-m", "venv", "--without-pip", "--clear", str(folder))
    list_versions = (
        "from importlib.metadata import distributions as all\n"
        "print(*(f'{each.name}=={each.version}' for each in all() if each.name != 'otelkit'), sep='\\n')"
    )
    constraints = folder / "constraints.txt"
    constraints.write_text(str(session.run("python", "-c", list_versions, silent=True)), encoding="utf-8")
    python = str(folder / "bin" / "python")
    by_uv, by_pip = ("uv", "pip", "install", "--python", python), ("python", "-m", "pip", "--python", python, "install")
    installer = by_uv if session.venv_backend == "uv" else by_pip
    session.run_install(*installer, "--quiet", "--constraint", str(constraints), *group(requirements))
    return folder / "bin"


# What each cell asks for beside the newest of everything; "floor" is made of the lower bounds in pyproject.toml.
CELLS = {
    "floor": ("kombu==5.4.*",),  # of the time of that redis-py, which a newer one refuses
    "fastapi-below-native": ("fastapi==0.140.*",),
    "sqlalchemy-2.0": ("sqlalchemy==2.0.*",),
    "newest": (),
}

OVERLAYS = ("gateway", "infra", "remote", "secure")
REAL = ("configure", "launch", "sqlalchemy_postgres", "telemetry")
CORE = ("unit", "contract", *(f"integration/test_{name}.py" for name in REAL))


def floors() -> list[str]:
    """Return every requirement of the project at its lower bound."""
    declared = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    found = (
        re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement) for each in declared for requirement in each
    )
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


@nox.session(default=False, requires=["wheel"])
@nox.parametrize("cell", list(CELLS), ids=list(CELLS))
@lane
def matrix(session: nox.Session, cell: str) -> None:
    """Test the oldest supported versions, the newest, and those between at which an integration takes another way."""
    constraints = Path(session.create_tmp()) / "constraints.txt"
    pinned = [*(floors() if cell == "floor" else ()), *CELLS[cell]]
    constraints.write_text("\n".join(pinned), encoding="utf-8")
    install(session, "--constraint", str(constraints), f"{built_wheel(session)}[all]", *group("test"))
    pytest(session, *(str(ROOT / "tests" / name) for name in CORE), *session.posargs)


@nox.session(default=False, requires=["wheel"])
@lane
def demo(session: nox.Session) -> None:
    """Show real requests as stories; `-- --once` stops after the first ones."""
    install(session, f"{built_wheel(session)}[all]", "--requirement", str(ROOT / "examples" / "requirements.txt"))
    session.chdir(session.create_tmp())
    # Ctrl-C reaches the demo as well: it gets the time that stopping its processes may take.
    session.run("python", str(ROOT / "examples" / "demo.py"), *session.posargs, interrupt_timeout=15)


# What runs without otelkit in the environment: its entry points would take part in what is measured as vanilla.
VANILLA = (
    "fastapi",
    "structlog",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-instrumentation-logging",
    "opentelemetry-instrumentation-sqlalchemy",
)
# The newest that the contrib instrumentation takes, for all variants.
BENCH_SQLALCHEMY = "sqlalchemy==2.0.*"


@nox.session(default=False, requires=["wheel"])
@lane
def bench(session: nox.Session) -> None:
    """Measure what telemetry costs; `-- stall encoding instr cpu` chooses, `-- boards` is what Grafana waits for."""
    more = group("test") if "boards" in session.posargs else []
    install(session, f"{built_wheel(session)}[all]", "virtualenv", BENCH_SQLALCHEMY, *more)
    vanilla = Path(session.create_tmp()).resolve() / "vanilla"
    session.run("python", "-m", "virtualenv", "--quiet", "--clear", str(vanilla))
    python = vanilla / "bin" / "python"
    session.run(str(python), "-m", "pip", "install", "--quiet", *VANILLA, BENCH_SQLALCHEMY, external=True)
    command = ["python", str(ROOT / "bench"), "--vanilla", str(python), *session.posargs]
    session.run(*command, env=TESTS_AND_EXAMPLES if more else {})
