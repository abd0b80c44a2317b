# <sys/random.h>; see getrandom(2).
cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* buf, size_t length, unsigned int flags)
