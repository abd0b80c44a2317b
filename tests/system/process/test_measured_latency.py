"""The histograms of latency, compared with what a client and a server measure themselves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.connection import Connection
from harness.http import report_of
from harness.proxy import memcached_pool, redis_pool
from harness.resp import bulk, command
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.stats.histograms import BUCKETS, Histogram, bucket_of

DELAYS = [0.04 * 4 ** (number / 23) for number in range(24)]
"""Seconds, from 40 to 160 ms: a bucket is 8 to 32 ms wide there, more than a busy machine delays most requests."""
QUANTILES = (0.1, 0.25, 0.5)
"""A busy machine may delay the others: the client then measures more than the proxy."""
ROUNDING = 2
"""Microseconds by which a difference of two times may be too small."""


class Redis:
    """A client and a server of redis."""

    directives = redis_pool
    server = ScriptedServer
    request = command("GET", "k")
    reply = bulk("v")

    @staticmethod
    def take(peer: Connection) -> None:
        assert peer.request() == [b"GET", b"k"]


class Memcached:
    """A client and a server of memcached."""

    directives = memcached_pool
    server = ScriptedMemcached
    request = b"get k\r\n"
    reply = b"VALUE k 0 1\r\nv\r\nEND\r\n"

    @staticmethod
    def take(peer: Connection) -> None:
        assert peer.text_request() == b"get k\r\n"


@contextmanager
def measured(times: list[int]) -> Iterator[None]:
    """Append the time that the block takes, in microseconds."""
    start = time.monotonic_ns()
    yield
    times.append((time.monotonic_ns() - start) // 1000)


def histogram_of(counts: dict[str, int], total: int) -> Histogram:
    return Histogram([*(counts.get(str(bucket), 0) for bucket in range(BUCKETS)), total])


@pytest.mark.parametrize("protocol", [Redis, Memcached])
def test_histograms_are_what_client_and_server_measure(
    configured: Configure, protocol: type[Redis] | type[Memcached]
) -> None:
    by_client: list[int] = []
    by_server: list[int] = []
    with protocol.server() as server, configured(protocol.directives(server)) as proxy:
        client = proxy.client()
        peer: Connection | None = None
        for delay in DELAYS:
            with measured(by_client):
                client.send(protocol.request)
                peer = peer or server.accept()
                protocol.take(peer)
                with measured(by_server):
                    time.sleep(delay)  # the server is slow
                peer.send(protocol.reply)
                client.expect(protocol.reply)
        name = proxy.served_name()

        def parts() -> dict[str, Histogram] | None:
            """The histograms by phase, when all requests are in them."""
            [pool] = [pool for pool in report_of(proxy)["pools"] if pool["name"] == name]
            phases = {**pool["latency"].get("read", {}), **pool["servers"][0]["latency"].get("read", {})}
            if any(phases.get(phase, {}).get("count") != len(DELAYS) for phase in ("whole", "server")):
                return None
            return {phase: histogram_of(part["buckets"], part["total_us"]) for phase, part in phases.items()}

        found = wait_until(parts, "all requests are measured")
    assert found is not None
    buckets = {
        phase: [bucket for bucket, count in enumerate(each.counts) for _ in range(count)]
        for phase, each in found.items()
    }
    for phase, times in (("whole", by_client), ("server", by_server)):
        for share in QUANTILES:
            rank = round(share * (len(times) - 1))
            ours, theirs = buckets[phase][rank], bucket_of(sorted(times)[rank])
            assert abs(ours - theirs) <= 1, (phase, share, sorted(times), buckets[phase])
    # Whatever the machine does: the proxy has the request before the server has it, and the reply after the server.
    least = [bucket_of(each - ROUNDING) for each in sorted(by_server)]
    assert all(bucket >= low for bucket, low in zip(buckets["whole"], least, strict=True)), (buckets["whole"], least)
    assert found["whole"].total >= sum(by_server) - ROUNDING * len(by_server)
