"""No part of a refused or unfinished request reaches a server."""

import pytest

from harness.connection import Connection
from harness.memcache import END, ERROR, MN, STORED, client_error, meta_set, store, value
from harness.proxy import ServedPools, keys_of
from harness.servers import MemcachedServer
from harness.stage import Stage

[K] = keys_of(0, 2)
OVERFLOW = 10**23
LONG_KEY = "k" * 251
BAD_LINE = client_error("bad command line format")
NOT_ALLOWED = client_error(
    "flush_all is not allowed in this pool: 'allow_commands: flush_all' in its configuration allows it"
)


# Requests and their replies; the data blocks look like commands.
REFUSED = {
    "unknown": (b"nosuch\r\n", ERROR),
    "other-case": (b"FLUSH_ALL\r\n", ERROR),
    "part-of-a-command": (b"flush_al\r\n", ERROR),
    "more-than-a-command": (b"flush_alll\r\n", ERROR),
    "command-behind-a-tab": (b"\tflush_all\r\n", ERROR),
    "command-behind-a-nul": (b"\0flush_all\r\n", ERROR),
    "command-behind-a-carriage-return": (b"\rflush_all\r\n", ERROR),
    "flush": (b"flush_all\r\n", NOT_ALLOWED),
    "flush-later": (b"  flush_all   10\n", NOT_ALLOWED),
    "flush-in-silence": (b"flush_all noreply\r\n", b""),
    "flush-later-in-silence": (b"flush_all 10 noreply\r\n", b""),
    "flags-overflow": (store("set", K, "flush_all", flags=OVERFLOW), BAD_LINE),
    "flags-overflow-in-silence": (store("set", K, "flush_all", "noreply", flags=OVERFLOW), b""),
    "exptime-overflow": (store("add", K, "flush_all", exptime=OVERFLOW), BAD_LINE),
    "unique-overflow": (store("cas", K, "flush_all", OVERFLOW), BAD_LINE),
    "unique-overflow-in-silence": (store("cas", K, "flush_all", OVERFLOW, "noreply"), b""),
    "unique-missing": (store("cas", K, "flush_all"), ERROR),
    "too-many-arguments": (store("set", K, "flush_all", "noreply", "noreply"), ERROR),
    "noreply-in-capitals-is-surplus": (store("set", LONG_KEY, "flush_all", "NOREPLY"), BAD_LINE),
    "length-letters": (f"set {K} 0 0 x\r\n".encode(), BAD_LINE),
    "length-negative": (f"set {K} 0 0 -1\r\n".encode(), BAD_LINE),
    "length-missing": (f"set {K} 0 0\r\n".encode(), ERROR),
    "length-is-noreply": (f"set {K} 0 0 noreply\r\n".encode(), b""),
    "key-too-long": (store("set", LONG_KEY, "flush_all"), BAD_LINE),
    "key-with-nul": (store("set", "a\0b", "flush_all"), BAD_LINE),
    "key-with-escape": (store("prepend", "a\x1b[2Jb", "flush_all"), BAD_LINE),
    "key-with-delete": (store("set", "a\x7f", "flush_all"), BAD_LINE),
    "key-with-carriage-return": (b"get a\rflush_all\r\n", BAD_LINE),
    "one-bad-key-of-many": (f"get {K} {LONG_KEY} {K}\r\n".encode(), BAD_LINE),
    "last-key-bad": (f"gats 0 {K} a\tb\r\n".encode(), BAD_LINE),
    "data-block-too-long": (f"set {K} 0 0 1\r\nxflush_all\r\n".encode(), client_error("bad data chunk")),
    "data-block-without-its-end": (f"set {K} 0 0 9\r\nflush_allx\r\n".encode(), client_error("bad data chunk")),
    "incr-overflow": (f"incr {K} {OVERFLOW}\r\n".encode(), client_error("invalid numeric delta argument")),
    "incr-sign": (f"incr {K} +1\r\n".encode(), client_error("invalid numeric delta argument")),
    "touch-overflow": (f"touch {K} {1 << 31}\r\n".encode(), client_error("invalid exptime argument")),
    "delete-with-time": (
        f"delete {K} 10\r\n".encode(),
        client_error("bad command line format.  Usage: delete <key> [noreply]"),
    ),
    "verbosity-overflow": (f"verbosity {1 << 32}\r\n".encode(), BAD_LINE),
    "meta-key-too-long": (meta_set(LONG_KEY, "flush_all"), BAD_LINE),
    "meta-unknown-flag": (meta_set(K, "flush_all", "Z"), client_error("invalid flag")),
    "meta-duplicate-flag": (meta_set(K, "flush_all", "q", "q"), client_error("duplicate flag")),
    "meta-flags-overflow": (meta_set(K, "flush_all", f"F{1 << 32}"), BAD_LINE),
    "meta-time-overflow": (
        meta_set(K, "flush_all", f"T{OVERFLOW}"),
        client_error("bad token in command line format"),
    ),
    "meta-bad-mode": (meta_set(K, "flush_all", "MX"), client_error("invalid mode for ms M token")),
    "meta-length-letters": (f"ms {K} x\r\n".encode(), BAD_LINE),
    "meta-length-missing": (f"ms {K}\r\n".encode(), BAD_LINE),
    "meta-data-block-too-long": (f"ms {K} 1\r\nxflush_all\r\n".encode(), client_error("bad data chunk")),
    "base64-cut": (meta_set("Zm9", "flush_all", "b"), client_error("error decoding key")),
    "base64-letters": (meta_set("!!!!", "flush_all", "b"), client_error("error decoding key")),
    "base64-padding-inside": (meta_set("Zg==Zg==", "flush_all", "b"), client_error("error decoding key")),
    "base64-get": (b"mg Zm9 b v\r\n", client_error("error decoding key")),
    "administration": (
        b"shutdown\r\n",
        client_error(
            "'shutdown' is not available through this proxy: it administers a single server, ask that server directly"
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_of_a_refused_request_reaches_a_server(memcached_stage: Stage, name: str) -> None:
    request, reply = REFUSED[name]
    memcached_stage.client.send(request + f"get {K}\r\nmn\r\n".encode())
    peer = memcached_stage.first.accept()
    peer.expect(f"get {K}\r\n".encode())
    peer.send(END)
    memcached_stage.client.expect(reply + END + MN)
    assert peer.collect() == b""
    assert not memcached_stage.second.has_connection()


@pytest.mark.parametrize(
    ("line", "block"),
    [
        (f"set {K} 0 0 2147483646\r\n", b"flush_all\r\n"),
        (f"set {K} 0 0 4294967305\r\n", b"flush_all\r\n"),
        (f"set {K} 0 0 {OVERFLOW}\r\n", b"flush_all\r\n"),
        (f"ms {K} 4294967305\r\n", b"flush_all\r\n"),
        (f"ms {K} {OVERFLOW}\r\n", b"flush_all\r\n"),
        ("touch " + "k" * 3000, b"\r\nflush_all\r\n"),
        ("x" * 3000, b"\r\nflush_all\r\n"),
    ],
    ids=["set-31-bits", "set-32-bits", "set-overflow", "ms-32-bits", "ms-overflow", "long-line", "long-word"],
)
def test_request_whose_end_nobody_knows_ends_the_connection(memcached_stage: Stage, line: str, block: bytes) -> None:
    memcached_stage.client.send(f"get {K}\r\n{line}".encode() + block)
    peer = memcached_stage.first.answer(END)
    rest = memcached_stage.client.read_to_end()
    assert rest.startswith(END + b"CLIENT_ERROR ")
    assert rest.count(b"\r\n") == 2
    with memcached_stage.proxy.client() as again:
        again.send(f"get {K}\r\n".encode())
        peer.expect(f"get {K}\r\n".encode())
        peer.send(END)
        again.expect(END)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"set %s 0 0 11\r\nflush_all\r",
        b"set %s 0 0 9\r\nflush_all",
        b"ms %s 20\r\nflush_all\r\n",
        b"set %s 0 0 0",
        b"get %s",
    ],
    ids=["one-byte-missing", "line-end-missing", "half-a-block", "half-a-line", "line-without-its-end"],
)
def test_unfinished_request_of_a_client_that_leaves_reaches_no_server(
    memcached_stage: Stage, request_bytes: bytes
) -> None:
    memcached_stage.client.send(request_bytes % K.encode())
    memcached_stage.client.half_close()
    memcached_stage.client.expect_closed()
    with memcached_stage.proxy.client() as other:
        other.send(f"get {K}\r\n".encode())
        peer = memcached_stage.first.accept()
        peer.expect(f"get {K}\r\n".encode())
        peer.send(END)
        other.expect(END)
        assert peer.collect() == b""


def test_no_refused_request_changes_anything_on_real_servers(
    memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer]
) -> None:
    victims = [key for index in range(3) for key in keys_of(index, 3, 3, "victim")]
    before = [server.stats() for server in memcached_servers]
    with memcached_proxy.client() as client:
        client.send(b"".join(store("set", key, key) for key in victims))
        client.expect(STORED * len(victims))
        client.send(b"".join(request for request, _ in REFUSED.values()) + b"mn\r\n")
        client.expect(b"".join(reply for _, reply in REFUSED.values()) + MN)
        client.send(f"get {' '.join(victims)}\r\n".encode())
        client.expect(b"".join(value(key, key) for key in victims) + END)
    for server, figures in zip(memcached_servers, before, strict=True):
        after = server.stats()
        changed = {name for name in after if name.startswith("cmd_") and after[name] != figures[name]}
        assert changed == {"cmd_set", "cmd_get"}
        assert int(after["cmd_set"]) - int(figures["cmd_set"]) == 3


def test_data_blocks_may_look_like_commands(memcached_client: Connection) -> None:
    blocks = [b"flush_all\r\n", b"\r\nflush_all\r\n", b"\nquit\n", b"set k 0 0 1\r\nx\r\nflush_all", b"mn\r\n" * 100]
    names = [f"look:{number}" for number in range(len(blocks) * 3)]
    for name, block in zip(names, blocks * 3, strict=True):
        memcached_client.send(store("set", name, block) + meta_set(f"m{name}", block) + store("append", name, block))
        memcached_client.expect(STORED + b"HD\r\n" + STORED)
    memcached_client.send(f"get {' '.join(names)}\r\n".encode())
    memcached_client.expect(b"".join(map(value, names, [block * 2 for block in blocks * 3])) + END)
