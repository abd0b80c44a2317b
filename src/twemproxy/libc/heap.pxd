# glibc's <malloc.h>; see mallopt(3), malloc_trim(3).
cdef extern from "<malloc.h>" nogil:
    int M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    int mallopt(int parameter, int value)
    int malloc_trim(size_t pad)
