"""Channels move to other servers; publishers and subscribers are clients of different workers."""

from collections.abc import Callable
from itertools import count
from threading import Event, Thread

import pytest

from harness.connection import Connection
from harness.proxy import PoolDirectives, Proxy, redis_pool
from harness.resp import command
from harness.servers import RedisServer
from harness.subscribing import subscribe
from harness.waiting import wait_until
from harness.workers import one_client_each, ready_workers

WORKERS = 3
ROUNDS = 6
END = "the end"
CHANNELS = [f"channel-{number}" for number in range(40)]


class Publisher(Thread):
    """Publishes numbers on channels of its own, from 0 on, in batches on all, until ``ended`` is set; then END."""

    def __init__(self, client: Connection, channels: list[str], ended: Event) -> None:
        super().__init__()
        self.client, self.channels, self.ended = client, channels, ended
        self.batches = 0

    def run(self) -> None:
        for number in count():
            self.publish(number)
            self.batches += 1
            if self.ended.is_set():
                break
        self.publish(END)

    def publish(self, text: str | int) -> None:
        """Publish a text on all channels."""
        self.client.send(b"".join(command("PUBLISH", channel, text) for channel in self.channels))
        for reply in self.client.replies(len(self.channels)):
            assert reply.startswith(b":"), reply


def messages(subscriber: Connection) -> dict[bytes, list[int]]:
    """The numbers in the messages up to the END of each channel, by channel."""
    found: dict[bytes, list[int]] = {}
    ends = 0
    while ends < len(CHANNELS):
        _, channel, text = subscriber.request()
        if text == END.encode():
            ends += 1
        else:
            found.setdefault(channel, []).append(int(text))
    return found


def others(pool: PoolDirectives) -> PoolDirectives:
    """The pool without its last server."""
    return {**pool, "servers": pool["servers"][:-1]}  # type: ignore[index]


def elsewhere(pool: PoolDirectives) -> PoolDirectives:
    """The pool whose first two servers have changed their addresses, and kept their names."""
    first, second, *rest = [str(each).split(" ") for each in pool["servers"]]  # type: ignore[attr-defined]
    servers = [(second[0], first[1]), (first[0], second[1]), *rest]
    return {**pool, "servers": [" ".join(each) for each in servers]}


@pytest.mark.parametrize("change", [others, elsewhere])
def test_no_message_is_lost_or_doubled_while_channels_move(
    servers: list[RedisServer], change: Callable[[PoolDirectives], PoolDirectives]
) -> None:
    """Each message is an element of its channel's sequence: a gap, a copy or a wrong order shows."""
    pool = redis_pool(*servers)
    with Proxy(pool, "-w", str(WORKERS)) as proxy:
        subscribers, publishers = (one_client_each(proxy, ready_workers(proxy, WORKERS)) for _ in range(2))
        for subscriber in subscribers:
            subscribe(subscriber, *CHANNELS)
        ended = Event()
        threads = [Publisher(client, CHANNELS[number::WORKERS], ended) for number, client in enumerate(publishers)]
        for thread in threads:
            thread.start()
        try:
            for number in range(ROUNDS):
                proxy.serve({"alpha": pool if number % 2 else change(pool)})
                # A message that waits for a connection would follow its server to another address.
                before = [thread.batches for thread in threads]
                wait_until(
                    lambda: all(thread.batches > began + 1 for thread, began in zip(threads, before, strict=True)),  # noqa: B023
                    "messages are published on all channels",
                )
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        for subscriber in subscribers:
            found = messages(subscriber)
            for thread in threads:
                for channel in thread.channels:
                    assert found[channel.encode()] == list(range(thread.batches)), channel
        assert all(client.has_received() is False for client in subscribers)
