from twemproxy.protocol.request cimport MALFORMED, NOREPLY, NEED_MORE, QUIET, SUM, VALUES, Cursor, Frame, Item, Merge, Request


cdef class Codec:
    cdef readonly bint errors_end_values
    cdef readonly unsigned char handshake_expected
    cdef readonly bint matches_keys
    cdef readonly object handshake
    cdef readonly object pubsub

    cdef Frame frame_request(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, bint confined, unsigned char flags, Cursor cursor, Request request) noexcept nogil
    cdef Frame skip_request(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Cursor cursor, Request request) noexcept nogil
    cdef Frame skip_argument(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Cursor cursor, Request request) noexcept nogil
    cdef Frame frame_reply(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, unsigned char expected, Cursor cursor) noexcept nogil
    cdef void first_item(self, const unsigned char* buf, Py_ssize_t start, Request request, Item item) noexcept nogil
    cdef bint begin_keys(self, Request request, Item item) noexcept nogil
    cdef bint next_key(self, const unsigned char* buf, Py_ssize_t start, Request request, Item item) noexcept nogil
    cdef bint has_script(self, const unsigned char* buf, Py_ssize_t start, Request request) except -1
    cdef void next_item(self, const unsigned char* buf, Py_ssize_t start, Item item) noexcept nogil
    cdef Py_ssize_t skip_items(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end, Merge merge, Py_ssize_t count) noexcept nogil
    cdef Py_ssize_t put_sub_request(self, unsigned char* out, const unsigned char* buf, Py_ssize_t start, Request request, Py_ssize_t items) noexcept nogil
    cdef Py_ssize_t put_sub_request_end(self, unsigned char* out) noexcept nogil
    cdef Py_ssize_t find_values(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Merge merge, Py_ssize_t items) noexcept nogil
    cdef Py_ssize_t take_value(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, const unsigned char* request, Py_ssize_t key_start, Py_ssize_t key_end) noexcept nogil
    cdef bint is_values_end(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put_merged(self, unsigned char* out, Merge merge, Py_ssize_t items, long long total) noexcept nogil
    cdef Py_ssize_t put_missing(self, unsigned char* out, unsigned char expected) noexcept nogil
    cdef Py_ssize_t put_merged_end(self, unsigned char* out) noexcept nogil
    cdef bint is_repeatable(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_transient_error(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_push(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef bint is_suppressible(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, unsigned char expected) noexcept nogil
    cdef Py_ssize_t put_fence(self, unsigned char* out, const unsigned char* token) noexcept nogil
    cdef Py_ssize_t put_fence_reply(self, unsigned char* out, const unsigned char* token) noexcept nogil
    cdef Py_ssize_t put_urgent_fence(self, unsigned char* out, const unsigned char* token) noexcept nogil
    cdef long long read_integer(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil

cdef Py_ssize_t put_number(unsigned char* out, Py_ssize_t at, long long number) noexcept nogil
