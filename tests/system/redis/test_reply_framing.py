"""Replies of every shape pass unchanged, wherever the stream is cut."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.shared_proxy import Configure

SHAPES = {
    "status": b"+OK\r\n",
    "status-empty": b"+\r\n",
    "status-long": b"+" + b"s" * 5000 + b"\r\n",
    "error": error("WRONGTYPE Operation against a key holding the wrong kind of value"),
    "error-with-colons": error("BUSYKEY Target key name already exists. :*$"),
    "error-lower-case": error("loading in lower case"),
    "integer": integer(42),
    "integer-negative": integer(-(2**63)),
    "bulk": bulk("value"),
    "bulk-empty": bulk(""),
    "bulk-with-line-ends": bulk("a\r\n$3\r\nabc\r\n\r\n"),
    "bulk-binary": bulk(bytes(range(256))),
    "bulk-null": b"$-1\r\n",
    "array-empty": array(),
    "array-null": b"*-1\r\n",
    "array": array(bulk("a"), integer(1), b"$-1\r\n", b"+s\r\n", error("ERR e"), b"*-1\r\n", array()),
    "array-nested": array(array(array(bulk("deep"), array()), integer(1)), array(array(array(b"$-1\r\n")))),
    "array-nested-deeply": b"*1\r\n" * 40 + integer(1),
    "array-wide": array(*(bulk(f"element {i}") for i in range(30))),
    "null": b"_\r\n",
    "true": b"#t\r\n",
    "double": b",3.14159\r\n",
    "double-infinite": b",-inf\r\n",
    "big-number": b"(3492890328409238509324850943850943825024385\r\n",
    "blob-error": b"!21\r\nSYNTAX invalid syntax\r\n",
    "verbatim": b"=15\r\ntxt:Some string\r\n",
    "map": b"%2\r\n+first\r\n:1\r\n$6\r\nsecond\r\n*2\r\n:2\r\n_\r\n",
    "map-empty": b"%0\r\n",
    "set": b"~3\r\n$1\r\na\r\n:1\r\n#f\r\n",
    "map-of-maps": b"%1\r\n%1\r\n+k\r\n+v\r\n~1\r\n%1\r\n$1\r\na\r\n,1.5\r\n",
    "attribute": b"|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.1923\r\n*2\r\n:2039123\r\n:9543892\r\n",
    "attribute-inside": b"*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path_factory.mktemp("framing") / "server.sock") as server:
        yield server


@pytest.fixture(scope="module")
def framing_proxy(
    configured: Configure, server: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedPools]:
    # With unix sockets the kernel tells cheaply whether the proxy has read the bytes.
    listen = tmp_path_factory.mktemp("framing") / "proxy.sock"
    with configured(redis_pool(server, listen=listen)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def peer(framing_proxy: ServedPools, server: ScriptedServer) -> Connection:
    """The server's end of the connection that all tests share: a framing mistake breaks all later tests."""
    with framing_proxy.client() as client:
        client.send(command("GET", "first"))
        connection = server.accept()
        assert connection.request() == [b"GET", b"first"]
        connection.send(OK)
        client.expect(OK)
    return connection


@pytest.fixture
def framing_client(framing_proxy: ServedPools, peer: Connection) -> Iterator[Connection]:
    with framing_proxy.client() as client:
        yield client


@pytest.mark.parametrize("name", SHAPES)
def test_shape_passes_whole(framing_client: Connection, peer: Connection, name: str) -> None:
    framing_client.send(command("GET", "a") + command("GET", "b"))
    assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"GET", b"b"]]
    peer.send(SHAPES[name] + OK)
    framing_client.expect(SHAPES[name] + OK)


@pytest.mark.parametrize("name", sorted(name for name in SHAPES if len(SHAPES[name]) < 400))
def test_shape_passes_cut_at_every_byte(framing_client: Connection, peer: Connection, name: str) -> None:
    reply = SHAPES[name]
    for cut in range(1, len(reply)):
        framing_client.send(command("GET", "a"))
        assert peer.request() == [b"GET", b"a"]
        peer.send_pieces(reply[:cut])
        peer.send(reply[cut:])
        framing_client.expect(reply)


def test_all_shapes_byte_by_byte(framing_client: Connection, peer: Connection) -> None:
    replies = b"".join(shape for shape in SHAPES.values() if len(shape) < 400)
    count = sum(len(shape) < 400 for shape in SHAPES.values())
    for size in (16, 64):
        # The window of a new client is 16 requests; small replies widen it.
        framing_client.send(command("GET", "a") * size)
        assert [peer.request() for _ in range(size)] == [[b"GET", b"a"]] * size
        peer.send(OK * size)
        framing_client.expect(OK * size)
    framing_client.send(command("GET", "a") * count)
    assert [peer.request() for _ in range(count)] == [[b"GET", b"a"]] * count
    peer.send_pieces(*(replies[i : i + 1] for i in range(len(replies))))
    framing_client.expect(replies)


def test_split_replies_byte_by_byte(configured: Configure, tmp_path: Path) -> None:
    paths = [tmp_path / "a.sock", tmp_path / "b.sock"]
    with (
        ScriptedServer(paths[0]) as first,
        ScriptedServer(paths[1]) as second,
        configured(redis_pool(first, second)) as proxy,
    ):
        client = proxy.client()
        client.send(command("MGET", *(f"k{i}" for i in range(16))))
        peers = [first.accept(), second.accept()]
        requests = [peer.request()[1:] for peer in peers]
        replies = [array(*(bulk(key + b"\r\n$1\r\n") for key in keys)) for keys in requests]
        for start in range(max(map(len, replies))):
            for peer, reply in zip(peers, replies, strict=True):
                peer.send_pieces(reply[start : start + 1])
        client.expect(array(*(bulk(f"k{i}\r\n$1\r\n") for i in range(16))))


def test_requests_byte_by_byte(framing_client: Connection, peer: Connection) -> None:
    stream = command("SET", "a", "x\r\n*1\r\n") + b"GET 'b'\r\n" + command("PING") + command("get", "")
    framing_client.send_pieces(*(stream[i : i + 1] for i in range(len(stream))))
    assert peer.request() == [b"SET", b"a", b"x\r\n*1\r\n"]
    assert peer.request() == [b"GET", b"b"]
    assert peer.request() == [b"get", b""]
    peer.send(OK + bulk("b") + bulk("empty"))
    framing_client.expect(OK + bulk("b") + b"+PONG\r\n" + bulk("empty"))


@pytest.mark.parametrize("cut", range(1, len(command("MSET", "k0", "v\r\n", "k1", ""))))
def test_request_cut_at_every_byte(framing_client: Connection, peer: Connection, cut: int) -> None:
    stream = command("MSET", "k0", "v\r\n", "k1", "")
    framing_client.send_pieces(stream[:cut])
    framing_client.send(stream[cut:] + command("GET", "k0"))
    requests = peer.request()
    assert [word.lower() for word in requests] == [b"mset", b"k0", b"v\r\n", b"k1", b""]
    assert peer.request() == [b"GET", b"k0"]
    peer.send(OK + bulk("v\r\n"))
    framing_client.expect(OK + bulk("v\r\n"))


def test_push_message_is_nobodys_reply(framing_client: Connection, peer: Connection) -> None:
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    framing_client.send(command("GET", "a"))
    assert peer.request() == [b"GET", b"a"]
    peer.send(push + bulk("reply"))
    framing_client.expect(bulk("reply"))
