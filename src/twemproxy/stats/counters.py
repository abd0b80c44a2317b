"""The counters of a worker in shared memory, to which compiled code adds.

Compiled-only. A table has one writer. Aligned 64-bit stores by a single writer need no lock: a process that maps the
same memory always reads whole values.
"""

import cython


@cython.final
@cython.cclass
class CounterTable:
    """The table of one worker. The memory stays mapped as long as the table is referenced."""

    def __init__(self, memory) -> None:
        """Use ``memory`` as the table: a writable buffer (an ``mmap``) of whole 64-bit words."""
        self.memory = memory
        self.values = memoryview(memory).cast("Q")

    @cython.cfunc
    def at(self, position: cython.Py_ssize_t) -> cython.pointer[Counter]:
        """Return the address of a counter; raises IndexError outside the table."""
        if position < 0 or position >= self.values.shape[0]:
            raise IndexError("counter outside the table")
        return cython.address(self.values[position])

    def names(self) -> dict:
        """Return the positions for compiled code, by scope and name; a test compares them with the catalogue."""
        return {
            "process": {
                "total_connections": TOTAL_CONNECTIONS,
                "curr_connections": CURR_CONNECTIONS,
                "memory_held": MEMORY_HELD,
                "memory_waiting": MEMORY_WAITING,
                "memory_waits": MEMORY_WAITS,
            },
            "pool": {
                "client_eof": CLIENT_EOF,
                "client_err": CLIENT_ERR,
                "client_connections": CLIENT_CONNECTIONS,
                "server_ejects": SERVER_EJECTS,
                "forward_error": FORWARD_ERROR,
                "fragments": FRAGMENTS,
            },
            "server": {
                "server_eof": SERVER_EOF,
                "server_err": SERVER_ERR,
                "server_timedout": SERVER_TIMEDOUT,
                "server_connections": SERVER_CONNECTIONS,
                "server_ejected_at": SERVER_EJECTED_AT,
                "requests": REQUESTS,
                "request_bytes": REQUEST_BYTES,
                "responses": RESPONSES,
                "response_bytes": RESPONSE_BYTES,
                "in_queue": IN_QUEUE,
                "in_queue_bytes": IN_QUEUE_BYTES,
                "out_queue": OUT_QUEUE,
                "out_queue_bytes": OUT_QUEUE_BYTES,
                "requests_resent": REQUESTS_RESENT,
            },
        }
