# <sys/ioctl.h>, <linux/sockios.h>; see ioctl(2), tcp(7), unix(7).
cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<linux/sockios.h>":
    enum:
        SIOCOUTQ
