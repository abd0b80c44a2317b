"""The load generator sends the requests of a case, accepts only the correct bytes, and never waits for ever."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from benchmarks import generator, load
from benchmarks.cases import CASES, Case
from benchmarks.dialects import Exchange
from benchmarks.load import LoadError
from benchmarks.machine import Programs

from harness.scripted_server import ScriptedServer
from harness.waiting import DEADLINE

GET = Exchange(b"get key\r\n" * 2, b"VALUE key 0 3\r\nxxx\r\nEND\r\n" * 2)
"""A batch of two requests."""

Result = Future[tuple[float, list[float]]]


@contextmanager
def driven(clients: int, count: int, *bank: Exchange) -> Iterator[tuple[ScriptedServer, Result]]:
    """Load on a server that the test plays; yields the server and the future result."""
    with ThreadPoolExecutor(1) as pool, ScriptedServer() as server:
        port = int(server.address.rpartition(":")[2])
        yield server, pool.submit(generator.drive, port, clients, bank or [GET], count)


def test_a_client_sends_a_batch_when_the_one_before_is_complete() -> None:
    with driven(1, 3, GET, Exchange(b"b", b"1234")) as (server, result):
        client = server.accept()
        client.expect(GET.request)
        client.send_pieces(GET.reply[:1], GET.reply[1:-1])
        assert client.collect() == b""
        client.send(GET.reply[-1:])
        client.expect(b"b")
        client.send(b"1234")
        client.expect(GET.request)
        client.send(GET.reply)
        client.expect_closed()
        seconds, durations = result.result(DEADLINE)
    assert len(durations) == 3
    assert 0 < sum(durations) <= seconds


def test_clients_complete_together_what_was_asked_for() -> None:
    with driven(2, 5) as (server, result):
        one, other = server.accept(), server.accept()
        for client in (one, other):
            client.expect(GET.request)
        for client in (other, one, one):
            client.send(GET.reply)
            client.expect(GET.request)
        one.send(GET.reply)
        other.send(GET.reply)
        one.expect_closed()
        other.expect_closed()
        assert len(result.result(DEADLINE)[1]) == 5


def test_there_are_no_more_clients_than_batches() -> None:
    with driven(50, 1) as (server, result):
        client = server.accept()
        client.expect(GET.request)
        client.send(GET.reply)
        assert len(result.result(DEADLINE)[1]) == 1
        assert not server.has_connection()


def test_a_batch_that_no_buffer_holds_is_sent_and_received_whole() -> None:
    large = Exchange(bytes(range(256)) * 65536, bytes(range(255, -1, -1)) * 65536)
    with driven(1, 2, large) as (server, result):
        client = server.accept()
        for _ in range(2):
            client.expect(large.request)
            client.send(large.reply)
        assert len(result.result(DEADLINE)[1]) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            b"SERVER_ERROR refused\r\n",
            r"b'SERVER_ERROR refused\r\n' came instead of b'VALUE key 0",
        ),
        (b"END\r\n", r"b'END\r\n' came instead of b'VALUE"),
        (GET.reply.replace(b"xxx", b"xyx"), r"b'xyx\r\nEND"),
        (GET.reply[:-5] + b"VALUE", r"b'VALUE' came instead of b'END\r\n'"),
        (GET.reply + b"END\r\n", r"b'END\r\n' came instead of nothing"),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 17])
def test_any_wrong_byte_is_an_error_that_shows_it(reply: bytes, message: str, start: int) -> None:
    with driven(1, 2) as (server, result):
        client = server.accept()
        client.expect(GET.request)
        if reply.startswith(GET.reply[:start]):
            client.send_pieces(reply[:start])
            reply = reply[start:]
        client.send(reply)
        with pytest.raises(LoadError) as failure:
            result.result(DEADLINE)
    assert message in str(failure.value)
    assert str(failure.value).startswith("wrong reply: ")


@pytest.mark.parametrize("sent", [b"", GET.reply[:30]])
def test_a_closed_connection_is_an_error(sent: bytes) -> None:
    with driven(1, 2) as (server, result):
        client = server.accept()
        client.expect(GET.request)
        client.send(sent)
        client.close()
        with pytest.raises(LoadError, match=f"closed after {len(sent)} of {len(GET.reply)} bytes"):
            result.result(DEADLINE)


def test_a_client_that_has_finished_may_be_closed() -> None:
    with driven(2, 2) as (server, result):
        one, other = server.accept(), server.accept()
        for client in (one, other):
            client.expect(GET.request)
        one.send_pieces(GET.reply)
        one.close()
        other.send(GET.reply)
        assert len(result.result(DEADLINE)[1]) == 2


def test_a_reset_and_a_refused_connection_are_errors() -> None:
    with driven(1, 1) as (server, result):
        client = server.accept()
        client.expect(GET.request)
        client.reset()
        with pytest.raises(LoadError, match="reset"):
            result.result(DEADLINE)
    with ScriptedServer(listening=False) as server, pytest.raises(LoadError, match="refused"):
        generator.drive(int(server.address.rpartition(":")[2]), 1, [GET], 1)


def test_a_stall_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "STALL_SECONDS", 0.2)
    with driven(1, 7) as (server, result):
        server.accept().expect(GET.request)
        with pytest.raises(LoadError, match=r"^no reply for 0.2 seconds, with 7 of 7 batches to come$"):
            result.result(DEADLINE)


def named(name: str) -> Case:
    """The case with this name."""
    return next(case for case in CASES if case.name == name)


def test_a_bank_has_whole_pipelines_with_their_replies() -> None:
    case = named("memcached get 10 keys, pipeline 16, 50 clients")
    bank = generator.prepare(case)
    assert len(bank) in generator.BANK_BATCHES
    assert len(set(bank)) == len(bank)
    for request, reply in bank[:50]:
        lines = request.split(b"\r\n")
        assert len(lines) == 16 + 1
        values = [b"".join(b"VALUE %s 0 3\r\nxxx\r\n" % key for key in line.split()[1:]) for line in lines[:-1]]
        assert b"".join(value + b"END\r\n" for value in values) == reply
    assert generator.prepare(case) == bank


def test_a_bank_of_large_batches_is_small() -> None:
    for name in ("get 100 keys, pipeline 100, 100 clients", "set 1 KB, pipeline 16, 50 clients"):
        bank = generator.prepare(named(f"memcached {name}"))
        assert sum(map(len, (part for exchange in bank for part in exchange))) < 2 * generator.BANK_BYTES


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 1001)]
    assert [generator.percentile(values, percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1000]
    assert generator.percentile([7.0], 50) == 7.0


class Answering(StreamRequestHandler):
    """A memcached server that has every key."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"VALUE %s 0 3\r\nxxx\r\nEND\r\n" % line.split()[1])


class Refusing(StreamRequestHandler):
    """A memcached server that has no key."""

    def handle(self) -> None:
        for _ in self.rfile:
            self.wfile.write(b"END\r\n")


class Server(ThreadingTCPServer):
    """A server with one thread for each client."""

    request_queue_size = 64
    daemon_threads = True


@contextmanager
def serving(handler: type[StreamRequestHandler]) -> Iterator[int]:
    """The port of a server with this handler."""
    with Server(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_process_reports_what_it_saw() -> None:
    case = named("memcached get 3 B, pipeline 16, 50 clients")
    with serving(Answering) as port:
        seen = load.run(Programs([], {}), port, case, requests=2000)
    assert seen.requests == 2000
    assert seen.per_second > 0
    assert 0 < seen.p50 <= seen.p99 <= seen.p999


def test_the_error_of_the_process_is_that_of_the_step() -> None:
    case = named("memcached get 3 B, pipeline 1, 50 clients")
    with serving(Refusing) as port, pytest.raises(LoadError, match=r"^benchmarks.generator ended with status 1: wrong"):
        load.run(Programs([], {}), port, case, requests=100)


def test_half_a_report_is_an_error() -> None:
    for output in ("", "{}", '{"requests": 1}'):
        with pytest.raises(LoadError, match="no complete report"):
            load.parse_generator(output)
