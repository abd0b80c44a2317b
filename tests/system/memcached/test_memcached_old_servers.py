"""Servers older than memcached 1.6.10, which answer meta commands differently or execute their data blocks."""

from harness.memcache import END, GREETING, meta_set, server_error
from harness.proxy import memcached_pool
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.shared_proxy import Configure
from twemproxy.protocol.memcache.errors import META_UNSUPPORTED


def test_an_old_server_gets_no_meta_command_and_is_not_ejected_for_that(configured: Configure) -> None:
    """Only the meta command is refused, whether it waits for the handshake or comes later."""
    with ScriptedServer() as server:
        pool = {"auto_eject_hosts": True, "server_failure_limit": 1, "servers": [f"{server.address}:1 old"]}
        with configured(pool) as proxy, proxy.client() as client, proxy.client() as other:
            refusal = server_error(f"{META_UNSUPPORTED} (server {server.address}:1 of pool {proxy.served_name()})")
            client.send(b"ms k 9\r\nflush_all\r\n")
            client.wait_consumed()
            other.send(b"get a\r\nset b 0 0 5000\r\n" + b"b" * 5000 + b"\r\nmg c v\r\nget d\r\n")
            other.wait_consumed()
            first = server.accept()
            first.expect(b"version\r\n")
            first.send(b"VERSION 1.6.9\r\n")
            client.expect(refusal)
            first.expect(b"get a\r\nset b 0 0 5000\r\n" + b"b" * 5000 + b"\r\nget d\r\n")
            first.send(b"END\r\nSTORED\r\nEND\r\n")
            other.expect(b"END\r\nSTORED\r\n" + refusal + b"END\r\n")
            client.send(b"ms k 9\r\nflush_all\r\nmg k v\r\nget k\r\n")
            first.expect(b"get k\r\n")
            first.send(b"END\r\n")
            client.expect(refusal * 2 + b"END\r\n")
            first.close()
            proxy.wait_stats(lambda stats: stats["old"]["server_connections"] == 0, "the connection has ended")
            client.send(b"mg k v\r\nget k\r\n")
            second = server.accept()
            second.expect(b"version\r\n")
            second.send(b"VERSION 1.4.15\r\n")
            second.expect(b"get k\r\n")
            second.send(b"END\r\n")
            client.expect(refusal + b"END\r\n")


def test_a_client_that_waits_behind_refused_meta_commands_goes_on(configured: Configure) -> None:
    """They fill the queue until the version of the server is known, and then nothing is left to be sent."""
    with ScriptedMemcached() as server, configured(memcached_pool(server, preconnect=True)) as proxy:
        refusal = server_error(f"{META_UNSUPPORTED} (server {server.address}:1 of pool {proxy.served_name()})")
        peer = server.accept_ungreeted()
        peer.expect(GREETING)
        client, other = proxy.client(), proxy.client()
        client.send(meta_set("k", "x" * (1 << 20)) * 4)
        client.wait_consumed()
        other.send(b"get a\r\n")
        other.wait_consumed()
        peer.send(b"VERSION 1.6.9\r\n")
        client.expect(refusal * 4)
        peer.expect(b"get a\r\n")
        peer.send(END)
        other.expect(END)
