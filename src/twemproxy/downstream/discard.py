"""Requests that are too large, or too many: each gets an error reply, and the rest of its bytes is discarded.

Compiled-only.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memchr
from cython.cimports.twemproxy.downstream.client_states import CLOSING, LINGERING
from cython.cimports.twemproxy.downstream.client_stream import ClientStream, ClientTimer
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import (
    ARGUMENTS,
    COMPLETE,
    NEED_MORE,
    NOREPLY,
    REJECT,
    REST_OF_LINE,
    Cursor,
    Frame,
    Request,
)

# Microseconds that a client has to close after the proxy has closed its side of the connection.
LINGER = cython.declare(cython.const[int64_t], 30_000_000)


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse_large(client: ClientStream, request: Request) -> cython.int:
    """Reply to a complete request with the error that it is too large."""
    codec: Codec = client.pool.codec
    if request.route == REJECT:
        client.discard = request.discard
    return refuse(client, request, codec.large_refusal(request, client.pool.settings.largest_request))


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse_unfinished(client: ClientStream, request: Request, reply: bytes) -> cython.int:
    """Reply to an incomplete request with this error; discard its rest as ``Codec.skip_request`` has found."""
    client.cursor = None
    client.needed = 0
    client.discard = request.discard
    client.discard_arguments = request.discard_arguments
    return refuse(client, request, reply)


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse_rest(client: ClientStream, problem: str) -> cython.int:
    """Reply with the error ``problem`` to a client that has sent too much without reading; close after that.

    All its requests that wait are dropped. Its input is still read and dropped, so that the client finishes writing and
    reads the error.
    """
    codec: Codec = client.pool.codec
    if client.steps is not None:
        if not client.steps_are_messages:
            # The client may have got a part of the reply; only the rest of this reply could follow.
            return client.abort(problem)
        client.drop_steps()
    client.drop_input()
    client.discard = 0
    client.blocked_on = None
    client.break_off(b"" if client.reply_flags & NOREPLY else codec.error(problem))
    client.lingers = True
    client.pauses = 0
    return client.update_interest()


@cython.cfunc
@cython.exceptval(-1, check=False)
def linger(client: ClientStream) -> cython.int:
    """After the last reply: close the proxy's side of the connection, and drop input until the client closes.

    This ends after LINGER. If the proxy closed while the client sends, the kernel would drop the unread replies.
    """
    timer: ClientTimer = client.begin_timer()
    if client.state == CLOSING:
        client.become(LINGERING)
        client.shut_write()
        timer.lingers_until = client.loop.now + LINGER
        timer.arm_by(timer.lingers_until)
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def refuse(client: ClientStream, request: Request, reply: bytes) -> cython.int:
    client.answer_here(request, reply)
    if client.session is not None:
        client.session.on_rejected()
    if client.skips_reply:
        client.session.replies = 0
        client.sync_session()
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def discard(
    client: ClientStream, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Discard the rest of a refused request; returns the position after the discarded bytes.

    If ``client.discard`` is not 0 then, the remaining bytes are too few to continue, or the connection is closing.
    """
    codec: Codec = client.pool.codec
    request: Request = client.pool.request
    cursor: Cursor
    found: cython.p_uchar
    frame: Frame
    while start < end and client.discard != 0:
        if client.discard == REST_OF_LINE:
            found = cython.cast(cython.p_uchar, memchr(buf + start, ord(b"\n"), end - start))
            if found is cython.NULL:
                return end
            start = found - buf + 1
            client.discard = 0
        elif client.discard == ARGUMENTS:
            cursor = client.pool.cursor
            frame = codec.skip_argument(buf, start, end, cursor, request)
            if frame == NEED_MORE:
                client.needed = cursor.needed
                return start
            if frame != COMPLETE:
                client.break_off(codec.malformation(request))
                return end
            start += cursor.length
            client.discard = request.discard
            client.discard_arguments -= 1
        elif client.discard > end - start:
            client.discard -= end - start
            return end
        else:
            start += client.discard
            client.discard = ARGUMENTS if client.discard_arguments > 0 else 0
    return start
