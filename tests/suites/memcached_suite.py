"""The suite of memcached, in Perl. Its tests start their own servers, with their own options.

The tests run the program ``memcached-debug``. Directly this is memcached itself, otherwise it is a program that starts
memcached on a unix socket, and a proxy on the address that the test uses (``memcached_with_proxy``).
"""

import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from harness.proxy import environment
from harness.servers import installed
from suites.comparison import PASSED, Outcomes, Suite, numbered
from suites.processes import output_of

_RESULT = re.compile(r"^(ok|not ok) \d+(?: - (.*))?$")
_DIAGNOSIS = re.compile(r"^#\s+(got|expected): (.*)$")
_NUMBER_OF_PROCESS = re.compile(r"memcachetest\d+")
_RANDOM_DATA = re.compile(r"[A-Z]{64,}")
"""Random data differs in each run and is part of some test names."""
_WITH_PROXY = Path(__file__).with_name("memcached_with_proxy.py")


def units(checkout: Path) -> list[str]:
    """The names of the test files."""
    return sorted(path.name for path in (checkout / "t").glob("*.t"))


def outcomes(output: str) -> Outcomes:
    """The results in an output of the Test Anything Protocol, with the diagnosis of the tests that failed."""
    results: list[tuple[str, str]] = []
    for line in output.splitlines():
        if match := _RESULT.match(line):
            verdict, name = match.groups()
            name = _NUMBER_OF_PROCESS.sub("memcachetest", name or "without a name")
            name = _RANDOM_DATA.sub("random data", name)
            results.append((name, PASSED if verdict == "ok" else "failed"))
        elif (match := _DIAGNOSIS.match(line)) and results and results[-1][1] != PASSED:
            name, why = results[-1]
            results[-1] = (name, f"{why}, {match[1]} {match[2]}")
    return numbered(results)


def run(checkout: Path, unit: str, through: bool, log: Path, deadline: float) -> Outcomes:
    """Run one test file in a folder with links to the files of the checkout, where the test finds its programs."""
    with tempfile.TemporaryDirectory(prefix="memcached-suite-") as folder:
        place = Path(folder)
        for path in checkout.iterdir():
            (place / path.name).symlink_to(path)
        server = shlex.quote(installed("memcached"))
        if through:
            server = f"{shlex.quote(sys.executable)} {shlex.quote(str(_WITH_PROXY))} {server}"
        # The suboption belongs to memcached's debugging build; the tests give it to every server.
        _program(place / "memcached-debug", f"exec {server} $(echo \"$*\" | sed 's/-o relaxed_privileges//')")
        # memcached's timedrun ends a server that has run too long; here the server ends with the test file.
        _program(place / "timedrun", 'shift; exec "$@"')
        return outcomes(output_of(["perl", f"t/{unit}"], place, deadline, log, environment()))


def _program(path: Path, line: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    os.chmod(path, 0o755)


MEMCACHED = Suite("memcached", "github.com/memcached/memcached 1.6.18", 99.8, units, run)
