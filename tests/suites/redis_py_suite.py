"""The suite of redis-py, in pytest: its tests of common features, synchronous and asyncio."""

import os
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from suites.comparison import PASSED, Outcomes, Suite, numbered
from suites.left_out import LEFT_OUT
from suites.processes import output_of
from suites.redis_suite import redis_address

_SUBJECTS = (
    *("commands", "pipeline", "pubsub", "lock", "scripting", "encoding", "hash", "function"),
    *("keyspace_notifications", "connection_pool"),
)
LIBRARIES = Path(__file__).parents[2] / "build" / "suites" / "libraries"
"""The packages that the tests need, pytest included; ``make suites`` installs them."""


def units(checkout: Path) -> list[str]:
    """The test files of these subjects that exist; for functions there is no asyncio file."""
    paths = (f"{folder}/test_{subject}.py" for folder in ("tests", "tests/test_asyncio") for subject in _SUBJECTS)
    return [path for path in paths if (checkout / path).exists()]


def outcomes(report: Path) -> Outcomes:
    """The results in a JUnit report of pytest, without skipped tests."""
    results: list[tuple[str, str]] = []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        if case.find("skipped") is not None:
            continue
        trouble = case.find("failure")
        if trouble is None:
            trouble = case.find("error")
        why = PASSED if trouble is None else (trouble.get("message") or "failed").splitlines()[0]
        results.append((name, why))
    return numbered(results)


def run(checkout: Path, unit: str, through: bool, log: Path, deadline: float) -> Outcomes:
    """Run one test file with the redis-py of the checkout."""
    with tempfile.TemporaryDirectory(prefix="redis-py-suite-") as folder, redis_address(through) as (host, port):
        report = Path(folder) / "report.xml"
        command = [
            *[sys.executable, "-S", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"],
            *[f"--redis-url=redis://{host}:{port}/0", unit],
            # These tests are not run, because they would change the outcomes of other tests.
            *[f"--deselect={unit}::{row.test}" for row in LEFT_OUT["redis-py"] if row.unit == unit],
        ]
        paths = os.pathsep.join([str(checkout), str(LIBRARIES)])
        output_of(command, checkout, deadline, log, {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"})
        return outcomes(report) if report.exists() else {}


REDIS_PY = Suite("redis-py", "github.com/redis/redis-py 8.1.0", 97.0, units, run)
