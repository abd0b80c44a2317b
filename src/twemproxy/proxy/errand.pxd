from twemproxy.proxy.sink cimport Sink


cdef class Errand(Sink):
    cdef object done
