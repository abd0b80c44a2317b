"""Requests that take the proxy long are handled in steps, keep their place, and do not delay other clients."""

from statistics import median

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, redis_pool
from harness.resp import OK, array, bulk, command
from harness.servers import RedisServer

MEGA = 1 << 20
NAMES = 20_000
MANY_NAMES = command("COMMAND", "INFO", *["xgroup"] * NAMES)


@pytest.fixture
def element(client: Connection) -> bytes:
    """The element of COMMAND INFO for the command that is named many times in these tests."""
    return client.ask("COMMAND", "INFO", "xgroup").removeprefix(b"*1\r\n")


def test_the_reply_is_whole_and_in_its_place(client: Connection, element: bytes) -> None:
    assert client.ask("SET", "k", "v") == OK
    client.send(command("GET", "k") + MANY_NAMES + command("GET", "k") + command("PING"))
    client.expect(bulk("v") + array(*[element] * NAMES) + bulk("v") + b"+PONG\r\n")


def test_what_is_unknown_or_refused_is_null_in_its_place(client: Connection, element: bytes) -> None:
    names = ["xgroup", "nosuch", "shutdown", "config|nosuch", "XGROUP", "\N{KELVIN SIGN}eys", ""] * 500
    client.send(command("COMMAND", "INFO", *names))
    null = b"$-1\r\n"
    client.expect(array(*[element, null, null, null, element, null, null] * 500))


def test_documentation_of_many_names_tells_each_once(client: Connection) -> None:
    once = client.ask("COMMAND", "DOCS", "get", "set")
    assert once.startswith(b"*4\r\n$3\r\nget\r\n")
    client.send(command("COMMAND", "DOCS", *["get", "nosuch", "SET"] * 5000))
    client.expect(once)


def test_a_client_that_does_not_read_holds_little(servers: list[RedisServer], element: bytes) -> None:
    """The rest of the reply of 100 MB is made when the client has read the first part."""
    assert len(element) * 3 * NAMES > 90 * MEGA
    with Proxy(redis_pool(*servers)) as proxy:
        lazy, client = proxy.client(), proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        before = proxy.memory()
        lazy.send_until_stalled(MANY_NAMES * 3)
        for _ in range(100):
            assert client.ask("PING") == b"+PONG\r\n"
            assert proxy.memory() - before < 32 * MEGA
        for _ in range(3):
            lazy.expect(array(*[element] * NAMES))


def test_a_client_may_leave_meanwhile(proxy: ServedPools, client: Connection) -> None:
    with proxy.client() as leaving:
        leaving.send_until_stalled(MANY_NAMES * 10)
    proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client's connection is closed")
    assert client.ask("PING") == b"+PONG\r\n"


def test_a_client_that_sends_no_more_gets_all(proxy: ServedPools, element: bytes) -> None:
    client = proxy.client()
    client.send(MANY_NAMES)
    client.half_close()
    client.expect(array(*[element] * NAMES))
    client.expect_closed()


def test_a_client_that_wants_no_replies_gets_none(client: Connection) -> None:
    client.send(command("CLIENT", "REPLY", "OFF") + MANY_NAMES + command("CLIENT", "REPLY", "ON"))
    client.expect(OK)
    client.send(command("CLIENT", "REPLY", "SKIP") + MANY_NAMES + command("PING", "behind"))
    client.expect(bulk("behind"))


def test_a_message_comes_behind_the_reply(proxy: ServedPools, client: Connection) -> None:
    subscriber = proxy.client()
    assert subscriber.ask("HELLO", "3").startswith(b"%")
    assert subscriber.ask("SUBSCRIBE", "c").startswith(b">3")
    element = subscriber.ask("COMMAND", "INFO", "xgroup").removeprefix(b"*1\r\n")
    message = b">3\r\n" + bulk("message") + bulk("c") + bulk("m")
    reply = array(*[element] * NAMES)
    subscriber.send(MANY_NAMES)
    came, told = b"", 0
    while len(came) < len(reply) + told * len(message):
        if told < 100:
            assert client.ask("PUBLISH", "c", "m").startswith(b":")
            told += 1
        came += subscriber.collect()
    assert reply in came, "a message is inside the reply"
    assert came.replace(reply, b"") == message * told


def test_many_small_requests_are_spread_over_turns(proxy: ServedPools, client: Connection) -> None:
    """While the proxy answers some of 100,000 requests of one client, another client gets its replies."""
    flood = proxy.client()
    total = 100_000
    count = client.ask("COMMAND", "COUNT")
    flood.send_until_stalled(command("COMMAND", "COUNT") * total)
    answered, steps = 0, []
    while answered < total:
        assert client.ask("PING") == b"+PONG\r\n"
        new = flood.collect().count(count[:1])
        answered += new
        steps.append(new)
    assert answered == total
    assert median(steps) < 1000


def test_inline_commands_are_spread_over_turns(proxy: ServedPools, client: Connection) -> None:
    """While the proxy rewrites and refuses some of 200,000 lines of one client, another client gets its replies."""
    flood = proxy.client()
    total = 200_000
    flood.send_until_stalled(b"GET\n" * total)
    answered, steps = 0, []
    while answered < total:
        assert client.ask("PING") == b"+PONG\r\n"
        new = flood.collect().count(b"-")
        answered += new
        steps.append(new)
    assert answered == total
    assert median(steps) < 3000


def test_a_line_that_takes_long_to_rewrite_is_answered(client: Connection) -> None:
    """The rewriting of one line may be more work than a client may cause in a turn."""
    client.send((b"ping " + b'"\\x41" ' * 9000 + b"\n") * 20)
    client.expect(b"-ERR wrong number of arguments for 'ping' command\r\n" * 20)
