"""Hypothesis strategies for the redis protocol: requests, replies of RESP2 and RESP3, damaged and random bytes."""

from hypothesis import strategies as st

from harness.resp import array, bulk, command
from twemproxy.protocol.redis.commands import COMMANDS

NAMES = [row.name.encode() for row in COMMANDS]
SPLITTABLE = [b"mget", b"mset", b"del", b"exists", b"touch", b"unlink"]
COUNTED = [row.name.encode() for row in COMMANDS if row.numkeys]


def in_any_case(name: bytes) -> st.SearchStrategy[bytes]:
    """The name, with each letter in upper or lower case."""
    return st.integers(0, 2 ** len(name) - 1).map(
        lambda bits: bytes(byte ^ 32 if bits >> i & 1 and chr(byte).isalpha() else byte for i, byte in enumerate(name))
    )


names = st.sampled_from(SPLITTABLE + COUNTED) | st.sampled_from(NAMES)
values = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"", b"\r\n", b"$3\r\n", b"*1\r\n", b"-1", b"0", b"1", b"2", b"03", b"-", b"a", b"9" * 10]),
)
array_requests = st.one_of(
    st.builds(
        lambda name, arguments: command(name, *arguments), names.flatmap(in_any_case), st.lists(values, max_size=9)
    ),
    st.lists(values, min_size=1, max_size=5).map(lambda arguments: command(*arguments)),
)
inline_lines = st.one_of(
    st.sampled_from([b"\r\n", b"\n", b" \t\v\f\r\n", b"PING\r\n", b"get 'a b'\n", b'set a "\\x00"\r\n']),
    # A line with HTTP/ in its last word is taken for HTTP, not for a request of redis.
    st.binary(max_size=20).map(lambda line: b"x" + line.replace(b"\n", b"").replace(b"HTTP/", b"") + b"\n"),
)
empty_requests = st.sampled_from([b"*0\r\n", b"*-1\r\n", b"*-12\r\n"])
requests = st.one_of(array_requests, array_requests, inline_lines, empty_requests)

_lines = st.binary(max_size=12).map(lambda line: line.replace(b"\r", b""))
scalars = st.one_of(
    st.tuples(st.sampled_from([b"+", b"-", b":", b",", b"(", b"#"]), _lines).map(
        lambda parts: b"".join(parts) + b"\r\n"
    ),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b":-7\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n"]),
    st.binary(max_size=20).map(bulk),
    st.tuples(st.sampled_from([b"!", b"="]), st.binary(max_size=12)).map(lambda parts: parts[0] + bulk(parts[1])[1:]),
)


def _aggregates(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    pairs = st.lists(st.tuples(inner, inner).map(b"".join), max_size=3)
    flat = st.lists(inner, max_size=4)
    return st.one_of(
        flat.map(lambda elements: array(*elements)),
        st.tuples(st.sampled_from([b"~", b">"]), flat).map(lambda parts: parts[0] + array(*parts[1])[1:]),
        pairs.map(lambda entries: b"%" + array(*entries)[1:]),
        st.tuples(pairs, inner).map(lambda parts: b"|" + array(*parts[0])[1:] + parts[1]),
    )


replies = st.recursive(scalars, _aggregates, max_leaves=12)

cuts = st.lists(st.integers(0, 400), max_size=12)


@st.composite
def damaged(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream in which a few bytes are changed, inserted or removed."""
    data = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        put = draw(st.binary(max_size=2) | st.sampled_from([b"$", b"*", b"\r", b"\n", b"-", b"0", b"9" * 11, b"|"]))
        data[at : at + draw(st.integers(0, 2))] = put
    return bytes(data)


tokens = st.sampled_from(
    [b"*", b"$", b"-", b"0", b"1", b"3", b"12", b"\r\n", b"\r", b"\n", b"%", b"|", b"+", b"GET", b"_"]
)
garbage = st.one_of(st.binary(max_size=60), st.lists(tokens, max_size=25).map(b"".join))
request_streams = st.lists(requests, max_size=6).map(b"".join)
reply_streams = st.lists(replies, max_size=4).map(b"".join)
any_request_stream = st.one_of(request_streams, damaged(request_streams), garbage)
any_reply_stream = st.one_of(reply_streams, damaged(reply_streams), garbage)
