"""Where the requests of a pool go: its servers, and the ring of those that have keys.

Compiled-only. A table never changes, but for the random numbers of the distribution ``random``. An ejection or a return
makes another table, which replaces the pool's by one assignment; a split request keeps the table with which it began.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.twemproxy.hashing.ring import Ring
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import Item, Request
from cython.cimports.twemproxy.upstream.server import Server

# The key by which requests without a key are routed, as in nutcracker.
PLACEHOLDER = cython.declare(bytes, b"placeholder")


@cython.final
@cython.cclass
class RouteTable:
    """``servers``: all servers of the pool, in the order of the configuration. ``live``: those that are not ejected.

    ``is_open``: whether requests can be routed. Otherwise the ring is that of an earlier table.
    """

    def __init__(self, servers: tuple, live: tuple, ring: Ring, is_open: bool) -> None:
        """``ring``: of ``servers``; its indices are places in this tuple."""
        self.servers = servers
        self.n_servers = len(servers)
        self.live = live
        self.ring = ring
        self.is_open = is_open

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def place_of(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """The place in ``servers`` of the server that has the key ``buf[start:end]``; with ``random`` a random one.

        All keys are routed here, but those of requests that a pool of one server gets whole.
        """
        return self.ring.route(buf, start, end)

    @cython.cfunc
    @cython.inline
    def server_of(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Server:
        """The server that has the key ``buf[start:end]``; with ``random`` a random one."""
        return cython.cast(Server, self.servers[self.place_of(buf, start, end)])

    @cython.cfunc
    @cython.inline
    def server_of_key(self, buf: cython.p_uchar, start: cython.Py_ssize_t, request: Request) -> Server:
        """The server of a request's key; the request begins in ``buf`` at ``start``."""
        if request.key_decoded:
            return self.server_of(cython.address(request.decoded[0]), 0, request.key_end)
        return self.server_of(buf, start + request.key_start, start + request.key_end)

    @cython.cfunc
    def server_of_found(
        self, codec: Codec, buf: cython.p_uchar, start: cython.Py_ssize_t, request: Request, item: Item
    ) -> Server:
        """As ``server_of_all``, for the keys that ``Codec.next_key`` finds in a request.

        ``item``: from ``Codec.begin_keys``.
        """
        server: Server = None
        other: Server
        while codec.next_key(buf, start, request, item):
            other = self.server_of(buf, start + item.key_start, start + item.key_end)
            if server is not None and other is not server:
                return None
            server = other
            if self.ring.is_random:
                break
        return server if server is not None else self.any_server()

    def server_of_all(self, keys: list) -> Server | None:
        """The server that has all of these keys, None if they are on several servers; without keys as ``any_server``.

        With the distribution ``random`` a key has no server of its own, so all keys get the one that the first key
        draws.
        """
        key: bytes
        server: Server = None
        other: Server
        if not keys:
            return self.any_server()
        for key in keys:
            other = self.server_of(cython.cast(cython.p_uchar, PyBytes_AS_STRING(key)), 0, PyBytes_GET_SIZE(key))
            if server is not None and other is not server:
                return None
            server = other
            if self.ring.is_random:
                break
        return server

    @cython.cfunc
    def any_server(self) -> Server:
        """A server for requests that any server can answer: a live one, if there is one."""
        server: Server = self.server_of(
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(PLACEHOLDER)), 0, PyBytes_GET_SIZE(PLACEHOLDER)
        )
        if server.down and self.live:
            return cython.cast(Server, self.live[0])
        return server
