from twemproxy.protocol.codec cimport IN_WORDS, MUTED, STATUS, VALUES, Merge
from twemproxy.protocol.memcache.lines cimport find_newline
from twemproxy.protocol.memcache.replies cimport MemcacheReplies


cdef class MemcacheCodec(MemcacheReplies):
    cdef int[::1] only_reads
    cdef int[::1] writing_flags
