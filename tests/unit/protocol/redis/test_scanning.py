"""The cursors of SCAN over several servers: their contents, and cursors of servers that are gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_peers import Pool, new_session, plan

from harness.resp import NULL, OK, array, bulk, command, error, integer
from twemproxy.protocol.plan import Answer, Ask, ToServer
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.scanning import NAME_BITS, PLACE_BITS, order_of
from unit.fakes import S0, FakeServer

NAMES = ("s00", "s01", "s02")
[(FIRST, FIRST_INDEX), (SECOND, SECOND_INDEX), (THIRD, THIRD_INDEX)] = order_of(NAMES)
END = array(bulk("0"), array())
MISFIT = error("ERR 'scan' went to every server, and their replies do not fit together: ask the servers one by one")
TOO_LARGE = error(
    f"ERR SCAN cannot go on: the cursor of server 's00' is larger than {2**PLACE_BITS - 1}, which is the most that fits"
    " into a cursor for several servers"
)


def scan(cursor: int, *options: bytes, servers: int = 3) -> Answer | Ask | ToServer:
    """The plan for SCAN with this cursor, in a pool of the first ``servers`` servers of NAMES."""
    pool = Pool(servers=servers)
    planned: Answer | Ask | ToServer = plan(RedisCodec(), new_session(pool=pool), b"SCAN", b"%d" % cursor, *options)
    return planned


def asks(planned: Answer | Ask | ToServer, server: int, place: int, *options: bytes) -> bool:
    """Whether a plan asks one server to scan from ``place`` on."""
    return isinstance(planned, Ask) and planned.requests == [(FakeServer(server), command("SCAN", place, *options))]


def test_a_walk_goes_from_server_to_server() -> None:
    cursors = []
    cursor = 0
    steps = [(FIRST_INDEX, 7), (FIRST_INDEX, 0), (SECOND_INDEX, 0), (THIRD_INDEX, 2**PLACE_BITS - 1), (THIRD_INDEX, 0)]
    for index, place in steps:
        planned = scan(cursor, b"COUNT", b"1")
        assert isinstance(planned, Ask)
        assert planned.requests[0][0].position == index
        reply = planned.merge([(NAMES[index], array(bulk(place), array(bulk("k"))))])
        cursor = int(reply.split(b"\r\n")[2])
        cursors.append(cursor)
    assert cursors == [
        FIRST << PLACE_BITS | 7,
        SECOND << PLACE_BITS,
        THIRD << PLACE_BITS,
        THIRD << PLACE_BITS | 2**PLACE_BITS - 1,
        0,
    ]
    assert all(cursor < 2**63 for cursor in cursors), "some clients read a signed number"


def test_a_cursor_whose_server_is_gone_goes_on_with_the_next() -> None:
    assert asks(scan(FIRST << PLACE_BITS | 5), FIRST_INDEX, 5)
    assert asks(scan((FIRST - 1) << PLACE_BITS | 5), FIRST_INDEX, 0)
    assert asks(scan((FIRST + 1) << PLACE_BITS | 5), SECOND_INDEX, 0)
    assert asks(scan((SECOND + 1) << PLACE_BITS), THIRD_INDEX, 0)
    assert scan((THIRD + 1) << PLACE_BITS) == Answer(END)


@pytest.mark.parametrize("cursor", [1, 2**PLACE_BITS - 1, 2**63, 2**63 + 5, 2**64 - 1])
def test_a_cursor_of_one_server_begins_the_walk_again(cursor: int) -> None:
    """The cursor may belong to any of the servers, so the walk begins again."""
    assert asks(scan(cursor), FIRST_INDEX, 0)


@pytest.mark.parametrize("cursor", [0, 1, 2**PLACE_BITS - 1, 2**63, 2**64 - 1])
def test_a_pool_of_one_server_has_its_cursors(cursor: int) -> None:
    assert scan(cursor, servers=1) == ToServer(S0)


def test_a_pool_of_one_server_knows_cursors_of_several() -> None:
    [(number, _)] = order_of(NAMES[:1])
    assert asks(scan(number << PLACE_BITS | 9, servers=1), 0, 9)
    assert asks(scan((number - 1) << PLACE_BITS | 9, servers=1), 0, 0)
    assert scan((number + 1) << PLACE_BITS, servers=1) == Answer(END)


@given(st.lists(st.text(), unique=True, min_size=1, max_size=50), st.randoms())
def test_the_order_depends_on_names_only(names: list[str], source: object) -> None:
    order = [(number, names[index]) for number, index in order_of(tuple(names))]
    assert sorted(name for _, name in order) == sorted(names)
    assert order == sorted(order) and len({number for number, _ in order}) == len(names)
    assert all(0 < number < 2**NAME_BITS for number, _ in order)
    assert [(number, names[::-1][index]) for number, index in order_of(tuple(names[::-1]))] == order


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        *((array(bulk(place), array()), TOO_LARGE) for place in (2**PLACE_BITS, 2**64 - 1, 10**40)),
        *((array(bulk(place), array()), MISFIT) for place in ("-1", "x", "")),
        *((reply, MISFIT) for reply in (array(bulk(0)), array(bulk(0), array(), array()), array(integer(0), array()))),
        *((reply, MISFIT) for reply in (OK, NULL)),
        (error("LOADING"), error("LOADING")),
    ],
)
def test_what_a_server_may_say(reply: bytes, answer: bytes) -> None:
    planned = scan(0)
    assert isinstance(planned, Ask)
    assert planned.merge([("s00", reply)]) == answer
