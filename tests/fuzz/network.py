"""Fuzzes a running proxy over the network: careless clients and senseless servers, together with clients that verify.

See ``python -m fuzz.network --help``. The bytes that are sent depend on the seed only, but their timing does not: it
may take a few runs to reproduce a finding.
"""

import argparse
import json
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from fuzz.network_peers import CarelessClient, MemcachedVerifier, Peer, RedisVerifier, SenselessServer, VerifyingClient
from harness.proxy import Proxy, memcached_pool, redis_pool
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from twemproxy.demo.processes import end_on_signals

MOST_MEMORY = 96
"""The most megabytes of its own for the proxy when everything is closed; three times as many while it works."""

_DEFECTS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"ERROR: AddressSanitizer.*",
        r"[^\n]*runtime error: .*",
        r"Traceback \(most recent call last\).*",
        r"\] ALERT [^\n]*",
    )
]
_POLL = 0.02
_REDIS_OPTIONS = ("--proto-max-bulk-len", "1048576")
"""Requests cannot make a server's string longer."""
_WILD_OPTIONS = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-random", *_REDIS_OPTIONS)
_TIMEOUT = 60_000
"""Milliseconds, for servers that always reply: they may be slow with a sanitizer or on a busy machine."""


class Counts(NamedTuple):
    """The counts of one or several runs."""

    connections: int = 0
    streams: int = 0
    bytes: int = 0
    answers: int = 0
    """Replies of senseless servers."""
    verified: int = 0
    """Replies that were verified, every byte of them."""
    megabytes: int = 0
    """The most memory of its own that the proxy had."""

    def __add__(self, other: object) -> "Counts":
        assert isinstance(other, Counts)
        megabytes = max(self.megabytes, other.megabytes)
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))._replace(megabytes=megabytes)

    def reach(self, goal: "Counts") -> bool:
        """Whether every count is at least that of the goal."""
        return all(a >= b for a, b in zip(self, goal, strict=True))


class Stand(NamedTuple):
    """A proxy with its servers: those of the first two pools work normally, those of the last two reply nonsense.

    The servers of the third and fourth pool may be told to delete all keys.
    """

    proxy: Proxy
    redis: Sequence[RedisServer]
    """The real servers of redis pools."""
    senseless: Sequence[SenselessServer]


POOLS = ("alpha", "beta", "wild", "wildcached", "lost", "lostcached")
"""Alternately pools of redis and of memcached."""


@contextmanager
def stand(seed: int) -> Iterator[Stand]:
    """Start the proxy and all its servers; the end of the context checks that the proxy has not crashed."""
    with ExitStack() as stack:
        redis = [stack.enter_context(RedisServer(*_REDIS_OPTIONS)) for _ in range(2)]
        memcached = [stack.enter_context(MemcachedServer()) for _ in range(2)]
        wild = stack.enter_context(RedisServer(*_WILD_OPTIONS))
        wild_memcached = stack.enter_context(MemcachedServer())
        senseless = [SenselessServer(f"server {i}", seed, redis=i < 2) for i in range(4)]
        allowed = "flushall flushdb keys swapdb"
        hasty = {"timeout": 300, "server_retry_timeout": 100, "server_connections": 2}
        pools = {
            "alpha": redis_pool(*redis, timeout=_TIMEOUT, deny_commands="client|kill", hash_tag='"{}"'),
            "beta": memcached_pool(*memcached, timeout=_TIMEOUT),
            "wild": redis_pool(
                wild,
                allow_commands=allowed,
                databases=2,
                timeout=2000,
                client_idle_timeout=1500,
                blocking_connections=20,
            ),
            "wildcached": memcached_pool(wild_memcached, allow_commands="flush_all", timeout=2000),
            "lost": redis_pool(*senseless[:2], **hasty),
            "lostcached": memcached_pool(*senseless[2:], **hasty),
        }
        for server in senseless:
            server.start()
            stack.callback(server.stop)
        with Proxy(pools) as proxy:
            yield Stand(proxy, [*redis, wild], senseless)


def fuzz(
    seed: int, clients: int = 3, *, goal: Counts | None = None, seconds: float = 0, most: int = MOST_MEMORY
) -> Counts:
    """One run, until every count reaches ``goal``, or for ``seconds``.

    An AssertionError is a finding. ``most``: as MOST_MEMORY.
    """
    with stand(seed) as (proxy, redis, senseless):
        ports = [(proxy.port(name), i % 2 == 0) for i, name in enumerate(POOLS)]
        verifiers: list[VerifyingClient] = [
            RedisVerifier("redis", seed, ports[0][0]),
            MemcachedVerifier("memcached", seed, ports[1][0]),
        ]
        careless = [CarelessClient(f"client {i}", seed, ports, verifiers) for i in range(clients)]
        peers: list[Peer] = [*verifiers, *careless]
        megabytes = 0

        def counts() -> Counts:
            return Counts(
                sum(client.connections for client in careless),
                sum(client.streams for client in careless),
                sum(client.bytes for client in careless),
                sum(server.answers for server in senseless),
                sum(client.replies for client in verifiers),
                megabytes,
            )

        for peer in peers:
            peer.start()
        end = time.monotonic() + (seconds or float("inf"))
        while time.monotonic() < end and not (goal and counts().reach(goal)) and not _is_broken(proxy, peers):
            megabytes = max(megabytes, proxy.memory() >> 20)
            time.sleep(_POLL)
        for peer in (*careless, *verifiers):
            peer.stop()
        _raise_failure([*peers, *senseless], proxy)
        _check_end(proxy, redis, senseless, most)
        assert megabytes < 3 * most, f"the proxy had {megabytes} MB"
        return counts()


def _is_broken(proxy: Proxy, peers: Sequence[Peer]) -> bool:
    return any(peer.failure for peer in peers) or proxy.process.poll() is not None


def _raise_failure(peers: Sequence[Peer], proxy: Proxy) -> None:
    output = proxy.output()
    for pattern in _DEFECTS:
        found = pattern.search(output)
        assert not found, f"a part of the proxy had crashed: {found[0][:4000]}"
    for peer in peers:
        if peer.failure:
            raise AssertionError(f"{peer.name}: {peer.failure!r}") from peer.failure


def _check_end(proxy: Proxy, redis: Sequence[RedisServer], senseless: Sequence[SenselessServer], most: int) -> None:
    """Check that everything closes, that memory is freed, and that senseless servers are used again when they are real.

    Servers are stopped first: a client may have left during its BLPOP, and its end may be after unread requests.
    """
    for server in redis:
        server.kill()
    for peer in senseless:
        peer.stop()
    for name in POOLS:
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, f"the clients of {name} are gone", name)
    with RedisServer(port=senseless[0].port), RedisServer(port=senseless[1].port):
        wait_until(lambda: _asks(proxy), "a server that had lost its senses is used again")
    with MemcachedServer(port=senseless[2].port), MemcachedServer(port=senseless[3].port):
        wait_until(lambda: _asks_text(proxy), "a server that had lost its senses is used again")
    wait_until(lambda: proxy.memory() >> 20 < most, f"memory is below {most} MB")
    _raise_failure([], proxy)


def _asks(proxy: Proxy) -> bool:
    with proxy.client("lost") as client:
        return all(client.ask("SET", key, "1") == b"+OK\r\n" for key in "abcdef")


def _asks_text(proxy: Proxy) -> bool:
    with proxy.client("lostcached") as client:
        return all(client.ask_text(b"set %s 0 0 1\r\n1\r\n" % key) == b"STORED\r\n" for key in (b"a", b"b", b"c", b"d"))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.network", description="Fuzz a running proxy.")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--seconds", type=float, default=60, help="all runs together")
    parser.add_argument("--run", type=float, default=60, help="seconds of one run: then all processes are started anew")
    parser.add_argument("--most-memory", type=int, default=MOST_MEMORY, help="megabytes when everything is closed")
    return parser.parse_args(arguments)


def main() -> int:
    """Run until the time is over, and print the counts as a line of JSON after each run; returns 1 for findings."""
    options = parse()
    end_on_signals()
    end = time.monotonic() + options.seconds
    seed, counts, findings = options.seed, Counts(), 0
    while (left := end - time.monotonic()) > 0:
        try:
            counts += fuzz(seed, seconds=min(left, options.run), most=options.most_memory)
        except Exception:
            findings += 1
            traceback.print_exc(file=sys.stdout)
            print(f"finding with seed {seed}")
        seed += 1
        print(json.dumps({"runs": seed - options.seed, **counts._asdict()}), flush=True)
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
