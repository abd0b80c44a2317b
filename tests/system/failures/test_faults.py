"""Faults under load: clients that verify every reply get no wrong reply, and errors only if they cannot be avoided."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from faults.arena import Arena, Ejections, Pool
from faults.catalogue import FAULTS, Fault
from faults.client import Client
from faults.dialects import MEMCACHED, REDIS, Dialect
from faults.load import Load
from faults.tally import Tally, elsewhere
from harness.names import Names
from harness.proxy import Proxy
from harness.waiting import wait_until

VICTIM = 1
HEALTHY = (0, 2)
PER_SERVER, ROAMING = 2, 3
SOME = 800
"""The number of replies to wait for."""
TIMES = 3
"""How many times a relay applies its fault to connections."""

CASES = [
    pytest.param(dialect, fault, id=f"{dialect.name}-{fault.name.replace(', ', '-').replace(' ', '-')}")
    for dialect in (REDIS, MEMCACHED)
    for fault in FAULTS
    if dialect.name in fault.protocols
]


class Stage(NamedTuple):
    """An arena, and the proxy in front of its servers."""

    arena: Arena
    proxy: Proxy
    ejections: Ejections


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """The stage of each protocol."""
    names = Names(tmp_path_factory.mktemp("names"))
    with (
        Arena(REDIS, random.Random("redis"), names) as redis,
        Arena(MEMCACHED, random.Random("memcached"), names) as memcached,
        Proxy({**redis.directives, **memcached.directives}, command=names.command()) as proxy,
    ):
        ejections = Ejections(proxy)
        yield {arena.dialect.name: Stage(arena, proxy, ejections) for arena in (redis, memcached)}


@pytest.mark.parametrize(("dialect", "fault"), CASES)
def test_fault(dialect: Dialect, fault: Fault, stages: dict[str, Stage]) -> None:
    arena, proxy, ejections = stages[dialect.name]
    pool, relay = arena.pools[fault.pool], arena.relays[VICTIM]
    tally = Tally()
    with proxy.client(pool.name) as connection:
        clients = pool.clients(connection, tally, PER_SERVER, ROAMING)
    with Load([(client, proxy.port(pool.name)) for client in clients], tally) as load:
        load.wait_answered(SOME)
        assert not tally.take_errors()
        happened = relay.happened
        with arena.trouble(VICTIM, fault):
            if fault.errors == "certainly":
                wait_until(lambda: tally.errors_so_far, "clients get errors")
                load.wait_round(HEALTHY)
            else:
                load.wait_answered(SOME)
                load.wait_round()
            if pool.setup.ejects:
                expect_ejection(ejections, pool, load)
            elif pool.setup.reach == "by relay" and fault.errors == "certainly":
                wait_until(lambda: relay.happened >= happened + TIMES, "the fault has happened several times")
        if pool.setup.ejects:
            ejections.wait_back(pool, VICTIM)
        load.wait_well()
        arena.recovered(VICTIM, fault)
        seen = tally.take_errors()
        load.wait_answered(SOME)
    assert not elsewhere(seen, [VICTIM])
    assert seen or fault.errors != "certainly"
    if fault.most is not None:
        assert most_failures(clients) <= fault.most * max(relay.happened - happened, 1)
    assert not tally.take_errors()
    pool.audit(clients, tally)
    assert not tally.report()


def expect_ejection(ejections: Ejections, pool: Pool, load: Load) -> None:
    """The server is ejected, and after that there are no errors."""
    wait_until(lambda: ejections.has(pool, VICTIM), "the server is ejected")
    load.wait_well()
    errors = load.tally.errors_so_far
    load.wait_answered(SOME)
    assert load.tally.errors_so_far == errors


def most_failures(clients: list[Client]) -> int:
    """The largest number of pipelines with errors of a client."""
    return max(client.failures for client in clients)
