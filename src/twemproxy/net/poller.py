"""Waits until descriptors are ready, with epoll(7), level-triggered.

Compiled-only. This module is all that knows epoll: the same class over another system call makes another event loop.
"""

import cython
from cython.cimports.libc.errno import EINTR, errno
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.libc.epoll import (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
)

MAX_READY = cython.declare(cython.const[cython.int], 512)


@cython.final
@cython.cclass
class Poller:
    """A set of descriptors, each with the events that are waited for and a pointer to its owner.

    ``owner``, ``events``: the present descriptor of a batch, after ``next``.
    """

    def __cinit__(self) -> None:
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self) -> None:
        if self.epfd >= 0:
            close(self.epfd)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self, fd: cython.int, events: uint32_t, owner: cython.p_void) -> cython.int:
        """Add a descriptor. Raises OSError."""
        return self.control(EPOLL_CTL_ADD, fd, events, owner)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def modify(self, fd: cython.int, events: uint32_t, owner: cython.p_void) -> cython.int:
        """Wait for other events of a descriptor. Raises OSError."""
        return self.control(EPOLL_CTL_MOD, fd, events, owner)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def control(self, op: cython.int, fd: cython.int, events: uint32_t, owner: cython.p_void) -> cython.int:
        event = cython.declare(epoll_event)
        event.events = events
        event.data.ptr = owner
        if epoll_ctl(self.epfd, op, fd, cython.address(event)) < 0:
            raise OSError(errno, "epoll_ctl")
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def remove(self, fd: cython.int, owner: cython.p_void) -> cython.void:
        """Remove a descriptor; its events that are left in the batch are dropped."""
        i: cython.int
        epoll_ctl(self.epfd, EPOLL_CTL_DEL, fd, cython.NULL)
        for i in range(self.next_ready, self.n_ready):
            if self.ready[i].data.ptr == owner:
                self.ready[i].data.ptr = cython.NULL

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait(self, timeout: cython.int) -> cython.int:
        """Wait for a batch of ready descriptors; returns their number.

        ``timeout``: in milliseconds, 0 not to wait, -1 for no limit. Raises OSError. A signal ends the wait.
        """
        self.next_ready = 0
        with cython.nogil:
            self.n_ready = epoll_wait(self.epfd, self.ready, MAX_READY, timeout)
        if self.n_ready < 0:
            self.n_ready = 0
            if errno != EINTR:
                raise OSError(errno, "epoll_wait")
        return self.n_ready

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def next(self) -> cython.bint:
        """Go to the next descriptor of the batch; False if there is none."""
        while self.next_ready < self.n_ready:
            self.owner = self.ready[self.next_ready].data.ptr
            self.events = self.ready[self.next_ready].events
            self.next_ready += 1
            if self.owner != cython.NULL:
                return True
        return False
