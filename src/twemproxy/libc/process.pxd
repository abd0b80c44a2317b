# <sys/prctl.h>; see prctl(2).
cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_NAME
    int prctl(int option, ...)
