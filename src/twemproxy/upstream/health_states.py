"""The states of a server, with ``auto_eject_hosts``; without it every server is always live.

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
    ],
)
TABLE = HEALTH_STATES
"""The table, for tests and documents."""
