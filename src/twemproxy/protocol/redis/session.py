"""The state of one client connection of a redis pool, and the parts of the proxy that it uses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from twemproxy.protocol.other_workers import OtherWorkers
from twemproxy.protocol.plan import Server

REPLY_ON, REPLY_OFF, REPLY_SKIP = range(3)
"""The replies that a client wants; SKIP: not the next one. ``downstream.client`` uses the values."""

RESP3_PROFILE, SCRIPTS_PROFILE = 1, 2
"""Bits of a profile: connections with version 3 of the protocol; connections for clients that run scripts."""

RESP3 = 0x20
"""In ``expected``; ``protocol.request`` has it for compiled code."""

MOST_WRONG_PASSWORDS = 10
"""The number of wrong passwords in a row after which the connection closes."""

SUBSCRIBES = ("subscribe", "psubscribe", "ssubscribe")
"""The commands that subscribe; each is also the name of the kind of its topics."""

_NO_TOPICS: Mapping[str, dict[bytes, None]] = MappingProxyType({kind: {} for kind in SUBSCRIBES})
"""The topics of all clients without a subscription."""


class Reservations(Protocol):
    """A client's private connections, see ``upstream.private_connections``."""

    def reserve(
        self,
        server: Server,
        profile: int,
        before: Sequence[bytes] = (),
        *,
        patient: bool = False,
        kept: bool = False,
        selects: bool = True,
    ) -> bytes | bool:
        """Reserve one to a server: whether it is ready, or an error reply."""

    def awaits_replies(self) -> bool:
        """Whether the last request went to a private connection and has no reply yet."""

    def is_stale(self, server: Server) -> bool:
        """Whether the connection to a server leads to an address that the server has left."""

    def blocked_at(self) -> tuple[Server, bytes] | None:
        """The server with a request that may take for ever, and its reply to CLIENT ID on that connection."""

    def keep_no_longer(self) -> None:
        """The client keeps no connection after the next reply."""

    def release(self, answered: bool) -> None:
        """Give back the connections that the client does not keep; all of them if not ``answered``."""

    def taint(self) -> None:
        """From now on the client may decide the text of replies on its connections."""


class Client(Protocol):
    """The part of ``downstream.client.ClientConnection`` that is used here."""

    session: Any

    def number(self) -> int:
        """The client's number: unique among the clients of a pool, larger than all earlier ones."""

    def awaits_replies(self) -> bool:
        """Whether requests of the client have no reply yet; the client is flushed after each reply."""

    def description(self) -> dict[str, object]:
        """Fields of CLIENT LIST that are about the socket, in order."""

    def abort(self, why: str) -> None:
        """Close the connection at the end of the turn; ``why``: the reason for the log."""

    def wake(self) -> None:
        """Have the client's next request planned again."""

    def is_confined(self) -> bool:
        """Whether the client has yet to authenticate."""

    def is_blocked(self) -> bool:
        """Whether the client waits for a reply that may never arrive."""

    def reservations(self) -> Reservations:
        """The client's private connections."""


class TopicRequest(Protocol):
    """A request for topics, see ``upstream.pubsub``."""

    error: bytes

    def ask(self, names: list[bytes]) -> None:
        """Subscribe to these topics at servers."""

    def may_ask(self) -> bool:
        """Whether the request may ask for more topics; if not, the client is woken when it may."""

    def is_answered(self) -> bool:
        """Whether all topics are confirmed or the request has failed; if not, the client is woken when that is so."""

    def take(self, most: int) -> list[bytes]:
        """Subscribe the client to up to ``most`` of the next topics; returns their names, none at the end."""

    def end(self) -> None:
        """End the request; topics that it has not taken are released."""


class UnsubscribeRequest(Protocol):
    """A request to unsubscribe from topics, see ``upstream.pubsub``."""

    def ask(self, names: list[bytes]) -> None:
        """Unsubscribe the client from these topics, which should be few."""

    def is_answered(self) -> bool:
        """Whether the servers have confirmed; if not, the client is woken when that is so."""

    def end(self) -> None:
        """End the request: its client is not woken any more."""


class Subscriptions(Protocol):
    """The subscriptions of the pool's clients, see ``upstream.pubsub``."""

    def begin(self, client: Client, kind: str) -> TopicRequest:
        """A client's request for topics of a kind, without topics yet."""

    def begin_unsubscribe(self, client: Client, kind: str) -> UnsubscribeRequest:
        """A client's request to unsubscribe from topics of a kind, without topics yet."""

    def drop(self, client: Client, topics: Mapping[str, dict[bytes, None]]) -> None:
        """Unsubscribe the client from everything; ``topics``: all its topics by kind, which are removed from it."""

    def subscribers(self, kind: str, name: bytes) -> tuple[int, int]:
        """(clients that get a topic's messages, servers that have confirmed the topic)."""

    agreement: Any
    """A ``upstream.agreement.Agreement``."""


class Pool(Protocol):
    """The part of ``upstream.server_pool.ServerPool`` that is used here."""

    config: Any
    codec: Any
    refused: bytes
    """The reply when no server is live."""
    subscriptions: Subscriptions
    others: OtherWorkers
    """The pool in other workers."""
    slow_log: Any
    """A ``proxy.slow_log.SlowLog``."""

    @property
    def routes(self) -> object:
        """What determines the servers of keys: another object when keys may have moved."""

    def clients(self) -> list[Client]:
        """The connected clients of this worker."""

    def statistics(self) -> Iterable[tuple[str, object]]:
        """(name, value) of the proxy's own figures."""

    def can_use(self, profile: int, client: Client) -> bool | None:
        """Whether servers accept a profile; None while this is being tested, see ``Codec.plan``."""

    @property
    def servers(self) -> Sequence[Server]:
        """The servers, in the order of the configuration."""

    def is_open(self) -> bool:
        """Whether requests can be routed; if not, ``refused`` is the reply."""

    def any_server(self) -> Server:
        """A server for requests that any server can answer: a live one, if there is one."""

    def server_of(self, key: bytes) -> Server:
        """The server that has this key."""

    def server_of_all(self, keys: list[bytes]) -> Server | None:
        """The server that has all of these keys, None if they are on several servers; any server without keys."""

    def is_random(self) -> bool:
        """Whether the distribution is ``random``: a key has no server of its own."""

    def has_keys_as_in(self, routes: object) -> bool:
        """Whether each key has the server that it had in former ``routes``."""

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own to any server; ``done`` gets the reply, and whether it is a server's."""

    poll: Any
    """Sends requests to every server, see ``upstream.server_poll``."""

    def may_be_busy(self) -> bool:
        """Whether the only server may be busy with a client's script; False in a pool of several servers."""

    def connects(self) -> int:
        """How many connections to servers have been opened."""

    def now(self) -> int:
        """Microseconds of a steady clock."""

    def tell_guesses(self, address: str, count: int) -> None:
        """Log that a client is closed after ``count`` wrong passwords."""


MOST_KEYS = 1000
"""Most keys of a transaction that are known."""

MOST_KEY_BYTES = 64 * 1024
"""Most bytes of the known keys of a transaction."""


class Transaction:
    """A client's state from WATCH or MULTI to EXEC.

    ``server``: the server of the transaction, None before the first key. ``watching``: keys are watched there.
    ``open``: MULTI was sent. ``queued``: requests without keys that were sent before the server was known. ``before``:
    the first requests to the server, once it is known; ``begun``: the server has answered them. ``failed``: EXEC will
    do nothing. ``lapsed``: EXEC will do nothing either, because the client was silent for so long that its connection
    was given up, or because watched keys have moved. ``moved``: EXEC will do nothing, because keys have moved.

    ``keys``: the keys that were watched or queued, None if they are not known. ``routes``: the pool's routes when
    ``server`` was last found to have these keys.
    """

    __slots__ = (
        *("before", "begun", "failed", "key_bytes", "keys", "lapsed", "moved", "open", "queued", "routes", "server"),
        "watching",
    )

    def __init__(self) -> None:
        self.server: Server | None = None
        self.watching = self.open = self.begun = self.failed = self.lapsed = self.moved = False
        self.queued: list[bytes] = []
        self.before: tuple[bytes, ...] = ()
        self.routes: object = None
        self.keys: set[bytes] | None = set()
        self.key_bytes = 0

    def remember(self, keys: Iterable[bytes] | None) -> None:
        """Add keys that are watched or queued, None if they are not known; too many keys are not known either."""
        if keys is None or self.keys is None:
            self.keys = None
            return
        for key in keys:
            if key not in self.keys:
                self.keys.add(key)
                self.key_bytes += len(key)
        if len(self.keys) > MOST_KEYS or self.key_bytes > MOST_KEY_BYTES:
            self.keys = None


_NO_TRANSACTION = Transaction()
"""The transaction of all clients without one; it never changes."""


_MOVED = (
    *("authenticated", "database", "endpoint_type", "library", "library_version", "name", "no_evict", "no_touch"),
    *("protocol", "replies", "scripts", "skips_reply", "wrong_passwords"),
)
"""The fields of a session that a hand-over keeps."""


class Session:
    """The state of one client connection. Clients without subscriptions or transactions share the objects for them.

    ``scripts``: the client has run scripts, so its requests go to connections of a profile for that. ``subcommand``:
    the full name of the last planned sub-command. ``endpoint_type``: what the client wants to be told when it has to
    connect again, see ``maintenance``; empty: nothing.
    """

    __slots__ = (
        *(
            "authenticated",
            "client",
            "database",
            "endpoint_type",
            "killed",
            "library",
            "library_version",
            "name",
            "no_evict",
            "no_touch",
        ),
        *(
            "pool",
            "protocol",
            "replies",
            "scripts",
            "skips_reply",
            "subcommand",
            "topics",
            "transaction",
            "wrong_passwords",
        ),
    )

    def __init__(self, pool: Pool, client: Client) -> None:
        self.pool = pool
        self.client = client
        self.killed = False
        self.wrong_passwords = 0
        self.library = self.library_version = b""
        self.subcommand = ""
        self.begin()
        # A client that came before the pool had a password needs none, as in redis.
        self.authenticated = not client.is_confined()

    def begin(self) -> None:
        """Set the state of a new connection, except for the name and version of the client's library."""
        self.authenticated = not self.password
        self.name = b""
        self.replies = REPLY_ON
        self.skips_reply = False
        self.protocol = 2
        self.database: int = self.pool.config.redis_db
        self.no_evict = self.no_touch = False
        self.endpoint_type = b""
        self.scripts = False
        self.transaction = _NO_TRANSACTION
        self.topics = _NO_TOPICS

    @property
    def password(self) -> bytes:
        """The password of the pool, empty for none."""
        return bytes(self.pool.config.redis_auth.encode())

    @property
    def databases(self) -> int:
        """How many databases a client can select."""
        return int(self.pool.config.databases)

    @property
    def profile(self) -> int:
        """The profile of server connections for the client's requests."""
        return profile_of(self.protocol, self.database, self.scripts, self.pool.config)

    @property
    def expected(self) -> int:
        """The session's part of ``Request.expected``."""
        return RESP3 if self.protocol == 3 else 0

    @property
    def subscribed(self) -> bool:
        """Whether the client has any subscription."""
        return any(self.topics.values())

    @property
    def can_move(self) -> bool:
        """Whether the client has neither a transaction nor a subscription, so that it can go on in another process."""
        return self.transaction is _NO_TRANSACTION and not self.subscribed and not self.killed

    def state(self) -> dict[str, Any]:
        """What another process needs to go on with the client, while ``can_move``: built-in objects only."""
        return {name: getattr(self, name) for name in _MOVED}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the ``state`` of a session in another process, whose version may lack some fields."""
        for name in _MOVED:
            if name in state:
                setattr(self, name, state[name])

    def begin_transaction(self) -> Transaction:
        """The client's transaction, started if there is none."""
        if self.transaction is _NO_TRANSACTION:
            self.transaction = Transaction()
        return self.transaction

    def end_transaction(self) -> None:
        """End the client's transaction."""
        self.transaction = _NO_TRANSACTION

    def topics_of(self, kind: str) -> dict[bytes, None]:
        """The client's topics of a kind, which may be changed."""
        if self.topics is _NO_TOPICS:
            self.topics = {each: {} for each in SUBSCRIBES}
        return self.topics[kind]

    @property
    def needs_planning(self) -> bool:
        """Whether the plan for a request depends on the session's state."""
        transaction = self.transaction
        return (
            not self.authenticated
            or transaction.open
            or transaction.watching
            or (self.protocol == 2 and self.subscribed)
        )

    def count_wrong_password(self) -> None:
        """Count a wrong password; if there are too many, log that."""
        self.wrong_passwords += 1
        if self.guesses:
            address = str(self.client.description()["addr"])
            self.pool.tell_guesses(address, self.wrong_passwords)

    @property
    def guesses(self) -> bool:
        """Whether the connection closes because of wrong passwords."""
        return self.wrong_passwords >= MOST_WRONG_PASSWORDS

    @property
    def transaction_server(self) -> Server | None:
        """The server that has begun the client's transaction, None without one."""
        transaction = self.transaction
        return transaction.server if transaction.open and transaction.begun and not transaction.lapsed else None

    def on_dispatched(self) -> None:
        """A planned request was sent or answered."""
        if self.skips_reply and self.replies == REPLY_SKIP:
            self.replies = REPLY_ON
        self.skips_reply = False

    def on_rejected(self) -> None:
        """A request got an error without a plan: an open transaction fails."""
        self.transaction.failed = self.transaction.open

    def lapsed(self) -> None:
        """The client was silent for too long, so its private connection was given up, with its transaction."""
        if self.transaction is not _NO_TRANSACTION:
            self.transaction.lapsed = True

    def on_close(self) -> None:
        """The client is closed."""
        self.pool.subscriptions.drop(self.client, self.topics)

    @property
    def message_beginning(self) -> bytes:
        """The first byte of messages in the client's version of the protocol."""
        return b">" if self.protocol == 3 else b"*"


def profile_of(protocol: int, database: int, scripts: bool, config: Any) -> int:
    """The profile of connections with this version of the protocol and this database.

    0 is version 2 and the pool's own database. ``scripts``: for clients that run scripts, see ``upstream.fenced``. The
    bits above RESP3_PROFILE and SCRIPTS_PROFILE are the distance of the database from the pool's own.
    """
    distance: int = (database - config.redis_db) % config.databases
    return distance * 4 + scripts * SCRIPTS_PROFILE + (protocol == 3) * RESP3_PROFILE


def database_of(profile: int, config: Any) -> int:
    """The database of connections with this profile."""
    if config.databases == 1:
        return int(config.redis_db)
    return int((config.redis_db + profile // 4) % config.databases)
