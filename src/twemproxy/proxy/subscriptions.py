"""What the clients of a pool have subscribed to: one subscription at a server serves all who want the same.

Plain Python: the work per message is that of the sockets it goes out on. A topic is a channel or a pattern. The server
of a channel is that of a key of the same name; topics of which messages may come from anywhere are asked for at every
live server. Each server has one connection for all of them.

A connection that is lost may have lost messages, so the clients that got any from it are cut off, as a server that ends
would do it; what a client asks for while a server cannot be reached gets the error. Source of the delivery rules:
redis.io, "Redis Pub/Sub".
"""

import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

PUBLISHED, CONFIRMED, ENDED, REFUSED = "published", "confirmed", "ended", "refused"
"""What a message can be: published, or the answer to a subscription or to its end."""

LOST = "it may have missed messages: the server connection for its subscriptions ended"


class Subscriber(Protocol):
    """What is asked of a client here."""

    def push(self, message: bytes, shared: Any) -> Any:
        """Send it this, between replies; see ``proxy.client``."""

    def wake(self) -> None:
        """Have its next request planned again."""

    def cut_off(self, why: str) -> None:
        """End its connection."""


class Connection(Protocol):
    """What is asked of a server connection here."""

    on_settled: Callable[[bool, bool], None] | None
    listener: Callable[[bytes], None] | None

    def write(self, data: bytes) -> None:
        """Send bytes; what comes back goes to ``listener``."""

    def abandon(self) -> None:
        """Close it."""

    def is_misplaced(self) -> bool:
        """Whether its server is elsewhere by now."""

    def give_up(self, error: int, reason: str) -> None:
        """Have it fail with this errno, for a reason that is for the log."""


Key = tuple[str, bytes]
"""The command that subscribes, which says what kind of topic it is, and the topic's name."""


class _Topic:
    """``subscribers``: whether a client gets messages already. ``unconfirmed``: how many answers each server owes."""

    __slots__ = ("key", "servers", "subscribers", "unconfirmed")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.servers: set[int] = set()
        self.subscribers: dict[Subscriber, bool] = {}
        self.unconfirmed: dict[int, int] = {}

    def is_confirmed(self) -> bool:
        """Whether every server that it is asked for at has confirmed it."""
        return self.unconfirmed.keys().isdisjoint(self.servers)


class _Asked(NamedTuple):
    """A request to a server: to subscribe to a topic, or to end that, and when the answer is overdue."""

    topic: _Topic
    subscribes: bool
    due: int

    def is_answered_by(self, what: str, key: Key) -> bool:
        """Whether a message can be the answer."""
        return what == REFUSED or (what == (CONFIRMED if self.subscribes else ENDED) and key == self.topic.key)


class _Link:
    """The connection to one server. ``asked``: in the order of the answers that are still to come."""

    __slots__ = ("asked", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.asked: deque[_Asked] = deque()


class Subscriptions:
    """Those of all clients of one pool of this worker."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``proxy.server_pool.ServerPool``, whose codec knows the messages."""
        self._pool = pool
        self._timeout: int = pool.config.timeout
        self._topics: dict[Key, _Topic] = {}
        self._of_client: dict[Subscriber, dict[Key, None]] = {}
        self._links: dict[int, _Link] = {}
        self._failed: dict[Subscriber, bytes] = {}

    # --- for clients -----------------------------------------------------------------------------------------

    def subscribe(self, client: Subscriber, kind: str, names: Sequence[bytes]) -> bytes | bool:
        """Whether the client now gets the messages of these topics; an error reply when it cannot.

        While it is False servers are still being asked: the client is woken when there is something to say.
        """
        topics = [] if client in self._failed else [self._want(client, (kind, name)) for name in names]
        if client in self._failed:
            for name in names:
                topic = self._topics.get((kind, name))
                if topic and topic.subscribers.get(client) is False:
                    self._leave(client, topic.key)
            return self._failed.pop(client)
        if not all(topic.subscribers[client] or topic.is_confirmed() for topic in topics):
            return False
        for topic in topics:
            topic.subscribers[client] = True
        return True

    def unsubscribe(self, client: Subscriber, kind: str, names: Iterable[bytes]) -> None:
        """The client wants no more messages of these topics."""
        for name in names:
            if (kind, name) in self._of_client.get(client, {}):
                self._leave(client, (kind, name))

    def drop(self, client: Subscriber) -> None:
        """The client is gone."""
        for key in list(self._of_client.get(client, {})):
            self._leave(client, key)
        self._failed.pop(client, None)

    def subscribers(self, kind: str, name: bytes) -> tuple[int, int]:
        """How many clients get the messages of a topic, and at how many servers it is asked for."""
        topic = self._topics.get((kind, name))
        return (sum(topic.subscribers.values()), len(topic.servers)) if topic else (0, 0)

    # --- topics ----------------------------------------------------------------------------------------------

    def _want(self, client: Subscriber, key: Key) -> _Topic:
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic(key)
        topic.subscribers.setdefault(client, False)
        self._of_client.setdefault(client, {})[key] = None
        if not topic.servers:
            self._ask(topic, self._servers_of(key))
        return topic

    def _servers_of(self, key: Key) -> set[int]:
        kind, name = key
        if self._pool.draws() or self._pool.codec.comes_from_anywhere(kind, name):
            return set(self._pool.live_servers())
        return {self._pool.server_of_all([name])}

    def _ask(self, topic: _Topic, servers: Iterable[int]) -> None:
        """Subscribe to a topic at these servers."""
        for server in servers:
            if self._topics.get(topic.key) is not topic:
                # One of the servers could not even be asked, and nobody wants it any more.
                return
            topic.servers.add(server)
            topic.unconfirmed[server] = topic.unconfirmed.get(server, 0) + 1
            self._send(server, topic, True, self._pool.codec.subscription(*topic.key))

    def _end(self, topic: _Topic, servers: Iterable[int]) -> None:
        """Unsubscribe from a topic at these servers."""
        for server in servers:
            topic.servers.discard(server)
            if server in self._links:
                self._send(server, topic, False, self._pool.codec.unsubscription(*topic.key))

    def _leave(self, client: Subscriber, key: Key) -> None:
        topic = self._topics[key]
        del topic.subscribers[client]
        del self._of_client[client][key]
        if not self._of_client[client]:
            del self._of_client[client]
        if not topic.subscribers:
            del self._topics[key]
            self._end(topic, list(topic.servers))
            if not self._topics:
                self._close_links()

    def rebalance(self) -> None:
        """Keys may have changed their servers: move the topics whose server is another one now."""
        for topic in list(self._topics.values()):
            servers = self._servers_of(topic.key)
            if topic.servers and topic.servers != servers:
                former = topic.servers - servers
                self._ask(topic, servers - topic.servers)
                self._end(topic, former)
                if topic.is_confirmed():
                    _wake_waiting(topic)

    # --- servers ---------------------------------------------------------------------------------------------

    def _send(self, server: int, topic: _Topic, subscribes: bool, request: bytes) -> None:
        link = self._links.get(server)
        if link is None:
            link = self._links[server] = _Link(self._pool.open_extra(server, 0))
            link.connection.listener = lambda message: self._came(server, message)
            link.connection.on_settled = lambda ready, _: None if ready else self._lost(server)
        due = self._pool.now() + self._timeout
        link.asked.append(_Asked(topic, subscribes, due))
        if self._timeout:
            self._pool.look_by(due)
        link.connection.write(request)

    def expire(self, now: int) -> int | None:
        """Give up connections with overdue answers; gives the moment to look again, if there is one."""
        if not self._timeout:
            return None
        for server, link in list(self._links.items()):
            if self._links.get(server) is link and link.asked and link.asked[0].due <= now:
                link.connection.give_up(errno.ETIMEDOUT, "")
        return min((link.asked[0].due for link in self._links.values() if link.asked), default=None)

    def _close_links(self) -> None:
        """Nobody wants anything any more."""
        for link in self._links.values():
            link.connection.abandon()
            self._pool.drop_extra(link.connection)
        self._links.clear()

    def _came(self, server: int, message: bytes) -> None:
        """A message of a server: something published, or the answer to what it was asked."""
        link = self._links[server]
        try:
            what, kind, name = self._pool.codec.read_message(message)
        except ValueError:
            what, kind, name = "", "", b""
        if what == PUBLISHED:
            self._publish((kind, name), message)
            return
        if not link.asked or not link.asked[0].is_answered_by(what, (kind, name)):
            link.connection.give_up(errno.EINVAL, "its message answers nothing that it was asked")
            return
        topic, subscribes, _ = link.asked.popleft()
        if not subscribes:
            return
        topic.unconfirmed[server] -= 1
        if not topic.unconfirmed[server]:
            del topic.unconfirmed[server]
        if what == REFUSED and server in topic.servers:
            self._fail(topic, message, REFUSED)
        elif topic.is_confirmed():
            _wake_waiting(topic)

    def _publish(self, key: Key, message: bytes) -> None:
        topic = self._topics.get(key)
        shared = None
        if topic:
            for client in [client for client, active in topic.subscribers.items() if active]:
                shared = client.push(message, shared)

    def _lost(self, server: int) -> None:
        """The connection to a server has ended, or could not be made."""
        topics = self._drop_link(server)
        name = self._pool.server_names()[server]
        error = self._pool.error(f"no connection to server '{name}' for subscriptions")
        for topic in topics:
            self._fail(topic, error, LOST)

    def follow_servers(self) -> None:
        """Leave connections the servers of which are elsewhere by now, and subscribe there to what is still wanted."""
        for server, link in list(self._links.items()):
            if self._links.get(server) is link and link.connection.is_misplaced():
                link.connection.abandon()
                topics = self._drop_link(server)
                for topic in topics:
                    _cut_off(topic, LOST)
                for topic in topics:
                    self._ask(topic, [server])

    def _drop_link(self, server: int) -> list[_Topic]:
        """The connection is closed: nothing is subscribed to there. Gives the topics that were."""
        self._pool.drop_extra(self._links.pop(server).connection)
        topics = [topic for topic in self._topics.values() if server in topic.servers]
        for topic in self._topics.values():
            topic.unconfirmed.pop(server, None)
            topic.servers.discard(server)
        return topics

    def _fail(self, topic: _Topic, error: bytes, why: str) -> None:
        """A topic cannot be had: who waits for it gets the error, who has had it is cut off."""
        for client in _waiting(topic):
            self._failed[client] = error
            self._leave(client, topic.key)
            client.wake()
        _cut_off(topic, why)


def _waiting(topic: _Topic) -> list[Subscriber]:
    """The clients that have asked for a topic and do not get its messages yet."""
    return [client for client, active in topic.subscribers.items() if not active]


def _cut_off(topic: _Topic, why: str) -> None:
    """End the connections of the clients that get the messages of a topic."""
    for client in [client for client, active in topic.subscribers.items() if active]:
        client.cut_off(why)


def _wake_waiting(topic: _Topic) -> None:
    for client in _waiting(topic):
        client.wake()
