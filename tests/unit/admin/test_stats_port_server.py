"""Whoever connects to the statistics port gets the whole document and a clean end, whatever they do."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from twemproxy.admin import stats_port
from twemproxy.admin.stats_port import StatsPort

DOCUMENT = b'{"service":"nutcracker"}\n'

Port = tuple[str, int]


@asynccontextmanager
async def serving(document: Callable[[], bytes]) -> AsyncIterator[Port]:
    """A statistics port on loopback."""
    port = StatsPort(document)
    listening = socket.create_server(("127.0.0.1", 0))
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


def test_every_reader_gets_a_document_of_its_own() -> None:
    made = iter([b"one\n", b"two\n", b"three\n"])

    async def scenario() -> None:
        async with serving(lambda: next(made)) as address:
            assert [await read(address) for _ in range(3)] == [b"one\n", b"two\n", b"three\n"]

    run(scenario)


def test_a_request_is_thrown_away_and_does_not_reset_the_connection() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(100_000))
            assert await reader.read() == DOCUMENT
            writer.write(b"still here")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    run(scenario)


def test_a_reader_that_has_shut_down_its_side_gets_all_of_a_long_document() -> None:
    long = bytes(5_000_000)

    async def scenario() -> None:
        async with serving(lambda: long) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write_eof()
            assert len(await reader.read()) == len(long)
            writer.close()

    run(scenario)


def test_a_stuck_reader_stops_nobody_and_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "SEND_TIMEOUT", 0.2)
    documents = [bytes(20_000_000), DOCUMENT]

    async def scenario() -> None:
        async with serving(lambda: documents.pop(0)) as address:
            stuck = socket.create_connection(address)
            stuck.setblocking(False)
            assert await read(address) == DOCUMENT
            got = 0
            with pytest.raises(ConnectionResetError):
                # Taking little by little does not make the time longer.
                while part := await asyncio.get_running_loop().sock_recv(stuck, 4096):
                    got += len(part)
                    await asyncio.sleep(0.002)
            assert 0 < got < 20_000_000
            stuck.close()

    run(scenario)


def test_a_reader_that_never_closes_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "LINGER", 0.1)

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.read() == DOCUMENT
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            writer.close()

    run(scenario)


def test_one_reader_too_many_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "MOST_READERS", 2)

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            kept = [await asyncio.open_connection(*address) for _ in range(2)]
            for reader, _ in kept:
                assert await reader.readline() == DOCUMENT
            with pytest.raises(ConnectionResetError):
                await read(address)
            for _, writer in kept:
                writer.close()
            while True:  # until the port has noticed that the others are gone
                try:
                    assert await read(address) == DOCUMENT
                    break
                except ConnectionResetError:
                    continue

    run(scenario)


def test_readers_that_reset_do_no_harm() -> None:
    async def scenario() -> None:
        async with serving(lambda: bytes(1_000_000)) as address:
            for _ in range(20):
                rude = socket.create_connection(address)
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                rude.close()
            assert len(await read(address)) == 1_000_000

    run(scenario)


def test_after_close_nobody_is_served() -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            assert await read(address) == DOCUMENT
        with pytest.raises(ConnectionRefusedError):
            await read(address)

    run(scenario)
