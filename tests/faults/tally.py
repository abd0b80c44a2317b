"""What the clients of a load have seen."""

from collections import Counter
from collections.abc import Collection

from faults.ledger import Violation

SHOWN = 20
"""Violations of which the text is kept."""

ROAMING = -1
"""Stands for the shard of clients whose keys are everywhere."""

Errors = Counter[tuple[str, frozenset[int]]]
"""How often which text was the answer to a request for which shards."""

Latencies = dict[int, list[float]]
"""Seconds from sending a pipeline to its last reply, by the shard that the client's keys are on."""


class Tally:
    """Counts; written by the thread of the load, read by others."""

    def __init__(self) -> None:
        self.answered = 0
        """Replies, errors included."""
        self.failed = 0
        """Errors among them."""
        self.violations: Counter[str] = Counter()
        self.shown: list[str] = []
        self._errors: Errors = Counter()
        self._latencies: Latencies = {}

    def violation(self, found: Violation) -> None:
        """Something came that must not."""
        self.violations[found.kind] += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{found.kind}: {found.text}")

    def error(self, text: bytes, shards: frozenset[int]) -> None:
        """A request for those shards was answered with an error."""
        self.failed += 1
        self._errors[text.decode(errors="replace"), shards] += 1

    def latency(self, shard: int, seconds: float) -> None:
        """A pipeline was answered."""
        self._latencies.setdefault(shard, []).append(seconds)

    @property
    def errors_so_far(self) -> int:
        """How many errors have come since they were taken."""
        return self._errors.total()

    def take_errors(self) -> Errors:
        """The errors since the last time."""
        taken, self._errors = self._errors, Counter()
        return taken

    def take_latencies(self) -> Latencies:
        """The latencies since the last time."""
        taken, self._latencies = self._latencies, {}
        return taken

    def report(self) -> str:
        """The violations in words; empty when there are none."""
        return "\n".join([f"{dict(self.violations)}", *self.shown]) if self.violations else ""


def elsewhere(errors: Errors, shards: Collection[int]) -> Errors:
    """The errors of requests that had nothing to do with those shards."""
    return Counter({key: count for key, count in errors.items() if not key[1] & set(shards)})


def texts(errors: Errors) -> dict[str, int]:
    """How often which text came."""
    found: Counter[str] = Counter()
    for (text, _), count in errors.items():
        found[text] += count
    return dict(found)
