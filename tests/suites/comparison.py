"""Two runs of the same tests, one against a server and one through the proxy, and how many tests pass in both."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

PASSED = ""

Outcomes = Mapping[str, str]
"""By test name: ``PASSED``, or one line with the reason for the failure. Skipped tests are not included."""

NOT_RUN = "not run: its file ended early"


class Suite(NamedTuple):
    """The tests of another project."""

    name: str
    """The name on the command line and of the folder with the checkout."""
    source: str
    """Repository and version."""
    bound: float
    """The percentage of the tests that pass directly which must pass through the proxy."""
    units: Callable[[Path], Sequence[str]]
    """The names of the test files in a checkout."""
    run: Callable[[Path, str, bool, Path, float], Outcomes]
    """Runs one test file of the checkout. Further arguments: whether through the proxy, a file for the output, and
    the seconds after which the run is killed."""


class LeftOut(NamedTuple):
    """Tests that do not count, because they test something that a proxy does not do."""

    unit: str
    """Name of the test file; ``*`` and ``?`` match as in the shell."""
    test: str
    """Name of the test, with the same wildcards. With ``*`` the file is not run at all."""
    reason: str


class Miss(NamedTuple):
    """A test that passes directly and fails through the proxy."""

    unit: str
    test: str
    why: str

    def __str__(self) -> str:
        return f"{self.unit}: {self.test}\n    {self.why}"


def numbered(results: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The outcomes in the order of the run; the second test with the same name gets the suffix `` #2``, and so on."""
    seen: Counter[str] = Counter()
    outcomes = {}
    for name, why in results:
        seen[name] += 1
        outcomes[name if seen[name] == 1 else f"{name} #{seen[name]}"] = why
    return outcomes


class Comparison:
    """The counts of a suite."""

    def __init__(self, left_out: Sequence[LeftOut]) -> None:
        self._left_out = left_out
        self.direct = 0
        """The number of tests that pass directly and count."""
        self.ignored: Counter[str] = Counter()
        """The number of tests that pass directly and do not count, by reason."""
        self.misses: list[Miss] = []

    def is_left_out(self, unit: str) -> str:
        """The reason why the whole file is left out; empty if the file is run."""
        return next((row.reason for row in self._left_out if row.test == "*" and fnmatchcase(unit, row.unit)), "")

    def add(self, unit: str, direct: Outcomes, through: Outcomes) -> list[Miss]:
        """Count the two runs of a test file; returns its misses."""
        misses = []
        for test, why in direct.items():
            if why != PASSED:
                continue
            reason = self._reason(unit, test)
            if reason:
                self.ignored[reason] += 1
                continue
            self.direct += 1
            missed = through.get(test, NOT_RUN)
            if missed != PASSED:
                misses.append(Miss(unit, test, missed))
        self.misses += misses
        return misses

    @property
    def percentage(self) -> float:
        """The percentage of the tests that pass directly which also pass through the proxy."""
        return 100 * (self.direct - len(self.misses)) / self.direct if self.direct else 0.0

    def summary(self) -> str:
        """One line with the figures."""
        passed = self.direct - len(self.misses)
        return f"{self.direct} tests pass directly, {passed} of them through the proxy: {self.percentage:.2f} %"

    def _reason(self, unit: str, test: str) -> str:
        return next(
            (row.reason for row in self._left_out if fnmatchcase(unit, row.unit) and fnmatchcase(test, row.test)), ""
        )
