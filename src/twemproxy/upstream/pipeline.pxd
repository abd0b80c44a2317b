from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from twemproxy.net.block cimport BlockPool
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.reply_handler cimport ReplyHandler


# The state of a request.
cdef enum EntryState:
    FRESH       # on its first connection
    RESENT      # on its second connection, or waiting for it
    DROPPED     # overdue and not sent
    FENCE       # a fence, see `upstream.fenced`


cdef enum:
    SHOWN = 68      # so that an entry has two cache lines


# `handler`: NULL for a fence and for a request that has failed. `copy`: NULL, or the bytes of a read. `read_at`,
# `command`, `command_class`, `hot_place`: as in ReplyHandler. `sent_at`: when the last byte was written, 0 before that.
# `shown`: the first bytes of the request, for the slow log.
cdef struct Entry:
    PyObject* handler
    unsigned char* copy
    int64_t deadline
    int64_t read_at
    int64_t sent_at
    Py_ssize_t length
    unsigned int position
    unsigned char expected
    unsigned char required_features
    unsigned char state
    unsigned char command_class
    short command
    unsigned char hot_place
    unsigned char shown_length
    unsigned char[SHOWN] shown


cdef class Pipeline:
    cdef Entry* requests
    cdef unsigned int head
    cdef unsigned int written
    cdef unsigned int tail
    cdef unsigned int overdue
    cdef unsigned int fences
    cdef unsigned int capacity
    cdef Py_ssize_t request_bytes
    cdef Py_ssize_t sent_of_next
    cdef str server

    cdef int grow(self) except -1
    cdef int keep_read(self, SendQueue out, Codec codec) except -1
    cdef void note_sent(self, Py_ssize_t sent, SendQueue out, int64_t now) noexcept
    cdef bint is_begun(self) noexcept
    cdef void take_as_written(self) noexcept
    cdef int64_t next_deadline(self) noexcept
    cdef void limit_deadlines(self, int64_t latest, unsigned int end) noexcept
    cdef list take_overdue(self, int64_t now)
    cdef void drop_unsent(self, SendQueue out, BlockPool blocks) noexcept
    cdef void skip_dropped(self) noexcept
    cdef void drop_late_reply(self) noexcept
    cdef list take_failed(self, SendQueue out, BlockPool blocks, bint again)
    cdef unsigned int n_unsent(self) noexcept
    cdef unsigned int unsent_fences(self) noexcept
    cdef list take_unsent(self, SendQueue out, BlockPool blocks)
    cdef list take_unsupported(self, int features, SendQueue out, BlockPool blocks)
    cdef unsigned int first_unsent(self, SendQueue out, BlockPool blocks) noexcept
    cdef int put_again(self, SendQueue out, BlockPool blocks, unsigned int unsent) except -1
    cdef void clear(self) noexcept
    cdef void free_ring(self) noexcept
    cdef tuple released(self, Entry* request)


# The functions that run for every request are inlined.

# Make room for one more entry. This can fail, so call it before bytes are appended to the send queue.
cdef inline int make_place(Pipeline pipeline) except -1:
    if pipeline.tail - pipeline.head == pipeline.capacity:
        return pipeline.grow()
    return 0


# Record the last `length` bytes of the send queue as a request, in the place just made; `expected` and
# `required_features`: see `protocol.request`.
cdef inline void add(
    Pipeline pipeline,
    ReplyHandler handler,
    unsigned int position,
    Py_ssize_t length,
    unsigned char expected,
    unsigned char required_features,
    int64_t deadline,
) noexcept:
    cdef Entry* request
    request = &pipeline.requests[pipeline.tail & (pipeline.capacity - 1)]
    Py_INCREF(handler)
    request.handler = <PyObject*> handler
    request.copy = NULL
    request.position = position
    request.expected = expected
    request.required_features = required_features
    request.state = FRESH
    request.length = length
    request.deadline = deadline
    request.read_at = handler.read_at
    request.command_class = handler.command_class
    request.command = handler.command
    request.hot_place = handler.hot_place
    handler.hot_place = 0
    request.shown_length = 0
    pipeline.tail += 1
    pipeline.request_bytes += length


# The request whose reply is next; there must be one.
cdef inline Entry* oldest(Pipeline pipeline) noexcept:
    return &pipeline.requests[pipeline.head & (pipeline.capacity - 1)]


# Remove the oldest request after its reply; the caller has taken over the reference to its handler.
cdef inline void forget_oldest(Pipeline pipeline) noexcept:
    cdef Entry* request = oldest(pipeline)
    pipeline.request_bytes -= request.length
    if request.copy != NULL:
        free(request.copy)
    pipeline.head += 1
    # A large ring is freed as soon as it is empty.
    if pipeline.head == pipeline.tail and pipeline.capacity > 1024:
        pipeline.free_ring()


# As `add`, for a fence.
cdef inline int add_fence(Pipeline pipeline, Py_ssize_t length, int64_t deadline) noexcept:
    cdef Entry* request
    request = &pipeline.requests[pipeline.tail & (pipeline.capacity - 1)]
    request.handler = NULL
    request.copy = NULL
    request.position = 0
    request.expected = 0
    request.required_features = 0
    request.state = FENCE
    request.length = length
    request.deadline = deadline
    pipeline.tail += 1
    pipeline.fences += 1
    pipeline.request_bytes += length
    return 0


# The newest request; there must be one.
cdef inline Entry* newest(Pipeline pipeline) noexcept:
    return &pipeline.requests[(pipeline.tail - 1) & (pipeline.capacity - 1)]


# Keep the first bytes of the newest request, which begins at `data`; `room`: the bytes from there that may be read.
cdef inline int show(Pipeline pipeline, const unsigned char* data, Py_ssize_t length, Py_ssize_t room) noexcept:
    cdef Entry* request = newest(pipeline)
    request.shown_length = <unsigned char> min(length, SHOWN)
    if room >= SHOWN:
        # Of a fixed size, which is faster.
        memcpy(request.shown, data, SHOWN)
    else:
        memcpy(request.shown, data, min(min(length, room), SHOWN))
    return 0
