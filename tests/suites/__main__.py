"""``make suites SUITES=FOLDER``: run the suites in the folder and print which tests fail only through the proxy."""

import argparse
import sys
import time
from pathlib import Path

from suites.comparison import Comparison, Suite
from suites.left_out import LEFT_OUT
from suites.memcached_suite import MEMCACHED
from suites.redis_py_suite import REDIS_PY
from suites.redis_suite import REDIS
from twemproxy.demo.processes import end_on_signals

SUITES = (REDIS, MEMCACHED, REDIS_PY)
_DEADLINE = 600
"""Seconds that one test file may take without the proxy."""
_REPORTS = Path(__file__).parents[2] / "build" / "suites"


def run(suite: Suite, checkout: Path, only: str) -> Comparison:
    """Run the test files of a suite one after the other, each directly and through the proxy."""
    comparison = Comparison(LEFT_OUT[suite.name])
    for unit in suite.units(checkout):
        if (only and only != unit) or comparison.is_left_out(unit):
            continue
        log = _REPORTS / suite.name / unit.replace("/", "-")
        began = time.monotonic()
        direct = suite.run(checkout, unit, False, log.with_suffix(".direct"), _DEADLINE)
        took = time.monotonic() - began
        # A test that gets no reply would wait for ever.
        through = suite.run(checkout, unit, True, log.with_suffix(".proxy"), 60 + 3 * took) if direct else {}
        misses = comparison.add(unit, direct, through)
        print(f"  {unit}: {len(direct)} tests, {len(misses)} misses, {time.monotonic() - began:.0f} s", flush=True)
    return comparison


def report(suite: Suite, comparison: Comparison) -> Path:
    """Write the figures and the misses of a suite to a file; returns its path."""
    _REPORTS.mkdir(parents=True, exist_ok=True)
    path = _REPORTS / f"{suite.name}.txt"
    ignored = [f"{count} do not count: {reason}" for reason, count in comparison.ignored.most_common()]
    path.write_text("\n".join([comparison.summary(), *ignored, "", *map(str, comparison.misses)]) + "\n")
    return path


def main() -> int:
    """Run the suites; the exit status is 0 when every suite reaches its bound."""
    parser = argparse.ArgumentParser(prog="make suites", description=__doc__)
    parser.add_argument("folder", type=Path, help="has a checkout of each suite, in a folder of the suite's name")
    parser.add_argument("--suite", choices=[suite.name for suite in SUITES], help="this suite only")
    parser.add_argument("--only", default="", metavar="UNIT", help="this test file only")
    arguments = parser.parse_args()
    end_on_signals()
    status = 0
    for suite in SUITES:
        if arguments.suite not in (None, suite.name):
            continue
        checkout = arguments.folder.resolve() / suite.name
        if not checkout.is_dir():
            parser.error(f"{checkout} is not there: it should be a checkout of {suite.source}")
        print(f"{suite.name} ({suite.source})", flush=True)
        comparison = run(suite, checkout, arguments.only)
        for miss in comparison.misses:
            print(miss)
        enough = comparison.percentage >= suite.bound
        verdict = "enough" if enough else "too few"
        print(f"{suite.name}: {comparison.summary()}, {verdict} (bound {suite.bound} %)")
        print(f"  {report(suite, comparison)}")
        status |= not enough
    return status


if __name__ == "__main__":
    sys.exit(main())
