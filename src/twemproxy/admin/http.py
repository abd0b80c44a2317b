"""HTTP/1.0 and HTTP/1.1 as far as the statistics port needs it: one request without a body, one response.

A library would bring far more than that: the supervisor loads none for HTTP, which would take more memory and more of
its start than all of this package.
"""

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

METHODS: Final = ("GET", "HEAD")
VERSIONS: Final = ("HTTP/1.0", "HTTP/1.1")

LEAST_COMPRESSED: Final = 4096
"""Bodies of fewer bytes are sent as they are."""

_REASONS: Final = {
    200: "OK",
    302: "Found",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


_COMPRESSION_LEVEL: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS
_SLICE: Final = 1 << 17
"""Bytes that are compressed before others get their turn, about a millisecond."""


Body = Sequence[bytes]
"""A body, or a document without HTTP, in pieces. Large ones are never joined, because that takes long."""


class Request(NamedTuple):
    """What a response depends on. Requests that are equal get the same response."""

    path: str
    accept: str = ""
    """The value of the header of this name, empty without it. Several such headers are joined."""
    gzip: bool = False
    """Whether the response may be compressed."""

    def accepts(self, media_type: str) -> bool:
        """Whether the client names this type, as ``text/html``, and does not refuse it."""
        return _quality(self.accept, media_type) > 0

    def prefers(self, media_type: str, other: str) -> bool:
        """Whether the client names this type and likes it at least as much as another one."""
        quality = _quality(self.accept, media_type)
        return quality > 0 and quality >= _quality(self.accept, other)


class Response(NamedTuple):
    """A response, without the headers that all of them have."""

    status: int
    content_type: str
    body: Body
    headers: tuple[tuple[str, str], ...] = ()


def text(status: int, body: str) -> Response:
    """A response for people and probes: one line."""
    return Response(status, "text/plain; charset=utf-8", (f"{body}\n".encode(),))


def request_lines(paths: Iterable[str]) -> dict[bytes, tuple[str, str]]:
    """The request lines for these paths, each with its method and its path."""
    return {
        f"{method} {path} {version}".encode(): (method, path)
        for path in paths
        for method in METHODS
        for version in VERSIONS
    }


def end_of_headers(data: bytes | bytearray, start: int) -> int:
    """Where the headers that begin at ``start`` end, with the empty line; -1 if they are incomplete.

    A line ends in a line feed, or in a carriage return and a line feed.
    """
    while (newline := data.find(b"\n", start)) >= 0:
        if data[start:newline] in (b"", b"\r"):
            return newline + 1
        start = newline + 1
    return -1


def parse(path: str, headers: bytes | bytearray) -> Request:
    """The request for a path with these header lines. What is no header line is passed over."""
    values: dict[str, list[str]] = {}
    for line in headers.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip().lower(), []).append(value.strip())
    accept, encodings = (", ".join(values.get(name, ())) for name in ("accept", "accept-encoding"))
    return Request(path, accept, _quality(encodings, "gzip") > 0)


def _quality(header: str, wanted: str) -> float:
    """The quality, from 0 to 1, of a word in a header as Accept; 0 if it is not there. Wildcards do not count."""
    for part in header.split(","):
        word, *parameters = (each.strip().lower() for each in part.split(";"))
        if word == wanted:
            for parameter in parameters:
                name, _, value = parameter.partition("=")
                if name.strip() == "q":
                    try:
                        return float(value)
                    except ValueError:
                        return 0
            return 1
    return 0


def size_of(body: Body) -> int:
    """How many bytes there are."""
    return sum(map(len, body))


def slices(body: Body, most: int) -> Iterator[memoryview]:
    """Yield all bytes, ``most`` at a time or fewer. They are not copied."""
    for piece in body:
        view = memoryview(piece)
        for start in range(0, len(view), most):
            yield view[start : start + most]


def may_compress(request: Request, response: Response) -> bool:
    """Whether the body should be compressed."""
    return request.gzip and size_of(response.body) >= LEAST_COMPRESSED


async def compressed(response: Response) -> Response:
    """The response with a compressed body."""
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP)
    parts = []
    for part in slices(response.body, _SLICE):
        parts.append(compressor.compress(part))
        await asyncio.sleep(0)
    parts.append(compressor.flush())
    headers = (*response.headers, ("content-encoding", "gzip"))
    return response._replace(body=tuple(parts), headers=headers)


def head_of(response: Response) -> bytes:
    """The bytes of a response before its body."""
    # Here, because it takes 1 MB of memory, and many proxies are not asked over HTTP.
    from email.utils import formatdate

    lines = [
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
        f"date: {formatdate(usegmt=True)}",
        f"content-type: {response.content_type}",
        f"content-length: {size_of(response.body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "vary: accept, accept-encoding",
        *(f"{name}: {value}" for name, value in response.headers),
        "connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
