"""A statistics port in the process of the test, and readers of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from twemproxy.admin.http import Body, Request, Response
from twemproxy.admin.stats_port import StatsPort

DOCUMENT = b'{"service":"nutcracker"}\n'
FULL = b'{"service":"nutcracker", "added":1}\n'
PAGE = Response(200, "application/json", (FULL,))

Port = tuple[str, int]


def make_port(document: Callable[[], bytes], **pages: Callable[[Request], Response]) -> StatsPort:
    """A port whose full document is FULL, with the page /stats.json and these."""

    async def make_document(full: bool) -> Body:
        return (FULL,) if full else (document(),)

    def page(make: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def make_page(request: Request) -> Response:
            return make(request)

        return make_page

    all_pages = {"/stats.json": page(lambda _: PAGE)} | {f"/{name}": page(make) for name, make in pages.items()}
    return StatsPort(make_document, all_pages)


@asynccontextmanager
async def serving(document: Callable[[], bytes], **pages: Callable[[Request], Response]) -> AsyncIterator[Port]:
    """A statistics port on loopback, see ``make_port``."""
    port = make_port(document, **pages)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address: Port = listening.getsockname()
        await port.open(listening)
        try:
            yield address
        finally:
            port.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: pytest.fail(f"exception in the port: {context}")
        )
        await asyncio.wait_for(scenario(), 30)

    asyncio.run(main())


async def read(address: Port, request: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()
