"""Clients of redis, and what is built on them, with their defaults: the jobs of ``tests/clients`` through the proxy.

Libraries have environments of their own, which ``make clients`` installs. A job is a program: with one server behind
the proxy everything in it has to work, with three some of it must be refused with an error that says what would help.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "tests" / "clients"
PYTHON_ENVIRONMENTS = ROOT / "build" / "clients" / Path(sys.prefix).name
NODE_ENVIRONMENT = ROOT / "build" / "clients" / "node"
DEADLINE = 50
"""Seconds after which a job counts as hanging; pytest's own are 60."""


class Job(NamedTuple):
    """A program of ``tests/clients``."""

    name: str
    program: str
    environments: Sequence[str]
    """Where its libraries are; the first one wins. A job in JavaScript has none, there is one for all of them."""
    arguments: Sequence[str] = ()
    says: str = ""
    """What its output contains."""


ALL = [
    Job("redis-py 5", "redis_py.py", ["redis-5"], says="redis 5."),
    Job("redis-py 6", "redis_py.py", ["redis-6"], says="redis 6."),
    Job("hiredis", "redis_py.py", ["hiredis", "redis-8"], says="_HiredisParser"),
    Job("redis-py 8", "redis_py.py", ["redis-8"], says="redis 8."),
    Job("valkey-py", "redis_py.py", ["redis-8"], ["valkey"], says="valkey 6."),
    Job("walrus", "walrus_containers.py", ["redis-8"]),
    Job("rq", "rq_jobs.py", ["redis-8"]),
    Job("celery", "celery_worker.py", ["redis-8"]),
    Job("django-redis", "django_cache.py", ["redis-8"]),
    Job("limits", "limits_strategies.py", ["redis-8"]),
    Job("ioredis", "ioredis.js", []),
    Job("node-redis", "node_redis.js", []),
]
PREFIXES = {"rq": {"RQ_KEY_PREFIX": "{rq}"}, "celery": {"PREFIX": "{celery}"}}
"""Settings that give every key of a library one hash tag, as its job reads them."""


@pytest.fixture(scope="module")
def one_server(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    with Proxy(redis_pool(running_servers[0], hash_tag='"{}"', allow_commands="flushdb keys")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def three_servers(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    with Proxy(redis_pool(*running_servers, hash_tag='"{}"')) as proxy:
        yield proxy


def installed(environment: Path) -> str:
    """The path of an environment; AssertionError when it is not complete."""
    assert (environment / ".done").exists(), f"no client libraries in {environment}: run make clients"
    return str(environment)


def run(job: Job, proxy: Proxy, servers: int, settings: Mapping[str, str] | None = None) -> None:
    """Run a job to its end; AssertionError with its output when it fails."""
    if job.environments:
        # Without site-packages, so that nothing of this environment stands in for what is missing in the job's own.
        interpreter = [sys.executable, "-S"]
        libraries = os.pathsep.join(installed(PYTHON_ENVIRONMENTS / name) for name in job.environments)
    else:
        interpreter = ["node"]
        libraries = str(Path(installed(NODE_ENVIRONMENT)) / "node_modules")
    paths = {"PYTHONPATH": libraries, "NODE_PATH": libraries}
    process = subprocess.Popen(
        [*interpreter, str(JOBS / job.program), "127.0.0.1", str(proxy.port()), str(servers), *job.arguments],
        # The libraries are installed without bytecode: the first job to import one writes it for the others.
        env={**os.environ, **paths, "PYTHONDONTWRITEBYTECODE": "", **(settings or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    hangs = False
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        hangs = True
    finally:
        # It may have started programs of its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if hangs:
        output, _ = process.communicate()
    assert not hangs, f"{job.name} had not ended after {DEADLINE} s:\n{output}"
    assert process.returncode == 0, f"{job.name} ended with status {process.returncode}:\n{output}"
    assert job.says in output


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_with_three_servers(job: Job, three_servers: Proxy, servers: list[RedisServer]) -> None:
    run(job, three_servers, 3)


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_with_one_server(job: Job, one_server: Proxy, servers: list[RedisServer]) -> None:
    run(job, one_server, 1)


@pytest.mark.parametrize("job", [job for job in ALL if job.name in PREFIXES], ids=lambda job: job.name)
def test_with_three_servers_and_one_hash_tag(job: Job, three_servers: Proxy, servers: list[RedisServer]) -> None:
    run(job, three_servers, 3, PREFIXES[job.name])
    in_use = [server for server in servers if server.ask("DBSIZE") != b":0\r\n"]
    assert len(in_use) == 1
