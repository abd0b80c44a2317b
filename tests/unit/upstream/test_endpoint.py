"""The server of a server connection: errors for clients."""

import errno

import pytest

from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.upstream.endpoint import Endpoint, error_text
from unit.fakes import FakePool


class Pool(FakePool):
    """A pool without look-ups."""

    def now(self) -> int:
        raise AssertionError("nothing takes time")


def resolve(host: str, port: int, callback: object) -> None:
    raise AssertionError("nothing has to be looked up")


def upstream(address: Address) -> Endpoint:
    server = ServerConfig(name="s1", pname="s1:1", address=address, weight=1)
    pool = PoolConfig(name="p", listen=ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1)), servers=(server,))
    return Endpoint(Pool(pool), server, RedisCodec(), resolve)


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
