"""The reply to PUBLISH is the number of clients that get the message, as if they were all clients of one server."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.subscribing import channels, confirmation, message, subscribe, switch, wait_for_number

[ON_FIRST, ON_SECOND, ON_THIRD] = CHANNELS = channels(3)
PATTERNS = ["*", "c*", "*l*0", "?h*", "[a-c]*", "[^c]*", "ch[a-", "ch\\annel*", "\\*", "c[h\\]]*", "", "[z-a]h*", "["]
PATTERNS += ["\\", "**", "*a*n*e*"]
NAMES = [*CHANNELS, "", "c", "ch", "cha", "*", "\\", "[", "x", "channel*", "a\nb", "c]annel", "\xff"]


@pytest.fixture
def publisher(proxy: ServedPools) -> Iterator[Connection]:
    with proxy.client() as client:
        yield client


def test_clients_are_counted(proxy: ServedPools, publisher: Connection, servers: list[RedisServer]) -> None:
    assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(0)
    with proxy.client() as first, proxy.client() as second, proxy.client() as third:
        subscribe(first, ON_SECOND)
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(1)
        subscribe(switch(second, 3), ON_SECOND, ON_FIRST, version=3)
        subscribe(third, "c*", "*", "none*", kind="psubscribe")
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(4)
        assert publisher.ask("PUBLISH", ON_FIRST, "x") == integer(3)
        assert publisher.ask("PUBLISH", ON_THIRD, "x") == integer(2)
        assert publisher.ask("PUBLISH", "other", "x") == integer(1)
        assert publisher.ask("PUBSUB", "NUMSUB", ON_SECOND) == array(bulk(ON_SECOND), integer(2))
        with servers[1].connect() as direct:
            subscribe(direct, ON_SECOND)
            assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(5)
        wait_for_number(servers[1], ON_SECOND, 1)
        first.close()
        second.close()
        wait_for_number(servers[1], ON_SECOND, 0)
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(2)


@pytest.mark.parametrize("topics", [CHANNELS[:1], CHANNELS])
def test_a_confirmed_unsubscribe_does_not_count(
    configured: Configure, topics: list[str], servers: list[RedisServer]
) -> None:
    """The server gets the PUBLISH on another connection than the end of the subscription, perhaps earlier."""
    first = RedisServer()
    with (
        first,
        configured(redis_pool(first, *servers[1:])) as proxy,
        proxy.client() as client,
        proxy.client() as publisher,
    ):
        subscribe(client, *topics)
        assert publisher.ask("PUBLISH", ON_FIRST, "x") == integer(1)
        client.expect(message(ON_FIRST, "x"))
        with first.paused():
            client.send(command("UNSUBSCRIBE", *topics))
            assert publisher.ask("SET", ON_SECOND, "x") == OK
            assert not client.has_received()
        for left, name in reversed([*enumerate(reversed(topics))]):
            client.expect(confirmation("unsubscribe", name, left))
        assert publisher.ask("PUBLISH", ON_FIRST, "x") == integer(0)


def test_shard_channels_are_counted_by_themselves(proxy: ServedPools, publisher: Connection) -> None:
    with proxy.client() as first, proxy.client() as second, proxy.client() as other:
        subscribe(first, ON_SECOND, kind="ssubscribe")
        subscribe(second, ON_SECOND, kind="ssubscribe")
        subscribe(other, "*", kind="psubscribe")
        assert publisher.ask("SPUBLISH", ON_SECOND, "x") == integer(2)
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(1)


def test_patterns_fit_as_at_the_server(proxy: ServedPools, publisher: Connection, reference: RedisServer) -> None:
    with proxy.client() as client, reference.connect() as direct:
        subscribe(client, *PATTERNS, kind="psubscribe")
        subscribe(direct, *PATTERNS, kind="psubscribe")
        for name in NAMES:
            for _ in range(2):
                assert publisher.ask("PUBLISH", name, "x") == reference.ask("PUBLISH", name, "x"), name


def test_notifications_of_keys_count_once(proxy: ServedPools, publisher: Connection) -> None:
    """The notifications are subscribed at every server, but a message is published at one server only."""
    with proxy.client() as first, proxy.client() as second:
        for client in (first, second):
            subscribe(client, "__keyspace@0__:k")
        assert publisher.ask("PUBLISH", "__keyspace@0__:k", "set") == integer(2)


def test_another_proxy_counts_as_one(proxy: ServedPools, publisher: Connection, servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as other:
        clients = [subscribe(each.client(), ON_FIRST) for each in (proxy, proxy, other, other, other)]
        assert publisher.ask("PUBLISH", ON_FIRST, "x") == integer(3)
        assert other.client().ask("PUBLISH", ON_FIRST, "x") == integer(4)
        for client in clients:
            client.close()


def test_many_in_order_with_other_requests(proxy: ServedPools, publisher: Connection) -> None:
    with proxy.client() as client:
        subscribe(client, *CHANNELS)
        publisher.send(b"".join(command("PUBLISH", name, "x") + command("GET", "k") for name in CHANNELS * 100))
        publisher.expect((integer(1) + b"$-1\r\n") * 300)
        got = [client.reply() for _ in range(300)]
        assert sorted(got) == sorted(message(name, "x") for name in CHANNELS * 100)


def test_who_wants_no_reply_gets_none(proxy: ServedPools, publisher: Connection) -> None:
    with proxy.client() as client:
        subscribe(client, ON_SECOND)
        publisher.send(command("CLIENT", "REPLY", "OFF") + command("PUBLISH", ON_SECOND, "x"))
        publisher.send(command("CLIENT", "REPLY", "SKIP") + command("PUBLISH", ON_SECOND, "y"))
        publisher.send(command("CLIENT", "REPLY", "ON") + command("PUBLISH", ON_SECOND, "z"))
        publisher.expect(OK + integer(1))
        client.expect(message(ON_SECOND, "x") + message(ON_SECOND, "y") + message(ON_SECOND, "z"))


def test_errors_are_the_servers(proxy: ServedPools, publisher: Connection, servers: list[RedisServer]) -> None:
    with proxy.client() as client:
        subscribe(client, ON_SECOND)
        assert publisher.ask("PUBLISH", ON_SECOND) == error("ERR wrong number of arguments for 'publish' command")
        assert servers[1].ask("ACL", "SETUSER", "default", "-publish") == OK
        try:
            assert publisher.ask("PUBLISH", ON_SECOND, "x").startswith(b"-NOPERM")
        finally:
            assert servers[1].ask("ACL", "SETUSER", "default", "+publish") == OK


def test_in_a_transaction_the_servers_number_is_told(proxy: ServedPools, publisher: Connection) -> None:
    with proxy.client() as first, proxy.client() as second:
        for client in (first, second):
            subscribe(client, ON_SECOND)
        publisher.send(command("MULTI") + command("PUBLISH", ON_SECOND, "x") + command("EXEC"))
        publisher.expect(OK + b"+QUEUED\r\n" + array(integer(1)))
