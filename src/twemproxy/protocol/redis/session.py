"""The state of one client connection of a redis pool, and what the proxy offers it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

REPLY_ON, REPLY_OFF, REPLY_SKIP = range(3)
"""Whether a client wants replies; SKIP: not to its next request. ``proxy.client`` knows the values."""

RESP3 = 0x20
"""In ``expected``; ``protocol.codec`` has it for compiled code."""

SUBSCRIBES = ("subscribe", "psubscribe", "ssubscribe")
"""The commands that subscribe, which also say what kind of topic it is to."""

_NO_TOPICS: Mapping[str, dict[bytes, None]] = MappingProxyType({kind: {} for kind in SUBSCRIBES})
"""Of clients that have not subscribed to anything."""


class Reservations(Protocol):
    """A client's private connections, see ``proxy.private_connections``."""

    def reserve(
        self, server: int, profile: int, before: Sequence[bytes] = (), *, patient: bool = False, kept: bool = False
    ) -> bytes | bool:
        """Have one to a server: whether it is ready, or an error reply."""

    def awaits_replies(self) -> bool:
        """Whether what was sent last went to one, and is not answered."""

    def keep_no_longer(self) -> None:
        """All are given back with the next last reply."""

    def give_back(self, answered: bool) -> None:
        """Give those back that are not kept; all of them when not all is ``answered``."""


class Client(Protocol):
    """What is asked of a client's connection."""

    session: Any

    def number(self) -> int:
        """Tells the pool's clients apart; grows with every one."""

    def awaits_replies(self) -> bool:
        """Whether requests of its are on their way; it is flushed whenever a reply has come."""

    def description(self) -> dict[str, object]:
        """Fields of CLIENT LIST that are about the socket, in order."""

    def cut_off(self, why: str) -> None:
        """End the connection now; ``why`` is for the log."""

    def wake(self) -> None:
        """Have its next request planned again."""

    def is_blocked(self) -> bool:
        """Whether it waits for something that may take for ever."""

    def reservations(self) -> Reservations:
        """Its private connections."""


class Subscriptions(Protocol):
    """What the pool's clients have subscribed to, see ``proxy.subscriptions``."""

    def subscribe(self, client: Client, kind: str, names: Sequence[bytes]) -> bytes | bool:
        """Whether the client gets the messages now, or an error reply."""

    def unsubscribe(self, client: Client, kind: str, names: Iterable[bytes]) -> None:
        """It wants them no more."""

    def drop(self, client: Client) -> None:
        """It wants nothing more."""

    def subscribers(self, kind: str, name: bytes) -> tuple[int, int]:
        """How many clients get a topic's messages, and at how many servers it is asked for."""


class Pool(Protocol):
    """What is asked of a client's pool."""

    config: Any
    codec: Any
    refused: bytes
    """The reply when no server is live."""
    subscriptions: Subscriptions

    def clients(self) -> list[Client]:
        """Those connected now."""

    def statistics(self) -> Iterable[tuple[str, object]]:
        """Names and values of the proxy's own figures."""

    def can_use(self, profile: int, client: Client) -> bool | None:
        """Whether servers take connections of this profile; None while that is found out, see ``Codec.plan``."""

    def server_names(self) -> list[str]:
        """Names of the servers, by index."""

    def find_server(self, keys: list[bytes]) -> int:
        """The server that has all of these keys: -1 when there are several, -2 when no server is live."""

    def draws(self) -> bool:
        """Whether servers are drawn at random, so that keys say nothing about them."""

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own to any server; ``done`` gets the reply, and whether it is a server's."""

    def now(self) -> int:
        """Milliseconds of a steady clock."""


class Transaction:
    """Where a client is between WATCH or MULTI and EXEC.

    ``server``: where it takes place, None while no key has told. ``watching``: keys are watched there. ``open``: MULTI
    was sent. ``queued``: requests without keys that came before the server was known, and ``before``: what the server
    has been sent first, once it is; ``begun``: it has answered that. ``failed``: EXEC will do nothing.
    """

    __slots__ = ("before", "begun", "failed", "open", "queued", "server", "watching")

    def __init__(self) -> None:
        self.server: int | None = None
        self.watching = self.open = self.begun = self.failed = False
        self.queued: list[bytes] = []
        self.before: tuple[bytes, ...] = ()


_NO_TRANSACTION = Transaction()
"""Of clients that are in none; nothing about it ever changes."""


class Session:
    """The state of one client connection. There are many that never do anything rare: they share what says so."""

    __slots__ = (
        *(
            "authenticated",
            "client",
            "database",
            "killed",
            "library",
            "library_version",
            "name",
            "no_evict",
            "no_touch",
        ),
        *("password", "pool", "protocol", "replies", "skipping", "topics", "transaction"),
    )

    def __init__(self, pool: Pool, client: Client) -> None:
        self.pool = pool
        self.client = client
        self.password = pool.config.redis_auth.encode()
        self.killed = False
        self.library = self.library_version = b""
        self.begin()

    def begin(self) -> None:
        """As when the connection was new, but for what the client said about its library."""
        self.authenticated = not self.password
        self.name = b""
        self.replies = REPLY_ON
        self.skipping = False
        self.protocol = 2
        self.database: int = self.pool.config.redis_db
        self.no_evict = self.no_touch = False
        self.transaction = _NO_TRANSACTION
        self.topics = _NO_TOPICS

    @property
    def databases(self) -> int:
        """How many databases a client can select."""
        return int(self.pool.config.databases)

    @property
    def profile(self) -> int:
        """The profile of server connections for the client's requests."""
        return profile_of(self.protocol, self.database, self.pool.config)

    @property
    def expected(self) -> int:
        """What is expected of replies."""
        return RESP3 if self.protocol == 3 else 0

    @property
    def subscribed(self) -> bool:
        """Whether there is any topic it gets messages of."""
        return any(self.topics.values())

    def begin_transaction(self) -> Transaction:
        """The client's transaction, which from now on there is."""
        if self.transaction is _NO_TRANSACTION:
            self.transaction = Transaction()
        return self.transaction

    def end_transaction(self) -> None:
        """There is none any more."""
        self.transaction = _NO_TRANSACTION

    def add_topic(self, kind: str, name: bytes) -> None:
        """It gets the messages of this topic."""
        if self.topics is _NO_TOPICS:
            self.topics = {each: {} for each in SUBSCRIBES}
        self.topics[kind][name] = None

    @property
    def attended(self) -> bool:
        """Whether what becomes of a request depends on more than the request."""
        transaction = self.transaction
        return (
            not self.authenticated
            or transaction.open
            or transaction.watching
            or (self.protocol == 2 and self.subscribed)
        )

    @property
    def queues_to(self) -> int:
        """The server that has begun the client's transaction, -1 while there is none."""
        transaction = self.transaction
        if not (transaction.open and transaction.begun) or transaction.server is None:
            return -1
        return transaction.server

    def taken(self) -> None:
        """A planned request is on its way."""
        if self.skipping and self.replies == REPLY_SKIP:
            self.replies = REPLY_ON
        self.skipping = False

    def spoilt(self) -> None:
        """A request got an error without being looked at: it cannot be a part of a transaction."""
        self.transaction.failed = self.transaction.open

    def ended(self) -> None:
        """The client is gone."""
        self.pool.subscriptions.drop(self.client)

    @property
    def message_beginning(self) -> bytes:
        """What messages of version 2 begin with in the client's version, in the place of as many bytes."""
        return b">" if self.protocol == 3 else b"*"


def profile_of(protocol: int, database: int, config: Any) -> int:
    """The profile of connections that speak this protocol and have selected this database.

    0 is version 2 and the pool's own database. The lowest bit tells the version, the others how far the database is
    from the pool's own.
    """
    distance: int = (database - config.redis_db) % config.databases
    return distance * 2 + (protocol == 3)


def database_of(profile: int, config: Any) -> int:
    """The database that connections of a profile have selected."""
    if config.databases == 1:
        return int(config.redis_db)
    return int((config.redis_db + profile // 2) % config.databases)
