"""Other protocols at a pool's port are recognized, and the pool's own requests are never mistaken for them."""

from typing import Any

import pytest
from feeding import COMPLETE, FOREIGN, INLINE, NEED_MORE, Parser

from harness.flavours import Load

HTTP_LINES = [
    b"GET / HTTP/1.1\r\n",
    b"GET /index.html?a=b HTTP/1.0\n",
    b"HEAD / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"PUT /k HTTP/1.1\r\n",
    b"DELETE /k HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:443 HTTP/1.1  \r\n",
    b"PROPFIND / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"post /\n",
    b"Host: localhost:6379\r\n",
    b"HOST: x\n",
]


@pytest.fixture(params=["redis", "memcache"])
def codec(request: pytest.FixtureRequest, flavour: Load) -> Any:
    """A codec of each protocol."""
    module = flavour(f"twemproxy.protocol.{request.param}.codec")
    return Parser(module.RedisCodec()) if request.param == "redis" else Parser(module.MemcacheCodec())


@pytest.mark.parametrize("line", HTTP_LINES)
def test_http_is_recognized_when_its_line_is_whole(codec: Any, line: bytes) -> None:
    data = b"xx" + line + b"set k 0 0 1\r\na\r\n"
    end = 2 + len(line)
    assert codec.find_request(data, 2, len(data)) == FOREIGN
    assert codec.end == end
    for cut in range(3, end):
        assert codec.find_request(data, 2, cut) == NEED_MORE


@pytest.mark.parametrize(
    "line",
    [
        b"GET k\r\n",
        b"SET k HTTP/1.1\r\n",
        b"set HTTP/1.1 HTTP/1.1\r\n",
        b"MGET / HTTP/1.1\r\n",
        b"DEL HTTP/1.1\r\n",
        b"ECHO HTTP/1.1\r\n",
        b"GET HTTP/1.1\r\n",
        b"BREW / HTCPCP/1.0\r\n",
        b"HTTP\r\n",
        b"POSTS a\r\n",
        b"Host a\r\n",
        b"unknown post host:\r\n",
    ],
)
def test_inline_commands_of_redis_are_no_http(flavour: Load, line: bytes) -> None:
    codec: Any = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    assert codec.find_request(line, 0, len(line)) == INLINE


@pytest.mark.parametrize(
    "line", [b"get / HTTP/1.1\r\n", b"delete HTTP/1.1\r\n", b"gets HTTP/1.1 HTTP/1.1\r\n", b"GET k\r\n", b"HTTP\r\n"]
)
def test_lines_of_memcached_are_no_http(flavour: Load, line: bytes) -> None:
    codec: Any = Parser(flavour("twemproxy.protocol.memcache.codec").MemcacheCodec())
    assert codec.find_request(line, 0, len(line)) == COMPLETE


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
        (b"\x16\x03", "TLS"),
        (b"\x16", ""),
        (b"\x16\x04", ""),
        (b"\x80", "memcached's binary protocol"),
        (b"\x80\x0a" + bytes(22), "memcached's binary protocol"),
        (b"*1\r\n", ""),
        (b"get k\r\n", ""),
        (b"\x81\x80", ""),
    ],
)
def test_first_bytes_tell_the_protocol(flavour: Load, data: bytes, name: str) -> None:
    assert flavour("twemproxy.protocol.foreign").spoken_first(data) == name
