"""Hypothesis strategies for the memcached protocol: requests, replies of every kind, damaged and random bytes."""

from hypothesis import strategies as st
from memcache_tables import FORWARDED, REFUSED

from twemproxy.protocol.memcache.commands import COMMANDS

NAMES = [command.name.encode() for command in COMMANDS]

keys = st.one_of(
    st.sampled_from([b"a", b"b", b"key", b"noreply", b"0", b"q", b"QUJD", b"k" * 250, b"\xff\x80"]),
    st.binary(min_size=1, max_size=8).map(lambda key: bytes(byte if 33 <= byte != 127 else 97 for byte in key)),
)
numbers = st.one_of(
    st.sampled_from([b"0", b"1", b"-1", b"007", b"2147483647", b"-2147483648", b"4294967295", b"4294967296"]),
    st.sampled_from([b"18446744073709551615", b"18446744073709551616", b"x", b"+1", b"-", b"1\t"]),
    st.integers(0, 300).map(lambda number: b"%d" % number),
)
flags = st.one_of(
    st.sampled_from(
        [b"b", b"c", b"f", b"h", b"I", b"k", b"q", b"s", b"t", b"v", b"T0", b"F7", b"C1", b"MS", b"Ma", b"O1"]
    ),
    st.sampled_from([b"E", b"N-1", b"Rx", b"S5", b"%", b"q1", b"noreply", b"D", b"\xff"]),
)
surplus = st.sampled_from(
    [b"", b" noreply", b" foo", b" 0", b" 0 noreply", b" noreply noreply", b"  noreply ", b" a b"]
)
line_ends = st.sampled_from([b"\r\n", b"\r\n", b"\n", b" \r\n", b"\r\r\n"])
blocks = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"\r\n", b"get a\r\n", b"quit\n", b"set k 0 0 1\r\na\r\n", b"\0"])
)

_classic = st.sampled_from([b"set", b"add", b"replace", b"append", b"prepend"])


@st.composite
def storage_requests(draw: st.DrawFn) -> bytes:
    """Requests with a data block, most of them well-formed."""
    data = draw(blocks)
    length = draw(
        st.just(b"%d" % len(data)) | st.sampled_from([b"%d" % (len(data) + 1), b"+%d" % len(data), b"00", b"x"])
    )
    key, end = draw(keys), draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"x\r\n"]))
    name = draw(st.sampled_from([b"set", b"cas", b"ms"]))
    if name == b"ms":
        line = b" ".join([b"ms", key, length, *draw(st.lists(flags, max_size=4))])
    elif name == b"cas":
        line = b" ".join([b"cas", key, draw(numbers), draw(numbers), length, draw(numbers)]) + draw(surplus)
    else:
        line = b" ".join([draw(_classic), key, draw(numbers), draw(numbers), length]) + draw(surplus)
    return line + draw(line_ends) + data + end


line_requests = st.builds(
    lambda words, more, end: b" ".join(words) + more + end,
    st.one_of(
        st.tuples(st.sampled_from([b"get", b"gets", b"delete"]), keys),
        st.tuples(st.sampled_from([b"get", b"gets"]), keys, keys, keys),
        st.tuples(st.sampled_from([b"gat", b"gats"]), numbers, keys),
        st.tuples(st.sampled_from([b"gat", b"gats"]), numbers, keys, keys),
        st.tuples(st.sampled_from([b"incr", b"decr", b"touch"]), keys, numbers),
        st.tuples(st.sampled_from([b"mg", b"md", b"ma", b"me"]), keys, flags),
        st.tuples(st.sampled_from([b"mg", b"md", b"ma", b"me"]), keys, flags, flags, flags),
        st.tuples(st.sampled_from([b"verbosity", b"flush_all"]), numbers),
        st.tuples(st.sampled_from([b"version", b"mn", b"quit", b"stats", b"flush_all"])),
        st.tuples(st.just(b"stats"), st.sampled_from([b"servers", b"items", b"detail on"])),
        st.lists(st.sampled_from(NAMES) | keys | numbers, max_size=6),
    ),
    surplus,
    line_ends,
)
requests = st.one_of(
    storage_requests(),
    line_requests,
    st.sampled_from([row.request for row in FORWARDED]),
    st.sampled_from([row.line + b"\r\n" + row.block for row in REFUSED]),
)

_texts = st.sampled_from([b"", b" text", b" out of memory", b" END", b" 1.6.18", b" \t"])
values = st.builds(
    lambda key, more, data: b"VALUE %s 0 %d%s\r\n%s\r\n" % (key, len(data), more, data),
    keys,
    st.sampled_from([b"", b" 77", b" 7 more"]),
    blocks,
)
single_lines = st.builds(
    lambda word, text: word + text + b"\r\n",
    st.sampled_from(
        b"ERROR CLIENT_ERROR SERVER_ERROR STORED NOT_STORED EXISTS NOT_FOUND END DELETED TOUCHED OK RESET VERSION HD "
        b"EN NF NS EX ME 12 0".split()
    ),
    _texts,
)
replies = st.one_of(
    single_lines,
    st.builds(
        lambda many, last: b"".join(many) + last,
        st.lists(values, max_size=3),
        st.sampled_from([b"END\r\n", b"ERROR\r\n"]),
    ),
    st.builds(
        lambda data, more: b"VA %d%s\r\n%s\r\n" % (len(data), more, data), blocks, st.sampled_from([b"", b" kab c7"])
    ),
    st.lists(st.sampled_from([b"STAT a 1\r\n", b"ITEM a [1 b; 0 s]\r\n", b"PREFIX x get 1\r\n"]), max_size=3).map(
        lambda lines: b"".join(lines) + b"END\r\n"
    ),
)

cuts = st.lists(st.integers(0, 200), max_size=12)


@st.composite
def damaged(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream in which a few bytes are changed, inserted or removed."""
    data = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        put = draw(
            st.binary(max_size=2) | st.sampled_from([b" ", b"\r", b"\n", b"\r\n", b"\0", b"\t", b"-", b"0", b"9" * 11])
        )
        data[at : at + draw(st.integers(0, 2))] = put
    return bytes(data)


_tokens = st.sampled_from(
    [
        b" ",
        b"\r\n",
        b"\n",
        b"\0",
        b"get",
        b"set",
        b"ms",
        b"k",
        b"0",
        b"1",
        b"noreply",
        b"q",
        b"VALUE",
        b"END",
        b"VA",
        b"STAT",
    ]
)
garbage = st.one_of(st.binary(max_size=60), st.lists(_tokens, max_size=25).map(b"".join))
request_streams = st.lists(requests, max_size=5).map(b"".join)
reply_streams = st.lists(replies, max_size=4).map(b"".join)
any_request_stream = st.one_of(request_streams, damaged(request_streams), garbage)
any_reply_stream = st.one_of(reply_streams, damaged(reply_streams), garbage)
