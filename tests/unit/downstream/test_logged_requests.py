"""The lines of the access log of a data plane; its clock jumps, so that no test waits."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from harness.connection import Connection
from harness.proxy import keys_of, redis_pool
from harness.resp import OK, array, bulk, command
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.waiting import wait_until
from twemproxy.proxy import access_log
from twemproxy.proxy.access_line import FIELDS
from unit.in_process import InProcess

LONG = 60_000
"""Milliseconds that a server takes."""


class Logger:
    """Notes warnings."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def warning(self, message: str, fields: dict[str, object]) -> None:
        self.messages.append(message % fields)


class Lines:
    """The access log of a data plane, whose pool has ``access_log_sample: 1``."""

    def __init__(self, proxy: InProcess) -> None:
        self.proxy = proxy
        self.reading, self.writing = os.pipe2(os.O_NONBLOCK)
        self._data = b""
        proxy.call(lambda: proxy.data_plane.write_access_log(self.writing, 7))

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next lines, exactly ``count``."""
        wait_until(lambda: self._received() >= count, f"there are {count} lines")
        lines = [json.loads(line) for line in self._data.splitlines()]
        self._data = b""
        assert len(lines) == count, lines
        assert all(list(line) == list(FIELDS) for line in lines)
        assert all(line["whole_us"] == line["waiting_us"] + line["server_us"] + line["writing_us"] for line in lines)
        return lines

    def take_some(self) -> list[dict[str, Any]]:
        """The lines that are there."""
        self._received()
        lines, self._data = self._data.splitlines(), b""
        return [json.loads(line) for line in lines]

    def _received(self) -> int:
        with suppress(BlockingIOError):
            self._data += os.read(self.reading, 1 << 20)
        return self._data.count(b"\n")

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@contextmanager
def logging(**pool: object) -> Iterator[tuple[InProcess, Connection, Lines]]:
    """A data plane with a pool with these directives, a client of it, and its access log."""
    with InProcess(**{"access_log_sample": 1, **pool}) as proxy:
        lines = Lines(proxy)
        yield proxy, proxy.client(), lines
    lines.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


def one(server: ScriptedServer, **directives: object) -> dict[str, object]:
    return {"redis": True, "servers": [f"{server.address}:1 one"], **directives}


def test_where_the_time_went(server: ScriptedServer) -> None:
    with logging(**one(server)) as (proxy, client, lines):
        request = command("SET", "key", "secret value")
        client.send(request)
        peer = server.accept()
        peer.request()
        proxy.advance(LONG)
        peer.send(OK)
        client.expect(OK)
        [line] = lines.take(1)
        assert line["server_us"] >= 1000 * LONG > line["waiting_us"] + line["writing_us"]
        assert {name: line[name] for name in list(FIELDS)[5:15]} == {
            "command": "set",
            "key": "key",
            "keys": 1,
            "server": "one",
            "servers": 1,
            "request_bytes": len(request),
            "reply_bytes": 5,
            "reply_from": "server",
            "error": "",
            "closed": False,
        }
        assert (line["pool"], line["worker"]) == ("alpha", 7)
        assert line["client_address"].startswith("127.0.0.1:")


def test_a_reply_that_waits_for_an_earlier_one() -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        logging(**redis_pool(first, second)) as (proxy, client, lines),
    ):
        [slow], [fast] = keys_of(0, 2), keys_of(1, 2)
        client.send(command("GET", slow) + command("GET", fast) + command("PING"))
        late, early = first.accept(), second.accept()
        late.request()
        early.request()
        early.send(b"-WRONGTYPE no string " + 100 * b"x" + b"\r\n")
        while not proxy.snapshot().servers[1].values["responses"]:
            pass
        proxy.advance(LONG)
        late.send(bulk("v"))
        client.replies(3)
        got = lines.take(3)
        assert [line["key"] for line in got] == [slow, fast, ""]
        assert [line["server"] for line in got] == ["s00", "s01", ""]
        assert [line["error"] for line in got] == ["", "WRONGTYPE", ""]
        assert [line["reply_from"] for line in got] == ["server", "server", "proxy"]
        assert [line["writing_us"] >= 1000 * LONG for line in got] == [False, True, True]
        assert got[0]["server_us"] >= 1000 * LONG
        assert got[1]["server_us"] < 1000 * LONG


def test_a_split_request_names_the_last_server() -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        logging(**redis_pool(first, second)) as (proxy, client, lines),
    ):
        keys = [*keys_of(0, 2), *keys_of(1, 2)]
        client.send(command("MGET", *keys))
        late, early = first.accept(), second.accept()
        late.request()
        early.request()
        early.send(array(bulk("2")))
        while not proxy.snapshot().servers[1].values["responses"]:
            pass
        proxy.advance(LONG)
        late.send(array(bulk("1")))
        client.expect(array(bulk("1"), bulk("2")))
        [line] = lines.take(1)
        assert (line["command"], line["key"], line["keys"]) == ("mget", keys[0], 2)
        assert (line["server"], line["servers"], line["reply_from"]) == ("s00", 2, "server")
        assert line["server_us"] >= 1000 * LONG
        assert line["reply_bytes"] == len(array(bulk("1"), bulk("2")))


def test_a_request_that_times_out(server: ScriptedServer) -> None:
    with logging(**one(server, timeout=LONG)) as (proxy, client, lines):
        client.send(command("GET", "key"))
        peer = server.accept()
        peer.request()
        proxy.advance(LONG)
        assert client.reply().startswith(b"-")
        [line] = lines.take(1)
        assert (line["server"], line["reply_from"], line["error"]) == ("one", "proxy", "ERR")
        assert line["server_us"] >= 1000 * LONG > line["waiting_us"]


def test_a_split_request_of_which_a_part_fails() -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        logging(**redis_pool(first, second, timeout=LONG)) as (proxy, client, lines),
    ):
        client.send(command("MGET", *keys_of(0, 2), *keys_of(1, 2)))
        good, silent = first.accept(), second.accept()
        good.request()
        silent.request()
        good.send(array(bulk("1")))
        proxy.advance(LONG)
        assert client.reply().startswith(b"-")
        [line] = lines.take(1)
        assert (line["servers"], line["reply_from"], line["error"]) == (2, "proxy", "ERR")


def test_a_client_that_leaves(server: ScriptedServer) -> None:
    with logging(**one(server)) as (_, client, lines):
        client.send(command("GET", "one") + command("GET", "two"))
        peer = server.accept()
        peer.request()
        peer.request()
        client.reset()
        got = lines.take(2)
        assert [(line["key"], line["closed"], line["reply_from"], line["reply_bytes"]) for line in got] == [
            ("one", True, "nobody", 0),
            ("two", True, "nobody", 0),
        ]
        assert all(line["client_address"].startswith("127.0.0.1:") for line in got)


def test_a_request_in_pieces(server: ScriptedServer) -> None:
    with ScriptedServer() as other, logging(**redis_pool(server, other)) as (_, client, lines):
        [key], [elsewhere] = keys_of(0, 2), keys_of(1, 2)
        count = 3000
        client.send(command("DEL", *(count - 1) * [key], elsewhere) + command("PING"))
        peer = server.accept()
        for _ in range(3):
            peer.send(b":%d\r\n" % (len(peer.request()) - 1))
        last = other.accept()
        last.send(b":%d\r\n" % (len(last.request()) - 1))
        client.expect(b":%d\r\n+PONG\r\n" % count)
        whole, ping = lines.take(2)
        assert (whole["command"], whole["keys"], whole["servers"]) == ("del", count, 2)
        assert (whole["reply_from"], whole["reply_bytes"]) == ("server", 7)
        assert (ping["command"], ping["reply_from"], ping["servers"]) == ("ping", "proxy", 0)


def test_values_in_pieces(server: ScriptedServer) -> None:
    with logging(**one(server, max_pipeline=20)) as (_, client, lines):
        count, value = 200, "x" * 10_000
        client.send(command("MGET", *(f"k{number}" for number in range(count))))
        peer = server.accept()
        sent = 0
        while sent < count:
            keys = len(peer.request()) - 1
            peer.send(array(*keys * [bulk(value)]))
            sent += keys
        expected = array(*count * [bulk(value)])
        client.expect(expected)
        [line] = lines.take(1)
        assert (line["keys"], line["reply_bytes"], line["server"]) == (count, len(expected), "one")


def test_a_reply_in_steps(server: ScriptedServer) -> None:
    with logging(**one(server)) as (_, client, lines):
        client.send(command("COMMAND", "INFO", *5000 * ["get"]) + command("PING"))
        reply = client.reply()
        client.expect(b"+PONG\r\n")
        steps, ping = lines.take(2)
        assert (steps["command"], steps["reply_from"], steps["reply_bytes"]) == ("command", "proxy", len(reply))
        assert ping["command"] == "ping"


def test_inline_empty_and_malformed(server: ScriptedServer) -> None:
    with logging(**one(server)) as (_, client, lines):
        client.send(b"\r\nGET key\r\n")
        peer = server.accept()
        peer.request()
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        [line] = lines.take(1)
        assert (line["command"], line["key"], line["request_bytes"]) == ("get", "key", 9)
        client.send(b"*1\r\nno length\r\n")
        assert client.read_to_end().startswith(b"-ERR")
        [line] = lines.take(1)
        assert (line["command"], line["reply_from"], line["error"]) == ("", "proxy", "ERR")


def test_a_request_that_is_too_large(server: ScriptedServer) -> None:
    with logging(**one(server, max_request_bytes=1000)) as (_, client, lines):
        client.send(command("SET", "key", "x" * 2000) + command("ECHO", "x" * 100_000) + command("PING"))
        assert all(reply.startswith(b"-") for reply in client.replies(2))
        client.expect(b"+PONG\r\n")
        got = lines.take(3)
        assert [line["reply_from"] for line in got] == 3 * ["proxy"]
        assert [line["error"] for line in got] == ["ERR", "ERR", ""]


def test_keys_are_cut_and_escaped(server: ScriptedServer) -> None:
    with logging(**one(server)) as (_, client, lines):
        client.send(command("GET", b"\xff\x00\n\xe2\x80\xa8" + 100 * b"x"))
        peer = server.accept()
        peer.request()
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        [line] = lines.take(1)
        assert line["key"] == "\\xff\x00\n\u2028" + 58 * "x"


def test_replies_that_nobody_wants() -> None:
    with (
        ScriptedMemcached() as server,
        logging(servers=[f"{server.address}:1 one"]) as (_, client, lines),
    ):
        client.send(b"set k 0 0 1 noreply\r\nv\r\nget k\r\n")
        peer = server.accept()
        peer.text_request()
        peer.send(b"SERVER_ERROR out of memory storing object\r\n")
        peer.text_request()
        peer.send(b"END\r\n")
        client.expect(b"END\r\n")
        unwanted, wanted = lines.take(2)
        assert (unwanted["command"], unwanted["reply_from"], unwanted["reply_bytes"]) == ("set", "server", 0)
        assert (wanted["command"], wanted["reply_bytes"]) == ("get", 5)


def test_a_password(server: ScriptedServer) -> None:
    with logging(**one(server, redis_auth="the password")) as (_, client, lines):
        client.send(
            command("GET", "k") + command("AUTH", "wrong") + b"AUTH wrong\r\n" + command("AUTH", "the password")
        )
        client.send(command("HELLO", 2, "AUTH", "default", "the password") + command("PING"))
        replies = client.replies(6)
        assert [reply[:1] for reply in replies] == [b"-", b"-", b"-", b"+", b"*", b"+"]
        got = lines.take(6)
        assert [line["command"] for line in got] == ["get", "auth", "auth", "auth", "hello", "ping"]
        assert [line["error"] for line in got] == ["NOAUTH", "ERR", "ERR", "", "", ""]
        assert [line["key"] for line in got] == ["k", "", "", "", "", ""]
        assert not [line for line in got if "wrong" in str(line) or "password" in str(line)]


def test_a_changed_share(server: ScriptedServer) -> None:
    with logging(**one(server)) as (proxy, client, lines):
        client.send(command("GET", "before"))
        peer = server.accept()
        peer.request()
        proxy.replace_settings(**one(server))
        client.send(command("GET", "off") + command("PING"))
        peer.request()
        peer.send(bulk("1") + bulk("2"))
        client.expect(bulk("1") + bulk("2") + b"+PONG\r\n")
        proxy.replace_settings(**one(server, access_log_sample=1))
        client.send(command("GET", "on"))
        peer.request()
        peer.send(bulk("3"))
        client.expect(bulk("3"))
        assert [(line["key"], line["server"]) for line in lines.take(2)] == [("before", "one"), ("on", "one")]


def test_a_full_pipe_loses_lines_and_no_requests(server: ScriptedServer) -> None:
    with logging(**one(server)) as (proxy, client, lines):
        count = 5000
        client.send(count * command("PING"))
        client.expect(count * b"+PONG\r\n")
        wait_until(lambda: proxy.process_values()["access_log_lines"] == count, "all lines are made")
        values = proxy.process_values()
        assert 0 < values["access_log_dropped"] < count
        lines.take(count - values["access_log_dropped"])
        client.send(command("PING"))
        client.expect(b"+PONG\r\n")
        lines.take(1)


def test_too_many_requests_in_flight(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Logger()
    monkeypatch.setattr(access_log, "_logger", logger)
    pool = one(server, max_pipeline=60_000)
    with logging(**pool, access_log_sample=0) as (proxy, client, lines):
        most, more = 16_384, 10
        # Small replies widen the window of the client.
        client.send(most * command("PING"))
        client.expect(most * b"+PONG\r\n")
        proxy.replace_settings(**pool, access_log_sample=1)
        client.send((most + more) * command("GET", "k"))
        peer = server.accept()
        for _ in range(most + more):
            peer.request()
        values = proxy.process_values()
        assert values["access_log_lines"] == values["access_log_dropped"] == more
        assert logger.messages == ["dropped lines of the access log: 1 (too many requests wait for their replies)"]
        client.reset()
        wait_until(lambda: proxy.process_values()["access_log_lines"] == most + more, "all others have lines")
        assert lines.take_some()
