"""How many clients of a pool get the messages of a topic in the other workers.

Plain Python. Each worker subscribes for its own clients. A server counts the workers that have subscribed: that is the
number of clients if each has one, as with most topics. Of every other topic, a worker tells the others its *audience*
when that has changed: (clients that get its messages, servers that have confirmed the topic).

Clients can make the memory for this grow, so it is reported to the pool, and a worker tells no more than MOST_TOLD
bytes; topics above that count as if they had one client in this worker.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from twemproxy.protocol.other_workers import NO_OTHER_WORKERS, OtherWorkers
from twemproxy.upstream.topics import CHANNEL, PATTERN

Audience = tuple[int, int]
Topic = tuple[str, bytes]

MOST_TOLD: Final = 16 * 1024 * 1024
"""Most bytes of what one worker tells the others about a pool."""
TOLD_BYTES: Final = 256
"""Estimated bytes of a topic without its name, in a dictionary."""
TOPICS_A_TURN: Final = 500
"""Most changed topics that are looked at per turn of the event loop."""
BYTES_A_TURN: Final = 65536
"""Bytes of names after which the other changed topics are left to the next turn."""
MOST_COMPARED: Final = 1_000_000
"""For one message: the limit of the sum of pattern length times channel name length, over all compared patterns."""


def _size(name: bytes) -> int:
    return TOLD_BYTES + len(name)


class Audiences:
    """The audiences of one pool in other workers, and those that they know of this one."""

    def __init__(self, pool: Any, find: Callable[[str, bytes], Audience]) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``. ``find(kind, name)``: the audience in this worker."""
        self._pool = pool
        self._find = find
        self._matches = pool.codec.pubsub.matches
        self._timer = pool.timer(self._tell)
        self.others: OtherWorkers = NO_OTHER_WORKERS
        """The other workers; can be replaced."""
        self._changed: dict[Topic, None] = {}
        self._told: dict[Topic, Audience] = {}
        self._told_bytes = 0
        self._has_told = False
        """Whether the others may know anything of this worker."""
        self._heard: dict[int, dict[str, dict[bytes, Audience]]] = {}

    # --- to other workers ------------------------------------------------------------------------------------

    def note(self, kind: str, name: bytes) -> None:
        """The audience of a topic may have changed in this worker: tell the others soon."""
        if self.others.are_there():
            if not self._changed:
                self._timer.arm(self._pool.now())
            self._changed[kind, name] = None

    def begin_anew(self) -> None:
        """The others forget what they know of this worker. ``note`` is to be called for all topics."""
        self._changed.clear()
        self._told.clear()
        self._count_told(-self._told_bytes)
        if self._has_told:
            self.others.tell_audiences((), True)

    def _tell(self) -> None:
        topics: list[tuple[str, bytes, int, int]] = []
        size = 0
        while self._changed and len(topics) < TOPICS_A_TURN and size < BYTES_A_TURN:
            topic, _ = self._changed.popitem()
            audience = self._find(*topic)
            if self._keep(topic, audience):
                topics.append((*topic, *self._told.get(topic, (0, 0))))
                size += len(topic[1])
        if topics:
            self._has_told = True
            self.others.tell_audiences(topics, False)
        if self._changed:
            self._timer.arm(self._pool.now())

    def _keep(self, topic: Topic, audience: Audience) -> bool:
        """Keep what the others are to know of a topic; returns whether that is news for them."""
        clients, servers = audience
        # PUBSUB NUMSUB adds up what all servers say; patterns are not asked for by name.
        is_told = clients > 1 or (clients == 1 and servers > 1 and topic[0] != PATTERN)
        before = self._told.get(topic)
        if not is_told:
            if before is not None:
                del self._told[topic]
                self._count_told(-_size(topic[1]))
            return before is not None
        if before is None:
            if self._told_bytes + _size(topic[1]) > MOST_TOLD:
                return False
            self._count_told(_size(topic[1]))
        self._told[topic] = audience
        return before != audience

    def _count_told(self, change: int) -> None:
        self._told_bytes += change
        self._pool.count_subscriptions(change)

    # --- from other workers ----------------------------------------------------------------------------------

    def hear(self, process: int, topics: Iterable[tuple[str, bytes, int, int]], anew: bool) -> None:
        """Another process has these audiences now: (kind, name, clients, servers) of each topic.

        Without clients it has nothing to tell of the topic any more. ``anew``: it has no other topics.
        """
        if anew:
            self._forget(process)
        change = 0
        kinds = self._heard.setdefault(process, {})
        for kind, name, clients, servers in topics:
            known = kinds.setdefault(kind, {})
            if known.pop(name, None) is not None:
                change -= _size(name)
            if clients > 0:
                known[name] = (clients, servers)
                change += _size(name)
        if not any(kinds.values()):
            del self._heard[process]
        self._pool.count_subscriptions(change)

    def keep(self, is_running: Callable[[int], bool]) -> None:
        """Forget the audiences of processes that have ended."""
        for process in list(self._heard):
            if not is_running(process):
                self._forget(process)

    def _forget(self, process: int) -> None:
        for known in self._heard.pop(process, {}).values():
            self._pool.count_subscriptions(-sum(map(_size, known)))

    def is_used(self) -> bool:
        """Whether there are other workers, or anything is known of former ones."""
        return self.others.are_there() or bool(self._heard)

    def audience(self, kind: str, name: bytes) -> tuple[int, int]:
        """(clients of other workers that get a message on a channel, subscriptions through which they get it).

        Of the topics that are told. ``kind``: the kind of topic of the channel.
        """
        clients = subscriptions = 0
        left = MOST_COMPARED
        for kinds in self._heard.values():
            found = [kinds[kind][name]] if name in kinds.get(kind, ()) else []
            for pattern, audience in kinds.get(PATTERN, {}).items() if kind == CHANNEL else ():
                left -= len(pattern) * len(name)
                if left < 0:
                    break
                if self._matches(pattern, name):
                    found.append(audience)
            clients += sum(each for each, _ in found)
            subscriptions += sum(servers > 0 for _, servers in found)
        return clients, subscriptions

    def subscribers(self, kind: str, name: bytes) -> Audience:
        """The audience of a topic in the other workers, of the topics that are told."""
        found = [kinds[kind][name] for kinds in self._heard.values() if name in kinds.get(kind, ())]
        return sum(clients for clients, _ in found), sum(servers for _, servers in found)
