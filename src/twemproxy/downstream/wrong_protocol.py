"""Clients that speak another protocol than the pool: they are closed, and the log says why.

Compiled-only.
"""

import cython
from cython.cimports.twemproxy.downstream.client_stream import ClientStream
from cython.cimports.twemproxy.protocol.foreign import NOT_FOREIGN, UNDECIDED, Foreign, first_bytes

WARN = cython.declare(cython.const[cython.int], 4)


@cython.cfunc
@cython.exceptval(-1, check=False)
def is_recognized(
    client: ClientStream, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Check a client's first bytes, at least one; False if more are needed, or if the client is being closed."""
    foreign: Foreign = first_bytes(buf, start, end)
    if foreign == UNDECIDED:
        client.needed = 2
        return False
    client.recognized = True
    if foreign != NOT_FOREIGN:
        hang_up(client, foreign)
    return foreign == NOT_FOREIGN


@cython.cfunc
@cython.exceptval(-1, check=False)
def hang_up(client: ClientStream, foreign: Foreign) -> cython.int:
    """Log the protocol, and close after the replies to earlier requests, of which there are usually none."""
    client.broken_off = True
    client.close_after_replies()
    if client.loop.verbosity >= WARN:
        client.pool.log.client_speaks(client.fd, foreign, client.loop.now)
    return client.loop.want_flush(client)
