"""Pools whose servers change, and keys that move with the change."""

from typing import Any

from harness.servers import RedisServer
from harness.waiting import wait_until
from unit.in_process import InProcess

KEYS = [f"key{number}" for number in range(600)]


def pool(servers: dict[str, Any], *names: str, **more: object) -> dict[str, object]:
    """A pool of these servers; ``one=two`` is the server with the name one at the address of two."""
    places = [(name.partition("=")[0], name.rpartition("=")[2]) for name in names]
    return {"redis": True, "servers": [f"{servers[at].address}:1 {name}" for name, at in places], **more}


def places(proxy: InProcess) -> list[str]:
    """The name of the server of each of KEYS."""
    [alpha] = proxy.data_plane.pools
    return proxy.call(lambda: [alpha.server_of(key.encode()).name for key in KEYS])  # type: ignore[no-any-return]


def key_that_moves(proxy: InProcess, before: str, **after: object) -> str:
    """A key of the server ``before`` that another server has in a pool with the directives ``after``."""
    with InProcess(**after) as other:
        here, there = places(proxy), places(other)
    return next(key for key, a, b in zip(KEYS, here, there, strict=True) if a == before and b != before)


def key_that_stays(proxy: InProcess, name: str, **after: object) -> str:
    """A key of the server ``name`` now and in a pool with the directives ``after``."""
    with InProcess(**after) as other:
        here, there = places(proxy), places(other)
    return next(key for key, a, b in zip(KEYS, here, there, strict=True) if a == b == name)


def blocked(server: RedisServer) -> int:
    """The number of blocked clients that the server reports."""
    return int(server.ask("INFO", "clients").partition(b"blocked_clients:")[2].split(b"\r\n")[0])


def wait_blocked(server: RedisServer, count: int = 1) -> None:
    """Wait until ``count`` clients of the server are blocked."""
    wait_until(lambda: blocked(server) == count, f"{count} clients are blocked")
