"""The server of a server connection: errors for clients."""

import errno

import pytest

from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.upstream import Upstream, error_text


class FakePool:
    """A pool, and a resolver that is used only for servers with a name."""

    def __call__(self, host: str, port: int, callback: object) -> None:
        raise AssertionError("nothing has to be looked up")

    def __init__(self, config: PoolConfig) -> None:
        self.config = config

    def now(self) -> int:
        return 0

    def look_by(self, moment: int) -> None:
        raise AssertionError("nothing has to be looked at")


def upstream(address: Address) -> Upstream:
    server = ServerConfig(name="s1", pname="s1:1", address=address, weight=1)
    pool = PoolConfig(name="p", listen=ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1)), servers=(server,))
    fake = FakePool(pool)
    return Upstream(fake, server, RedisCodec(), fake)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (0, "unknown"),
        (errno.ECONNREFUSED, "Connection refused"),
        (errno.ETIMEDOUT, "Connection timed out"),
        (errno.EINVAL, "Invalid argument"),
        (errno.EHOSTDOWN, "Host is down"),
    ],
)
def test_errors_for_clients_are_the_systems_words(error: int, text: str) -> None:
    assert error_text(error) == text
    server = upstream(Address("127.0.0.1", 1))
    for _ in range(2):
        assert server.error_reply(error) == f"-ERR {text}\r\n".encode()


def test_a_failed_greeting_is_named_to_clients() -> None:
    reply = upstream(Address("127.0.0.1", 1)).explanation("AUTH failed: WRONGPASS no\r\nway")
    assert reply == b"-ERR AUTH failed: WRONGPASS no  way (server s1:1 of pool p)\r\n"


def test_clients_learn_why_a_name_has_no_address() -> None:
    reply = upstream(Address("127.0.0.1", 1)).unresolved_reply("no such name")
    assert reply == b"-ERR Host is down: no such name (server s1:1 of pool p)\r\n"
