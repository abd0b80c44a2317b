"""The order of a client's replies, compared with a model: they are sent in the order of the requests."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twemproxy.config.pools import Address, ListenConfig, PoolConfig
from twemproxy.downstream.reply_queue import ReplyQueue
from twemproxy.net.event_loop import EventLoop
from twemproxy.proxy.pool_settings import ConfiguredPool

WINDOW = 1024
FIRST_WINDOW = 16
GROWTH = 3
WINDOW_BYTES = 1 << 20
LARGEST_IN_SLOT = 24

LISTEN = ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1))

make: Any = lambda kind, *arguments: kind(*arguments)  # noqa: E731


def make_pool() -> Any:
    return make(ConfiguredPool, PoolConfig("p", LISTEN, (), max_pipeline=WINDOW))


class Replies(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = make(EventLoop, print, 65536)
        self.queue = make(ReplyQueue, make_pool(), FIRST_WINDOW, WINDOW_BYTES)
        self.out = self.queue.attach(self.loop)
        self.waiting: dict[int, bytes | None] = {}
        """The replies to pending requests, in the order of the requests; None for a reply that has not arrived."""
        self.left = b""
        self.typical = 0
        self.window = FIRST_WINDOW
        self.number = 0

    @initialize(position=st.sampled_from([0, 3000]))
    def begin(self, position: int) -> None:
        """Complete some requests, so that the first position may be any slot."""
        for _ in range(position):
            self.queue.put(self.queue.take_place(), b"", False)
            self.learn(0)

    def learn(self, size: int) -> None:
        """Model a reply of this size: the window widens slowly, and narrows at once for large replies."""
        self.typical = size if size > self.typical else self.typical - ((self.typical - size) >> 3)
        widest = WINDOW if self.typical <= WINDOW_BYTES // WINDOW else max(WINDOW_BYTES // self.typical, 1)
        self.window = min(self.window + GROWTH, widest)

    @rule(count=st.sampled_from([1, 1, 3, 5, 70]))
    def reserve(self, count: int) -> None:
        for _ in range(count):
            position = self.queue.take_place()
            assert position not in self.waiting
            self.waiting[position] = None

    @precondition(lambda self: None in self.waiting.values())
    @rule(
        which=st.sampled_from(["first", "last", "middle"]),
        size=st.sampled_from([0, 1, 15, 19, 23, 24, 25, 4095, 4096, 50_000]),
        held=st.booleans(),
    )
    def deliver(self, which: str, size: int, held: bool) -> None:
        awaited = [position for position, reply in self.waiting.items() if reply is None]
        position = awaited[{"first": 0, "last": -1, "middle": len(awaited) // 2}[which]]
        self.number += 1
        data = (b"<%d>" % self.number * (size // 3 + 1))[:size]
        self.queue.put(position, data, held)
        self.waiting[position] = data
        self.learn(size)
        while self.waiting and (reply := next(iter(self.waiting.values()))) is not None:
            self.left += reply
            del self.waiting[next(iter(self.waiting))]

    @invariant()
    def replies_leave_in_the_order_of_requests(self) -> None:
        assert self.out.pending == len(self.left)
        assert self.out.content() == self.left

    @invariant()
    def what_waits_is_counted(self) -> None:
        on_their_way, kept, window = self.queue.figures()
        assert on_their_way == len(self.waiting)
        assert kept == sum(
            len(reply) for reply in self.waiting.values() if reply is not None and len(reply) > LARGEST_IN_SLOT
        )
        assert window == self.window

    def teardown(self) -> None:
        self.queue.end()
        assert self.queue.figures()[:2] == (0, 0)
        self.out.empty(self.loop.blocks)
        self.loop.blocks.trim()
        assert self.loop.blocks.allocated == 0


TestReplies = Replies.TestCase
TestReplies.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)


def test_a_reply_of_more_than_4_gb_keeps_its_length_while_it_waits() -> None:
    loop = make(EventLoop, print, 65536)
    queue = make(ReplyQueue, make_pool(), WINDOW, WINDOW_BYTES)
    out = queue.attach(loop)
    first, second = queue.take_place(), queue.take_place()
    queue.put(second, b"x" * 5000, True, 5 << 30)
    assert queue.figures()[1] == 5 << 30
    queue.put(first, b"+OK\r\n", False)
    assert queue.figures()[1] == 0
    assert out.pending == (5 << 30) + 5
    queue.end()
    out.empty(loop.blocks)
