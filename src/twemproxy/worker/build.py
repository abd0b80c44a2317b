"""From a configuration to the pools of a data plane: at the start, and at each reload. Plain Python.

A reload has two steps: ``Update`` builds what the new configuration needs beside what serves clients, and its
``commit`` puts all of it in place between two turns of the event loop.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import msgspec

from twemproxy.config.changes import former_names
from twemproxy.config.pools import Address, Config, PoolConfig
from twemproxy.ipc.messages import PoolSlots
from twemproxy.protocol.codec import Codec
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.upstream.server_pool import FIXED, ring_builder

STEPS: Final = 8
"""Steps of an update per turn of the event loop, a millisecond or two together."""
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
        resolver: Any,
    ) -> None:
        """Nothing is prepared yet. ``config``: for a ``worker.data_plane.DataPlane``. ``served``: the one in use.

        ``slots``: of each pool of ``config``, where its counters are. ``resolver``: see ``upstream.addresses``.
        """
        self.config = config
        self._data_plane = data_plane
        self._pools: list[Any] = []
        self._new: list[Any] = []
        self._updates: list[tuple[Any, Any]] = []
        self._cold: set[Any] = set()
        self._on_ready: Callable[[str], None] | None = None
        self._steps = self._prepare(served, slots, resolver)
        self._step_timer = data_plane.timer(self._run_steps)
        self._warm_up_timer = data_plane.timer(self._warm_up_ended)

    def _prepare(self, served: Config, slots: Sequence[PoolSlots], resolver: Any) -> Iterator[None]:
        """Prepare all pools, in steps that take up to a millisecond or so."""
        data_plane = self._data_plane
        running = {pool.config.name: pool for pool in data_plane.pools}
        former = former_names(served, self.config)
        for config, pool_slots in zip(self.config.pools, slots, strict=True):
            pool = running.get(former.get(config.name, ""))
            if pool is None or not can_become(pool, config):
                rings = ring_builder(config)
                yield from rings.prepare()
                new = data_plane.new_pool(config, codec_of(config), pool_slots, resolver, rings)
                self._new.append(new)
                self._pools.append(new)
            else:
                self._pools.append(pool)
                yield from self._prepare_pool(pool, config, pool_slots)
            for retired in data_plane.retired:
                # Its clients stay where their keys are, unless the name now belongs to a pool of the other protocol.
                if retired.config.name == config.name and retired.config.redis == config.redis:
                    kept = {name: getattr(retired.config, name) for name in FIXED}
                    yield from self._prepare_pool(retired, msgspec.structs.replace(config, **kept), pool_slots)
            yield

    def _prepare_pool(self, pool: Any, config: PoolConfig, slots: PoolSlots) -> Iterator[None]:
        if config != pool.config:
            update = pool.prepare(config, slots)
            self._updates.append((pool, update))
            if update.rings is not None:
                yield from update.rings.prepare()
            pool.subscriptions.agreement.prepare(config)
            yield

    def prepare(self) -> None:
        """Prepare everything now. Raises ValueError if the configuration cannot be served."""
        for _ in self._steps:
            pass

    def prepare_beside(self, on_ready: Callable[[str], None]) -> None:
        """Prepare everything while the data plane serves clients, in some STEPS per turn of its loop.

        Then open a connection to each server that running pools get, and call ``on_ready`` with the problem, empty if
        there is none. A server that does not accept the connection within WARM_UP_TIME delays nothing.
        """
        self._on_ready = on_ready
        self._run_steps()

    def _run_steps(self) -> None:
        try:
            for _ in islice(self._steps, STEPS):
                pass
            done = next(self._steps, self) is self
        except ValueError as problem:
            self._tell(str(problem))
            return
        if done:
            self._warm_up()
        else:
            self._step_timer.arm(self._data_plane.loop.now)

    def _tell(self, problem: str) -> None:
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            on_ready(problem)

    def _warm_up(self) -> None:
        servers = [server for _, update in self._updates for server in update.added.values()]
        self._cold = {server.connections[0] for server in servers}
        for connection in list(self._cold):
            connection.on_status = partial(self._opened, connection)
            connection.preconnect()
        if self._cold:
            self._warm_up_timer.arm(self._data_plane.loop.now + WARM_UP_TIME)
        else:
            self._warm_up_ended()

    def _opened(self, connection: Any, ready: bool, refused: bool) -> None:
        """A connection is open, or could not be opened."""
        connection.on_status = None
        self._cold.discard(connection)
        if not self._cold:
            self._warm_up_ended()

    def _warm_up_ended(self) -> None:
        self._warm_up_timer.cancel()
        for connection in self._cold:
            connection.on_status = None
        self._cold.clear()
        self._tell("")

    def abandon(self) -> None:
        """Drop everything that was prepared."""
        self._on_ready = None
        self._step_timer.cancel()
        self._warm_up_ended()
        for pool, update in self._updates:
            pool.abandon(update)
        for pool in self._new:
            pool.end()

    def commit(self, sockets: dict[Address, int]) -> None:
        """Serve the configuration from now on; call this between two events of the loop.

        ``sockets``: the descriptors of new listening sockets.
        """
        self._data_plane.update(self._updates)
        self._data_plane.serve(self._pools, sockets)
        for pool in self._new:
            if pool.config.preconnect:
                pool.preconnect()
