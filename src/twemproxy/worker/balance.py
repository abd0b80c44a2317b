"""Moves clients of this worker to others that have less work. Plain Python.

Each worker compares its recent work with that of the others while it has some. The one with the most work, if that is
clearly more than the mean, counts the requests of each of its clients for a second. Then it hands clients over, each
between two of its requests, until its work would be about the mean, and no client to a worker that would then have more
work than this one has left. A client in a transaction, with subscriptions, or blocked stays.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from twemproxy.worker.handing import send
from twemproxy.worker.inbox import Outbox

LOOKS: Final = 5
"""Publications of the work, which are 0.2 s apart, between two looks at that of all workers."""
UNEVEN: Final = 1.1
"""A worker with more than UNEVEN times the mean gives clients away."""
LEAST_EXCESS: Final = 20
"""Requests per second above the mean that are worth a move."""


class Balance:
    """What this worker does so that all have about the same work."""

    def __init__(self, data_plane: Any, worker: int, outboxes: Callable[[], Mapping[int, Outbox]]) -> None:
        """``data_plane``: a ``worker.data_plane.DataPlane``. ``worker``: the number of this worker.

        ``outboxes``: returns those of workers by their numbers.
        """
        self._data_plane = data_plane
        self._number = worker
        self._outboxes = outboxes
        self._looks = 0
        self._counts = False
        self._targets: dict[tuple[int, int], int] = {}
        self._moving: Any = None
        data_plane.placement.on_published = self.look

    def look(self) -> None:
        """The work of this worker was published."""
        self._looks += 1
        if self._looks % LOOKS:
            return
        if self._moving is not None:
            # Those that are still here have not let go for a second.
            self._moving.stop()
            self._moving = None
        works = self._data_plane.placement.works()
        own = works.pop(0, 0)
        excess = own - (own + sum(works.values())) / (1 + len(works))
        if not works or own < max(works.values()) or excess < max(LEAST_EXCESS, (UNEVEN - 1) * (own - excess)):
            self._counts = False
            return
        counted = self._data_plane.count_work()
        if not self._counts:
            # These are the requests since the clients were accepted.
            self._counts = True
            return
        self._counts = False
        self._move(choose(counted, own, excess, works))

    def _move(self, moves: list[tuple[Any, int]]) -> None:
        """Hand clients over. ``moves``: (client, number of the worker that gets it)."""
        if moves:
            self._targets = {(client.slot(), client.number()): worker for client, worker in moves}
            self._moving = self._data_plane.move([client for client, _ in moves], self._give)

    def _give(self, fd: int, pool: Any, state: dict[str, Any]) -> bool:
        """Send a client; False if that is not possible now."""
        outbox = self._outboxes().get(self._targets[pool.slot, state["number"]])
        if outbox is None or not send(outbox, self._number, fd, pool, state):
            return False
        self._data_plane.count_moved()
        return True


def choose(counted: list[tuple[Any, int]], own: float, excess: float, works: dict[int, float]) -> list[tuple[Any, int]]:
    """The clients that move, each with the number of the worker that gets it.

    ``counted``: clients with their requests per second. ``own``: the work of this worker. ``excess``: how much of it is
    above the mean. ``works``: the work of each other worker; the function adds that of the clients.
    """
    moves = []
    for client, work in sorted(counted, key=lambda each: each[1], reverse=True):
        target = min(works, key=works.__getitem__)
        if work > excess or works[target] + work >= own - work:
            continue
        moves.append((client, target))
        works[target] += work
        own -= work
        excess -= work
    return moves
