"""Requests that several servers answer: one fragment per server, and their replies merged into one.

Compiled-only. Fragments are numbered in ascending server order. A scattered request sends each server its own keys, in
request order. A broadcast sends every server the whole request. A plan (``protocol.plan.Ask``) supplies the requests
itself, and fragments are numbered in its order.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EINVAL
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.downstream.reply_queue import ClientRequest, ReplyQueue
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import (
    CUSTOM,
    NOREPLY,
    QUIET,
    STATUS,
    SUM,
    VALUES,
    Item,
    Merge,
    Request,
)
from cython.cimports.twemproxy.proxy.hot_keys import is_sampled
from cython.cimports.twemproxy.stats.positions import FORWARD_ERROR, FRAGMENTS
from cython.cimports.twemproxy.upstream.pipeline import make_place, show
from cython.cimports.twemproxy.upstream.route_table import RouteTable
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection
from cython.cimports.twemproxy.upstream.server_pool import ServerPool

from twemproxy.upstream.endpoint import error_text

# Room for the bytes that a codec writes before all items and values (HEAD), and after each or in place of one (TAIL).
HEAD = cython.declare(cython.const[cython.int], 128)
TAIL = cython.declare(cython.const[cython.int], 8)
NONE = cython.declare(cython.const[cython.int], -1)


@cython.cfunc
def scatter(
    pool: ServerPool,
    request: Request,
    replies: ReplyQueue,
    client: cython.uint,
    profile: cython.int,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    whole: WholeRequest | None,
) -> ServerConnection:
    """Send a SCATTER request, in ``block`` from ``start`` to ``end``, to its servers.

    ``client``: the client's number. ``profile``: the profile of the server connections. ``whole``: the request of
    which this one is a piece, None without one.

    Returns None, or, without having sent anything, a connection whose send queue is full.
    """
    codec: Codec = pool.codec
    buf: cython.p_uchar = block_bytes(block)
    n: cython.int = cython.cast(cython.int, request.items)
    i: cython.int
    place: cython.int
    routes: RouteTable = pool.routes
    item: cython.pointer[Place]
    fragment: cython.pointer[Fragment]
    items: cython.pointer[Place]
    by_server: cython.pointer[Fragment]
    connection: ServerConnection
    split: SplitRequest
    merge: Merge = request.merge
    misses: cython.bint = merge == VALUES and pool.settings.tolerates_missing
    key: Item = pool.item
    if not routes.is_open:
        if misses:
            return answer_missing(pool, request, replies, n, whole)
        if whole is not None:
            whole.fail(cython.cast(cython.p_uchar, PyBytes_AS_STRING(pool.refused)), PyBytes_GET_SIZE(pool.refused))
            return None
        replies.fail(replies.reserve(), b"" if request.expected & NOREPLY else pool.refused)
        return None
    if routes.n_servers == 1 and whole is None and not misses:
        connection = pool.connection(cython.cast(Server, routes.servers[0]), client, profile)
        if connection.out.pending > HIGH_WATER:
            return connection
        forward_whole(connection, request, replies, block, start, end)
        return None
    items = cython.cast(cython.pointer[Place], malloc(n * cython.sizeof(Place)))
    by_server = cython.cast(cython.pointer[Fragment], calloc(routes.n_servers, cython.sizeof(Fragment)))
    try:
        if items is cython.NULL or by_server is cython.NULL:
            raise MemoryError("no memory to split a request")
        codec.first_item(buf, start, request, key)
        for i in range(n):
            place = routes.place_of(buf, start + key.key_start, start + key.key_end)
            if is_sampled(pool.hot_keys):
                pool.hot_keys.note(
                    buf + start + key.key_start, key.key_end - key.key_start, key.end - key.start, pool.loop.real
                )
            item = cython.address(items[i])
            item.start = key.start
            item.length = key.end - key.start
            item.key_start = key.key_start
            item.key_end = key.key_end
            item.next = NONE
            fragment = cython.address(by_server[place])
            if fragment.items == 0:
                fragment.first = i
            else:
                items[fragment.last].next = i
            fragment.last = i
            fragment.items += 1
            if i + 1 < n:
                codec.next_item(buf, start, key)
        for place in range(routes.n_servers):
            if by_server[place].items > 0:
                connection = pool.connection(cython.cast(Server, routes.servers[place]), client, profile)
                if connection.out.pending > HIGH_WATER:
                    return connection
                if by_server[place].items == n and whole is None and not misses:
                    forward_whole(connection, request, replies, block, start, end)
                    return None
        split = SplitRequest()
        split.items = items
        items = cython.NULL
        split.n_items = n
        split.begin(pool, request.merge, request.expected, replies, whole)
        split.take_fragments(by_server)
        split.keep_request(block, start, end)
        split.send_fragments(request, client, profile, block, start)
        return None
    finally:
        free(items)
        free(by_server)


@cython.cfunc
@cython.exceptval(-1, check=False)
def forward_whole(
    connection: ServerConnection,
    request: Request,
    replies: ReplyQueue,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.int:
    """Forward a SCATTER request unchanged: its server has all keys, and the client gets the server's reply."""
    position: cython.uint = replies.reserve_values(request.items if request.merge == VALUES else 1)
    return connection.send_request(replies, position, request, request.expected, block, start, end)


@cython.cfunc
def broadcast(
    pool: ServerPool,
    request: Request,
    replies: ReplyQueue,
    client: cython.uint,
    profile: cython.int,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> ServerConnection:
    """Send a BROADCAST request, in ``block`` from ``start`` to ``end``, to every server.

    Ejected servers are included: the request is complete only after every server has run it. Returns as ``scatter``.
    """
    f: cython.int
    routes: RouteTable = pool.routes
    connection: ServerConnection
    split: SplitRequest
    for f in range(routes.n_servers):
        connection = pool.connection(cython.cast(Server, routes.servers[f]), client, profile)
        if connection.out.pending > HIGH_WATER:
            return connection
    split = SplitRequest()
    split.begin(pool, request.merge, request.expected, replies, None)
    split.merge_replies = pool.codec.merge_replies
    split.allocate_fragments(routes.n_servers)
    for f in range(routes.n_servers):
        split.fragments[f].server = f
    for f in range(routes.n_servers):
        connection = pool.connection(split.server_of(f), client, profile)
        # Only the merged reply may be unwanted; every server must reply.
        connection.send_request(split, f, request, request.expected & ~(QUIET | NOREPLY), block, start, end)
    return None


@cython.cfunc
@cython.exceptval(-1, check=False)
def fan_out(pool: ServerPool, expected: cython.uchar, replies: ReplyQueue, connections: list, ask) -> cython.int:
    """Send each request of a ``protocol.plan.Ask`` on its connection.

    The merged replies are the reply to a request with this ``expected``.
    """
    f: cython.int
    connection: ServerConnection
    split: SplitRequest = SplitRequest()
    split.begin(pool, CUSTOM, expected, replies, None)
    split.merge_replies = ask.merge
    split.asked = [server for server, _ in ask.requests]
    split.allocate_fragments(len(connections))
    for f in range(split.n_fragments):
        connection = connections[f]
        connection.send_bytes(split, f, ask.requests[f][1], split.expected & ~(QUIET | NOREPLY))
    return 0


@cython.cfunc
def answer_missing(
    pool: ServerPool, request: Request, replies: ReplyQueue, n: cython.int, whole: WholeRequest | None
) -> ServerConnection:
    """Reply to a request for ``n`` values that all are missing; returns None."""
    split: SplitRequest = SplitRequest()
    split.begin(pool, request.merge, request.expected, replies, whole)
    split.items = cython.cast(cython.pointer[Place], calloc(n, cython.sizeof(Place)))
    if split.items is cython.NULL:
        raise MemoryError("no memory to split a request")
    split.n_items = n
    split.answer_values()
    return None


@cython.cclass
class WholeRequest:
    """A request of which pieces are sent as requests of their own, see ``downstream.pieced_request``.

    ``position``: that of its reply in the order of the client's replies.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take(
        self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t, total: cython.longlong
    ) -> cython.int:
        """The reply to the piece: values, ``total`` keys, or a status."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """The piece has failed with this error."""
        raise NotImplementedError


@cython.no_gc_clear
@cython.final
@cython.cclass
class SplitRequest(ClientRequest):
    """A split request, until the last fragment has its reply. Positions are fragment numbers.

    ``routes``: the route table with which it began. ``asked``: the server of each fragment if a plan has chosen them.
    ``request``: the request's bytes while the codec needs its keys: a copy, or part of ``request_block``.
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
    def begin(
        self,
        pool: ServerPool,
        merge: Merge,
        expected: cython.uchar,
        replies: ReplyQueue,
        whole: WholeRequest | None,
    ) -> cython.int:
        """Start; reserve a position in the order of replies, unless the request is a piece of another one."""
        self.pool = pool
        self.routes = pool.routes
        self.merge = merge
        self.expected = expected
        self.whole = whole
        if whole is None:
            self.begin_request(replies, self.n_items if self.n_items > 0 and self.merge == VALUES else 1)
        else:
            self.copy_measured(replies)
            self.position = whole.position
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def allocate_fragments(self, n: cython.int) -> cython.int:
        """Allocate ``n`` fragments, which all wait for replies."""
        self.fragments = cython.cast(cython.pointer[Fragment], calloc(n, cython.sizeof(Fragment)))
        if self.fragments is cython.NULL:
            raise MemoryError("no memory to split a request")
        self.n_fragments = self.awaited = n
        self.pool.counters[FRAGMENTS] += n
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_fragments(self, by_server: cython.pointer[Fragment]) -> cython.int:
        """Make a fragment of the items of each server that has some."""
        place: cython.int
        i: cython.int
        n: cython.int = 0
        for place in range(self.routes.n_servers):
            if by_server[place].items > 0:
                n += 1
        self.allocate_fragments(n)
        n = 0
        for place in range(self.routes.n_servers):
            if by_server[place].items == 0:
                continue
            self.fragments[n] = by_server[place]
            self.fragments[n].server = place
            i = by_server[place].first
            while i != NONE:
                self.items[i].fragment = n
                i = self.items[i].next
            n += 1
        return 0

    @cython.cfunc
    def server_of(self, f: cython.int) -> Server:
        """The server of a fragment."""
        if self.asked is not None:
            return cython.cast(Server, self.asked[f])
        return cython.cast(Server, self.routes.servers[self.fragments[f].server])

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_request(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """Keep the request's bytes if merging needs its keys."""
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
    def send_fragments(
        self,
        request: Request,
        client: cython.uint,
        profile: cython.int,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
    ) -> cython.int:
        """Send each server the items of its fragment; the request begins in ``block`` at ``start``."""
        head = cython.declare(cython.uchar[128])
        codec: Codec = self.pool.codec
        buf: cython.p_uchar = block_bytes(block)
        f: cython.int
        i: cython.int
        part: cython.Py_ssize_t
        length: cython.Py_ssize_t
        before: cython.Py_ssize_t
        complete: cython.bint
        connection: ServerConnection
        for f in range(self.n_fragments):
            connection = self.pool.connection(self.server_of(f), client, profile)
            connection.begin_request(self)
            before = connection.out.pending
            complete = False
            make_place(connection.requests)
            try:
                length = codec.put_sub_request(head, buf, start, request, self.fragments[f].items)
                connection.out.append(self.pool.loop.blocks, head, length)
                i = self.fragments[f].first
                while i != NONE:
                    connection.out.append_held(
                        self.pool.loop.blocks, block, buf + start + self.items[i].start, self.items[i].length
                    )
                    length += self.items[i].length
                    i = self.items[i].next
                part = codec.put_sub_request_end(head)
                connection.out.append(self.pool.loop.blocks, head, part)
                complete = True
            finally:
                if not complete:
                    connection.out.drop_since(self.pool.loop.blocks, before)
            connection.enqueue(self, f, length + part, self.expected & ~(QUIET | NOREPLY), 0)
            show(connection.requests, buf + start, request.items_end, block.capacity - start)
        return 0

    # --- the replies -----------------------------------------------------------------------------------------

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
        at: cython.Py_ssize_t = codec.find_values(data, 0, length, self.merge, self.fragments[position].items)
        if at >= 0:
            self.fragments[position].at = at
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
        """Record where the value of each key is in the fragment's reply; False if the reply has other values, too."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Place]
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
        """As ``place_values``, for a reply whose values are not in the order of the keys."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Place]
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
        """Keep a fragment's reply until all have arrived."""
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
        """One more fragment has its reply; after the last, reply to the request."""
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
        if self.merge == CUSTOM:
            return self.answer_custom()
        for f in range(self.n_fragments):
            fragment = cython.address(self.fragments[f])
            if fragment.outcome != MERGEABLE and not (self.merge == VALUES and self.pool.settings.tolerates_missing):
                if fragment.outcome == FAILED:
                    self.pool.counters[FORWARD_ERROR] += 1
                    self.replies.note_own(self.position)
                if self.whole is not None:
                    return self.whole.fail(fragment.reply, fragment.reply_length)
                return self.answer_with(fragment.block, fragment.reply, fragment.reply_length)
            if self.merge == SUM:
                total += codec.read_integer(fragment.reply, fragment.at, fragment.reply_length)
        if self.merge == VALUES:
            return self.answer_values()
        if self.merge == STATUS:
            return self.answer_with(self.fragments[0].block, self.fragments[0].reply, self.fragments[0].reply_length)
        if self.whole is not None:
            return self.whole.take(cython.NULL, cython.NULL, 0, total)
        return self.answer_with(cython.NULL, head, codec.put_merged(head, SUM, self.n_items, total))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_with(self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Pass this reply to the request of which this is a piece, or to the client, unless it wants no reply."""
        if self.whole is not None:
            return self.whole.take(block, data, length, 0)
        return ClientRequest.answer_with(self, block, data, length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_values(self) -> cython.int:
        """Merge the values in the order of the keys; the values of failed fragments are missing."""
        codec: Codec = self.pool.codec
        item: cython.pointer[Place]
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
        at = 0 if self.whole is not None else codec.put_merged(out, VALUES, self.n_items, 0)
        for i in range(self.n_items):
            item = cython.address(self.items[i])
            if self.n_fragments > 0:
                fragment = cython.address(self.fragments[item.fragment])
                if fragment.outcome == MERGEABLE and item.length > 0:
                    memcpy(out + at, fragment.reply + item.start, item.length)
                    at += item.length
                    continue
            at += codec.put_missing(out + at, self.expected)
        if self.whole is None:
            at += codec.put_merged_end(out + at)
        self.answer_with(merged, out, at)
        self.pool.loop.blocks.release(merged)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_custom(self) -> cython.int:
        """Reply with the result of ``merge_replies``."""
        f: cython.int
        reply: bytes
        said: list = []
        for f in range(self.n_fragments):
            reply = PyBytes_FromStringAndSize(
                cython.cast(cython.p_char, self.fragments[f].reply), self.fragments[f].reply_length
            )
            said.append((self.server_of(f).name, reply))
        reply = self.merge_replies(said)
        return self.answer_with(
            cython.NULL, cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)), PyBytes_GET_SIZE(reply)
        )
