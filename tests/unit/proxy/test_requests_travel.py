"""A framed request is a value: it can be framed for one pool and sent by a connection of another pool."""

from typing import Any

from harness.resp import bulk, command
from harness.servers import MemcachedServer, RedisServer
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.request import Cursor, Request
from unit.in_process import configuration, new_data_plane

COMPLETE = 1
make: Any = lambda kind, *arguments: kind(*arguments)  # noqa: E731


class Pool:
    """A pool of one server, with its own event loop and codec."""

    def __init__(self, server: RedisServer | MemcachedServer, codec: Any) -> None:
        redis = isinstance(server, RedisServer)
        pool = {"redis": redis, "servers": [f"{server.address}:1"]}
        self.data_plane = new_data_plane(configuration(pool), codec)

    def send(self, request: Any, data: bytes) -> bytes:
        """Send a request that was framed elsewhere; returns the reply."""
        replies: list[bytes] = []
        pool = self.data_plane.pools[0]
        pool.send_framed(
            pool.servers[0], request, data, lambda reply, answered: replies.append(reply) if answered else None
        )
        while not replies:
            self.data_plane.loop.run_once()
        return replies[0]


def framed(codec: Any, data: bytes, later: bytes) -> Any:
    """The request that is all of ``data``; the codec has framed another request since."""
    request = Request()
    for value, stream in ((request, data), (Request(), later)):
        cursor = Cursor()
        assert codec.find_request(stream, 0, len(stream), cursor, value) == COMPLETE
        assert cursor.length == len(stream)
    return request


def test_a_request_of_redis(redis: RedisServer) -> None:
    written = command("SET", "key", "value")
    request = framed(make(RedisCodec), written, command("NOT-A-COMMAND"))
    pool = Pool(redis, make(RedisCodec))
    assert pool.send(request, written) == b"+OK\r\n"
    assert redis.ask("GET", "key") == bulk("value")


def test_a_request_of_memcached(memcached: MemcachedServer) -> None:
    """The request includes which bytes are not forwarded and which replies the client does not want."""
    written = b"set key 5 0 5 noreply\r\nvalue\r\n"
    request = framed(make(MemcacheCodec), written, b"get other another\r\n")
    pool = Pool(memcached, make(MemcacheCodec))
    assert pool.send(request, written) == b""
    read = b"mg key v q f\r\n"
    request = framed(make(MemcacheCodec), read, b"get other another\r\n")
    assert pool.send(request, read) == b"VA 5 f5\r\nvalue\r\n"
