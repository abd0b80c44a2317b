"""The faults of a server, and what clients may see of them. A new fault is a new row of ``FAULTS``."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NamedTuple

from faults.dialects import Dialect, Server
from faults.relay import Bytewise, Delayed, HalfClosing, Halting, Manner, Relay, Resetting, Stalling
from harness.names import Names
from harness.resp import OK, command
from harness.servers import RedisServer
from harness.waiting import wait_until

TIMEOUT = 500
"""Milliseconds, for pools whose servers may hang; a server that is only busy must not exceed it."""

FAILURE_LIMIT = 2


class Setup(NamedTuple):
    """The differences between a pool and other pools of the same servers."""

    directives: Mapping[str, object]
    reach: Literal["directly", "by relay", "by name"] = "directly"
    """How the pool reaches its servers."""

    @property
    def ejects(self) -> bool:
        """Whether a server that fails is ejected, so that its keys go to other servers."""
        return bool(self.directives.get("auto_eject_hosts"))


_PLAIN = {"distribution": "ketama", "hash": "fnv1a_64"}
"""With ketama only the keys of an ejected server move."""
_TIMED = {**_PLAIN, "timeout": TIMEOUT}

POOLS: Mapping[str, Setup] = {
    "plain": Setup(_PLAIN),
    "timed": Setup(_TIMED),
    "ejecting": Setup(
        {
            **_TIMED,
            "auto_eject_hosts": True,
            "server_failure_limit": FAILURE_LIMIT,
            "server_retry_timeout": 200,
        }
    ),
    "relayed": Setup(_PLAIN, "by relay"),
    "relayed_timed": Setup(_TIMED, "by relay"),
    "named": Setup({**_PLAIN, "dns_refresh": 20}, "by name"),
}
"""All pools are in one configuration, with the same servers."""


class Victim(NamedTuple):
    """A server, the relay in front of it, and its name."""

    dialect: Dialect
    server: Server
    relay: Relay
    choose: random.Random
    names: Names
    name: str
    other: Relay
    """The relay at the other address of the server."""


Inflict = Callable[[Victim], AbstractContextManager[None]]


class Fault(NamedTuple):
    """One fault: it begins and ends with the context of ``inflict``."""

    name: str
    inflict: Inflict
    pool: str
    """The name in ``POOLS`` of the pool that the fault is meant for."""
    errors: Literal["none", "perhaps", "certainly"] = "certainly"
    """Whether requests for the server get errors during the fault; after it there are none."""
    most: int | None = None
    """The round trips of one client that may fail in each fault; None: any number while the server is away."""
    loses: bool = False
    """Whether the server has lost its data afterwards."""
    protocols: tuple[str, ...] = ("redis", "memcached")


@contextmanager
def killed(victim: Victim) -> Iterator[None]:
    """SIGKILL; at the end the server is started again."""
    victim.server.kill()
    try:
        yield
    finally:
        victim.server.start()


@contextmanager
def restarted(victim: Victim) -> Iterator[None]:
    """SIGKILL, and an immediate restart."""
    victim.server.kill()
    victim.server.start()
    yield


def stopped(victim: Victim) -> AbstractContextManager[None]:
    """SIGSTOP, and SIGCONT at the end."""
    return victim.server.paused()


@contextmanager
def flushed(victim: Victim) -> Iterator[None]:
    """All keys are deleted."""
    victim.dialect.flush(victim.server)
    yield


@contextmanager
def asleep(victim: Victim) -> Iterator[None]:
    """The server sleeps for longer than the timeout."""
    assert isinstance(victim.server, RedisServer)
    with victim.server.connect() as connection:
        connection.send(command("DEBUG", "SLEEP", f"{TIMEOUT * 2 / 1000}"))
        yield
        connection.expect(OK)


def relay(manner: Callable[[random.Random], Manner]) -> Inflict:
    """The relay in front of the server behaves in this manner."""

    def behaving(victim: Victim) -> AbstractContextManager[None]:
        return victim.relay.behaving(manner(victim.choose))

    return behaving


@contextmanager
def moved(victim: Victim) -> Iterator[None]:
    """The name of the server gets another address, and at the end the first address again."""
    victim.names.set(victim.name, victim.other.host)
    wait_until(lambda: victim.other.is_used, "connections have moved to the other address")
    yield
    victim.names.set(victim.name, "127.0.0.1")
    wait_until(lambda: not victim.other.is_used, "connections have moved back")


FAULTS = (
    Fault("killed", killed, "plain", loses=True),
    # One failure by the broken connection, the others by refused connections.
    Fault("killed, ejecting", killed, "ejecting", most=FAILURE_LIMIT, loses=True),
    Fault("stopped", stopped, "timed"),
    # Requests that are sent together count as one failure: a client may miss that and send once more.
    Fault("stopped, ejecting", stopped, "ejecting", most=FAILURE_LIMIT + 1),
    Fault("restarted", restarted, "plain", errors="perhaps", loses=True),
    Fault("flushed", flushed, "plain", errors="none", most=0, loses=True),
    Fault("asleep", asleep, "timed", protocols=("redis",)),
    Fault("reset at any byte", relay(Resetting), "relayed", most=1),
    # The overdue request, and the next request when the connection is closed.
    Fault("stalled at any byte", relay(Stalling), "relayed_timed", most=2),
    Fault("half-closed at any byte", relay(HalfClosing), "relayed", most=1),
    Fault("halting at any byte", relay(Halting), "relayed", errors="none", most=0),
    Fault("byte by byte", relay(lambda choose: Bytewise()), "relayed", errors="none", most=0),
    Fault("moved to another address", moved, "named", errors="none", most=0),
    Fault("delayed", relay(lambda choose: Delayed(0.005)), "relayed", errors="none", most=0),
)
