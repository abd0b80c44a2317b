# Builtins of gcc and clang; the result is undefined for 0.
cdef extern from * nogil:
    int leading_zeros "__builtin_clzll"(unsigned long long bits)
    int trailing_zeros "__builtin_ctzll"(unsigned long long bits)
