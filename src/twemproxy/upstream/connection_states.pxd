from twemproxy.proxy.state_table cimport StateTable


cpdef enum ConnectionState:
    CLOSED
    RESOLVING
    CONNECTING
    HANDSHAKE
    READY
    DRAINING
    HALF_CLOSED

cdef StateTable CONNECTION_STATES
