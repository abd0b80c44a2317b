"""The messages between workers.

Each worker has an inbox: a pair of unix sockets for sequenced packets, of which the supervisor keeps both ends. All
workers write to one end, and the worker reads from the other one. What is in an inbox outlives the process of the
worker: another process of the worker goes on to read it.

A packet is a header, the process id of the sender and whether more parts of the message follow, and a part of a message
in MessagePack. The descriptors of a message come with its first packet.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

HEADER: Final = struct.Struct("!I?")
PART_SIZE: Final = 32768
"""Most bytes of a message in a packet. A socket has room for several packets."""
PACKET_SIZE: Final = HEADER.size + PART_SIZE
"""Most bytes of a packet."""
MOST_PARTIAL: Final = 64
"""Senders whose incomplete messages are kept; of more than that, some were killed."""


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """New clients, whose descriptors come with the message."""

    pools: tuple[int, ...]
    """Of each client, the slot of its pool, see ``ipc.messages.PoolSlots``."""


class Handed(msgspec.Struct, frozen=True, tag=True):
    """A client that is handed over, whose descriptor comes with the message."""

    worker: int
    """The number of the sending worker."""
    slot: int
    """As in ``Accepted``."""
    pool: str
    """The name of its pool."""
    redis: bool
    """The protocol of its pool."""
    state: dict[str, Any]
    """See ``downstream.handover``."""


class PoolKey(msgspec.Struct, frozen=True, array_like=True):
    """Which pool it is: equal for pools of two workers whose clients are in the same state after the same commands."""

    slot: int
    """As in ``Accepted``."""
    redis: bool
    """The directives of the same names."""
    redis_db: int
    databases: int


SUPERVISOR: Final = 0
"""The number of the supervisor where that of an asking worker is expected; it does not use inboxes."""


LIST_CLIENTS, KILL_CLIENTS = "listed clients", "killed clients"
"""Questions of the supervisor, see ``protocol.redis.client_list``."""
EXPLAIN_CLIENT = "explained client"
"""A question of the supervisor, see ``worker.inspection``."""


class Question(msgspec.Struct, frozen=True, tag=True):
    """A question about a pool, see ``protocol.other_workers``. Each worker that is asked sends some ``Rows``."""

    to: int
    """The number of the worker that is asked: a message may be in the inbox of another one when its worker has left."""
    worker: int
    """The number of the asking worker, or SUPERVISOR."""
    process: int
    """The process id of the asking worker."""
    number: int
    """Of the question, in this process."""
    pool: PoolKey
    what: str
    arguments: tuple[bytes, ...]


class Rows(msgspec.Struct, frozen=True, tag=True):
    """A part of the answer to a ``Question``."""

    worker: int
    """The number of the worker that was asked."""
    process: int
    """As in the question. The same for ``number``."""
    number: int
    rows: tuple[tuple[int, bytes], ...]
    last: bool
    """Whether the answer is complete."""


class Notice(msgspec.Struct, frozen=True, tag=True):
    """Something to know about a pool, see ``protocol.other_workers``."""

    process: int
    """The process id of the sender."""
    pool: PoolKey
    what: str
    arguments: tuple[bytes, ...]


class Audiences(msgspec.Struct, frozen=True, tag=True):
    """How many subscribers topics of a pool have in a process, see ``upstream.audiences``."""

    process: int
    """The process id of the sender."""
    pool: PoolKey
    topics: tuple[tuple[str, bytes, int, int], ...]
    """(kind, name, clients, servers) of each topic."""
    anew: bool
    """Whether the process has told of no other topics."""


Message = Accepted | Handed | Question | Rows | Notice | Audiences

_DECODER: Final = msgspec.msgpack.Decoder(Message)


def packets(message: Message, sender: int) -> list[bytes]:
    """The packets of a message. ``sender``: the process id."""
    return list(_packets(msgspec.msgpack.encode(message), sender))


def _packets(body: bytes, sender: int) -> Iterator[bytes]:
    for start in range(0, len(body), PART_SIZE):
        end = start + PART_SIZE
        yield HEADER.pack(sender, end < len(body)) + body[start:end]


class Assembler:
    """Puts the packets of an inbox together to messages."""

    def __init__(self) -> None:
        self._partial: dict[int, tuple[bytearray, list[int]]] = {}

    def add(self, packet: bytes, descriptors: Sequence[int]) -> tuple[Message, list[int]] | None:
        """Add a packet; returns the message that it completes, with its descriptors, None if more parts follow.

        Raises msgspec.DecodeError if the message has another form: then the workers have different versions.
        """
        sender, more = HEADER.unpack_from(packet)
        body, carried = self._partial.pop(sender, (bytearray(), []))
        body += packet[HEADER.size :]
        carried += descriptors
        if not more:
            return _DECODER.decode(bytes(body)), carried
        self._partial[sender] = (body, carried)
        if len(self._partial) > MOST_PARTIAL:
            del self._partial[next(iter(self._partial))]
        return None
