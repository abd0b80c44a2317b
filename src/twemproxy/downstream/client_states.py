"""The states of a client, and the reasons for which none of its requests are taken.

Compiled-only; the tables are plain data.
"""

from cython.cimports.twemproxy.net.stream import PAUSED_FOR_TURN
from cython.cimports.twemproxy.proxy.memory_limit import PAUSED_FOR_MEMORY
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

PAUSES = (
    (PAUSED_FOR_TURN, "turn", "it has had its share of a turn of the event loop"),
    (PAUSED_FOR_WINDOW, "window", "as many requests are in flight as it may have"),
    (PAUSED_FOR_OUTPUT, "output", "it has not read much of its output"),
    (PAUSED_FOR_SERVER, "server", "the next request is for a server whose send queue is full"),
    (PAUSED_FOR_MEMORY, "memory", "--max-memory is exceeded"),
    (PAUSED_FOR_DECISION, "decision", "the plan for the next request waits for a reply, or for time to work"),
    (PAUSED_FOR_STEPS, "steps", "a request is processed in steps"),
    (PAUSED_FOR_PIECES, "pieces", "a request is served in pieces"),
    (PAUSED_FOR_RELEASE, "release", "its private connections are released after the last reply"),
    (PAUSED_FOR_HANDOVER, "handover", "another process goes on with it after the last reply"),
)
"""The reasons for which none of its requests are taken: the bit in ``Stream.pauses``, a name, and the meaning."""
