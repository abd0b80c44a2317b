"""What the clients of a load have observed."""

from collections import Counter
from collections.abc import Collection

from faults.ledger import Violation

SHOWN = 20
"""The number of violations whose text is kept."""

ROAMING = -1
"""Stands for the shard of clients whose keys are on all servers."""

Errors = Counter[tuple[str, frozenset[int]]]
"""The number of errors by text and by the shards of the request."""

Latencies = dict[int, list[float]]
"""Seconds from sending a pipeline to its last reply, by the shard of the client's keys."""


class Tally:
    """Counts, which the thread of the load writes and other threads read."""

    def __init__(self) -> None:
        self.answered = 0
        """Replies, including errors."""
        self.failed = 0
        """Error replies."""
        self.violations: Counter[str] = Counter()
        self.shown: list[str] = []
        self._errors: Errors = Counter()
        self._latencies: Latencies = {}

    def violation(self, found: Violation) -> None:
        """Record a violation."""
        self.violations[found.kind] += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{found.kind}: {found.text}")

    def error(self, text: bytes, shards: frozenset[int]) -> None:
        """Record an error reply to a request for these shards."""
        self.failed += 1
        self._errors[text.decode(errors="replace"), shards] += 1

    def latency(self, shard: int, seconds: float) -> None:
        """Record the time of an answered pipeline."""
        self._latencies.setdefault(shard, []).append(seconds)

    @property
    def errors_so_far(self) -> int:
        """The number of errors since the last ``take_errors``."""
        return self._errors.total()

    def take_errors(self) -> Errors:
        """The errors since the last call."""
        taken, self._errors = self._errors, Counter()
        return taken

    def take_latencies(self) -> Latencies:
        """The latencies since the last call."""
        taken, self._latencies = self._latencies, {}
        return taken

    def report(self) -> str:
        """A description of the violations; empty if there are none."""
        return "\n".join([f"{dict(self.violations)}", *self.shown]) if self.violations else ""


def elsewhere(errors: Errors, shards: Collection[int]) -> Errors:
    """The errors of requests for none of these shards."""
    return Counter({key: count for key, count in errors.items() if not key[1] & set(shards)})


def texts(errors: Errors) -> dict[str, int]:
    """The number of errors by text."""
    found: Counter[str] = Counter()
    for (text, _), count in errors.items():
        found[text] += count
    return dict(found)
