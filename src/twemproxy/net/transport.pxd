from posix.uio cimport iovec


cdef enum Result:
    FAILED = -4         # the connection is broken, `error` says why
    WANT_WRITE = -3     # nothing done: go on when the socket is writable
    WANT_READ = -2      # nothing done: go on when the socket is readable
    DONE = 0


cdef class Transport:
    cdef readonly int fd
    cdef readonly int error
    cdef Result progress
    cdef int held
    cdef public Py_ssize_t buffered
    cdef public Py_ssize_t unsent

    cdef Result establish(self) noexcept
    cdef bint can_establish(self) noexcept
    cdef Py_ssize_t receive(self, unsigned char* data, Py_ssize_t length) noexcept
    cdef Py_ssize_t receive_both(self, iovec* vector) noexcept
    cdef Py_ssize_t peek(self) noexcept
    cdef Py_ssize_t send(self, const unsigned char* data, Py_ssize_t length) noexcept
    cdef Py_ssize_t send_vector(self, iovec* vector, int n) noexcept
    cdef Result flush(self) noexcept
    cdef Result shut_write(self) noexcept
    cdef void drop_input(self) noexcept
    cdef int pending_error(self) noexcept
    cdef bint has_taken(self) noexcept
    cdef void close(self) noexcept


cdef class PlainTransport(Transport):
    cdef Result failed(self, Result want) noexcept


cdef class PythonTransport(Transport):
    cdef readonly PlainTransport plain

    cdef Result caught(self, defect) noexcept
