"""How this worker passes clients to other workers, and takes those that come. Plain Python."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from twemproxy import log
from twemproxy.ipc import descriptors
from twemproxy.ipc.inbox import Accepted, Handed
from twemproxy.worker.inbox import Outbox

NO_FILES = "the worker can open no more files"

_logger = log.get_logger(__name__)


def send(outbox: Outbox, worker: int, fd: int, pool: Any, state: dict[str, Any]) -> bool:
    """Send a client to another worker; returns False if that is not possible now.

    ``worker``: the number of this worker. For the others see ``downstream.handover``.
    """
    return outbox.send(Handed(worker, pool.slot, pool.config.name, pool.config.redis, state), [fd])


class Giver:
    """Hands all clients of a data plane over."""

    def __init__(
        self,
        data_plane: Any,
        worker: int,
        outboxes: Mapping[int, Outbox],
        to: Sequence[int],
        number: int,
        timeout: float,
    ) -> None:
        """Begin. ``data_plane``: a ``worker.data_plane.DataPlane``. ``outboxes``: of workers, by their numbers.

        ``worker``: the number of this worker. ``to``, ``number``, ``timeout``: as in ``ipc.messages.HandOver``.
        """
        self._data_plane = data_plane
        self._number = worker
        self._outboxes = {worker: outboxes[worker] for worker in to}
        for outbox in self._outboxes.values():
            outbox.on_room = self._on_room
        self._handover = data_plane.hand_over(self._give, number, timeout)

    def _give(self, fd: int, pool: Any, state: dict[str, Any]) -> bool:
        """Send a client; False if no worker can take it now."""
        worker = self._data_plane.placement.least_busy(tuple(self._outboxes))
        sent = send(self._outboxes[worker], self._number, fd, pool, state)
        self._look()
        return sent

    def _on_room(self) -> None:
        self._look()
        self._handover.go_on()

    def _look(self) -> None:
        """Something may be sent, or not."""
        self._handover.unsent = not all(outbox.is_empty() for outbox in self._outboxes.values())


class Taker:
    """Takes the clients that other workers pass into a data plane."""

    def __init__(self, data_plane: Any, worker: int) -> None:
        """``data_plane``: a ``worker.data_plane.DataPlane``. ``worker``: the number of this worker."""
        self._data_plane = data_plane
        self._number = worker
        self._early: list[tuple[int, int]] = []
        self._names: dict[str, Any] = {}

    def expect_former(self) -> None:
        """The former process of this worker hands its clients over, and knows the pools by their present names."""
        self._names = {pool.config.name: pool for pool in self._data_plane.pools}

    def take_accepted(self, message: Accepted, carried: Sequence[int]) -> None:
        """Serve new clients."""
        for slot, fd in zip(message.pools, carried, strict=False):
            if fd == descriptors.LOST:
                _logger.warning("a new client is closed: %(reason)s", {"reason": NO_FILES})
            elif not self._data_plane.take_accepted(slot, fd):
                # The sender has another configuration already, or still.
                self._early.append((slot, fd))

    def take_early(self) -> None:
        """Another configuration is served now: serve the clients that came before it."""
        early, self._early = self._early, []
        for slot, fd in early:
            if not self._data_plane.take_accepted(slot, fd):
                _logger.warning("a new client is closed: its pool is not served any more")
                os.close(fd)

    def take_handed(self, message: Handed, carried: Sequence[int]) -> None:
        """Go on with a client."""
        [fd] = carried
        if fd == descriptors.LOST:
            _logger.warning(
                "a client of the pool '%(pool)s' is closed: %(reason)s", {"pool": message.pool, "reason": NO_FILES}
            )
            return
        pool = self._pool_of(message)
        if pool is None:
            _logger.warning(
                "a client of the pool '%(pool)s' is closed, which is not served any more", {"pool": message.pool}
            )
            os.close(fd)
        else:
            self._data_plane.adopt(pool, fd, message.state)

    def _pool_of(self, message: Handed) -> Any:
        """The pool in which a client goes on, which may be retired; None if there is none."""
        pools = [*self._data_plane.pools, *self._data_plane.retired]
        if message.worker == self._number:
            # It comes from the former process, which may be of another version, with other slots. Or it comes back: the
            # worker to which it was handed has left before it took it.
            named = self._names.get(message.pool)
            pools = [
                pool
                for pool in pools
                if pool is named or (pool.slot == message.slot and pool.config.name == message.pool)
            ]
        else:
            pools = [pool for pool in pools if pool.slot == message.slot]
        session = message.state["session"]
        for pool in pools:
            if pool.config.redis == message.redis and (session is None or pool.has_database(session["database"])):
                return pool
        return None
