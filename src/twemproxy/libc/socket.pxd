# <sys/socket.h>, <netinet/tcp.h>; see socket(7), tcp(7). Addresses are made in Python; only the data path is here.
from posix.uio cimport iovec

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>
    """

cdef extern from "<sys/socket.h>" nogil:
    int MSG_NOSIGNAL, MSG_PEEK, MSG_DONTWAIT, SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SHUT_WR
    ctypedef unsigned int socklen_t

    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags

    ssize_t recv(int fd, void* buf, size_t len, int flags)
    ssize_t send(int fd, const void* buf, size_t len, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, void* addr, void* addrlen, int flags)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* length)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length)

cdef extern from "<netinet/tcp.h>" nogil:
    int IPPROTO_TCP, TCP_NODELAY
