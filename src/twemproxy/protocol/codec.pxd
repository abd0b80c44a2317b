# What framing found.
cdef enum Frame:
    NEED_MORE      # the end is not there yet; `needed`, `resume_at` and `resume_left` are set
    COMPLETE       # a whole message; `end` is behind it
    SKIP           # bytes up to `end` ask for nothing
    REWRITE        # a whole request up to `end` that has to be rewritten before it is framed again
    MALFORMED      # no message can be found here or behind; `problem` is set

# Where a complete request goes.
cdef enum Route:
    TO_KEY         # to the server of the key at key_start..key_end
    TO_ANY         # to the server that answers for the whole pool
    TO_ONLY        # to the only server; refused in a pool of several
    TO_EACH        # split: `items` keys, the replies merged as `merge` says
    TO_PROXY       # the proxy answers
    TO_NOBODY      # refused; `problem` is set

# How the replies of a split request become one.
cdef enum Merge:
    VALUES         # elements in key order
    SUM            # integers added
    STATUS         # one status when all are fine


cdef class Codec:
    cdef readonly Py_ssize_t end
    cdef readonly Py_ssize_t needed
    cdef readonly Py_ssize_t resume_at
    cdef readonly Py_ssize_t resume_left
    cdef readonly int command
    cdef readonly int problem
    cdef readonly unsigned char found
    cdef readonly Route route
    cdef readonly Merge merge
    cdef readonly Py_ssize_t items
    cdef readonly Py_ssize_t key_start
    cdef readonly Py_ssize_t key_end
    cdef readonly Py_ssize_t item_start
    cdef readonly Py_ssize_t item_end

    cdef Frame frame_request(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Frame frame_reply(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef void first_item(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef void next_item(self, const unsigned char* buf, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put_sub_request(self, unsigned char* out, int command, Py_ssize_t items) noexcept nogil
    cdef bint is_mergeable(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Merge merge, Py_ssize_t items) noexcept nogil
    cdef Py_ssize_t next_value(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put_merged(self, unsigned char* out, Merge merge, Py_ssize_t items, long long total) noexcept nogil
    cdef bint is_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_transient_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_unasked(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef long long read_integer(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil

cdef Py_ssize_t put_number(unsigned char* out, Py_ssize_t at, long long number) noexcept nogil
