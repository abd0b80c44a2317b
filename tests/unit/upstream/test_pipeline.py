"""The pipeline of requests on a server connection, compared with a model: no byte and no reply is lost.

The model is a list of requests with the number of their unsent bytes. Both get the same random operations.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twemproxy.net.block import BlockPool
from twemproxy.net.send_queue import SendQueue
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.proxy.reply_handler import ReplyHandler
from twemproxy.upstream.pipeline import Pipeline

NEVER = (1 << 63) - 1
TIMEOUT = 10
READ_SIZE = 65536
FEATURES = st.sampled_from([0, 0, 1, 2, 3])
"""Bits, of which a request needs some and a server has some."""

make: Any = lambda kind, *arguments: kind(*arguments)  # noqa: E731


@dataclass(eq=False)
class Request:
    """``copied``: whether it is a read that is kept for another time. ``left``: the number of unsent bytes."""

    number: int
    owner: ReplyHandler
    data: bytes
    deadline: int
    copied: bool
    features: int
    left: int = field(init=False)
    resent: bool = False
    failed: bool = False

    def __post_init__(self) -> None:
        self.left = len(self.data)


class PipelineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = make(BlockPool, READ_SIZE)
        self.out: Any = SendQueue()
        self.pipeline: Any = Pipeline()
        self.codec = make(MemcacheCodec)
        self.owners = [ReplyHandler() for _ in range(3)]
        self.now = 0
        self.numbers = 0
        self.requests: list[Request] = []
        self.rest = b""
        """The unsent bytes of a request that was answered early."""

    @initialize(timeout=st.sampled_from([0, TIMEOUT]))
    def choose_timeout(self, timeout: int) -> None:
        self.timeout = timeout

    # --- the model ---------------------------------------------------------------------------------------------

    def content(self) -> bytes:
        return self.rest + b"".join(request.data[len(request.data) - request.left :] for request in self.requests)

    def begun(self) -> bool:
        """Whether the next byte to send belongs to a request that is partly sent."""
        unsent = self.unsent()
        return bool(self.rest) or (bool(unsent) and unsent[0].left < len(unsent[0].data))

    def unsent(self) -> list[Request]:
        return [request for request in self.requests if request.left]

    def skip_dropped(self) -> None:
        """Remove requests that will not be sent, once the server owes no reply to a request before them."""
        while self.requests and self.requests[0].failed and not self.requests[0].data:
            self.requests.pop(0)

    # --- operations --------------------------------------------------------------------------------------------

    @rule(
        wanted=st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0, 1, 5000]), FEATURES), min_size=1, max_size=6)
    )
    def queue(self, wanted: list[tuple[int, int, int]]) -> None:
        """Queue requests of these owners: a get, or a set of this many bytes, which need these features."""
        for owner, size, features in wanted:
            self.queue_one(self.owners[owner], size, features)

    @rule()
    def queue_many(self) -> None:
        for _ in range(1100):
            self.queue_one(self.owners[2], 0, 0)

    def queue_one(self, owner: ReplyHandler, size: int, features: int) -> None:
        number = self.numbers
        self.numbers += 1
        data = b"get k%d\r\n" % number
        if size:
            data = b"set k%d 0 0 %d\r\n" % (number, size) + b"%d" % (number % 10) * size + b"\r\n"
        deadline = self.now + self.timeout if self.timeout else NEVER
        self.requests.append(Request(number, owner, data, deadline, not size, features))
        self.pipeline.queue(owner, number, data, deadline, self.out, self.blocks, self.codec, features)

    def leave(self, count: int) -> None:
        self.pipeline.send(count, self.out, self.blocks)
        part = min(count, len(self.rest))
        self.rest = self.rest[part:]
        count -= part
        for request in self.unsent():
            part = min(count, request.left)
            request.left -= part
            count -= part

    @precondition(lambda self: self.content())
    @rule(kept=st.sampled_from([0, 0, 1, 2, 7, 3000]))
    def send_all_but(self, kept: int) -> None:
        self.leave(max(len(self.content()) - kept, 0))

    @precondition(lambda self: self.content())
    @rule(count=st.sampled_from([1, 3, 10, 100]))
    def send(self, count: int) -> None:
        self.leave(min(count, len(self.content())))

    @precondition(lambda self: self.requests and not self.requests[0].left)
    @rule(count=st.sampled_from([1, 1, 10_000]))
    def answer(self, count: int) -> None:
        while count and self.requests and not self.requests[0].left:
            request = self.requests.pop(0)
            assert self.pipeline.answer(False) == (None if request.failed else request.number)
            self.skip_dropped()
            count -= 1

    @precondition(
        lambda self: self.requests and not self.rest and 0 < self.requests[0].left < len(self.requests[0].data)
    )
    @rule()
    def answer_early(self) -> None:
        request = self.requests.pop(0)
        self.rest = request.data[len(request.data) - request.left :]
        assert self.pipeline.answer(True) == (None if request.failed else request.number)
        self.skip_dropped()

    @precondition(lambda self: self.timeout)
    @rule(passed=st.sampled_from([1, TIMEOUT]))
    def expire(self, passed: int) -> None:
        self.now += passed
        overdue = [request for request in self.requests if not request.failed and request.deadline <= self.now]
        found = self.pipeline.expire(self.now, self.out, self.blocks)
        assert [place[1] for place in found] == [request.number for request in overdue]
        for request in overdue:
            request.failed = True
        if not self.begun():
            for request in self.unsent():
                if request.failed:
                    request.data, request.left = b"", 0
            self.skip_dropped()

    @precondition(lambda self: self.requests or self.rest)
    @rule(again=st.booleans())
    def lose_connection(self, again: bool) -> None:
        found = self.pipeline.lose_connection(self.out, self.blocks, again)
        self.rest = b""
        writers: set[ReplyHandler] = set()
        failed: list[int] = []
        kept: list[Request] = []
        for request in reversed(self.requests):
            fresh = request.left == len(request.data) and not request.resent
            repeats = request.copied and not request.resent and request.owner not in writers
            if request.failed:
                continue
            if again and (fresh or repeats):
                request.resent = True
                request.copied = False
                request.left = len(request.data)
                kept.insert(0, request)
            else:
                if not request.copied:
                    writers.add(request.owner)
                failed.insert(0, request.number)
        self.requests = kept
        assert [place[1] for place in found] == failed

    @precondition(lambda self: self.requests and not self.rest and self.unsent() == self.requests and not self.begun())
    @rule(features=FEATURES)
    def greet(self, features: int) -> None:
        """The server has these features: requests that need others fail before anything is written."""
        unsupported = [request for request in self.requests if not request.failed and request.features & ~features]
        found = self.pipeline.greet(features, self.out, self.blocks)
        assert [place[1] for place in found] == [request.number for request in unsupported]
        self.requests = [request for request in self.requests if request not in unsupported]

    @precondition(lambda self: self.unsent())
    @rule()
    def take_back(self) -> None:
        taken = [request for request in self.unsent() if request.left == len(request.data)]
        found = self.pipeline.take_back(self.out, self.blocks)
        assert [(place[1], place[3]) for place in found] == [
            (request.number, request.data) for request in taken if not request.failed
        ]
        self.requests = [request for request in self.requests if request not in taken]

    # --- invariants --------------------------------------------------------------------------------------------

    @invariant()
    def the_same_bytes_have_still_to_leave(self) -> None:
        assert self.out.pending == len(self.content())
        assert self.out.content() == self.content()

    @invariant()
    def the_same_requests_are_on_their_way(self) -> None:
        requests, written, begun, _, deadline = self.pipeline.figures()
        waiting = [request for request in self.requests if not request.failed]
        assert requests == len(self.requests)
        assert written == len(self.requests) - len(self.unsent())
        assert begun == (written == 0 and not self.rest and self.begun())
        assert deadline == (waiting[0].deadline if waiting else NEVER)

    @invariant()
    def their_bytes_are_counted(self) -> None:
        assert self.pipeline.figures()[3] == sum(len(request.data) for request in self.requests)


TestRing = PipelineMachine.TestCase
TestRing.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_the_end_of_a_request_that_was_answered_early_still_leaves() -> None:
    """This holds also if a large pipeline shrinks meanwhile: the next request must not count as written."""
    blocks, out, pipeline = make(BlockPool, READ_SIZE), SendQueue(), Pipeline()
    handler = ReplyHandler()
    doors: Any = pipeline
    for number in range(1500):
        doors.queue(handler, number, b"get x\r\n", NEVER, out, blocks, None)
    value = b"set k 0 0 2000\r\n" + b"v" * 2000 + b"\r\n"
    doors.queue(handler, 1500, value, NEVER, out, blocks, None)
    doors.send(1500 * 7 + 1000, out, blocks)
    for number in range(1500):
        assert doors.answer(False) == number
    assert doors.answer(True) == 1500
    doors.queue(handler, 1501, b"get y\r\n", 10, out, blocks, None)
    doors.send(500, out, blocks)
    assert doors.figures()[:2] == (1, 0)
    assert [place[1] for place in doors.expire(10, out, blocks)] == [1501]
    assert make(lambda: out).content() == value[1500:] + b"get y\r\n"
