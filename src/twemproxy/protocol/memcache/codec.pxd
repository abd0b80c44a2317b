from twemproxy.protocol.codec cimport IN_WORDS, MUTED, STATUS, VALUES, Merge
from twemproxy.protocol.memcache.replies cimport MemcacheReplies


cdef class MemcacheCodec(MemcacheReplies):
    pass
