"""The transport of a connection: the system calls on its socket, and what is between the socket and the bytes.

Compiled-only. ``net.stream`` works on the interface ``Transport``; ``PlainTransport`` implements it for the bytes of a
socket. The interface has room for transports that transform the bytes, such as TLS: a handshake comes before the first
byte, a read may have to write and a write to read, bytes may be ready although the socket is not, bytes that were
accepted may not be sent yet, and the end may take several turns.

No operation waits. Its result is a ``Result``, or a number of bytes. An operation that wants to read or write has done
nothing; it is called again when the socket is ready for that.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.cpython.exc import PyErr_WriteUnraisable
from cython.cimports.libc.errno import EAGAIN, EINTR, EPROTO, errno
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.posix.uio import iovec, readv
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.libc.ioctl import SIOCOUTQ, ioctl
from cython.cimports.twemproxy.libc.poll import POLLIN, POLLOUT, poll, pollfd
from cython.cimports.twemproxy.libc.socket import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    SHUT_WR,
    SO_ERROR,
    SOL_SOCKET,
    getsockopt,
    msghdr,
    recv,
    send,
    sendmsg,
    shutdown,
    socklen_t,
)

# Most reads that drop input before a socket is closed: together more than a socket buffers.
LAST_INPUT = cython.declare(cython.const[cython.int], 64)


@cython.cclass
class Transport:
    """The transport of one connection.

    ``fd``: the descriptor to watch, -1 when it is closed. ``error``: the errno of the last FAILED; 0 if the peer has
    ended the connection without announcing it.

    ``progress``: the last result of ``establish``; DONE when bytes can be received and sent.

    ``held``: bytes that the socket held at the last ``has_taken``: the peer has not acknowledged them, or, of a unix
    socket, not read them.

    ``buffered``: bytes because of which ``receive`` is worth a call although the socket may not be readable.
    ``unsent``: bytes that were accepted and are not in the socket yet; ``flush`` sends them. Both are always 0 for a
    plain socket.
    """

    def __cinit__(self) -> None:
        self.fd = -1

    @cython.cfunc
    @cython.exceptval(check=False)
    def establish(self) -> Result:
        """Go on with connecting and the handshake."""
        return DONE

    @cython.cfunc
    @cython.exceptval(check=False)
    def can_establish(self) -> cython.bint:
        """Whether the socket is ready for what ``establish`` wants."""
        waiting = cython.declare(pollfd)
        waiting.fd = self.fd
        waiting.events = POLLIN if self.progress == WANT_READ else POLLOUT
        return poll(cython.address(waiting), 1, 0) > 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def receive(self, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Receive up to ``length`` bytes; returns their number, 0 if the peer has closed its side, or a Result."""
        return FAILED

    @cython.cfunc
    @cython.exceptval(check=False)
    def receive_both(self, vector: cython.pointer[iovec]) -> cython.Py_ssize_t:
        """As ``receive``, into the first of two places; the second one may get the bytes after it."""
        return self.receive(cython.cast(cython.p_uchar, vector[0].iov_base), vector[0].iov_len)

    @cython.cfunc
    @cython.exceptval(check=False)
    def peek(self) -> cython.Py_ssize_t:
        """What ``receive`` would find now: 1 for input, which may turn out to be no byte yet; otherwise its result."""
        return FAILED

    @cython.cfunc
    @cython.exceptval(check=False)
    def send(self, data: cython.pointer[cython.const[cython.uchar]], length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send bytes; returns how many were accepted, or a Result. After less than ``length`` no more can be sent now.

        A byte that was accepted may reach the peer, so it counts as sent.
        """
        return FAILED

    @cython.cfunc
    @cython.exceptval(check=False)
    def send_vector(self, vector: cython.pointer[iovec], n: cython.int) -> cython.Py_ssize_t:
        """As ``send``, for ``n`` pieces."""
        i: cython.int
        accepted: cython.Py_ssize_t
        total: cython.Py_ssize_t = 0
        for i in range(n):
            accepted = self.send(cython.cast(cython.p_uchar, vector[i].iov_base), vector[i].iov_len)
            if accepted < 0:
                return total if total > 0 else accepted
            total += accepted
            if accepted < cython.cast(cython.Py_ssize_t, vector[i].iov_len):
                break
        return total

    @cython.cfunc
    @cython.exceptval(check=False)
    def flush(self) -> Result:
        """Send the bytes of ``unsent``."""
        return DONE

    @cython.cfunc
    @cython.exceptval(check=False)
    def shut_write(self) -> Result:
        """Send the bytes of ``unsent``, and tell the peer that nothing follows."""
        return DONE

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_input(self) -> cython.void:
        """Drop the input that has arrived: when a socket is closed with unread input, the kernel resets the connection,
        and the peer loses the last output.
        """

    @cython.cfunc
    @cython.exceptval(check=False)
    def pending_error(self) -> cython.int:
        """The errno of an error that the poller has reported, 0 for an abrupt end."""
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def has_taken(self) -> cython.bint:
        """Whether the peer has taken bytes from the socket since the last call.

        The kernel says that a socket has room only when the peer has taken a third of what it may hold, which can be
        more than a megabyte.
        """
        return False

    @cython.cfunc
    @cython.exceptval(check=False)
    def close(self) -> cython.void:
        """Close the socket now; a second call does nothing."""
        self.fd = -1


@cython.final
@cython.cclass
class PlainTransport(Transport):
    """The bytes of a socket as they are."""

    def __init__(self, fd: cython.int, connecting: cython.bint = False) -> None:
        """``fd``: a non-blocking socket, owned from here on. ``connecting``: connect(2) is in progress."""
        self.fd = fd
        self.progress = WANT_WRITE if connecting else DONE

    def __dealloc__(self) -> None:
        self.close()

    @cython.cfunc
    @cython.exceptval(check=False)
    def failed(self, want: Result) -> Result:
        """The result of a system call that has just failed; ``want``: the one when it would have had to wait."""
        self.error = errno
        return want if self.error == EAGAIN or self.error == EINTR else FAILED

    @cython.cfunc
    @cython.exceptval(check=False)
    def establish(self) -> Result:
        if self.progress == WANT_WRITE:
            self.error = self.pending_error()
            self.progress = DONE if self.error == 0 else FAILED
        return self.progress

    @cython.cfunc
    @cython.exceptval(check=False)
    def receive(self, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        n: cython.Py_ssize_t = recv(self.fd, data, length, 0)
        return n if n >= 0 else self.failed(WANT_READ)

    @cython.cfunc
    @cython.exceptval(check=False)
    def receive_both(self, vector: cython.pointer[iovec]) -> cython.Py_ssize_t:
        n: cython.Py_ssize_t = readv(self.fd, vector, 2)
        return n if n >= 0 else self.failed(WANT_READ)

    @cython.cfunc
    @cython.exceptval(check=False)
    def peek(self) -> cython.Py_ssize_t:
        byte: cython.uchar = 0
        n: cython.Py_ssize_t = recv(self.fd, cython.address(byte), 1, MSG_PEEK | MSG_DONTWAIT)
        return n if n >= 0 else self.failed(WANT_READ)

    @cython.cfunc
    @cython.exceptval(check=False)
    def send(self, data: cython.pointer[cython.const[cython.uchar]], length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        n: cython.Py_ssize_t
        while True:
            n = send(self.fd, data, length, MSG_NOSIGNAL)
            if n >= 0:
                return n
            if errno != EINTR:
                return self.failed(WANT_WRITE)

    @cython.cfunc
    @cython.exceptval(check=False)
    def send_vector(self, vector: cython.pointer[iovec], n: cython.int) -> cython.Py_ssize_t:
        message = cython.declare(msghdr)
        sent: cython.Py_ssize_t
        memset(cython.address(message), 0, cython.sizeof(msghdr))
        message.msg_iov = vector
        message.msg_iovlen = n
        while True:
            sent = sendmsg(self.fd, cython.address(message), MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if errno != EINTR:
                return self.failed(WANT_WRITE)

    @cython.cfunc
    @cython.exceptval(check=False)
    def shut_write(self) -> Result:
        if shutdown(self.fd, SHUT_WR) < 0:
            self.error = errno
            return FAILED
        return DONE

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_input(self) -> cython.void:
        dropped = cython.declare(cython.uchar[4096])
        for _ in range(LAST_INPUT):
            if recv(self.fd, dropped, cython.sizeof(dropped), 0) <= 0:
                return

    @cython.cfunc
    @cython.exceptval(check=False)
    def pending_error(self) -> cython.int:
        error: cython.int = 0
        size: socklen_t = cython.sizeof(cython.int)
        getsockopt(self.fd, SOL_SOCKET, SO_ERROR, cython.address(error), cython.address(size))
        return error

    @cython.cfunc
    @cython.exceptval(check=False)
    def has_taken(self) -> cython.bint:
        before: cython.int = self.held
        if ioctl(self.fd, SIOCOUTQ, cython.address(self.held)) < 0:
            self.held = 0
        return self.held < before

    @cython.cfunc
    @cython.exceptval(check=False)
    def close(self) -> cython.void:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    # --- for PythonTransport: the same with ``bytes`` ----------------------------------------------------------------

    def read(self, most: cython.Py_ssize_t) -> bytes:
        """``receive``; raises WantRead or OSError."""
        data: bytes = PyBytes_FromStringAndSize(cython.NULL, most)
        n: cython.Py_ssize_t = self.receive(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), most)
        if n == WANT_READ:
            raise WantRead
        if n < 0:
            raise OSError(self.error, "read")
        return data[:n]

    def write(self, data: bytes) -> int:
        """``send``; raises WantWrite or OSError."""
        n: cython.Py_ssize_t = self.send(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), PyBytes_GET_SIZE(data))
        if n == WANT_WRITE:
            raise WantWrite
        if n < 0:
            raise OSError(self.error, "write")
        return n

    def has_input(self) -> bool:
        """Whether ``read`` would return at once."""
        return self.peek() != WANT_READ


class WantRead(Exception):
    """A method of a PythonTransport can go on when the socket is readable."""


class WantWrite(Exception):
    """A method of a PythonTransport can go on when the socket is writable."""


@cython.cclass
class PythonTransport(Transport):
    """A transport on top of a plain one whose work is done in Python, by a subclass: for tests, and where speed does
    not matter.

    The methods of the subclass raise WantRead, WantWrite, or OSError if the connection is broken. Any other exception
    is reported, and the connection fails with EPROTO. The subclass keeps ``buffered`` and ``unsent``.
    """

    def __init__(self, plain: PlainTransport) -> None:
        """``plain``: the transport of the socket, owned from here on."""
        self.plain = plain
        self.fd = plain.fd
        # Either side may begin the handshake, so it is called without waiting for input.
        self.progress = WANT_WRITE

    # --- for the subclass ----------------------------------------------------------------------------------------

    def handshake(self) -> None:
        """Go on with the handshake, which comes before the first byte."""

    def read(self, most: int) -> bytes:
        """Up to ``most`` bytes, none if the peer has closed its side."""
        raise NotImplementedError

    def write(self, data: bytes) -> int:
        """Send bytes; returns how many were accepted."""
        raise NotImplementedError

    def push(self) -> None:
        """Send the bytes of ``unsent``."""

    def end(self) -> None:
        """Tell the peer that nothing follows; after that the plain transport is shut."""

    # --- the interface -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def caught(self, defect) -> Result:
        """The result that an exception of the subclass stands for."""
        if isinstance(defect, WantRead):
            return WANT_READ
        if isinstance(defect, WantWrite):
            return WANT_WRITE
        self.error = EPROTO
        if isinstance(defect, OSError):
            self.error = defect.errno or 0
        else:
            PyErr_WriteUnraisable(self)
        return FAILED

    @cython.cfunc
    @cython.exceptval(check=False)
    def establish(self) -> Result:
        if self.plain.progress != DONE and self.plain.establish() != DONE:
            self.error = self.plain.error
            self.progress = self.plain.progress
            return self.progress
        try:
            self.handshake()
            self.progress = DONE
        except Exception as defect:
            self.progress = self.caught(defect)
        return self.progress

    @cython.cfunc
    @cython.exceptval(check=False)
    def receive(self, data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        read: bytes
        try:
            read = self.read(length)
            if PyBytes_GET_SIZE(read) > length:
                raise ValueError(f"{PyBytes_GET_SIZE(read)} bytes were read, not {length}")
            memcpy(data, PyBytes_AS_STRING(read), PyBytes_GET_SIZE(read))
            return PyBytes_GET_SIZE(read)
        except Exception as defect:
            return self.caught(defect)

    @cython.cfunc
    @cython.exceptval(check=False)
    def peek(self) -> cython.Py_ssize_t:
        return 1 if self.buffered > 0 else self.plain.peek()

    @cython.cfunc
    @cython.exceptval(check=False)
    def send(self, data: cython.pointer[cython.const[cython.uchar]], length: cython.Py_ssize_t) -> cython.Py_ssize_t:
        accepted: cython.Py_ssize_t
        try:
            accepted = self.write(PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length))
            if not 0 <= accepted <= length:
                raise ValueError(f"{accepted} bytes were accepted of {length}")
            return accepted
        except Exception as defect:
            return self.caught(defect)

    @cython.cfunc
    @cython.exceptval(check=False)
    def flush(self) -> Result:
        try:
            self.push()
            return DONE
        except Exception as defect:
            return self.caught(defect)

    @cython.cfunc
    @cython.exceptval(check=False)
    def shut_write(self) -> Result:
        try:
            self.end()
        except Exception as defect:
            return self.caught(defect)
        return self.plain.shut_write()

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_input(self) -> cython.void:
        self.plain.drop_input()

    @cython.cfunc
    @cython.exceptval(check=False)
    def pending_error(self) -> cython.int:
        return self.plain.pending_error()

    @cython.cfunc
    @cython.exceptval(check=False)
    def has_taken(self) -> cython.bint:
        return self.plain.has_taken()

    @cython.cfunc
    @cython.exceptval(check=False)
    def close(self) -> cython.void:
        self.fd = -1
        self.plain.close()
