"""The suite of redis, in Tcl, in its mode for an external server (``--host``, ``--port``)."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.ports import free_port
from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer, installed
from suites.comparison import PASSED, Outcomes, Suite, numbered
from suites.processes import output_of
from twemproxy.protocol.redis.commands import PERMITTED_BY_DIRECTIVE

_LINE = re.compile(r"^\[(ok|err|exception)\]: (.*)$")
_MILLISECONDS = re.compile(r" \(\d+ ms\)$")
_PLACE = re.compile(r" in tests/\S+\.tcl$")
_COMPLETE = "[1/1 done]"
"""The suite prints this at the end of a file."""
_ATTEMPTS = 5
_PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark")


@contextmanager
def redis_address(through: bool) -> Iterator[tuple[str, int]]:
    """Host and port of a new redis-server, or of a proxy in front of one that allows all administrative commands."""
    with RedisServer() as server:
        if not through:
            yield server.host, server.port
            return
        allowed = f'"{" ".join(PERMITTED_BY_DIRECTIVE)}"'
        with Proxy(redis_pool(server, allow_commands=allowed, databases=16)) as proxy:
            yield "127.0.0.1", proxy.port()


def units(checkout: Path) -> list[str]:
    """The names of the test files, as the suite lists them."""
    command = ["tclsh", "tests/test_helper.tcl", "--list-tests"]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout.split()


def outcomes(output: str) -> Outcomes:
    """The results in the output of the suite."""
    results: list[tuple[str, str]] = []
    lines = iter(output.splitlines())
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        verdict, text = match.groups()
        if verdict == "ok":
            results.append((_MILLISECONDS.sub("", text), PASSED))
        elif verdict == "err":
            # "NAME in tests/FILE.tcl", then the reason on the following lines.
            results.append((_PLACE.sub("", text), next(lines, "").strip() or "failed"))
        else:
            results.append(("the whole file", f"it ended early: {text}"))
    return numbered(results)


def run(checkout: Path, unit: str, through: bool, log: Path, deadline: float) -> Outcomes:
    """Run one test file; if it ends early, run it again without the tests that have failed."""
    every: dict[str, str] = {}
    failed: list[str] = []
    for attempt in range(_ATTEMPTS):
        output = _run(checkout, unit, through, log.with_name(f"{log.name}{attempt or ''}"), deadline, failed)
        found = outcomes(output)
        if not (found or through or _COMPLETE in output):
            raise RuntimeError(f"{unit} was not run: {output}")
        # A test that has passed in one attempt counts as passed.
        every = {**every, **{name: why for name, why in found.items() if every.get(name) != PASSED}}
        news = [name for name, why in found.items() if why != PASSED and name not in failed]
        if _COMPLETE in output or not news:
            break
        failed += news
    return every


def _run(checkout: Path, unit: str, through: bool, log: Path, deadline: float, without: Sequence[str]) -> str:
    """The output of a test file without some of its tests, run in a copy: the suite writes next to its files."""
    with tempfile.TemporaryDirectory(prefix="redis-suite-") as folder, redis_address(through) as (host, port):
        copy = Path(folder)
        shutil.copytree(checkout / "tests", copy / "tests")
        (copy / "src").mkdir()
        for program in _PROGRAMS:
            (copy / "src" / program).symlink_to(installed(program))
        # --durable: an error of Tcl fails only its test, and the rest of the file is run. Tests with the tag needs:repl
        # connect as a replica, which a proxy does not allow.
        command = [
            *["tclsh", "tests/test_helper.tcl", "--host", host, "--port", str(port)],
            *["--tags", "-needs:repl", "--durable", "--single", unit],
            # The default is the same for every run, and a second run with the same base port ends at once.
            *["--baseport", str(free_port())],
            *(word for name in without for word in ("--skiptest", name)),
        ]
        return output_of(command, copy, deadline, log)


REDIS = Suite("redis", "github.com/redis/redis 7.0.15", 99.0, units, run)
