"""The requests and messages of subscribers as bytes, and helpers to subscribe."""

from harness.connection import Connection
from harness.proxy import keys_of
from harness.resp import array, bulk, command, integer
from harness.servers import RedisServer
from harness.waiting import wait_until

NULLS = {2: b"$-1\r\n", 3: b"_\r\n"}


def pushed(version: int, *elements: bytes) -> bytes:
    """A pushed message in this version of the protocol."""
    return (b">" if version == 3 else b"*") + array(*elements)[1:]


def confirmation(kind: str, name: bytes | str | None, count: int, version: int = 2) -> bytes:
    """The confirmation of ``kind``, such as subscribe or unsubscribe, with the number of remaining topics."""
    return pushed(version, bulk(kind), NULLS[version] if name is None else bulk(name), integer(count))


def message(name: bytes | str, text: bytes | str, version: int = 2, kind: str = "message") -> bytes:
    """A message on a channel."""
    return pushed(version, bulk(kind), bulk(name), bulk(text))


def pattern_message(pattern: bytes | str, name: bytes | str, text: bytes | str, version: int = 2) -> bytes:
    """A message on a channel that a pattern matches."""
    return pushed(version, bulk("pmessage"), bulk(pattern), bulk(name), bulk(text))


def subscribe(connection: Connection, *names: bytes | str, kind: str = "subscribe", version: int = 2) -> Connection:
    """Subscribe a connection without subscriptions, check the confirmations, and return the connection."""
    connection.send(command(kind, *names))
    for number, name in enumerate(names, 1):
        connection.expect(confirmation(kind, name, number, version))
    return connection


def publish(connection: Connection, name: bytes | str, text: bytes | str, kind: str = "PUBLISH") -> None:
    """Publish a message and check that a server has accepted it."""
    reply = connection.ask(kind, name, text)
    assert reply.startswith(b":"), reply


def switch(connection: Connection, version: int) -> Connection:
    """Switch the connection to this version of the protocol and return the connection."""
    assert connection.ask("HELLO", version)[:1] == (b"%" if version == 3 else b"*")
    return connection


def channels(servers: int, prefix: str = "channel") -> list[str]:
    """One channel for each server of a pool."""
    return [keys_of(index, servers, prefix=prefix)[0] for index in range(servers)]


def listeners(server: RedisServer) -> int:
    """The number of connections to a server that have subscriptions."""
    reply = server.ask("CLIENT", "LIST", "TYPE", "pubsub")
    return reply.count(b" addr=")


def number_of(server: RedisServer, name: bytes | str, what: str = "NUMSUB") -> int:
    """The number of connections to a server that are subscribed to a channel."""
    return int(server.ask("PUBSUB", what, name).rsplit(b":", 1)[1])


def wait_for_number(server: RedisServer, name: bytes | str, number: int) -> None:
    """Wait until ``number`` connections to a server are subscribed to a channel."""
    wait_until(lambda: number_of(server, name) == number, f"{number} connections are subscribed to {name!r}")


def wait_for_silence(*servers: RedisServer) -> None:
    """Wait until these servers have no subscriptions."""
    wait_until(lambda: not any(listeners(server) for server in servers), "no connection is subscribed")
