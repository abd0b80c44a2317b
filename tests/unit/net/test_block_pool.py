"""The pool of blocks, compared with a model: held bytes never change, and all memory is counted."""

from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from twemproxy.net.block import BlockPool

READ_SIZE = 32 * 1024
SIZES = st.sampled_from([1, 100, 4032, 4033, 16_320, 16_321, 32_768, 32_769, 300_000])
LARGE_SIZES = st.sampled_from([600_000, 4_194_304, 4_194_305, 9_000_000])
# The most bytes that a turn of the event loop frees.
GIVEN_BACK = 4_194_304
# All bytes are compared after each step: this limit keeps the test fast.
MOST_HELD = 8_000_000
SMALL_SIZES = st.sampled_from([1, 20, 500, 4000])

make: Any = BlockPool


class Held(NamedTuple):
    """A hold on a block; ``place``: the address of the held bytes, 0 for the beginning of the block."""

    block: int
    place: int
    data: bytes


class Pool(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = make(READ_SIZE)
        self.held: list[Held] = []
        self.number = 0

    def data(self, size: int) -> bytes:
        """Bytes that no other call returns."""
        self.number += 1
        return (b"<%d>" % self.number * (size // 3 + 1))[:size]

    @rule(size=SIZES)
    def take(self, size: int) -> None:
        data = self.data(size)
        self.held.append(Held(self.pool.take_block(data), 0, data))

    @precondition(lambda self: sum(len(held.data) for held in self.held) < MOST_HELD)
    @rule(size=LARGE_SIZES)
    def take_large(self, size: int) -> None:
        self.take(size)

    @rule(size=SMALL_SIZES)
    def stash(self, size: int) -> None:
        data = self.data(size)
        block, place = self.pool.put_aside(data)
        self.held.append(Held(block, place, data))

    @rule(size=st.sampled_from([1, 20, 8000]))
    def read(self, size: int) -> None:
        data = self.data(size)
        block, place = self.pool.read(data)
        self.held.append(Held(block, place, data))

    @precondition(lambda self: any(not held.place for held in self.held))
    @rule(which=st.randoms(use_true_random=False), size=SIZES)
    def grow(self, which: Any, size: int) -> None:
        held = which.choice([held for held in self.held if not held.place])
        data = self.data(size)
        self.held.remove(held)
        allocated, dropped = self.pool.allocated, self.pool.dropped
        block = self.pool.grow_block(held.block, data, len(held.data))
        if dropped >= len(held.data) + size:
            assert self.pool.allocated <= allocated
        self.held.append(Held(block, 0, held.data + data))

    @precondition(lambda self: self.held)
    @rule(which=st.randoms(use_true_random=False))
    def let_go(self, which: Any) -> None:
        held = which.choice(self.held)
        self.held.remove(held)
        self.pool.let_go(held.block)

    @rule(which=st.randoms(use_true_random=False))
    def let_all_go(self, which: Any) -> None:
        which.shuffle(self.held)
        for held in self.held:
            self.pool.let_go(held.block)
        self.held.clear()

    @rule()
    def end_turn(self) -> None:
        allocated, dropped = self.pool.allocated, self.pool.dropped
        self.pool.end_turn()
        given_back = dropped - self.pool.dropped
        assert self.pool.allocated == allocated - given_back
        assert 0 <= given_back <= GIVEN_BACK
        # A turn in which no block is released frees as many bytes as it may.
        dropped = self.pool.dropped
        self.pool.end_turn()
        assert self.pool.dropped == max(dropped - GIVEN_BACK, 0)

    @rule()
    def trim(self) -> None:
        self.pool.trim()
        assert self.pool.unused_bytes() == 0
        assert self.pool.dropped == 0

    @invariant()
    def held_bytes_stay_as_they_are(self) -> None:
        for held in self.held:
            where = (0, held.place) if held.place else (held.block, 0)
            assert self.pool.bytes_of(*where, len(held.data)) == held.data

    @invariant()
    def memory_in_use_is_counted(self) -> None:
        used = sum(len(held.data) for held in self.held if not held.place)
        assert self.pool.allocated - self.pool.unused_bytes() - self.pool.dropped >= used

    @invariant()
    def what_is_given_back_was_not_held(self) -> None:
        assert 0 <= self.pool.dropped <= self.pool.allocated

    def teardown(self) -> None:
        for held in self.held:
            self.pool.let_go(held.block)
        self.pool.trim()
        assert self.pool.allocated == 0


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
