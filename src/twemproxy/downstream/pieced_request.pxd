cimport cython
from twemproxy.net.block cimport Block
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.net.stream cimport Stream
from twemproxy.protocol.request cimport Merge, Request
from twemproxy.downstream.reply_queue cimport ReplyQueue
from twemproxy.downstream.scatter cimport WholeRequest
from twemproxy.upstream.server_connection cimport ServerConnection
from twemproxy.upstream.server_pool cimport ServerPool

cdef const Py_ssize_t LARGEST_PIECE
cdef const Py_ssize_t ALWAYS_WHOLE


# The progress of a request.
cdef enum Progress:
    WAITING
    ANSWERED
    LOST        # it failed after a part of its reply was sent, so the connection must close


@cython.no_gc_clear
cdef class PiecedRequest(WholeRequest):
    cdef ServerPool pool
    cdef ReplyQueue replies
    cdef Merge merge
    cdef unsigned char expected
    cdef bytes head
    cdef Block* block
    cdef Py_ssize_t at
    cdef Py_ssize_t end
    cdef Py_ssize_t items
    cdef Py_ssize_t left
    cdef Py_ssize_t awaited
    cdef long long total
    cdef SendQueue values
    cdef SendQueue messages
    cdef bint begun
    cdef bytes problem

    cdef int begin(self, ServerPool pool, Request request, ReplyQueue replies, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int advance(self, Stream client, unsigned int number, int profile, Py_ssize_t most) except -1
    cdef ServerConnection send_piece(self, unsigned int number, int profile, Py_ssize_t size)
    cdef int give_up(self, Stream client) except -1
    cdef int answer(self, Stream client) except -1
    cdef int finish(self, Stream client) except -1

cdef bint takes_pieces(ServerPool pool, Request request, ReplyQueue replies, Py_ssize_t most) except -1
cdef Py_ssize_t keys_at_once(ReplyQueue replies, Py_ssize_t most) noexcept
