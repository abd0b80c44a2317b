from libc.stdint cimport uint32_t

from twemproxy.libc.epoll cimport EPOLLERR, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll_event


# Events of a descriptor, a mask. The values are those of epoll(7), so that they need no translation.
cdef enum Events:
    READABLE = EPOLLIN
    WRITABLE = EPOLLOUT
    PEER_CLOSED = EPOLLRDHUP            # the peer has closed its side of the connection
    BROKEN = EPOLLERR | EPOLLHUP        # an error, or both sides are closed; reported without being asked for
    EXCLUSIVE = EPOLLEXCLUSIVE          # of several processes that wait for the descriptor, one is woken


cdef class Poller:
    cdef int epfd
    cdef int n_ready
    cdef int next_ready
    cdef epoll_event[512] ready
    cdef void* owner
    cdef uint32_t events

    cdef int add(self, int fd, uint32_t events, void* owner) except -1
    cdef int modify(self, int fd, uint32_t events, void* owner) except -1
    cdef int control(self, int op, int fd, uint32_t events, void* owner) except -1
    cdef void remove(self, int fd, void* owner) noexcept
    cdef int wait(self, int timeout) except -1
    cdef bint next(self) noexcept
