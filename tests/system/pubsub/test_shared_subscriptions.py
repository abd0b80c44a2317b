"""Shared subscriptions: one subscription at a server serves all clients and ends with the last; replies to PUBSUB."""

import resource
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import OK, arguments, array, bulk, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.subscribing import (
    channels,
    confirmation,
    listeners,
    message,
    number_of,
    pattern_message,
    publish,
    subscribe,
    switch,
    wait_for_number,
    wait_for_silence,
)
from harness.waiting import DEADLINE, wait_until

SUBSCRIBERS = 2000
[ON_FIRST, ON_SECOND, ON_THIRD] = CHANNELS = channels(3)
MEGABYTE = b"x" * (1024 * 1024)


@pytest.fixture
def many_files() -> Iterator[int]:
    """The number of files that may be open; the limit is raised to its maximum."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def exchange(sockets: dict[int, socket.socket], request: bytes, expected: bytes) -> None:
    """Send the request, unless it is empty, on every socket, and require the expected bytes on every socket."""
    poll = select.poll()
    missing = {}
    for descriptor, sock in sockets.items():
        if request:
            assert sock.send(request) == len(request)
        poll.register(descriptor, select.POLLIN)
        missing[descriptor] = expected
    while missing:
        events = poll.poll(DEADLINE * 1000)
        assert events, f"{len(missing)} of {len(sockets)} sockets lack bytes"
        for descriptor, _ in events:
            data = sockets[descriptor].recv(65536)
            assert data and missing[descriptor].startswith(data), data
            missing[descriptor] = missing[descriptor][len(data) :]
            if not missing[descriptor]:
                del missing[descriptor]
                poll.unregister(descriptor)


def test_thousands_share_one_subscription(many_files: int, servers: list[RedisServer]) -> None:
    count = min(SUBSCRIBERS, many_files - 200)
    sockets: dict[int, socket.socket] = {}
    with Proxy(redis_pool(*servers)) as proxy:
        publisher = proxy.client()
        try:
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", proxy.port()))
                sock.setblocking(False)
                sockets[sock.fileno()] = sock
            exchange(sockets, command("SUBSCRIBE", ON_SECOND), confirmation("subscribe", ON_SECOND, 1))
            exchange(sockets, command("PSUBSCRIBE", "c*"), confirmation("psubscribe", "c*", 2))
            assert number_of(servers[1], ON_SECOND) == 1
            assert [listeners(server) for server in servers] == [1, 1, 1]
            assert publisher.ask("PUBSUB", "NUMSUB", ON_SECOND) == array(bulk(ON_SECOND), integer(count))
            assert publisher.ask("PUBSUB", "NUMPAT") == integer(1)
            for text in ("short", "y" * 3000):
                publish(publisher, ON_SECOND, text)
                told = message(ON_SECOND, text) + pattern_message("c*", ON_SECOND, text)
                exchange(sockets, b"", told)
        finally:
            for sock in sockets.values():
                sock.close()
        wait_for_silence(*servers)


ENDS: dict[str, Callable[[ServedPools, Connection], None]] = {
    "unsubscribe": lambda proxy, client: client.send(command("UNSUBSCRIBE")),
    "unsubscribe by name": lambda proxy, client: client.send(command("UNSUBSCRIBE", ON_SECOND)),
    "reset": lambda proxy, client: client.send(command("RESET")),
    "quit": lambda proxy, client: client.send(command("QUIT")),
    "end": lambda proxy, client: client.close(),
    "half": lambda proxy, client: client.half_close(),
    "connection reset": lambda proxy, client: client.reset(),
    "protocol error": lambda proxy, client: client.send(b"*x\r\n"),
    "killed": lambda proxy, client: _kill(proxy, client),
}


def _kill(proxy: ServedPools, client: Connection) -> None:
    host, port = client.sock.getsockname()
    with proxy.client() as other:
        assert other.ask("CLIENT", "KILL", "ADDR", f"{host}:{port}") == integer(1)


def connections_to(server: RedisServer) -> int:
    """The number of connections to a server."""
    return server.ask("CLIENT", "LIST").count(b" addr=")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_last_subscriber_ends_it(proxy: ServedPools, servers: list[RedisServer], end: Callable[..., None]) -> None:
    wait_for_silence(*servers)
    before = connections_to(servers[1])
    first, last, other = (proxy.client() for _ in range(3))
    subscribe(first, ON_SECOND)
    subscribe(switch(last, 3), ON_SECOND, version=3)
    subscribe(other, ON_FIRST)
    end(proxy, first)
    wait_until(lambda: last.ask("PUBSUB", "NUMSUB", ON_SECOND).endswith(b":1\r\n"), "the first client is gone")
    assert number_of(servers[1], ON_SECOND) == 1
    publish(servers[1].connect(), ON_SECOND, "still")
    last.expect(message(ON_SECOND, "still", 3))
    end(proxy, last)
    wait_for_number(servers[1], ON_SECOND, 0)
    assert number_of(servers[0], ON_FIRST) == 1
    other.close()
    wait_for_silence(*servers)
    # One connection is the publisher of this test, and the proxy may have opened its ordinary connection.
    wait_until(lambda: connections_to(servers[1]) <= before + 2, "the connection is closed")
    first.close()
    last.close()


def test_patterns_end_at_every_server(proxy: ServedPools, servers: list[RedisServer]) -> None:
    with proxy.client() as client, proxy.client() as other:
        subscribe(client, "a*", "b*", kind="psubscribe")
        subscribe(other, "b*", kind="psubscribe")
        assert [server.ask("PUBSUB", "NUMPAT") for server in servers] == [integer(2)] * 3
        client.send(command("PUNSUBSCRIBE"))
        client.replies(2)
        wait_until(lambda: [server.ask("PUBSUB", "NUMPAT") for server in servers] == [integer(1)] * 3, "one is left")


def test_what_pubsub_says(proxy: ServedPools, servers: list[RedisServer]) -> None:
    with proxy.client() as first, proxy.client() as second, proxy.client() as asking:
        subscribe(first, *CHANNELS, "__keyspace@0__:k")
        subscribe(second, ON_FIRST)
        third = subscribe(proxy.client(), "shard", ON_SECOND, kind="ssubscribe")
        fourth = subscribe(proxy.client(), "p*", "q*", kind="psubscribe")
        assert asking.ask("PUBSUB", "NUMSUB") == array()
        assert asking.ask("PUBSUB", "NUMSUB", ON_FIRST, "none", ON_SECOND, "__keyspace@0__:k", ON_FIRST) == array(
            *(bulk(ON_FIRST), integer(2), bulk("none"), integer(0), bulk(ON_SECOND), integer(1)),
            *(bulk("__keyspace@0__:k"), integer(1), bulk(ON_FIRST), integer(2)),
        )
        assert asking.ask("PUBSUB", "SHARDNUMSUB", "shard", ON_FIRST) == array(
            bulk("shard"), integer(1), bulk(ON_FIRST), integer(0)
        )
        assert asking.ask("PUBSUB", "NUMPAT") == integer(2)
        told = arguments(asking.ask("PUBSUB", "CHANNELS"))
        assert sorted(told) == sorted(name.encode() for name in (*CHANNELS, "__keyspace@0__:k"))
        assert arguments(asking.ask("PUBSUB", "CHANNELS", "__*")) == [b"__keyspace@0__:k"]
        assert asking.ask("PUBSUB", "CHANNELS", "none*") == array()
        assert sorted(arguments(asking.ask("PUBSUB", "SHARDCHANNELS"))) == sorted([b"shard", ON_SECOND.encode()])
        assert arguments(asking.ask("PUBSUB", "SHARDCHANNELS", "s*")) == [b"shard"]
        direct = servers[0].connect()
        direct.send(command("SUBSCRIBE", ON_FIRST))
        direct.reply()
        assert asking.ask("PUBSUB", "NUMSUB", ON_FIRST) == array(bulk(ON_FIRST), integer(3))
        for connection in (direct, third, fourth):
            connection.close()


def test_pubsub_of_one_server(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        clients = [subscribe(proxy.client(), "news") for _ in range(3)]
        subscribe(proxy.client(), "n*", kind="psubscribe")
        client = proxy.client()
        assert client.ask("PUBSUB", "NUMSUB", "news", "x") == array(bulk("news"), integer(3), bulk("x"), integer(0))
        assert client.ask("PUBSUB", "NUMPAT") == integer(1)
        assert client.ask("PUBSUB", "CHANNELS") == array(bulk("news"))
        assert client.ask("PUBSUB", "SHARDCHANNELS") == array()
        publish(client, "news", "x")
        for subscriber in clients:
            subscriber.expect(message("news", "x"))


def test_numbers_are_never_less_than_nothing(proxy: ServedPools, servers: list[RedisServer]) -> None:
    """The reply of the server can be older than a subscription that the proxy has already begun."""
    with proxy.client() as client, proxy.client() as asking, servers[1].paused():
        asking.send(command("PUBSUB", "NUMSUB", ON_SECOND))
        asking.wait_consumed()
        client.send(command("SUBSCRIBE", ON_SECOND))
        client.wait_consumed()
        servers[1].resume()
        reply = asking.reply()
        assert int(reply.rsplit(b":", 1)[1]) >= 0, reply
        client.expect(confirmation("subscribe", ON_SECOND, 1))


def test_shard_channels_are_apart(proxy: ServedPools) -> None:
    with proxy.client() as client, proxy.client() as other, proxy.client() as publisher:
        subscribe(client, *CHANNELS, kind="ssubscribe")
        subscribe(other, *CHANNELS)
        for name in CHANNELS:
            publish(publisher, name, "shard", "SPUBLISH")
            publish(publisher, name, "usual")
            client.expect(message(name, "shard", kind="smessage"))
            other.expect(message(name, "usual"))


def test_passwords(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer(password="secret") as server, configured(redis_pool(server, redis_auth="secret")) as proxy:
        client, publisher = proxy.client(), proxy.client()
        assert client.ask("SUBSCRIBE", "news").startswith(b"-NOAUTH")
        assert client.ask("UNSUBSCRIBE").startswith(b"-NOAUTH")
        for connection in (client, publisher):
            assert connection.ask("AUTH", "secret") == OK
        subscribe(client, "news")
        publish(publisher, "news", "x")
        client.expect(message("news", "x"))
        assert client.ask("RESET") == b"+RESET\r\n"
        assert client.ask("SUBSCRIBE", "news").startswith(b"-NOAUTH")
        wait_until(lambda: listeners(server) == 0, "no connection is subscribed")


def test_a_wrong_password_at_the_server_is_an_error(configured: Configure) -> None:
    with RedisServer(password="secret") as server, configured(redis_pool(server, redis_auth="other")) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "other") == OK
        assert client.ask("SUBSCRIBE", "news") == error("ERR no connection to server 's00' for subscriptions")
        assert client.ask("PING") == b"+PONG\r\n"
        assert client.ask("PSUBSCRIBE", "news").startswith(b"-ERR no connection to server 's00'")


def test_permissions_of_the_server(proxy: ServedPools, servers: list[RedisServer]) -> None:
    """The server permits only one channel: a client that asks for another one gets the error, other clients do not."""
    other = subscribe(proxy.client(), ON_SECOND)
    assert servers[1].ask("ACL", "SETUSER", "default", "resetchannels", f"&{ON_SECOND}") == OK
    try:
        with proxy.client() as client, proxy.client() as publisher:
            [secret] = keys_of(1, 3, prefix="secret")
            for _ in range(3):
                assert client.ask("SUBSCRIBE", ON_FIRST, secret, ON_SECOND).startswith(b"-NOPERM")
                assert client.ask("PSUBSCRIBE", "*").startswith(b"-NOPERM")
            subscribe(client, ON_FIRST)
            publish(publisher, ON_SECOND, "x")
            other.expect(message(ON_SECOND, "x"))
    finally:
        assert servers[1].ask("ACL", "SETUSER", "default", "allchannels") == OK
        other.close()


@pytest.mark.parametrize("directives", [{"databases": 16}, {"redis_db": 3}])
def test_notifications_come_from_every_server(
    configured: Configure, servers: list[RedisServer], directives: dict[str, object]
) -> None:
    database = int(str(directives.get("redis_db", 0)))
    for server in servers:
        assert server.ask("CONFIG", "SET", "notify-keyspace-events", "KEA") == OK
    try:
        with configured(redis_pool(*servers, **directives)) as proxy:
            keyspace = [f"__keyspace@{database}__:{key}" for key in CHANNELS]
            keyevent = f"__keyevent@{database}__:set"
            exact = subscribe(proxy.client(), *keyspace, keyevent)
            every = subscribe(proxy.client(), f"__key*@{database}__:*", kind="psubscribe")
            other = subscribe(proxy.client(), "__keyevent@9__:set")
            client = proxy.client()
            for key, name in zip(CHANNELS, keyspace, strict=True):
                assert client.ask("SET", key, "value") == OK
                exact.expect(message(name, "set") + message(keyevent, key))
                pattern = f"__key*@{database}__:*"
                every.expect(pattern_message(pattern, name, "set") + pattern_message(pattern, keyevent, key))
            if "databases" in directives:
                assert client.ask("SELECT", "9") == OK
                assert client.ask("SET", ON_THIRD, "value") == OK
                other.expect(message("__keyevent@9__:set", ON_THIRD))
    finally:
        for server in servers:
            server.ask("CONFIG", "SET", "notify-keyspace-events", "")


def test_notifications_of_hash_fields_come_from_every_server(proxy: ServedPools, servers: list[RedisServer]) -> None:
    """Servers before redis 8.8 do not send these notifications, so the test publishes them at each server."""
    names = ["__subkeyspace@0__:h", "__subkeyevent@0__:hset", "__subkeyspaceitem@0__:h\nf"]
    names.append("__subkeyspaceevent@0__:hset|h")
    with proxy.client() as client:
        subscribe(client, *names)
        for server in servers:
            for name in names:
                assert server.ask("PUBLISH", name, "1:f") == integer(1)
                client.expect(message(name, "1:f"))


def test_many_thousand_channels_in_one_request(configured: Configure, servers: list[RedisServer]) -> None:
    """No server is ejected because the proxy takes long, and other clients are served meanwhile."""
    names = [f"many:{number}" for number in range(30_000)]
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "timeout": 1000}
    with configured(redis_pool(*servers, **directives)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send_until_stalled(command("SUBSCRIBE", *names))
        answered = 0
        while not client.has_received():
            assert other.ask("PING") == b"+PONG\r\n"
            answered += 1
        assert answered > 0
        client.read_until(confirmation("subscribe", names[-1], len(names)))
        for name in (names[0], names[-1]):
            publish(other, name, "x")
            client.expect(message(name, "x"))
        client.send_until_stalled(command("UNSUBSCRIBE", *names[:-1]))
        client.read_until(confirmation("unsubscribe", names[-2], 1))
        wait_until(lambda: sum(number_of(server, names[0]) for server in servers) == 0, "the first channel has ended")
        publish(other, names[-1], "y")
        client.expect(message(names[-1], "y"))
        assert proxy.pool_stats()["server_ejects"] == 0


def test_a_server_dies_with_many_thousand_channels(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as mortal, configured(redis_pool(mortal, servers[1])) as proxy:
        client, other = proxy.client(), subscribe(proxy.client(), channels(2)[1])
        names = [f"many:{number}" for number in range(20_000)]
        client.send_until_stalled(command("SUBSCRIBE", *names))
        client.read_until(confirmation("subscribe", names[-1], len(names)))
        mortal.kill()
        client.expect_closed()
        wait_until(lambda: len(arguments(servers[1].ask("PUBSUB", "CHANNELS"))) == 1, "the other channels have ended")
        publish(proxy.client(), channels(2)[1], "x")
        other.expect(message(channels(2)[1], "x"))
        other.close()
        wait_for_silence(servers[1])


def test_who_does_not_read_is_cut_off(servers: list[RedisServer]) -> None:
    """Other clients get every message, and the memory of the proxy is bounded."""
    count, version = 60, 3
    with Proxy(redis_pool(*servers)) as proxy:
        lazy, reader, publisher = proxy.client(), proxy.client(), proxy.client()
        subscribe(switch(lazy, version), ON_FIRST, version=version)
        subscribe(reader, ON_FIRST)
        before = proxy.memory()
        for _ in range(count):
            publish(publisher, ON_FIRST, MEGABYTE)
            reader.expect(message(ON_FIRST, MEGABYTE))
            assert proxy.memory() - before < 100 * len(MEGABYTE)
        wait_until(lambda: publisher.ask("PUBSUB", "NUMSUB", ON_FIRST).endswith(b":1\r\n"), "the slow client is closed")
        whole = message(ON_FIRST, MEGABYTE, version)
        rest = lazy.read_to_end()
        assert len(rest) < count * len(whole)
        assert rest == (whole * (len(rest) // len(whole) + 1))[: len(rest)]
        publish(publisher, ON_FIRST, "last")
        reader.expect(message(ON_FIRST, "last"))


def test_a_message_is_in_memory_once(servers: list[RedisServer]) -> None:
    """Whatever the number of clients that have not read it yet."""
    count, versions = 20, (2, 3) * 20
    with Proxy(redis_pool(*servers)) as proxy:
        clients = [subscribe(switch(proxy.client(), each), ON_FIRST, version=each) for each in versions]
        publisher = proxy.client()
        before = proxy.memory()
        for _ in range(count):
            publish(publisher, ON_FIRST, MEGABYTE)
        wait_until(lambda: proxy.server_stats("s00")["responses"] >= count, "all messages are published")
        assert proxy.memory() - before < 4 * count * len(MEGABYTE)
        for client, version in zip(clients[:2], (2, 3), strict=True):
            client.expect(message(ON_FIRST, MEGABYTE, version) * count)


def test_nothing_comes_after_quit(proxy: ServedPools) -> None:
    """Also if the connection stays open for a while, because the client has not read earlier messages."""
    part = b"y" * 100_000
    client, reader, publisher = proxy.client(), proxy.client(), proxy.client()
    subscribe(client, ON_FIRST)
    subscribe(reader, ON_FIRST)
    host, port = client.sock.getsockname()
    count = 0

    def is_waiting() -> bool:
        lines = publisher.ask("CLIENT", "LIST").split(b"\n")
        return any(f" addr={host}:{port} ".encode() in line and b" omem=0 " not in line for line in lines)

    while not is_waiting():
        publish(publisher, ON_FIRST, part)
        reader.expect(message(ON_FIRST, part))
        count += 1
    assert client.sock.send(command("QUIT")) == len(command("QUIT"))
    client.wait_consumed()
    publish(publisher, ON_FIRST, "after")
    reader.expect(message(ON_FIRST, "after"))
    client.expect(message(ON_FIRST, part) * count + OK)
    client.expect_closed()
    reader.close()


def test_the_proxy_stops_with_subscribers(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        clients = [subscribe(proxy.client(), ON_FIRST), subscribe(switch(proxy.client(), 3), ON_SECOND, version=3)]
        clients.append(subscribe(proxy.client(), "*", kind="psubscribe"))
        assert proxy.terminate() == 0
        for client in clients:
            client.expect_closed()


def test_what_client_list_says(proxy: ServedPools) -> None:
    with proxy.client() as asking, proxy.client() as client, RedisServer() as server:
        direct, twin = server.connect(), server.connect()
        for connection in (client, twin):
            connection.send(command("SUBSCRIBE", "a", "b") + command("PSUBSCRIBE", "x*"))
            connection.send(command("SSUBSCRIBE", "s"))
            connection.replies(4)
        told = [
            {field for field in connection.ask("CLIENT", "LIST", "TYPE", "pubsub").split() if b"sub=" in field}
            for connection in (asking, direct)
        ]
        assert told[0] >= {b"sub=2", b"psub=1", b"ssub=1"} and told[1] >= told[0]
        assert asking.ask("CLIENT", "KILL", "TYPE", "pubsub") == integer(1)
        client.expect_closed()
