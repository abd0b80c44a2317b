"""What is measured when the reply to a client's request arrives: latency, the slow log, the size of hot keys, and which
server it was for the access log.

Compiled-only. The part that runs for every request is inlined, in ``measuring.pxd``.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.stats.positions import CLASS_BLOCKING, SLOW_RESPONSES
from cython.cimports.twemproxy.upstream.pipeline import Entry
from cython.cimports.twemproxy.upstream.server import Server


@cython.cfunc
@cython.exceptval(-1, check=False)
def note_slow(
    pool: ConfiguredPool, codec: Codec, server: Server, request: cython.pointer[Entry], now: int64_t
) -> cython.int:
    """Count a slow request, and put it into the slow log unless that has too many."""
    sent_at: int64_t = request.sent_at if request.sent_at != 0 else now
    shown: bytes
    if request.command_class == CLASS_BLOCKING:
        return 0
    server.counters[SLOW_RESPONSES] += 1
    if pool.slow_log.has_room(now):
        shown = PyBytes_FromStringAndSize(cython.cast(cython.p_char, request.shown), request.shown_length)
        pool.slow_log.note(
            cython.cast(ReplyHandler, request.handler).owner(),
            request.command,
            codec.arguments_of(shown),
            server.name,
            sent_at - request.read_at,
            now - sent_at,
            now,
        )
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def measure_logged(
    pool: ConfiguredPool,
    codec: Codec,
    server: Server,
    entry: cython.pointer[Entry],
    length: cython.Py_ssize_t,
    now: int64_t,
) -> cython.int:
    """As ``measure``, for a request of the sample of the access log."""
    entry.read_at = -entry.read_at
    cython.cast(ReplyHandler, entry.handler).note_server(
        entry.position, server.name, entry.sent_at if entry.sent_at != 0 else now, True
    )
    return measure(pool, codec, server, entry, length, now)
