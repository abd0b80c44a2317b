# <sys/prctl.h>; see prctl(2).
cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_NAME, PR_SET_CHILD_SUBREAPER
    int prctl(int option, ...)
