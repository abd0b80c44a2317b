from twemproxy.proxy.state_table cimport StateTable


cpdef enum ClientState:
    OPEN
    DRAINING
    CLOSING
    LINGERING
    ABORTED
    CLOSED

# Why no request of a client is taken; a bit each, see `Stream.pauses`, which has 1 for its own reason;
# `proxy.memory_limit` has 16.
cdef enum:
    PAUSED_FOR_WINDOW = 2
    PAUSED_FOR_OUTPUT = 4
    PAUSED_FOR_SERVER = 8
    PAUSED_FOR_DECISION = 32
    PAUSED_FOR_STEPS = 64
    PAUSED_FOR_PIECES = 128
    PAUSED_FOR_RELEASE = 256
    PAUSED_FOR_HANDOVER = 512

cdef StateTable CLIENT_STATES
