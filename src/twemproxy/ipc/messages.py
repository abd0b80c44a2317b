"""The messages between the supervisor and a worker, over a unix stream socket.

On the wire, a message is a 4-byte big-endian length and that many bytes of MessagePack. The first message to a worker
is ``Start``.

Some messages to a worker bring descriptors (SCM_RIGHTS): ``Start`` the memory of the counters and of the table that all
workers write, the reading end of the worker's inbox, the writing end of the pipe of the access log, then one listening
socket per pool, in pool order; ``Peers`` what it says; ``Prepare`` one listening socket per address of ``opened``. They
arrive no later than the last byte of their message, and in the order of the messages. At most 250 descriptors come with
one sendmsg(2), and further ones with the next bytes of the same message.

A reload has two steps, so that all workers change together or none does. ``Prepare`` builds everything that the new
configuration needs beside what serves clients. When all workers have answered without a problem, ``Commit`` puts it in
place between two turns of the event loop; otherwise ``Abandon`` drops it. There is one reload at a time.
"""

import struct
import time
from typing import Generic, Literal, TypeVar

import msgspec

from twemproxy.config.pools import Address, Config
from twemproxy.ipc.inbox import Question, Rows

_LENGTH = struct.Struct("!I")

Message = TypeVar("Message")


class LogSettings(msgspec.Struct, frozen=True):
    """The log settings of a process; ``twemproxy.log`` applies them."""

    level: int
    path: str = ""
    """Path of the log file; empty: standard error."""
    format: str = "text"
    """One of ``config.options.LOG_FORMATS``."""


class PoolSlots(msgspec.Struct, frozen=True):
    """Where the counters of a pool are in the counter table: positions of the first one, in 64-bit words."""

    pool: int
    servers: tuple[int, ...]
    """Of each server, in the order of the configuration."""


class ConfigStatus(msgspec.Struct, frozen=True):
    """What statistics and INFO say about the configuration. Times are in seconds since the epoch."""

    generation: int
    """1 at the start; each reload that changes something adds 1."""
    fingerprint: str
    """See ``hashing.fingerprint``; equal configurations have equal ones."""
    since: float
    """When it was loaded."""
    last_reload: str = ""
    """The verdict of the last reload, empty before the first one."""
    last_reload_at: float = 0
    last_reload_failed: bool = False

    def facts(self) -> dict[str, int | str]:
        """The values of ``stats.catalogue.PROCESS_FACTS``, by name."""
        return {
            "config_generation": self.generation,
            "config_fingerprint": self.fingerprint,
            "config_loaded_at": int(self.since),
            "last_reload_at": int(self.last_reload_at),
            "last_reload_failed": int(self.last_reload_failed),
            "last_reload": self.last_reload,
        }


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message: serve the pools of this configuration."""

    config: Config
    status: ConfigStatus
    slots: tuple[PoolSlots, ...]
    """Of each pool, in the order of the configuration."""
    mbuf_size: int
    log: LogSettings
    client_limit: int
    """Most client connections of this worker at a time, of all pools together; 0: no limit."""
    max_memory: int
    """Most bytes that all workers together should hold for traffic; 0: no limit."""
    accepts: bool = True
    """Whether the worker accepts clients at once, otherwise when ``TakeOver`` says so."""
    number: int = 1
    """The number of the worker, from 1."""


class Peers(msgspec.Struct, frozen=True, tag=True):
    """The other processes of the proxy's workers, instead of those that were there before.

    With the message come the writing ends of the worker's own inbox and of those of ``workers``, the memory of the
    counters of ``workers``, and that of the counters of each of the ``former`` processes.
    """

    workers: tuple[int, ...]
    """The numbers of the other workers."""
    former: int
    """How many other processes there are: they hand their clients over, or get those of this process."""


class Resolved(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Resolve``: all addresses of the host in order of preference, or the reason why there are none."""

    host: str
    port: int
    addresses: tuple[tuple[int, str, int, int], ...] = ()
    """Per address: (address family, numeric IP address, IPv6 flow information, IPv6 scope id)."""
    error: str = ""


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Prepare to serve the pools of this configuration, and answer with ``Prepared``."""

    config: Config
    slots: tuple[PoolSlots, ...]
    """As in ``Start``."""
    client_limit: int
    """As in ``Start``."""
    opened: tuple[Address, ...]
    """The addresses whose listening sockets come with the message; those of other pools are open already."""
    number: int
    """Of the reload; the answer has it, too, so that a late answer is not taken for that to a later reload."""


class Commit(msgspec.Struct, frozen=True, tag=True):
    """Serve the prepared configuration from the next turn on, and answer with ``Committed``."""


class Abandon(msgspec.Struct, frozen=True, tag=True):
    """Drop what ``Prepare`` has prepared, if there is anything."""


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """Accept no more clients, answer ``HandingOver``, hand all clients over, and exit when none is left."""

    to: tuple[int, ...]
    """The workers that take the clients; the own number is that of the process that replaces this one."""
    number: int = 0
    """As in ``Announce``, for clients that cannot be handed over soon."""
    timeout: float = 0
    """Seconds after which ``Drain`` follows; 0: that is not known, and no client is told."""


class TakeOver(msgspec.Struct, frozen=True, tag=True):
    """Accept clients, and take those over that come from the former process of the worker."""

    clients: int
    """As in ``HandingOver``."""


class TakenOver(msgspec.Struct, frozen=True, tag=True):
    """The former process has ended: no more clients come from it."""


class SetLogLevel(msgspec.Struct, frozen=True, tag=True):
    """Set the log level, 0 to 11."""

    level: int


class ReopenLog(msgspec.Struct, frozen=True, tag=True):
    """Close and reopen the log file."""


class SetConfigStatus(msgspec.Struct, frozen=True, tag=True):
    """Show this in INFO from now on."""

    status: ConfigStatus


class Announce(msgspec.Struct, frozen=True, tag=True):
    """Tell the clients that want to know to connect again, because the worker stops. It serves as before."""

    number: int
    """See ``event_number``."""
    seconds: float
    """Seconds until clients may be closed."""


class Quiesce(msgspec.Struct, frozen=True, tag=True):
    """Keep serving, and send ``Quiesced`` when all requests that are in flight now have replies."""

    patience: float
    """Seconds of silence after which the requests to a server fail, from now on."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Stop accepting clients and reading requests, finish the requests in flight, then exit."""

    timeout: float
    """Seconds after which the remaining clients are closed."""
    patience: float
    """As in ``Quiesce``."""


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Answer with ``Inspected``."""

    number: int
    """Of the question; the answer has it, too."""


class SlowRequest(msgspec.Struct, frozen=True):
    """A request in the slow log of a pool. Times are in microseconds, see ``stats.catalogue``."""

    at: float
    """When it was noted, in seconds since the epoch."""
    command: tuple[str, ...]
    """The name and the arguments, cut; only the name if the arguments are not known."""
    server: str
    """The name of the server; empty if it is not known."""
    client: str
    waiting: int
    server_time: int
    writing: int

    @property
    def whole(self) -> int:
        """From reading the request to writing the reply."""
        return self.waiting + self.server_time + self.writing

    def document(self) -> dict[str, object]:
        """As JSON documents have it."""
        return {
            "at": self.at,
            "server": self.server,
            "client": self.client,
            "command": list(self.command),
            "whole_us": self.whole,
            "waiting_us": self.waiting,
            "server_us": self.server_time,
            "writing_us": self.writing,
        }


class HotKey(msgspec.Struct, frozen=True):
    """A key with many requests; estimates by a sample, see ``proxy.hot_keys``."""

    key: str
    server: str
    """The name of its server; empty if there is none."""
    requests: float
    """Per second. The same for ``error``, by which it may be too large, and for ``size``, its bytes."""
    error: float
    size: float
    largest: int
    """Bytes of the largest request or reply in the sample."""

    def document(self) -> dict[str, object]:
        """As JSON documents have it."""
        return {
            "key": self.key,
            "server": self.server,
            "requests_per_second": self.requests,
            "error": self.error,
            "bytes_per_second": self.size,
            "largest": self.largest,
        }


class UsedConnection(msgspec.Struct, frozen=True):
    """A connection to a server that a client uses now."""

    server: str
    """The name of the server."""
    use: Literal["shared", "private", "subscriptions"]
    """``shared`` by clients with the same settings: it has requests of this client."""
    state: str
    """A state of ``upstream.connection_states``, in lower case."""
    to_send: int
    """Requests of all its clients that are not sent yet."""
    to_send_bytes: int
    sent: int
    """Requests of all its clients that are sent and have no reply."""
    own: int
    """How many of these requests are this client's."""
    kept: bool = False
    """A private one: the client keeps it after its next reply."""
    waits_for_ever: bool = False
    """A private one: its request may take for ever."""
    topics: int = 0
    """Channels and patterns of the client for which it is used."""


class ClientWork(msgspec.Struct, frozen=True):
    """What a client waits for, and which connections to servers it uses."""

    state: str
    """A state of ``downstream.client_states``, in lower case."""
    pauses: tuple[tuple[str, str], ...]
    """Why none of its requests are taken now: names and meanings of ``client_states.PAUSES``; empty: they are taken."""
    full_server: str | None
    """The server for whose full send queue it waits; None without one."""
    connections: tuple[UsedConnection, ...] = ()
    """In the order of the servers."""


class Inspection(msgspec.Struct, frozen=True):
    """What a worker knows of a pool beside its counters."""

    pool: str
    slow: tuple[SlowRequest, ...]
    """The slow log, oldest first."""
    hot: tuple[HotKey, ...]
    """The keys with the most requests, in this order."""


class Inspected(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Inspect``."""

    number: int
    """As in ``Inspect``."""
    pools: tuple[Inspection, ...]


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Answer with ``Pong`` in the next turn of the event loop."""


class Took(msgspec.Struct, frozen=True, tag=True):
    """The supervisor has read ``Rows``."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker accepts clients."""


class Quiesced(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Quiesce``. The worker keeps serving."""


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Prepare``."""

    number: int
    """As in ``Prepare``."""
    problem: str = ""
    """Why the configuration cannot be served; empty: it can."""


class Committed(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Commit``: requests that arrive from now on go by the new configuration."""


class HandingOver(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``HandOver``: the worker accepts no more clients."""

    clients: int
    """The number of its clients."""
    problem: str = ""
    """Why the worker hands nothing over and goes on as before; empty: it hands over."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Ping``."""


class Resolve(msgspec.Struct, frozen=True, tag=True):
    """Look up a host name. The worker sends no second request for the same host and port before the answer."""

    host: str
    port: int


class HealthChanged(msgspec.Struct, frozen=True, tag=True):
    """This worker has ejected a server, or has put an ejected one back; the other workers follow."""

    pool: str
    server: str
    ejected: bool
    why: str
    """The reason, for people."""


ToWorker = (
    Start
    | Resolved
    | Prepare
    | Commit
    | Abandon
    | Peers
    | HandOver
    | TakeOver
    | TakenOver
    | SetConfigStatus
    | SetLogLevel
    | ReopenLog
    | Announce
    | Quiesce
    | Drain
    | Ping
    | Question
    | Took
    | Inspect
)
ToSupervisor = Ready | Prepared | Committed | HandingOver | Quiesced | Resolve | Pong | Rows | Inspected | HealthChanged

TO_WORKER = msgspec.msgpack.Decoder(ToWorker)
"""For the ``MessageStream`` of a worker."""
TO_SUPERVISOR = msgspec.msgpack.Decoder(ToSupervisor)
"""For the ``MessageStream`` of the supervisor."""


def event_number() -> int:
    """A number for an event of which clients are told: larger than earlier ones, also those of other proxies.

    All workers use the same one, so that a client with connections to several of them notices that it is one event.
    """
    return time.time_ns() // 1_000_000


def encode(message: msgspec.Struct) -> bytes:
    """Return the bytes of a message on the wire."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class MessageStream(Generic[Message]):
    """Splits a received byte stream into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Message]) -> None:
        """Begin a stream. ``decoder``: of its messages."""
        self._decoder = decoder
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Add received bytes; returns the messages that they complete, oldest first.

        Raises msgspec.DecodeError if the bytes are not a message: then the two ends have different versions.
        """
        self._pending += data
        messages: list[Message] = []
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            end = _LENGTH.size + length
            if len(self._pending) < end:
                break
            messages.append(self._decoder.decode(bytes(self._pending[_LENGTH.size : end])))
            del self._pending[:end]
        return messages
