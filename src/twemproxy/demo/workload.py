"""A short workload that shows what the proxy does. Each step is printed, and each result is checked."""

import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import redis

from twemproxy.demo.services import Service

HOST: Final = "127.0.0.1"
TIMEOUT: Final = 5.0

_USERS: Final = 300
_MGET_KEYS: Final = 12
_PIPELINED: Final = 1000
_SHOWN: Final = 82


class WorkloadError(Exception):
    """A result differs from the expected one."""


class Scene(NamedTuple):
    """The pool, and the processes of the demonstration."""

    pool: str
    proxy: Service
    stats_port: int
    servers: Sequence[Service]


def connect(port: int) -> redis.Redis:
    """Return a redis-py client with default settings, except for its timeouts."""
    return redis.Redis(
        host=HOST,
        port=port,
        decode_responses=True,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
    )


def read_stats(port: int) -> dict[str, Any]:
    """Return the document of the statistics port. Raises WorkloadError if it is not an object."""
    with socket.create_connection((HOST, port), timeout=TIMEOUT) as connection, connection.makefile() as document:
        stats = json.loads(document.read())
    if not isinstance(stats, dict):
        raise WorkloadError(f"the statistics are {stats!r}")
    return stats


def run(scene: Scene, check: Callable[[], None]) -> None:
    """Run the workload. Raises WorkloadError and redis.RedisError.

    ``check``: called between steps; an exception that it raises ends the workload.
    """
    print(f"A client (redis-py {redis.__version__}) works with port {scene.proxy.port} as if it were one server:\n")
    with connect(scene.proxy.port) as client:
        for step in (_set, _get, _mget, _pipeline, _refused):
            check()
            step(client, scene)
    check()
    _statistics(scene)


def _set(client: redis.Redis, scene: Scene) -> None:
    for number in range(1, _USERS + 1):
        client.set(f"user:{number}", f"name {number}")
    counts = []
    for server in scene.servers:
        with connect(server.port) as direct:
            counts.append((server.name, direct.dbsize()))
    _expect(sum(count for _, count in counts), _USERS)
    shares = ", ".join(f"{count} on {name}" for name, count in counts)
    _show(f"SET user:1 ... user:{_USERS}", f"every key has its server: {shares}")


def _get(client: redis.Redis, scene: Scene) -> None:
    _expect(client.get("user:7"), "name 7")
    _show("GET user:7", "'name 7'")


def _mget(client: redis.Redis, scene: Scene) -> None:
    before = read_stats(scene.stats_port)[scene.pool]["fragments"]
    names = client.mget([f"user:{number}" for number in range(1, _MGET_KEYS + 1)])
    _expect(names, [f"name {number}" for number in range(1, _MGET_KEYS + 1)])
    fragments = read_stats(scene.stats_port)[scene.pool]["fragments"] - before
    _show(
        f"MGET user:1 ... user:{_MGET_KEYS}",
        f"{len(names)} values in their order, gathered from {fragments} servers, one request to each",
    )


def _pipeline(client: redis.Redis, scene: Scene) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(_PIPELINED):
            pipeline.set(f"visit:{number}", number) if number % 2 == 0 else pipeline.get(f"visit:{number - 1}")
        began = time.perf_counter()
        replies = pipeline.execute()
        took = time.perf_counter() - began
    _expect(replies, [True if number % 2 == 0 else str(number - 1) for number in range(_PIPELINED)])
    _show(
        f"a pipeline of {_PIPELINED} commands",
        f"{len(replies)} replies from {len(scene.servers)} servers, in order, after {took * 1000:.0f} ms",
    )


def _refused(client: redis.Redis, scene: Scene) -> None:
    try:
        found = client.keys()
    except redis.ResponseError as error:
        answer = str(error)
    else:
        raise WorkloadError(f"KEYS found {found!r}")
    _expect(client.get("user:7"), "name 7")
    _show("KEYS *", f"{answer}; the connection stays open")


def _statistics(scene: Scene) -> None:
    pool = read_stats(scene.stats_port)[scene.pool]
    print("Figures from the statistics port:\n")
    columns = ("requests", "request_bytes", "responses", "response_bytes", "server_connections")
    print("  server   " + "  ".join(columns))
    for server in scene.servers:
        values = pool[server.name]
        print(f"  {server.name:<7}  " + "  ".join(f"{values[column]:>{len(column)}}" for column in columns))
        _expect(values["responses"], values["requests"])
    print()


def _expect(result: object, right: object) -> None:
    if result != right:
        raise WorkloadError(f"the result is {str(result)[:200]} instead of {str(right)[:200]}")


def _show(request: str, result: str) -> None:
    """Print a step; a long result continues on the next lines."""
    print(f"  {request}")
    line = "    ->"
    for word in result.split(" "):
        if len(line) + 1 + len(word) > _SHOWN:
            print(line)
            line = "      "
        line += " " + word
    print(line + "\n")
