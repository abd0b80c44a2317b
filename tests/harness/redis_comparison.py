"""The same streams of redis commands to a server directly and through a proxy: what is sent, and what is compared."""

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
"""Where a stream is cut into pieces, each of which is sent when the one before has been read."""


class HasClients(Protocol):
    """Anything that clients can talk to."""

    def client(self) -> Connection:
        """A fresh connection."""


class Stand(NamedTuple):
    """The server that is asked directly, and a proxy with the servers behind it."""

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
    """A stand with so many servers of this kind behind the proxy, which listens on a unix socket.

    ``options``: more of the servers' command lines. ``directives``: more of the pool's.
    """
    reference, *servers = (stack.enter_context(kind(*options)) for _ in range(count + 1))
    # A unix socket: there the kernel tells cheaply when the proxy has read a piece.
    pool = redis_pool(*servers, listen=listen, hash_tag='"{}"', **directives)
    return Stand(reference, stack.enter_context(Proxy(pool)), servers)


def perform(
    connection: Connection, sent: Sequence[Command], cuts: Sequence[int] = ()
) -> list[tuple[tuple[bytes, ...], object]]:
    """Send the commands in one go, or cut into pieces, and give what counts of every reply, beside its command."""
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
    """How many keys the servers hold together, and the sums of their digests of KEYS.

    They differ from one server's when a key is on two of them, or holds something else.
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
    """Do the work on both sides, and require the same replies and the same contents.

    ``furniture``: more of what is done at the beginning.
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
    """What is sent in one go, several times: usually of one feature group, sometimes of all of them.

    ``lengths``: fewest and most pieces of a group.
    """
    fewest, most = lengths
    made = {name: pieces(make, 400, name) for name, make in groups.items()}
    every = [piece for group in made.values() for piece in group]
    flows = [st.lists(st.sampled_from(group), min_size=fewest, max_size=most) for group in [*made.values(), every]]
    return st.lists(st.one_of(*flows).map(_in_one_go), min_size=1, max_size=5)


def _in_one_go(sent: Sequence[Piece]) -> list[Command]:
    return [command for piece in sent for command in piece]
