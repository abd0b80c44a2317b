"""--max-memory: large requests wait for each other, small requests do not wait, and stalled clients block no others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.resp import OK, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.subscribing import confirmation
from harness.waiting import wait_until

MEGA = 1 << 20
LIMIT = 8 * MEGA
DROPPED = b"out of memory: the request is dropped, '--max-memory' leaves no room for it\r\n"
REFUSED = (b"-ERR " + DROPPED, b"SERVER_ERROR " + DROPPED)


class Limited(Proxy):
    """A proxy with a memory limit, and the growth of its memory since the start."""

    def __init__(self, pool: dict[str, object]) -> None:
        super().__init__(pool, "--max-memory=8mb")
        client = self.client()
        client.send(b"*1\r\n$4\r\nPING\r\n" if pool.get("redis") else b"mn\r\n")
        client.read_until(b"\r\n")
        self.before = self.memory()

    def growth(self) -> int:
        """The growth of the proxy's memory since the start, in bytes."""
        return self.memory() - self.before

    def wait_until_held(self, size: int) -> None:
        """Wait until more than ``size`` bytes count for the limit."""
        wait_until(lambda: self.stats()["memory_held"] > size, f"{size} bytes are held")


@pytest.fixture
def stalling(servers: list[RedisServer]) -> Iterator[tuple[Limited, list[Connection]]]:
    """A proxy, and clients that have each sent half of a large request, which together fill the memory."""
    with Limited(redis_pool(*servers)) as proxy:
        clients = [proxy.client() for _ in range(12)]
        for number, client in enumerate(clients):
            request = command("SET", f"stalled:{number}", b"v" * (4 * MEGA))
            client.send_until_stalled(request[: 2 * MEGA], 0.02)
        wait_until(lambda: "large requests wait" in proxy.log(), "large requests wait")
        yield proxy, clients


def test_large_requests_all_succeed_in_the_end(servers: list[RedisServer]) -> None:
    count, value = 40, b"v" * (2 * MEGA)
    with Limited(redis_pool(*servers)) as proxy, ThreadPoolExecutor(count) as threads:
        clients = [proxy.client() for _ in range(count)]
        answers = [threads.submit(client.ask, "SET", f"k{i}", value) for i, client in enumerate(clients)]
        peak = 0
        while not all(answer.done() for answer in answers):
            peak = max(peak, proxy.growth())
        assert {answer.result() for answer in answers} == {OK}
        assert peak < 3 * LIMIT
        assert clients[0].ask("STRLEN", "k39") == integer(len(value))
        wait_until(lambda: "large requests wait no longer" in proxy.log(), "large requests wait no longer")
        assert proxy.stats()["memory_waits"] > 0


def test_the_statistics_tell_who_waits(stalling: tuple[Limited, list[Connection]]) -> None:
    proxy, stalled = stalling
    wait_until(lambda: proxy.stats()["memory_waiting"] > 0, "some clients wait")
    assert proxy.stats()["memory_held"] > LIMIT
    for client in stalled:
        client.close()
    wait_until(lambda: proxy.stats()["memory_waiting"] == 0, "no client waits")
    wait_until(lambda: proxy.stats()["memory_held"] < MEGA, "nothing is held")
    assert proxy.log().count("large requests wait\n") == 1


def test_without_a_limit_nobody_waits(servers: list[RedisServer]) -> None:
    count, value = 20, b"v" * (2 * MEGA)
    with Proxy(redis_pool(*servers)) as proxy, ThreadPoolExecutor(count) as threads:
        clients = [proxy.client() for _ in range(count)]
        answers = threads.map(lambda client: client.ask("SET", "k", value), clients)
        assert set(answers) == {OK}
        assert proxy.stats()["memory_waits"] == 0


def test_large_objects_all_succeed_in_the_end() -> None:
    count, block = 40, b"v" * 900_000
    with MemcachedServer() as server, Limited(memcached_pool(server)) as proxy, ThreadPoolExecutor(count) as threads:
        clients = [proxy.client() for _ in range(count)]
        request = b"set k 0 0 %d\r\n%b\r\n" % (len(block), block)
        answers = list(threads.map(lambda client: client.ask_text(request), clients))
        assert set(answers) == {b"STORED\r\n"}


def test_a_request_larger_than_the_limit_is_served_when_it_is_alone(servers: list[RedisServer]) -> None:
    with Limited(redis_pool(*servers)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "k", b"v" * (12 * MEGA)) == OK


def test_a_request_that_will_never_fit_is_dropped(servers: list[RedisServer]) -> None:
    with Limited(redis_pool(*servers)) as proxy:
        client = proxy.client()
        client.send(command("SET", "a", "1") + command("SET", "k", b"v" * (60 * MEGA)) + command("GET", "a"))
        client.expect(OK + REFUSED[0] + bulk("1"))
        assert "'--max-memory' is 8388608" in proxy.log()
        assert proxy.growth() < 4 * LIMIT


def test_the_room_of_a_dropped_request_counts_at_once(servers: list[RedisServer]) -> None:
    """The memory of a dropped request is returned over several turns; no other client loses a request meanwhile."""
    request = command("SET", "other", b"v" * (8 * MEGA))
    with Limited(redis_pool(*servers)) as proxy:
        other, client = proxy.client(), proxy.client()
        other.send(request[: 6 * MEGA])
        proxy.wait_until_held(5 * MEGA)
        client.send(command("SET", "k", b"v" * (60 * MEGA)))
        client.expect(REFUSED[0])
        other.send(request[6 * MEGA :])
        other.expect(OK)


def test_half_sent_requests_lock_nobody_out(stalling: tuple[Limited, list[Connection]]) -> None:
    proxy, _ = stalling
    others = [proxy.client() for _ in range(4)]
    for number, client in enumerate(others):
        client.send(command("SET", f"large:{number}", b"v" * MEGA))
    for client in others:
        client.expect(OK)
    assert proxy.growth() < 3 * LIMIT
    assert proxy.pool_stats()["client_err"] == 0


def test_small_requests_do_not_wait(stalling: tuple[Limited, list[Connection]]) -> None:
    proxy, _ = stalling
    client = proxy.client()
    client.send(b"".join(command("SET", f"small:{i}", i) + command("GET", f"small:{i}") for i in range(2000)))
    client.expect(b"".join(OK + bulk(i) for i in range(2000)))


def test_who_waits_can_leave(stalling: tuple[Limited, list[Connection]]) -> None:
    proxy, stalled = stalling
    for client in stalled:
        client.close()
    proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the clients are gone")
    assert proxy.client().ask("SET", "k", b"v" * MEGA) == OK


def test_room_that_others_leave_is_used(stalling: tuple[Limited, list[Connection]]) -> None:
    proxy, stalled = stalling
    for number, client in enumerate(stalled[:-1]):
        if number % 2:
            client.close()
    other = proxy.client()
    assert other.ask("SET", "k", b"v" * MEGA) == OK


def test_replies_that_nobody_takes_are_bounded(servers: list[RedisServer]) -> None:
    with Limited(redis_pool(servers[0])) as proxy:
        other = proxy.client()
        assert other.ask("SET", "large", b"v" * MEGA) == OK
        lazy = [proxy.client() for _ in range(60)]
        for client in lazy:
            client.send(command("GET", "large") * 20)
        proxy.wait_stats(lambda pool: pool["client_err"] > 0, "a client is closed")
        for _ in range(100):
            assert other.ask("PING") == b"+PONG\r\n"
            assert proxy.growth() < 4 * LIMIT
        assert "'--max-memory' is 8388608 and traffic uses more than twice that" in proxy.log()


def test_replies_that_are_taken_all_come(servers: list[RedisServer]) -> None:
    value = b"v" * (256 << 10)
    with Limited(redis_pool(servers[0])) as proxy, ThreadPoolExecutor(8) as threads:
        clients = [proxy.client() for _ in range(8)]
        assert clients[0].ask("SET", "large", value) == OK

        def take(client: Connection) -> None:
            client.send(command("GET", "large") * 60)
            client.expect(bulk(value) * 60)

        assert list(threads.map(take, clients)) == [None] * 8


def test_a_server_that_takes_nothing_locks_out_its_own_clients_only(servers: list[RedisServer]) -> None:
    with ScriptedServer() as hung, Limited(redis_pool(hung, servers[0])) as proxy:
        [on_hung], [on_other] = keys_of(0, 2), keys_of(1, 2)
        for _ in range(12):
            proxy.client().send_until_stalled(command("SET", on_hung, b"v" * (2 * MEGA)), 0.02)
        assert proxy.client().ask("SET", on_other, "small") == OK
        assert proxy.client().ask("SET", on_other, b"v" * MEGA) == OK


def test_subscriptions_are_counted(servers: list[RedisServer]) -> None:
    """The subscriptions of all clients may use half of the limit, and those of one client half of that."""
    names = [f"channel:{number}" for number in range(30_000)]
    no_room = error("ERR out of memory: '--max-memory' leaves no room for more subscriptions")
    with Limited(redis_pool(*servers)) as proxy:
        clients = [proxy.client() for _ in range(3)]
        other = proxy.client()
        clients[0].send_until_stalled(command("SUBSCRIBE", *names))
        clients[0].expect(no_room)
        wait_until(lambda: proxy.stats()["memory_held"] < MEGA, "the refused subscriptions are freed")
        for number, client in enumerate(clients):
            mine = [f"{number}:{name}" for name in names[:6500]]
            client.send_until_stalled(command("SUBSCRIBE", *mine))
            if number < 2:
                client.read_until(confirmation("subscribe", mine[-1], len(mine)))
                proxy.wait_until_held((number + 1) * 6500 * 272)
                assert proxy.growth() < LIMIT
            else:
                client.expect(no_room)
        assert clients[0].ask("SUBSCRIBE", "x" * MEGA) == no_room
        assert other.ask("SET", "k", b"v" * MEGA) == OK
        clients[0].close()
        wait_until(lambda: proxy.stats()["memory_held"] < LIMIT // 3, "there is memory again")
        clients[2].send_until_stalled(command("SUBSCRIBE", *mine))
        clients[2].read_until(confirmation("subscribe", mine[-1], len(mine)))
        clients[2].send_until_stalled(command("UNSUBSCRIBE"))
        clients[2].read_until(b":0\r\n")
        clients[1].close()
        wait_until(lambda: proxy.stats()["memory_held"] < MEGA, "all memory is freed")
