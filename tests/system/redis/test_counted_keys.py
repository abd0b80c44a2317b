"""A wrong number of keys gets the command's own error, whatever the number of servers."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.resp import command
from harness.servers import RedisServer, ValkeyServer

FORMS = {
    "eval": "EVAL return {}",
    "eval_ro": "EVAL_RO return {}",
    "fcall": "FCALL one {}",
    "fcall_ro": "FCALL_RO one {}",
    "lmpop": "LMPOP {} left",
    "zmpop": "ZMPOP {} min",
    "blmpop": "BLMPOP 0.01 {} left",
    "bzmpop": "BZMPOP 0.01 {} min",
    "sintercard": "SINTERCARD {}",
    "zunion": "ZUNION {}",
    "zinter": "ZINTER {}",
    "zdiff": "ZDIFF {}",
    "zintercard": "ZINTERCARD {}",
    "zunionstore": "ZUNIONSTORE d {}",
    "zinterstore": "ZINTERSTORE d {}",
    "zdiffstore": "ZDIFFSTORE d {}",
}
COUNTS = ["-1 a b", "x a b", "1.5 a b", "9 a b", "99999999999999999999 a b", "01 a b", "+1 a b", "-0 a b", "3 a b"]
COUNTS += ["2147483647 a"]
FUNCTION = """#!lua name=one
redis.register_function{function_name='one', callback=function() return 1 end, flags={'no-writes'}}"""
MAY_BE_ZERO = ("eval", "eval_ro", "fcall", "fcall_ro")


@pytest.fixture(scope="module", params=[RedisServer, ValkeyServer], ids=["redis", "valkey"])
def reference(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with request.param() as server:
        assert server.ask("FUNCTION", "LOAD", FUNCTION) == b"$3\r\none\r\n"
        yield server


@pytest.mark.parametrize("name", FORMS)
def test_errors_are_those_of_the_server(anybody: Connection, reference: RedisServer, name: str) -> None:
    for count in [*COUNTS, *([] if name in MAY_BE_ZERO else ["0 a b"])]:
        words = FORMS[name].format(count).split()
        anybody.send(command(*words) + command("PING"))
        anybody.expect(reference.ask(*words) + b"+PONG\r\n")
