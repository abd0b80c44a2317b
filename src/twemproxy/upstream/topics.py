"""The data of ``upstream.pubsub``: topics, their requests and subscribers, and the server connections for them.

Compiled-only. There may be millions of topics, most of them with one subscriber at one server. So the garbage collector
does not track topics, and topics share tuples: ``singleton`` is an object's tuple with only itself, for all topics of
this object.
"""

from collections import deque

import cython
from cython.cimports.cpython.bytes import PyBytes_GET_SIZE
from cython.cimports.cpython.list import PyList_GET_SIZE
from cython.cimports.cpython.tuple import PyTuple_GET_SIZE

LOST = "the server connection for its subscriptions ended, so it may have missed messages"

CHANNEL, PATTERN = "subscribe", "psubscribe"
"""Kinds of topics: a message on a channel also goes to the patterns that match the channel's name."""

MOST_COPIES = 10_000
"""Most messages of which copies are recognized."""

MOST_UNCONFIRMED = 4000
"""Unconfirmed topics that one request may have."""

# Dictionaries per kind of topics, a power of two.
SHARDS = cython.declare(cython.Py_ssize_t, 64)
# Low bits of a name's hash that do not choose the dictionary, because the dictionary itself uses them.
SHARD_SHIFT = cython.declare(cython.int, 40)
# Estimated bytes of a topic without its name, and of a client's subscription: objects and dictionary entries.
TOPIC_BYTES = cython.declare(cython.Py_ssize_t, 168)
SUBSCRIPTION_BYTES = cython.declare(cython.Py_ssize_t, 128)


@cython.final
@cython.cclass
class Subscriber:
    """A client that has subscribed to topics. ``client``: None after it was closed, while its topics are released.

    ``held``: bytes of its subscriptions and their topics.
    """

    def __init__(self, client) -> None:
        """``client``: a ``downstream.client.ClientConnection``; ``push``, ``wake`` and ``abort`` are used."""
        self.client = client


@cython.final
@cython.no_gc
@cython.cclass
class Topic:
    """A channel or a pattern that clients want.

    ``links``: the links of its subscriptions at servers. ``former``: those where it was before, which stay until the
    servers of all ``links`` have confirmed the topic. ``left``: former ones with a twin in ``links``, from which
    messages may still come. ``is_moving``: it has subscribers, and the move is not complete; ``is_missing``: meanwhile
    a message that is published where it is now may be missed, or be received twice.

    ``unanswered``: the links whose servers have not confirmed a subscription, including links that are no longer in
    ``links``. ``requests``: the requests that wait for it.

    ``subscriber``: the client that gets its messages; once it has had two at a time, ``subscribers`` has all of them.

    The garbage collector does not track topics: an object that refers to a topic, and to which a topic refers, must
    drop its reference when it ends.
    """

    def __init__(self, kind: str, name: bytes, links: tuple) -> None:
        """``kind``: the name of the command that subscribes to it."""
        self.kind = kind
        self.name = name
        self.links = links
        self.former = self.left = ()
        self.unanswered = ()
        self.requests = ()

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_confirmed(self) -> cython.bint:
        """Whether the servers of all its links have confirmed the topic."""
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        for i in range(PyTuple_GET_SIZE(self.unanswered)):
            for j in range(PyTuple_GET_SIZE(self.links)):
                if self.unanswered[i] is self.links[j]:
                    return False
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_lost(self) -> cython.bint:
        """Whether one of the topic's links is lost."""
        i: cython.Py_ssize_t
        lost: cython.bint = False
        for i in range(PyTuple_GET_SIZE(self.links)):
            lost = lost or cython.cast(Link, self.links[i]).is_lost
        return lost

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_wanted(self) -> cython.bint:
        """Whether the topic has a subscriber or a request."""
        if self.subscriber is not None or PyTuple_GET_SIZE(self.requests) > 0:
            return True
        return self.subscribers is not None and len(self.subscribers) > 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has(self, subscriber: Subscriber) -> cython.bint:
        """Whether this subscriber, which may be None, gets the topic's messages."""
        if self.subscribers is not None:
            return subscriber in self.subscribers
        return subscriber is not None and subscriber is self.subscriber

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self, subscriber: Subscriber) -> cython.int:
        """Add a subscriber; returns whether it is new."""
        if self.subscribers is not None:
            if subscriber in self.subscribers:
                return 0
            self.subscribers[subscriber] = None
        elif self.subscriber is subscriber:
            return 0
        elif self.subscriber is None:
            self.subscriber = subscriber
        else:
            self.subscribers = {self.subscriber: None, subscriber: None}
            self.subscriber = None
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def remove(self, subscriber: Subscriber) -> cython.int:
        """Remove a subscriber; returns whether it was one."""
        if self.subscribers is not None:
            if subscriber not in self.subscribers:
                return 0
            del self.subscribers[subscriber]
        elif self.subscriber is not subscriber:
            return 0
        self.subscriber = None
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_request(self, request) -> cython.int:
        """Remove a request that waits for the topic."""
        if PyTuple_GET_SIZE(self.requests) == 1 and self.requests[0] is request:
            self.requests = ()
        elif PyTuple_GET_SIZE(self.requests) > 0:
            self.requests = tuple([other for other in self.requests if other is not request])
        return 0

    @cython.cfunc
    def clients(self) -> list:
        """The clients that get the topic's messages."""
        subscriber: Subscriber = self.subscriber
        clients: list = []
        if self.subscribers is not None:
            for subscriber in self.subscribers:
                if subscriber.client is not None:
                    clients.append(subscriber.client)
        elif subscriber is not None and subscriber.client is not None:
            clients.append(subscriber.client)
        return clients

    @cython.cfunc
    @cython.exceptval(check=False)
    def n_subscribers(self) -> cython.Py_ssize_t:
        """The number of subscribers, including closed clients."""
        if self.subscribers is not None:
            return len(self.subscribers)
        return self.subscriber is not None

    @cython.cfunc
    @cython.exceptval(check=False)
    def size(self) -> cython.Py_ssize_t:
        """Bytes of the topic, without its subscriptions."""
        return TOPIC_BYTES + PyBytes_GET_SIZE(self.name)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def misses_from(self, link: Link) -> cython.bint:
        """Whether a message that is published where one of ``links`` leads may be missed, or be received twice."""
        return link in self.unanswered or link.twin_in((*self.former, *self.left)) is not None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def misses_at(self, server) -> cython.bint:
        """Whether that is so for a message that is published at this server."""
        link: Link
        for link in self.links:
            if link.server is server:
                return self.misses_from(link)
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def misses(self) -> cython.bint:
        """Whether that is so for any of ``links``."""
        link: Link
        missing: cython.bint = False
        for link in self.links:
            missing = missing or self.misses_from(link)
        return missing


@cython.final
@cython.cclass
class TopicTable:
    """The topics of one kind by name, in many small dictionaries: a large one would take long to grow."""

    def __init__(self) -> None:
        self.shards = [{} for _ in range(SHARDS)]

    @cython.cfunc
    def shard(self, name: bytes) -> dict:
        """The dictionary for a name."""
        return self.shards[(hash(name) >> SHARD_SHIFT) & (SHARDS - 1)]

    @cython.cfunc
    def find(self, name: bytes) -> Topic:
        """The topic of this name, None without one."""
        return self.shard(name).get(name)


@cython.final
@cython.cclass
class Batch:
    """A request to a server: subscribe to topics of one kind, or unsubscribe. ``answered``: number of answered topics.

    ``head``: the beginning of each answer; set when the request is written. ``waiting``: the requests to unsubscribe
    that wait for the last answer.
    """

    def __init__(self, kind: str, subscribes: bool) -> None:
        self.kind = kind
        self.subscribes = subscribes
        self.topics = []
        self.waiting = ()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end(self) -> cython.int:
        """The server has given its last answer, or never will."""
        request: UnsubscribeRequest
        waiting: tuple = self.waiting
        self.waiting = ()
        for request in waiting:
            request.confirm()
        return 0


@cython.final
@cython.cclass
class Link:
    """The connection to one server for all topics there.

    ``batches``: the requests without a complete answer, in order; the last ``unsent`` ones are not written yet.
    ``asked``: number of unanswered topics in the written ones. ``held``: bytes of topics that are being unsubscribed.
    ``heard_at``: the time of the last answer, or of writing the oldest request if that is later. ``timer``: armed while
    the server owes an answer. ``is_lost``: the connection is closed; then ``error`` is the error reply for requests
    that wait for its topics, empty if they are subscribed to at other links.

    ``kept``: number of topics whose ``former`` has the link. ``is_confirmed``: some topic was confirmed.
    ``is_replaced``: another link leads to the present address of the server.
    """

    def __init__(self, server, connection) -> None:
        """``server``: a ``upstream.server.Server``. ``connection``: a ``ServerConnection`` with a ``listener``."""
        self.server = server
        self.connection = connection
        self.singleton = (self,)
        self.batches = deque()
        self.error = b""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self, topic: Topic, subscribes: cython.bint, most: cython.Py_ssize_t) -> cython.int:
        """Add a topic to the next request to the server; a request has up to ``most`` topics."""
        last: Batch = self.batches[len(self.batches) - 1] if self.unsent else None
        if (
            last is None
            or last.kind != topic.kind
            or last.subscribes != subscribes
            or PyList_GET_SIZE(last.topics) >= most
        ):
            last = Batch(topic.kind, subscribes)
            self.batches.append(last)
            self.unsent += 1
        last.topics.append(topic)
        if subscribes:
            topic.unanswered = topic.unanswered + self.singleton if topic.unanswered else self.singleton
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answered(self, topic: Topic) -> cython.int:
        """The server has answered one subscription of the topic."""
        if topic.unanswered is self.singleton:
            topic.unanswered = ()
        else:
            place: cython.Py_ssize_t = topic.unanswered.index(self)
            topic.unanswered = topic.unanswered[:place] + topic.unanswered[place + 1 :]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, topic: Topic) -> cython.int:
        """Remove the link from the topic's ``unanswered``."""
        if topic.unanswered:
            topic.unanswered = tuple([link for link in topic.unanswered if link is not self])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_twin(self, other: Link) -> cython.bint:
        """Whether this link and another one may get the same messages.

        They lead to one address, or to a former and the present one of a server: one may be a replica of the other.
        """
        if self.server is other.server:
            return True
        return self.connection.candidate is not None and self.connection.candidate == other.connection.candidate

    @cython.cfunc
    def twin_in(self, links: tuple) -> Link:
        """The first twin in ``links``, None without one."""
        link: Link
        for link in links:
            if self.is_twin(link):
                return link
        return None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lose(self, error: bytes) -> cython.int:
        """Mark the link as lost; its requests are dropped."""
        batch: Batch
        batches: list = list(self.batches)
        self.is_lost = True
        self.error = error
        self.batches.clear()
        self.unsent = self.asked = self.held = 0
        for batch in batches:
            batch.end()
        return 0


@cython.final
@cython.cclass
class Copies:
    """Messages on topics that move from a server to its twin, which may be its replica: both send them.

    ``balances``: by a message's hash, how many times it has come from present links more often than from former ones;
    negative if less often.
    """

    def __init__(self) -> None:
        self.balances = {}

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_copy(self, link: Link, topic: Topic, message: bytes) -> cython.bint:
        """Whether the message was received already from a twin of the link, while a topic is subscribed to at both."""
        former: tuple = (*topic.left, *topic.former)
        sent: cython.int = 1 if link in topic.links else -1
        balance: cython.Py_ssize_t
        if link.twin_in(former if sent == 1 else topic.links) is None:
            return False
        key = hash(message)
        balance = self.balances.pop(key, 0)
        if balance + sent != 0:
            if len(self.balances) >= MOST_COPIES:
                self.balances.clear()
            self.balances[key] = balance + sent
        return balance * sent < 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def clear(self) -> cython.void:
        """No topic moves any more."""
        self.balances.clear()


@cython.final
@cython.cclass
class Published:
    """Counts the messages of this worker that servers have not answered: ``now``, by the present ``routes``;
    ``before``, by former ones. ``routes``: counts route tables.
    """

    @cython.cfunc
    @cython.exceptval(check=False)
    def begin(self) -> cython.uint:
        """A message is published; returns the argument of ``end``."""
        self.now += 1
        return self.routes

    @cython.cfunc
    @cython.exceptval(check=False)
    def end(self, routes: cython.uint) -> cython.void:
        """The server has answered a message, or never will."""
        if routes == self.routes:
            self.now -= 1
        else:
            self.before -= 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def change_routes(self) -> cython.void:
        """There is another route table."""
        self.routes += 1
        self.before += self.now
        self.now = 0


@cython.final
@cython.cclass
class TopicRequest:
    """A client's request to subscribe to topics of one kind, until it is confirmed or has failed.

    A request asks for all topics (``ask``) before it takes the first one (``take``), so the client gets either all
    confirmations or none. ``error``: the error reply if it has failed. ``topics``: in the order of the request; the
    first ``taken`` of them are taken. ``held``: bytes that they may take. ``ahead``: number of topics that are not
    confirmed; the client is woken when it has fallen to ``enough``.
    """

    def __init__(self, subscriptions, client, kind: str) -> None:
        """``subscriptions``: ``upstream.pubsub.Subscriptions``. ``client``, ``kind``: see there."""
        self.subscriptions = subscriptions
        self.topics = []
        self.singleton = (self,)
        self.client = client
        self.kind = kind
        self.error = b""

    def ask(self, names: list) -> None:
        """Subscribe to these topics at servers, unless that is done already."""
        self.subscriptions.want(self, names)

    def may_ask(self) -> bool:
        """Whether the request may ask for more topics; if not, the client is woken when it may."""
        self.enough = MOST_UNCONFIRMED // 2
        return self.ahead <= MOST_UNCONFIRMED or self.error != b""

    def is_answered(self) -> bool:
        """Whether all topics are confirmed or the request has failed; if not, the client is woken when that is so."""
        self.enough = 0
        return self.ahead == 0 or self.error != b""

    def take(self, most: int) -> list:
        """Subscribe the client to up to ``most`` of the next topics; returns their names, none at the end.

        The client may keep the names: they are the topics' own objects, so they take no memory.
        """
        return self.subscriptions.take(self, most)

    def end(self) -> None:
        """End the request; topics that it has not taken are released."""
        topics: list = self.topics[self.taken :]
        self.topics = []
        self.taken = 0
        if topics:
            self.subscriptions.release(self, topics)
        else:
            self.singleton = ()

    # --- for the subscriptions -----------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lose_confirmation(self) -> cython.int:
        """A topic of the request has moved to a server that has not confirmed the topic."""
        self.ahead += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def confirm(self) -> cython.int:
        """A topic of the request is confirmed."""
        self.ahead -= 1
        if self.ahead == self.enough:
            self.client.wake()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, error: bytes) -> cython.int:
        """A topic of the request has failed."""
        if self.error:
            return 0
        self.error = error
        if self.taken:
            self.client.abort(LOST)
        else:
            self.client.wake()
        return 0


@cython.final
@cython.cclass
class UnsubscribeRequest:
    """A client's request to unsubscribe from topics of one kind, until the servers have confirmed.

    A server that still counts the subscription would count it in the reply to a PUBLISH that the client sends after its
    confirmation. ``ahead``: number of requests to servers without a complete answer.
    """

    def __init__(self, subscriptions, client, kind: str) -> None:
        """``subscriptions``: ``upstream.pubsub.Subscriptions``. ``client``, ``kind``: see there."""
        self.subscriptions = subscriptions
        self.client = client
        self.kind = kind

    def ask(self, names: list) -> None:
        """Unsubscribe the client from these topics, which should be few."""
        self.subscriptions.unsubscribe(self, names)

    def is_answered(self) -> bool:
        """Whether the servers have confirmed; if not, the client is woken when that is so."""
        return self.ahead == 0

    def end(self) -> None:
        """End the request: its client is not woken any more."""
        self.client = None

    # --- for the subscriptions -----------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait_for(self, batch: Batch) -> cython.int:
        """Wait for the answers to a request to a server."""
        if self not in batch.waiting:
            batch.waiting = (*batch.waiting, self)
            self.ahead += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def confirm(self) -> cython.int:
        """The answers to a request to a server are complete."""
        self.ahead -= 1
        if self.ahead == 0 and self.client is not None:
            self.client.wake()
        return 0
