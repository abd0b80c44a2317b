"""Readers of the statistics port get the document that they request and a clean end, whatever other readers do."""

import asyncio
import random
import socket
import struct

import pytest

from twemproxy.admin import stats_port
from unit.admin.ports import DOCUMENT, FULL, Port, make_port, read, run, serving


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
            while len(documents) > 1:
                await asyncio.sleep(0)
            assert await read(address) == DOCUMENT
            got = 0
            with pytest.raises(ConnectionResetError):
                # Reading slowly does not extend the timeout.
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


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"GET /stats.json\n", FULL),
        (b"GET /stats.json\r\n", FULL),
        *[
            (line, DOCUMENT)
            for line in (
                *(
                    b"\n",
                    b"\r\n",
                    b"stats.json\n",
                    b"get /stats.json\r\n",
                    b" GET /stats.json\r\n",
                    b"\0",
                    b"\xff" * 70_000,
                ),
                *(b"GET / HTTP/1.1\r\n\r\n", b"GET /stats HTTP/1.1\r\n\r\n", b"GET /stats.json/ HTTP/1.1\r\n\r\n"),
                *(b"GET /stats.json HTTP/2\r\n\r\n", b"GET  /stats.json\r\n", b"POST /stats.json HTTP/1.1\r\n\r\n"),
            )
        ],
    ],
)
def test_what_a_reader_asks_for(request_bytes: bytes, answer: bytes) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            assert await read(address, request_bytes) == answer

    run(scenario)


def test_a_request_line_may_come_in_pieces() -> None:
    port = make_port(lambda: DOCUMENT)
    for line in (b"GET /stats.json HTTP/1.1", b"HEAD /stats.json HTTP/1.0", b"GET /stats.json"):
        assert all(port.may_become_request(line[:end]) for end in range(len(line) + 1))
    assert not any(map(port.may_become_request, (b"GET /stats.jsonp", b"GET /stats.json HTTP/1.1\rx", b"POST /stats")))


@pytest.mark.parametrize("beginning", [b"", b"GET /sta", b"GET /stats.json HTTP/1.1\r", b"GET /stats.json"])
def test_a_reader_that_does_not_ask_gets_nutcrackers_document(beginning: bytes) -> None:
    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(beginning)
            assert await reader.read() == DOCUMENT
            writer.close()

    run(scenario)


async def readers(address: Port, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connections that request the document, one after the other, and stay open."""
    opened = []
    for _ in range(count):
        opened.append(await asyncio.open_connection(*address))
        opened[-1][1].write(b"\n")
    return opened


def test_readers_that_stay_do_not_turn_others_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "MOST_READERS", 4)
    monkeypatch.setattr(stats_port, "LINGER", 30)

    async def scenario() -> None:
        async with serving(lambda: DOCUMENT) as address:
            staying = await readers(address, 4)
            for reader, _ in staying:
                assert await reader.read() == DOCUMENT
            for _ in range(20):
                assert await read(address) == DOCUMENT
            for _, writer in staying:
                writer.close()

    run(scenario)


def test_the_oldest_reader_that_does_not_read_goes_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "MOST_READERS", 4)
    monkeypatch.setattr(stats_port, "MOST_UNSENT", 1 << 40)
    documents = [bytes(20_000_000)] * 4 + [DOCUMENT] * 20

    async def scenario() -> None:
        async with serving(lambda: documents.pop(0)) as address:
            stuck = [(await readers(address, 1))[0] for _ in range(4)]
            while len(documents) > 20:
                await asyncio.sleep(0)
            assert await read(address) == DOCUMENT
            with pytest.raises(ConnectionResetError):
                await stuck[0][0].read()
            # The place of this reader is enough for one reader after the other.
            for _ in range(19):
                assert await read(address) == DOCUMENT
            for reader, writer in stuck[1:]:
                assert len(await reader.readexactly(20_000_000)) == 20_000_000
                writer.close()

    run(scenario)


def test_what_readers_do_not_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "MOST_UNSENT", 50_000_000)
    made = 0

    def document() -> bytes:
        nonlocal made
        made += 1
        return bytes(30_000_000)

    async def scenario() -> None:
        async with serving(document) as address:
            stuck = []
            for number in range(5):
                stuck += await readers(address, 1)
                while made <= number:
                    await asyncio.sleep(0)
            for reader, _ in stuck[:-1]:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            # The last reader continues: there is always room for one document.
            assert len(await stuck[-1][0].read()) == 30_000_000
            for _, writer in stuck:
                writer.close()

    run(scenario)


def test_readers_of_one_turn_share_a_document() -> None:
    made = 0

    def document() -> bytes:
        nonlocal made
        made += 1
        return DOCUMENT

    async def scenario() -> None:
        async with serving(document) as address:
            rude = [socket.create_connection(address) for _ in range(50)]
            for connection in rude:
                connection.sendall(b"\n")
                connection.setblocking(False)
            # The port has not run so far.
            for connection in rude:
                reader, writer = await asyncio.open_connection(sock=connection)
                assert await reader.read() == DOCUMENT
                writer.close()
            assert made < 10

    run(scenario)


def test_readers_of_one_large_answer_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for them is one answer, and one may have any size."""
    monkeypatch.setattr(stats_port, "MOST_UNSENT", 1_000_000)
    made = 0

    def document() -> bytes:
        nonlocal made
        made += 1
        return bytes(30_000_000)

    async def scenario() -> None:
        async with serving(document) as address:
            sharing = [socket.create_connection(address) for _ in range(4)]
            for connection in sharing:
                connection.sendall(b"\n")
                connection.setblocking(False)
            opened = [await asyncio.open_connection(sock=connection) for connection in sharing]
            for reader, writer in opened:
                assert len(await reader.read()) == 30_000_000
                writer.close()
            assert made < 4

    run(scenario)


def test_other_work_goes_on_while_an_answer_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_port, "SLICE", 1000)
    long = random.Random(1).randbytes(300_500)
    turns = 0

    async def scenario() -> None:
        nonlocal turns
        async with serving(lambda: long) as address:
            reading = asyncio.create_task(read(address))
            while not reading.done():
                turns += 1
                await asyncio.sleep(0)
            assert await reading == long

    run(scenario)
    assert turns > len(long) / 1000


def test_many_readers_do_not_make_each_other_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of the last one is sent first, not all of them a slice at a time."""
    monkeypatch.setattr(stats_port, "SLICE", 1000)
    long = bytes(300_000)
    order: list[int] = []

    async def scenario() -> None:
        async with serving(lambda: long) as address:
            connections = [socket.create_connection(address) for _ in range(10)]
            for connection in connections:
                connection.sendall(b"\n")
                connection.setblocking(False)

            async def finish(number: int, connection: socket.socket) -> None:
                reader, writer = await asyncio.open_connection(sock=connection)
                assert await reader.read() == long
                order.append(number)
                writer.close()

            await asyncio.gather(*(finish(number, each) for number, each in enumerate(connections)))

    run(scenario)
    assert order.index(9) < order.index(0)


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


def test_readers_wait_during_a_pause() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = make_port(lambda: b"short\n")
            await port.open(listening)
            address: Port = listening.getsockname()
            present, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /st")
            # The port has accepted this one before the next.
            assert await read(address, b"\n") == b"short\n"
            await port.pause(30)
            assert await present.read() == b"short\n"
            writer.close()
            waiting = asyncio.create_task(read(address, b"GET /stats.json\n"))
            await asyncio.sleep(0)
            await port.pause(0)
            assert not waiting.done()
            await port.resume()
            assert await waiting == FULL
            port.close()
            await port.resume()
            listening.close()
            with pytest.raises(ConnectionRefusedError):
                await read(address)

    run(scenario)
