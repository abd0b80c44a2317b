"""The kernel refuses memory to the worker: only the client that needs it is closed, and all other replies are right."""

import resource

from harness.proc import memory
from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.subscribing import subscribe

FIRST, SECOND, MORE = 20_000, 12_000, 3_000
"""Numbers of requests: their server has one ring for all of them, which must grow at 32,768."""


def test_a_request_without_a_place_on_its_server_connection_is_not_sent() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server, max_pipeline=65_536)) as proxy:
        worker = proxy.processes()[1]
        first, second, third = (proxy.client() for _ in range(3))
        first.send(command("GET", "one"))
        peer = server.accept()
        peer.expect(command("GET", "one"))
        peer.send(bulk("1"))
        first.expect(bulk("1"))
        for client in (first, second):
            # Small replies widen the window of a new client, fourfold each time.
            for size in (16, 64, 256, 1024, 4096, 16_384):
                client.send(command("GET", "one") * size)
                peer.expect(command("GET", "one") * size)
                peer.send(bulk("1") * size)
                client.expect(bulk("1") * size)
        first.send(command("GET", "f") * FIRST)
        peer.expect(command("GET", "f") * FIRST)
        second.send(command("GET", "s") * SECOND)
        peer.expect(command("GET", "s") * SECOND)
        # Enough memory for anything small; the larger ring would take 3 MB.
        limits = resource.prlimit(worker, resource.RLIMIT_AS)
        resource.prlimit(worker, resource.RLIMIT_AS, (memory(worker)["VmSize"] + (1 << 20), limits[1]))
        second.send(command("GET", "t") * MORE)
        second.expect_closed()
        resource.prlimit(worker, resource.RLIMIT_AS, limits)
        third.send(command("GET", "third"))
        rest = peer.read_until(command("GET", "third"))
        peer.send(bulk("f") * FIRST + bulk("s") * SECOND)
        peer.send(bulk("t") * (rest.count(b"GET") - 1) + bulk("third"))
        first.expect(bulk("f") * FIRST)
        assert third.reply() == bulk("third")
        assert not server.has_connection()
        proxy.expects_crash = True
        assert proxy.log().count("Traceback") == proxy.log().count("MemoryError: no memory for a longer queue") == 1
        assert proxy.processes()[1] == worker


def test_a_reply_to_publish_that_cannot_be_kept_costs_its_client_only(servers: list[RedisServer]) -> None:
    """Replies that must wait for an earlier reply arrive, and there is no memory to keep them."""
    count, large = 3000, error("ERR " + "x" * 4000)
    [slow], [scripted_key] = keys_of(1, 3), keys_of(0, 3)
    [real_key] = keys_of(2, 3)
    with (
        ScriptedServer() as server,
        ScriptedServer() as silent,
        Proxy(redis_pool(server, silent, servers[0], max_pipeline=65_536)) as proxy,
    ):
        worker = proxy.processes()[1]
        client, other, subscriber = (proxy.client() for _ in range(3))
        # With a subscription, the proxy examines the replies to PUBLISH.
        subscribe(subscriber, real_key)
        peer = None
        for size in (1, 16, 64, 256, 1024, 4096):
            client.send(command("GET", scripted_key) * size)
            peer = peer or server.accept()
            peer.expect(command("GET", scripted_key) * size)
            peer.send(bulk("1") * size)
            client.expect(bulk("1") * size)
        assert peer is not None
        client.send(command("GET", slow))
        silent.accept().expect(command("GET", slow))
        client.send(command("PUBLISH", scripted_key, "x") * count)
        peer.expect(command("PUBLISH", scripted_key, "x") * count)
        other.send(command("GET", scripted_key))
        peer.expect(command("GET", scripted_key))
        limits = resource.prlimit(worker, resource.RLIMIT_AS)
        resource.prlimit(worker, resource.RLIMIT_AS, (memory(worker)["VmSize"] + (1 << 20), limits[1]))
        peer.send(large * count + bulk("other"))
        client.expect_closed()
        other.expect(bulk("other"))
        resource.prlimit(worker, resource.RLIMIT_AS, limits)
        proxy.expects_crash = True
        assert proxy.log().count("Traceback") == proxy.log().count("MemoryError: no memory for a block") == 1
        assert other.ask("PING") == b"+PONG\r\n"
        assert proxy.processes()[1] == worker
