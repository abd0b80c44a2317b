from twemproxy.net.event_loop cimport Channel
from twemproxy.net.transport cimport Transport


cdef class Acceptor(Channel):
    cdef bint tcp
    cdef int error

    cdef int close_acceptor(self) except -1
    cdef int accept(self) noexcept
    cdef Transport prepare(self, int fd, keepalive)
    cdef void refuse(self, int fd, bytes reply) noexcept

    cdef int on_accepted(self, int fd) except -1
    cdef int take(self, int fd) except -1
    cdef int on_exhausted(self) except -1
    cdef int on_failed(self, int error) except -1
