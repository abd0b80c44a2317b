"""The fences in progress on one server connection, and the parsed part of the slice before the oldest one.

Compiled-only. A fence is a request of the proxy's own with an unguessable token, which its reply repeats.
``upstream.fenced`` describes the purpose.
"""

import cython
from cython.cimports.libc.stdlib import free
from cython.cimports.twemproxy.libc.random import getrandom
from cython.cimports.twemproxy.net.block import BlockPool, enlarge_ring
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.protocol.codec import Codec

# Random bytes per token; a token has two hexadecimal digits per byte.
TOKEN_BYTES = cython.declare(cython.const[cython.int], 8)
HEX = cython.declare(cython.p_char, b"0123456789abcdef")


@cython.final
@cython.cclass
class Fences:
    """Fences from ``head`` up to ``tail`` wait for replies; positions wrap at 2^32.

    ``unfenced``: number of requests that were queued after the newest fence; all are requests of ``owner``.

    ``framed``: number of replies found in the slice before the oldest fence; the last one ends at ``at``. The reply to
    the fence begins at ``searched`` or later. ``broken``: the replies do not fit the requests. ``stuck``: bytes were
    read that are neither complete replies nor the reply to the fence.
    """

    def __dealloc__(self) -> None:
        free(self.fences)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put(self, out: SendQueue, blocks: BlockPool, codec: Codec, urgent: cython.bint) -> cython.Py_ssize_t:
        """Append a fence to ``out``; returns the length of its request."""
        request = cython.declare(cython.uchar[64])
        length: cython.Py_ssize_t
        fence: cython.pointer[Fence]
        if self.tail - self.head == self.capacity:
            self.grow()
        fence = cython.address(self.fences[self.tail & (self.capacity - 1)])
        self.draw(fence.token)
        fence.urgent = urgent
        length = codec.put_urgent_fence(request, fence.token) if urgent else codec.put_fence(request, fence.token)
        out.append(blocks, request, length)
        self.tail += 1
        self.owner = None
        self.unfenced = 0
        return length

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        capacity: cython.uint = max(2 * self.capacity, 16)
        self.fences = cython.cast(
            cython.pointer[Fence],
            enlarge_ring(self.fences, cython.sizeof(Fence), self.capacity, capacity, self.head, self.tail),
        )
        self.capacity = capacity
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def draw(self, token: cython.p_uchar) -> cython.int:
        """Write a new token. Tokens are used once: an old one may be known, for example from a server's slow log."""
        i: cython.int
        byte: cython.uchar
        if self.random_left == 0:
            if getrandom(self.random, cython.sizeof(self.random), 0) != cython.sizeof(self.random):
                raise OSError("the system gives no random bytes")
            self.random_left = cython.sizeof(self.random)
        self.random_left -= TOKEN_BYTES
        for i in range(TOKEN_BYTES):
            byte = self.random[self.random_left + i]
            token[2 * i] = HEX[byte >> 4]
            token[2 * i + 1] = HEX[byte & 15]
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def oldest(self) -> cython.pointer[Fence]:
        """The oldest fence, NULL without one."""
        if self.head == self.tail:
            return cython.NULL
        return cython.address(self.fences[self.head & (self.capacity - 1)])

    @cython.cfunc
    @cython.exceptval(check=False)
    def urgent(self) -> cython.pointer[Fence]:
        """The first urgent fence, NULL without one."""
        position: cython.uint = self.head
        while position != self.tail:
            if self.fences[position & (self.capacity - 1)].urgent:
                return cython.address(self.fences[position & (self.capacity - 1)])
            position += 1
        return cython.NULL

    @cython.cfunc
    @cython.exceptval(check=False)
    def keep(self, n: cython.uint, closed: cython.bint) -> cython.void:
        """Keep only the oldest ``n`` fences; ``closed``: no request is queued after the last of them."""
        self.tail = self.head + n
        self.owner = None
        # The owner of those requests is unknown: the next request gets a fence before it.
        self.unfenced = 0 if closed else MOST_IN_SLICE

    @cython.cfunc
    @cython.exceptval(check=False)
    def begin_slice(self) -> cython.void:
        """Start a new slice."""
        self.framed = 0
        self.at = 0
        self.searched = 0
        self.broken = False
        self.stuck = False
