"""What supervisor and worker say to each other, over a unix stream socket.

On the wire a message is a 4-byte big-endian length and that many bytes of MessagePack. ``Start`` is the first
message a worker gets; the descriptors it speaks of arrive with it (SCM_RIGHTS), in this order: the memory of
the counters, then one listening socket per pool, in pool order; at most 250 come with one sendmsg, the next ones
with the next bytes of the same message.
"""

import struct

import msgspec

from twemproxy.config.pools import Config

_LENGTH = struct.Struct("!I")


class LogSettings(msgspec.Struct, frozen=True):
    """How a process logs; ``twemproxy.log`` carries it out."""

    level: int
    path: str = ""
    """Empty for standard error."""


class Start(msgspec.Struct, frozen=True, tag=True):
    """Serve these pools."""

    config: Config
    mbuf_size: int
    log: LogSettings
    client_limit: int
    """Most client connections of this worker at a time, all pools together; 0 for no limit."""
    max_memory: int
    """Bytes that this worker should hold for traffic at most; 0 for no limit."""


class Resolved(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Resolve``: every address of the host, in order of preference, or why there is none."""

    host: str
    port: int
    addresses: tuple[tuple[int, str, int, int], ...] = ()
    """(address family, numeric IP, IPv6 flow information, IPv6 scope id)."""
    error: str = ""


class SetLogLevel(msgspec.Struct, frozen=True, tag=True):
    """Log at this level, 0 to 11, from now on."""

    level: int


class ReopenLog(msgspec.Struct, frozen=True, tag=True):
    """Close and reopen the log file."""


class Settle(msgspec.Struct, frozen=True, tag=True):
    """Go on serving, and answer ``Settled`` once all requests that are on their way now have been answered."""

    patience: float
    """Seconds after which requests to a server that says nothing fail, from now on."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Stop accepting and reading new requests, finish those in flight, then leave."""

    timeout: float
    """Seconds after which what is not finished is cut off."""
    patience: float
    """As in ``Settle``."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker accepts clients."""


class Settled(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``Settle``; the worker still serves."""


class Resolve(msgspec.Struct, frozen=True, tag=True):
    """Look a host name up; the worker waits for no other address of it meanwhile."""

    host: str
    port: int


ToWorker = Start | Resolved | SetLogLevel | ReopenLog | Settle | Drain
ToSupervisor = Ready | Settled | Resolve

_to_worker = msgspec.msgpack.Decoder(ToWorker)
_to_supervisor = msgspec.msgpack.Decoder(ToSupervisor)


def encode(message: ToWorker | ToSupervisor) -> bytes:
    """One message as it goes over the wire."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class MessageStream:
    """Cuts a received byte stream into messages."""

    def __init__(self, *, for_worker: bool) -> None:
        """``for_worker``: whether the messages are those a worker receives."""
        self._decoder = _to_worker if for_worker else _to_supervisor
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[ToWorker | ToSupervisor]:
        """Take bytes as they came; gives the messages they complete, oldest first.

        Raises msgspec.DecodeError when the bytes are no message: the two ends are of different versions.
        """
        self._pending += data
        messages: list[ToWorker | ToSupervisor] = []
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            end = _LENGTH.size + length
            if len(self._pending) < end:
                break
            messages.append(self._decoder.decode(bytes(self._pending[_LENGTH.size : end])))
            del self._pending[:end]
        return messages
