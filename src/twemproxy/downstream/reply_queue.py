"""The order of one client's replies.

Compiled-only. A client's requests go to many servers, and replies arrive in any order; the client gets them in request
order. A reply that is next goes straight to the client's send queue, another reply waits in the slot of its request.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import free
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.downstream.unwritten import (
    Written,
    add_reply,
    add_sampled,
    forget_unwritten,
    note_written,
)
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes, enlarge_ring
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.protocol.request import NOREPLY
from cython.cimports.twemproxy.proxy.access_log import AccessLog, AccessRecord
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.stats.positions import FORWARD_ERROR, SLOW_REPLIES

from twemproxy.net.sockets import peer_of
from twemproxy.proxy.access_line import first_word

# A slot array larger than KEEP_SLOTS is freed when the queue is empty: an idle client has one slot.
KEEP_SLOTS = cython.declare(cython.const[cython.uint], 1)
PIPELINE_SLOTS = cython.declare(cython.const[cython.uint], 64)
# Longest time in ``Slot.replied_after``.
LONGEST_TIME = cython.declare(cython.const[int64_t], 0xFFFFFFFF)
# Requests by which the reply with one small value widens the window: it grows fourfold while a window is answered.
GROWTH = cython.declare(cython.const[cython.uint], 3)
# Bytes of an error reply in which its first word is looked for.
LOOKED_AT = cython.declare(cython.const[cython.Py_ssize_t], 128)


@cython.final
@cython.cclass
class ReplyQueue(ReplyHandler):
    """The replies of one client, as a handler of its requests.

    Positions from ``head`` up to ``tail`` are requests whose replies have not been sent; positions wrap at 2^32.
    ``values``: the values that these replies have beyond one each. ``kept``: bytes of replies that wait for their turn
    in blocks.

    ``sampled``: the AccessRecord of each request of the sample of the access log by its position, oldest first, until
    its reply is written; None without one. ``address``: the client's address, empty before the first of them.

    ``window``: how many requests may be in progress, with about as many values. The proxy must take replies from
    servers even if the client does not read, so large values make the window small. ``typical``: bytes per value; it
    rises at once and falls slowly. For small values the window grows by GROWTH per value, up to ``max_pipeline``: the
    first requests are sent before anything is known of their replies.
    """

    def __init__(self, pool: ConfiguredPool, first: int, window_bytes: int) -> None:
        """``first``: the window while no reply size is known. ``window_bytes``: bytes of replies in progress."""
        self.pool = pool
        self.window_bytes = window_bytes
        self.window = min(first, pool.settings.max_pipeline)
        self.address = ""

    def __dealloc__(self) -> None:
        free(self.slots)
        forget_unwritten(self.unwritten)

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    def reserve(self) -> cython.uint:
        """Reserve a position for the next request, and return it."""
        slot: cython.pointer[Slot]
        if self.tail - self.head == self.capacity:
            self.grow()
        slot = cython.address(self.slots[self.tail & (self.capacity - 1)])
        slot.state = AWAITED
        slot.length = 0
        slot.read_at = self.read_at
        slot.command = self.command
        slot.command_class = self.command_class
        self.tail += 1
        return self.tail - 1

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    def reserve_values(self, count: cython.Py_ssize_t) -> cython.uint:
        """As ``reserve``, for a request whose reply has ``count`` values."""
        position: cython.uint = self.reserve()
        # ``length`` of a slot that waits for its reply: the number of values beyond one.
        self.slots[position & (self.capacity - 1)].length = count - 1
        self.values += count - 1
        return position

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        # From one slot to many in one step, because a pipelining client needs many for every batch.
        capacity: cython.uint = max(2 * self.capacity, PIPELINE_SLOTS) if self.capacity > 0 else KEEP_SLOTS
        self.slots = cython.cast(
            cython.pointer[Slot],
            enlarge_ring(self.slots, cython.sizeof(Slot), self.capacity, capacity, self.head, self.tail),
        )
        if capacity > KEEP_SLOTS:
            # The slot that each client has at all times does not count as traffic.
            if self.capacity <= KEEP_SLOTS:
                self.capacity = 0
            self.stream.loop.blocks.allocated += (capacity - self.capacity) * cython.sizeof(Slot)
        self.capacity = capacity
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        slot: cython.pointer[Slot]
        stream: Stream = self.stream
        if stream is None:
            return 0
        slot = cython.address(self.slots[position & (self.capacity - 1)])
        self.learn(length, slot.length + 1)
        self.values -= slot.length
        if position == self.head:
            stream.out.append_held(stream.loop.blocks, block, data, length)
            self.append_measured(slot, stream.loop.real, data, length)
            self.head += 1
            self.advance()
            return stream.loop.want_flush(stream)
        slot.length = length
        slot.replied_after = cython.cast(cython.uint, min(max(stream.loop.real - abs(slot.read_at), 0), LONGEST_TIME))
        if length <= cython.cast(cython.Py_ssize_t, cython.sizeof(slot.reply.bytes)):
            memcpy(slot.reply.bytes, data, length)
            slot.state = SMALL
            return 0
        if block is cython.NULL or length < COPY_LIMIT:
            slot.reply.held.block = stream.loop.blocks.stash(data, length, cython.address(slot.reply.held.data))
        else:
            block.holders += 1
            slot.reply.held.block = block
            slot.reply.held.data = data
        slot.state = HELD
        self.kept += length
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def learn(self, length: cython.Py_ssize_t, count: cython.Py_ssize_t) -> cython.void:
        """Adapt the window to a reply of ``length`` bytes with ``count`` values."""
        widened: cython.Py_ssize_t = self.window + GROWTH * count
        widest: cython.Py_ssize_t = self.pool.settings.max_pipeline
        if count > 1:
            length = length // count
        if length > self.typical:
            self.typical = length
        else:
            self.typical -= (self.typical - length) >> 3
        if self.typical * widest > self.window_bytes:
            widest = max(self.window_bytes // self.typical, 1)
        self.window = cython.cast(cython.uint, min(widened, widest))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        if self.stream is None:
            return 0
        self.pool_counters[FORWARD_ERROR] += 1
        self.note_own(position)
        return self.deliver(
            position,
            cython.NULL,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
            PyBytes_GET_SIZE(reply),
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def advance(self) -> cython.int:
        """Send the replies that are next in order."""
        slot: cython.pointer[Slot]
        replied_at: int64_t
        stream: Stream = self.stream
        while self.head != self.tail:
            slot = cython.address(self.slots[self.head & (self.capacity - 1)])
            if slot.state == AWAITED:
                return 0
            replied_at = abs(slot.read_at) + slot.replied_after
            if slot.state == SMALL:
                stream.out.append(stream.loop.blocks, slot.reply.bytes, slot.length)
                self.append_measured(slot, replied_at, slot.reply.bytes, slot.length)
            else:
                stream.out.append_held(stream.loop.blocks, slot.reply.held.block, slot.reply.held.data, slot.length)
                self.append_measured(slot, replied_at, slot.reply.held.data, slot.length)
                stream.loop.blocks.release(slot.reply.held.block)
                self.kept -= slot.length
            self.head += 1
        if self.capacity > KEEP_SLOTS:
            self.free_slots()
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def append_measured(
        self, slot: cython.pointer[Slot], replied_at: int64_t, data: cython.p_uchar, length: cython.Py_ssize_t
    ) -> cython.void:
        """The next reply was appended to the send queue; it is measured when it is written."""
        if length > 0 and slot.read_at > 0:
            self.unwritten = add_reply(
                self.unwritten, slot.read_at, replied_at, slot.command, slot.command_class, length
            )
        elif slot.read_at < 0:
            self.append_sampled(slot, replied_at, data, length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_written(self) -> cython.int:
        """The client's send queue was flushed: measure the replies that were written."""
        written = cython.declare(Written)
        stream: Stream = self.stream
        now: int64_t
        if self.unwritten is cython.NULL or stream is None:
            return 0
        now = stream.loop.clock.read_real()
        written.n = 0
        written.sampled = 0
        self.unwritten = note_written(
            self.unwritten,
            stream.out.pending,
            now,
            self.pool_counters,
            self.pool.settings.slow_after,
            cython.address(written),
        )
        if written.n + written.sampled > 0:
            if written.n > 0:
                self.pool_counters[SLOW_REPLIES] += written.n
                if self.pool.slow_log.has_room(now):
                    self.pool.slow_log.note_late(
                        written.command, self.client_address(), written.before, written.writing
                    )
            self.log_sampled(written.sampled, now)
        if self.pool.slow_unwritten and self.unwritten is cython.NULL:
            self.pool.slow_log.note_written(self, now)
        return 0

    def client_address(self) -> str:
        """The address of the client; empty if it is closed."""
        return "" if self.stream is None else peer_of(self.stream.fd)

    @cython.cfunc
    @cython.exceptval(check=False)
    def free_slots(self) -> cython.void:
        if self.capacity > KEEP_SLOTS:
            self.stream.loop.blocks.allocated -= self.capacity * cython.sizeof(Slot)
        free(self.slots)
        self.slots = cython.NULL
        self.capacity = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def close(self) -> cython.void:
        """The client is closed: drop this and later replies."""
        slot: cython.pointer[Slot]
        while self.head != self.tail:
            slot = cython.address(self.slots[self.head & (self.capacity - 1)])
            if slot.state == HELD:
                self.stream.loop.blocks.release(slot.reply.held.block)
            self.head += 1
        self.kept = 0
        forget_unwritten(self.unwritten)
        self.unwritten = cython.NULL
        if self.sampled is not None and self.stream is not None:
            self.log_unwritten()
        if self.pool.slow_unwritten:
            self.pool.slow_log.forget(self)
        if self.stream is not None:
            self.free_slots()
        self.stream = None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_owner(self) -> cython.int:
        if self.stream is not None:
            self.stream.abort("an error inside the proxy")
            # Until the client is closed its other replies would fail in the same way, one after the other.
            self.close()
        return 0

    # --- the access log ------------------------------------------------------------------------------------------

    @cython.cfunc
    def record_at(self, position: cython.uint) -> AccessRecord:
        """The record of the request at ``position``, None if it is not in the sample."""
        return None if self.sampled is None else self.sampled.get(position)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin_sampled(self, record: AccessRecord) -> cython.int:
        """The next request is in the sample; call ``end_sampled`` when it was taken, or has to wait."""
        record.read_at = self.read_at if self.read_at > 0 else self.stream.loop.real
        if self.sampled is None:
            self.sampled = {}
        self.sampled[self.tail] = record
        self.read_at = -record.read_at
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def go_on_sampled(self, position: cython.uint) -> cython.void:
        """The request at ``position`` goes on, which may be in the sample; call ``end_sampled`` after that."""
        if self.record_at(position) is not None:
            self.read_at = -abs(self.read_at)

    @cython.cfunc
    @cython.exceptval(check=False)
    def end_sampled(self) -> cython.void:
        """The requests that follow are not in the sample."""
        self.read_at = abs(self.read_at)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_sampled(self) -> cython.int:
        """The request after the last one that was taken was none, or has to wait: forget it, if it is in the sample."""
        access_log: AccessLog = self.pool.access_log
        if self.sampled is not None and self.sampled.pop(self.tail, None) is not None:
            access_log.sink.in_flight -= 1
            if not self.sampled:
                self.sampled = None
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_server(self, position: cython.uint, name: str, sent_at: int64_t, has_replied: cython.bint) -> cython.int:
        record: AccessRecord = self.record_at(position)
        return 0 if record is None else record.note_server(name, sent_at, has_replied)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_own(self, position: cython.uint) -> cython.int:
        """The reply to the request at ``position`` is an error of the proxy's own."""
        record: AccessRecord = self.record_at(position)
        if record is not None:
            record.is_own = True
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_part(self, position: cython.uint, length: cython.Py_ssize_t) -> cython.int:
        """A part of the reply to the request at ``position`` was appended to the send queue, without ``deliver``."""
        record: AccessRecord = self.record_at(position)
        if record is not None:
            record.reply_bytes += length
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def append_sampled(
        self, slot: cython.pointer[Slot], replied_at: int64_t, data: cython.p_uchar, length: cython.Py_ssize_t
    ) -> cython.void:
        """As ``append_measured``, for a request of the sample."""
        access_log: AccessLog = self.pool.access_log
        record: AccessRecord = self.record_at(self.head)
        if record is None:
            return
        record.replied_at = max(replied_at, record.read_at)
        record.reply_bytes += length
        if length > 0 and access_log.codec.is_error(data, 0, length):
            record.error = first_word(
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), min(length, LOOKED_AT))
            )
        self.unwritten = add_sampled(
            self.unwritten, record.read_at, record.replied_at, slot.command, slot.command_class, length
        )
        if self.unwritten is cython.NULL:
            self.log_sampled(1, record.replied_at)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def log_sampled(self, n: cython.uint, now: int64_t) -> cython.int:
        """The replies to the oldest ``n`` requests of the sample are written."""
        access_log: AccessLog = self.pool.access_log
        name: str = self.pool.settings.config.name
        while n > 0 and self.sampled is not None:
            n -= 1
            record: AccessRecord = self.sampled.pop(next(iter(self.sampled)))
            if not self.sampled:
                self.sampled = None
            access_log.sink.write(record, name, now)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def log_unwritten(self) -> cython.void:
        """The client is closed: the replies to the requests of the sample that are left are not written as a whole."""
        access_log: AccessLog = self.pool.access_log
        now: int64_t = self.stream.loop.clock.read_real()
        records: dict = self.sampled
        record: AccessRecord
        self.sampled = None
        for record in records.values():
            record.closed = True
            access_log.sink.write(record, self.pool.settings.config.name, now)

    # --- for tests: the same with ``bytes`` ------------------------------------------------------------------------

    def attach(self, loop: EventLoop) -> SendQueue:
        """Attach the queue to a stream without a socket; returns the stream's send queue."""
        self.stream = Stream()
        self.stream.loop = loop
        return self.stream.out

    def take_place(self) -> int:
        """``reserve``."""
        return self.reserve()

    def put(self, position, data: bytes, held, length=None) -> None:
        """``deliver``, from a block if ``held``; ``length``: the length to deliver, None for that of ``data``."""
        block: cython.pointer[Block] = cython.NULL
        place: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(data))
        if held:
            block = self.stream.loop.blocks.take(len(data))
            memcpy(block_bytes(block), PyBytes_AS_STRING(data), len(data))
            place = block_bytes(block)
        self.deliver(position, block, place, len(data) if length is None else length)
        if held:
            self.stream.loop.blocks.release(block)

    def end(self) -> None:
        """``close``."""
        self.close()

    def figures(self) -> tuple:
        """(requests in progress, bytes kept, the window)."""
        return self.tail - self.head, self.kept, self.window


@cython.cclass
class ClientRequest(ReplyHandler):
    """The handler of a client's request whose reply the proxy looks at, or makes of several ones.

    The client gets its reply at ``position`` of ``replies``. ``expected``: that of the client's request; servers always
    reply, and the handler drops a reply that the client does not want.
    """

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    def begin_request(self, replies: ReplyQueue, values: cython.Py_ssize_t) -> cython.uint:
        """Be the handler of the request that the client asks now; returns the position of its reply.

        ``values``: see ``ReplyQueue.reserve_values``.
        """
        self.copy_measured(replies)
        self.position = replies.reserve_values(values)
        return self.position

    @cython.cfunc
    @cython.exceptval(check=False)
    def copy_measured(self, replies: ReplyQueue) -> cython.void:
        """This is, or is a part of, the request that the client asks now."""
        self.replies = replies
        self.read_at = replies.read_at
        self.command = replies.command
        self.command_class = replies.command_class
        self.hot_place = replies.hot_place
        replies.hot_place = 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_server(self, position: cython.uint, name: str, sent_at: int64_t, has_replied: cython.bint) -> cython.int:
        return self.replies.note_server(self.position, name, sent_at, has_replied)

    @cython.cfunc
    def owner(self) -> object:
        return self.replies

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_owner(self) -> cython.int:
        return self.replies.close_owner()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_with(self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Reply to the client with these bytes, unless it wants no reply."""
        return self.replies.deliver(self.position, block, data, 0 if self.expected & NOREPLY else length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        return self.replies.fail(self.position, b"" if self.expected & NOREPLY else reply)
