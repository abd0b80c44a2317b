"""The subscriptions of a pool's clients: one subscription at a server serves all clients of a topic.

Compiled-only. A topic is a channel or a pattern. A channel belongs to the server of the key of the same name; topics
whose messages may come from any server are subscribed to at every live server. Each server has one connection for all
topics.

A connection that fails may have lost messages, so the clients that got messages from it are closed, as a server that
stops closes its clients; requests for topics of an unreachable server get an error. Source of the delivery rules:
redis.io, "Redis Pub/Sub".

A topic moves when its key has another server, or its server another address. It stays subscribed to where it was until
its new server has confirmed it. A PUBLISH to the new server waits until then (``holds_back``), because it would arrive
before the subscription. After a move to another address, or to another name of the same address, it also waits until
the end of the former subscription is confirmed, so that no client gets the message twice: from the server and its
replica, or from two connections to one server. Copies of messages of other publishers are dropped (``is_copy``).
A copy may be on its way from the new server when the former one confirms that; so the topic is subscribed to once more,
and the move is complete when the new server has confirmed that.

One request may name any number of topics, and one connection may have any number. So no step here handles all of them
at once: a request takes its topics in pieces (``TopicRequest``), with up to ``MOST_UNCONFIRMED`` topics unconfirmed at
a time, and work on many topics is a *chore*; ``do_chores`` processes ``PIECE`` topics of them per turn of the event
loop.

Clients can make the memory for topics and subscriptions grow, so all of it is reported to the pool
(``count_subscriptions``), and a request fails if there is no room for it (``may_subscribe``).
"""

import errno
from collections import deque
from functools import partial

import cython
from cython.cimports.cpython.bytes import PyBytes_GET_SIZE
from cython.cimports.cpython.list import PyList_GET_SIZE
from cython.cimports.cpython.tuple import PyTuple_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.upstream.topics import (
    SUBSCRIPTION_BYTES,
    TOPIC_BYTES,
    Batch,
    Copies,
    Link,
    Published,
    Subscriber,
    Topic,
    TopicRequest,
    TopicTable,
    UnsubscribeRequest,
)

from twemproxy.upstream.agreement import Agreement
from twemproxy.upstream.audiences import Audiences
from twemproxy.upstream.topics import CHANNEL, LOST, PATTERN

PUBLISHED, REFUSED = "published", "refused"
"""Kinds of a server's message that is not the expected answer."""

NO_ROOM = "out of memory: '--max-memory' leaves no room for more subscriptions"

PIECE = 500
"""Topics per request to a server, and topics that chores process per turn."""

MOST_ASKED = 4000
"""Topics of requests in progress at one server: the server does nothing else while it processes them."""

LEAVE_TIMEOUT = 2_000_000
"""Microseconds that a former address of a server may be silent before its connection is closed, without a timeout."""

MOST_COMPARED = 1_000_000
"""For one message: the limit of the sum of pattern length times channel name length, over all compared patterns."""


@cython.final
@cython.cclass
class Subscriptions:
    """The subscriptions of all clients of one pool in this worker.

    ``tables``: topics by kind. ``n_topics``: number of all topics. ``subscribers_of``: subscribers by client.
    ``change``: bytes of memory that are not reported to the pool yet. ``everywhere``: the links of the last topic that
    was subscribed to at several servers, shared with other topics. ``leaving``: links to servers that are removed, and
    to former addresses.

    ``n_moving``: number of topics that move. ``n_moved``: how many have moved and are not reported to the pool yet.
    ``rebalances``: chores that look for topics to move; ``rebalance_wanted``: one of them has not begun yet.
    ``publishers``: clients whose PUBLISH waits for topics that move. ``copies``: of messages on topics that
    move. ``published``: messages of this worker. ``n_missing``: number of topics with ``is_missing``.

    ``audiences``: what is known of other workers. ``agreement``: with them, after a change of routes;
    ``leaves_later``: topics stay at former servers until it allows to leave.
    """

    def __init__(self, pool) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``; its codec reads the messages."""
        self.pool = pool
        self.messages = pool.codec.pubsub
        self.answers = self.messages.is_answer
        self.comes_from_anywhere = self.messages.comes_from_anywhere
        self.is_random = pool.is_random
        self.server_of = pool.server_of
        self.now = pool.now
        self.tables = {}
        self.subscribers_of = {}
        self.links = {}
        self.unsent = {}
        self.chores = deque()
        self.chore_timer = pool.timer(self.do_chores)
        self.everywhere = ()
        self.leaving = []
        self.publishers = {}
        self.copies = Copies()
        self.published = Published()
        self.audiences = Audiences(pool, self.own_subscribers)
        self.agreement = Agreement(pool, self.state, self.agreement_changed)

    # --- for clients -----------------------------------------------------------------------------------------

    def begin(self, client, kind: str) -> TopicRequest:
        """A client's request for topics of a kind, without topics yet."""
        return TopicRequest(self, client, kind)

    def begin_unsubscribe(self, client, kind: str) -> UnsubscribeRequest:
        """A client's request to unsubscribe from topics of a kind, without topics yet."""
        return UnsubscribeRequest(self, client, kind)

    def drop(self, client, topics) -> None:
        """Unsubscribe the client from everything; ``topics``: all its topics by kind, which are removed from it."""
        subscriber: Subscriber = self.subscribers_of.pop(client, None)
        if subscriber is not None:
            subscriber.client = None
            self.add_chore(self.unsubscribe_all(subscriber, topics))

    def is_used(self) -> bool:
        """Whether any client may have subscribed to anything, here or in another worker."""
        return self.n_topics > 0 or len(self.links) > 0 or self.audiences.is_used()

    def is_moving(self) -> bool:
        """Whether topics move, or may have to, here or in another worker."""
        return self.n_moving > 0 or self.rebalances > 0 or not self.agreement.may_publish

    def holds_back(self, client, kind: str, name: bytes, server) -> bool:
        """Whether a message on a channel would not reach all subscribers yet if it was published at a server now.

        If so, the client is woken when that may be over. ``kind``: the kind of topic of the channel.
        """
        topic: Topic
        links: tuple
        held: cython.bint = not self.agreement.may_publish and self.agreement.has_moved(name, server)
        for topic in self.topics_of(kind, name):
            if self.rebalances > 0 and not topic.is_lost():
                links = self.links_of(topic.kind, topic.name)
                if {*links} != {*topic.links}:
                    self.move(topic, links)
            held = held or (topic.is_moving and topic.misses_at(server))
        self.write()
        if held:
            self.publishers[client] = None
        return held

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wake_publishers(self) -> cython.int:
        """Have the clients in ``publishers`` try again."""
        clients: dict = self.publishers
        if clients:
            self.publishers = {}
            for client in clients:
                if client.fd >= 0:
                    client.wake()
        return 0

    def audience(self, kind: str, name: bytes, server) -> tuple:
        """(clients that get a message of a server on a channel, subscriptions at that server through which they get
        it), with those of other workers that they have told.

        ``kind``: the kind of topic of the channel. A client counts once for the channel and once for each matching
        pattern. While topics move the number of subscriptions may be larger.
        """
        topic: Topic
        link = self.links.get(server)
        clients: cython.Py_ssize_t
        subscriptions: cython.Py_ssize_t
        clients, subscriptions = self.audiences.audience(kind, name)
        for topic in self.topics_of(kind, name):
            if topic.is_moving or (link in topic.links and link not in topic.unanswered):
                clients += PyList_GET_SIZE(topic.clients())
                subscriptions += 1
        return clients, subscriptions

    @cython.cfunc
    def topics_of(self, kind: str, name: bytes) -> list:
        """The topics of a message on a channel; some patterns are left out if the comparison would take too long."""
        topic: Topic = self.find(kind, name)
        shard: dict
        pattern: bytes
        left: cython.Py_ssize_t = MOST_COMPARED
        found: list = []
        if topic is not None:
            found.append(topic)
        if kind != CHANNEL or PATTERN not in self.tables:
            return found
        for shard in self.table(PATTERN).shards:
            for pattern in shard:
                left -= PyBytes_GET_SIZE(pattern) * PyBytes_GET_SIZE(name)
                if left < 0:
                    return found
                if self.messages.matches(pattern, name):
                    found.append(shard[pattern])
        return found

    def subscribers(self, kind: str, name: bytes) -> tuple:
        """(clients that get a topic's messages, servers that have confirmed the topic), with those of other workers
        that they have told; such a server counts once for each worker.
        """
        clients, confirmed = self.own_subscribers(kind, name)
        elsewhere, confirmed_elsewhere = self.audiences.subscribers(kind, name)
        return clients + elsewhere, confirmed + confirmed_elsewhere

    def own_subscribers(self, kind: str, name: bytes) -> tuple:
        """(clients that get a topic's messages, servers that have confirmed the topic), of this worker."""
        topic: Topic = self.find(kind, name)
        link: Link
        confirmed: cython.Py_ssize_t = 0
        if topic is None:
            return 0, 0
        for link in topic.links:
            confirmed += link not in topic.unanswered and not link.is_lost
        return PyList_GET_SIZE(topic.clients()), confirmed

    # --- for requests ----------------------------------------------------------------------------------------

    def want(self, request: TopicRequest, names: list) -> None:
        """Add these topics to a request; it waits for those that are not confirmed yet.

        The request fails if there is no room for them.
        """
        kind: str = request.kind
        name: bytes
        topic: Topic
        table: TopicTable = self.table(kind)
        subscriber: Subscriber = self.subscribers_of.get(request.client)
        held: cython.Py_ssize_t = request.held + (subscriber.held if subscriber is not None else 0)
        more: cython.Py_ssize_t = (SUBSCRIPTION_BYTES + TOPIC_BYTES) * PyList_GET_SIZE(names)
        for name in names:
            more += PyBytes_GET_SIZE(name)
        request.held += more
        if not self.pool.may_subscribe(held, more):
            request.fail(self.pool.error(NO_ROOM))
            return
        for name in names:
            topic = table.find(name)
            if topic is not None and topic.is_lost():
                self.replace_lost_links(topic)
                topic = table.find(name)
            if topic is None:
                topic = self.begin_topic(kind, name)
            request.topics.append(topic)
            if topic.has(subscriber) or request in topic.requests:
                continue
            topic.requests = topic.requests + request.singleton if topic.requests else request.singleton
            if not topic.is_confirmed():
                request.ahead += 1
        self.write()

    def unsubscribe(self, request: UnsubscribeRequest, names: list) -> None:
        """Unsubscribe a request's client from these topics; the request waits until the servers have confirmed."""
        link: Link
        subscriber: Subscriber = self.subscribers_of.get(request.client)
        if subscriber is None:
            return
        for name in names:
            self.remove_subscriber(subscriber, request.kind, name)
        # A server answers in order, so the answers to the last request include those for these topics.
        for link in self.unsent:
            if link.unsent > 0:
                request.wait_for(link.batches[len(link.batches) - 1])
        self.write()

    def take(self, request: TopicRequest, most: cython.Py_ssize_t) -> list:
        """Subscribe the request's client to up to ``most`` of the next topics; returns their names."""
        topic: Topic
        names: list = []
        subscriber: Subscriber = self.subscribers_of.get(request.client)
        if subscriber is None:
            subscriber = self.subscribers_of[request.client] = Subscriber(request.client)
        while PyList_GET_SIZE(names) < most and request.taken < PyList_GET_SIZE(request.topics):
            topic = request.topics[request.taken]
            request.taken += 1
            names.append(topic.name)
            if topic.add(subscriber):
                subscriber.held += SUBSCRIPTION_BYTES + topic.size()
                self.change += SUBSCRIPTION_BYTES
                self.audiences.note(topic.kind, topic.name)
            topic.forget_request(request)
        self.tell_change()
        return names

    def release(self, request: TopicRequest, topics: list) -> None:
        """Release ``topics``, the remaining topics of a request that has ended."""
        self.add_chore(self.release_all(request, topics))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def tell_change(self) -> cython.int:
        """Report the change of memory, and how many topics have moved, to the pool."""
        change: cython.Py_ssize_t = self.change
        moved: cython.Py_ssize_t = self.n_moved
        self.change = self.n_moved = 0
        if change:
            self.pool.count_subscriptions(change)
        if moved:
            self.pool.count_moved_subscriptions(moved)
        return 0

    def links_to(self, kind: str, names: list) -> list:
        """The server, and the server connection, of each link of each of these topics; few of them."""
        link: Link
        topic: Topic
        found: list = []
        for name in names:
            topic = self.find(kind, name)
            if topic is not None:
                for link in topic.links:
                    found.append((link.server, link.connection))
        return found

    # --- topics ----------------------------------------------------------------------------------------------

    @cython.cfunc
    def table(self, kind: str) -> TopicTable:
        """The topics of a kind."""
        table: TopicTable = self.tables.get(kind)
        if table is None:
            table = self.tables[kind] = TopicTable()
        return table

    @cython.cfunc
    def find(self, kind: str, name: bytes) -> Topic:
        """The topic of this kind and name, None for none."""
        table: TopicTable = self.tables.get(kind)
        return None if table is None else table.find(name)

    @cython.cfunc
    def begin_topic(self, kind: str, name: bytes) -> Topic:
        """A new topic; the next ``write`` subscribes to it at its servers."""
        link: Link
        topic: Topic = Topic(kind, name, self.links_of(kind, name))
        self.table(kind).shard(name)[name] = topic
        self.n_topics += 1
        self.change += topic.size()
        for link in topic.links:
            self.send(link, topic, True)
        return topic

    @cython.cfunc
    def links_of(self, kind: str, name: bytes) -> tuple:
        """The links for a topic, opened if necessary."""
        links: tuple
        if not self.is_random() and not self.comes_from_anywhere(kind, name):
            return self.link(self.server_of(name)).singleton
        links = tuple([self.link(server) for server in self.pool.live_servers()])
        if PyTuple_GET_SIZE(links) == 1:
            return cython.cast(Link, links[0]).singleton
        if links != self.everywhere:
            self.everywhere = links
        return self.everywhere

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def remove_subscriber(self, subscriber: Subscriber, kind: str, name: bytes) -> cython.int:
        """Unsubscribe a client from a topic."""
        topic: Topic = self.find(kind, name)
        if topic is not None:
            if topic.remove(subscriber):
                subscriber.held -= SUBSCRIPTION_BYTES + topic.size()
                self.change -= SUBSCRIPTION_BYTES
                self.audiences.note(kind, name)
            self.end_unwanted(topic)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_unwanted(self, topic: Topic) -> cython.int:
        return 0 if topic.is_wanted() else self.forget(topic)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, topic: Topic) -> cython.int:
        """Unsubscribe from a topic at its servers, and remove it."""
        link: Link
        links: tuple = topic.links
        del self.table(topic.kind).shard(topic.name)[topic.name]
        self.n_topics -= 1
        self.change -= topic.size()
        topic.links = topic.left = ()
        for link in links:
            self.send(link, topic, False)
        self.forget_former(topic)
        if topic.n_subscribers() > 0:
            self.audiences.note(topic.kind, topic.name)
        if topic.is_moving:
            topic.is_moving = False
            self.n_moving -= 1
            self.note_missing(topic)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, topic: Topic, error: bytes, why: str) -> cython.int:
        """Remove a topic: its requests get the error, its clients are closed."""
        request: TopicRequest
        requests: tuple = topic.requests
        clients: list = topic.clients()
        topic.requests = ()
        self.change -= SUBSCRIPTION_BYTES * topic.n_subscribers()
        self.forget(topic)
        for request in requests:
            request.fail(error)
        for client in clients:
            client.abort(why)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def move(self, topic: Topic, links: tuple) -> cython.int:
        """Subscribe to a topic at these links instead of its present ones, which it leaves when it is confirmed."""
        link: Link
        request: TopicRequest
        was_confirmed: cython.bint = topic.is_confirmed()
        before: tuple = (*topic.links, *topic.former)
        former: list = []
        topic.links = links
        for link in links:
            if link not in before:
                self.send(link, topic, True)
        for link in topic.former:
            link.kept -= 1
        for link in before:
            if link not in links and not link.is_lost:
                link.kept += 1
                former.append(link)
        topic.former = tuple(former)
        if len(former) == 1:
            topic.former = cython.cast(Link, former[0]).singleton
        if topic.is_confirmed() or topic.n_subscribers() == 0:
            self.leave_former(topic)
        self.note_move(topic)
        self.audiences.note(topic.kind, topic.name)
        if topic.is_confirmed() != was_confirmed:
            for request in topic.requests:
                if was_confirmed:
                    request.lose_confirmation()
                else:
                    request.confirm()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave_former(self, topic: Topic) -> cython.int:
        """The servers where a topic is now have confirmed it: leave the former ones, if no worker publishes there."""
        link: Link
        if topic.n_subscribers() > 0:
            if not self.agreement.may_leave:
                self.leaves_later = True
                return 0
            for link in topic.former:
                if link.twin_in(topic.links) is not None:
                    topic.left = (*topic.left, link)
        return self.forget_former(topic)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_former(self, topic: Topic) -> cython.int:
        """Unsubscribe from a topic where it was before."""
        link: Link
        former: tuple = topic.former
        topic.former = ()
        for link in former:
            link.kept -= 1
            self.send(link, topic, False)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_of_left(self, link: Link, topic: Topic) -> cython.int:
        """No more messages on a topic come from this former link: wait for those that its twins have sent before."""
        twin: Link
        request: TopicRequest
        if link not in topic.left:
            return 0
        twin = link.twin_in(topic.links)
        if twin is None or twin.is_lost or not topic.is_confirmed():
            topic.left = tuple([each for each in topic.left if each is not link])
            return self.note_move(topic)
        self.send(twin, topic, True)
        for request in topic.requests:
            request.lose_confirmation()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_move(self, topic: Topic) -> cython.int:
        """Note whether a topic moves, after a step of its move."""
        moving: cython.bint = topic.n_subscribers() > 0 and (
            PyTuple_GET_SIZE(topic.former) > 0 or PyTuple_GET_SIZE(topic.left) > 0 or not topic.is_confirmed()
        )
        if moving and not topic.is_moving:
            self.n_moving += 1
        elif topic.is_moving and not moving:
            self.n_moving -= 1
            self.n_moved += 1
            if self.n_moving == 0:
                self.copies.clear()
        topic.is_moving = moving
        return self.note_missing(topic)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_missing(self, topic: Topic) -> cython.int:
        """Note whether messages may be missed, after a step of a topic's move."""
        missing: cython.bint = topic.is_moving and topic.misses()
        self.n_missing += (1 if missing else 0) - (1 if topic.is_missing else 0)
        topic.is_missing = missing
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def replace_lost_links(self, topic: Topic) -> cython.int:
        """Handle the lost link of a topic: fail the topic, or subscribe at the link that replaces the lost one."""
        link: Link
        for link in topic.links:
            if link.is_lost and link.error:
                return self.fail(topic, link.error, LOST)
        return self.move(topic, self.links_of(topic.kind, topic.name))

    # --- chores: generators that yield after every topic -----------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_chore(self, chore) -> cython.int:
        self.chores.append(chore)
        self.chore_timer.arm(self.now())
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def do_chores(self) -> cython.int:
        """Process up to PIECE topics of the chores."""
        left: cython.Py_ssize_t = PIECE
        while left > 0 and self.chores:
            for _ in self.chores[0]:
                left -= 1
                if left == 0:
                    break
            else:
                self.chores.popleft()
        if self.chores:
            self.chore_timer.arm(self.now())
        self.write()
        self.wake_publishers()
        return self.close_unused_links()

    def unsubscribe_all(self, subscriber: Subscriber, topics):
        """Unsubscribe a closed client from these topics, which are removed from ``topics``."""
        names: dict
        for kind, names in topics.items():
            while names:
                name, _ = names.popitem()
                self.remove_subscriber(subscriber, kind, name)
                yield

    def release_all(self, request: TopicRequest, topics: list):
        """Remove a request from these topics."""
        topic: Topic
        while topics:
            topic = topics.pop()
            if request in topic.requests:
                topic.forget_request(request)
                self.end_unwanted(topic)
            yield
        request.singleton = ()

    def all_topics(self):
        """Each present topic when its turn comes, None in place of one that is gone by then."""
        table: TopicTable
        shard: dict
        topic: Topic
        for table in list(self.tables.values()):
            for shard in table.shards:
                for topic in list(shard.values()):
                    yield topic if shard.get(topic.name) is topic else None

    # --- other workers ---------------------------------------------------------------------------------------

    def meet(self, others) -> None:
        """Ask and tell ``others`` from now on, see ``protocol.other_workers``."""
        self.audiences.others = self.agreement.others = others

    def state(self) -> tuple:
        """The state of this worker, see ``upstream.agreement``."""
        return self.published.before, self.n_missing + (1 if self.rebalances > 0 else 0)

    def agreement_changed(self) -> None:
        """Topics may leave former servers, or clients may publish, for which they had to wait until now."""
        if self.leaves_later and self.agreement.may_leave:
            self.leaves_later = False
            self.add_chore(self.leave_all())
        self.wake_publishers()

    def leave_all(self):
        """Unsubscribe from each topic where it was before, if the servers where it is now have confirmed it."""
        topic: Topic
        for topic in self.all_topics():
            if topic is not None and topic.former and topic.is_confirmed():
                self.leave_former(topic)
                self.note_move(topic)
            yield

    def tell_audiences(self) -> None:
        """Tell the other workers the audiences of all topics."""
        self.audiences.begin_anew()
        self.add_chore(self.note_all())

    def note_all(self):
        """Note each topic for the other workers."""
        topic: Topic
        for topic in self.all_topics():
            if topic is not None:
                self.audiences.note(topic.kind, topic.name)
            yield

    def follow_routes(self) -> None:
        """The pool has another route table: move the topics whose server has changed."""
        self.published.change_routes()
        self.rebalance()
        self.agreement.begin()

    def rebalance(self) -> None:
        """Move the topics whose server or address has changed."""
        if self.n_topics and not self.rebalance_wanted:
            self.rebalance_wanted = True
            self.rebalances += 1
            self.add_chore(self.rebalance_all())

    def rebalance_all(self):
        """Move each topic whose server has changed."""
        topic: Topic
        links: tuple
        self.rebalance_wanted = False
        for topic in self.all_topics():
            if topic is not None and not topic.is_lost():
                links = self.links_of(topic.kind, topic.name)
                if {*links} != {*topic.links}:
                    self.move(topic, links)
            yield
        self.rebalances -= 1

    def forget_link(self, link: Link):
        """Handle the topics of a lost link."""
        topic: Topic
        n_missed: cython.Py_ssize_t = 0
        clients: set = set()
        for topic in self.all_topics():
            if topic is not None:
                if topic.n_subscribers() > 0 and self.ends_too_early(link, topic):
                    n_missed += 1
                    clients.update(topic.clients())
                self.lose_former(link, topic)
                if topic.is_lost():
                    self.replace_lost_links(topic)
                link.forget(topic)
            yield
        if n_missed:
            self.pool.tell_missed_messages(link.server.name, n_missed, len(clients))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def ends_too_early(self, link: Link, topic: Topic) -> cython.bint:
        """Whether a lost link may have had messages for a topic that moves or has to move."""
        if link in topic.former or link in topic.left:
            return True
        return link in topic.links and link.error == b"" and link not in topic.unanswered

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lose_former(self, link: Link, topic: Topic) -> cython.int:
        """A link where the topic may have been before is lost."""
        if link in topic.former:
            topic.former = tuple([each for each in topic.former if each is not link])
        self.end_of_left(link, topic)
        return self.note_move(topic) if topic.is_moving else 0

    # --- servers ---------------------------------------------------------------------------------------------

    @cython.cfunc
    def link(self, server) -> Link:
        """The connection to a server; its first request opens it."""
        link: Link = self.links.get(server)
        if link is None:
            link = self.links[server] = Link(server, self.pool.open_subscriber(server))
            link.timer = self.pool.timer(partial(self.check_answers, link))
            self.listen(link)
        return link

    def listen(self, link: Link) -> None:
        """Set the callbacks of the link's connection for messages and failure."""
        link.connection.listener = lambda message: self.on_message(link, message)
        link.connection.on_status = lambda ready, _: None if ready else self.lost(link)
        link.connection.may_open = partial(self.may_open, link)

    def may_open(self, link: Link) -> str:
        """See ``ServerConnection``; requests get the reason why the connection has no place."""
        reason = link.connection.take_place()
        if reason:
            link.connection.on_status = lambda ready, _: self.lost(link, f": {reason}")
        return reason

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send(self, link: Link, topic: Topic, subscribes: cython.bint) -> cython.int:
        """Queue a subscription to a topic, or its end, for the next ``write``."""
        if not link.is_lost:
            link.add(topic, subscribes, PIECE)
            self.unsent[link] = None
            if not subscribes:
                link.held += topic.size()
                self.change += topic.size()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write(self) -> cython.int:
        """Send the queued requests, up to MOST_ASKED topics per server; report memory to the pool."""
        link: Link
        batch: Batch
        topic: Topic
        request: list
        timeout: int64_t
        while self.unsent:
            link, _ = self.unsent.popitem()
            if link.is_lost:
                continue
            if link.asked == 0:
                link.heard_at = self.now()
                timeout = self.timeout_of(link)
                if timeout:
                    link.timer.arm_by(link.heard_at + timeout)
            request = []
            while link.unsent > 0 and link.asked < MOST_ASKED:
                batch = link.batches[len(link.batches) - link.unsent]
                link.unsent -= 1
                link.asked += PyList_GET_SIZE(batch.topics)
                batch.head = self.messages.answer_head(batch.kind, batch.subscribes)
                names = []
                for topic in batch.topics:
                    names.append(topic.name)
                request.append(self.messages.request(batch.kind, names, batch.subscribes))
            if request:
                link.connection.write(b"".join(request))
        return self.tell_change()

    def apply_settings(self) -> None:
        """The pool has other settings: an answer may be overdue."""
        link: Link
        for link in self.all_links():
            self.check_answers(link)

    @cython.cfunc
    def all_links(self) -> list:
        """The links, with those to former addresses."""
        return [*self.links.values(), *[link for link in self.leaving if cython.cast(Link, link).is_replaced]]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def timeout_of(self, link: Link) -> int64_t:
        """The microseconds that a server has for an answer, 0 for no limit."""
        timeout: int64_t = self.pool.settings.timeout
        return LEAVE_TIMEOUT if timeout == 0 and link.is_replaced else timeout

    def check_answers(self, link: Link) -> None:
        """Close a connection with an overdue answer."""
        now: int64_t = self.now()
        timeout: int64_t = self.timeout_of(link)
        if timeout and not link.is_lost and link.batches:
            if link.heard_at + timeout <= now:
                # The answer may have arrived already.
                link.connection.take_unread()
            if link.is_lost or not link.batches:
                return
            if link.heard_at + timeout <= now:
                link.connection.give_up(errno.ETIMEDOUT, "")
            else:
                link.timer.arm(link.heard_at + timeout)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_links_later(self) -> cython.int:
        """Close unused links in a later turn: an answer of one of them is being read."""
        if self.leaving or not self.n_topics:
            self.chore_timer.arm(self.now())
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_unused_links(self) -> cython.int:
        """Close the links to what is left when their topics have moved; close all links if there is no topic any more.

        Links stay open until their servers have answered everything.
        """
        link: Link
        unused: list = []
        if self.n_topics == 0:
            unused = self.all_links()
            for link in unused:
                if link.batches:
                    return 0
        elif self.leaving and not self.chores:
            unused = [link for link in self.leaving if not link.batches and link.kept == 0]
        for link in unused:
            self.close_link(link)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_link(self, link: Link) -> cython.int:
        """Close a link that no topic needs."""
        if link in self.leaving:
            self.leaving.remove(link)
        link.connection.abandon()
        self.remove_link(link, b"")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def remove_link(self, link: Link, error: bytes) -> cython.int:
        """Remove a link whose connection is closed; ``error``: see ``Link.lose``."""
        link.lose(error)
        link.timer = None
        if self.links.get(link.server) is link:
            del self.links[link.server]
        self.everywhere = ()
        self.pool.drop(link.connection)
        return 0

    @cython.cfunc
    def on_message(self, link: Link, message: bytes) -> str:
        """Process a message of a server: a published message, or the answer to a request.

        Returns why the connection must fail for it, otherwise "".
        """
        batch: Batch = None
        topic: Topic
        if link.batches and len(link.batches) > link.unsent:
            batch = link.batches[0]
            topic = batch.topics[batch.answered]
            if self.answers(message, batch.head, topic.name):
                self.answered(link, batch, topic)
                return ""
        try:
            what, kind, name = self.messages.read(message)
        except ValueError:
            what, kind, name = "", "", b""
        if what == PUBLISHED:
            self.publish(link, kind, name, message)
        elif what == REFUSED and batch is not None:
            self.refused(link, message)
        else:
            return "it sent a message that is not a reply to any request"
        return ""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answered(self, link: Link, batch: Batch, topic: Topic) -> cython.int:
        """The server has confirmed the next topic of its oldest request."""
        batch.answered += 1
        link.asked -= 1
        link.heard_at = self.now()
        if batch.subscribes:
            self.on_confirmed(link, topic)
        else:
            link.held -= topic.size()
            self.change -= topic.size()
            self.end_of_left(link, topic)
        if batch.answered == PyList_GET_SIZE(batch.topics):
            link.batches.popleft()
            if link.unsent > 0:
                self.unsent[link] = None
            self.write()
            batch.end()
            self.wake_publishers()
            self.close_links_later()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_confirmed(self, link: Link, topic: Topic) -> cython.int:
        """A server has confirmed a topic; the topic may be confirmed by all its servers now."""
        request: TopicRequest
        was_confirmed: cython.bint = topic.is_confirmed()
        link.is_confirmed = True
        link.answered(topic)
        if not was_confirmed and topic.is_confirmed():
            for request in topic.requests:
                request.confirm()
            if topic.former:
                self.leave_former(topic)
            else:
                topic.left = ()
        if topic.is_moving:
            self.note_move(topic)
        if topic.n_subscribers() > 0:
            self.audiences.note(topic.kind, topic.name)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refused(self, link: Link, error: bytes) -> cython.int:
        """The server has rejected its oldest request; the error does not name the topic that is the cause."""
        topic: Topic
        batch: Batch = link.batches.popleft()
        topics: list = batch.topics[batch.answered :]
        link.heard_at = self.now()
        link.asked -= PyList_GET_SIZE(topics)
        if link.unsent > 0:
            self.unsent[link] = None
        batch.end()
        if not batch.subscribes:
            for topic in topics:
                link.held -= topic.size()
                self.change -= topic.size()
                self.end_of_left(link, topic)
            self.write()
            self.wake_publishers()
            return self.close_links_later()
        for topic in topics:
            link.answered(topic)
            if link not in topic.links:
                continue
            if len(topics) == 1:
                self.fail(topic, error, REFUSED)
            elif link not in topic.unanswered:
                # Other clients may want the other topics of this request, so each is requested again by itself.
                link.add(topic, True, 1)
                self.unsent[link] = None
        self.write()
        return self.wake_publishers()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def publish(self, link: Link, kind: str, name: bytes, message: bytes) -> cython.int:
        topic: Topic = self.find(kind, name)
        shared = None
        if topic is not None:
            if topic.is_moving and self.copies.is_copy(link, topic, message):
                return 0
            for client in topic.clients():
                shared = client.push(message, shared)
        return 0

    def lost(self, link: Link, reason: str = "") -> None:
        """The connection to a server has failed or could not be opened. ``reason``: the end of the clients' error."""
        if link in self.leaving:
            self.drop_link(link, b"")
        else:
            text = f"no connection to server '{link.server.name}' for subscriptions{reason}"
            self.drop_link(link, self.pool.error(text))

    def leave_stale(self) -> None:
        """Servers are removed, or have left their addresses: end the links to where they were.

        A link is closed after ``rebalance``, when its topics have moved; at once if no topic was confirmed there.
        """
        link: Link
        for link in list(self.links.values()):
            if link.server.removed:
                if link not in self.leaving:
                    self.leaving.append(link)
                self.chore_timer.arm(self.now())
            elif link.connection.is_stale():
                if link.is_confirmed:
                    link.is_replaced = True
                    self.leaving.append(link)
                    del self.links[link.server]
                    self.everywhere = ()
                    self.rebalance()
                    self.chore_timer.arm(self.now())
                else:
                    link.connection.abandon()
                    self.drop_link(link, b"")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_link(self, link: Link, error: bytes) -> cython.int:
        """Remove a link whose connection is closed."""
        self.change -= link.held
        self.tell_change()
        if link in self.leaving:
            self.leaving.remove(link)
        self.remove_link(link, error)
        self.wake_publishers()
        return self.add_chore(self.forget_link(link))
