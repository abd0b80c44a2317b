"""Requests that several servers answer: one fragment per server, their replies merged into one.

Compiled-only. Fragments are numbered in ascending server order. Those of a request with many keys ask for a server's
keys, in the request's order; those of a request for the whole pool are the request itself, and those of a plan
(``protocol.plan.Ask``) are the requests of that, in its order.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EINVAL
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.protocol.codec import IN_WORDS, MUTED, QUIET, STATUS, SUM, VALUES, Codec
from cython.cimports.twemproxy.proxy.reply_queue import ReplyQueue
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.proxy.sink import Sink
from cython.cimports.twemproxy.stats.counters import FORWARD_ERROR, FRAGMENTS

from twemproxy.proxy.upstream import error_text

# Room for what a codec writes in front of items and values, and behind them or in the place of one.
HEAD = cython.declare(cython.const[cython.int], 128)
TAIL = cython.declare(cython.const[cython.int], 8)
NONE = cython.declare(cython.const[cython.int], -1)


@cython.cfunc
def dispatch_split(
    pool: ServerPool,
    replies: ReplyQueue,
    client: cython.uint,
    profile: cython.int,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> ServerConnection:
    """Send the request at ``start``, which the pool's codec just framed and routed TO_EACH, to its servers.

    It is that of a client with this number, on connections of this profile.

    Returns None, or without having sent anything a connection that can take no more at present.
    """
    codec: Codec = pool.codec
    buf: cython.p_uchar = block_bytes(block)
    n: cython.int = cython.cast(cython.int, codec.items)
    i: cython.int
    server: cython.int
    item: cython.pointer[Item]
    fragment: cython.pointer[Fragment]
    items: cython.pointer[Item]
    by_server: cython.pointer[Fragment]
    connection: ServerConnection
    split: SplitRequest
    if not pool.rotation.is_open():
        if codec.merge == VALUES and pool.tolerates_missing:
            return answer_missing(pool, replies, n)
        replies.fail(replies.reserve(), b"" if codec.expected & MUTED else pool.refused)
        return None
    items = cython.cast(cython.pointer[Item], malloc(n * cython.sizeof(Item)))
    by_server = cython.cast(cython.pointer[Fragment], calloc(pool.n_servers, cython.sizeof(Fragment)))
    try:
        if items is cython.NULL or by_server is cython.NULL:
            raise MemoryError("no memory to split a request")
        codec.first_item(buf, start, end)
        for i in range(n):
            server = pool.server_of_key(buf)
            item = cython.address(items[i])
            item.start = codec.item_start
            item.length = codec.item_end - codec.item_start
            item.key_start = codec.key_start - start
            item.key_end = codec.key_end - start
            item.next = NONE
            fragment = cython.address(by_server[server])
            if fragment.items == 0:
                fragment.first = i
            else:
                items[fragment.last].next = i
            fragment.last = i
            fragment.items += 1
            if i + 1 < n:
                codec.next_item(buf, end)
        for server in range(pool.n_servers):
            if by_server[server].items > 0:
                connection = pool.connection(server, client, profile)
                if connection.out.pending > HIGH_WATER:
                    return connection
                if by_server[server].items == n and not (codec.merge == VALUES and pool.tolerates_missing):
                    # All keys live on one server: the request goes there as it is, and so does the reply.
                    connection.send_request(replies, replies.reserve(), block, start, end)
                    return None
        split = SplitRequest()
        split.items = items
        items = cython.NULL
        split.n_items = n
        split.begin(pool, replies)
        split.take_fragments(by_server)
        split.keep_request(block, start, end)
        split.send_fragments(client, profile, block)
        return None
    finally:
        free(items)
        free(by_server)


@cython.cfunc
def dispatch_to_all(
    pool: ServerPool,
    replies: ReplyQueue,
    client: cython.uint,
    profile: cython.int,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> ServerConnection:
    """Send the request at ``start``, which the pool's codec just framed and routed TO_ALL, to every server.

    Ejected servers are asked as well: what is for all is not done before the last has done it. Returns as
    ``dispatch_split``.
    """
    server: cython.int
    connection: ServerConnection
    split: SplitRequest
    for server in range(pool.n_servers):
        connection = pool.connection(server, client, profile)
        if connection.out.pending > HIGH_WATER:
            return connection
    split = SplitRequest()
    split.begin(pool, replies)
    split.merge_in_words = pool.codec.merge_in_words
    split.take_all_servers()
    # What the client does not want of the merged reply is none of the servers' business.
    pool.codec.expected &= ~(QUIET | MUTED)
    for server in range(pool.n_servers):
        connection = pool.connection(server, client, profile)
        connection.send_request(split, server, block, start, end)
    return None


@cython.cfunc
@cython.exceptval(-1, check=False)
def dispatch_ask(pool: ServerPool, replies: ReplyQueue, connections: list, ask) -> cython.int:
    """Send the requests of a ``protocol.plan.Ask``, each on its connection; its answer is that of the one framed."""
    f: cython.int
    split: SplitRequest = SplitRequest()
    split.begin(pool, replies)
    split.merge = IN_WORDS
    split.merge_in_words = ask.merge
    split.allocate_fragments(len(connections))
    for f in range(split.n_fragments):
        split.fragments[f].server = ask.requests[f][0]
    for f in range(split.n_fragments):
        split.send_bytes(f, connections[f], ask.requests[f][1])
    return 0


@cython.cfunc
def answer_missing(pool: ServerPool, replies: ReplyQueue, n: cython.int) -> ServerConnection:
    """Answer a request for ``n`` values with none; returns None."""
    split: SplitRequest = SplitRequest()
    split.begin(pool, replies)
    split.items = cython.cast(cython.pointer[Item], calloc(n, cython.sizeof(Item)))
    if split.items is cython.NULL:
        raise MemoryError("no memory to split a request")
    split.n_items = n
    split.answer_values()
    return None


@cython.final
@cython.cclass
class SplitRequest(Sink):
    """One split request until its last fragment is answered. Positions are fragment numbers.

    ``request``: a copy of the request, or the request itself in ``request_block``, while the codec needs the keys.
    """

    def __dealloc__(self) -> None:
        f: cython.int
        if self.fragments is not cython.NULL:
            for f in range(self.n_fragments):
                if self.fragments[f].block is not cython.NULL:
                    self.pool.loop.blocks.release(self.fragments[f].block)
        if self.request_block is not cython.NULL:
            self.pool.loop.blocks.release(self.request_block)
        free(self.fragments)
        free(self.items)

    # --- the request -----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(self, pool: ServerPool, replies: ReplyQueue) -> cython.int:
        """Take a place in the order of replies for the request just framed."""
        self.pool = pool
        self.replies = replies
        self.merge = pool.codec.merge
        self.expected = pool.codec.expected
        self.position = replies.reserve()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def allocate_fragments(self, n: cython.int) -> cython.int:
        """Make ``n`` fragments, all of them awaited."""
        self.fragments = cython.cast(cython.pointer[Fragment], calloc(n, cython.sizeof(Fragment)))
        if self.fragments is cython.NULL:
            raise MemoryError("no memory to split a request")
        self.n_fragments = self.awaited = n
        self.pool.counters[FRAGMENTS] += n
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_fragments(self, by_server: cython.pointer[Fragment]) -> cython.int:
        """Make a fragment of each server's items."""
        server: cython.int
        i: cython.int
        n: cython.int = 0
        for server in range(self.pool.n_servers):
            if by_server[server].items > 0:
                n += 1
        self.allocate_fragments(n)
        n = 0
        for server in range(self.pool.n_servers):
            if by_server[server].items == 0:
                continue
            self.fragments[n] = by_server[server]
            self.fragments[n].server = server
            i = by_server[server].first
            while i != NONE:
                self.items[i].fragment = n
                i = self.items[i].next
            n += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_all_servers(self) -> cython.int:
        """Make a fragment for every server."""
        server: cython.int
        self.allocate_fragments(self.pool.n_servers)
        for server in range(self.pool.n_servers):
            self.fragments[server].server = server
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_request(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Keep the request's bytes if its keys are needed to merge the replies."""
        if self.merge != VALUES or not self.pool.codec.matches_keys:
            return 0
        if end - start < COPY_LIMIT:
            self.request_block = self.pool.loop.blocks.stash(
                block_bytes(block) + start, end - start, cython.address(self.request)
            )
        else:
            block.holders += 1
            self.request_block = block
            self.request = block_bytes(block) + start
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_fragments(self, client: cython.uint, profile: cython.int, block: cython.pointer[Block]) -> cython.int:
        """Send each server the items of its fragment, which stand in ``block``."""
        head = cython.declare(cython.uchar[128])
        codec: Codec = self.pool.codec
        command: cython.int = codec.command
        buf: cython.p_uchar = block_bytes(block)
        f: cython.int
        i: cython.int
        part: cython.Py_ssize_t
        length: cython.Py_ssize_t
        connection: ServerConnection
        for f in range(self.n_fragments):
            connection = self.pool.connection(self.fragments[f].server, client, profile)
            length = codec.put_sub_request(head, buf, command, self.fragments[f].items)
            connection.out.append(self.pool.loop.blocks, head, length)
            i = self.fragments[f].first
            while i != NONE:
                connection.out.append_held(
                    self.pool.loop.blocks, block, buf + self.items[i].start, self.items[i].length
                )
                length += self.items[i].length
                i = self.items[i].next
            part = codec.put_sub_request_end(head)
            connection.out.append(self.pool.loop.blocks, head, part)
            connection.enqueue(self, f, length + part, self.expected & ~(QUIET | MUTED))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_bytes(self, position: cython.int, connection: ServerConnection, request: bytes) -> cython.int:
        """Send a fragment's request."""
        connection.out.append(
            self.pool.loop.blocks,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(request)),
            PyBytes_GET_SIZE(request),
        )
        return connection.enqueue(self, position, PyBytes_GET_SIZE(request), self.expected & ~(QUIET | MUTED))

    # --- the replies -----------------------------------------------------------------------------------------

    @cython.cfunc
    def owner(self) -> object:
        return self.replies

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
            self.fragments[position].at = codec.item_start
            if self.merge == VALUES and not self.place_values(position, data, length):
                self.fail(position, codec.error(error_text(EINVAL)))
                return 1
            self.keep(position, block, data, length)
        elif codec.is_error(data, 0, length):
            self.keep(position, block, data, length)
            self.fragments[position].outcome = REFUSED
        else:
            self.fail(position, codec.error(error_text(EINVAL)))
            return 1
        return self.finish()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def place_values(self, position: cython.uint, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.bint:
        """Note where in the reply the value of each key of the fragment stands; False if it has others, too."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Item]
        i: cython.int = self.fragments[position].first
        at: cython.Py_ssize_t = self.fragments[position].at
        while i != NONE:
            item = cython.address(self.items[i])
            item.start = at
            at = codec.take_value(data, at, length, self.request, item.key_start, item.key_end)
            item.length = at - item.start
            i = item.next
        return codec.is_values_end(data, at, length) or self.place_odd_values(position, data, length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def place_odd_values(self, position: cython.uint, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.bint:
        """As ``place_values``, for a reply that is not in the order of the keys."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Item]
        i: cython.int = self.fragments[position].first
        keys: list = []
        while i != NONE:
            item = cython.address(self.items[i])
            keys.append(
                PyBytes_FromStringAndSize(
                    cython.cast(cython.p_char, self.request + item.key_start), item.key_end - item.key_start
                )
            )
            i = item.next
        places = codec.match_values(PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length), keys)
        if places is None:
            return False
        i = self.fragments[position].first
        for first, behind in places:
            item = cython.address(self.items[i])
            item.start = first
            item.length = behind - first
            i = item.next
        return True

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

    # --- the answer ------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer(self) -> cython.int:
        """Merge the replies, or pass on the first error in server order."""
        codec: Codec = self.pool.codec
        fragment: cython.pointer[Fragment]
        head = cython.declare(cython.uchar[128])
        f: cython.int
        total: cython.longlong = 0
        if self.merge == IN_WORDS:
            return self.answer_in_words()
        for f in range(self.n_fragments):
            fragment = cython.address(self.fragments[f])
            if fragment.outcome != MERGEABLE and not (self.merge == VALUES and self.pool.tolerates_missing):
                if fragment.outcome == FAILED:
                    self.pool.counters[FORWARD_ERROR] += 1
                return self.answer_with(fragment.block, fragment.reply, fragment.reply_length)
            if self.merge == SUM:
                total += codec.read_integer(fragment.reply, fragment.at, fragment.reply_length)
        if self.merge == VALUES:
            return self.answer_values()
        if self.merge == STATUS:
            return self.answer_with(self.fragments[0].block, self.fragments[0].reply, self.fragments[0].reply_length)
        return self.answer_with(cython.NULL, head, codec.put_merged(head, SUM, self.n_items, total))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_with(self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Give the client this reply, unless it wants none."""
        return self.replies.deliver(self.position, block, data, 0 if self.expected & MUTED else length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_values(self) -> cython.int:
        """Put the values together in the order of the keys; those of failed fragments are missing."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Item]
        fragment: cython.pointer[Fragment]
        merged: cython.pointer[Block]
        out: cython.p_uchar
        f: cython.int
        i: cython.int
        at: cython.Py_ssize_t
        size: cython.Py_ssize_t = HEAD + TAIL * (cython.cast(cython.Py_ssize_t, self.n_items) + 1)
        for f in range(self.n_fragments):
            if self.fragments[f].outcome == MERGEABLE:
                size += self.fragments[f].reply_length
        merged = self.pool.loop.blocks.take(size)
        out = block_bytes(merged)
        codec.expected = self.expected
        at = codec.put_merged(out, VALUES, self.n_items, 0)
        for i in range(self.n_items):
            item = cython.address(self.items[i])
            if self.n_fragments > 0:
                fragment = cython.address(self.fragments[item.fragment])
                if fragment.outcome == MERGEABLE and item.length > 0:
                    memcpy(out + at, fragment.reply + item.start, item.length)
                    at += item.length
                    continue
            at += codec.put_missing(out + at)
        at += codec.put_merged_end(out + at)
        self.answer_with(merged, out, at)
        self.pool.loop.blocks.release(merged)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_in_words(self) -> cython.int:
        """Let ``merge_in_words`` say what the servers said."""
        f: cython.int
        reply: bytes
        said: list = []
        for f in range(self.n_fragments):
            reply = PyBytes_FromStringAndSize(
                cython.cast(cython.p_char, self.fragments[f].reply), self.fragments[f].reply_length
            )
            said.append((self.pool.config.servers[self.fragments[f].server].name, reply))
        reply = self.merge_in_words(said)
        return self.answer_with(
            cython.NULL, cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)), PyBytes_GET_SIZE(reply)
        )
