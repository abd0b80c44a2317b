"""Requests that are too large: refused in their place, and what is still to come of them dropped unseen.

Compiled-only; part of ``proxy.client``, in a module of its own.
"""

import cython
from cython.cimports.libc.string import memchr
from cython.cimports.twemproxy.protocol.codec import (
    ARGUMENTS,
    COMPLETE,
    NEED_MORE,
    REST_OF_LINE,
    TO_NOBODY,
    Codec,
    Frame,
)
from cython.cimports.twemproxy.proxy.client import ClientConnection


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse_large(client: ClientConnection) -> cython.int:
    """Answer the complete request just framed with the error that it is larger than clients may send."""
    codec: Codec = client.pool.codec
    if codec.route == TO_NOBODY:
        client.swallow = codec.swallow
    return refuse(client, codec.large_refusal(client.limits.largest_request))


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse_unfinished(client: ClientConnection, reply: bytes) -> cython.int:
    """Answer a request with this error that ``Codec.pass_over`` has just told how to drop."""
    codec: Codec = client.pool.codec
    client.resume_at = 0
    client.needed = 0
    client.swallow = codec.swallow
    client.swallow_arguments = codec.swallow_arguments
    codec.swallow = 0
    return refuse(client, reply)


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse(client: ClientConnection, reply: bytes) -> cython.int:
    client.pool.codec.expected |= client.wishes
    client.answer_here(reply)
    if client.session is not None:
        client.session.spoilt()
    if client.skipping:
        client.session.replies = 0
        client.take_wishes()
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def pass_over(
    client: ClientConnection, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Drop what a refused request still has to come; returns the position behind, when ``swallow`` is 0 then.

    Otherwise what is left of the bytes is too little to tell, or the connection ends.
    """
    codec: Codec = client.pool.codec
    found: cython.p_uchar
    frame: Frame
    while start < end and client.swallow != 0:
        if client.swallow == REST_OF_LINE:
            found = cython.cast(cython.p_uchar, memchr(buf + start, ord(b"\n"), end - start))
            if found is cython.NULL:
                return end
            start = found - buf + 1
            client.swallow = 0
        elif client.swallow == ARGUMENTS:
            frame = codec.pass_argument(buf, start, end)
            if frame == NEED_MORE:
                client.needed = codec.needed
                return start
            if frame != COMPLETE:
                client.break_off(codec.malformation())
                return end
            start = codec.end
            client.swallow = codec.swallow
            client.swallow_arguments -= 1
            codec.swallow = 0
        elif client.swallow > end - start:
            client.swallow -= end - start
            return end
        else:
            start += client.swallow
            client.swallow = ARGUMENTS if client.swallow_arguments > 0 else 0
    return start
