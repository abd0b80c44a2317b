from libc.stdint cimport int64_t

from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.stats.histograms cimport record_response
from twemproxy.upstream.pipeline cimport Entry
from twemproxy.upstream.server cimport Server


cdef int note_slow(ConfiguredPool pool, Codec codec, Server server, Entry* request, int64_t now) except -1
cdef int measure_logged(
    ConfiguredPool pool, Codec codec, Server server, Entry* entry, Py_ssize_t length, int64_t now
) except -1


# The reply to a request has arrived, with `length` bytes; `now`: in microseconds of `EventLoop.real`. The request has its
# handler. A request of the proxy's own is not measured.
cdef inline int measure(
    ConfiguredPool pool, Codec codec, Server server, Entry* request, Py_ssize_t length, int64_t now
) except -1:
    if request.read_at > 0:
        record_response(server.counters, request.command_class, request.read_at, request.sent_at, now)
        if request.hot_place != 0:
            pool.hot_keys.note_reply(request.hot_place, length)
        if now - request.read_at >= pool.settings.slow_after:
            return note_slow(pool, codec, server, request, now)
    elif request.read_at < 0:
        return measure_logged(pool, codec, server, request, length, now)
    return 0
