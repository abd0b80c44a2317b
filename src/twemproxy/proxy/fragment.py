"""Requests with many keys: split into one fragment per server, their replies merged into one.

Compiled-only. Fragments are numbered in ascending server order and keep the request's order of keys.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EINVAL
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes
from cython.cimports.twemproxy.protocol.codec import SUM, VALUES, Codec
from cython.cimports.twemproxy.proxy.reply_queue import ReplyQueue
from cython.cimports.twemproxy.proxy.server_connection import HIGH_WATER, ServerConnection
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.proxy.sink import Sink
from cython.cimports.twemproxy.stats.counters import FORWARD_ERROR, FRAGMENTS

from twemproxy.proxy.upstream import error_text

# Room for what a codec writes in front of the items of a sub-request, and for a merged reply without values.
HEAD = cython.declare(cython.const[cython.int], 128)
NONE = cython.declare(cython.const[cython.int], -1)


@cython.cfunc
def dispatch_split(
    pool: ServerPool,
    replies: ReplyQueue,
    client: cython.uint,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> ServerConnection:
    """Send the request at ``start``, which the pool's codec just framed and routed TO_EACH, to its servers.

    Returns None, or without having sent anything a connection that can take no more at present.
    """
    codec: Codec = pool.codec
    buf: cython.p_uchar = block_bytes(block)
    n: cython.int = cython.cast(cython.int, codec.items)
    i: cython.int
    server: cython.int
    item: cython.pointer[Item]
    fragment: cython.pointer[Fragment]
    items: cython.pointer[Item] = cython.cast(cython.pointer[Item], malloc(n * cython.sizeof(Item)))
    fragments: cython.pointer[Fragment] = cython.cast(
        cython.pointer[Fragment], calloc(pool.n_servers, cython.sizeof(Fragment))
    )
    connection: ServerConnection
    try:
        if items is cython.NULL or fragments is cython.NULL:
            raise MemoryError("no memory to split a request")
        codec.first_item(buf, start, end)
        for i in range(n):
            server = pool.rotation.continuum.route(buf, codec.key_start, codec.key_end)
            item = cython.address(items[i])
            item.start = codec.item_start
            item.length = codec.item_end - codec.item_start
            item.server = server
            item.next = NONE
            fragment = cython.address(fragments[server])
            if fragment.items == 0:
                fragment.first = i
            else:
                items[fragment.last].next = i
            fragment.last = i
            fragment.items += 1
            if i + 1 < n:
                codec.next_item(buf, end)
        for server in range(pool.n_servers):
            if fragments[server].items > 0:
                connection = pool.connection(server, client)
                if connection.out.pending > HIGH_WATER:
                    return connection
                if fragments[server].items == n:
                    # All keys live on one server: the request goes there as it is, and so does the reply.
                    connection.send_request(replies, replies.reserve(), block, buf + start, end - start)
                    return None
        send_fragments(pool, replies, client, block, items, fragments, n)
        return None
    finally:
        free(items)
        free(fragments)


@cython.cfunc
@cython.exceptval(-1, check=False)
def send_fragments(
    pool: ServerPool,
    replies: ReplyQueue,
    client: cython.uint,
    block: cython.pointer[Block],
    items: cython.pointer[Item],
    by_server: cython.pointer[Fragment],
    n: cython.int,
) -> cython.int:
    """Make the split request of ``n`` items and send its fragments."""
    head = cython.declare(cython.uchar[128])
    codec: Codec = pool.codec
    command: cython.int = codec.command
    buf: cython.p_uchar = block_bytes(block)
    server: cython.int
    i: cython.int
    f: cython.int = 0
    length: cython.Py_ssize_t
    connection: ServerConnection
    split: SplitRequest = SplitRequest()
    split.pool = pool
    split.replies = replies
    split.merge = codec.merge
    split.n_items = n
    for server in range(pool.n_servers):
        if by_server[server].items > 0:
            split.n_fragments += 1
    split.fragments = cython.cast(cython.pointer[Fragment], calloc(split.n_fragments, cython.sizeof(Fragment)))
    if split.merge == VALUES:
        split.fragment_of = cython.cast(cython.pointer[cython.int], malloc(n * cython.sizeof(cython.int)))
    if split.fragments is cython.NULL or (split.merge == VALUES and split.fragment_of is cython.NULL):
        raise MemoryError("no memory to split a request")
    split.awaited = split.n_fragments
    split.position = replies.reserve()
    for server in range(pool.n_servers):
        if by_server[server].items == 0:
            continue
        split.fragments[f] = by_server[server]
        split.fragments[f].server = server
        i = by_server[server].first
        while i != NONE:
            if split.merge == VALUES:
                split.fragment_of[i] = f
            i = items[i].next
        f += 1
    pool.counters[FRAGMENTS] += split.n_fragments
    for f in range(split.n_fragments):
        connection = pool.connection(split.fragments[f].server, client)
        length = codec.put_sub_request(head, command, split.fragments[f].items)
        connection.out.append(pool.loop.blocks, head, length)
        i = split.fragments[f].first
        while i != NONE:
            connection.out.append_held(pool.loop.blocks, block, buf + items[i].start, items[i].length)
            length += items[i].length
            i = items[i].next
        connection.enqueue(split, f, length)
    return 0


@cython.final
@cython.cclass
class SplitRequest(Sink):
    """One split request until its last fragment is answered. Positions are fragment numbers."""

    def __dealloc__(self) -> None:
        f: cython.int
        if self.fragments is not cython.NULL:
            for f in range(self.n_fragments):
                if self.fragments[f].block is not cython.NULL:
                    self.pool.loop.blocks.release(self.fragments[f].block)
        free(self.fragments)
        free(self.fragment_of)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        codec: Codec = self.pool.codec
        if codec.is_mergeable(data, 0, length, self.merge, self.fragments[position].items):
            self.keep(position, block, data, length)
            self.fragments[position].at = codec.item_start
        elif codec.is_error(data, 0, length):
            self.keep(position, block, data, length)
            self.fragments[position].outcome = REFUSED
        else:
            self.fail(position, codec.error(error_text(EINVAL)))
            return 1
        return self.finish()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        self.keep(
            position,
            cython.NULL,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
            PyBytes_GET_SIZE(reply),
        )
        self.fragments[position].outcome = FAILED
        return self.finish()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """Keep a fragment's reply until the others are there."""
        fragment: cython.pointer[Fragment] = cython.address(self.fragments[position])
        if block is cython.NULL or length < COPY_LIMIT:
            fragment.block = self.pool.loop.blocks.stash(data, length, cython.address(fragment.reply))
        else:
            block.holders += 1
            fragment.block = block
            fragment.reply = data
        fragment.reply_length = length
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def finish(self) -> cython.int:
        """One more fragment is answered; with the last, answer the request."""
        self.awaited -= 1
        if self.awaited > 0 or self.replies.stream is None:
            return 0
        return self.answer()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer(self) -> cython.int:
        """Merge the replies, or pass on the first error in server order."""
        codec: Codec = self.pool.codec
        fragment: cython.pointer[Fragment]
        head = cython.declare(cython.uchar[128])
        merged: cython.pointer[Block]
        f: cython.int
        i: cython.int
        at: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        size: cython.Py_ssize_t = HEAD
        total: cython.longlong = 0
        for f in range(self.n_fragments):
            fragment = cython.address(self.fragments[f])
            if fragment.outcome != MERGEABLE:
                if fragment.outcome == FAILED:
                    self.pool.counters[FORWARD_ERROR] += 1
                return self.replies.deliver(self.position, fragment.block, fragment.reply, fragment.reply_length)
            size += fragment.reply_length
            if self.merge == SUM:
                total += codec.read_integer(fragment.reply, fragment.at, fragment.reply_length)
        at = codec.put_merged(head, self.merge, self.n_items, total)
        if self.merge != VALUES:
            return self.replies.deliver(self.position, cython.NULL, head, at)
        merged = self.pool.loop.blocks.take(size)
        memcpy(block_bytes(merged), head, at)
        for i in range(self.n_items):
            fragment = cython.address(self.fragments[self.fragment_of[i]])
            stop = codec.next_value(fragment.reply, fragment.at, fragment.reply_length)
            memcpy(block_bytes(merged) + at, fragment.reply + fragment.at, stop - fragment.at)
            at += stop - fragment.at
            fragment.at = stop
        self.replies.deliver(self.position, merged, block_bytes(merged), at)
        self.pool.loop.blocks.release(merged)
        return 0
