from twemproxy.protocol.codec cimport IN_WORDS, RESP3, SUM, VALUES, Merge, put_number
from twemproxy.protocol.redis.framing cimport RespFraming


cdef class RedisCodec(RespFraming):
    cdef int[::1] readonly
    cdef readonly frozenset permitted
    cdef readonly frozenset denied
    cdef readonly object scripts
    cdef readonly object lookups
    cdef readonly object available

    cdef bint is_count(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
