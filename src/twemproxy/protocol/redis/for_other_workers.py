"""What a worker answers to the others: a table.

Plain Python, see ``protocol.other_workers``. An answer is made in steps like those of ``protocol.plan.Steps``; each
yields some rows, or none.
"""

from collections.abc import Callable, Iterator, Sequence

from twemproxy.protocol.other_workers import Rows
from twemproxy.protocol.redis.client_list import BLOCKED, KILLED, LISTED, tell_blocked, tell_killed, tell_listed
from twemproxy.protocol.redis.server_info import COUNTED, tell_counted
from twemproxy.protocol.redis.session import Pool

ANSWERS: dict[str, Callable[[Sequence[bytes], Pool], Iterator[Rows]]] = {
    BLOCKED: tell_blocked,
    COUNTED: tell_counted,
    KILLED: tell_killed,
    LISTED: tell_listed,
}
"""The answers, by the question."""
