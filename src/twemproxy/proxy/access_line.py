"""The lines of the access log: a JSON object per request. Plain Python; its fields are a table."""

import time
from typing import Final

import msgspec

from twemproxy.log import single_line

LONGEST_KEY: Final = 64
"""Bytes of the first key that are shown."""
LONGEST_NAME: Final = 128
"""Characters of the name of a pool or a server that are shown. With these limits a line is shorter than PIPE_BUF."""
LONGEST_ERROR: Final = 32
"""Bytes of the first word of an error that are shown."""

FIELDS: Final = {
    "time": "when the proxy had read the request: UTC, in RFC 3339 with microseconds",
    "pool": "name of the pool",
    "worker": "number of the worker that served the client",
    "client_address": "address of the client, as the proxy sees it",
    "client_id": "number of the client's connection among those of the pool, as in CLIENT ID",
    "command": "name of the command; empty if the proxy does not know it",
    "key": f"the first key, at most {LONGEST_KEY} bytes; bytes that are no UTF-8 are escaped",
    "keys": "number of keys; 0 if there is none, or the request is too large to look for them",
    "server": "name of the server; of a request to several ones, the server that has replied last; empty: none",
    "servers": "number of servers that the request has reached",
    "request_bytes": "size of the request",
    "reply_bytes": "size of the reply; 0 if the client wants none",
    "reply_from": "`server`; `proxy`: the reply is the proxy's own, or an error of it; `nobody`: the client was closed "
    "before",
    "error": "first word of the reply if that is an error, as `WRONGTYPE` or `SERVER_ERROR`; otherwise empty",
    "closed": "whether the client was closed before the whole reply was written",
    "whole_us": "microseconds from reading the request to writing the reply, the sum of the next three",
    "waiting_us": "until the proxy had sent the request to `server`; without a server, until it had the reply",
    "server_us": "from then on until the proxy had the reply",
    "writing_us": "from then on until the reply was written to the client",
}
"""The fields of a line, in their order, and their meanings."""


class AccessLine(msgspec.Struct):
    """A line; see FIELDS."""

    time: str
    pool: str
    worker: int
    client_address: str
    client_id: int
    command: str
    key: str
    keys: int
    server: str
    servers: int
    request_bytes: int
    reply_bytes: int
    reply_from: str
    error: str
    closed: bool
    whole_us: int
    waiting_us: int
    server_us: int
    writing_us: int


_encode = msgspec.json.Encoder().encode
_second = 0
_second_text = ""


def time_text(microseconds: int) -> str:
    """A time in RFC 3339. ``microseconds``: since the epoch."""
    global _second, _second_text
    second, rest = divmod(microseconds, 1_000_000)
    if second != _second:
        _second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = second
    return f"{_second_text}.{rest:06d}Z"


def line_of(
    read_before: int,
    pool: str,
    worker: int,
    client: tuple[str, int],
    request: tuple[str, bytes, int, int],
    servers: list[str],
    reply: tuple[int, str, bytes, bool],
    times: tuple[int, int, int],
) -> bytes:
    """A line with its newline.

    ``read_before``: microseconds since the request was read. ``client``: address and number. ``request``: the command,
    the first key, the number of keys, the size. ``servers``: the names of those that were asked; the last one has
    replied last. ``reply``: its size, from whom, the first word of an error, whether the client was closed. ``times``:
    waiting, server, writing, in microseconds.
    """
    waiting, server, writing = times
    line = _encode(
        AccessLine(
            time_text(time.time_ns() // 1000 - read_before),
            _shown(pool[:LONGEST_NAME]),
            worker,
            _shown(client[0]),
            client[1],
            request[0],
            request[1][:LONGEST_KEY].decode(errors="backslashreplace"),
            request[2],
            _shown(servers[-1][:LONGEST_NAME]) if servers else "",
            len(servers),
            request[3],
            reply[0],
            reply[1],
            reply[2].decode(errors="backslashreplace"),
            reply[3],
            waiting + server + writing,
            waiting,
            server,
            writing,
        )
    )
    return single_line(line) + b"\n"


def _shown(text: str) -> str:
    """The text as JSON can have it: bytes that are no UTF-8, as in the path of a socket, are escaped."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def first_word(error: bytes) -> bytes:
    """The first word of an error reply of either protocol; ``error``: its first bytes."""
    if error.startswith(b"!"):
        # A bulk error of RESP3: its length is in a line of its own.
        error = error.partition(b"\r\n")[2]
    words = error.removeprefix(b"-").split(None, 1)
    return words[0][:LONGEST_ERROR] if words else b""
