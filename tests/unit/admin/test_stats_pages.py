"""HTTP on the statistics port: what gets a response, which one, and what does not."""

import asyncio
import errno
import gzip
import os
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import pytest

from twemproxy.admin import http, stats_port
from twemproxy.admin.http import Body, Request, Response
from unit.admin.ports import DOCUMENT, FULL, Port, read, run, serving

LONG = Response(200, "text/plain", (b"long " * 1000, b"and longer " * 200))


def header(answer: bytes, name: str) -> str:
    head, _, _ = answer.partition(b"\r\n\r\n")
    for line in head.decode().split("\r\n")[1:]:
        found, _, value = line.partition(": ")
        if found == name:
            return value
    return ""


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def status(answer: bytes) -> int:
    version, _, rest = answer.partition(b" ")
    assert version == b"HTTP/1.1", answer
    return int(rest[:3])


def shown(request: Request) -> Response:
    return http.text(200, f"{request.path} {request.accept}")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("end", ["\r\n\r\n", "\n\n", "\r\nHost: localhost\r\nAccept: */*\r\n\r\n", "\nX:y\n\n"])
def test_a_page_is_a_response_and_the_end_of_the_stream(version: str, end: str) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            answer = await read(address, f"GET /stats.json HTTP/{version}{end}".encode())
            assert (status(answer), body(answer)) == (200, FULL)
            assert header(answer, "content-type") == "application/json"
            assert header(answer, "content-length") == str(len(FULL))
            assert header(answer, "connection") == "close"
            assert header(answer, "cache-control") == "no-store"
            assert header(answer, "x-content-type-options") == "nosniff"
            assert header(answer, "access-control-allow-origin") == ""

    run(scenario)


def test_head_is_the_response_without_the_body() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            answer = await read(address, b"HEAD /stats.json HTTP/1.1\r\n\r\n")
            assert (status(answer), body(answer)) == (200, b"")
            assert header(answer, "content-length") == str(len(FULL))

    run(scenario)


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("", False), ("gzip", True), ("deflate, gzip;q=0.5, br", True), ("gzip;q=0", False), ("identity", False)],
)
def test_long_bodies_are_compressed_for_those_who_accept_it(accepted: str, is_compressed: bool) -> None:
    request = b"GET /%s HTTP/1.1\r\n" + (f"Accept-Encoding: {accepted}\r\n" if accepted else "").encode() + b"\r\n"

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, long=lambda _: LONG, short=shown) as address:
            answer = await read(address, request % b"long")
            assert header(answer, "content-encoding") == ("gzip" if is_compressed else "")
            assert (gzip.decompress(body(answer)) if is_compressed else body(answer)) == b"".join(LONG.body)
            assert header(await read(address, request % b"short"), "content-encoding") == ""

    run(scenario)


def test_a_page_gets_the_headers_that_matter() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown) as address:
            request = (
                b"GET /page HTTP/1.1\r\nACCEPT:  text/html, x/y;q=0.5\r\nHost: h\r\naccept: z/z\r\nnonsense\r\n\r\n"
            )
            assert body(await read(address, request)) == b"/page text/html, x/y;q=0.5, z/z\n"

    run(scenario)


@pytest.mark.parametrize(
    ("accept", "leads_on"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("TEXT/HTML; q=0.1", True),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_the_root_leads_browsers_to_the_dashboard(accept: str, leads_on: bool) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, ui=shown) as address:
            answer = await read(address, b"GET / HTTP/1.1\r\nAccept: %s\r\n\r\n" % accept.encode())
            if leads_on:
                assert (status(answer), header(answer, "location")) == (302, "/ui")
            else:
                assert answer == DOCUMENT

    run(scenario)


@pytest.mark.parametrize(
    "beginning",
    [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nAccept: text/html\r\n", b"GET / HTTP/1.1\r\n" + bytes(9000)],
)
def test_the_root_without_all_headers_is_nutcrackers_document(beginning: bytes) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, ui=shown) as address:
            assert await read(address, beginning) == DOCUMENT

    run(scenario)


def test_without_a_dashboard_the_root_is_nutcrackers_document() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            assert await read(address, b"GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n") == DOCUMENT

    run(scenario)


@pytest.mark.parametrize(
    "line",
    [
        *(b"POST /page HTTP/1.1", b"get /page HTTP/1.1", b"GET /page HTTP/2", b"GET /page HTTP/1.2", b"GET /page"),
        *(b"GET /page/ HTTP/1.1", b"GET /page?x HTTP/1.1", b"GET //page HTTP/1.1", b"GET /ui/none HTTP/1.1"),
        *(b"GET  /page HTTP/1.1", b"GET /page HTTP/1.1 ", b"GET http://h/page HTTP/1.1", b"GET /../page HTTP/1.1"),
    ],
)
def test_any_other_request_line_gets_nutcrackers_document(line: bytes) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown, ui=shown) as address:
            assert await read(address, line + b"\r\n\r\n") == DOCUMENT

    run(scenario)


async def asked(address: Port, *parts: bytes) -> bytes:
    """The answer to a request that is sent in parts, each in a packet of its own."""
    reader, writer = await asyncio.open_connection(*address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    return answer


def test_a_request_may_come_byte_by_byte() -> None:
    request = b"GET /page HTTP/1.1\r\nAccept: a/b\r\n\r\n"

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown) as address:
            assert body(await asked(address, *(bytes([byte]) for byte in request))) == b"/page a/b\n"

    run(scenario)


def test_headers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "HEADERS_TIME", 30)
    line = b"GET /page HTTP/1.1\r\n"

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown) as address:
            fits = b"x: " + b"y" * (stats_port.MOST_HEADERS - 7) + b"\r\n\r\n"
            assert len(fits) == stats_port.MOST_HEADERS
            assert status(await asked(address, line, fits)) == 200
            assert status(await asked(address, line, b"x" + fits)) == 431
            assert status(await asked(address, line, b"x" * 1_000_000)) == 431

    run(scenario)


def test_half_a_request_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "HEADERS_TIME", 0.1)

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown) as address:
            assert status(await asked(address, b"GET /page HTTP/1.1\r\nAccept: ")) == 408

    run(scenario)


def test_the_end_of_the_stream_ends_the_headers() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=shown) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /page HTTP/1.1\r\nAccept: a/b")
            writer.write_eof()
            assert body(await reader.read()) == b"/page a/b\n"
            writer.close()

    run(scenario)


def test_a_page_that_fails_is_an_error_and_the_port_goes_on() -> None:
    def fail(request: Request) -> Response:
        raise RuntimeError("expected")

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT, page=fail) as address:
            for _ in range(2):
                assert status(await read(address, b"GET /page HTTP/1.1\r\n\r\n")) == 500
            assert await read(address) == DOCUMENT

    run(scenario)


def test_who_asks_while_an_answer_is_made_gets_the_next_one() -> None:
    """An answer is never older than its request, and is made once for all who wait for it."""
    begun, finish = asyncio.Event(), asyncio.Event()
    made = 0

    async def page(request: Request) -> Response:
        nonlocal made
        made += 1
        number = made
        begun.set()
        await finish.wait()
        return http.text(200, str(number))

    pages: dict[str, Callable[[Request], Awaitable[Response]]] = {"/page": page}

    async def document(full: bool) -> Body:
        return (DOCUMENT,)

    async def scenario() -> None:
        port = stats_port.StatsPort(document, pages)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await port.open(listening)
            address: Port = listening.getsockname()
            request = b"GET /page HTTP/1.1\r\n\r\n"
            first = asyncio.create_task(read(address, request))
            await begun.wait()
            others = [asyncio.create_task(read(address, request)) for _ in range(20)]
            # Whoever is served after the others have asked: a reader without a request waits for 50 ms.
            assert await read(address) == DOCUMENT
            finish.set()
            assert body(await first) == b"1\n"
            assert {body(await other) for other in others} == {b"2\n"}
            port.close()

    run(scenario)


def test_a_reader_that_leaves_does_not_keep_the_answer_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It resets the connection after its answer was written, and before the end of the stream is."""
    begun, finish = asyncio.Event(), asyncio.Event()
    left = 0

    async def page(request: Request) -> Response:
        begun.set()
        await finish.wait()
        return http.text(200, "answer")

    async def document(full: bool) -> Body:
        return (DOCUMENT,)

    def shut_down(connection: socket.socket, how: int) -> None:
        # So the kernel refuses it then.
        nonlocal left
        left += 1
        if left <= 2:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        super(socket.socket, connection).shutdown(how)

    async def scenario() -> None:
        port = stats_port.StatsPort(document, {"/page": page})
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await port.open(listening)
            address: Port = listening.getsockname()
            reading = [asyncio.create_task(read(address, b"GET /page HTTP/1.1\r\n\r\n")) for _ in range(10)]
            await begun.wait()
            assert await read(address) == DOCUMENT
            monkeypatch.setattr(socket.socket, "shutdown", shut_down)
            monkeypatch.setattr(stats_port, "LINGER", 0.1)
            finish.set()
            assert {body(await each) for each in reading} == {b"answer\n"}
            assert left == 10
            port.close()

    run(scenario)


def test_the_date_is_that_of_http() -> None:
    before = int(time.time())
    [line] = [line for line in http.head_of(http.text(200, "x")).decode().splitlines() if line.startswith("date: ")]
    assert line.endswith(" GMT")
    assert before <= parsedate_to_datetime(line.removeprefix("date: ")).timestamp() <= time.time()
