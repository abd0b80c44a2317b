"""Requests at the limits: lengths of keys, values and lines, sizes of numbers, line ends, and cuts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.memcache import (
    DELETED,
    EN,
    END,
    ERROR,
    HD,
    MN,
    NOT_FOUND,
    STORED,
    TOUCHED,
    client_error,
    meta_set,
    meta_value,
    server_error,
    store,
    value,
)
from harness.proxy import Proxy, ServedPools, keys_of, memcached_pool, owner
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure

BAD_LINE = client_error("bad command line format")
TOO_LARGE = server_error("object too large for cache")

# Every command with a key, and its reply if the key does not exist.
OF_ONE_KEY: dict[str, tuple[Callable[[str], bytes], bytes]] = {
    "get": (lambda key: f"get {key}\r\n".encode(), END),
    "gets": (lambda key: f"gets {key}\r\n".encode(), END),
    "gat": (lambda key: f"gat 0 {key}\r\n".encode(), END),
    "gats": (lambda key: f"gats 0 {key}\r\n".encode(), END),
    "delete": (lambda key: f"delete {key}\r\n".encode(), NOT_FOUND),
    "incr": (lambda key: f"incr {key} 1\r\n".encode(), NOT_FOUND),
    "decr": (lambda key: f"decr {key} 1\r\n".encode(), NOT_FOUND),
    "touch": (lambda key: f"touch {key} 0\r\n".encode(), NOT_FOUND),
    "replace": (lambda key: store("replace", key, "x"), b"NOT_STORED\r\n"),
    "append": (lambda key: store("append", key, "x"), b"NOT_STORED\r\n"),
    "prepend": (lambda key: store("prepend", key, "x"), b"NOT_STORED\r\n"),
    "cas": (lambda key: store("cas", key, "x", 1), NOT_FOUND),
    "mg": (lambda key: f"mg {key} v\r\n".encode(), EN),
    "md": (lambda key: f"md {key}\r\n".encode(), b"NF\r\n"),
    "ma": (lambda key: f"ma {key}\r\n".encode(), b"NF\r\n"),
    "me": (lambda key: f"me {key}\r\n".encode(), EN),
    "add": (lambda key: store("add", key, "x"), STORED),
    "set": (lambda key: store("set", key, "x"), STORED),
    "ms": (lambda key: meta_set(key, "x"), HD),
}

VERBOSITY_NOT_ALLOWED = client_error(
    "verbosity is not allowed in this pool: 'allow_commands: verbosity' in its configuration allows it"
)


@pytest.mark.parametrize("key", ["k" * 250, "é" * 125], ids=["ascii", "utf-8"])
@pytest.mark.parametrize("name", OF_ONE_KEY)
def test_key_of_250_bytes_is_taken_and_one_more_is_not(memcached_client: Connection, name: str, key: str) -> None:
    request, reply = OF_ONE_KEY[name]
    memcached_client.send(request(key) + request(key + "k") + b"mn\r\n")
    memcached_client.expect(reply + BAD_LINE + MN)


@pytest.mark.parametrize("name", OF_ONE_KEY)
def test_command_without_a_key_is_an_error(memcached_client: Connection, name: str) -> None:
    memcached_client.send(f"{name}\r\n{name} \nmn\r\n".encode())
    memcached_client.expect((BAD_LINE if name == "me" else ERROR) * 2 + MN)


@pytest.mark.parametrize("name", OF_ONE_KEY)
def test_line_feed_alone_and_spaces_are_taken_as_memcached_takes_them(
    memcached_client: Connection, memcached_servers: list[MemcachedServer], name: str
) -> None:
    request, reply = OF_ONE_KEY[name]
    line, end, block = request("k0").partition(b"\r\n")
    spaced = b"  " + line.replace(b" ", b"   ") + b"  \n" + block
    assert end
    direct = memcached_servers[1].connect()
    direct.send(spaced + b"mn\r\n")
    assert direct.read_until(MN) == reply + MN
    memcached_client.send(spaced + b"mn\r\n")
    memcached_client.expect(reply + MN)


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (store("set", "n", "1", flags=(1 << 32) - 1, exptime=(1 << 31) - 1), STORED),
        (store("set", "n", "1", exptime=-(1 << 31)), STORED),
        (store("set", "n", "1", flags=1 << 32), BAD_LINE),
        (store("set", "n", "1", exptime=1 << 31), BAD_LINE),
        (store("set", "n", "1", exptime=-(1 << 31) - 1), BAD_LINE),
        (b"set n 00000000000000000007 0 1\r\n1\r\n", STORED),
        (b"set n 000000000000000000007 0 1\r\n1\r\n", BAD_LINE),
        (store("cas", "n", "1", (1 << 64) - 1), b"EXISTS\r\n"),
        (store("cas", "n", "1", 1 << 64), BAD_LINE),
        (f"decr n {(1 << 64) - 1}\r\n".encode(), b"0\r\n"),
        (f"incr n {1 << 64}\r\n".encode(), client_error("invalid numeric delta argument")),
        (b"incr n -1\r\n", client_error("invalid numeric delta argument")),
        (b"incr n +1\r\n", client_error("invalid numeric delta argument")),
        (f"touch n {(1 << 31) - 1}\r\n".encode(), TOUCHED),
        (f"touch n {1 << 31}\r\n".encode(), client_error("invalid exptime argument")),
        (f"gat {1 << 31} n\r\n".encode(), client_error("invalid exptime argument")),
        (b"verbosity 00\r\n", VERBOSITY_NOT_ALLOWED),
        (f"verbosity {1 << 32}\r\n".encode(), BAD_LINE),
        (f"ms n 1 F{(1 << 32) - 1} T{(1 << 31) - 1}\r\n1\r\n".encode(), HD),
        (f"ms n 1 F{1 << 32}\r\n1\r\n".encode(), BAD_LINE),
        (f"ms n 1 C{(1 << 64) - 1}\r\n1\r\n".encode(), b"EX\r\n"),
        (f"ms n 1 C{1 << 64}\r\n1\r\n".encode(), client_error("bad token in command line format")),
    ],
)
def test_number_at_the_edge_of_its_range(memcached_client: Connection, request_bytes: bytes, reply: bytes) -> None:
    assert memcached_client.ask_text(store("set", "n", "9")) == STORED
    memcached_client.send(request_bytes + b"mn\r\n")
    memcached_client.expect(reply + MN)


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 16_384, 65_536, 262_144, 1_048_000])
def test_value_of_any_size_comes_back_from_every_server(memcached_client: Connection, size: int) -> None:
    names = [key for index in range(3) for key in keys_of(index, 3, 1, "size")]
    data = (b"\r\nEND\r\n0123456789" * (size // 17 + 1))[:size]
    memcached_client.send(b"".join(store("set", name, data) for name in names))
    memcached_client.expect(STORED * 3)
    memcached_client.send(f"get {' '.join(names)}\r\n".encode() + b"".join(f"mg {k} v\r\n".encode() for k in names))
    memcached_client.expect(b"".join(value(name, data) for name in names) + END + meta_value(data) * 3)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("set {key} 0 0 {size}", TOO_LARGE),
        ("add {key} 0 0 {size}", TOO_LARGE),
        ("append {key} 0 0 {size}", TOO_LARGE),
        ("cas {key} 0 0 {size} 1", TOO_LARGE),
        ("set {key} 0 0 {size} noreply", b""),
        ("ms {key} {size}", TOO_LARGE),
        ("ms {key} {size} q", TOO_LARGE),
    ],
)
def test_value_too_large_for_the_server_is_swallowed(memcached_client: Connection, line: str, reply: bytes) -> None:
    block = b"flush_all\r\n" * 200_000
    for key in keys_of(0, 3, 2) + keys_of(2, 3):
        assert memcached_client.ask_text(store("set", f"other:{key}", "x")) == STORED
        memcached_client.send(line.format(key=key, size=len(block)).encode() + b"\r\n" + block + b"\r\n")
        memcached_client.send(f"get other:{key}\r\n".encode())
        memcached_client.expect(reply + value(f"other:{key}", "x") + END)


def test_value_of_more_than_memcached_may_have_is_swallowed_by_the_proxy() -> None:
    size = (1 << 30) + 1
    with MemcachedServer() as server, Proxy(memcached_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        before = proxy.memory()
        client.send(b"get before\r\n" + f"set k 0 0 {size}\r\n".encode())
        client.expect(END + TOO_LARGE)
        piece = b"x" * (1 << 24)
        for _ in range(size // len(piece)):
            client.send(piece)
        assert other.ask_text(b"get other\r\n") == END
        client.send(b"x" * (size % len(piece)) + b"\r\nget after\r\n")
        client.expect(END)
        assert proxy.memory() - before < 64 << 20
        assert server.stats()["cmd_set"] == "0"


@pytest.mark.parametrize("name", ["touch", "delete", "gat 0", "mg", "nosuch"])
def test_line_longer_than_2048_bytes_ends_the_connection_after_earlier_replies(
    memcached_client: Connection, name: str
) -> None:
    longest = f"{name} ".encode().ljust(2046) + b"\r\n"
    memcached_client.send(b"get a\r\n" + longest + b"get a\r\n" + b" " + longest + b"get a\r\n")
    first = memcached_client.text_reply(), memcached_client.text_reply(), memcached_client.text_reply()
    assert (first[0], first[2]) == (END, END)
    assert first[1] in (ERROR, BAD_LINE)
    memcached_client.expect(client_error("line too long"))
    memcached_client.expect_closed()


def test_line_of_get_may_be_much_longer(memcached_client: Connection) -> None:
    keys = [f"{'long' * 50}:{number}" for number in range(5000)]
    assert memcached_client.ask_text(store("set", keys[-1], "x")) == STORED
    memcached_client.send(f"get {' '.join(keys)}\r\nmn\r\n".encode())
    memcached_client.expect(value(keys[-1], "x") + END + MN)


def test_line_of_get_without_end_takes_no_memory_without_end(configured: Configure) -> None:
    with MemcachedServer() as server, configured(memcached_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask_text(b"get a\r\n") == END
        client.send(b"get " + b"kkkkkkk " * (3 << 20))
        client.expect(client_error("line too long"))
        client.expect_closed()
        assert server.stats()["cmd_get"] == "1"


[A], [B] = keys_of(0, 3), keys_of(1, 3)
CUT = {
    "set": (store("set", A, "a\r\nb"), STORED),
    "set-with-line-feed": (f"set {A} 0 0 3\nabc\r\n".encode(), STORED),
    "set-in-silence": (store("set", B, "x", "noreply"), b""),
    "set-empty": (store("set", A, ""), STORED),
    "cas": (store("cas", "none", "x", 12345), NOT_FOUND),
    "bad-flags": (store("set", A, "mn\r\nmn", flags=1 << 32), BAD_LINE),
    "bad-data-block": (f"set {A} 0 0 1\r\nxyz\r\n".encode(), client_error("bad data chunk")),
    "incr": (b"incr none 1\r\n", NOT_FOUND),
    "delete": (b"delete none 0\r\n", NOT_FOUND),
    "touch": (b"touch none -1\r\n", NOT_FOUND),
    "split-get": (f"get none {A} {B} nix\r\n".encode(), END),
    "gat": (b"gat 0 none nix nada\n", END),
    "meta": (b"mg bm9uZQ== b k O123 v\r\nmg none q v\r\n", b"EN kbm9uZQ== b O123\r\n"),
    "meta-set": (meta_set(A, "x\r\ny", "T0", "k", "Oo"), f"HD k{A} Oo\r\n".encode()),
    "meta-set-bad": (meta_set(A, "x\r\ny", "T0", "Z"), client_error("invalid flag")),
    "several": (b"mn\r\nversion\r\nnosuch\r\n\r\nmn\r\n", MN + b"VERSION 1.6.18\r\n" + ERROR * 2 + MN),
    "delete-for-real": (f"delete {A}\r\ndelete {A} noreply\r\ndelete {B}\r\n".encode(), NOT_FOUND + NOT_FOUND),
}


@pytest.fixture(scope="module")
def cutting_proxy(
    configured: Configure, running_memcached: list[MemcachedServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedPools]:
    # With a unix socket the kernel tells cheaply whether the proxy has read a piece.
    listen: Path = tmp_path_factory.mktemp("cut") / "proxy.sock"
    with configured(memcached_pool(*running_memcached, listen=listen)) as proxy:
        yield proxy


@pytest.mark.parametrize("name", CUT)
def test_request_cut_at_every_byte(
    cutting_proxy: ServedPools, memcached_servers: list[MemcachedServer], name: str
) -> None:
    request, reply = CUT[name]
    with cutting_proxy.client() as client:
        for cut in range(1, len(request)):
            client.send(f"delete {A} noreply\r\ndelete {B} noreply\r\n".encode())
            client.send_pieces(request[:cut])
            client.send(request[cut:] + b"mn\r\n")
            client.expect(reply + MN)


@pytest.mark.parametrize("name", CUT)
def test_request_byte_by_byte(cutting_proxy: ServedPools, memcached_servers: list[MemcachedServer], name: str) -> None:
    request, reply = CUT[name]
    with cutting_proxy.client() as client:
        client.send_pieces(*(request[i : i + 1] for i in range(len(request))))
        client.send(b"mn\r\n")
        client.expect(reply + MN)


def test_deep_pipeline_of_everything(memcached_client: Connection) -> None:
    count = 20_000
    requests, replies = [], []
    for number in range(count):
        key = f"p{number % 997}"
        requests.append(store("set", key, str(number)) + f"get {key}\r\n".encode())
        replies.append(STORED + value(key, str(number)) + END)
    memcached_client.send(b"".join(requests))
    memcached_client.expect(b"".join(replies))
    assert len({owner(f"p{number}", 3) for number in range(997)}) == 3
    assert memcached_client.ask_text(b"delete p0\r\n") == DELETED
