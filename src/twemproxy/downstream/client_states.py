"""The states of a client, and the reasons for which none of its requests are taken.

Compiled-only; the table is plain data. The reasons are bits in the .pxd file:

    WINDOW    as many requests are in flight as the client may have
    OUTPUT    too much of its output is unread
    SERVER    the next request is for a server whose send queue is full
    MEMORY    --max-memory is exceeded (``proxy.memory_limit``)
    DECISION  the plan for the next request waits, for a reply or for time to work
    STEPS     a request is processed in steps
    PIECES    a request is served in pieces
    RELEASE   private connections are released after the last reply
    HANDOVER  another process goes on with the client after the last reply
"""

from cython.cimports.twemproxy.proxy.state_table import StateTable

from twemproxy.proxy.state_table import Transition

_State = ClientState

CLIENT_STATES = StateTable(
    _State,
    [
        Transition(_State.OPEN, _State.DRAINING, "the proxy stops"),
        Transition(
            _State.OPEN,
            _State.CLOSING,
            "its last request is read, or it breaks the protocol",
        ),
        Transition(_State.OPEN, _State.ABORTED, "it is cut off, with requests in progress"),
        Transition(_State.OPEN, _State.CLOSED, "it closes, a failure, or it is handed over"),
        Transition(_State.DRAINING, _State.CLOSING, "all input that was read is processed"),
        Transition(_State.DRAINING, _State.ABORTED, "it is cut off"),
        Transition(_State.DRAINING, _State.CLOSED, "a failure, or too late"),
        Transition(_State.CLOSING, _State.LINGERING, "the last reply is sent, and it may still be sending"),
        Transition(_State.CLOSING, _State.ABORTED, "it is cut off"),
        Transition(_State.CLOSING, _State.CLOSED, "the last reply is sent, or a failure"),
        Transition(_State.LINGERING, _State.ABORTED, "it is cut off"),
        Transition(_State.LINGERING, _State.CLOSED, "it closes, or too late"),
        Transition(_State.ABORTED, _State.CLOSED, "the end of the turn"),
    ],
)
TABLE = CLIENT_STATES
"""The table, for tests and documents."""
