"""From a configuration to the pools of a data plane: at the start, and at each reload. Plain Python.

A reload has two steps: ``Update`` builds what the new configuration needs beside what serves clients, and its
``commit`` puts all of it in place between two turns of the event loop.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from twemproxy.config.changes import former_names
from twemproxy.config.pools import Address, Config, PoolConfig
from twemproxy.ipc.messages import PoolSlots
from twemproxy.protocol.codec import Codec
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.stats.counters import CounterTable
from twemproxy.upstream.server_pool import FIXED

WARM_UP_TIME: Final = 1_000_000
"""Microseconds that new servers have to accept a connection before an update is ready without them."""


def codec_of(pool: PoolConfig) -> Codec:
    """Return the codec for the pool's protocol."""
    if pool.redis:
        return RedisCodec(pool.allow_commands, pool.deny_commands)
    return MemcacheCodec(pool.allow_commands)


def can_become(pool: Any, config: PoolConfig) -> bool:
    """Whether a running pool can take over this configuration; otherwise another pool has to take its place."""
    return all(getattr(pool.config, name) == getattr(config, name) for name in FIXED)


class Update:
    """A configuration that is prepared beside the one that a data plane serves."""

    def __init__(
        self,
        data_plane: Any,
        served: Config,
        config: Config,
        slots: Sequence[PoolSlots],
        table: CounterTable,
        resolver: Any,
    ) -> None:
        """Prepare ``config`` for a ``worker.data_plane.DataPlane``. ``served``: the configuration in use.

        ``slots``: of each pool of ``config``, its counters in ``table``. ``resolver``: see ``upstream.addresses``.
        Raises ValueError if it cannot be served.
        """
        self.config = config
        self._data_plane = data_plane
        self._pools: list[Any] = []
        self._new: list[Any] = []
        self._updates: list[tuple[Any, Any]] = []
        self._cold: set[Any] = set()
        self._on_ready: Callable[[], None] | None = None
        self._timer = data_plane.timer(self._warm_up_ended)
        running = {pool.config.name: pool for pool in data_plane.pools}
        former = former_names(served, config)
        for pool_config, pool_slots in zip(config.pools, slots, strict=True):
            present = running.get(former.get(pool_config.name, ""))
            if present is None or not can_become(present, pool_config):
                pool = data_plane.new_pool(pool_config, codec_of(pool_config), table, pool_slots, resolver)
                if present is not None:
                    pool.clients_seen = present.clients_seen
                self._new.append(pool)
                self._pools.append(pool)
            else:
                self._prepare(present, pool_config, pool_slots)
                self._pools.append(present)
            for retired in data_plane.retired:
                # Its clients stay where their keys are, unless the name now belongs to a pool of the other protocol.
                if retired.config.name == pool_config.name and retired.config.redis == pool_config.redis:
                    kept = {name: getattr(retired.config, name) for name in FIXED}
                    self._prepare(retired, msgspec.structs.replace(pool_config, **kept), pool_slots)

    def _prepare(self, pool: Any, config: PoolConfig, slots: PoolSlots) -> None:
        if config != pool.config:
            self._updates.append((pool, pool.prepare(config, slots)))

    def warm_up(self, on_ready: Callable[[], None]) -> None:
        """Open a connection to each server that running pools get; then call ``on_ready``.

        A server that does not accept the connection within WARM_UP_TIME delays nothing.
        """
        self._on_ready = on_ready
        servers = [server for _, update in self._updates for server in update.added.values()]
        self._cold = {server.connections[0] for server in servers}
        for connection in list(self._cold):
            connection.on_status = partial(self._opened, connection)
            connection.preconnect()
        if self._cold:
            self._timer.arm(self._data_plane.loop.now + WARM_UP_TIME)
        else:
            self._warm_up_ended()

    def _opened(self, connection: Any, ready: bool, refused: bool) -> None:
        """A connection is open, or could not be opened."""
        connection.on_status = None
        self._cold.discard(connection)
        if not self._cold:
            self._warm_up_ended()

    def _warm_up_ended(self) -> None:
        self._timer.cancel()
        for connection in self._cold:
            connection.on_status = None
        self._cold.clear()
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            on_ready()

    def abandon(self) -> None:
        """Drop everything that was prepared."""
        self._on_ready = None
        self._warm_up_ended()
        for pool, update in self._updates:
            pool.abandon(update)
        for pool in self._new:
            pool.end()

    def commit(self, sockets: dict[Address, int]) -> None:
        """Serve the configuration from now on; call this between two events of the loop.

        ``sockets``: the descriptors of new listening sockets.
        """
        for pool, update in self._updates:
            self._data_plane.update(pool, update)
        self._data_plane.serve(self._pools, sockets)
        for pool in self._new:
            if pool.config.preconnect:
                pool.preconnect()
