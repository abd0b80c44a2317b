"""Replies arrive in request order, and a client reads its own writes, whatever is in flight."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

KEYS = [f"k{number}" for number in range(24)]

keys = st.sampled_from(KEYS)
key_lists = st.lists(keys, min_size=1, max_size=12)
values = st.binary(max_size=40)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("GET"), keys),
        st.tuples(st.just("SET"), keys, values),
        st.tuples(st.just("APPEND"), keys, values),
        st.tuples(st.just("INCR"), keys),
        st.tuples(st.sampled_from(["MGET", "DEL", "UNLINK", "TOUCH", "EXISTS"]), key_lists),
        st.tuples(st.just("MSET"), st.dictionaries(keys, values, min_size=1, max_size=12)),
        st.tuples(st.just("PING"), values),
        st.tuples(st.just("NOSUCHCOMMAND")),
    ),
    min_size=1,
    max_size=60,
)


class Model:
    """A model of one redis: the request and the expected reply of each operation."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def perform(self, name: str, *arguments: object) -> tuple[bytes, bytes]:
        """The request and the expected reply of one operation; the model keeps the operation's effect."""
        match name, arguments:
            case "GET", (str(key),):
                return command(name, key), bulk(self.data[key]) if key in self.data else NULL
            case "SET", (str(key), bytes(value)):
                self.data[key] = value
                return command(name, key, value), OK
            case "APPEND", (str(key), bytes(value)):
                self.data[key] = self.data.get(key, b"") + value
                return command(name, key, value), integer(len(self.data[key]))
            case "INCR", (str(key),):
                return command(name, key), self._increment(key)
            case "MGET", (list(names),):
                found = [bulk(self.data[key]) if key in self.data else NULL for key in names]
                return command(name, *names), array(*found)
            case "MSET", (dict(pairs),):
                self.data |= pairs
                return command(name, *(part for pair in pairs.items() for part in pair)), OK
            case "EXISTS" | "TOUCH", (list(names),):
                return command(name, *names), integer(sum(key in self.data for key in names))
            case "DEL" | "UNLINK", (list(names),):
                removed = sum(self.data.pop(key, None) is not None for key in names)
                return command(name, *names), integer(removed)
            case "PING", (bytes(message),):
                return command(name, message), bulk(message)
        return command(name), error(f"ERR unknown command '{name}', with args beginning with: ")

    def _increment(self, key: str) -> bytes:
        text = self.data.get(key, b"0")
        if not _is_redis_integer(text):
            return error("ERR value is not an integer or out of range")
        if int(text) == 2**63 - 1:
            return error("ERR increment or decrement would overflow")
        self.data[key] = b"%d" % (int(text) + 1)
        return integer(int(text) + 1)


def _is_redis_integer(text: bytes) -> bool:
    try:
        number = int(text)
    except ValueError:
        return False
    return b"%d" % number == text and -(2**63) <= number < 2**63


@pytest.fixture(params=[1, 3], ids=["one-connection", "three-connections"], scope="module")
def busy_proxy(
    configured: Configure, request: pytest.FixtureRequest, running_servers: list[RedisServer]
) -> Iterator[ServedPools]:
    """The proxy answers these, or sends them to connections for scripts: see test_client_command, test_whole_pool."""
    with configured(redis_pool(*running_servers, server_connections=request.param)) as proxy:
        yield proxy


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(work=operations, cuts=st.lists(st.integers(1, 3000), max_size=6))
def test_any_mixture_answers_as_one_redis_would(
    busy_proxy: ServedPools, running_servers: list[RedisServer], work: list[tuple[object, ...]], cuts: list[int]
) -> None:
    for server in running_servers:
        server.ask("FLUSHALL")
    model = Model()
    exchanges = [model.perform(str(name), *arguments) for name, *arguments in work]
    stream = b"".join(request for request, _ in exchanges)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    with busy_proxy.client() as client:
        for start, end in itertools.pairwise(edges):
            client.send(stream[start:end])
        for request, reply in exchanges:
            assert client.reply() == reply, request


def test_deep_pipeline_of_everything(client: Connection) -> None:
    model = Model()
    exchanges = []
    for number in range(3000):
        names = [KEYS[(number * 7 + i * 5) % len(KEYS)] for i in range(number % 9 + 1)]
        exchanges += [
            model.perform("SET", names[0], b"%d" % number),
            model.perform("MSET", dict.fromkeys(names, b"%d" % number)),
            model.perform("MGET", names),
            model.perform("PING", b"%d" % number),
            model.perform("DEL", names[1:] or ["none"]),
            model.perform("GET", names[0]),
            model.perform("NOSUCHCOMMAND"),
        ]
    client.send(b"".join(request for request, _ in exchanges))
    assert client.replies(len(exchanges)) == [reply for _, reply in exchanges]


def test_local_replies_and_later_servers_wait_for_a_slow_server(configured: Configure) -> None:
    with ScriptedServer() as slow, ScriptedServer() as quick, configured(redis_pool(slow, quick)) as proxy:
        client = proxy.client()
        [a], [b] = keys_of(0, 2), keys_of(1, 2)
        client.send(
            command("GET", a) + command("PING") + command("GET", b) + command("MONITOR") + command("MGET", a, b)
        )
        behind_quick = quick.accept()
        assert behind_quick.request() == [b"GET", b.encode()]
        assert behind_quick.request() == [b"mget", b.encode()]
        behind_quick.send(bulk("quick") + array(bulk("q")))
        behind_quick.wait_consumed()
        behind_slow = slow.accept()
        assert behind_slow.request() == [b"GET", a.encode()]
        assert behind_slow.request() == [b"mget", a.encode()]
        assert client.collect() == b""
        behind_slow.send(bulk("slow") + array(bulk("s")))
        refused = error(
            "ERR 'monitor' is not available through this proxy: it changes the state of a connection that other clients"
            " share"
        )
        client.expect(bulk("slow") + b"+PONG\r\n" + bulk("quick") + refused + array(bulk("s"), bulk("q")))


def test_replies_of_two_clients_on_one_connection_do_not_mix(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        second.send(command("GET", "b"))
        assert peer.request() == [b"GET", b"b"]
        first.send(command("GET", "c"))
        assert peer.request() == [b"GET", b"c"]
        peer.send(bulk("A") + bulk("B") + bulk("C"))
        second.expect(bulk("B"))
        first.expect(bulk("A") + bulk("C"))


def test_many_clients_read_their_own_writes_over_several_connections(
    configured: Configure, servers: list[RedisServer]
) -> None:
    with configured(redis_pool(*servers, server_connections=3)) as proxy:
        clients = [proxy.client() for _ in range(12)]
        for number, client in enumerate(clients):
            work = [command("SET", f"c{number}:{i}", i) + command("GET", f"c{number}:{i}") for i in range(400)]
            client.send(b"".join(work))
        for client in clients:
            client.expect(b"".join(OK + bulk(i) for i in range(400)))
