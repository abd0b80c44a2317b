"""Servers and clients that do not keep up: memory stays bounded, everybody gets every reply."""

import threading

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.resp import command
from harness.servers import RedisServer

CLIENTS = 60
DEPTH = 16
VALUE = b"v" * 32768


def write_all(client: Connection, number: int, failures: list[BaseException]) -> None:
    """Pipeline many large SETs and take every reply."""
    try:
        client.send(b"".join(command("SET", f"{number}:{i}", VALUE) for i in range(DEPTH)))
        client.expect(b"+OK\r\n" * DEPTH)
    except BaseException as failure:
        failures.append(failure)


def test_clients_that_waited_for_a_full_server_all_go_on() -> None:
    """Many times more than a server's high water mark is sent at once, so clients wait and are woken in crowds."""
    failures: list[BaseException] = []
    with RedisServer() as server, Proxy(redis_pool(server)) as proxy:
        threads = [
            threading.Thread(target=write_all, args=(proxy.client(), number, failures)) for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert proxy.client().ask("STRLEN", "7:7") == b":%d\r\n" % len(VALUE)
