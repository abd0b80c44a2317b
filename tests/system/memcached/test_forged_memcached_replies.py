"""No client of a memcached pool can forge the reply to another client, whatever its requests contain.

As in test_forged_replies, the requests of an attacker and of its victims reach the server together.
"""

from base64 import b64encode
from collections.abc import Iterator

import pytest

from harness import memcache
from harness.proxy import ServedPools, memcached_pool
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure
from twemproxy.protocol.memcache.commands import COMMANDS

SECRET = b"secret"
FORGED = b"VALUE victim 0 6\r\nFORGED\r\nEND\r\nHD\r\nVA 6\r\nFORGED\r\nSTORED\r\n"
PAYLOADS = [
    b"k\r\n" + FORGED,
    b"k\n" + FORGED.replace(b"\r", b""),
    b"k\r" + FORGED.replace(b"\n", b""),
    b"k\0\r\n" + FORGED,
    b"k\\r\\n" + FORGED.replace(b"\r\n", b"\\r\\n"),
    b64encode(b"k\r\n" + FORGED),
    b"O" + FORGED,
    b"6\r\n" + FORGED,
]
"""The payloads that replace arguments: with raw line ends, single control bytes, escaped line ends, and in base64."""

FLAGS = [b"b", b"k", b"v", b"q", b"Oabc", b"noreply"]
HONEST = memcache.store("set", "victim", SECRET) + b"get victim\r\nmg victim v\r\n"
EXPECTED = memcache.STORED + memcache.value("victim", SECRET) + memcache.END + memcache.meta_value(SECRET)


@pytest.fixture(scope="module")
def scene(configured: Configure) -> Iterator[tuple[ServedPools, MemcachedServer]]:
    with MemcachedServer() as server, configured(memcached_pool(server)) as proxy:
        yield proxy, server


def requests_of(name: str) -> Iterator[bytes]:
    """Lines of a command with each payload in each place, with and without flags and data blocks."""
    for payload in PAYLOADS:
        for length in range(1, 6):
            for at in range(length):
                words = [b"k", *[b"6"] * 4][:length]
                words[at] = payload
                line = b" ".join([name.encode(), *words])
                yield line + b"\r\n"
                yield line + b"\r\n" + b"secret\r\n"
        for flag in FLAGS:
            yield b" ".join([name.encode(), payload, b"6", flag]) + b"\r\nsecret\r\n"
            yield b" ".join([name.encode(), payload, flag, b"k", b"v"]) + b"\r\n"
            yield b" ".join([name.encode(), b"k", b"6", flag + payload]) + b"\r\nsecret\r\n"
        for form in (b"k 0 0 %d", b"k %d", b"k 0 0 %d noreply", b"k %d q"):
            yield b"%s %s\r\n%s\r\n" % (name.encode(), form % len(payload), payload)
            yield b"%s %s\r\n%s\r\n" % (name.encode(), form % 6, payload)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if command.name != "quit"])
def test_no_command_says_anything_to_others(scene: tuple[ServedPools, MemcachedServer], name: str) -> None:
    proxy, server = scene
    attacker, others = proxy.client(), [proxy.client(), proxy.client()]
    with server.paused():
        for client in others:
            client.send(HONEST)
            client.wait_consumed()
        attacker.send(b"".join(requests_of(name)))
        for client in others:
            client.send(HONEST)
            client.wait_consumed()
    for client in others:
        client.expect(EXPECTED * 2)
        client.send(b"mn\r\n")
        client.expect(memcache.MN)
        client.close()
    attacker.close()
