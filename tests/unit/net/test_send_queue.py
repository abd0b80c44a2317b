"""The send queue, compared with a string of bytes under random operations."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from twemproxy.net.block import BlockPool
from twemproxy.net.send_queue import SendQueue

READ_SIZE = 65536
SIZES = st.sampled_from([0, 1, 10, 4031, 4032, 4033, 4096, 16000, 70_000])
PARTS = st.sampled_from([0, 1, 2, 1000, 4032, 10_000, 1 << 40])

make: Any = BlockPool


class Queue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = make(READ_SIZE)
        self.queue: Any = SendQueue()
        self.model = b""
        self.number = 0

    def data(self, size: int) -> bytes:
        """Bytes that no other call returns."""
        self.number += 1
        return (b"<%d>" % self.number * (size // 3 + 1))[:size]

    @rule(size=SIZES, held=st.booleans(), times=st.sampled_from([1, 1, 5]))
    def put(self, size: int, held: bool, times: int) -> None:
        for _ in range(times):
            data = self.data(size)
            self.queue.put(self.blocks, data, held)
            self.model += data

    @rule(count=PARTS)
    def leave(self, count: int) -> None:
        count = min(count, len(self.model))
        self.queue.leave(self.blocks, count)
        self.model = self.model[count:]

    @rule(count=PARTS)
    def take_back(self, count: int) -> None:
        count = min(count, len(self.model))
        assert self.queue.take_back(self.blocks, count) == self.model[len(self.model) - count :]
        self.model = self.model[: len(self.model) - count]

    @rule(sizes=st.lists(SIZES, max_size=5), held=st.booleans(), in_front=st.booleans())
    def join(self, sizes: list[int], held: bool, in_front: bool) -> None:
        other: Any = SendQueue()
        data = [self.data(size) for size in sizes]
        for piece in data:
            other.put(self.blocks, piece, held)
        if in_front:
            other.join(self.queue)
            self.queue, other = other, self.queue
            self.model = b"".join(data) + self.model
        else:
            self.queue.join(other)
            self.model += b"".join(data)
        assert (other.pending, other.content()) == (0, b"")

    @precondition(lambda self: self.model)
    @rule()
    def empty(self) -> None:
        self.queue.empty(self.blocks)
        self.model = b""

    @invariant()
    def it_has_the_same_bytes(self) -> None:
        assert self.queue.pending == len(self.model)
        assert self.queue.content() == self.model

    def teardown(self) -> None:
        self.queue.empty(self.blocks)
        assert self.blocks.allocated == self.blocks.unused_bytes()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
