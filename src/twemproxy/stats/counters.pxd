# Positions in a worker's shared memory; twemproxy.stats.catalogue is the same list with words.
# Of the process.
cdef enum:
    TOTAL_CONNECTIONS = 0
    CURR_CONNECTIONS = 1
    MEMORY_HELD = 2
    MEMORY_WAITING = 3
    MEMORY_WAITS = 4

# Of a pool.
cdef enum:
    CLIENT_EOF = 0
    CLIENT_ERR = 1
    CLIENT_CONNECTIONS = 2
    SERVER_EJECTS = 3
    FORWARD_ERROR = 4
    FRAGMENTS = 5

# Of a server.
cdef enum:
    SERVER_EOF = 0
    SERVER_ERR = 1
    SERVER_TIMEDOUT = 2
    SERVER_CONNECTIONS = 3
    SERVER_EJECTED_AT = 4
    REQUESTS = 5
    REQUEST_BYTES = 6
    RESPONSES = 7
    RESPONSE_BYTES = 8
    IN_QUEUE = 9
    IN_QUEUE_BYTES = 10
    OUT_QUEUE = 11
    OUT_QUEUE_BYTES = 12
    REQUESTS_RESENT = 13

ctypedef unsigned long long Counter

cdef class CounterTable:
    cdef object memory
    cdef Counter[::1] values

    cdef Counter* at(self, Py_ssize_t position)
