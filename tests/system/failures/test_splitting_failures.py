"""A split command with a failing part gets one error in place of its reply, and the connection stays open."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.shared_proxy import Configure

[A1, A2] = keys_of(0, 2, 2)
[B1, B2] = keys_of(1, 2, 2)

SPLIT = {
    "mget": command("mget", A1, B1, A2),
    "mset": command("mset", A1, "1", B1, "1", A2, "1"),
    "del": command("del", A1, B1, A2),
    "exists": command("exists", A1, B1, A2),
    "touch": command("touch", A1, B1, A2),
    "unlink": command("unlink", A1, B1, A2),
}
GOOD = {
    "mget": array(bulk("a1"), bulk("a2")),
    "mset": OK,
    "del": integer(2),
    "exists": integer(2),
    "touch": integer(2),
    "unlink": integer(2),
}
INVALID = error("ERR Invalid argument")
REFUSED = error("ERR Connection refused")


class Stage(NamedTuple):
    """A proxy, a client, and two scripted servers of the pool."""

    proxy: ServedPools
    client: Connection
    first: ScriptedServer
    second: ScriptedServer


@pytest.fixture
def stage(configured: Configure) -> Iterator[Stage]:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        yield Stage(proxy, proxy.client(), first, second)


@pytest.mark.parametrize("name", SPLIT)
def test_error_text_of_a_server_reaches_the_client(stage: Stage, name: str) -> None:
    text = error("READONLY You can't write against a read only replica.")
    stage.client.send(SPLIT[name] + command("PING"))
    stage.first.answer(GOOD[name])
    stage.second.answer(text)
    stage.client.expect(text + b"+PONG\r\n")


def test_error_of_the_lowest_server_wins(stage: Stage) -> None:
    stage.client.send(SPLIT["del"])
    behind_first = stage.first.accept()
    behind_second = stage.second.accept()
    behind_second.request()
    behind_second.send(error("ERR second"))
    behind_second.wait_consumed()
    behind_first.request()
    behind_first.send(error("ERR first"))
    stage.client.expect(error("ERR first"))


@pytest.mark.parametrize("name", SPLIT)
def test_one_server_refuses(stage: Stage, name: str) -> None:
    stage.second.refuse()
    stage.client.send(SPLIT[name] + command("PING") + command("GET", A1))
    peer = stage.first.answer(GOOD[name])
    assert peer.request() == [b"GET", A1.encode()]
    peer.send(bulk("later"))
    stage.client.expect(REFUSED + b"+PONG\r\n" + bulk("later"))


@pytest.mark.parametrize("name", SPLIT)
def test_every_server_refuses(stage: Stage, name: str) -> None:
    stage.first.refuse()
    stage.second.refuse()
    stage.client.send(SPLIT[name] + command("PING"))
    stage.client.expect(REFUSED + b"+PONG\r\n")


@pytest.mark.parametrize("name", SPLIT)
def test_one_server_closes(stage: Stage, name: str) -> None:
    stage.client.send(SPLIT[name] + command("PING"))
    stage.first.answer(GOOD[name])
    peer = stage.second.accept()
    peer.request()
    peer.close()
    stage.client.expect(error("ERR unknown") + b"+PONG\r\n")


def test_nothing_is_answered_before_every_part_is_settled(stage: Stage) -> None:
    stage.second.refuse()
    stage.client.send(SPLIT["del"])
    peer = stage.first.accept()
    assert peer.request() == [b"del", A1.encode(), A2.encode()]
    peer.send(integer(2)[:-1])
    peer.wait_consumed()
    assert stage.client.collect() == b""
    peer.send(integer(2)[-1:])
    stage.client.expect(REFUSED)
    assert stage.client.ask("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("reply", [bulk("a string"), b"$-1\r\n", b"*-1\r\n"], ids=["string", "null", "null-array"])
def test_reply_of_the_wrong_type(stage: Stage, name: str, reply: bytes) -> None:
    stage.client.send(SPLIT[name] + command("PING"))
    stage.first.answer(GOOD[name])
    stage.second.answer(reply)
    stage.client.expect(INVALID + b"+PONG\r\n")


@pytest.mark.parametrize("name", ["del", "mget", "exists"])
def test_status_instead_of_a_result(stage: Stage, name: str) -> None:
    stage.client.send(SPLIT[name] + command("PING"))
    stage.first.answer(GOOD[name])
    stage.second.answer(OK)
    stage.client.expect(INVALID + b"+PONG\r\n")


@pytest.mark.parametrize(
    "elements",
    [array(), array(bulk("x")), array(bulk("x"), bulk("y"), bulk("z"))],
    ids=["none", "too-few", "too-many"],
)
def test_array_of_the_wrong_length_costs_the_server_connection(stage: Stage, elements: bytes) -> None:
    stage.client.send(SPLIT["mget"])
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    assert behind_first.request() == [b"mget", A1.encode(), A2.encode()]
    behind_second.request()
    behind_second.send(array(bulk("b1")))
    behind_first.send(elements)
    stage.client.expect(INVALID)
    behind_first.expect_closed()
    stage.client.send(SPLIT["mget"])
    stage.first.answer(GOOD["mget"])
    behind_second.request()
    behind_second.send(array(bulk("b1")))
    stage.client.expect(array(bulk("a1"), bulk("b1"), bulk("a2")))


def test_wrong_arrays_never_reach_another_client(stage: Stage) -> None:
    stage.client.send(SPLIT["mget"])
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    assert behind_first.request() == [b"mget", A1.encode(), A2.encode()]
    with stage.proxy.client() as other:
        other.send(command("GET", A2))
        assert behind_first.request() == [b"GET", A2.encode()]
        behind_second.request()
        behind_second.send(array(bulk("b1")))
        behind_first.send(array(bulk("a1"), bulk("a2"), bulk("surplus")) + bulk("hers"))
        stage.client.expect(INVALID)
        answer = other.reply()
        assert answer in (bulk("hers"), INVALID), "a surplus value reached the other client"
        assert stage.client.ask("PING") == other.ask("PING") == b"+PONG\r\n"


def test_elements_of_any_shape_keep_their_places(stage: Stage) -> None:
    nested = array(integer(7), array(bulk("deep"), b"*-1\r\n"), b"$-1\r\n")
    stage.client.send(SPLIT["mget"])
    stage.first.answer(array(nested, b"+status\r\n"))
    stage.second.answer(array(error("ERR inner")))
    stage.client.expect(array(nested, error("ERR inner"), b"+status\r\n"))


def test_parts_that_succeeded_are_not_sent_again(stage: Stage) -> None:
    stage.client.send(SPLIT["mset"])
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    behind_second.request()
    behind_second.reset()
    assert behind_first.request() == [b"mset", A1.encode(), b"1", A2.encode(), b"1"]
    behind_first.send(OK)
    stage.client.expect(error("ERR Connection reset by peer"))
    stage.client.send(command("GET", A1))
    assert behind_first.request() == [b"GET", A1.encode()]
