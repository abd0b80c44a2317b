"""Split retrievals with a failing part: one error in place of the reply, or misses if the pool is configured so."""

from collections.abc import Iterator

import pytest

from harness.memcache import END, MN, STORED, server_error, store, value
from harness.proxy import keys_of, memcached_pool, redis_pool
from harness.resp import array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure
from harness.stage import Stage, as_new, scripted_pool

[A1, A2, A3] = keys_of(0, 2, 3)
[B1, B2] = keys_of(1, 2, 2)

GET = f"get {A1} {B1} {A2}\r\n".encode()
PARTS = f"get {A1} {A2}\r\n".encode(), f"get {B1}\r\n".encode()
GOOD = value(A1, "a1") + value(A2, "a2") + END, value(B1, "b1") + END
WHOLE = value(A1, "a1") + value(B1, "b1") + value(A2, "a2") + END
MARK = b"mn\r\n"
REFUSED = server_error("Connection refused")
INVALID = server_error("Invalid argument")


@pytest.fixture
def stage(memcached_stage: Stage) -> Stage:
    return memcached_stage


@pytest.fixture(scope="module")
def shared_missing_stage(configured: Configure) -> Iterator[Stage]:
    with scripted_pool(configured, partial_reads="miss") as stage:
        yield stage


@pytest.fixture
def missing_stage(shared_missing_stage: Stage) -> Iterator[Stage]:
    """A stage whose pool has ``partial_reads: miss``."""
    with as_new(shared_missing_stage) as stage:
        yield stage


def test_one_server_refuses(stage: Stage) -> None:
    stage.second.refuse()
    stage.client.send(GET + MARK + f"get {A1}\r\n".encode())
    peer = stage.first.answer(GOOD[0])
    assert peer.text_request() == f"get {A1}\r\n".encode()
    peer.send(value(A1, "later") + END)
    stage.client.expect(REFUSED + MN + value(A1, "later") + END)


def test_every_server_refuses(stage: Stage) -> None:
    stage.first.refuse()
    stage.second.refuse()
    stage.client.send(GET + MARK)
    stage.client.expect(REFUSED + MN)


def test_one_server_closes(stage: Stage) -> None:
    stage.client.send(GET + MARK)
    stage.first.answer(GOOD[0])
    peer = stage.second.accept()
    assert peer.text_request() == PARTS[1]
    peer.close()
    stage.client.expect(server_error("unknown") + MN)


def test_one_server_closes_in_the_middle_of_a_value(stage: Stage) -> None:
    stage.client.send(GET + MARK)
    stage.first.answer(GOOD[0])
    peer = stage.second.answer(GOOD[1][:-8])
    peer.close()
    stage.client.expect(server_error("unknown") + MN)


def test_one_server_resets(stage: Stage) -> None:
    stage.client.send(GET + MARK)
    stage.first.answer(GOOD[0])
    peer = stage.second.accept()
    assert peer.text_request() == PARTS[1]
    peer.reset()
    stage.client.expect(server_error("Connection reset by peer") + MN)


@pytest.mark.parametrize(
    "text", [b"SERVER_ERROR out of memory writing get response\r\n", b"CLIENT_ERROR bad command line format\r\n"]
)
def test_error_line_of_a_server_is_the_reply(stage: Stage, text: bytes) -> None:
    stage.client.send(GET + MARK)
    stage.first.answer(GOOD[0])
    peer = stage.second.answer(text)
    stage.client.expect(text + MN)
    stage.client.send(f"get {B1}\r\n".encode())
    peer.expect(PARTS[1])


def test_error_of_the_lowest_server_wins(stage: Stage) -> None:
    stage.client.send(GET)
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    assert (behind_first.text_request(), behind_second.text_request()) == PARTS
    behind_second.send(server_error("second"))
    behind_second.wait_consumed()
    behind_first.send(server_error("first"))
    stage.client.expect(server_error("first"))


def test_nothing_is_answered_before_every_part_is_settled(stage: Stage) -> None:
    stage.second.refuse()
    stage.client.send(GET)
    peer = stage.first.accept()
    assert peer.text_request() == PARTS[0]
    peer.send(GOOD[0][:-3])
    peer.wait_consumed()
    assert stage.client.collect() == b""
    peer.send(GOOD[0][-3:])
    stage.client.expect(REFUSED)


def test_paused_server_times_out_and_serves_again(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    with (
        MemcachedServer() as paused,
        configured(memcached_pool(memcached_servers[0], paused, timeout=300)) as proxy,
    ):
        client, other = proxy.client(), proxy.client()
        assert client.ask_text(store("set", A1, "a1")) == client.ask_text(store("set", B1, "b1")) == STORED
        paused.pause()
        client.send(GET + MARK)
        assert other.ask_text(f"get {A1}\r\n".encode()) == value(A1, "a1") + END
        client.expect(server_error("Connection timed out") + MN)
        paused.resume()
        assert client.ask_text(GET) == value(A1, "a1") + value(B1, "b1") + END


def test_killed_server_comes_back(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    with MemcachedServer() as killed, configured(memcached_pool(memcached_servers[0], killed)) as proxy:
        client = proxy.client()
        assert client.ask_text(store("set", A1, "a1")) == client.ask_text(store("set", B1, "b1")) == STORED
        killed.kill()
        proxy.wait_stats(lambda pool: pool["s01"]["server_connections"] == 0, "the connection is closed")
        assert client.ask_text(GET) == REFUSED
        killed.start()
        assert client.ask_text(GET) == value(A1, "a1") + END


def test_values_in_another_order_are_found_by_their_keys(stage: Stage) -> None:
    stage.client.send(GET)
    stage.first.answer(value(A2, "a2") + value(A1, "a1") + END)
    stage.second.answer(GOOD[1])
    stage.client.expect(WHOLE)


WRONG_KEYS = {
    "key-nobody-asked-for": value(A3, "a3") + END,
    "key-nobody-asked-for-among-others": value(A1, "a1") + value(A3, "a3") + value(A2, "a2") + END,
    "key-of-the-other-server": value(A1, "a1") + value(B1, "b1") + END,
    "more-values-than-keys": value(A1, "1") + value(A1, "2") + value(A2, "3") + END,
    "part-of-a-key": value(A1[:-1], "a1") + END,
}
NONSENSE = {
    "stored": STORED,
    "one-line-of-letters": b"hello\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zero-bytes": b"\x00\x00\x00\x00\r\n",
    "no-key": b"VALUE\r\n",
    "no-length": f"VALUE {A1} 0\r\n".encode(),
    "length-letters": f"VALUE {A1} 0 x\r\nx\r\nEND\r\n".encode(),
    "length-negative": f"VALUE {A1} 0 -1\r\nx\r\nEND\r\n".encode(),
    "length-huge": f"VALUE {A1} 0 99999999999999999999\r\nx\r\nEND\r\n".encode(),
    "data-too-long": f"VALUE {A1} 0 1\r\nabcdef\r\nEND\r\n".encode(),
    "data-too-short": f"VALUE {A1} 0 2\r\na\r\nEND\r\n".encode(),
    "meta": b"HD\r\n",
    "redis": b"$2\r\na1\r\n",
}


@pytest.mark.parametrize("name", [*WRONG_KEYS, *NONSENSE])
def test_nonsense_costs_the_server_connection_only(stage: Stage, name: str) -> None:
    with stage.proxy.client() as other:
        stage.client.send(GET + MARK)
        behind_first, behind_second = stage.first.accept(), stage.second.accept()
        assert behind_first.text_request() == PARTS[0]
        assert behind_second.text_request() == PARTS[1]
        other.send(f"get {B2}\r\n".encode())
        assert behind_second.text_request() == f"get {B2}\r\n".encode()
        behind_first.send((WRONG_KEYS | NONSENSE)[name])
        behind_first.expect_closed()
        behind_second.send(GOOD[1] + value(B2, "hers") + END)
        stage.client.expect(INVALID + MN)
        other.expect(value(B2, "hers") + END)
        stage.client.send(GET)
        stage.first.answer(GOOD[0])
        assert behind_second.text_request() == PARTS[1]
        behind_second.send(GOOD[1])
        stage.client.expect(WHOLE)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_reply_to_an_unsplit_get_costs_the_server_connection_only(stage: Stage, name: str) -> None:
    stage.client.send(PARTS[0] + MARK)
    stage.first.answer(NONSENSE[name]).expect_closed()
    stage.client.expect(INVALID + MN)
    stage.client.send(PARTS[0])
    stage.first.answer(GOOD[0])
    stage.client.expect(GOOD[0])


def test_nonsense_never_reaches_another_client(stage: Stage) -> None:
    with stage.proxy.client() as other:
        stage.client.send(GET)
        behind_first = stage.first.accept()
        assert behind_first.text_request() == PARTS[0]
        other.send(f"get {A3}\r\n".encode())
        assert behind_first.text_request() == f"get {A3}\r\n".encode()
        behind_first.send(value(A1, "a1") + value(A3, "surplus") + END + value(A3, "hers") + END)
        stage.second.answer(GOOD[1])
        stage.client.expect(INVALID)
        answer = other.text_reply()
        assert answer in (value(A3, "hers") + END, INVALID), "a surplus value reached the other client"


def test_stray_reply_costs_the_connection_only(stage: Stage) -> None:
    stage.client.send(PARTS[1])
    peer = stage.second.answer(GOOD[1] + END)
    stage.client.expect(GOOD[1])
    peer.expect_closed()
    stage.client.send(PARTS[1])
    stage.second.answer(GOOD[1])
    stage.client.expect(GOOD[1])


def test_pool_may_count_a_refusing_server_as_misses(missing_stage: Stage) -> None:
    missing_stage.second.refuse()
    missing_stage.client.send(GET + MARK)
    missing_stage.first.answer(GOOD[0])
    missing_stage.client.expect(GOOD[0] + MN)


def test_pool_may_count_every_refusing_server_as_misses(missing_stage: Stage) -> None:
    missing_stage.first.refuse()
    missing_stage.second.refuse()
    missing_stage.client.send(GET + MARK)
    missing_stage.client.expect(END + MN)


@pytest.mark.parametrize("bytes_sent", [b"", GOOD[0][:-9], GOOD[0][:20]], ids=["nothing", "one-value", "half-a-value"])
def test_pool_may_count_a_closing_server_as_misses(missing_stage: Stage, bytes_sent: bytes) -> None:
    missing_stage.client.send(GET + MARK)
    missing_stage.second.answer(GOOD[1])
    missing_stage.first.answer(bytes_sent).close()
    missing_stage.client.expect(GOOD[1] + MN)


def test_pool_may_count_nonsense_as_misses(missing_stage: Stage) -> None:
    missing_stage.client.send(GET + MARK)
    missing_stage.second.answer(GOOD[1])
    missing_stage.first.answer(WRONG_KEYS["key-nobody-asked-for-among-others"]).expect_closed()
    missing_stage.client.expect(GOOD[1] + MN)


@pytest.mark.parametrize("text", [server_error("out of memory writing get response"), b"ERROR\r\n"])
def test_pool_may_count_an_error_line_of_a_server_as_misses(missing_stage: Stage, text: bytes) -> None:
    missing_stage.client.send(GET + MARK)
    missing_stage.first.answer(GOOD[0])
    missing_stage.second.answer(text)
    missing_stage.client.expect(GOOD[0] + MN)


@pytest.mark.parametrize("verb", ["get", "gets", "gat 0", "gats 0"])
def test_pool_may_count_the_only_server_of_several_keys_as_misses(missing_stage: Stage, verb: str) -> None:
    missing_stage.second.refuse()
    missing_stage.client.send(f"{verb} {B1} {B2} {B1}\r\n{verb} {B1}\r\nmg {B1} v\r\n".encode() + MARK)
    missing_stage.client.expect(END + REFUSED * 2 + MN)


def test_pool_may_count_a_paused_server_as_misses(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    with (
        MemcachedServer() as paused,
        configured(memcached_pool(memcached_servers[0], paused, timeout=300, partial_reads="miss")) as proxy,
    ):
        client = proxy.client()
        assert client.ask_text(store("set", A1, "a1")) == client.ask_text(store("set", B1, "b1")) == STORED
        paused.pause()
        assert client.ask_text(GET) == value(A1, "a1") + END
        paused.resume()
        assert client.ask_text(GET) == value(A1, "a1") + value(B1, "b1") + END


def test_writes_fail_where_reads_may_miss(missing_stage: Stage) -> None:
    missing_stage.second.refuse()
    missing_stage.client.send(store("set", B1, "x") + f"delete {B1}\r\n".encode() + MARK)
    missing_stage.client.expect(REFUSED * 2 + MN)


def test_redis_pool_may_count_a_refusing_server_as_misses(configured: Configure, servers: list[RedisServer]) -> None:
    with (
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(servers[0], dead, partial_reads="miss")) as proxy,
    ):
        client = proxy.client()
        client.send(command("SET", A1, "a1") + command("MGET", A1, B1, A2, B2, A1) + command("DEL", A1, B1))
        client.expect(
            b"+OK\r\n"
            + array(bulk("a1"), b"$-1\r\n", b"$-1\r\n", b"$-1\r\n", bulk("a1"))
            + error("ERR Connection refused")
        )
