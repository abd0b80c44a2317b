"""Servers and clients that are too slow: memory stays bounded, and every client gets every reply."""

import threading
from concurrent.futures import ThreadPoolExecutor

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, bulk, command
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

CLIENTS = 60
DEPTH = 16
VALUE = b"v" * 32768


def write_all(client: Connection, number: int, failures: list[BaseException]) -> None:
    """Pipeline many large SETs and read every reply."""
    try:
        client.send(b"".join(command("SET", f"{number}:{i}", VALUE) for i in range(DEPTH)))
        client.expect(b"+OK\r\n" * DEPTH)
    except BaseException as failure:
        failures.append(failure)


def test_clients_that_waited_for_a_full_server_all_go_on(configured: Configure) -> None:
    """The clients send many times what a server takes at once, so many clients wait and are woken together."""
    failures: list[BaseException] = []
    with RedisServer() as server, configured(redis_pool(server)) as proxy:
        threads = [
            threading.Thread(target=write_all, args=(proxy.client(), number, failures)) for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert proxy.client().ask("STRLEN", "7:7") == b":%d\r\n" % len(VALUE)


def test_deep_pipelines_of_many_clients_take_little_memory_and_give_it_back(servers: list[RedisServer]) -> None:
    """The clients send 14 MB of small requests at once."""
    clients, pairs = 200, 1000
    together = threading.Barrier(clients)

    def burst(client: Connection) -> None:
        keys = [f"k{number:06}" for number in range(pairs)]
        requests = b"".join(command("SET", key, "val") + command("GET", key) for key in keys)
        together.wait()
        client.send(requests)
        client.expect((OK + bulk("val")) * pairs)

    with Proxy(redis_pool(*servers)) as proxy, ThreadPoolExecutor(clients) as threads:
        connections = [proxy.client() for _ in range(clients)]
        assert {client.ask("PING") for client in connections} == {b"+PONG\r\n"}
        before, peak = proxy.memory(), proxy.peak_memory()
        assert list(threads.map(burst, connections)) == [None] * clients
        assert proxy.peak_memory() - peak < 24 << 20
        wait_until(lambda: proxy.memory() - before < 1 << 20, "the memory is returned")
