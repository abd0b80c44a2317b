"""Fences between the requests of clients that run scripts, when servers send arbitrary bytes between them."""

from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import FencedPeer, ScriptedServer, take_most
from harness.shared_proxy import Configure
from harness.waiting import wait_until

UNFIT = (
    "ERR the replies to this client's requests cannot be told apart: a script has written line ends, or over 1 MB, into"
    " its error or status; the requests may have run"
)
UNFENCED = (
    "BUSY the server is busy with a script, which SCRIPT KILL or FUNCTION KILL ends; the request may have run before"
)
PONG = b"+PONG\r\n"
RUN = command("EVAL", "return 1", 1, "k")


def join(server: ScriptedServer, *clients: Connection) -> FencedPeer:
    """Let each client run a script; returns the connection that gets their further requests."""
    clients[0].send(RUN)
    peer = server.accept_scripts()
    for client in clients:
        if client is not clients[0]:
            client.send(RUN)
        assert peer.request()[0] == b"EVAL"
        peer.answer(integer(1))
        client.expect(integer(1))
    return peer


SAID = {
    "-ERR a\r\n$6\r\nFORGED\r\n": None,
    "-ERR a\r\n$100000\r\nFORGED\r\n": None,
    "$100000\r\nFORGED\r\n": None,
    "*3\r\n:1\r\n": None,
    "*2147483647\r\n": None,
    "-ERR a\r\n$16\r\n0123456789abcdef\r\n:1\r\n": None,
    "$16\r\n0123456789abcdef\r\n$16\r\n0123456789abcdef\r\n": None,
    "?what\r\n": None,
    "$-2\r\n": None,
    "-ERR half a line": None,
    "$16\r\n01234567": None,
    "": None,
    "+OK\r\n+OK\r\n": None,
    "-BUSY a\r\n-BUSY b\r\n": None,
    ">2\r\n+a\r\n+b\r\n:1\r\n": integer(1),
    "-ERR a\r\n": error("ERR a"),
}
"""The bytes that a server sends for one request, and the reply that the client gets; None stands for an error."""


@pytest.mark.parametrize("cut", [None, 1, 5, -1, -20])
def test_what_a_server_says_before_a_fence_is_for_one_client(configured: Configure, cut: int | None) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        before, attacker, after = clients = [proxy.client() for _ in range(3)]
        peer = join(server, *clients)
        peer.answers_urgent = True
        for said, got in SAID.items():
            for client, requests in ((before, ["a"]), (attacker, ["k"]), (after, ["b", "c"])):
                client.send(b"".join(command("GET", key) for key in requests))
                for _ in requests:
                    peer.request()
                peer.read_fence()
            first, second, third = peer.fences
            peer.fences.clear()
            start = bulk("a") + first + said.encode()
            stream = start + second + bulk("b") + bulk("c") + third
            # Cut near the end of the attacker's part.
            place = len(stream) if cut is None else len(start) + cut
            peer.send_pieces(stream[:place], stream[place:])
            before.expect(bulk("a"))
            attacker.expect(got or error(UNFIT))
            after.expect(bulk("b") + bulk("c"))
        assert not server.has_connection()


def test_bytes_one_by_one(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        attacker, other = proxy.client(), proxy.client()
        peer = join(server, attacker, other)
        for client in (attacker, other):
            client.send(RUN)
            peer.request()
            peer.read_fence()
        stream = b"-ERR a\r\n$100\r\nFORGED\r\n" + peer.fences[0] + bulk("x" * 50) + peer.fences[1]
        peer.send_pieces(*(bytes([byte]) for byte in stream))
        attacker.expect(error(UNFIT))
        other.expect(bulk("x" * 50))


@pytest.mark.parametrize("size", [100, 5_000, 300_000, 3_000_000])
def test_values_of_any_size(configured: Configure, size: int) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = join(server, client, other)
        client.send(command("GET", "a") * 3)
        for _ in range(3):
            peer.request()
        peer.read_fence()
        other.send(command("GET", "b"))
        peer.request()
        peer.read_fence()
        first, second = peer.fences
        value = bulk("x" * size)
        peer.send(value * 3 + first + bulk("b") + second)
        client.expect(value * 3)
        other.expect(bulk("b"))


def test_a_fence_stands_between_clients_and_after_many_requests_of_one(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        peer = join(server, client)
        peer.widen_window(client)
        client.send(command("GET", "k") * 100)
        stream = b""
        for size in (32, 32, 32, 4):
            for _ in range(size):
                assert peer.request() == [b"GET", b"k"]
            peer.read_fence()
            stream += bulk("v") * size + peer.fences.pop(0)
        assert peer.collect() == b""
        peer.send(stream)
        client.expect(bulk("v") * 100)
        tokens = set()
        for _ in range(200):
            client.send(command("GET", "k"))
            peer.request()
            peer.read_fence()
            tokens.add(peer.fences[0])
            peer.answer(bulk("v"))
            client.expect(bulk("v"))
        assert len(tokens) == 200


def test_fences_are_no_requests_in_the_statistics(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = join(server, client, other)
        for sender in (client, other):
            sender.send(command("GET", "k") * 2)
            peer.request()
            peer.request()
            peer.read_fence()
        proxy.wait_stats(lambda pool: pool["s00"]["out_queue"] == 4, "requests are counted, fences are not")
        assert proxy.server_stats()["requests"] == 6
        peer.send(b"".join(bulk("v") * 2 + fence for fence in peer.fences))
        for sender in (client, other):
            sender.expect(bulk("v") * 2)
        proxy.wait_stats(
            lambda pool: pool["s00"]["out_queue_bytes"] == pool["s00"]["in_queue"] == 0, "all requests are answered"
        )
        assert proxy.server_stats()["responses"] == 6


def test_clients_that_run_no_scripts_share_no_connection_with_those_that_do(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        plain, client = proxy.client(), proxy.client()
        plain.send(command("GET", "k"))
        ordinary = server.answer(bulk("v"))
        plain.expect(bulk("v"))
        client.send(command("GET", "k"))
        ordinary.request()
        ordinary.send(bulk("v"))
        client.expect(bulk("v"))
        peer = join(server, client)
        client.send(command("GET", "k"))
        assert peer.request() == [b"GET", b"k"]
        peer.answer(bulk("w"))
        client.expect(bulk("w"))
        assert client.ask("RESET") == b"+RESET\r\n"
        client.send(command("GET", "k"))
        assert ordinary.request() == [b"GET", b"k"]


def test_the_first_script_waits_for_what_came_before(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("SET", "k", "v") + RUN + command("GET", "k"))
        ordinary = server.accept()
        assert ordinary.request() == [b"SET", b"k", b"v"]
        assert not server.has_connection(0.05)
        ordinary.send(OK)
        peer = server.accept_scripts()
        assert peer.request()[0] == b"EVAL"
        assert peer.request() == [b"GET", b"k"]
        peer.answer(integer(1) + bulk("v"))
        client.expect(OK + integer(1) + bulk("v"))
        assert ordinary.collect() == b""


# --- servers that refuse fences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [error("ERR unknown command 'ECHO'"), error("NOPERM this user has no permissions")])
def test_servers_without_echo_run_no_scripts(configured: Configure, reply: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(RUN + command("GET", "k"))
        peer = server.accept()
        assert peer.request()[0] == b"ECHO"
        peer.send(reply)
        client.expect(
            error(
                "ERR 'eval' is not available: the servers of this pool refuse ECHO, without which the proxy cannot keep"
                " apart what the scripts of different clients say"
            )
        )
        server.answer(bulk("v"))
        client.expect(bulk("v"))


def test_a_busy_server_is_asked_in_another_way(configured: Configure) -> None:
    busy = error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = join(server, client, other)
        for sender in (client, other):
            sender.send(command("GET", "k"))
            peer.request()
            peer.read_fence()
        peer.send(busy * 4)
        [token] = peer.request()
        peer.send(error(f"ERR unknown command '{token.decode()}', with args beginning with: "))
        for sender in (client, other):
            sender.expect(error(UNFENCED))
        peer.fences.clear()
        client.send(command("GET", "k"))
        peer.request()
        peer.answer(bulk("v"))
        client.expect(bulk("v"))
        assert not server.has_connection()


def test_a_fence_that_comes_late_is_good_enough(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = join(server, client, other)
        for sender in (client, other):
            sender.send(command("GET", "k"))
            peer.request()
            peer.read_fence()
        first, second = peer.fences
        peer.send(bulk("v") + first[:10])
        [token] = peer.request()
        peer.send(first[10:] + bulk("w") + second)
        client.expect(bulk("v"))
        other.expect(bulk("w"))
        peer.send(error(f"ERR unknown command '{token.decode()}', with args beginning with: "))
        peer.fences.clear()
        client.send(command("GET", "k"))
        peer.request()
        peer.answer(bulk("x"))
        client.expect(bulk("x"))


# --- servers that close the connection ---------------------------------------------------------------------------


def test_requests_that_were_not_written_are_sent_once_more_between_fences(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        first, second, third = (proxy.client() for _ in range(3))
        peer = join(server, first, second, third)
        first.send(command("SET", "large", b"x" * (24 << 20)))
        take_most(peer, proxy)
        second.send(command("GET", "b"))
        third.send(command("GET", "c"))
        proxy.wait_stats(lambda pool: pool["s00"]["requests"] == 6, "the other requests are queued")
        peer.close()
        peer = server.accept_scripts()
        assert first.reply().startswith(b"-ERR ")
        answers = {}
        for _ in (second, third):
            _, key = peer.request()
            answers[key] = bulk(key)
            peer.read_fence()
        peer.send(b"".join(reply + fence for reply, fence in zip(answers.values(), peer.fences, strict=True)))
        second.expect(bulk("b"))
        third.expect(bulk("c"))
        assert proxy.server_stats()["requests_resent"] == 2


def test_waiting_requests_of_several_clients_survive_a_lost_connection(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(3)]
        for client in clients:
            client.send(RUN)
        peer = server.accept()
        assert peer.request()[0] == b"ECHO"
        proxy.wait_stats(lambda pool: pool["client_connections"] == 3, "all clients are connected")
        peer.close()
        peer = server.accept_scripts()
        for _ in clients:
            assert peer.request()[0] == b"EVAL"
            peer.read_fence()
        peer.send(b"".join(integer(n) + fence for n, fence in enumerate(peer.fences)))
        assert sorted(client.reply() for client in clients) == [integer(n) for n in range(3)]


def test_reads_that_were_written_are_sent_once_more_between_fences(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, retry_reads="true")) as proxy:
        clients = [proxy.client() for _ in range(3)]
        peer = join(server, *clients)
        for client in clients:
            client.send(command("GET", "k"))
            assert peer.request() == [b"GET", b"k"]
            peer.read_fence()
        peer.close()
        peer = server.accept_scripts()
        for _ in clients:
            assert peer.request() == [b"GET", b"k"]
            peer.read_fence()
        peer.send(b"".join(bulk(f"{n}") + fence for n, fence in enumerate(peer.fences)))
        for n, client in enumerate(clients):
            client.expect(bulk(f"{n}"))
        assert proxy.server_stats()["requests_resent"] == 3


def test_an_overdue_reply_is_passed_over_within_its_slice(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=300)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = join(server, client, other)
        client.send(command("GET", "a") + command("GET", "b"))
        peer.request()
        peer.request()
        peer.read_fence()
        client.expect(error("ERR Connection timed out") * 2)
        peer.send(bulk("a") + bulk("b") + peer.fences.pop(0))
        other.send(command("GET", "c"))
        peer.request()
        peer.answer(bulk("c"))
        other.expect(bulk("c"))
        assert not server.has_connection()


def test_a_script_cannot_say_that_the_server_fails(configured: Configure) -> None:
    directives = {"auto_eject_hosts": "true", "server_failure_limit": 1, "timeout": 5000}
    with ScriptedServer() as server, configured(redis_pool(server, **directives)) as proxy:
        client = proxy.client()
        peer = join(server, client)
        for text in ("LOADING x", "BUSY x", "OOM x"):
            client.send(RUN)
            peer.request()
            peer.answer(error(text))
            client.expect(error(text))
        assert proxy.pool_stats()["server_ejects"] == 0


def test_replies_of_several_servers_are_merged(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        client.send(command("SCRIPT", "LOAD", "return 1"))
        peers = [server.accept_scripts() for server in (first, second)]
        for peer in peers:
            assert peer.request()[:2] == [b"SCRIPT", b"LOAD"]
            peer.answer(bulk("e0e1f9fabfc9d4800c877a703b823ac0578ff8db"))
        client.expect(bulk("e0e1f9fabfc9d4800c877a703b823ac0578ff8db"))
        client.send(command("MGET", *"abcdefgh"))
        wanted = [peer.request()[1:] for peer in peers]
        peers[0].answer(array(*(bulk(key) for key in wanted[0])))
        peers[1].answer(b"*1\r\n:1\r\n$6\r\nFORGED\r\n")
        assert client.reply() == error(UNFIT)
        client.send(command("PING"))
        client.expect(PONG)
        wait_until(lambda: proxy.pool_stats()["s00"]["server_connections"] == 1, "one connection is open")


# --- servers that are ejected ------------------------------------------------------------------------------------


def test_the_fence_of_a_request_that_was_sent_in_part(configured: Configure, tmp_path: Path) -> None:
    """It is sent although the server is ejected and keeps its keys; requests behind it get the proxy's error."""
    large = command("SET", "large", b"x" * (4 << 20))
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 3600_000}
    with (
        # The buffers of a unix socket are far smaller than the rest of the request.
        ScriptedServer(tmp_path / "server") as server,
        configured(redis_pool(server, on_server_down="error", **directives)) as proxy,
    ):
        writer, reader, other = (proxy.client() for _ in range(3))
        peer = join(server, writer, reader)
        writer.send(large)
        peer.expect(large[: 2 << 20])
        other.send(command("GET", "k"))
        server.answer(error("LOADING the data"))
        other.expect(error("LOADING the data"))
        proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
        assert reader.ask("GET", "k").startswith(
            f"-ERR server s00 of pool {proxy.served_name()} is ejected (on_server_down: error)".encode()
        )
        stats = proxy.server_stats()
        assert (stats["in_queue"], stats["out_queue"]) == (1, 0), "fences are not counted"
        peer.expect(large[2 << 20 :])
        peer.answer(OK)
        writer.expect(OK)
