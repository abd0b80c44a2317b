"""Requests of the proxy's own.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.twemproxy.net.block import Block
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler


@cython.final
@cython.cclass
class InternalRequest(ReplyHandler):
    """``done(reply, answered)`` gets a copy of the reply, or the proxy's error if the server gave none."""

    def __init__(self, done) -> None:
        self.done = done

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        self.done(PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length), True)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        self.done(reply, False)
        return 0
