"""Requests with many keys: they are served in pieces, one after the other.

Compiled-only. Memory holds the rest of the request, which is small, and not the whole reply, which may be large: the
next piece is sent after the piece before it has its reply and the client has read most of it. Values are passed on as
they arrive, once they are more than UNTAKEN bytes; an error after that ends the reply in memcached pools, and the
connection in redis pools.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.downstream.reply_queue import ReplyQueue
from cython.cimports.twemproxy.downstream.scatter import WholeRequest, scatter
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import COMPLETE, NOREPLY, STATUS, SUM, VALUES, Cursor, Item, Request
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection
from cython.cimports.twemproxy.upstream.server_pool import ServerPool

# Most keys of a request that is never split, and of a piece.
ALWAYS_WHOLE = cython.declare(cython.const[cython.Py_ssize_t], 16)
LARGEST_PIECE = cython.declare(cython.const[cython.Py_ssize_t], 1024)
# Bytes of values that wait for the client, or for their turn, above which the next piece waits.
UNTAKEN = cython.declare(cython.const[cython.Py_ssize_t], 256 * 1024)


@cython.cfunc
@cython.exceptval(-1, check=False)
def takes_pieces(pool: ServerPool, request: Request, replies: ReplyQueue, most: cython.Py_ssize_t) -> cython.bint:
    """Whether a SCATTER request has too many keys to be served at once.

    ``most``: the number of values that a client may ask for at a time. A request without values is not split if there
    is one server only.
    """
    if request.items <= ALWAYS_WHOLE:
        return False
    if request.merge == VALUES:
        return request.items > keys_at_once(replies, most)
    return request.items > LARGEST_PIECE and pool.routes.n_servers > 1


@cython.cfunc
@cython.exceptval(check=False)
def keys_at_once(replies: ReplyQueue, most: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """How many values may be asked for at a time: as many as the client may have in progress, see ReplyQueue."""
    if replies.window >= replies.pool.settings.max_pipeline:
        return min(most, LARGEST_PIECE)
    return min(most, LARGEST_PIECE, cython.cast(cython.Py_ssize_t, replies.window))


@cython.no_gc_clear
@cython.final
@cython.cclass
class PiecedRequest(WholeRequest):
    """The ``left`` keys that have not been sent are in ``block`` from ``at`` to ``end``.

    ``awaited``: number of keys in the piece that waits for its reply. ``values``: the part of the reply that has not
    been passed on; ``begun``: some of it has been. ``messages``: messages for the client's subscriptions that wait
    until the reply is complete. ``problem``: the error reply if the request has failed.
    """

    def __dealloc__(self) -> None:
        if self.values is not None:
            self.values.clear(self.pool.loop.blocks)
            self.messages.clear(self.pool.loop.blocks)
        if self.block is not cython.NULL:
            self.pool.loop.blocks.release(self.block)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(
        self,
        pool: ServerPool,
        request: Request,
        replies: ReplyQueue,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Take over a request, in ``block`` from ``start`` to ``end``."""
        head = cython.declare(cython.uchar[128])
        codec: Codec = pool.codec
        item: Item = pool.item
        self.pool = pool
        self.replies = replies
        self.values = SendQueue()
        self.messages = SendQueue()
        self.merge = request.merge
        self.expected = request.expected
        self.left = self.items = request.items
        codec.first_item(block_bytes(block), start, request, item)
        self.head = codec.piece_head(
            PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), item.start)
        )
        self.at = start + item.start
        self.end = start + request.items_end
        if end - start < COPY_LIMIT:
            self.block = pool.loop.blocks.take(self.end - self.at)
            memcpy(block_bytes(self.block), block_bytes(block) + self.at, self.end - self.at)
            self.end -= self.at
            self.at = 0
        else:
            self.block = block
            block.holders += 1
        if self.merge == VALUES:
            self.values.append(pool.loop.blocks, head, codec.put_merged(head, VALUES, self.items, 0))
        self.position = replies.reserve_values(self.items if self.merge == VALUES else 1)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def advance(self, client: Stream, number: cython.uint, profile: cython.int, most: cython.Py_ssize_t) -> cython.int:
        """Pass on the values, and send the next piece if it is time; returns a Progress.

        ``client``: the client's stream. ``number``, ``profile``: the client's. ``most``: as in ``takes_pieces``.
        """
        full: ServerConnection
        size: cython.Py_ssize_t
        turn: cython.bint = self.replies.head == self.position
        if self.awaited > 0:
            return WAITING
        if self.problem is not None:
            return self.give_up(client)
        if self.left == 0:
            return self.answer(client)
        if turn and self.values.pending > (0 if self.begun else UNTAKEN):
            self.begun = True
            self.replies.note_part(self.position, self.values.pending)
            client.out.take_over(self.values)
            client.loop.want_flush(client)
        if self.values.pending > UNTAKEN or (self.begun and client.out.pending > UNTAKEN):
            return WAITING
        size = keys_at_once(self.replies, most) if self.merge == VALUES else LARGEST_PIECE
        full = self.send_piece(number, profile, size)
        if full is not None:
            self.awaited = 0
            full.wait_for_room(client)
        return WAITING

    @cython.cfunc
    def send_piece(self, number: cython.uint, profile: cython.int, size: cython.Py_ssize_t) -> ServerConnection:
        """Send the next keys as a request; returns None, or a connection whose send queue is full."""
        codec: Codec = self.pool.codec
        count: cython.Py_ssize_t = min(max(size, 1), self.left)
        after: cython.Py_ssize_t = codec.skip_items(block_bytes(self.block), self.at, self.end, self.merge, count)
        data: bytes = codec.piece(
            self.head,
            PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(self.block) + self.at), after - self.at),
            2 * count if self.merge == STATUS else count,
        )
        length: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        request: Request = Request()
        piece: cython.pointer[Block] = self.pool.loop.blocks.take(length)
        full: ServerConnection
        memcpy(block_bytes(piece), PyBytes_AS_STRING(data), length)
        self.awaited = count
        try:
            if codec.frame_request(block_bytes(piece), 0, length, False, self.expected, Cursor(), request) != COMPLETE:
                raise ValueError("a piece of a request is no request")
            self.replies.go_on_sampled(self.position)
            full = scatter(self.pool, request, self.replies, number, profile, piece, 0, length, self)
        finally:
            self.replies.end_sampled()
            self.pool.loop.blocks.release(piece)
        if full is None:
            self.left -= count
            self.at = after
        return full

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take(
        self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t, total: cython.longlong
    ) -> cython.int:
        count: cython.Py_ssize_t = self.awaited
        self.awaited = 0
        self.total += total
        if self.replies.stream is None:
            return 0
        if self.merge == VALUES:
            self.replies.learn(length, count)
            if not self.expected & NOREPLY:
                self.values.append_held(self.pool.loop.blocks, block, data, length)
        elif self.merge == STATUS and self.values.pending == 0:
            self.values.append(self.pool.loop.blocks, data, length)
        return self.replies.stream.loop.want_flush(self.replies.stream)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        self.awaited = 0
        self.problem = PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length)
        if self.replies.stream is None:
            return 0
        return self.replies.stream.loop.want_flush(self.replies.stream)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def give_up(self, client: Stream) -> cython.int:
        """Reply with the error, in place of the reply or of its rest."""
        if self.begun and not self.pool.codec.errors_end_values:
            return LOST
        if not self.begun:
            self.values.clear(client.loop.blocks)
        self.values.append(
            client.loop.blocks,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(self.problem)),
            PyBytes_GET_SIZE(self.problem),
        )
        return self.finish(client)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer(self, client: Stream) -> cython.int:
        """Complete the reply after the last piece."""
        head = cython.declare(cython.uchar[128])
        codec: Codec = self.pool.codec
        if self.merge == VALUES:
            self.values.append(client.loop.blocks, head, codec.put_merged_end(head))
        elif self.merge == SUM:
            self.values.append(client.loop.blocks, head, codec.put_merged(head, SUM, self.items, self.total))
        return self.finish(client)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def finish(self, client: Stream) -> cython.int:
        """Deliver the rest of the reply."""
        rest: cython.pointer[Block]
        nothing: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(self.head))
        length: cython.Py_ssize_t = self.values.pending
        if self.expected & NOREPLY:
            self.replies.deliver(self.position, cython.NULL, nothing, 0)
        elif self.replies.head == self.position:
            self.replies.note_part(self.position, length)
            client.out.take_over(self.values)
            self.replies.deliver(self.position, cython.NULL, nothing, 0)
        else:
            rest = client.loop.blocks.take(length)
            self.values.copy_last(block_bytes(rest), length)
            self.replies.deliver(self.position, rest, block_bytes(rest), length)
            client.loop.blocks.release(rest)
        return ANSWERED
