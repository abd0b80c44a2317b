"""Where the time of a request goes; the clock of the data plane jumps, so that no test waits."""

import pytest

from harness.connection import Connection
from harness.proxy import keys_of, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from twemproxy.stats.histograms import BOUNDS, WORDS, Histogram, bucket_of
from twemproxy.stats.snapshot import Latency
from unit.in_process import InProcess

# In milliseconds: it begins a bucket, so real time that passes, too, does not matter.
LONG = 16_800
AFTER_LONG = bucket_of(1000 * LONG)
SHORT = 0
"""No time of the test's own."""


def times(latency: Latency, command_class: str, phase: str) -> list[int]:
    """AFTER_LONG or SHORT for each value of a histogram."""
    found = latency.get((command_class, phase), Histogram((0,) * WORDS))
    values = []
    for bucket, count in enumerate(found.counts):
        assert bucket <= AFTER_LONG or not count
        values += count * [AFTER_LONG if bucket == AFTER_LONG else SHORT]
        assert bucket < bucket_of(5_000_000) or bucket == AFTER_LONG or not count
    return values


def of_server(proxy: InProcess, name: str, command_class: str = "read") -> dict[str, list[int]]:
    return {phase: times(proxy.latency(name), command_class, phase) for phase in ("waiting", "server")}


def of_pool(proxy: InProcess, command_class: str = "read") -> dict[str, list[int]]:
    return {phase: times(proxy.latency(), command_class, phase) for phase in ("writing", "whole")}


def test_the_bounds_of_these_tests() -> None:
    assert BOUNDS[AFTER_LONG] <= 1000 * LONG < BOUNDS[AFTER_LONG] + 100_000
    assert BOUNDS[AFTER_LONG + 1] > 1000 * LONG + 3_000_000


def test_a_slow_server() -> None:
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        client.send(command("GET", "k"))
        peer = server.accept()
        peer.request()
        proxy.advance(LONG)
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        pool = proxy.snapshot()
        assert of_server(proxy, "one") == {"waiting": [SHORT], "server": [AFTER_LONG]}
        assert of_pool(proxy) == {"writing": [SHORT], "whole": [AFTER_LONG]}
        assert pool.values["replies_read"] == pool.servers[0].values["responses_read"] == 1


def test_a_reply_that_waits_for_an_earlier_one() -> None:
    with (
        ScriptedServer() as one,
        ScriptedServer() as two,
        InProcess(**redis_pool(one, two)) as proxy,
    ):
        client = proxy.client()
        [first], [second] = keys_of(0, 2), keys_of(1, 2)
        client.send(command("GET", first) + command("GET", second))
        slow, fast = one.accept(), two.accept()
        slow.request()
        fast.request()
        fast.send(bulk("fast"))
        await_response(proxy, "s01")
        proxy.advance(LONG)
        slow.send(bulk("slow"))
        client.expect(bulk("slow") + bulk("fast"))
        assert of_server(proxy, "s00") == {"waiting": [SHORT], "server": [AFTER_LONG]}
        assert of_server(proxy, "s01") == {"waiting": [SHORT], "server": [SHORT]}
        assert of_pool(proxy) == {"writing": [SHORT, AFTER_LONG], "whole": [AFTER_LONG, AFTER_LONG]}


def await_response(proxy: InProcess, server: str) -> None:
    """Return when the proxy has a reply of this server."""
    while not any(each.values["responses"] for each in proxy.snapshot().servers if each.name == server):
        pass


def test_a_request_that_waits_in_the_proxy() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], max_pipeline=1) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "a") + command("SET", "b", "v"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        proxy.advance(LONG)
        peer.send(bulk("v"))
        assert peer.request() == [b"SET", b"b", b"v"]
        peer.send(OK)
        client.expect(bulk("v") + OK)
        assert of_server(proxy, "one", "write") == {"waiting": [AFTER_LONG], "server": [SHORT]}
        assert of_pool(proxy, "write") == {"writing": [SHORT], "whole": [AFTER_LONG]}


def test_a_client_that_does_not_read() -> None:
    value = "v" * 8_000_000
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("GET", "b"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(bulk(value) + bulk("b"))
        await_response(proxy, "one")
        proxy.advance(LONG)
        client.expect(bulk(value) + bulk("b"))
        pool = proxy.snapshot()
        assert of_pool(proxy)["writing"][-1] == AFTER_LONG
        assert of_pool(proxy)["whole"][-1] == AFTER_LONG
        assert pool.values["replies_read"] == 2


def test_what_the_proxy_answers() -> None:
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        client.send(command("PING"))
        client.expect(b"+PONG\r\n")
        pool = proxy.snapshot()
        assert of_pool(proxy, "other") == {"writing": [SHORT], "whole": [SHORT]}
        assert proxy.latency(pool.servers[0].name) == {}


def test_a_split_request() -> None:
    with (
        ScriptedServer() as one,
        ScriptedServer() as two,
        InProcess(**redis_pool(one, two)) as proxy,
    ):
        client = proxy.client()
        client.send(command("MGET", *keys_of(0, 2), *keys_of(1, 2)))
        slow, fast = one.accept(), two.accept()
        slow.request()
        fast.request()
        fast.send(array(bulk("2")))
        await_response(proxy, "s01")
        proxy.advance(LONG)
        slow.send(array(bulk("1")))
        client.expect(array(bulk("1"), bulk("2")))
        assert of_server(proxy, "s00") == {"waiting": [SHORT], "server": [AFTER_LONG]}
        assert of_server(proxy, "s01") == {"waiting": [SHORT], "server": [SHORT]}
        assert of_pool(proxy) == {"writing": [SHORT], "whole": [AFTER_LONG]}


def test_a_late_reply_is_no_response_and_the_error_is_a_reply() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], timeout=LONG) as proxy,
    ):
        client = proxy.client()
        client.send(command("INCR", "k"))
        peer = server.accept()
        peer.request()
        proxy.advance(LONG)
        client.expect(b"-ERR Connection timed out\r\n")
        peer.send(integer(1))
        client.send(command("INCR", "k"))
        peer.request()
        peer.send(integer(2))
        client.expect(integer(2))
        assert of_server(proxy, "one", "write") == {"waiting": [SHORT], "server": [SHORT]}
        assert of_pool(proxy, "write") == {"writing": [SHORT, SHORT], "whole": [SHORT, AFTER_LONG]}


@pytest.mark.parametrize("count", [1, 100, 3000])
def test_every_request_of_a_pipeline_is_counted(count: int) -> None:
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client: Connection = proxy.client()
        client.send(b"".join(command("GET", f"k{i}") + command("SET", f"k{i}", "v") for i in range(count)))
        peer = server.accept()
        for _ in range(count):
            assert peer.request()[0] == b"GET"
            assert peer.request()[0] == b"SET"
            peer.send(bulk("v") + OK)
        client.expect(count * (bulk("v") + OK))
        pool = proxy.snapshot()
        for name in ("read", "write"):
            assert len(of_pool(proxy, name)["whole"]) == len(of_server(proxy, "one", name)["server"]) == count
            assert pool.values[f"replies_{name}"] == pool.servers[0].values[f"responses_{name}"] == count
