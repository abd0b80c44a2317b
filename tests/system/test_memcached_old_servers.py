"""Servers older than memcached 1.6.10, which answer meta commands otherwise, or take their data block for commands."""

from harness.proxy import Proxy
from harness.scripted_server import ScriptedServer
from twemproxy.protocol.memcache.errors import META_UNSUPPORTED


def test_an_old_server_gets_no_meta_command_and_is_not_ejected_for_that() -> None:
    """A meta command that waited for the greeting fails with the connection; later ones are refused at once."""
    with ScriptedServer() as server:
        pool = {"auto_eject_hosts": True, "server_failure_limit": 1, "servers": [f"{server.address}:1 old"]}
        refusal = f"SERVER_ERROR {META_UNSUPPORTED} (server {server.address}:1 of pool alpha)\r\n".encode()
        with Proxy(pool) as proxy, proxy.client() as client:
            client.send(b"ms k 9\r\nflush_all\r\n")
            with server.accept() as first:
                first.expect(b"version\r\n")
                first.send(b"VERSION 1.6.9\r\n")
                first.expect_closed()
            client.expect(refusal)
            client.send(b"get k\r\n")
            second = server.accept()
            second.expect(b"version\r\n")
            second.send(b"VERSION 1.4.15\r\n")
            second.expect(b"get k\r\n")
            second.send(b"END\r\n")
            client.expect(b"END\r\n")
            client.send(b"ms k 9\r\nflush_all\r\nmg k v\r\nget k\r\n")
            second.expect(b"get k\r\n")
            second.send(b"END\r\n")
            client.expect(refusal * 2 + b"END\r\n")
