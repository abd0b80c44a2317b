"""The states of a server. Without ``auto_eject_hosts`` a server is live until it is removed.

Compiled-only; the table is plain data. Source: nutcracker's behaviour; docs/differences.md lists the differences.
"""

from cython.cimports.twemproxy.proxy.state_table import StateTable

from twemproxy.proxy.state_table import Transition

HEALTH_STATES = StateTable(
    HealthState,
    [
        Transition(
            HealthState.LIVE,
            HealthState.EJECTED,
            "server_failure_limit failures of connections or checks, without a reply in between",
        ),
        Transition(HealthState.EJECTED, HealthState.LIVE, "probe_successes successful probes in a row"),
        Transition(HealthState.LIVE, HealthState.REMOVED, "the pool has other servers"),
        Transition(HealthState.EJECTED, HealthState.REMOVED, "the pool has other servers"),
    ],
)
TABLE = HEALTH_STATES
"""The table, for tests and documents."""
