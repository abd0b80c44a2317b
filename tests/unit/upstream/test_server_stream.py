"""Connections to servers while they open, and when they end."""

import gc
import sys

from harness.resp import OK, bulk, command, integer
from harness.scripted_server import ScriptedServer
from twemproxy.net.timers import CallbackTimer
from twemproxy.net.transport import PlainTransport, PythonTransport, WantWrite
from twemproxy.worker.build import codec_of
from unit.in_process import InProcess, configuration, new_data_plane

SECOND = 1_000_000


class Limited(PythonTransport):
    """Accepts ``room`` bytes."""

    def __init__(self, plain: PlainTransport) -> None:
        super().__init__(plain)
        self.room = sys.maxsize

    def read(self, most: int) -> bytes:
        return self.plain.read(most)

    def write(self, data: bytes) -> int:
        if self.room == 0:
            raise WantWrite
        accepted = self.plain.write(data[: self.room])
        self.room -= accepted
        return accepted


def test_nothing_happens_until_the_server_answers_the_handshake() -> None:
    """Requests wait, although the socket could take them: the event loop waits, too."""
    with ScriptedServer() as server:
        config = configuration({"redis": True, "servers": [f"{server.address}:1 one"], "redis_auth": "secret"})
        data_plane = new_data_plane(config, codec_of(config))
        loop = data_plane.loop
        replies: list[bytes] = []
        data_plane.pools[0].ask(command("PING"), lambda reply, _: replies.append(reply))
        while not server.has_connection():
            loop.run_once()
        peer = server.accept()
        while not peer.has_received():
            loop.run_once()
        assert peer.request() == [b"AUTH", b"secret"]
        CallbackTimer(loop.timers, lambda: None).arm(loop.now + SECOND // 100)
        assert loop.run_once() == 0, "no descriptor is ready before the timer"
        peer.send(OK)
        while not peer.has_received():
            loop.run_once()
        assert peer.request() == [b"PING"]
        peer.send(b"+PONG\r\n")
        while not replies:
            loop.run_once()


def test_a_connection_that_is_abandoned_by_its_reply_is_closed_at_the_end_of_the_turn() -> None:
    """Not while its input is parsed; the rest of the input is dropped."""
    seen: list[bool] = []
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        [pool] = proxy.data_plane.pools

        def begin() -> None:
            connection = pool.open_probe(pool.servers[0], SECOND)

            def done(_: bytes, answered: bool) -> None:
                connection.abandon()
                pool.drop(connection)
                seen.extend((answered, connection.is_open()))

            connection.ask(command("PING"), done)

        proxy.call(begin)
        peer = server.accept()
        assert peer.request() == [b"PING"]
        peer.send(b"+PONG\r\n+no reply to anything\r\n")
        peer.expect_closed()
        assert seen == [True, True]


def leave_half_a_message() -> None:
    """Have a connection receive a reply and half a message, and leave it behind as garbage."""
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        # A push message is no reply, so the connection is idle, and stays open.
        peer.send(bulk("1") + b">2\r\n")
        client.expect(bulk("1"))


def test_a_connection_and_its_event_loop_may_be_garbage_together() -> None:
    """The connection frees its blocks with what the loop has."""
    for _ in range(4):
        leave_half_a_message()
        gc.collect()


def test_a_request_behind_half_of_a_fence_when_the_server_is_ejected() -> None:
    """The server gets the rest of the fence; the request gets the error of ``on_server_down``."""
    ejecting = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 3_600_000}
    script = command("EVAL", "return 1", 1, "k")
    transports: list[Limited] = []

    def limited(plain: PlainTransport) -> Limited:
        transports.append(Limited(plain))
        return transports[-1]

    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], on_server_down="error", **ejecting) as proxy,
    ):
        [pool] = proxy.data_plane.pools
        pool.server_transport = limited
        writer, reader = proxy.client(), proxy.client()
        writer.send(script)
        peer = server.accept_scripts()
        for client in (writer, reader):
            client.send(script if client is reader else b"")
            assert peer.request()[0] == b"EVAL"
            peer.answer(integer(1))
            client.expect(integer(1))
        [transport] = transports
        transport.room = len(script) + 10
        writer.send(script)
        assert peer.request()[0] == b"EVAL"
        proxy.call(pool.servers[0].count_failure)
        reader.send(command("GET", "k"))
        assert reader.reply().startswith(b"-ERR server one of pool alpha is ejected")
        transport.room = sys.maxsize
        peer.answer(integer(1))
        writer.expect(integer(1))
        assert not peer.has_received()
