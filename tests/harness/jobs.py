"""Runs the programs of ``tests/clients``, called jobs, as ``job HOST PORT SERVERS ARGUMENT...``."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.proxy import ServedPools
from twemproxy.demo.processes import Process

_ROOT = Path(__file__).parents[2]
JOBS = _ROOT / "tests" / "clients"
_INSTALLED = _ROOT / "build" / "clients"
_PYTHON_ENVIRONMENTS = _INSTALLED / Path(sys.prefix).name
_NODE_ENVIRONMENT = _INSTALLED / "node"
_COMPILED = _INSTALLED / "compiled"
_JARS = ("spymemcached", "slf4j-api", "slf4j-simple")
DEADLINE = 50
"""Seconds after which a job counts as hanging; pytest's own timeout is 60."""

_INTERPRETERS = {
    ".erl": ["escript"],
    ".java": ["java", "-cp", ":".join(f"/usr/share/java/{jar}.jar" for jar in _JARS)],
    ".js": ["node"],
    ".lua": ["lua5.1"],
    ".php": ["php"],
    ".pl": ["perl"],
    # Without site-packages: a library that is missing in the job's own environment must not come from this one.
    ".py": [sys.executable, "-S"],
    ".rb": ["ruby"],
}
"""Interpreters by the suffix of the program; programs with other suffixes are compiled."""


class Job(NamedTuple):
    """A program of ``tests/clients``."""

    name: str
    program: str
    environments: Sequence[str] = ()
    """For a job in Python: the environments with its libraries; the first one has precedence."""
    arguments: Sequence[str] = ()
    says: str = ""
    """A text that the job's output must contain."""


def run(
    job: Job, proxy: ServedPools, servers: int, settings: Mapping[str, str] | None = None, *, port: int = 0
) -> None:
    """Run a job to its end; AssertionError with its output if it fails.

    ``servers``: the number of servers of the pool. ``settings``: additional environment variables. ``port``: where the
    job finds the proxy; 0: at the port of the proxy.
    """
    with Process(
        [*_command(job), "127.0.0.1", str(port or proxy.port()), str(servers), *job.arguments],
        proxy.directory / f"{job.name}.log",
        # The libraries are installed without bytecode: the first job to import one writes it for the others.
        environment={**os.environ, **_paths(job), "PYTHONDONTWRITEBYTECODE": "", **(settings or {})},
    ) as process:
        hangs = not process.wait_ended(DEADLINE)
        # The job may have started processes of its own.
        process.kill_group()
    output = process.output()
    assert not hangs, f"{job.name} had not ended after {DEADLINE} s:\n{output}"
    assert process.returncode == 0, f"{job.name} ended with status {process.returncode}:\n{output}"
    assert job.says in output


def _installed(environment: Path) -> str:
    """The path of an environment; AssertionError if it is not complete."""
    assert (environment / ".done").exists(), f"no client libraries in {environment}: run make clients"
    return str(environment)


def _command(job: Job) -> list[str]:
    program = JOBS / job.program
    if program.suffix in _INTERPRETERS:
        return [*_INTERPRETERS[program.suffix], str(program)]
    compiled = _COMPILED / program.stem
    assert compiled.exists(), f"{compiled} is not there: run make clients, or make languages"
    return [str(compiled)]


def _paths(job: Job) -> dict[str, str]:
    """The environment variables that say where libraries are."""
    if job.program.endswith(".js"):
        return {"NODE_PATH": str(Path(_installed(_NODE_ENVIRONMENT)) / "node_modules")}
    return {"PYTHONPATH": os.pathsep.join(_installed(_PYTHON_ENVIRONMENTS / name) for name in job.environments)}
