"""The states of a connection to a server.

Compiled-only; the table is plain data.
"""

from cython.cimports.twemproxy.proxy.state_table import StateTable

from twemproxy.proxy.state_table import Transition

_State = ConnectionState

CONNECTION_STATES = StateTable(
    _State,
    [
        Transition(_State.CLOSED, _State.RESOLVING, "a request, and the server's name is not looked up"),
        Transition(_State.CLOSED, _State.CONNECTING, "a request"),
        Transition(_State.CLOSED, _State.HANDSHAKE, "a request, and connect(2) succeeds at once"),
        Transition(_State.RESOLVING, _State.CONNECTING, "addresses"),
        Transition(_State.RESOLVING, _State.HANDSHAKE, "addresses, and connect(2) succeeds at once"),
        Transition(_State.RESOLVING, _State.CLOSED, "no address, or too late"),
        Transition(_State.CONNECTING, _State.HANDSHAKE, "connected"),
        Transition(_State.CONNECTING, _State.CLOSED, "no address is left, or too late"),
        Transition(_State.HANDSHAKE, _State.READY, "all steps are accepted"),
        Transition(_State.HANDSHAKE, _State.CLOSED, "a step is refused, a failure, or too late"),
        Transition(_State.READY, _State.DRAINING, "the server has another address, or is removed"),
        Transition(_State.READY, _State.HALF_CLOSED, "its only client has hung up, or asks elsewhere"),
        Transition(_State.READY, _State.CLOSED, "a failure, or idle for too long"),
        Transition(_State.DRAINING, _State.CLOSED, "the last written request has its reply, or a failure"),
        Transition(_State.HALF_CLOSED, _State.CLOSED, "the server closes, or too late"),
    ],
)
TABLE = CONNECTION_STATES
"""The table, for tests and documents."""
