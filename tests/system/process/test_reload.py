"""Reload: the configuration of a running proxy is replaced, and no client notices more than it must."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.ports import free_port
from harness.proc import descriptors, is_listening
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.resp import OK, bulk, command
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with ExitStack() as made:
        yield [made.enter_context(RedisServer()) for _ in range(3)]


def has_connections(number: int, stats: dict[str, Any]) -> bool:
    return bool(stats["s00"]["server_connections"] <= number)


def connections(server: RedisServer) -> int:
    """How many clients the server has."""
    return server.ask("CLIENT", "LIST").count(b" addr=")


def test_a_server_is_added_and_no_client_is_closed(servers: list[RedisServer]) -> None:
    one, two, _ = servers
    one.ask("FLUSHALL")
    two.ask("FLUSHALL")
    with Proxy(redis_pool(one)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        stats = proxy.reload(redis_pool(one, two))
        assert (stats["config_generation"], stats["last_reload_failed"]) == (2, 0)
        [key] = keys_of(1, 2)
        assert client.ask("SET", key, "2") == OK
        assert two.ask("GET", key) == bulk("2")
        assert set(stats["alpha"]) > {"s00", "s01"}
        assert proxy.server_stats("s01")["requests"] == 1
        assert "reload: generation 2" in proxy.log()


def test_a_file_that_does_not_differ_changes_nothing(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        before = proxy.stats()
        after = proxy.reload()
        names = ("config_generation", "config_fingerprint", "config_loaded_at")
        assert [after[name] for name in names] == [before[name] for name in names]
        assert after["last_reload_at"] >= before["config_loaded_at"]
        assert after["last_reload"] == "nothing differs from the configuration that is served"


def test_a_bad_file_changes_nothing_and_says_where(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        before = proxy.stats()
        client = proxy.client()
        proxy.configuration.write_text("alpha:\n  listen: 127.0.0.1:1\n  hush: md5\n  servers:\n    - 127.0.0.1:2:1\n")
        after = proxy.reload()
        assert after["config_fingerprint"] == before["config_fingerprint"]
        assert after["last_reload_failed"] == 1
        assert f'{proxy.configuration}:3:3: pool "alpha": directive "hush" is unknown' in after["last_reload"]
        assert f"{proxy.configuration}:3:3: " in proxy.log()
        assert client.ask("PING") == b"+PONG\r\n"
        proxy.write_configuration(redis_pool(servers[0], timeout=1000))
        assert proxy.reload()["last_reload_failed"] == 0


def test_an_address_that_is_taken_changes_nothing(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        listen = proxy.listens["alpha"]
        taken = servers[1].address
        stats = proxy.reload(redis_pool(servers[0], listen=taken, timeout=5000))
        assert stats["last_reload"].startswith(f"failed: pool 'alpha': listen on '{taken}' failed: ")
        assert client.ask("PING") == b"+PONG\r\n"
        proxy.listens["alpha"] = listen
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_pools_are_added_and_removed(servers: list[RedisServer]) -> None:
    with Proxy({"alpha": redis_pool(servers[0])}) as proxy:
        old = proxy.client("alpha")
        assert old.ask("SET", "a", "1") == OK
        port = proxy.port("alpha")
        stats = proxy.reload({"beta": redis_pool(servers[1]), "gamma": redis_pool(servers[2])})
        assert stats["last_reload_failed"] == 0
        assert "alpha" not in stats
        assert proxy.client("beta").ask("SET", "b", "1") == OK
        assert servers[1].ask("GET", "b") == bulk("1")
        assert proxy.client("gamma").ask("PING") == b"+PONG\r\n"
        assert not is_listening(port)
        # Nobody is closed: a client of the removed pool is served until it leaves.
        assert old.ask("GET", "a") == bulk("1")


def test_a_removed_pool_ends_with_its_last_client(servers: list[RedisServer]) -> None:
    with Proxy({"alpha": redis_pool(servers[0]), "beta": redis_pool(servers[1])}) as proxy:
        client = proxy.client("alpha")
        assert client.ask("SET", "a", "1") == OK
        count = connections(servers[0])
        proxy.reload({"beta": redis_pool(servers[1])})
        assert client.ask("GET", "a") == bulk("1")
        client.close()
        wait_until(lambda: connections(servers[0]) < count, "the pool's connections end")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_pool_listens_elsewhere(servers: list[RedisServer], at_once: bool) -> None:
    """``at_once``: the new address contains the former one, so they cannot be open together without SO_REUSEPORT."""
    with Proxy(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        port = proxy.port()
        listen = f"0.0.0.0:{port}" if at_once else f"127.0.0.1:{free_port()}"
        assert proxy.reload(redis_pool(servers[0], listen=listen))["last_reload_failed"] == 0
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        assert client.ask("PING") == b"+PONG\r\n"
        assert is_listening(port) == at_once
        assert proxy.reload(redis_pool(servers[0], listen=f"127.0.0.1:{port}"))["last_reload_failed"] == 0
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_the_mode_of_a_unix_socket(servers: list[RedisServer], tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with Proxy(redis_pool(servers[0], listen=f"{path} 0600")) as proxy:
        client = proxy.client()
        proxy.reload(redis_pool(servers[0], listen=f"{path} 0660"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert client.ask("PING") == proxy.client().ask("PING") == b"+PONG\r\n"


def test_a_renamed_pool_keeps_clients_connections_and_counters(servers: list[RedisServer]) -> None:
    with Proxy({"alpha": redis_pool(servers[0])}) as proxy:
        client = proxy.client("alpha")
        assert client.ask("SET", "a", "1") == OK
        connections = proxy.server_stats()["server_connections"]
        listen = proxy.listens["alpha"]
        stats = proxy.reload({"beta": redis_pool(servers[0], listen=listen)})
        assert "alpha" not in stats
        assert stats["beta"]["client_connections"] == 1
        assert stats["beta"]["s00"]["requests"] == 1
        assert stats["beta"]["s00"]["server_connections"] == connections
        assert client.ask("GET", "a") == bulk("1")
        assert proxy.server_stats("s00", "beta")["requests"] == 2


def test_another_protocol_behind_the_same_name(servers: list[RedisServer]) -> None:
    with MemcachedServer() as memcached, Proxy(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert proxy.reload(memcached_pool(memcached))["last_reload_failed"] == 0
        assert proxy.client().ask_text(b"set a 0 0 1\r\n2\r\n") == b"STORED\r\n"
        assert client.ask("GET", "a") == bulk("1")
        stats = proxy.pool_stats()
        assert stats["client_connections"] == 2
        assert stats["s00"]["requests"] == 3


def test_other_databases_for_new_clients(servers: list[RedisServer]) -> None:
    """A client stays in its database, also when the pool gets other servers afterwards."""
    one, two, _ = servers
    for server in (one, two):
        server.ask("FLUSHALL")
    with Proxy(redis_pool(one, databases=4)) as proxy:
        old = proxy.client()
        assert old.ask("SELECT", 3) == OK
        assert old.ask("SET", "a", "old") == OK
        assert proxy.reload(redis_pool(one, redis_db=2, databases=3))["last_reload_failed"] == 0
        new = proxy.client()
        assert new.ask("SET", "a", "new") == OK
        assert new.ask("SELECT", 3).startswith(b"-ERR")
        assert old.ask("GET", "a") == bulk("old")
        assert proxy.reload(redis_pool(two, redis_db=2, databases=3))["last_reload_failed"] == 0
        assert old.ask("SET", "b", "old") == new.ask("SET", "b", "new") == OK
    with two.connect() as direct:
        for database, value in ((2, "new"), (3, "old")):
            assert direct.ask("SELECT", database) == OK
            assert direct.ask("GET", "b") == bulk(value)


def test_a_password_is_set_changed_and_removed() -> None:
    with RedisServer() as server, Proxy(redis_pool(server)) as proxy:
        old = proxy.client()
        assert old.ask("SET", "a", "1") == OK
        server.ask("CONFIG", "SET", "requirepass", "first")
        proxy.reload(redis_pool(server, redis_auth="first"))
        new = proxy.client()
        assert new.ask("GET", "a").startswith(b"-NOAUTH")
        # As in redis, a client that is connected stays accepted.
        assert old.ask("GET", "a") == bulk("1")
        assert old.ask("CLIENT", "SETNAME", "me") == OK
        assert old.ask("GET", "a") == bulk("1")
        assert new.ask("AUTH", "first") == OK
        assert new.ask("GET", "a") == bulk("1")
        waiting = proxy.client()
        assert waiting.ask("GET", "a").startswith(b"-NOAUTH")
        with server.connect() as direct:
            assert direct.ask("AUTH", "first") == OK
            assert direct.ask("CONFIG", "SET", "requirepass", "") == OK
        proxy.reload(redis_pool(server))
        assert waiting.ask("GET", "a") == bulk("1")
        assert proxy.client().ask("GET", "a") == bulk("1")


def test_many_pipelined_requests_while_connections_are_replaced(servers: list[RedisServer]) -> None:
    """A client reads its own writes while ``server_connections`` goes up and down."""
    with Proxy(redis_pool(servers[0], server_connections=1)) as proxy:
        clients = [proxy.client() for _ in range(4)]
        for round_, number in enumerate([5, 1, 3, 2]):
            for name, client in enumerate(clients):
                requests = [
                    command("SET", f"k{name}", f"{round_}.{i}") + command("GET", f"k{name}") for i in range(300)
                ]
                client.send(b"".join(requests))
            proxy.reload(redis_pool(servers[0], server_connections=number))
            for name, client in enumerate(clients):
                client.send(command("SET", f"k{name}", f"{round_} last") + command("GET", f"k{name}"))
            for client in clients:
                client.expect(b"".join(OK + bulk(f"{round_}.{i}") for i in range(300)))
                client.expect(OK + bulk(f"{round_} last"))
            proxy.wait_stats(partial(has_connections, number), "the former connections end")


def test_counters_and_descriptors_are_as_before_after_many_reloads(servers: list[RedisServer]) -> None:
    one, two, three = servers
    with Proxy(redis_pool(one, two)) as proxy:
        client = proxy.client()
        keys = [f"k{number}" for number in range(20)]
        shapes = [redis_pool(one, two), redis_pool(one, two, three), redis_pool(one, two, server_connections=2)]

        def use() -> None:
            client.send(b"".join(command("SET", key, "v") for key in keys))
            client.expect(OK * len(keys))

        use()
        processes = proxy.processes()
        before = [len(descriptors(pid)) for pid in processes]
        for number in range(30):
            proxy.reload(shapes[(number + 1) % 3])
            use()
        proxy.reload(shapes[0])
        use()
        assert proxy.processes() == processes
        wait_until(lambda: [len(descriptors(pid)) for pid in processes] == before, "no descriptor is left open")
        assert proxy.stats()["config_generation"] == 31


def test_a_replaced_worker_has_the_new_configuration(servers: list[RedisServer]) -> None:
    one, two, _ = servers
    with Proxy(redis_pool(one)) as proxy:
        proxy.expects_crash = True
        proxy.reload(redis_pool(one, two))
        _, worker = proxy.processes()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in (now := proxy.processes()) and len(now) == 2, "another worker runs")
        [key] = keys_of(1, 2)
        assert proxy.client().ask("SET", key, "3") == OK
        assert two.ask("GET", key) == bulk("3")


def test_a_stop_during_a_reload(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        proxy.write_configuration(redis_pool("127.0.0.1:1", servers[0]))
        proxy.process.send_signal(signal.SIGUSR1)
        assert proxy.terminate() == 0


def test_the_document_of_nutcracker_stays_the_same(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        proxy.reload(redis_pool(servers[0], timeout=400))
        assert not {name for name in json.loads(proxy.stats_text()) if "config" in name or "reload" in name}
