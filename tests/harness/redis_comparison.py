"""Compares the replies of a server and of a proxy to the same streams of redis commands."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

from hypothesis import strategies as st

from harness import resp
from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.redis_patterns import KINDS, LONELY, PLACES
from harness.redis_streams import Command, Maker, Piece, furnishing, pieces
from harness.servers import RedisServer

LAST = resp.command("ECHO", "the last")
LAST_REPLY = resp.bulk("the last")
KEYS = sorted(
    beginning + kind.encode() + number
    for beginnings in [*PLACES, LONELY]
    for beginning in set(beginnings)
    for kind in KINDS
    for number in (b"0", b"1")
)
FURNISHING = furnishing()

cut_places = st.lists(st.integers(1, 6000), max_size=4)
"""Positions at which a stream is cut into pieces; each piece is sent after the previous one has been read."""


class HasClients(Protocol):
    """A server or proxy that clients can connect to."""

    def client(self) -> Connection:
        """A new connection."""


class Stand(NamedTuple):
    """A reference server that is asked directly, and a proxy with its servers."""

    reference: RedisServer
    proxy: HasClients
    servers: list[RedisServer]


def stand(
    stack: ExitStack,
    kind: type[RedisServer],
    count: int,
    listen: Path,
    options: Sequence[str] = (),
    **directives: object,
) -> Stand:
    """A stand with ``count`` servers of this kind behind the proxy, which listens on a unix socket.

    ``options``: additional command-line options of the servers. ``directives``: additional directives of the pool.
    """
    reference, *servers = (stack.enter_context(kind(*options)) for _ in range(count + 1))
    # With a unix socket the kernel tells cheaply whether the proxy has read a piece.
    pool = redis_pool(*servers, listen=listen, hash_tag='"{}"', **directives)
    return Stand(reference, stack.enter_context(Proxy(pool)), servers)


def perform(
    connection: Connection, sent: Sequence[Command], cuts: Sequence[int] = ()
) -> list[tuple[tuple[bytes, ...], object]]:
    """Send the commands, cut into pieces at ``cuts``, and return each command with its normalised reply."""
    stream = b"".join(command.request for command in sent) + LAST
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(stream))]
    connection.send_pieces(*(stream[start:end] for start, end in itertools.pairwise(edges)))
    connection.send(stream[edges[-1] :])
    replies = []
    while (reply := connection.reply()) != LAST_REPLY:
        replies.append(reply)
    answered = [command for command in sent if not command.silent]
    assert len(replies) == len(answered), f"{len(answered)} commands, {len(replies)} replies: {replies} to {sent}"
    return [(command.words, command.normalise(reply)) for command, reply in zip(answered, replies, strict=True)]


def contents(servers: Sequence[RedisServer], database: int = 0) -> list[int]:
    """The total number of keys on the servers, and the sum of the digests of each key in KEYS.

    The numbers differ from those of one server if a key is on two servers or has another value.
    """
    found = []
    for server in servers:
        lines = server.ask("DEBUG", "DIGEST-VALUE", *KEYS, db=database).split(b"\r\n")[1:-1]
        digests = [line for line in lines if not line.startswith(b"$")]
        found.append([int(server.ask("DBSIZE", db=database)[1:]), *(int(digest[1:], 16) for digest in digests)])
    return [sum(numbers) for numbers in zip(*found, strict=True)]


def clear(place: Stand) -> None:
    """Remove every key."""
    for server in [place.reference, *place.servers]:
        assert server.ask("FLUSHALL") == resp.OK


def compare(
    place: Stand,
    version: int,
    work: Sequence[Sequence[Command]],
    cuts: Sequence[int],
    furniture: Sequence[Command] = (),
    databases: int = 1,
) -> None:
    """Send the commands to both sides, and require the same replies and the same contents.

    ``furniture``: additional commands that are sent first.
    """
    clear(place)
    with place.reference.connect_unix() as direct, place.proxy.client() as client:
        for connection in (direct, client):
            assert connection.ask("HELLO", version)[:1] in b"*%"
        for sent in [[*FURNISHING, *furniture], *work]:
            for came, expected in zip(perform(client, sent, cuts), perform(direct, sent), strict=True):
                assert came == expected, f"came {came}, expected {expected}"
    for database in range(databases):
        assert contents(place.servers, database) == contents([place.reference], database)


def streams(groups: Mapping[str, Maker], lengths: tuple[int, int] = (20, 50)) -> st.SearchStrategy[list[list[Command]]]:
    """Lists of commands that are each sent in one go, usually from one feature group, sometimes from all groups.

    ``lengths``: the smallest and largest number of pieces in a list.
    """
    fewest, most = lengths
    made = {name: pieces(make, 400, name) for name, make in groups.items()}
    every = [piece for group in made.values() for piece in group]
    flows = [st.lists(st.sampled_from(group), min_size=fewest, max_size=most) for group in [*made.values(), every]]
    return st.lists(st.one_of(*flows).map(_in_one_go), min_size=1, max_size=5)


def _in_one_go(sent: Sequence[Piece]) -> list[Command]:
    return [command for piece in sent for command in piece]
