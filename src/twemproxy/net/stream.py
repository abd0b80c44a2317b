"""A connection with its two buffers: the *tail*, which is unparsed input, and the output that is not sent yet.

Compiled-only. The owner is a subclass and gets input in ``consume``; an idle stream holds no buffer. All system calls
are made by the ``Transport``.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcpy
from cython.cimports.posix.uio import iovec
from cython.cimports.twemproxy.net.block import COPY_LIMIT, GROWTH_LIMIT, MEDIUM, Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import Channel
from cython.cimports.twemproxy.net.poller import BROKEN, PEER_CLOSED, READABLE, WRITABLE
from cython.cimports.twemproxy.net.send_queue import Segment, SendQueue
from cython.cimports.twemproxy.net.transport import DONE, FAILED, WANT_READ, WANT_WRITE, Result, Transport

# Unsent bytes above which other streams must not add more (HIGH_WATER), and up to which they may again (LOW_WATER).
HIGH_WATER = cython.declare(cython.const[cython.Py_ssize_t], 4 * 1024 * 1024)
LOW_WATER = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# Limit of the memory for an incomplete message, as a multiple of its bytes so far, whatever length the peer announced.
TRUST = cython.declare(cython.const[cython.Py_ssize_t], 8)


@cython.no_gc_clear
@cython.cclass
class Stream(Channel):
    """One connection. ``needed``: set by the owner, the length of the tail at which parsing can continue.

    ``pauses``: a bit for each reason for which no input is passed to ``consume``; 0 if the stream is not paused.

    ``ahead``: input that was read while the stream was paused, and follows the tail; None before the first such read.
    Input is read during a pause if ``reads_ahead`` is set.

    ``heard_at``: the loop's time when the peer last showed activity, in microseconds. ``read_turn``: the loop's turn of
    the last read.

    ``watches_hangup``: ``on_hangup`` is also called while nothing is read.

    ``transport``: None while the stream is closed. ``established``: bytes can be received and sent. ``read_events``,
    ``send_events``: the event of ``net.poller`` after which the transport can receive or send, usually READABLE and
    WRITABLE.
    ``shut_events``: the event after which it can go on to shut its side, 0 for none; ``is_shut``: its side is shut.
    """

    def __cinit__(self) -> None:
        self.out = SendQueue()

    def __dealloc__(self) -> None:
        # The garbage collector does not clear what this needs: ``no_gc_clear`` of Channel, Stream and EventLoop.
        if self.loop is not None:
            self.drop_input()
            if self.out is not None:
                self.out.clear(self.loop.blocks)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open_stream(self, transport: Transport) -> cython.int:
        """Take over a transport. If it is not established yet, ``on_established`` or ``on_refused`` follows."""
        self.transport = transport
        self.fd = transport.fd
        self.pauses = 0
        self.ended = False
        self.is_shut = False
        self.read_events = READABLE
        self.send_events = WRITABLE
        self.shut_events = 0
        self.established = transport.progress == DONE
        return self.loop.watch(self, WRITABLE if transport.progress == WANT_WRITE else READABLE)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_stream(self) -> cython.int:
        """Close the socket and drop the bytes of both directions; a second call does nothing."""
        if self.fd >= 0:
            self.close_socket()
            self.out.clear(self.loop.blocks)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_socket(self) -> cython.int:
        """Close the socket and drop the input, but keep the output; a second call does nothing."""
        if self.fd < 0:
            return 0
        self.loop.forget(self)
        self.transport.close()
        self.transport = None
        self.fd = -1
        self.established = False
        self.drop_input()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def update_interest(self) -> cython.int:
        """Wait for the events that the stream can use now; without a change there is no system call."""
        interest: uint32_t = self.shut_events
        if not self.established:
            return 0
        if (self.pauses == 0 or self.reads_ahead) and not self.ended:
            interest |= self.read_events
            if self.transport.buffered > 0:
                self.loop.read_again(self)
        if (self.out.pending > 0 and self.may_send()) or self.transport.unsent > 0:
            interest |= self.send_events
        if self.watches_hangup:
            interest |= PEER_CLOSED
        if interest != self.interest:
            return self.loop.watch(self, interest)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def establish(self) -> cython.int:
        """Go on with connecting and the handshake of the transport."""
        result: Result = self.transport.establish()
        if result == FAILED:
            return self.on_refused(self.transport.error)
        if result != DONE:
            return self.loop.watch(self, WRITABLE if result == WANT_WRITE else READABLE)
        self.established = True
        self.loop.watch(self, READABLE)
        if self.transport.buffered > 0:
            self.loop.read_again(self)
        return self.on_established()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        if not self.established:
            return self.establish() if events & (self.interest | BROKEN) else 0
        # Read first: bytes that arrived before an error or an end still count.
        if events & self.read_events and (self.pauses == 0 or self.reads_ahead) and not self.ended:
            self.heard_at = self.loop.now
            self.read_turn = self.loop.turn
            if self.read_events != READABLE:
                self.read_events = READABLE
                self.update_interest()
            if self.pauses != 0:
                self.read_ahead()
            else:
                self.receive()
            if self.established and self.transport.buffered > 0:
                self.update_interest()
            if self.send_events != WRITABLE:
                # This read may have taken the input for which the transport waited to send.
                self.loop.want_flush(self)
        elif events & BROKEN:
            self.on_broken(self.transport.pending_error())
        elif events & PEER_CLOSED and self.watches_hangup:
            self.on_hangup()
        if self.established and events & (self.send_events | self.shut_events):
            self.on_sendable(events)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_sendable(self, events: uint32_t) -> cython.int:
        """The transport can send, or go on to shut its side."""
        result: Result = DONE
        if events & self.shut_events and self.shut_write():
            self.on_shut()
        if not self.established or not events & self.send_events:
            return 0
        if self.transport.unsent > 0:
            result = self.transport.flush()
            if result == FAILED:
                return self.on_broken(self.transport.error)
            self.send_events = READABLE if result == WANT_READ else WRITABLE
            self.update_interest()
        return self.loop.want_flush(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut_write(self) -> cython.bint:
        """Tell the peer that nothing follows; False if this takes more turns, and then ``on_shut`` follows."""
        result: Result
        if not self.is_shut:
            result = self.transport.shut_write()
            self.is_shut = result == DONE or result == FAILED
            self.shut_events = 0 if self.is_shut else READABLE if result == WANT_READ else WRITABLE
            self.update_interest()
        return self.is_shut

    # --- reading ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self) -> cython.int:
        """Read once, and pass the bytes to ``consume`` together with the tail."""
        block: cython.pointer[Block]
        data: cython.p_uchar
        start: cython.Py_ssize_t
        end: cython.Py_ssize_t
        n: cython.Py_ssize_t
        tail: cython.Py_ssize_t = self.tail_end - self.tail_start
        if tail > COPY_LIMIT:
            if self.needed > tail and self.needed - tail < self.loop.blocks.read_size:
                return self.receive_beside_tail()
            return self.receive_into_tail()
        block = self.loop.blocks.reading()
        start = self.loop.blocks.read_start
        data = block_bytes(block)
        n = self.transport.receive(data + start + tail, min(block.capacity - start - tail, self.loop.blocks.read_most))
        if n <= 0:
            return self.received(n)
        if tail > 0:
            memcpy(data + start, block_bytes(self.tail) + self.tail_start, tail)
            self.drop_tail()
        end = start + tail + n
        block.holders += 1
        self.loop.blocks.read_done(end)
        try:
            if tail + n >= self.needed:
                start = self.consume(block, start, end)
            if start < end and self.fd >= 0:
                self.keep_tail(block, start, end)
        finally:
            self.loop.blocks.release(block)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive_beside_tail(self) -> cython.int:
        """Complete the tail up to ``needed``, and read later bytes into the shared block, in one read."""
        vector = cython.declare(iovec[2])
        block: cython.pointer[Block]
        start: cython.Py_ssize_t
        end: cython.Py_ssize_t
        n: cython.Py_ssize_t
        missing: cython.Py_ssize_t = self.needed - (self.tail_end - self.tail_start)
        self.extend_tail(cython.NULL, missing)
        block = self.loop.blocks.reading()
        start = self.loop.blocks.read_start
        vector[0].iov_base = block_bytes(self.tail) + self.tail_end
        vector[0].iov_len = missing
        vector[1].iov_base = block_bytes(block) + start
        vector[1].iov_len = block.capacity - start
        n = self.transport.receive_both(vector)
        if n <= 0:
            return self.received(n)
        if n <= missing:
            self.tail_end += n
            return self.consume_tail() if n == missing else 0
        self.tail_end += missing
        end = start + n - missing
        block.holders += 1
        self.loop.blocks.read_done(end)
        try:
            self.consume_tail()
            if self.tail is not cython.NULL:
                self.extend_tail(block_bytes(block) + start, end - start)
                start = end
                if self.pauses == 0:
                    self.consume_tail()
            elif self.fd >= 0 and not self.ended:
                if self.pauses == 0:
                    start = self.consume(block, start, end)
                if start < end and self.fd >= 0:
                    self.keep_tail(block, start, end)
        finally:
            self.loop.blocks.release(block)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive_into_tail(self) -> cython.int:
        """Read into a long tail, which grows as the bytes arrive."""
        n: cython.Py_ssize_t
        tail: cython.Py_ssize_t = self.tail_end - self.tail_start
        wanted: cython.Py_ssize_t = max(self.needed - tail, self.loop.blocks.read_size)
        self.extend_tail(cython.NULL, min(wanted, GROWTH_LIMIT, max(TRUST * tail, self.loop.blocks.read_size)))
        n = self.transport.receive(
            block_bytes(self.tail) + self.tail_end, min(wanted, self.tail.capacity - self.tail_end)
        )
        if n <= 0:
            return self.received(n)
        self.tail_end += n
        if self.tail_end - self.tail_start >= self.needed:
            return self.consume_tail()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_ahead(self) -> cython.int:
        """Read once, and keep the bytes in ``ahead``."""
        block: cython.pointer[Block] = self.loop.blocks.reading()
        start: cython.Py_ssize_t = self.loop.blocks.read_start
        n: cython.Py_ssize_t
        n = self.transport.receive(block_bytes(block) + start, min(block.capacity - start, self.loop.blocks.read_most))
        if n <= 0:
            return self.received(n)
        if self.ahead is None:
            self.ahead = SendQueue()
        return self.ahead.append(self.loop.blocks, block_bytes(block) + start, n)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def received(self, n: cython.Py_ssize_t) -> cython.int:
        """Handle the result ``n`` of a read that brought no bytes: an end, an error, or nothing."""
        if n == 0:
            self.ended = True
            return self.on_end()
        if n == WANT_READ:
            return 0
        if n == WANT_WRITE:
            self.read_events = WRITABLE
            return self.update_interest()
        return self.on_broken(self.transport.error)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume_tail(self) -> cython.int:
        """Pass the tail to ``consume`` again."""
        block: cython.pointer[Block] = self.tail
        start: cython.Py_ssize_t
        if block is cython.NULL:
            return 0
        block.holders += 1
        try:
            start = self.consume(block, self.tail_start, self.tail_end)
            if self.tail is block:
                self.tail_start = start
                if start == self.tail_end:
                    self.drop_tail()
        finally:
            self.loop.blocks.release(block)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume_ahead(self) -> cython.int:
        """Pass the bytes of ``ahead`` to ``consume``, after the tail, up to the size of one read per turn."""
        segment: cython.pointer[Segment]
        block: cython.pointer[Block]
        start: cython.Py_ssize_t
        length: cython.Py_ssize_t
        tail: cython.Py_ssize_t
        left: cython.Py_ssize_t = self.loop.blocks.read_size
        while self.pauses == 0 and self.fd >= 0 and self.ahead.pending > 0:
            if left <= 0:
                self.pauses |= PAUSED_FOR_TURN
                return self.loop.put_off(self)
            segment = cython.address(self.ahead.segments[self.ahead.first])
            length = segment.length
            tail = self.tail_end - self.tail_start
            if self.tail is cython.NULL:
                block = segment.block
                block.holders += 1
                start = segment.data - block_bytes(block)
                try:
                    length = self.consume(block, start, start + length) - start
                    if self.fd >= 0 and self.ahead.pending > 0:
                        if self.pauses == 0 and length < segment.length:
                            self.keep_tail(block, start + length, start + segment.length)
                            length = segment.length
                        self.ahead.retire(self.loop.blocks, length)
                finally:
                    self.loop.blocks.release(block)
            else:
                length = min(length, max(self.needed - tail, MEDIUM))
                self.extend_tail(segment.data, length)
                self.ahead.retire(self.loop.blocks, length)
                if tail + length >= self.needed:
                    self.consume_tail()
            left -= length
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_tail(self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Copy the unparsed bytes of a block into the tail."""
        length: cython.Py_ssize_t = end - start
        room: cython.Py_ssize_t = min(length + self.loop.blocks.growth, TRUST * length)
        capacity: cython.Py_ssize_t = max(length, min(self.needed, room))
        self.tail = self.loop.blocks.take(capacity)
        memcpy(block_bytes(self.tail), block_bytes(block) + start, length)
        self.tail_start = 0
        self.tail_end = length
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def extend_tail(self, data: cython.pointer[cython.const[cython.uchar]], length: cython.Py_ssize_t) -> cython.int:
        """Make room for ``length`` more bytes after the tail, and copy ``data`` there unless it is NULL."""
        used: cython.Py_ssize_t = self.tail_end - self.tail_start
        capacity: cython.Py_ssize_t
        block: cython.pointer[Block]
        if self.tail.capacity - self.tail_end < length:
            capacity = used + max(length, min(used, GROWTH_LIMIT))
            if self.tail.holders == 1 and self.tail_start == 0:
                block = self.loop.blocks.grow(self.tail, capacity)
            else:
                block = self.loop.blocks.take(capacity)
                memcpy(block_bytes(block), block_bytes(self.tail) + self.tail_start, used)
                self.loop.blocks.release(self.tail)
            self.tail = block
            self.tail_start = 0
            self.tail_end = used
        if data is not cython.NULL:
            memcpy(block_bytes(self.tail) + self.tail_end, data, length)
            self.tail_end += length
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_tail(self) -> cython.void:
        if self.tail is not cython.NULL:
            self.loop.blocks.release(self.tail)
            self.tail = cython.NULL
            self.tail_start = 0
            self.tail_end = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_input(self) -> cython.void:
        """Drop all unparsed input."""
        self.drop_tail()
        if self.ahead is not None:
            self.ahead.clear(self.loop.blocks)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def process_input(self, data: bytes) -> cython.int:
        """Pass bytes to ``consume`` as if they had just been read, on a stream that has read nothing yet."""
        length: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        if length == 0:
            return 0
        self.tail = self.loop.blocks.take(length)
        memcpy(block_bytes(self.tail), PyBytes_AS_STRING(data), length)
        self.tail_start = 0
        self.tail_end = length
        return self.consume_tail()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def pause(self, reasons: cython.uint) -> cython.int:
        """Pass no more bytes to ``consume`` while one of these reasons exists."""
        self.pauses |= reasons
        return self.update_interest()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def resume(self, reasons: cython.uint) -> cython.int:
        """These reasons do not exist any more; without another one continue where ``pause`` stopped.

        First the tail and ``ahead`` are passed to ``consume``, then new input.
        """
        self.pauses &= ~reasons
        if self.pauses != 0:
            return 0
        self.consume_tail()
        if self.ahead is not None:
            self.consume_ahead()
        if self.fd >= 0 and self.pauses == 0:
            return self.update_interest()
        return 0

    # --- sending ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        sent: cython.Py_ssize_t = 0
        result: Result
        if not self.established:
            return 0
        result = self.out.flush(self.loop.blocks, self.transport, cython.address(sent))
        if result == FAILED:
            return self.on_broken(self.transport.error)
        if result != DONE or self.interest & WRITABLE or self.send_events != WRITABLE or self.transport.unsent > 0:
            self.send_events = READABLE if result == WANT_READ else WRITABLE
            self.update_interest()
        return self.on_flushed(sent)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_first(self, data: bytes) -> cython.bint:
        """Send bytes before those of the send queue; returns whether all were accepted."""
        length: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        if self.transport.send(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), length) != length:
            return False
        self.update_interest()
        return True

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def has_unsent(self) -> cython.bint:
        """Whether some output is not in the socket yet; the stream is established."""
        return self.out.pending > 0 or self.transport.unsent > 0

    # --- for other streams that send through this one ----------------------------------------------------------

    def has_room(self, stream: Stream) -> bool:
        """Whether the send queue has room; if not, a paused stream is flushed when it has."""
        if self.out.pending > HIGH_WATER:
            self.wait_for_room(stream)
            return False
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait_for_room(self, stream: Stream) -> cython.int:
        """Have a paused stream flushed when this one has room, so that it can check again."""
        if self.waiting is None:
            self.waiting = {}
        self.waiting[stream] = None
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wake_waiting(self) -> cython.int:
        """Flush the waiting streams; the owner calls this when there is room, or the stream is closed."""
        stream: Stream
        waiting: dict = self.waiting
        self.waiting = None
        if waiting is not None:
            for stream in waiting:
                self.loop.want_flush(stream)
        return 0

    # --- for the owner ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Parse the bytes of a block from ``start`` up to ``end``; returns the position of the unparsed rest.

        The block is held during the call; to keep a pointer into it, hold it too. An incomplete message stays in the
        rest; then set ``needed`` to the length of the rest at which parsing can continue.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_send(self) -> cython.bint:
        """Whether ``flush`` may send the send queue now; when it may again, the owner calls ``want_flush``."""
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        """The peer has closed its side of the connection."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_hangup(self) -> cython.int:
        """The peer hung up; input that arrived earlier may still be unread."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_broken(self, error: cython.int) -> cython.int:
        """The connection failed with this errno; 0 if it ended abruptly."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_established(self) -> cython.int:
        """The transport is established: it has connected, and its handshake has succeeded."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_refused(self, error: cython.int) -> cython.int:
        """The transport could not be established, because of this errno."""
        return self.on_broken(error)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_shut(self) -> cython.int:
        """The end of ``shut_write``, if it took several turns."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        """``sent`` bytes were sent in this turn's flush."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def abort(self, why: str) -> cython.int:
        """Close the stream at the end of the turn, and parse no more of its input."""
        raise NotImplementedError
