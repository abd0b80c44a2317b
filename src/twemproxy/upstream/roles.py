"""What a connection to a server is for, and what follows from that.

Compiled-only; the table is plain data.
"""

from typing import NamedTuple

import cython


class RolePolicy(NamedTuple):
    """The policy of a role."""

    independent: bool
    """Requests do not depend on each other: an overdue one fails alone, and unwritten ones are sent again after a
    failure, as reads are with ``retry_reads``. Otherwise all requests fail together.
    """
    counts: bool
    """A failure counts against the server, and is logged as a warning."""
    stands_in: bool
    """While the server is ejected and keeps its keys, the proxy replies in its place."""
    patient: bool
    """A stop of the proxy does not wait for its replies, which may never arrive."""
    limited: bool
    """It needs a place among those that ``max_backend_connections`` allows, see ``Server.take_place``. Shared
    connections of profile 0 always have theirs.
    """


ROLES = {
    Role.SHARED: RolePolicy(independent=True, counts=True, stands_in=True, patient=False, limited=True),
    Role.PRIVATE: RolePolicy(independent=False, counts=True, stands_in=True, patient=False, limited=True),
    Role.SUBSCRIBER: RolePolicy(independent=False, counts=True, stands_in=False, patient=True, limited=True),
    Role.PROBE: RolePolicy(independent=False, counts=False, stands_in=False, patient=True, limited=False),
}
"""SHARED: for requests of all clients. PRIVATE: for one client at a time. SUBSCRIBER: for subscriptions; its messages
are no replies. PROBE: for a health check, or another request of the proxy's own.
"""

policies = cython.declare(Policy[4])


@cython.cfunc
@cython.exceptval(-1, check=False)
def set_policy(role: cython.int, row) -> cython.int:
    """Set the row of a role, for compiled code."""
    policies[role].independent = row.independent
    policies[role].counts = row.counts
    policies[role].stands_in = row.stands_in
    policies[role].patient = row.patient
    policies[role].limited = row.limited
    return 0


for _role, _row in ROLES.items():
    set_policy(_role, _row)


@cython.cfunc
@cython.exceptval(check=False)
def policy_of(role: Role) -> Policy:
    """The row of a role in ROLES."""
    return policies[cython.cast(cython.int, role)]
