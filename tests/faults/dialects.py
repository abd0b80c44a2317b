"""The differences between the protocols: how requests are written, what replies mean, and which servers speak them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NoReturn

from harness import memcache, resp
from harness.proxy import memcached_pool, redis_pool
from harness.servers import MemcachedServer, RedisServer

Server = RedisServer | MemcachedServer


class Failure(bytes):
    """An error reply."""


class UnfittingError(Exception):
    """A reply that does not fit its request."""


def unfitting(reply: object) -> NoReturn:
    """Raise an ``UnfittingError`` that shows the reply."""
    raise UnfittingError(repr(reply)[:120])


class Dialect(ABC):
    """One protocol, as the clients speak it. ``reply`` is a result of ``read``."""

    name: str
    stored: bytes
    """The reply to a successful set."""
    deleted: bytes
    """The reply to a deletion that found the key."""
    has_multi_set: bool
    has_silent_set: bool
    creates: bool
    """Whether increments and appends create a missing key; otherwise ``create`` does."""

    @abstractmethod
    def server(self) -> Server:
        """A new server that is running."""

    @abstractmethod
    def directives(self, addresses: Sequence[str], **more: object) -> dict[str, object]:
        """The directives of a pool of these servers."""

    @abstractmethod
    def present(self, server: Server, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that the server itself has."""

    @abstractmethod
    def counted(self, server: Server, key: bytes) -> int:
        """The number that the server itself has for a key; 0 for none."""

    @abstractmethod
    def flush(self, server: Server) -> None:
        """Delete all keys of the server."""

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> bytes:
        """A request to read one key or several keys."""

    @abstractmethod
    def set(self, key: bytes, value: bytes, *, silent: bool = False) -> bytes:
        """A request to store a value; ``silent``: without a reply."""

    @abstractmethod
    def set_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
        """A request to store several values."""

    @abstractmethod
    def delete(self, key: bytes) -> bytes:
        """A request to delete a key."""

    @abstractmethod
    def increment(self, key: bytes) -> bytes:
        """A request to increment a counter."""

    @abstractmethod
    def create(self, key: bytes) -> bytes:
        """A request to create a counter of 0, unless it exists."""

    @abstractmethod
    def append(self, key: bytes, data: bytes) -> bytes:
        """A request to append data to a value."""

    @abstractmethod
    def read(self, data: bytearray, start: int) -> tuple[object, int] | None:
        """The reply at ``start`` and its end; None if it is incomplete, ``UnfittingError`` if it is no reply."""

    @abstractmethod
    def values(self, reply: object, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values that a read has found, in the order of the keys."""

    @abstractmethod
    def is_stored(self, reply: object) -> bool:
        """Whether a set succeeded."""

    @abstractmethod
    def is_appended(self, reply: object) -> bool:
        """Whether an append found its key."""

    @abstractmethod
    def is_deleted(self, reply: object) -> bool:
        """Whether a deletion found the key."""

    @abstractmethod
    def number(self, reply: object) -> int | None:
        """The result of an increment; None if there is no such key."""


class Status(bytes):
    """A simple string of redis, or a line of memcached."""


class Redis(Dialect):
    """RESP 2."""

    name = "redis"
    stored = resp.OK
    deleted = b":1\r\n"
    has_multi_set = True
    has_silent_set = False
    creates = True

    def server(self) -> Server:
        return RedisServer()

    def directives(self, addresses: Sequence[str], **more: object) -> dict[str, object]:
        return redis_pool(*addresses, **more)

    def present(self, server: Server, keys: Sequence[bytes]) -> set[bytes]:
        assert isinstance(server, RedisServer)
        found = server.ask("KEYS", "*")
        return set(resp.arguments(found)) & set(keys)

    def counted(self, server: Server, key: bytes) -> int:
        assert isinstance(server, RedisServer)
        reply = self.read(bytearray(server.ask("GET", key)), 0)
        assert reply is not None and (reply[0] is None or isinstance(reply[0], bytes))
        return int(reply[0] or 0)

    def flush(self, server: Server) -> None:
        assert isinstance(server, RedisServer)
        assert server.ask("FLUSHALL") == resp.OK

    def get(self, keys: Sequence[bytes]) -> bytes:
        return resp.command("GET" if len(keys) == 1 else "MGET", *keys)

    def set(self, key: bytes, value: bytes, *, silent: bool = False) -> bytes:
        assert not silent
        return resp.command("SET", key, value)

    def set_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
        return resp.command("MSET", *(word for pair in pairs for word in pair))

    def delete(self, key: bytes) -> bytes:
        return resp.command("DEL", key)

    def increment(self, key: bytes) -> bytes:
        return resp.command("INCR", key)

    def create(self, key: bytes) -> bytes:
        raise NotImplementedError

    def append(self, key: bytes, data: bytes) -> bytes:
        return resp.command("APPEND", key, data)

    def read(self, data: bytearray, start: int) -> tuple[object, int] | None:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind, line, after = data[start], bytes(data[start + 1 : line_end]), line_end + 2
        if kind == ord("$"):
            if line == b"-1":
                return None, after
            end = after + _decimal(line)
            return (bytes(data[after:end]), end + 2) if end + 2 <= len(data) else None
        if kind == ord("+"):
            return Status(line), after
        if kind == ord(":"):
            return _decimal(line), after
        if kind == ord("-"):
            return Failure(line), after
        if kind != ord("*"):
            unfitting(bytes(data[start : start + 60]))
        elements: list[object] = []
        for _ in range(_decimal(line)):
            element = self.read(data, after)
            if element is None:
                return None
            elements.append(element[0])
            after = element[1]
        return elements, after

    def values(self, reply: object, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found = reply if len(keys) > 1 else [reply]
        if not isinstance(found, list) or len(found) != len(keys):
            unfitting(reply)
        for value in found:
            if value is not None and type(value) is not bytes:
                unfitting(reply)
        return found

    def is_stored(self, reply: object) -> bool:
        if reply != b"OK" or not isinstance(reply, Status):
            unfitting(reply)
        return True

    def is_appended(self, reply: object) -> bool:
        if not isinstance(reply, int):
            unfitting(reply)
        return True

    def is_deleted(self, reply: object) -> bool:
        if reply not in (0, 1):
            unfitting(reply)
        return reply == 1

    def number(self, reply: object) -> int | None:
        if not isinstance(reply, int):
            unfitting(reply)
        return reply


class Memcached(Dialect):
    """The text protocol of memcached."""

    name = "memcached"
    stored = memcache.STORED
    deleted = memcache.DELETED
    has_multi_set = False
    has_silent_set = True
    creates = False

    def server(self) -> Server:
        return MemcachedServer()

    def directives(self, addresses: Sequence[str], **more: object) -> dict[str, object]:
        return memcached_pool(*addresses, **more)

    def present(self, server: Server, keys: Sequence[bytes]) -> set[bytes]:
        assert isinstance(server, MemcachedServer)
        found: set[bytes] = set()
        for first in range(0, len(keys), 100):
            found.update(key.encode() for key in server.present(key.decode() for key in keys[first : first + 100]))
        return found

    def counted(self, server: Server, key: bytes) -> int:
        assert isinstance(server, MemcachedServer)
        return int(server.get(key.decode()) or 0)

    def flush(self, server: Server) -> None:
        assert isinstance(server, MemcachedServer)
        server.flush()

    def get(self, keys: Sequence[bytes]) -> bytes:
        return b"get %s\r\n" % b" ".join(keys)

    def set(self, key: bytes, value: bytes, *, silent: bool = False) -> bytes:
        return b"set %s 0 0 %d%s\r\n%s\r\n" % (key, len(value), b" noreply" if silent else b"", value)

    def set_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
        raise NotImplementedError

    def delete(self, key: bytes) -> bytes:
        return b"delete %s\r\n" % key

    def increment(self, key: bytes) -> bytes:
        return b"incr %s 1\r\n" % key

    def create(self, key: bytes) -> bytes:
        return b"add %s 0 0 1\r\n0\r\n" % key

    def append(self, key: bytes, data: bytes) -> bytes:
        return b"append %s 0 0 %d\r\n%s\r\n" % (key, len(data), data)

    def read(self, data: bytearray, start: int) -> tuple[object, int] | None:
        found: list[tuple[bytes, bytes]] = []
        while True:
            line_end = data.find(b"\r\n", start)
            if line_end < 0:
                return None
            line, start = bytes(data[start:line_end]), line_end + 2
            if not line.startswith(b"VALUE "):
                break
            words = line.split(b" ")
            end = start + _decimal(words[3])
            if end + 2 > len(data):
                return None
            found.append((words[1], bytes(data[start:end])))
            start = end + 2
        if line == b"END":
            return found, start
        if line.startswith((b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR")):
            return Failure(line), start
        if found:
            unfitting(line)
        return Status(line), start

    def values(self, reply: object, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        if not isinstance(reply, list):
            unfitting(reply)
        found = dict(reply)
        if [key for key in keys if key in found] != [key for key, _ in reply]:
            unfitting(reply)
        return [found.get(key) for key in keys]

    def is_stored(self, reply: object) -> bool:
        if reply not in (b"STORED", b"NOT_STORED"):
            unfitting(reply)
        return reply == b"STORED"

    def is_appended(self, reply: object) -> bool:
        return self.is_stored(reply)

    def is_deleted(self, reply: object) -> bool:
        if reply not in (b"DELETED", b"NOT_FOUND"):
            unfitting(reply)
        return reply == b"DELETED"

    def number(self, reply: object) -> int | None:
        if not isinstance(reply, Status):
            unfitting(reply)
        return None if reply == b"NOT_FOUND" else _decimal(reply)


REDIS = Redis()
MEMCACHED = Memcached()


def _decimal(text: bytes) -> int:
    if not text.isdigit():
        unfitting(text)
    return int(text)
