"""Where the reply to a request goes: a client's reply queue, or one part of a split request.

Compiled-only.
"""

import cython
from cython.cimports.twemproxy.net.block import Block


@cython.cclass
class Sink:
    """A server connection knows of its requests nothing but a sink and a position in it."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """The complete reply to the request at ``position``.

        The bytes stand in ``block`` and are good during the call; who keeps them holds the block or copies. A
        NULL block means they can only be copied. Returns 1 when the reply cannot be one to that request.
        """
        raise NotImplementedError

    @cython.cfunc
    def owner(self) -> object:
        """Who waits for the reply: requests of one owner may depend on each other."""
        return self

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        """The request at ``position`` gets no reply from its server; ``reply`` is the proxy's error for it."""
        raise NotImplementedError
