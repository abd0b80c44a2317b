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


# One key of a request. `start` and `length` say where its item stands in the request, and once the reply is there
# where its value stands in that.
cdef struct Item:
    Py_ssize_t start
    Py_ssize_t length
    Py_ssize_t key_start
    Py_ssize_t key_end
    int fragment
    int next


cdef struct Fragment:
    int server
    int items
    int first
    int last
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
    cdef object merge_in_words
    cdef unsigned char expected
    cdef int n_items
    cdef int n_fragments
    cdef int awaited
    cdef Item* items
    cdef Fragment* fragments
    cdef Block* request_block
    cdef unsigned char* request

    cdef int begin(self, ServerPool pool, ReplyQueue replies) except -1
    cdef int allocate_fragments(self, int n) except -1
    cdef int take_fragments(self, Fragment* by_server) except -1
    cdef int take_all_servers(self) except -1
    cdef int send_fragments(self, unsigned int client, int profile, Block* block) except -1
    cdef int send_bytes(self, int position, ServerConnection connection, bytes request) except -1
    cdef int keep(self, unsigned int position, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int keep_request(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint place_values(self, unsigned int position, unsigned char* data, Py_ssize_t length) except -1
    cdef bint place_odd_values(self, unsigned int position, unsigned char* data, Py_ssize_t length) except -1
    cdef int finish(self) except -1
    cdef int answer(self) except -1
    cdef int answer_with(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int answer_values(self) except -1
    cdef int answer_in_words(self) except -1

cdef ServerConnection dispatch_split(
    ServerPool pool, ReplyQueue replies, unsigned int client, int profile, Block* block, Py_ssize_t start, Py_ssize_t end
)
cdef ServerConnection dispatch_to_all(
    ServerPool pool, ReplyQueue replies, unsigned int client, int profile, Block* block, Py_ssize_t start, Py_ssize_t end
)
cdef int dispatch_ask(ServerPool pool, ReplyQueue replies, list connections, object ask) except -1
