from twemproxy.net.block cimport Block
from twemproxy.proxy.reply_queue cimport ReplyQueue
from twemproxy.protocol.codec cimport Merge
from twemproxy.proxy.server_connection cimport ServerConnection
from twemproxy.proxy.server_pool cimport ServerPool
from twemproxy.proxy.sink cimport Sink


# How a fragment was answered.
cdef enum Outcome:
    MERGEABLE
    REFUSED     # by its server, in an error reply
    FAILED      # no reply, the proxy's own error stands for it


cdef struct Item:
    Py_ssize_t start
    Py_ssize_t length
    int server
    int next


cdef struct Fragment:
    int server
    int items
    int first
    int last
    Py_ssize_t length
    Block* block
    unsigned char* reply
    Py_ssize_t reply_length
    Py_ssize_t at
    Outcome outcome


cdef class SplitRequest(Sink):
    cdef ServerPool pool
    cdef ReplyQueue replies
    cdef unsigned int position
    cdef Merge merge
    cdef int n_items
    cdef int n_fragments
    cdef int awaited
    cdef int* fragment_of
    cdef Fragment* fragments

    cdef int keep(self, unsigned int position, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int finish(self) except -1
    cdef int answer(self) except -1

cdef ServerConnection dispatch_split(
    ServerPool pool, ReplyQueue replies, unsigned int client, Block* block, Py_ssize_t start, Py_ssize_t end
)
