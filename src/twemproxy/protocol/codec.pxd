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
    TO_ALL         # to every server, the replies merged as `merge` says
    TO_SAME        # to the one server that has all of `keys`; refused when there is none
    PLANNED        # `plan` says what becomes of it
    TO_NOBODY      # refused; `problem` is set

# How the replies of a split request become one.
cdef enum Merge:
    VALUES         # values in key order
    SUM            # integers added
    STATUS         # the first one when all are fine
    IN_WORDS       # whatever `merge_in_words` makes of them

# In `expected`, beside what the codec keeps there: what the client wants.
cdef enum:
    RESP3 = 0x20   # replies in version 3 of the redis protocol
    QUIET = 0x40   # no replies for which `is_nominal` is true
    MUTED = 0x80   # no replies at all, errors included

# In `swallow`, what is no number of bytes.
cdef enum:
    REST_OF_LINE = -1   # everything through the next line end
    ARGUMENTS = -2      # `swallow_arguments` arguments


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
    cdef readonly bint key_decoded
    cdef unsigned char[::1] decoded
    cdef readonly Py_ssize_t item_start
    cdef readonly Py_ssize_t item_end
    cdef readonly Py_ssize_t cut_start
    cdef readonly Py_ssize_t cut_end
    cdef readonly Py_ssize_t swallow
    cdef readonly Py_ssize_t swallow_arguments
    cdef public unsigned char expected
    cdef readonly unsigned char greeting_expected
    cdef readonly unsigned char demand
    cdef readonly bint repairable
    cdef readonly bint notable
    cdef readonly bint matches_keys

    cdef Frame frame_request(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Frame pass_over(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Frame pass_argument(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Frame frame_reply(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef void first_item(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef void next_item(self, const unsigned char* buf, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put_sub_request(self, unsigned char* out, const unsigned char* buf, int command, Py_ssize_t items) noexcept nogil
    cdef Py_ssize_t put_sub_request_end(self, unsigned char* out) noexcept nogil
    cdef bint is_mergeable(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Merge merge, Py_ssize_t items) noexcept nogil
    cdef Py_ssize_t take_value(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, const unsigned char* request, Py_ssize_t key_start, Py_ssize_t key_end) noexcept nogil
    cdef bint is_values_end(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put_merged(self, unsigned char* out, Merge merge, Py_ssize_t items, long long total) noexcept nogil
    cdef Py_ssize_t put_missing(self, unsigned char* out) noexcept nogil
    cdef Py_ssize_t put_merged_end(self, unsigned char* out) noexcept nogil
    cdef bint is_repeatable(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_transient_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_unasked(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_nominal(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef long long read_integer(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil

cdef Py_ssize_t put_number(unsigned char* out, Py_ssize_t at, long long number) noexcept nogil
