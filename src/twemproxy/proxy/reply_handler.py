"""The receiver of a reply: a client's reply queue, a part of a split request, or other code of the proxy.

Compiled-only.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.net.block import Block


@cython.cclass
class ReplyHandler:
    """The receiver of replies; a server connection knows a request only by its handler and a position in it.

    ``read_at``: when the present request of the handler was read, in microseconds of ``EventLoop.real``; 0: it is not
    measured; negative: it is in the sample of the access log, and was read at the absolute value. ``command``,
    ``command_class``: those of the request. ``hot_place``: the place of its key among the hot
    keys until it is sent, 0 without one.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """Take the complete reply to the request at ``position``.

        The bytes are in ``block`` and valid during the call; to keep them, hold the block or copy them. If ``block`` is
        NULL they can only be copied. Returns 1 if the reply does not fit the request, otherwise 0.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_server(self, position: cython.uint, name: str, sent_at: int64_t, has_replied: cython.bint) -> cython.int:
        """The request at ``position``, of the sample of the access log, has reached the server with this name.

        ``has_replied``: its reply follows; otherwise it has failed, or is taken off the server. ``sent_at``: when the
        request was sent, in microseconds of ``EventLoop.real``, 0 if it was not.
        """
        return 0

    @cython.cfunc
    def owner(self) -> object:
        """The object that waits for the reply: requests of the same owner may depend on each other."""
        return self

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        """The request at ``position`` gets no reply from its server; ``reply`` is the proxy's error for it."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_owner(self) -> cython.int:
        """Close the client that waits for the reply at the end of the turn: taking the reply has failed, by a defect or
        for lack of memory.
        """
        return 0
