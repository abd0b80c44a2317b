"""What commands ask the other workers of the proxy, and what they tell them.

Plain Python. Each worker has its own clients of a pool, so a command about clients asks every worker. A
*question* and a *notice* have a name, and arguments; ``protocol.redis.for_other_workers`` has the tables of both. The
rows of an answer are pairs of a number and bytes, whose meaning depends on the question. ``worker.questions`` carries
all of it.
"""

from collections.abc import Generator, Sequence
from typing import Any, Final, Protocol

Row = tuple[int, bytes]
Rows = Sequence[Row]

CHANNELS: Final = "channels"
"""The question whether channels are where the asking worker has them, see ``upstream.agreement``."""


class Question(Protocol):
    """A question to the other workers."""

    done: bool
    """Whether no more rows come; if not, the client is woken when that is so."""
    rows: list[Row]
    """The rows of all workers so far."""

    def wake_too(self, client: Any) -> None:
        """Wake this client, too, which wants the same answer; ``end`` may not be called then."""

    def end(self) -> None:
        """No more rows are wanted, and the client is not woken any more."""


class OtherWorkers(Protocol):
    """The same pool in the other workers."""

    def are_there(self) -> bool:
        """Whether there are other workers."""

    def ask(self, what: str, arguments: Sequence[bytes], client: Any) -> Question:
        """Ask all of them, and wake ``client`` when all have answered, or have been silent for too long."""

    def tell(self, what: str, arguments: Sequence[bytes]) -> None:
        """Send a notice to all of them. One whose inbox is full may miss it."""

    def tell_audiences(self, topics: Sequence[tuple[str, bytes, int, int]], anew: bool) -> None:
        """Tell all of them about the topics of this worker, see ``upstream.audiences``."""


class _Nothing:
    """The answer of no worker."""

    done = True

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def wake_too(self, client: Any) -> None:
        """Does nothing."""

    def end(self) -> None:
        """Does nothing."""


class NoOtherWorkers:
    """There are no other workers."""

    def are_there(self) -> bool:
        """There are none."""
        return False

    def ask(self, what: str, arguments: Sequence[bytes], client: Any) -> Question:
        """A question that is done."""
        return _Nothing()

    def tell(self, what: str, arguments: Sequence[bytes]) -> None:
        """Does nothing."""

    def tell_audiences(self, topics: Sequence[tuple[str, bytes, int, int]], anew: bool) -> None:
        """Does nothing."""


NO_OTHER_WORKERS = NoOtherWorkers()


def rows_of(question: Question) -> Generator[bytes | None, None, list[Row]]:
    """The rows of all workers for a client's request, see ``protocol.plan.Steps``."""
    try:
        while not question.done:
            yield None
        return question.rows
    finally:
        question.end()
