"""No bytes of a client reach a memcached as a second command, and no request makes the connection unusable."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure

OVERFLOW = b"99999999999999999999999"
LONG = b"k" * 251
TOO_LARGE = b"x" * 2_000_000
BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as running:
        yield running


@pytest.fixture(scope="module")
def direct(server: MemcachedServer) -> Connection:
    """A connection directly to the server."""
    return server.connect()


@pytest.fixture(scope="module")
def proxy(configured: Configure, server: MemcachedServer) -> Iterator[ServedPools]:
    with configured(
        {
            "allow_commands": "flush_all verbosity stats|cachedump stats|detail stats|reset",
            "servers": [f"{server.address}:1 one"],
        }
    ) as running:
        yield running


@pytest.fixture
def client(proxy: ServedPools, direct: Connection) -> Iterator[Connection]:
    """A client of a pool whose server has a value under the key victim."""
    direct.send(b"set victim 0 0 1\r\nv\r\n")
    direct.expect(b"STORED\r\n")
    with proxy.client() as connection:
        yield connection


def check_untouched(direct: Connection) -> None:
    """Check that the server still has the victim's value."""
    direct.send(b"get victim\r\n")
    direct.expect(b"VALUE victim 0 1\r\nv\r\nEND\r\n")


SMUGGLED = [b"delete victim\r\n", b"flush_all\r\n"]

# Lines before a data block of {n} bytes, and the error that each line gets.
REFUSED_LINES = {
    "flags-overflow": (b"set k " + OVERFLOW + b" 0 {n}\r\n", BAD_LINE),
    "flags-33-bits": (b"set k 4294967296 0 {n}\r\n", BAD_LINE),
    "flags-negative": (b"set k -1 0 {n}\r\n", BAD_LINE),
    "flags-hexadecimal": (b"set k 0x1 0 {n}\r\n", BAD_LINE),
    "exptime-overflow": (b"set k 0 " + OVERFLOW + b" {n}\r\n", BAD_LINE),
    "exptime-32-bits": (b"set k 0 2147483648 {n}\r\n", BAD_LINE),
    "cas-overflow": (b"cas k 0 0 {n} " + OVERFLOW + b"\r\n", BAD_LINE),
    "cas-missing": (b"cas k 0 0 {n}\r\n", b"ERROR\r\n"),
    "length-with-plus": (b"set k 0 0 +{n}\r\n", BAD_LINE),
    "length-behind-tab": (b"set k 0 0 \t{n}\r\n", BAD_LINE),
    "length-before-tab": (b"set k 0 0 {n}\tx\r\n", BAD_LINE),
    "length-before-nul": (b"set k 0 0 {n}\0\r\n", BAD_LINE),
    "long-key": (b"set " + LONG + b" 0 0 {n}\r\n", BAD_LINE),
    "control-byte-in-key": (b"set k\x01k 0 0 {n}\r\n", BAD_LINE),
    "nul-in-key": (b"set k\0k 0 0 {n}\r\n", BAD_LINE),
    "too-many-arguments": (b"set k 0 0 {n} noreply x\r\n", b"ERROR\r\n"),
    "meta-unknown-flag": (b"ms k {n} Z\r\n", b"CLIENT_ERROR invalid flag\r\n"),
    "meta-duplicate-flag": (b"ms k {n} q q\r\n", b"CLIENT_ERROR duplicate flag\r\n"),
    "meta-bad-base64": (b"ms k {n} b\r\n", b"CLIENT_ERROR error decoding key\r\n"),
    "meta-bad-time": (b"ms k {n} T" + OVERFLOW + b"\r\n", b"CLIENT_ERROR bad token in command line format\r\n"),
    "meta-long-opaque": (b"ms k {n} O" + b"o" * 40 + b"\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
    "meta-long-key": (b"ms " + LONG + b" {n}\r\n", BAD_LINE),
    "noreply": (b"set k x 0 {n} noreply\r\n", b""),
}


@pytest.mark.parametrize("block", SMUGGLED)
@pytest.mark.parametrize("name", REFUSED_LINES)
def test_data_block_of_a_refused_line_is_not_executed(
    client: Connection, direct: Connection, name: str, block: bytes
) -> None:
    line, error = REFUSED_LINES[name]
    client.send(line.replace(b"{n}", b"%d" % len(block)) + block + b"\r\nmn\r\n")
    client.expect(error + b"MN\r\n")
    check_untouched(direct)


@pytest.mark.parametrize("block", SMUGGLED)
@pytest.mark.parametrize(
    "line", [b"set k 0 0 " + OVERFLOW + b"\r\n", b"set k 0 0 4294967310\r\n", b"ms k " + OVERFLOW + b"\r\n"]
)
def test_block_of_a_length_beyond_counting_ends_the_connection(
    client: Connection, direct: Connection, line: bytes, block: bytes
) -> None:
    client.send(b"get victim\r\n" + line + block)
    client.expect(b"VALUE victim 0 1\r\nv\r\nEND\r\n" + BAD_LINE)
    client.expect_closed()
    check_untouched(direct)


@pytest.mark.parametrize("block", SMUGGLED)
@pytest.mark.parametrize("line", [b"set k 0 0 1\r\n", b"ms k 1\r\n", b"set k 0 0 3\r\n"])
def test_rest_of_a_bad_data_block_is_not_executed(
    client: Connection, direct: Connection, line: bytes, block: bytes
) -> None:
    client.send(line + b"xxxxx" + block + b"mn\r\n")
    client.expect(b"CLIENT_ERROR bad data chunk\r\nMN\r\n")
    check_untouched(direct)


@pytest.mark.parametrize(
    "key", [LONG, b"a\tb", b"a\x7f", b"a\0flush_all", b"a\rflush_all", b"a\x0bb", b"\x1b[A"], ids=repr
)
@pytest.mark.parametrize(
    "form", [b"get %s", b"gets b %s", b"gat 0 %s", b"touch %s 0", b"incr %s 1", b"mg %s v", b"md %s"]
)
def test_bad_key_gets_an_error_and_the_connection_goes_on(
    client: Connection, direct: Connection, key: bytes, form: bytes
) -> None:
    client.send(form % key + b"\r\nget victim\r\n")
    client.expect(BAD_LINE + b"VALUE victim 0 1\r\nv\r\nEND\r\n")
    check_untouched(direct)


def test_line_feed_in_a_key_does_not_flush(configured: Configure, server: MemcachedServer, direct: Connection) -> None:
    """The bytes after the line feed are a command of their own, which needs permission."""
    direct.send(b"set victim 0 0 1\r\nv\r\n")
    direct.expect(b"STORED\r\n")
    with configured({"servers": [f"{server.address}:1 one"]}) as proxy, proxy.client() as client:
        client.send(b"get a\nflush_all\r\nmn\r\n")
        client.expect(
            b"END\r\nCLIENT_ERROR flush_all is not allowed in this pool: 'allow_commands: flush_all' in its"
            b" configuration allows it\r\nMN\r\n"
        )
    check_untouched(direct)


def test_too_large_value_is_swallowed_and_answered_as_memcached_does(client: Connection, direct: Connection) -> None:
    for line, error in (
        (b"set big 0 0 2000000", True),
        (b"ms big 2000000 q", True),
        (b"set big 0 0 2000000 noreply", False),
    ):
        client.send(line + b"\r\n" + TOO_LARGE + b"\r\nget victim\r\n")
        client.expect(b"SERVER_ERROR object too large for cache\r\n" * error + b"VALUE victim 0 1\r\nv\r\nEND\r\n")
    client.send(b"set big 0 0 1073741825\r\n")
    client.expect(b"SERVER_ERROR object too large for cache\r\n")
    check_untouched(direct)


@pytest.mark.parametrize("size", [0, 1, 4000, 5000, 70_000, 1_000_000])
def test_values_of_any_size_come_back(client: Connection, size: int) -> None:
    value = (b"0123456789\r\n" * (size // 12 + 1))[:size]
    client.send(b"set any 5 0 %d\r\n%s\r\nget any\r\n" % (size, value))
    client.expect(b"STORED\r\nVALUE any 5 %d\r\n%s\r\nEND\r\n" % (size, value))


PIPELINE = (
    b"set cut 1 0 4\r\na\r\nb\r\nget cut victim\nms bXM= 2 b k\r\nhi\r\nmg ms v\r\n"
    b"set cut 0 0 1 noreply\r\nx\r\nmd ms q\r\nbogus\r\nmn\r\n"
)
ANSWER = (
    b"STORED\r\nVALUE cut 1 4\r\na\r\nb\r\nVALUE victim 0 1\r\nv\r\nEND\r\nHD kbXM= b\r\nVA 2\r\nhi\r\nERROR\r\nMN\r\n"
)


@pytest.mark.parametrize("cut", range(1, len(PIPELINE)))
def test_requests_cut_anywhere_get_the_same_replies(client: Connection, cut: int) -> None:
    client.send_pieces(PIPELINE[:cut], PIPELINE[cut:])
    client.expect(ANSWER)
