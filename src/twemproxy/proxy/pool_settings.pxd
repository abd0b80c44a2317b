from libc.stdint cimport int64_t, uint64_t

from twemproxy.proxy.access_log cimport AccessLog
from twemproxy.proxy.hot_keys cimport HotKeys


cdef class PoolSettings:
    cdef readonly object config
    cdef readonly int64_t timeout
    cdef int64_t open_timeout
    cdef int64_t idle_limit
    cdef readonly int64_t retry_timeout
    cdef readonly int64_t check_interval
    cdef readonly int64_t dns_refresh
    cdef int64_t slow_after
    cdef bint retry_reads
    cdef unsigned int max_pipeline
    cdef Py_ssize_t largest_request
    cdef Py_ssize_t largest_plain
    cdef uint64_t logged_below
    cdef Py_ssize_t input_limit
    cdef Py_ssize_t reply_limit
    cdef Py_ssize_t message_limit
    cdef Py_ssize_t output_limit
    cdef Py_ssize_t most_connections
    cdef Py_ssize_t server_connections
    cdef bint requires_auth
    cdef bint tolerates_missing
    cdef bint auto_eject_hosts
    cdef int server_failure_limit
    cdef bint keeps_keys
    cdef object keepalive


cdef class ConfiguredPool:
    cdef readonly PoolSettings settings
    cdef readonly AccessLog access_log
    cdef readonly object slow_log
    cdef readonly dict slow_unwritten
    cdef readonly HotKeys hot_keys
    cdef public object client_transport
    cdef public object server_transport
