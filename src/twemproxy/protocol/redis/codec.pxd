from twemproxy.protocol.codec cimport put_number
from twemproxy.protocol.redis.framing cimport RespFraming
from twemproxy.protocol.request cimport CUSTOM, RESP3, STATUS, SUM, VALUES, Item, Merge, Request


cdef class RedisCodec(RespFraming):
    cdef int[::1] readonly
    cdef int echo
    cdef readonly frozenset permitted
    cdef readonly frozenset denied
    cdef readonly object scripts
    cdef object script_digests
    cdef readonly object lookups
    cdef readonly object versions
    cdef readonly object available

    cdef bint is_count(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
