from twemproxy.proxy.state_table cimport StateTable


cpdef enum HealthState:
    LIVE
    EJECTED
    REMOVED

cdef StateTable HEALTH_STATES
