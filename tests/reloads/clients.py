"""Clients that verify every reply, each a coroutine on one connection.

All names of servers in a pool of the load are the same process, so a key has its value wherever it is: a reply that is
lost, wrong, given twice or to another client is noticed, whatever moves.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any


class Failed(Exception):
    """A reply, or its lack, is not what the client is owed."""


class Tally:
    """What the clients have seen: counts by name, and what is wrong."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.wrong: list[str] = []

    def count(self, name: str, more: int = 1) -> None:
        """Count something that is all right."""
        self.counts[name] = self.counts.get(name, 0) + more


class Peer:
    """One connection to the proxy. ``go_on``: cleared at the end, when each client finishes what it has begun."""

    def __init__(self, name: str, tally: Tally, go_on: asyncio.Event) -> None:
        self.name = name
        self.tally = tally
        self.go_on = go_on
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self, port: int) -> None:
        """Connect to a pool."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    async def run(self, work: Callable[["Peer"], Any]) -> None:
        """Run a client; what goes wrong is in the tally."""
        try:
            await work(self)
        except (Failed, OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.tally.wrong.append(f"{self.name}: {type(error).__name__}: {error}")

    async def line(self) -> bytes:
        """The next line."""
        line = await self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise Failed(f"the connection was closed after {line!r}")
        return line[:-2]

    async def reply(self) -> Any:
        """The next reply of redis: bytes, int, list or None; errors and status lines as they are."""
        line = await self.line()
        match line[:1]:
            case b":":
                return int(line[1:])
            case b"$":
                length = int(line[1:])
                return None if length < 0 else (await self.reader.readexactly(length + 2))[:-2]
            case b"*":
                count = int(line[1:])
                return None if count < 0 else [await self.reply() for _ in range(count)]
        return line

    async def ask(self, *words: str | bytes | int) -> Any:
        """The reply to one request of redis."""
        self.send(words)
        return await self.reply()

    def send(self, *requests: Sequence[str | bytes | int]) -> None:
        """Send requests of redis."""
        self.writer.write(b"".join(map(encoded, requests)))

    def expect(self, reply: Any, wanted: Any, what: str) -> None:
        """Count a reply, or fail."""
        if reply != wanted:
            raise Failed(f"{what}: {reply!r} instead of {wanted!r}")
        self.tally.count(what)


def encoded(words: Sequence[str | bytes | int]) -> bytes:
    """A request of redis."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def counting(peer: Peer) -> None:
    """INCR of one key: no request is lost or executed twice."""
    number = 0
    while peer.go_on.is_set():
        number += 1
        peer.expect(await peer.ask("INCR", f"{peer.name}:n"), number, "INCR")


async def pipelining(peer: Peer) -> None:
    """Pipelines of reads, of MSET and MGET over all servers, and of counters."""
    keys = [f"{peer.name}:{i}" for i in range(40)]
    pairs = [word for key in keys for word in (key, f"v of {key}")]
    rounds = 0
    peer.expect(await peer.ask("MSET", *pairs), b"+OK", "MSET")
    while peer.go_on.is_set():
        rounds += 1
        peer.send(
            ("MGET", *keys), ("MSET", *pairs), *(("GET", key) for key in keys), *(("INCR", f"{k}:n") for k in keys)
        )
        peer.expect(await peer.reply(), [f"v of {key}".encode() for key in keys], "MGET")
        peer.expect(await peer.reply(), b"+OK", "MSET")
        for key in keys:
            peer.expect(await peer.reply(), f"v of {key}".encode(), "GET in a pipeline")
        for _ in keys:
            peer.expect(await peer.reply(), rounds, "INCR in a pipeline")


async def transacting(peer: Peer) -> None:
    """MULTI and EXEC: executed whole and once, or, after a move of its keys, not at all."""
    key, number = f"{peer.name}:t", 0
    while peer.go_on.is_set():
        peer.expect(await peer.ask("MULTI"), b"+OK", "MULTI")
        queued = await peer.ask("INCR", key)
        again = await peer.ask("INCR", key)
        reply = await peer.ask("EXEC")
        if isinstance(reply, bytes) and reply.startswith(b"-EXECABORT"):
            peer.tally.count("EXECABORT")
        else:
            peer.expect([queued, again, reply], [b"+QUEUED", b"+QUEUED", [number + 1, number + 2]], "EXEC")
            number += 2
        peer.expect(await peer.ask("GET", key), str(number).encode() if number else None, "GET after EXEC")


def blocking(pusher: Peer) -> Callable[[Peer], Any]:
    """BLPOP on one connection, LPUSH on another: every element arrives once, in order."""

    async def work(peer: Peer) -> None:
        key, number = f"{peer.name}:b", 0
        while peer.go_on.is_set():
            number += 1
            peer.send(("BLPOP", key, 60))
            # Often the client blocks first, and the keys move while it does.
            if number % 3:
                await asyncio.sleep(0.002 * (number % 50))
            pushed = await pusher.ask("RPUSH", key, number)
            if pushed not in (0, 1):
                raise Failed(f"RPUSH: {pushed!r}")
            reply = await asyncio.wait_for(peer.reply(), 30)
            peer.expect(reply, [key.encode(), str(number).encode()], "BLPOP")

    return work


def subscribing(publisher: Peer) -> Callable[[Peer], Any]:
    """SUBSCRIBE on one connection, PUBLISH on another: every message arrives once, in order."""

    async def work(peer: Peer) -> None:
        channel, number = f"{peer.name}:c", 0
        peer.expect(await peer.ask("SUBSCRIBE", channel), [b"subscribe", channel.encode(), 1], "SUBSCRIBE")
        while peer.go_on.is_set():
            number += 1
            reached = await publisher.ask("PUBLISH", channel, number)
            if reached != 1:
                raise Failed(f"PUBLISH of {number} reaches {reached} clients")
            reply = await asyncio.wait_for(peer.reply(), 10)
            peer.expect(reply, [b"message", channel.encode(), str(number).encode()], "message")

    return work


async def remembering(peer: Peer) -> None:
    """memcached: set, get of many keys, incr."""
    keys = [f"{peer.name}:{i}" for i in range(20)]
    for key in (*keys, f"{peer.name}:n"):
        peer.writer.write(f"set {key} 0 0 1\r\n0\r\n".encode())
        peer.expect(await peer.line(), b"STORED", "set")
    number = 0
    while peer.go_on.is_set():
        number += 1
        peer.writer.write(f"incr {peer.name}:n 1\r\nget {' '.join(keys)}\r\n".encode())
        peer.expect(await peer.line(), str(number).encode(), "incr")
        found = set()
        while (line := await peer.line()) != b"END":
            found.add(line.split(b" ")[1].decode())
            peer.expect(await peer.line(), b"0", "value of a get")
        peer.expect(found, set(keys), "get of many keys")
