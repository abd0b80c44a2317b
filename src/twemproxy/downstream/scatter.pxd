cimport cython
from twemproxy.net.block cimport Block
from twemproxy.downstream.reply_queue cimport ClientRequest, ReplyQueue
from twemproxy.protocol.request cimport Merge, Request
from twemproxy.upstream.route_table cimport RouteTable
from twemproxy.upstream.server cimport Server
from twemproxy.upstream.server_connection cimport ServerConnection
from twemproxy.upstream.server_pool cimport ServerPool


# The outcome of a fragment.
cdef enum Outcome:
    MERGEABLE
    REFUSED     # the server sent an error reply
    FAILED      # no reply; the fragment has an error of the proxy's own


# A request that is served in pieces: what it does with the reply to a piece.
cdef class WholeRequest:
    cdef unsigned int position

    cdef int take(self, Block* block, unsigned char* data, Py_ssize_t length, long long total) except -1
    cdef int fail(self, unsigned char* data, Py_ssize_t length) except -1


# One key of a request. `start` and `length`: where its item is in the request; after the reply, where its value is in
# the reply of its fragment.
cdef struct Place:
    Py_ssize_t start
    Py_ssize_t length
    Py_ssize_t key_start
    Py_ssize_t key_end
    int fragment
    int next


# A part of a split request. `server`: place of its server in the request's route table.
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


@cython.no_gc_clear
cdef class SplitRequest(ClientRequest):
    cdef ServerPool pool
    cdef RouteTable routes
    cdef list asked
    cdef WholeRequest whole
    cdef Merge merge
    cdef object merge_replies
    cdef int n_items
    cdef int n_fragments
    cdef int awaited
    cdef Place* items
    cdef Fragment* fragments
    cdef Block* request_block
    cdef unsigned char* request

    cdef int begin(self, ServerPool pool, Merge merge, unsigned char expected, ReplyQueue replies, WholeRequest whole) except -1
    cdef int allocate_fragments(self, int n) except -1
    cdef int take_fragments(self, Fragment* by_server) except -1
    cdef Server server_of(self, int f)
    cdef int send_fragments(self, Request request, unsigned int client, int profile, Block* block, Py_ssize_t start) except -1
    cdef int keep(self, unsigned int position, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int keep_request(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint place_values(self, unsigned int position, unsigned char* data, Py_ssize_t length) except -1
    cdef bint place_odd_values(self, unsigned int position, unsigned char* data, Py_ssize_t length) except -1
    cdef int finish(self) except -1
    cdef int answer(self) except -1
    cdef int answer_values(self) except -1
    cdef int answer_custom(self) except -1

cdef ServerConnection scatter(
    ServerPool pool, Request request, ReplyQueue replies, unsigned int client, int profile, Block* block, Py_ssize_t start,
    Py_ssize_t end, WholeRequest whole
)
cdef ServerConnection broadcast(
    ServerPool pool, Request request, ReplyQueue replies, unsigned int client, int profile, Block* block, Py_ssize_t start,
    Py_ssize_t end
)
cdef int fan_out(ServerPool pool, unsigned char expected, ReplyQueue replies, list connections, object ask) except -1
