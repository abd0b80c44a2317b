from twemproxy.protocol.memcache.lines cimport find_newline
from twemproxy.protocol.memcache.reply_parser cimport MemcacheReplies
from twemproxy.protocol.request cimport STATUS, VALUES, Item, Merge, Request


cdef class MemcacheCodec(MemcacheReplies):
    cdef int[::1] only_reads
    cdef readonly frozenset permitted
