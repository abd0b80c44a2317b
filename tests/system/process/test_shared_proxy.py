"""The proxy that many tests share (``harness.shared_proxy``) keeps them apart."""

import os
import signal
from collections.abc import Iterator

import pytest

from harness.proc import is_listening
from harness.proxy import redis_pool
from harness.resp import OK, bulk
from harness.servers import RedisServer
from harness.shared_proxy import SharedProxy
from harness.waiting import wait_until


@pytest.fixture
def shared() -> Iterator[SharedProxy]:
    proxy = SharedProxy()
    yield proxy
    proxy.stop()


def test_a_test_begins_without_counters_and_log_of_others(shared: SharedProxy, servers: list[RedisServer]) -> None:
    with shared.configured(redis_pool(servers[0])) as first:
        former = first.client()
        assert former.ask("SET", "k", "v") == OK
        port, process = first.port(), first.process
    assert former.sock.fileno() == -1
    assert not is_listening(port)
    with shared.configured(redis_pool(servers[0])) as second:
        assert second.process is process
        assert second.server_stats()["requests"] == second.pool_stats()["client_eof"] == 0
        assert first.served_name() not in second.stats()
        assert first.served_name() not in second.log()
        assert second.client().ask("GET", "k") == bulk("v")


def test_pools_of_several_contexts_are_served_together(shared: SharedProxy, servers: list[RedisServer]) -> None:
    pools = {"alpha": redis_pool(servers[1]), "beta": redis_pool(servers[2])}
    with shared.configured(redis_pool(servers[0])) as outer:
        client = outer.client()
        with shared.configured(pools) as inner:
            for index, one in enumerate([client, inner.client(), inner.client("beta")]):
                assert one.ask("SET", "k", index) == OK
                assert servers[index].ask("GET", "k") == bulk(index)
            assert inner.server_stats(pool="beta")["requests"] == outer.server_stats()["requests"] == 1
        assert client.ask("GET", "k") == bulk(0)


def test_a_bad_configuration_fails_its_test_only(shared: SharedProxy, servers: list[RedisServer]) -> None:
    with pytest.raises(AssertionError, match="is unknown"), shared.configured(redis_pool(servers[0], hush="md5")):
        pass
    with shared.configured(redis_pool(servers[0])) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_a_crash_fails_its_test_only(shared: SharedProxy, servers: list[RedisServer]) -> None:
    with shared.configured(redis_pool(servers[0])) as outer:
        with (
            pytest.raises(AssertionError, match="a part of the proxy had crashed"),
            shared.configured(redis_pool(servers[1])) as proxy,
        ):
            os.kill(proxy.processes()[1], signal.SIGSEGV)
            wait_until(lambda: "ALERT" in proxy.log(), "the crash is logged")
        assert outer.client().ask("SET", "k", "v") == OK
    with shared.configured(redis_pool(servers[0])) as other:
        assert other.process is proxy.process
        assert other.client().ask("GET", "k") == bulk("v")


def test_a_proxy_that_has_died_fails_its_test_and_the_next_one_has_another(
    shared: SharedProxy, servers: list[RedisServer]
) -> None:
    with (
        pytest.raises(AssertionError, match="the proxy had died with status -9"),
        shared.configured(redis_pool(servers[0])) as proxy,
    ):
        proxy.process.kill_group()
    with shared.configured(redis_pool(servers[0])) as other:
        assert other.process is not proxy.process
        assert other.client().ask("SET", "k", "v") == OK
